//! What is wrong with a configuration: everything at once, each with its line, cause and cure.

use std::fmt;

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: String,
    /// At least one, in the order of the lines.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1; `None` where the file as a whole is the matter.
    pub line: Option<usize>,
    /// What is wrong. Never quotes a secret.
    pub cause: String,
    /// What to write instead.
    pub cure: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {}\n    cure: {}", problem.cause, problem.cure)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
