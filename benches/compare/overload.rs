//! Overload: three times what a server can take, and who is still served meanwhile and after.
//!
//! The server receives each datagram by itself (`gro = "off"`), as it does where they come from
//! thousands of clients; the flood leaves in bursts, and a second one takes its part of the
//! server's CPU, as one CPU alone may not make so much.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::growth::resident_bytes;
use crate::run::{Bench, Load, Progress, Result, finish};
use crate::servers::Seat;
use crate::table::Subject;

/// How many times the capacity.
const TIMES: f64 = 3.0;
/// How often a bystander asks.
const ASKS_PER_SECOND: u32 = 10;
/// How long the server has to recover.
const RESPITE: Duration = Duration::from_secs(1);

pub(crate) fn measure(bench: &Bench<'_>) -> Result<String> {
    let mut text = format!(
        "## Overload\n\nUp, 10 flows in bursts of 16, 160 bytes, each datagram received by itself. \
         Capacity is what was delivered while one load tool sent as fast as it could without a \
         window; then two, one of them on the server's CPU, were to send {TIMES} times that for \
         {:.0} s: how much it was is told. Bystanders ask {ASKS_PER_SECOND} times a second; \
         answered: within 500 ms, at once or never, as nothing is asked twice. After: loss of a \
         flow of 1000 packets/s that begins one second after the end.\n\n\
         | server | capacity | sent per second | times | delivered per second | server's CPU | \
         Binding answered | Refresh answered | RSS before, MB | RSS after, MB | loss after |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        bench.options.flood_seconds(),
    );
    let subjects: Vec<Subject> =
        bench.subjects().into_iter().filter(|subject| *subject != Subject::CoturnFast).collect();
    let mut progress = Progress::new(subjects.len() * 3);
    for subject in subjects {
        text.push_str(&one(bench, subject, &mut progress)?);
    }
    eprintln!();
    Ok(text)
}

fn one(bench: &Bench<'_>, subject: Subject, progress: &mut Progress) -> Result<String> {
    let name = subject.name();
    let seat = Seat { gro: false, ..Seat::beside(subject) };
    let server = bench.start(subject, "overload", &seat)?;
    progress.next(&format!("{name}, capacity"))?;
    let flows = "--mode up --flows 10 --size 160 --burst 16 --window 0";
    let full = bench.load(&server, flows).seconds(2.0).run()?;
    let capacity = number(full.as_ref(), "/per_second");
    let before = resident_bytes(server.process.id())?;

    progress.next(&format!("{name}, {TIMES} times that"))?;
    let seconds = bench.options.flood_seconds();
    let rate = (capacity * TIMES / 2.0).max(1.0);
    let flood = format!("{flows} --rate {rate}");
    // The bystanders are there first, and go before the flood does.
    let ask = |mode: &str| {
        let line = format!("--mode {mode} --rate {ASKS_PER_SECOND}");
        let mut load = bench.load(&server, &line).seconds((seconds - 1.0).max(1.0));
        load.warmup = 1.0;
        load.start()
    };
    let [binding, refresh] = [ask("binding")?, ask("refresh")?];
    thread::sleep(Duration::from_millis(500));
    let mut flood = bench.load(&server, &flood).seconds(seconds);
    flood.warmup = 0.0;
    let second = Load { beside_server: true, ..flood.clone() };
    let floods = [flood.start()?, second.start()?];
    let [binding, refresh] = [finish(binding)?, finish(refresh)?];
    let mut reports = Vec::new();
    for flood in floods {
        reports.push(finish(flood)?);
    }
    let sum = |pointer| reports.iter().map(|report| number(report.as_ref(), pointer)).sum::<f64>();
    let after = resident_bytes(server.process.id())?;

    thread::sleep(RESPITE);
    progress.next(&format!("{name}, after"))?;
    let paced = bench.load(&server, "--mode echo --rate 1000 --size 160").seconds(2.0).run()?;
    let sent = sum("/sent") / (sum("/seconds") / 2.0);
    let mut line = format!(
        "| {name} | {capacity:.0} | {sent:.0} | {:.1} | {:.0} | {:.0} % |",
        sent / capacity,
        sum("/per_second"),
        sum("/server_cpu/cpus") / 2.0 * 100.0,
    );
    for bystander in [&binding, &refresh] {
        let share = 1.0 - number(bystander.as_ref(), "/loss");
        let _ = write!(line, " {:.1} % |", share * 100.0);
    }
    let mb = |bytes: u64| bytes as f64 / 1e6;
    let loss = number(paced.as_ref(), "/loss") * 100.0;
    let _ = writeln!(line, " {:.1} | {:.1} | {loss:.2} % |", mb(before), mb(after));
    Ok(line)
}

/// NaN where there is none: a run that failed shows as such.
fn number(report: Option<&Value>, pointer: &str) -> f64 {
    report.and_then(|report| report.pointer(pointer)?.as_f64()).unwrap_or(f64::NAN)
}
