//! Compares what servers cost the CPU, all in one run and turn by turn, so that what disturbs the
//! machine disturbs all of them: hairpin, coturn where it is installed, and bare kernel loops.
//!
//! ```text
//! cargo bench --bench compare -- --quick
//! cargo bench --bench compare -- --rounds 5 --markdown BENCHMARKS.md
//! ```
//!
//! Servers are held to CPU 0, the load tool to CPU 1. What it prints are medians of the rounds.
#![allow(clippy::disallowed_methods, reason = "processes need the real clock")]
#![allow(clippy::print_stdout, reason = "the table is the answer")]
#![allow(missing_docs, reason = "a bench has no readers but those of this file")]

mod bare;
mod cases;
mod servers;
mod table;

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;

use bare::Way;
use cases::{Case, Pattern};
use servers::{Relaying, Running};
use table::{Sample, Samples, Subject};

/// Compares hairpin with coturn and with bare kernel loops
#[derive(Clone, Debug, Parser)]
struct Options {
    /// One short round
    #[arg(long)]
    quick: bool,
    /// Rounds, of which the medians count [default: 5, or 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each case is measured [default: 2, or 0.5 with --quick]
    #[arg(long)]
    seconds: Option<f64>,
    /// Where coturn's turnserver is
    #[arg(long, default_value = "/usr/bin/turnserver")]
    coturn: PathBuf,
    /// Where a turnserver of 4.17 or later is, to run with --multiplex-peer --udp-gso
    #[arg(long, value_name = "PATH")]
    coturn_fast: Option<PathBuf>,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Write the tables there
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true, requires_all = ["listen", "peer"])]
    bare: Option<Way>,
    #[arg(long, hide = true)]
    listen: Option<SocketAddrV4>,
    #[arg(long, hide = true)]
    peer: Option<SocketAddrV4>,
}

/// A server that runs.
struct Server {
    subject: Subject,
    address: SocketAddrV4,
    process: Running,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let (Some(way), Some(listen), Some(peer)) = (options.bare, options.listen, options.peer) {
        return Ok(bare::forward(way, listen, peer)?);
    }
    if !options.bench {
        println!("run me by: cargo bench --bench compare -- --quick");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let servers = start(&options, directory.path())?;
    let cases = cases::all().into_iter().filter(|case| case.name.contains(&options.only));
    let samples = measure(&options, &servers, &cases.clone().collect::<Vec<_>>())?;
    let table = samples.markdown(&cases.collect::<Vec<_>>());
    println!("{table}");
    if let Some(file) = &options.markdown {
        fs::write(file, table)?;
    }
    Ok(())
}

fn start(options: &Options, directory: &Path) -> Result<Vec<Server>, Box<dyn Error>> {
    let mut list = Vec::new();
    let mut add = |subject: Subject, start: &dyn Fn(&Path, SocketAddrV4) -> io::Result<Running>| {
        let [address, _] = servers::free_addresses()?;
        let process = start(&directory.join(subject.name()), address)?;
        list.push(Server { subject, address, process });
        io::Result::Ok(())
    };
    add(Subject::Hairpin, &servers::hairpin)?;
    if options.coturn.exists() {
        add(Subject::Coturn, &|directory, address| {
            servers::coturn(&options.coturn, directory, address, Relaying::Apart)
        })?;
    } else {
        eprintln!("{} is not there: no comparison with coturn", options.coturn.display());
    }
    if let Some(program) = &options.coturn_fast {
        add(Subject::CoturnFast, &|directory, address| {
            servers::coturn(program, directory, address, Relaying::Together)
        })?;
    }
    Ok(list)
}

/// All rounds: in each, every case with every server in turn, and with the bare loops behind the
/// first case whose work is like theirs.
fn measure(
    options: &Options,
    servers: &[Server],
    cases: &[Case],
) -> Result<Samples, Box<dyn Error>> {
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 5 });
    let is_first = |place: usize| {
        let key = |case: &Case| (case.pattern, case.size);
        !cases[..place].iter().any(|case| key(case) == key(&cases[place]))
    };
    let firsts = (0..cases.len()).filter(|place| is_first(*place));
    let bare = firsts.filter_map(|place| Some(cases[place].pattern?.ways().len()));
    let total = rounds * (cases.len() * servers.len() + bare.sum::<usize>());
    let mut samples = Samples::default();
    let mut done = 0;
    for _ in 0..rounds {
        for (place, case) in cases.iter().enumerate() {
            for server in servers {
                let size = case.size.map_or_else(String::new, |size| format!(", {size} B"));
                done += 1;
                progress(done, total, &format!("{}{size}, {}", case.name, server.subject.name()))?;
                let uri = format!("turn:{}?transport={}", server.address, case.transport);
                let line = format!("{} --user u --password p", case.line);
                if let Some(sample) = run(options, &uri, &line, case.size, server.process.id())? {
                    samples.add_server(server.subject, place, sample);
                }
            }
            let (Some(pattern), Some(size), true) = (case.pattern, case.size, is_first(place))
            else {
                continue;
            };
            for way in pattern.ways() {
                done += 1;
                progress(done, total, &format!("{}, {size} B, {}", pattern.line(), way.name()))?;
                if let Some(sample) = bare_loop(options, *way, pattern, size)? {
                    samples.add_bare(*way, pattern, size, sample);
                }
            }
        }
    }
    eprintln!();
    Ok(samples)
}

fn progress(done: usize, total: usize, what: &str) -> io::Result<()> {
    const BAR: usize = 24;
    let filled = done * BAR / total.max(1);
    let bar = "█".repeat(filled) + &"░".repeat(BAR - filled);
    eprint!("\r\x1b[K{bar} {done}/{total} {what} …");
    io::stderr().flush()
}

/// One run with a bare loop of its own.
fn bare_loop(
    options: &Options,
    way: Way,
    pattern: Pattern,
    size: u32,
) -> Result<Option<Sample>, Box<dyn Error>> {
    for _ in 0..3 {
        let [from, to] = servers::free_addresses()?;
        // Somebody else may have been quicker to take the port.
        let Ok(process) = servers::bare(way, from, to) else { continue };
        let line = format!("--mode up {} --peer {to}", pattern.line());
        return run(options, &format!("udp:{from}"), &line, Some(size), process.id());
    }
    eprintln!(" the bare loop does not start");
    Ok(None)
}

/// One run of the load tool; `None`, with a word, where it failed.
fn run(
    options: &Options,
    uri: &str,
    line: &str,
    size: Option<u32>,
    pid: u32,
) -> Result<Option<Sample>, Box<dyn Error>> {
    let seconds = options.seconds.unwrap_or(if options.quick { 0.5 } else { 2.0 });
    let mut command = servers::load();
    command.arg(uri).args(line.split_whitespace()).args(["--json", "--quiet"]);
    command.args(["--seconds", &seconds.to_string(), "--server-pid", &pid.to_string()]);
    command.args(["--warmup", if options.quick { "0.2" } else { "0.5" }]);
    if let Some(size) = size {
        command.args(["--size", &size.to_string()]);
    }
    let output = command.output()?;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let sample = Sample::of(&report);
    match &sample {
        Some(sample) => eprint!(" {}", sample.brief()),
        None => eprintln!(" failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
    Ok(sample)
}
