//! `hairpin load`: the other end of the wire. Clients and peers that put load on any STUN or TURN
//! server, and measure what it delivers, how late, and at what cost.
//!
//! ```text
//! options         what is asked for           setup      ports, allocations, lanes
//! client          one request after another
//! flow            the packet loop             lane       packets one way of one flow
//! exchange        the request loop            pace       when packets are due
//! port            our sockets                 stamp      what a packet carries
//! unwrap          what servers wrap           watch      when to begin, when to end
//! mirror          a peer that sends all back   idle    allocations that carry nothing
//! report          what it came to             histogram, cpu
//! ```
//!
//! One thread does all of it: on a small machine the other CPUs are the server's.

mod client;
pub mod cpu;
mod exchange;
mod flow;
pub mod histogram;
mod idle;
pub mod lane;
mod mirror;
pub mod options;
mod pace;
mod port;
pub mod report;
mod setup;
pub mod stamp;
mod unwrap;
mod watch;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::load::client::{Allocation, Clients};
use crate::load::exchange::Exchanges;
use crate::load::flow::Traffic;
use crate::load::idle::Idle;
use crate::load::port::Ports;
use crate::load::watch::{Watch, Watched};

pub use crate::client::Login;
pub use options::{Mode, Options};
pub use report::Report;

/// Runs what is asked for and prints what it came to.
///
/// # Errors
///
/// Where the server cannot be reached, does not let us, or nobody reads the answer.
pub fn run(options: &Options, login: Option<Login>, out: &mut impl Write) -> io::Result<ExitCode> {
    if let Some(objection) = options.objection() {
        writeln!(io::stderr().lock(), "{objection}")?;
        return Ok(ExitCode::from(2));
    }
    hear_interrupts()?;
    let descriptors = raise_descriptors()?;
    if options.sockets() + DESCRIPTORS_BESIDE > descriptors {
        let sockets = options.sockets();
        writeln!(io::stderr().lock(), "{sockets} sockets, and {descriptors} may be open (ulimit)")?;
        return Ok(ExitCode::from(2));
    }
    let report = measure(options, login)?;
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        report.print(out)?;
    }
    Ok(if report.counts.delivered > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets up, runs, and clears away again, whatever happens between.
fn measure(options: &Options, login: Option<Login>) -> io::Result<Report> {
    let server = options.uri.resolve()?;
    let run_secs = (options.warmup + options.seconds).as_secs() as u32;
    let clients = Clients {
        server,
        transport: options.uri.transport(),
        tls: options.visit()?,
        login,
        peer: setup::peer_address(options, server)?,
        lifetime_secs: run_secs + LIFETIME_BEYOND_SECS,
        merge: !options.no_gro,
        clock: Clock::start(),
    };
    let mut idle = Idle::default();
    let live = watch::is_live(options);
    let filled = idle.fill(&clients, options.idle, clients.lifetime_secs, live);
    let report = filled.and_then(|()| match options.mode() {
        Mode::Allocate | Mode::Refresh => exchange(options, server, &clients),
        _ => flow(options, server, &clients),
    });
    let (held, ends_ns) = (idle.len(), idle.ends_ns);
    let left_behind = if options.leave && report.is_ok() { 0 } else { idle.delete(&clients) };
    let mut report = report?;
    report.left_behind += left_behind;
    report.idle = held;
    report.idle_expires_secs =
        options.leave.then(|| ends_ns.saturating_sub(clients.clock.ns()) as f64 / 1e9);
    Ok(report)
}

fn flow(options: &Options, server: SocketAddr, clients: &Clients) -> io::Result<Report> {
    let mut traffic = Traffic::new(options, clients.clock)?;
    let mut allocations = Vec::new();
    let mut watch = None;
    let result = setup::lay_out(&mut traffic, clients, &mut allocations).and_then(|()| {
        let watch = watch.insert(Watch::start(options, clients.clock.ns()));
        traffic.go(watch)
    });
    let left_behind = clear_away(clients, &mut traffic.ports, allocations);
    result?;
    let watch = watch.expect("it has run");
    let mut report = Report::new(options, server, &watch, traffic.counts(), &traffic.latencies);
    for lane in &traffic.lanes {
        report.directions.entry(lane.direction).or_default().add(lane.counts());
    }
    (report.refused, report.foreign) = (traffic.refused, traffic.foreign);
    report.left_behind = left_behind;
    Ok(report)
}

fn exchange(options: &Options, server: SocketAddr, clients: &Clients) -> io::Result<Report> {
    let mut ports = Ports::new(clients.clock)?;
    let mut allocations = Vec::new();
    if let Err(error) = setup::lay_slots(&mut ports, clients, options, &mut allocations) {
        if options.mode() == Mode::Refresh {
            clear_away(clients, &mut ports, allocations);
        }
        return Err(error);
    }
    let mut exchanges = Exchanges::new(options, clients, ports, allocations);
    let mut watch = Watch::start(options, clients.clock.ns());
    let result = exchanges.go(&mut watch);
    let mut report = Report::new(options, server, &watch, exchanges.counts(), &exchanges.latencies);
    report.errors.clone_from(&exchanges.errors);
    report.refused = exchanges.refused;
    let abandoned = exchanges.abandoned;
    let (mut ports, held) = exchanges.into_held();
    report.left_behind = abandoned + clear_away(clients, &mut ports, held);
    result.map(|()| report)
}

/// Deletes what was allocated; how many the server may still hold.
fn clear_away(clients: &Clients, ports: &mut Ports, allocations: Vec<Allocation>) -> usize {
    if ports.set_nonblocking(false).is_err() {
        return allocations.len();
    }
    clients.delete(ports, allocations)
}

/// Lets us open as many descriptors as the system permits; how many that is.
fn raise_descriptors() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard))
}

/// Descriptors that we need besides sockets.
const DESCRIPTORS_BESIDE: u64 = 32;

/// How much longer than the run an allocation lives that we do not come to delete.
const LIFETIME_BEYOND_SECS: u32 = 60;

/// Nanoseconds since it was started.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is where a run's clock is read")]
    fn start() -> Self {
        Self { origin: Instant::now() }
    }

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "this is where a run's clock is read")]
    fn ns(self) -> u64 {
        Instant::now().saturating_duration_since(self.origin).as_nanos() as u64
    }
}

/// Whether somebody wants the run to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From now on SIGINT and SIGTERM end the run, not the process: there is something to clear away.
fn hear_interrupts() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    })?;
    Ok(())
}
