//! Growth: what a packet costs where few allocations live and where many do, and the memory that
//! one takes that nothing is done with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::run::{Bench, Progress, Result, Server, median};
use crate::servers::Seat;
use crate::table::Subject;

/// Flows with traffic, in both cases.
const FLOWS: u32 = 100;
/// Packets that the core is given in one round.
const CORE_PACKETS: u32 = 2_000_000;
/// Descriptors that a server needs besides those of its idle allocations.
const DESCRIPTORS_BESIDE: u64 = 500;
/// Relayed ports that are counted on for each address.
const PORTS: u32 = 15_000;

/// A server that holds many allocations which carry nothing.
pub(crate) struct Crowd {
    pub(crate) server: Server,
    pub(crate) idle: u32,
    bytes_each: f64,
    /// When all of them do.
    pub(crate) expires: Instant,
}

/// A server with few and one with many.
struct Pair {
    few: Server,
    many: Crowd,
    runs: [Vec<f64>; 2],
}

pub(crate) fn measure(bench: &Bench<'_>) -> Result<String> {
    let mut pairs = BTreeMap::new();
    for subject in bench.subjects() {
        match pair(bench, subject) {
            Ok(pair) => drop(pairs.insert(subject, pair)),
            Err(error) => eprintln!("{}: {error}", subject.name()),
        }
    }
    let rounds = bench.options.rounds();
    let mut progress = Progress::new(rounds * pairs.len() * 2);
    for _ in 0..rounds {
        for (subject, pair) in &mut pairs {
            for (server, runs) in [&pair.few, &pair.many.server].into_iter().zip(&mut pair.runs) {
                progress.next(&format!("growth, {}", subject.name()))?;
                let line = format!("--mode both --flows {FLOWS} --peers {FLOWS} --size 160");
                let report = bench.load(server, &line).run()?;
                runs.extend(report.and_then(|r| r.pointer("/server_cpu/us_per_packet")?.as_f64()));
            }
        }
    }
    eprintln!();
    let mut text = table(&pairs, bench.options.live);
    text.push_str(&core(bench)?);
    Ok(text)
}

/// So many as were asked for, or as one process may have descriptors: each allocation is a socket
/// but where all share one.
fn live(bench: &Bench<'_>, subject: Subject) -> Result<u32> {
    use nix::sys::resource::{Resource, getrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = u32::try_from(hard.saturating_sub(DESCRIPTORS_BESIDE)).unwrap_or(u32::MAX);
    let live = bench.options.live.max(FLOWS + 1);
    Ok(if subject == Subject::CoturnFast { live } else { live.min(most) })
}

fn pair(bench: &Bench<'_>, subject: Subject) -> Result<Pair> {
    let few = bench.start(subject, "few", &Seat::beside(subject))?;
    Ok(Pair { few, many: crowded(bench, subject, "many")?, runs: Default::default() })
}

/// Starts a server and fills it.
pub(crate) fn crowded(bench: &Bench<'_>, subject: Subject, name: &str) -> Result<Crowd> {
    let live = live(bench, subject)?;
    eprintln!("{}: {live} live allocations …", subject.name());
    // A network for each server: one address has no more than 16 384 ports to relay from.
    let relay = (0..=live / PORTS).map(|n| Ipv4Addr::new(127, 1, subject as u8, 1 + n as u8));
    let seat = Seat { relay: relay.collect(), ports: (49152, 65535), ..Seat::beside(subject) };
    let server = bench.start(subject, name, &seat)?;
    // What a server takes for its first packets is not what an allocation takes.
    bench.load(&server, &format!("--flows {FLOWS} --peers {FLOWS}")).seconds(0.2).run()?;
    let before = resident_bytes(server.process.id())?;
    let idle = live - FLOWS;
    let line = format!("--mode refresh --rate 10 --idle {idle} --leave");
    let report = bench.load(&server, &line).seconds(0.2).run()?;
    let secs = report.as_ref().and_then(|report| report["idle_expires_secs"].as_f64());
    let secs = secs.ok_or_else(|| format!("it does not hold {idle} allocations"))?;
    let expires = Instant::now() + Duration::from_secs_f64(secs);
    let after = resident_bytes(server.process.id())?;
    let bytes_each = (after as f64 - before as f64) / f64::from(idle);
    Ok(Crowd { server, idle, bytes_each, expires })
}

/// What of a process is in memory.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// hairpin's core needs no descriptors: it can be asked for all of them.
fn core(bench: &Bench<'_>) -> Result<String> {
    let live = bench.options.live.max(FLOWS + 1);
    let mut cores = [Core::with(FLOWS)?, Core::with(live)?];
    let mut runs: [Vec<f64>; 2] = Default::default();
    for _ in 0..bench.options.rounds() {
        for (core, runs) in cores.iter_mut().zip(&mut runs) {
            runs.push(core.relay_ns(CORE_PACKETS)?);
        }
    }
    let [few, many] = runs.map(|runs| median(runs).unwrap_or(f64::NAN));
    Ok(format!(
        "\nhairpin's core by itself, without sockets, relays a packet of {FLOWS} flows in \
         {few:.0} ns where these are all, and in {many:.0} ns where {live} allocations live.\n"
    ))
}

fn table(pairs: &BTreeMap<Subject, Pair>, wanted: u32) -> String {
    let mut text = format!(
        "## Growth\n\nCPU time of the server's process per delivered packet in µs, {FLOWS} flows \
         both ways, 160 bytes; and the resident memory that an idle allocation adds, in bytes, the \
         kernel's for its socket not among it.\n\n\
         | server | {FLOWS} live | many live | how many | ratio | memory each |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    for (subject, pair) in pairs {
        let [few, many] =
            pair.runs.each_ref().map(|runs| median(runs.iter().copied()).unwrap_or(f64::NAN));
        let _ = writeln!(
            text,
            "| {} | {few:.2} | {many:.2} | {} | {:.2} | {:.0} |",
            subject.name(),
            pair.many.idle + FLOWS,
            many / few,
            pair.many.bytes_each,
        );
    }
    if pairs.values().any(|pair| pair.many.idle + FLOWS < wanted) {
        let _ = writeln!(
            text,
            "\n{wanted} were asked for; the system lets one process have no more descriptors."
        );
    }
    text
}
