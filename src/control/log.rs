//! The log: one line for each event, to stderr. Stdout belongs to the commands.
//!
//! Nothing is logged for each packet, and no secret ever. What comes from outside goes into
//! fields, whose control characters the subscriber escapes.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging at `levels`. A second start in one process changes nothing.
pub fn start(levels: &str) {
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(levels))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .compact()
        .try_init();
    if started.is_err() {
        tracing::debug!("the log had been started before");
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
