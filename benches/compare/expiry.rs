//! Expiry: all allocations end in the same second. How long that keeps a packet waiting.
//!
//! No allocation lives for less than ten minutes (RFC 8656 §7.2) and no server can be told
//! otherwise, so this is measured in two ways: on hairpin's core, whose clock is an argument; and,
//! with `--wait`, on running servers in eleven real minutes.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::growth::crowded;
use crate::run::{Bench, Result};

/// How long before they expire the paced flow begins, and how long it goes on.
const AHEAD_SECS: f64 = 6.0;
const PACED_SECS: f64 = 20.0;
const RATE: u32 = 1000;
/// How long after one server the next one is filled.
const APART: Duration = Duration::from_secs(30);

pub(crate) fn measure(bench: &Bench<'_>) -> Result<String> {
    let live = bench.options.live;
    let ended = Core::with(live)?.expire()?;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let mut text = format!(
        "## Expiry\n\n\
         hairpin's core, simulated time: {live} allocations with a channel each end in the same \
         second, in {} calls of {:.2} ms at most and {:.0} ms together; between two calls a worker \
         looks at its sockets. The closing of the relay sockets is not among it.\n",
        ended.calls,
        ms(ended.longest),
        ms(ended.total),
    );
    if bench.options.wait {
        text.push_str(&wait(bench)?);
    }
    Ok(text)
}

/// Running servers, each with as many as it can hold; they wait at the same time.
fn wait(bench: &Bench<'_>) -> Result<String> {
    let mut crowds = Vec::new();
    for subject in bench.subjects() {
        // One after another, so that each has its CPU to itself when its time has come.
        if !crowds.is_empty() {
            thread::sleep(APART);
        }
        match crowded(bench, subject, "expiry") {
            Ok(crowd) => crowds.push(crowd),
            Err(error) => eprintln!("{}: {error}", subject.name()),
        }
    }
    let mut text = format!(
        "\nRunning servers, real time: the longest round trip of a flow of {RATE} packets/s while \
         all others end in the same second.\n\n\
         | server | allocations | sockets closed then | p50 µs | p99 µs | longest, ms | loss |\n\
         |---|---:|---:|---:|---:|---:|---:|\n"
    );
    for crowd in &crowds {
        let left = crowd.expires.saturating_duration_since(Instant::now());
        let ahead = Duration::from_secs_f64(AHEAD_SECS);
        eprintln!("{}: {:.0} s to go …", crowd.server.subject.name(), left.as_secs_f64());
        thread::sleep(left.saturating_sub(ahead));
        let line = format!("--mode echo --rate {RATE} --size 160");
        let before = descriptors(crowd.server.process.id())?;
        let report = bench.load(&crowd.server, &line).seconds(PACED_SECS).run()?;
        let closed = before.saturating_sub(descriptors(crowd.server.process.id())?);
        let number = |pointer: &str| {
            report.as_ref().and_then(|report| report.pointer(pointer)?.as_f64()).unwrap_or(f64::NAN)
        };
        let _ = writeln!(
            text,
            "| {} | {} | {closed} | {:.0} | {:.0} | {:.1} | {:.2} % |",
            crowd.server.subject.name(),
            crowd.idle,
            number("/latency_us/p50"),
            number("/latency_us/p99"),
            number("/latency_us/max") / 1e3,
            number("/loss") * 100.0,
        );
    }
    Ok(text)
}

/// How many a process has open: what has expired is seen by them.
fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
