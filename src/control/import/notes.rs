//! What the operator is told about an import: what is lost, what is different, what needs nothing.

use std::fmt::Write as _;

/// How much a note asks of its reader; the heaviest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Not carried over.
    Lost,
    /// Carried over, with a difference.
    Changed,
    /// What hairpin does where nobody has said anything.
    Custom,
    /// Not carried over, because nothing is missing without it.
    Needless,
}

impl Weight {
    /// All of them, in order, with the heading that each has.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Lost, "Not carried over:"),
        (Self::Changed, "Carried over, with a difference:"),
        (Self::Custom, "What hairpin does by itself:"),
        (Self::Needless, "Needed no longer:"),
    ];
}

/// One remark. Neither a secret nor a password is ever in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it asks.
    pub weight: Weight,
    /// The line of turnserver.conf; `None` where it is about what is not there.
    pub line: Option<usize>,
    /// The option; empty where there is none.
    pub about: String,
    /// What happened to it, and why.
    pub text: String,
    /// What to do; empty where nothing needs to be done.
    pub cure: String,
}

impl Note {
    pub(super) fn new(
        weight: Weight,
        line: Option<usize>,
        about: &str,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self { weight, line, about: about.to_owned(), text: text.into(), cure: cure.into() }
    }

    /// For a terminal: the place, what is the matter, and the cure on a line of its own.
    pub fn told(&self, file: &str) -> String {
        let mut told = match self.line {
            Some(line) => format!("{file}:{line}: "),
            None => String::new(),
        };
        if !self.about.is_empty() {
            let _ = write!(told, "{}: ", self.about);
        }
        told.push_str(&self.text);
        if !self.cure.is_empty() {
            let _ = write!(told, "\n    cure: {}", self.cure);
        }
        told.push('\n');
        told
    }

    /// For turnserver.toml: comments of at most so many columns as our own files have.
    pub(super) fn comment(&self) -> String {
        let told = match (self.line, self.about.as_str()) {
            (Some(line), "") => format!("line {line}: {}", self.text),
            (Some(line), about) => format!("{about} (line {line}): {}", self.text),
            (None, "") => self.text.clone(),
            (None, about) => format!("{about}: {}", self.text),
        };
        let cure = if self.cure.is_empty() { String::new() } else { format!("; {}", self.cure) };
        wrapped(&format!("{told}{cure}"), "# - ", "#   ")
    }
}

/// A value as it may be shown: no control characters, and not without an end.
pub(super) fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(60).collect::<String>().escape_debug().to_string();
    if value.chars().count() > 60 {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// `text` in lines of 100 columns, each of which ends.
pub(super) fn wrapped(text: &str, first: &str, others: &str) -> String {
    let mut lines = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    // TOML has no control characters in comments.
    let text = text.replace(|c: char| c.is_control(), " ");
    for word in text.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push_str(line.trim_end());
            lines.push('\n');
            others.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

pub(super) const COLUMNS: usize = 100;
