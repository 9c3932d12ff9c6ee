//! Compares what servers cost the CPU, all in one run and turn by turn, so that what disturbs the
//! machine disturbs all of them: hairpin, coturn where it is installed, and bare kernel loops.
//!
//! ```text
//! cargo bench --bench compare -- --quick
//! cargo bench --bench compare -- --rounds 5 --markdown table.md
//! cargo bench --bench compare -- --sections paced,growth
//! ```
//!
//! Servers are held to CPU 0, the load tool to CPU 1, but where the section is about several
//! workers. What it prints are medians of the rounds.
#![allow(clippy::disallowed_methods, reason = "processes need the real clock")]
#![allow(clippy::print_stdout, reason = "the table is the answer")]
#![allow(missing_docs, reason = "a bench has no readers but those of this file")]

mod bare;
mod cases;
mod core;
mod expiry;
mod full;
mod growth;
mod options;
mod overload;
mod paced;
mod run;
mod servers;
mod table;
mod workers;

use std::error::Error;
use std::fs;

use clap::Parser;

use options::{Options, Section};
use run::Bench;

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
    let bench = Bench::new(&options, directory.path());
    let mut text = String::new();
    for section in options.sections() {
        let part = match section {
            Section::Full => full::measure(&bench),
            Section::Paced => paced::measure(&bench),
            Section::Growth => growth::measure(&bench),
            Section::Expiry => expiry::measure(&bench),
            Section::Overload => overload::measure(&bench),
            Section::Workers => workers::measure(&bench),
        };
        let part = part.map_err(|error| format!("{section:?}: {error}"))?;
        println!("{part}");
        text.push_str(&part);
        text.push('\n');
        // What was measured is there even where a later section fails.
        if let Some(file) = &options.markdown {
            fs::write(file, &text)?;
        }
    }
    Ok(())
}
