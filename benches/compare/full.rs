//! Full load: what each packet costs a server that has all the load one CPU can make.

use std::io;

use crate::bare::Way;
use crate::cases::{self, Case, Pattern};
use crate::run::{Bench, Load, Progress, Result, Server};
use crate::servers;
use crate::table::{Sample, Samples};

/// All rounds: in each, every case with every server in turn, and with the bare loops behind the
/// first case whose work is like theirs.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<String> {
    let options = bench.options;
    let cases: Vec<Case> =
        cases::all().into_iter().filter(|case| options.wants(case.name)).collect();
    let servers = bench.start_all("full")?;
    let is_first = |place: usize| {
        let key = |case: &Case| (case.pattern, case.size);
        !cases[..place].iter().any(|case| key(case) == key(&cases[place]))
    };
    let firsts = (0..cases.len()).filter(|place| is_first(*place));
    let bare = firsts.filter_map(|place| Some(cases[place].pattern?.ways().len()));
    let runs = options.rounds() * (cases.len() * servers.len() + bare.sum::<usize>());
    let mut samples = Samples::default();
    let mut progress = Progress::new(runs);
    for _ in 0..options.rounds() {
        for (place, case) in cases.iter().enumerate() {
            for server in &servers {
                let size = case.size.map_or_else(String::new, |size| format!(", {size} B"));
                progress.next(&format!("{}{size}, {}", case.name, server.subject.name()))?;
                if let Some(sample) = sample(&run(bench, server, case))? {
                    samples.add_server(server.subject, place, sample);
                }
            }
            let (Some(pattern), Some(size), true) = (case.pattern, case.size, is_first(place))
            else {
                continue;
            };
            for way in pattern.ways() {
                progress.next(&format!("{}, {size} B, {}", pattern.line(), way.name()))?;
                if let Some(sample) = bare_loop(bench, *way, pattern, size)? {
                    samples.add_bare(*way, pattern, size, sample);
                }
            }
        }
    }
    eprintln!();
    Ok(samples.markdown(&cases))
}

fn run<'a>(bench: &Bench<'_>, server: &'a Server, case: &Case) -> Load<'a> {
    let size = case.size.map_or_else(String::new, |size| format!(" --size {size}"));
    let mut load = bench.load(server, &format!("{}{size}", case.line));
    load.uri = server.uri(case.transport);
    load
}

fn sample(load: &Load<'_>) -> Result<Option<Sample>> {
    let sample = load.run()?.as_ref().and_then(Sample::of);
    if let Some(sample) = &sample {
        eprint!(" {}", sample.brief());
    }
    Ok(sample)
}

/// One run with a bare loop of its own.
fn bare_loop(bench: &Bench<'_>, way: Way, pattern: Pattern, size: u32) -> Result<Option<Sample>> {
    for _ in 0..3 {
        let [from, to] = servers::free_addresses()?;
        // Somebody else may have been quicker to take the port.
        let Ok(process) = servers::bare(way, from, to) else { continue };
        let line = format!("--mode up {} --peer {to} --size {size}", pattern.line());
        return sample(&bench.plain(format!("udp:{from}"), line, &process));
    }
    Err(io::Error::other("the bare loop does not start").into())
}
