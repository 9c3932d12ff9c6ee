//! Several workers: what a packet costs where one worker has all the clients, and where two share
//! them, on the same CPUs.

use std::fmt::Write as _;

use serde_json::Value;

use crate::run::{Bench, Progress, Result, median};
use crate::servers::Seat;
use crate::table::Subject;

const WORKERS: [u32; 2] = [1, 2];
const LINES: [(&str, &str); 4] = [
    ("200 flows, up", "--mode up --flows 200 --size 160"),
    ("200 flows, down", "--mode down --flows 200 --size 160"),
    ("hairpin, 100 pairs", "--mode hairpin --flows 100 --size 160"),
    ("hairpin, a ring of 100", "--mode hairpin --flows 100 --ring --size 160"),
];

pub(crate) fn measure(bench: &Bench<'_>) -> Result<String> {
    let mut servers = Vec::new();
    for workers in WORKERS {
        let half = if workers == 1 { (49152, 57343) } else { (57344, 65535) };
        let seat =
            Seat { workers, everywhere: true, ports: half, ..Seat::beside(Subject::Hairpin) };
        servers.push(bench.start(Subject::Hairpin, &format!("{workers} workers"), &seat)?);
    }
    let rounds = bench.options.rounds();
    let mut progress = Progress::new(rounds * LINES.len() * WORKERS.len());
    let mut reports: [[Vec<Value>; WORKERS.len()]; LINES.len()] = Default::default();
    for _ in 0..rounds {
        for ((name, line), reports) in LINES.iter().zip(&mut reports) {
            for ((server, workers), reports) in servers.iter().zip(WORKERS).zip(reports) {
                progress.next(&format!("{name}, {workers} workers"))?;
                let mut load = bench.load(server, line);
                load.everywhere = true;
                reports.extend(load.run()?);
            }
        }
    }
    eprintln!();
    let mut text = String::from(
        "## Workers\n\nCPU time of the server's process per delivered packet in µs, and packets \
         per second, with one worker and with two. Server and load tool may use each CPU: where \
         there are two, the load tool takes its part of both, and the second worker has that much \
         less to win.\n\n\
         | case | 1 worker | 2 workers | ratio | per second | per second | CPUs | CPUs |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for ((name, _), reports) in LINES.iter().zip(&reports) {
        let [cost, rate, cpus] = ["/server_cpu/us_per_packet", "/per_second", "/server_cpu/cpus"]
            .map(|pointer| {
                reports.each_ref().map(|reports| {
                    median(reports.iter().filter_map(|report| report.pointer(pointer)?.as_f64()))
                        .unwrap_or(f64::NAN)
                })
            });
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.2} | {:.2} |",
            cost[0],
            cost[1],
            cost[1] / cost[0],
            rate[0],
            rate[1],
            cpus[0],
            cpus[1],
        );
    }
    Ok(text)
}
