//! Every option that a turnserver.conf may have, and what becomes of it here: those of coturn 4.6
//! to 4.17, and those of before that old files still have.

mod access;
mod engine;
mod log;
mod network;
mod storage;
mod tls;

use crate::control::config;

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Carried over, into these keys.
    Carried(&'static str),
    /// Hairpin needs nothing for it: why.
    Needless(&'static str),
    /// Hairpin does not have it: why, and what to do instead.
    Unsupported {
        /// Why there is nothing like it, or what is there in its place.
        why: &'static str,
        /// What to do.
        cure: &'static str,
    },
}

/// What stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Yes, no, or nothing, which is yes.
    Flag,
    /// A value that may be shown.
    Value,
    /// What nobody shall see.
    Secret,
}

/// An option of coturn's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// As it is written in turnserver.conf.
    pub name: &'static str,
    /// What stands behind it.
    pub takes: Takes,
    /// What becomes of it.
    pub fate: Fate,
    /// A value with which it asks for nothing, beside "no".
    pub idle: &'static str,
}

impl Row {
    const fn flag(name: &'static str, fate: Fate) -> Self {
        Self { name, takes: Takes::Flag, fate, idle: "" }
    }

    const fn value(name: &'static str, fate: Fate) -> Self {
        Self { name, takes: Takes::Value, fate, idle: "" }
    }

    const fn secret(name: &'static str, fate: Fate) -> Self {
        Self { name, takes: Takes::Secret, fate, idle: "" }
    }

    /// The same, where one value asks for what everybody has anyway.
    const fn idle_at(self, idle: &'static str) -> Self {
        Self { idle, ..self }
    }
}

const fn unsupported(why: &'static str, cure: &'static str) -> Fate {
    Fate::Unsupported { why, cure }
}

const GROUPS: [&[Row]; 6] =
    [network::ROWS, access::ROWS, storage::ROWS, tls::ROWS, engine::ROWS, log::ROWS];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Row> {
    GROUPS.into_iter().flatten()
}

/// The option of that name; upper and lower case differ, as `verbose` and `Verbose` do.
pub fn find(name: &str) -> Option<&'static Row> {
    all().find(|row| row.name == name)
}

/// The option that is the fewest typing mistakes away, if it is few.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let names: Vec<_> = all().map(|row| row.name).collect();
    config::nearest(name, &names)
}

/// What to tell somebody who has written an option of coturn's into turnserver.toml, perhaps in the
/// way in which keys are written there.
pub fn advice(key: &str) -> Option<String> {
    let alike = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let row = find(key).or_else(|| all().find(|row| alike(row.name) == alike(key)))?;
    let name = row.name;
    Some(match row.fate {
        Fate::Carried(keys) => format!("what coturn calls `{name}` is {keys} here"),
        Fate::Needless(why) => format!("remove it, `{name}` is not needed here: {why}"),
        Fate::Unsupported { why, cure } => {
            format!("coturn's `{name}` is not here: {why}; {cure}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::known_keys;

    #[test]
    fn no_option_has_two_rows() {
        let mut names: Vec<_> = all().map(|row| row.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn what_options_became_exists() {
        let known = known_keys();
        for row in all() {
            let Fate::Carried(ours) = row.fate else { continue };
            for place in ours.split("; ") {
                let (section, keys) = place[1..].split_once("] ").unwrap_or(("", place));
                for key in keys.split(" and ") {
                    let there = known.iter().any(|(s, keys)| *s == section && keys.contains(&key));
                    assert!(there, "{}: {section} {key}", row.name);
                }
            }
        }
    }

    #[test]
    fn reasons_and_cures_are_parts_of_a_sentence() {
        for row in all() {
            let parts = match row.fate {
                Fate::Carried(_) => continue,
                Fate::Needless(why) => vec![why],
                Fate::Unsupported { why, cure } => vec![why, cure],
            };
            for part in parts {
                assert!(!part.is_empty() && !part.ends_with(['.', ' ']), "{}: {part}", row.name);
                assert!(!part.contains("  "), "{}: {part}", row.name);
            }
        }
    }
}
