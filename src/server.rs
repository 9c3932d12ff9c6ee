//! The composition: bind, start the workers and the control plane, wait, drain.

mod control;
mod systemd;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::control::certificates::Certificates;
use crate::control::config::{Config, ConfigError, DISCOVERY};
use crate::control::http::Entrances;
use crate::control::log::Log;
use crate::control::{interfaces, quickstart};
use crate::net::steering::Steering;
use crate::net::tls::Keyring;
use crate::net::{self, Offload, relay, tcp, udp};
use crate::turn::Lifetime;
use crate::worker::{
    self, CrowdLimits, Dtls, DtlsSetup, Failure, Guest, QuotaLimits, WorkerHandle, WorkerSetup,
};

pub use self::control::Reread;
use self::control::{Control, Settings};

/// Connections that may wait to be shown in, HTTP over TLS.
const GUESTS_MAX: usize = 64;

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// Whatever kept it from starting, with file, line and cure where a configuration is the cause;
/// and a worker that ended before it was told to.
pub fn run(config: Config, reread: Reread, log: &Log) -> Result<(), ServeError> {
    raise_descriptor_limit();
    let found = interfaces::found()
        .map_err(|error| ServeError::io("the host's own addresses cannot be listed", &error))?;
    for doubt in config.doubts(&found) {
        warn!("{doubt}");
    }
    let workers = match config.workers {
        0 => available_parallelism().map_or(1, NonZero::get),
        workers => usize::from(workers),
    };
    let offload = Offload::choose(config.gso, config.gro, &kernel_release());
    let certificates = certificates(&config)?;
    let steering = match config.steer {
        true => Some(Steering::new(random()?)),
        false => None,
    };
    let mut bound =
        Bound::bind(&config, workers, udp::Options { offload, class: config.dscp, steering })?;
    bound.check_sockets(config.steer);
    let up = bound.up();
    // Before anything answers: whoever sees the server up may tell it to stop.
    let control = Control::new()?;
    let (shows_in, guests) = mpsc::channel(GUESTS_MAX);
    let door = Door {
        keyring: certificates.as_ref().map(|it| Arc::clone(it.keyring())),
        dtls: certificates
            .as_ref()
            .and_then(Certificates::dtls_keyring)
            .map(|keyring| Arc::new(Dtls::new(Arc::clone(keyring), config.limits.dtls()))),
        guests: config.http_over_tls().then_some(shows_in),
    };
    let handles = start_workers(&config, &found, &mut bound, door, &up, offload)?;
    announce(&config, &found, &up, workers, offload);
    let result = {
        let entrances = Entrances { listeners: bound.http, guests: Some(guests) };
        let settings = Settings { config: config.clone(), found, reread };
        control.serve(settings, &up, entrances, certificates, &handles, log.levels().clone())
    };
    finish(handles, result)
}

/// The certificates that the listeners need. What is doubtful about them is said.
fn certificates(config: &Config) -> Result<Option<Certificates>, ServeError> {
    let Some((certificates, doubts)) = Certificates::load(config)? else { return Ok(None) };
    for doubt in doubts {
        warn!("{doubt}");
    }
    Ok(Some(certificates))
}

/// What TLS and DTLS listeners need besides their sockets.
struct Door {
    keyring: Option<Arc<Keyring>>,
    dtls: Option<Arc<Dtls>>,
    guests: Option<mpsc::Sender<Guest>>,
}

/// The listeners: for each address what each worker has there. Those of NAT discovery stand behind
/// those of `[listen]`.
struct Bound {
    udp: Vec<Vec<udp::Pair>>,
    tcp: Vec<Vec<tcp::Listener>>,
    tls: Vec<Vec<tcp::Listener>>,
    dtls: Vec<Vec<udp::Pair>>,
    http: Vec<TcpListener>,
    /// How many of `udp` and of `tcp` are those of `[listen]`.
    named: (usize, usize),
}

/// The addresses that are really listened on, with the ports that the system chose.
#[derive(Clone, Debug, Default)]
pub struct Up {
    /// STUN and TURN over UDP.
    pub udp: Vec<SocketAddr>,
    /// STUN and TURN over TCP.
    pub tcp: Vec<SocketAddr>,
    /// STUN and TURN over TLS.
    pub tls: Vec<SocketAddr>,
    /// STUN and TURN over DTLS.
    pub dtls: Vec<SocketAddr>,
    /// The page, signalling and credentials.
    pub http: Vec<SocketAddr>,
    /// NAT discovery, where no other listener serves it already.
    pub discovery: Vec<SocketAddr>,
}

impl Bound {
    /// Says where the kernel granted less than a busy server needs.
    fn check_sockets(&self, steer: bool) {
        let mut pairs = self.udp.iter().chain(&self.dtls).flatten();
        if let Some(complaint) = pairs.find_map(|pair| pair.requests.buffers().complaint()) {
            warn!("the kernel's socket buffers are small, bursts may be lost: {complaint}");
        }
        if steer && self.udp.iter().flatten().any(|pair| pair.media.is_none()) {
            warn!("the kernel does not tell requests from media: a flood of it drowns both");
        }
    }

    fn bind(config: &Config, workers: usize, options: udp::Options) -> Result<Self, ServeError> {
        let listen = &config.listen;
        let shares = workers as u16;
        let udp = |a| net::bind_udp(a, shares, options);
        let tcp = |a| net::bind_tcp(a, workers);
        // From outside no record tells what it is; and a session stays with one worker.
        let dtls = |a| net::bind_udp(a, shares, udp::Options { steering: None, ..options });
        let mut bound = Self {
            udp: bind_all(config, "udp", &listen.udp, udp)?,
            tcp: bind_all(config, "tcp", &listen.tcp, tcp)?,
            tls: bind_all(config, "tls", &listen.tls, tcp)?,
            dtls: bind_all(config, "dtls", &listen.dtls, dtls)?,
            http: bind_all(config, "http", &listen.http, TcpListener::bind)?,
            named: (0, 0),
        };
        bound.named = (bound.udp.len(), bound.tcp.len());
        let (missing_udp, missing_tcp) = bound.up().unserved(config);
        bound.udp.extend(bind_all(config, DISCOVERY, &missing_udp, udp)?);
        bound.tcp.extend(bind_all(config, DISCOVERY, &missing_tcp, tcp)?);
        Ok(bound)
    }

    fn up(&self) -> Up {
        let udp = self.udp.iter().flat_map(|l| l.first()).map(|pair| pair.requests.local_addr());
        let tcp = self.tcp.iter().flat_map(|l| l.first()).map(tcp::Listener::local_addr);
        let dtls = self.dtls.iter().flat_map(|l| l.first()).map(|pair| pair.requests.local_addr());
        let (named_udp, named_tcp) = self.named;
        let tls = self.tls.iter().flat_map(|l| l.first()).map(tcp::Listener::local_addr);
        Up {
            udp: udp.clone().take(named_udp).collect(),
            tcp: tcp.clone().take(named_tcp).collect(),
            tls: tls.collect(),
            dtls: dtls.collect(),
            http: self.http.iter().filter_map(|listener| listener.local_addr().ok()).collect(),
            discovery: udp.skip(named_udp).chain(tcp.skip(named_tcp)).collect(),
        }
    }
}

impl Up {
    /// The addresses of NAT discovery that nothing listens at yet, over UDP and over TCP.
    fn unserved(&self, config: &Config) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let addresses = || config.discovery.addresses();
        let missing = |listeners: &[SocketAddr], address: &SocketAddr| {
            !listeners.iter().any(|listener| net::serves(*listener, *address))
        };
        let udp = addresses().filter(|address| missing(&self.udp, address)).collect();
        let streams = addresses().filter(|_| config.discovery.streams);
        let tcp = streams.filter(|address| missing(&self.tcp, address)).collect();
        (udp, tcp)
    }
}

/// Binds every address of a list. One that cannot be bound stops the start, unless it is a default
/// for a family that this host does not have.
fn bind_all<T>(
    config: &Config,
    key: &'static str,
    addresses: &[SocketAddr],
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<Vec<T>, ServeError> {
    let mut bound = Vec::with_capacity(addresses.len());
    for address in addresses {
        match bind(*address) {
            Ok(listener) => bound.push(listener),
            Err(error) if !config.names_listener(key, *address) && lacks_family(&error) => {
                warn!("not listening on {address} ({key}): this host has no such addresses");
            }
            Err(error) => return Err(config.bind_problem(key, *address, &error).into()),
        }
    }
    Ok(bound)
}

fn lacks_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Starts the workers, each with its own core and its own sockets.
fn start_workers(
    config: &Config,
    found: &[IpAddr],
    bound: &mut Bound,
    door: Door,
    up: &Up,
    offload: Offload,
) -> Result<Vec<WorkerHandle>, ServeError> {
    let cannot = |error: &io::Error| ServeError::io("the workers cannot be started", error);
    let Bound { udp, tcp, tls, dtls, .. } = bound;
    let streams = [tcp.first(), tls.first()].into_iter().flatten().map(Vec::len).next();
    let datagrams = [udp.first(), dtls.first()].into_iter().flatten().map(Vec::len).next();
    let workers = datagrams.or(streams).unwrap_or(0);
    let limits = &config.limits;
    let mut handles = Vec::with_capacity(workers);
    for seat in worker::seats(workers, quota_limits(config), crowd_limits(config))
        .map_err(|e| cannot(&e))?
    {
        let share = handles.len() as u16;
        let mut core = config.turn(found, share, workers as u16);
        // Ports that the system chose are known only now.
        core.acl.listening_ports.extend(
            [&up.udp, &up.tcp, &up.tls, &up.dtls, &up.http, &up.discovery]
                .into_iter()
                .flatten()
                .map(SocketAddr::port),
        );
        core.alternates.tls_listeners.clone_from(&up.tls);
        let dtls = match &door.dtls {
            Some(shared) => Some(DtlsSetup {
                listeners: dtls.iter_mut().filter_map(Vec::pop).map(|it| it.requests).collect(),
                shared: Arc::clone(shared),
                cookie_secret: random()?,
            }),
            None => None,
        };
        let setup = WorkerSetup {
            core,
            seed: random()?,
            udp: udp.iter_mut().filter_map(Vec::pop).collect(),
            tcp: tcp.iter_mut().filter_map(Vec::pop).collect(),
            tls: tls.iter_mut().filter_map(Vec::pop).collect(),
            keyring: door.keyring.clone(),
            guests: door.guests.clone(),
            tls_limits: limits.tls(),
            dtls,
            balancers: config.listen.proxy_protocol.as_slice().into(),
            relay: relay::Options { offload, class: config.dscp, ..relay::Options::default() },
            idle: Lifetime::from_secs(limits.tcp_idle_secs),
            gather: config.gather,
        };
        handles.push(worker::spawn(seat, setup).map_err(|e| cannot(&e))?);
    }
    Ok(handles)
}

fn quota_limits(config: &Config) -> QuotaLimits {
    let limits = &config.limits;
    QuotaLimits { per_user: limits.allocations_per_user, total: limits.allocations_total }
}

fn crowd_limits(config: &Config) -> CrowdLimits {
    let limits = &config.limits;
    CrowdLimits {
        total: limits.tcp_connections,
        per_source: limits.tcp_connections_per_source,
        peers: limits.peer_connections,
    }
}

/// A key, a secret or a seed.
fn random() -> Result<[u8; 32], ServeError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        ServeError::io("the system gives no randomness", &io::Error::other(error))
    })?;
    Ok(bytes)
}

/// Says what is up: to the log, and where credentials were made up, once, to whoever looks.
fn announce(config: &Config, found: &[IpAddr], up: &Up, workers: usize, offload: Offload) {
    info!("hairpin {} with {workers} workers, {offload}", env!("CARGO_PKG_VERSION"));
    for line in config.summary(found) {
        info!("{line}");
    }
    if config.made_up {
        quickstart::print(config, found, &up.udp, &up.tcp, &up.tls, &up.http);
    }
}

/// Stops what still runs and says what it had done.
fn finish(workers: Vec<WorkerHandle>, result: Result<(), ServeError>) -> Result<(), ServeError> {
    for worker in &workers {
        // One that has ended already needs no telling.
        let _ = worker.stop();
    }
    let mut outcome = result;
    for worker in workers {
        let index = worker.index();
        match worker.join() {
            Ok(done) => info!(
                worker = index,
                allocations = done.core.allocations_created,
                to_peers = done.core.packets_to_peer,
                to_clients = done.core.packets_to_client,
                "ended"
            ),
            Err(failure @ (Failure::Io(_) | Failure::Panic(_))) => {
                let cause = format!("worker {index} failed: {failure}");
                outcome = Err(ServeError { cause });
            }
        }
    }
    outcome
}

/// The kernel's release; empty where it cannot be read, which is no known one.
fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Each allocation is a descriptor: as many as the system lets us have.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        warn!("the limit of open files stays as it is: {error}");
    }
}

/// Why a server did not start, or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeError {
    /// In words.
    pub cause: String,
}

impl ServeError {
    fn io(what: &str, error: &io::Error) -> Self {
        Self { cause: format!("{what}: {error}") }
    }
}

impl From<ConfigError> for ServeError {
    fn from(error: ConfigError) -> Self {
        Self { cause: error.to_string() }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for ServeError {}
