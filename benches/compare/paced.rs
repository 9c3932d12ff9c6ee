//! The pace of calls: packets that come one by one, and how long each takes to a peer and back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::run::{Bench, Progress, Result, median};
use crate::table::Subject;

const RATE: u32 = 2000;
const FLOWS: [u32; 2] = [1, 10];

pub(crate) fn measure(bench: &Bench<'_>) -> Result<String> {
    let servers = bench.start_all("paced")?;
    let rounds = bench.options.rounds();
    // So few packets need longer, for a thousandth of them to be some.
    let seconds = 5.0 * bench.options.seconds();
    let mut progress = Progress::new(rounds * FLOWS.len() * servers.len());
    let mut reports: BTreeMap<(u32, Subject), Vec<Value>> = BTreeMap::new();
    for _ in 0..rounds {
        for flows in FLOWS {
            for server in &servers {
                progress
                    .next(&format!("{RATE} packets/s, {flows} flows, {}", server.subject.name()))?;
                let line =
                    format!("--mode echo --rate {RATE} --flows {flows} --peers {flows} --size 160");
                let report = bench.load(server, &line).seconds(seconds).run()?;
                reports.entry((flows, server.subject)).or_default().extend(report);
            }
        }
    }
    eprintln!();
    let mut text = format!(
        "## Paced\n\nRound trips client, server, peer, server, client in µs, at {RATE} packets/s \
         of 160 bytes over all flows, each of which has a peer of its own.\n\n\
         | flows | server | p50 | p99 | p99.9 | longest | loss | server's CPU, µs each |\n\
         |---:|---|---:|---:|---:|---:|---:|---:|\n"
    );
    for ((flows, subject), reports) in &reports {
        let middle = |pointer: &str| {
            median(reports.iter().filter_map(|report| report.pointer(pointer)?.as_f64()))
                .unwrap_or(f64::NAN)
        };
        let _ = writeln!(
            text,
            "| {flows} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} % | {:.1} |",
            subject.name(),
            middle("/latency_us/p50"),
            middle("/latency_us/p99"),
            middle("/latency_us/p99.9"),
            middle("/latency_us/max"),
            middle("/loss") * 100.0,
            middle("/server_cpu/us_per_packet"),
        );
    }
    Ok(text)
}
