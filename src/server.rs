//! From a configuration to a running server.

use std::fmt;

use crate::control::config::Config;

/// Runs the server until it is told to stop.
pub fn run(_config: Config) -> Result<(), ServeError> {
    Err(ServeError { cause: "this build cannot serve yet".to_owned() })
}

/// Why a server did not start, or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeError {
    /// In words.
    pub cause: String,
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for ServeError {}
