//! The log: one line for each event, to stderr. Stdout belongs to the commands.
//!
//! Nothing is logged for each packet, and no secret ever. What comes from outside goes into
//! fields, whose control characters the subscriber escapes.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use serde::Deserialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people, and for what reads them line by line.
    #[default]
    Text,
    /// A JSON object for each line.
    Json,
}

/// Keeps the log's thread; what was not written yet is written when it goes.
#[derive(Debug)]
#[must_use]
pub struct Log {
    _writer: WorkerGuard,
    levels: Levels,
}

/// What is logged; it can be changed while the server runs.
#[derive(Clone, Debug)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    lost: ErrorCounter,
}

/// Lines that may wait to be written. Their places are memory that is there from the start.
const LINES_MAX: usize = 16_384;

impl Log {
    /// Starts logging at `levels`. A second start in one process changes nothing.
    ///
    /// Lines are written by a thread of their own, so that no worker waits for whoever reads them.
    /// If too many wait, those that come are lost, and counted.
    pub fn start(levels: &str, format: Format) -> Self {
        let writer = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX);
        let (writer, guard) = writer.finish(io::stderr());
        let lost = writer.error_counter();
        let (filter, handle) = reload::Layer::new(EnvFilter::new(levels));
        let lines = fmt::layer()
            .with_writer(writer)
            .with_ansi(format == Format::Text && io::stderr().is_terminal());
        let registry = tracing_subscriber::registry().with(filter);
        let started = match format {
            Format::Text => registry.with(lines.compact()).try_init(),
            Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        };
        if started.is_err() {
            tracing::debug!("the log had been started before");
        }
        Self { _writer: guard, levels: Levels { handle, lost } }
    }

    /// What is logged.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }
}

impl Levels {
    /// Logs at these levels from now on.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn set(&self, levels: &str) -> Result<(), String> {
        check(levels)?;
        self.handle.reload(EnvFilter::new(levels)).map_err(|error| error.to_string())
    }

    /// The levels, as they would be written.
    pub fn text(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.lost.dropped_lines() as u64
    }
}

/// Judges a list such as `info,hairpin::control=debug`. The filter itself would take a misspelt
/// level for the name of a module, and log nothing but that.
pub fn check(levels: &str) -> Result<(), String> {
    for directive in levels.split(',') {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, directive),
        };
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("{level:?} is not a level"));
        }
        let is_path = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "_:".contains(c));
        if module.is_some_and(|module| module.is_empty() || !is_path(module)) {
            return Err(format!("{directive:?} names no module"));
        }
    }
    Ok(())
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_words_that_the_filter_knows() {
        for good in ["info", "OFF", "warn,hairpin=debug", "info,hairpin::net=trace"] {
            assert_eq!(check(good), Ok(()), "{good}");
            assert!(EnvFilter::try_new(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "info,", "info, warn", "hairpin=loud", "=info", "hairpin[x]=info"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
