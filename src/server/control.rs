//! The control plane while the server runs: HTTP, signals and orders, and the end.

use std::io;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::{interval, sleep};
use tracing::{info, warn};

use super::{ServeError, Up};
use crate::control::admin::{Admin, Order};
use crate::control::certificates::Certificates;
use crate::control::config::Config;
use crate::control::http::{self, Entrances, HttpSettings};
use crate::control::log::Levels;
use crate::worker::WorkerHandle;

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
        config: &Config,
        up: &Up,
        entrances: Entrances,
        certificates: Option<Certificates>,
        workers: &[WorkerHandle],
        levels: Levels,
    ) -> Result<(), ServeError> {
        let Self { runtime, signals } = self;
        let mut settings = HttpSettings::from_config(config, &up.udp, &up.tcp, &up.tls);
        let (draining, drains) = watch::channel(false);
        // One order at a time: whoever gives another is told to come back.
        let (give, orders) = mpsc::channel(1);
        let admin = Admin {
            workers: workers.iter().map(|worker| worker.mailbox().clone()).collect(),
            keys: config.admin.clone(),
            draining: drains,
            signalling: settings.stats.subscribe(),
            certificates: certificates
                .as_ref()
                .map_or_else(|| watch::channel(Vec::new()).1, Certificates::ends),
            levels,
            orders: give,
        };
        settings.extra = admin.router();
        let mut waits = Waits { signals, orders, certificates };
        runtime.block_on(async {
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let mut page = tokio::spawn(http::serve(entrances, settings, async {
                // The sender going away says the same.
                let _ = ended.await;
            }));
            tokio::select! {
                result = waits.until_told_to_stop(workers) => result?,
                ended = &mut page => {
                    http_result(ended)?;
                    return Err(ServeError { cause: "the HTTP side ended by itself".to_owned() });
                }
            }
            // The page stays: whoever balances load asks there, and is told to send nobody more.
            draining.send_replace(true);
            let drain = Duration::from_secs(config.drain_secs.into());
            waits.wind_down(workers, drain).await;
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
}

impl Waits {
    async fn until_told_to_stop(&mut self, workers: &[WorkerHandle]) -> Result<(), ServeError> {
        let mut look = interval(WATCH_EVERY);
        let mut look_at_files = interval(FILES_EVERY);
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => return Ok(()),
                _ = self.signals.interrupt.recv() => return Ok(()),
                _ = self.signals.hangup.recv() => self.reload(),
                Some(order) = self.orders.recv() => match order {
                    Order::Drain => return Ok(()),
                    Order::Reload => self.reload(),
                },
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

    fn reload(&mut self) {
        if let Some(certificates) = &mut self.certificates {
            certificates.read_again();
        }
        warn!("SIGHUP: this version reads all but its certificates at start only");
    }

    /// Lets the calls that are there go on for a while, but no new ones begin. Another signal ends
    /// that at once.
    async fn wind_down(&mut self, workers: &[WorkerHandle], drain: Duration) {
        info!("draining for at most {} s", drain.as_secs());
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

fn listen_for(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(|error| ServeError::io("signals cannot be waited for", &error))
}

/// Returns when no worker holds an allocation any more.
async fn all_drained(workers: &[WorkerHandle]) {
    let mut look = interval(DRAIN_LOOK_EVERY);
    loop {
        look.tick().await;
        let mut held = 0;
        for worker in workers {
            // A worker that has ended holds nothing.
            if let Ok(answer) = worker.mailbox().snapshot() {
                held += answer.await.map_or(0, |snapshot| snapshot.relays);
            }
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
