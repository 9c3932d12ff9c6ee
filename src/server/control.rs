//! The control plane while the server runs: HTTP, signals and orders, and the end.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::{interval, sleep, timeout};
use tracing::{info, warn};

use super::systemd;
use super::{ServeError, Up, crowd_limits, quota_limits, random};
use crate::control::admin::{Admin, Order};
use crate::control::certificates::Certificates;
use crate::control::config::{Config, ConfigError};
use crate::control::http::{self, Entrances, HttpSettings};
use crate::control::ice::IceSource;
use crate::control::log::Levels;
use crate::turn::{self, Reload};
use crate::worker::WorkerHandle;

/// Reads the configuration again.
pub type Reread = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// The configuration that holds, and where the next one comes from.
pub(super) struct Settings {
    pub(super) config: Config,
    /// The host's own addresses, found at the start.
    pub(super) found: Vec<IpAddr>,
    pub(super) reread: Reread,
}

/// The control plane: a runtime, and the signals that it waits for.
pub(super) struct Control {
    runtime: Runtime,
    signals: Signals,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Control {
    pub(super) fn new() -> Result<Self, ServeError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| ServeError::io("the control plane cannot be started", &error))?;
        let inside = runtime.enter();
        let signals = Signals {
            terminate: listen_for(SignalKind::terminate())?,
            interrupt: listen_for(SignalKind::interrupt())?,
            hangup: listen_for(SignalKind::hangup())?,
        };
        drop(inside);
        Ok(Self { runtime, signals })
    }

    /// Serves HTTP, watches the workers and waits for a signal.
    pub(super) fn serve(
        self,
        settings: Settings,
        up: &Up,
        entrances: Entrances,
        certificates: Option<Certificates>,
        workers: &[WorkerHandle],
        levels: Levels,
    ) -> Result<(), ServeError> {
        let Self { runtime, signals } = self;
        let config = &settings.config;
        let mut http = HttpSettings::from_config(config, &up.udp, &up.tcp, &up.tls);
        let (draining, drains) = watch::channel(false);
        // One order at a time: whoever gives another is told to come back.
        let (give, orders) = mpsc::channel(1);
        let admin = Admin {
            workers: workers.iter().map(|worker| worker.mailbox().clone()).collect(),
            keys: config.admin.clone(),
            proxies: config.proxies.clone(),
            seen: Arc::default(),
            draining: drains,
            signalling: http.stats.subscribe(),
            certificates: certificates
                .as_ref()
                .map_or_else(|| watch::channel(Vec::new()).1, Certificates::ends),
            levels: levels.clone(),
            orders: give,
        };
        http.extra = admin.router();
        let ice = watch::Sender::new(http.ice.clone());
        http.ice_changes = Some(ice.subscribe());
        let mut waits = Waits { signals, orders, certificates, levels, settings, ice };
        runtime.block_on(async {
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let mut page = tokio::spawn(http::serve(entrances, http, async {
                // The sender going away says the same.
                let _ = ended.await;
            }));
            systemd::ready(UP);
            tokio::select! {
                result = waits.until_told_to_stop(workers) => result?,
                ended = &mut page => {
                    http_result(ended)?;
                    return Err(ServeError { cause: "the HTTP side ended by itself".to_owned() });
                }
            }
            // The page stays: whoever balances load asks there, and is told to send nobody more.
            draining.send_replace(true);
            systemd::stopping("draining");
            waits.wind_down(workers).await;
            drop(end);
            http_result(page.await)
        })
    }
}

fn http_result(ended: Result<io::Result<()>, JoinError>) -> Result<(), ServeError> {
    match ended {
        Ok(result) => result.map_err(|error| ServeError::io("HTTP", &error)),
        Err(error) => Err(ServeError { cause: format!("HTTP: {error}") }),
    }
}

/// What the control plane waits for.
struct Waits {
    signals: Signals,
    orders: mpsc::Receiver<Order>,
    certificates: Option<Certificates>,
    levels: Levels,
    settings: Settings,
    ice: watch::Sender<IceSource>,
}

impl Waits {
    async fn until_told_to_stop(&mut self, workers: &[WorkerHandle]) -> Result<(), ServeError> {
        let mut look = interval(WATCH_EVERY);
        let mut look_at_files = interval(FILES_EVERY);
        let watchdog = systemd::watchdog();
        let mut sign_of_life = interval(watchdog.unwrap_or(FILES_EVERY));
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
                _ = self.signals.hangup.recv() => self.reload(workers).await,
                Some(order) = self.orders.recv() => match order {
                    Order::Drain => return Ok(()),
                    Order::Reload => self.reload(workers).await,
                },
                _ = sign_of_life.tick(), if watchdog.is_some() => {
                    // A worker that hangs is the server's end: systemd starts another.
                    if all_answer(workers).await {
                        systemd::alive();
                    }
                }
                _ = look_at_files.tick() => {
                    if let Some(certificates) = &mut self.certificates {
                        certificates.look();
                    }
                }
                _ = look.tick() => {
                    if let Some(worker) = workers.iter().find(|worker| worker.is_finished()) {
                        let cause = format!("worker {} has ended; stopping", worker.index());
                        return Err(ServeError { cause });
                    }
                }
            }
        }
    }

    /// Reads the configuration and the certificates again, and has the workers go by them. A
    /// configuration that is wrong leaves everything as it was, certificates that are wrong those
    /// that are shown.
    async fn reload(&mut self, workers: &[WorkerHandle]) {
        systemd::reloading();
        self.read_again(workers).await;
        systemd::ready(UP);
    }

    async fn read_again(&mut self, workers: &[WorkerHandle]) {
        let new = match (self.settings.reread)() {
            Ok(new) => new,
            Err(error) => return warn!("SIGHUP: all stays as it was: {error}"),
        };
        let config = &mut self.settings.config;
        let level = config.log.level.clone();
        for key in config.take_over(new) {
            warn!("{key} has changed: that takes a restart");
        }
        // What was ordered meanwhile holds until the file says something else.
        if level != config.log.level
            && let Err(why) = self.levels.set(&config.log.level)
        {
            warn!("the log's levels stay as they were: {why}");
        }
        let secret = config.credentials.secrets.first().map(|it| it.as_bytes().to_vec());
        self.ice.send_modify(|ice| ice.secret = secret);
        if let Some(certificates) = &mut self.certificates {
            certificates.set_files(config.tls.clone());
            certificates.read_again();
        }
        // These are all workers' together.
        if let Some(worker) = workers.first() {
            worker.set_limits(quota_limits(config), crowd_limits(config));
        }
        for (share, worker) in workers.iter().enumerate() {
            let core = || config.turn(&self.settings.found, share as u16, workers.len() as u16);
            if !reload_worker(worker, core).await {
                warn!(worker = worker.index(), "does not answer; it goes by the old settings");
            }
        }
        info!("SIGHUP: the configuration was read again");
    }

    /// Lets the calls that are there go on for a while, but no new ones begin. Another signal ends
    /// that at once.
    async fn wind_down(&mut self, workers: &[WorkerHandle]) {
        let drain = Duration::from_secs(self.settings.config.drain_secs.into());
        info!("draining for at most {} s", drain.as_secs());
        // Whoever gives an order now is told that it will not be carried out.
        self.orders.close();
        for worker in workers {
            // One that has ended already needs no telling.
            let _ = worker.drain();
        }
        tokio::select! {
            () = all_drained(workers) => {}
            () = sleep(drain) => info!("stopping with allocations left"),
            _ = self.signals.terminate.recv() => info!("stopping at once"),
            _ = self.signals.interrupt.recv() => info!("stopping at once"),
        }
    }
}

/// Has a worker's core go by other settings; whether it does.
async fn reload_worker(worker: &WorkerHandle, core: impl Fn() -> turn::Config) -> bool {
    let done = async {
        loop {
            let seed = match random() {
                Ok(seed) => seed,
                Err(error) => {
                    warn!("{error}");
                    return false;
                }
            };
            match worker.mailbox().reload(Reload::new(core(), seed)) {
                Ok(answer) => return answer.await.is_ok(),
                Err(_) if worker.is_finished() => return false,
                // As many others ask as may: they are answered in no time.
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, done).await.unwrap_or(false)
}

/// Whether each worker answers in time.
async fn all_answer(workers: &[WorkerHandle]) -> bool {
    let answers = async {
        for worker in workers {
            loop {
                match worker.mailbox().snapshot() {
                    Ok(answer) => match answer.await {
                        Ok(_) => break,
                        Err(_) => return false,
                    },
                    Err(_) if worker.is_finished() => return false,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        }
        true
    };
    timeout(PATIENCE, answers).await.unwrap_or(false)
}

fn listen_for(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(|error| ServeError::io("signals cannot be waited for", &error))
}

/// Returns when no worker holds an allocation any more.
async fn all_drained(workers: &[WorkerHandle]) {
    let mut look = interval(DRAIN_LOOK_EVERY);
    let watchdog = systemd::watchdog();
    loop {
        look.tick().await;
        if watchdog.is_some() {
            systemd::alive();
        }
        let mut held = 0;
        for worker in workers {
            // A worker that has ended holds nothing; one that many ask may hold something.
            held += match worker.mailbox().snapshot() {
                Ok(answer) => answer.await.map_or(0, |snapshot| snapshot.relays),
                Err(_) => usize::from(!worker.is_finished()),
            };
        }
        if held == 0 {
            return;
        }
    }
}

/// How often the main thread looks whether all workers are well.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// How often the main thread looks whether certificates have changed.
const FILES_EVERY: Duration = Duration::from_secs(1);

/// How often a draining server looks whether anything is left.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What systemd shows while all is well.
const UP: &str = "serving";
