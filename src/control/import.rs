//! `hairpin import-coturn`: coturn's turnserver.conf becomes a turnserver.toml, and what cannot is
//! told, with why and what to do instead.
//!
//! `lines` reads the file as coturn does, `options` knows what becomes of each option, and one
//! module for each part of turnserver.toml writes its keys into a `draft`. Nothing is asked of the
//! system on the way, so the same file gives the same result; what the host has to say to it stands
//! in [`Host`]. A secret goes into the result and nowhere else.

mod alternates;
mod auth;
mod draft;
mod generic;
mod limits;
mod lines;
mod listen;
mod notes;
pub mod options;
mod peers;
pub mod ranges;
mod relay;
mod store;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

pub use self::draft::Host;
pub use self::notes::{Note, Weight};

use self::draft::Draft;
use crate::control::certificates::Certificates;
use crate::control::config::{Config, ConfigError};
use crate::control::interfaces;
use crate::net::dtls::Identity;

/// `hairpin import-coturn`
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// coturn's configuration file, such as /etc/turnserver.conf
    #[arg(value_name = "TURNSERVER.CONF")]
    pub from: PathBuf,
    /// Write this file, readable by its owner only, instead of stdout
    #[arg(long, short, value_name = "TURNSERVER.TOML")]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// What an import comes to.
#[derive(Clone, PartialEq, Eq)]
pub struct Imported {
    /// The turnserver.toml. It has secrets in it, so there is no `Debug`.
    pub toml: String,
    /// How many of its keys are written.
    pub keys: usize,
    /// What is to be said, in the order in which it was found.
    pub notes: Vec<Note>,
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("Imported");
        told.field("keys", &self.keys).field("notes", &self.notes).finish_non_exhaustive()
    }
}

/// Translates the bytes of a turnserver.conf that is called `name`.
pub fn translate(name: &str, bytes: &[u8], host: &Host) -> Imported {
    let (entries, notes) = lines::read(bytes);
    let mut draft = Draft::new(&entries, host);
    draft.notes = notes;
    generic::tell(&mut draft);
    let listening = draft.addresses("listening-ip");
    listen::carry(&mut draft, &listening);
    relay::carry(&mut draft, &listening);
    alternates::carry(&mut draft);
    auth::carry(&mut draft);
    peers::carry(&mut draft);
    limits::carry(&mut draft);
    let place = |note: &Note| note.line.unwrap_or(usize::MAX);
    draft.notes.sort_by(|a, b| (place(a), &a.text).cmp(&(place(b), &b.text)));
    // What stands for two keys may have been told for each.
    draft.notes.dedup();
    Imported { toml: draft.written(name), keys: draft.keys(), notes: draft.notes }
}

/// Runs the command: the result goes to its file or to `out`, the notes to stderr.
///
/// # Errors
///
/// Stdout or stderr takes nothing more.
pub fn run(options: &Options, out: &mut impl Write) -> io::Result<ExitCode> {
    let mut err = io::stderr().lock();
    let name = options.from.display().to_string();
    let bytes = match std::fs::read(&options.from) {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "{name}: cannot be read: {error}")?;
            writeln!(err, "    cure: name coturn's file, and import as a user who may read it")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let imported = match imported(&name, &bytes, &options.from) {
        Ok(imported) => imported,
        Err(error) => {
            writeln!(err, "what was made of {name} is not good, which is a fault of hairpin's:")?;
            writeln!(err, "{error}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    match &options.output {
        None => out.write_all(imported.toml.as_bytes())?,
        Some(path) => {
            let stored = store::store(path, &options.from, options.force, &imported.toml);
            if let Err(refusal) = stored {
                writeln!(err, "{refusal}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    tell(&name, options.output.as_deref(), &imported, &mut err)?;
    Ok(ExitCode::SUCCESS)
}

/// Translates for this very host, and holds the result to what the server would say to it.
fn imported(name: &str, bytes: &[u8], from: &Path) -> Result<Imported, ConfigError> {
    let directory = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
    let directory = directory.parent().map(Path::to_owned).unwrap_or_default();
    let found = interfaces::found().unwrap_or_default();
    let mut host = Host { found, directory, dtls: Identity::KNOWN, certificate: None };
    let imported = translate(name, bytes, &host);
    let config = Config::parse("the new file", &imported.toml, &mut rand::rng())?;
    let Err(error) = Certificates::load(&config) else { return Ok(imported) };
    // coturn goes on without TLS where the certificate cannot be used, and says so.
    let problem = error.problems.into_iter().next();
    host.certificate = problem.map(|problem| (problem.cause, problem.cure));
    let imported = translate(name, bytes, &host);
    Config::parse("the new file", &imported.toml, &mut rand::rng())?;
    Ok(imported)
}

fn tell(
    name: &str,
    output: Option<&Path>,
    imported: &Imported,
    err: &mut impl Write,
) -> io::Result<()> {
    for (weight, heading) in Weight::ALL {
        let mut notes = imported.notes.iter().filter(|note| note.weight == weight).peekable();
        if notes.peek().is_some() {
            writeln!(err, "{heading}")?;
        }
        for note in notes {
            err.write_all(note.told(name).as_bytes())?;
        }
    }
    let count = |weight| imported.notes.iter().filter(|note| note.weight == weight).count();
    writeln!(
        err,
        "{}: {} keys; options that were not carried over: {}, that need nothing: {}",
        output.map_or_else(|| "stdout".to_owned(), |path| path.display().to_string()),
        imported.keys,
        count(Weight::Lost),
        count(Weight::Needless),
    )?;
    if let Some(path) = output {
        let path = path.display();
        writeln!(err, "see what it comes to: hairpin check-config --config {path}")?;
    }
    Ok(())
}
