//! The text of a configuration file: read once, with the line of every key kept, and with every
//! wrong key and type found rather than only the first.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::error::Problem;
use super::file::File;
use super::{SHIPPED, keys};

/// A place in the file: section, key, and which element of its list.
#[derive(Clone, Copy, Debug)]
pub(super) struct At(pub(super) &'static str, pub(super) &'static str, pub(super) Option<usize>);

/// A file that has been read.
pub(super) struct Source<'a> {
    text: &'a str,
    table: Spanned<DeTable<'a>>,
    /// Sections in which a value was dropped because its type was wrong. What else stands there
    /// is not judged: it would be judged beside a default that nobody wrote.
    dropped: BTreeSet<String>,
}

impl<'a> Source<'a> {
    /// Reads `text`. Keys that are wrong are told in `problems` and left out of the result.
    pub(super) fn read(text: &'a str, problems: &mut Vec<Problem>) -> (Self, File) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut source = Self { text, table, dropped: BTreeSet::new() };
        for error in &errors {
            problems.push(Problem {
                line: error.span().map(|span| source.line_at(span.start)),
                cause: format!("this is not TOML: {}", error.message()),
                cure: syntax_cure(error.message()),
            });
        }
        if !errors.is_empty() {
            return (source, File::default());
        }
        source.drop_unknown_keys(problems);
        let file = source.drop_wrong_types(problems);
        (source, file)
    }

    /// The line on which a value stands; `None` where the file does not have it.
    pub(super) fn line(&self, At(section, key, index): At) -> Option<usize> {
        let top = self.table.get_ref();
        let table = match section {
            "" => top,
            section => top.get(section)?.get_ref().as_table()?,
        };
        let (name, value) = table.get_key_value(key)?;
        let element = index.and_then(|index| value.get_ref().as_array()?.get(index));
        Some(self.line_at(element.map_or_else(|| name.span(), Spanned::span).start))
    }

    /// The line of one pair of `[relay] external`, by its key.
    pub(super) fn external_line(&self, local: &str) -> Option<usize> {
        let relay = self.table.get_ref().get("relay")?.get_ref().as_table()?;
        let pairs = relay.get("external")?.get_ref().as_table()?;
        Some(self.line_at(pairs.get_key_value(local)?.0.span().start))
    }

    /// Whether the values of a section can be trusted to be the operator's.
    pub(super) fn is_whole(&self, section: &str) -> bool {
        !self.dropped.contains(section)
    }

    fn line_at(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    fn drop_unknown_keys(&mut self, problems: &mut Vec<Problem>) {
        let mut unknown = Vec::new();
        unknown_in(self.table.get_mut(), "", &mut unknown);
        for (section, key, offset) in unknown {
            let place = match section.as_str() {
                "" => "at the top level".to_owned(),
                section => format!("in [{section}]"),
            };
            problems.push(Problem {
                line: Some(self.line_at(offset)),
                cause: format!("unknown key `{}` {place}", key.escape_debug()),
                cure: keys::cure(&section, &key),
            });
        }
    }

    /// Serde stops at its first error: so the value it stumbled over is told, taken out, and the
    /// rest is read again, at most once for each key.
    fn drop_wrong_types(&mut self, problems: &mut Vec<Problem>) -> File {
        loop {
            let error = match File::deserialize(Deserializer::from(self.table.clone())) {
                Ok(file) => return file,
                Err(error) => error,
            };
            let offset = error.span().map_or(0, |span| span.start);
            let Some((section, key)) = take_at(self.table.get_mut(), offset) else {
                problems.push(Problem {
                    line: Some(self.line_at(offset)),
                    cause: error.message().to_owned(),
                    cure: "compare with the turnserver.toml that hairpin comes with".to_owned(),
                });
                return File::default();
            };
            let place = if section.is_empty() { String::new() } else { format!("[{section}] ") };
            problems.push(Problem {
                line: Some(self.line_at(offset)),
                cause: format!("{place}{key}: {}", type_cause(error.message())),
                cure: match example(&section, &key) {
                    Some(example) => format!("write it as in `{example}`"),
                    None => "compare with the turnserver.toml that hairpin comes with".to_owned(),
                },
            });
            self.dropped.insert(section);
        }
    }
}

/// Takes every key that no type names out of `table`, and lists it with its section and offset.
fn unknown_in(table: &mut DeTable<'_>, section: &str, unknown: &mut Vec<(String, String, usize)>) {
    let Some(known) = keys::keys_at(section) else { return };
    let is_known = |name: &str| known.contains(&name);
    let first = unknown.len();
    for (key, value) in table.iter_mut() {
        let name: &str = key.get_ref();
        if !is_known(name) {
            unknown.push((section.to_owned(), name.to_owned(), key.span().start));
            continue;
        }
        let inner = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let elements = match value.get_mut() {
            DeValue::Table(table) => {
                unknown_in(table, &inner, unknown);
                continue;
            }
            DeValue::Array(list) => list.iter_mut(),
            _ => continue,
        };
        for element in elements {
            if let DeValue::Table(table) = element.get_mut() {
                unknown_in(table, &inner, unknown);
            }
        }
    }
    for (at, name, _) in &unknown[first..] {
        if at == section {
            table.remove(name.as_str());
        }
    }
}

/// Takes out the `[section] key` (or top-level key) whose value covers `offset`.
fn take_at(top: &mut DeTable<'_>, offset: usize) -> Option<(String, String)> {
    let covering = |table: &DeTable<'_>| {
        let pair = table.iter().find(|(_, value)| covers(value, offset))?;
        Some(pair.0.get_ref().to_string())
    };
    let name = covering(top)?;
    if let Some(DeValue::Table(table)) = top.get_mut(name.as_str()).map(Spanned::get_mut)
        && let Some(key) = covering(table)
    {
        table.remove(key.as_str());
        return Some((name, key));
    }
    top.remove(name.as_str());
    Some((String::new(), name))
}

/// Whether `offset` is inside a value. The span of a `[table]` is that of its header, so what is
/// inside must be asked too.
fn covers(value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
    value.span().contains(&offset)
        || match value.get_ref() {
            DeValue::Table(table) => table.values().any(|value| covers(value, offset)),
            DeValue::Array(list) => list.iter().any(|value| covers(value, offset)),
            _ => false,
        }
}

/// Serde's words for a wrong type, without the value (it may be a secret) and in plain language.
fn type_cause(message: &str) -> String {
    let Some((found, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    // "invalid type: string \"x\"", "invalid value: integer `70000`".
    let found = found.split_once(": ").map_or(found, |(_, found)| found);
    let found = found.split_once([' ', '`']).map_or(found, |(kind, _)| kind);
    let expected = match expected.trim() {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "usize" => "a whole number that is not negative",
        "a string" => "text in quotes",
        "a sequence" => "a list in [ ]",
        "a boolean" => "true or false",
        "a map" => "pairs in { }",
        other if other.starts_with("struct Certificate") => "{ certificate = \"…\", key = \"…\" }",
        other if other.starts_with("struct User") => "{ name = \"…\", password = \"…\" }",
        other if other.starts_with("struct SharedKey") => "{ kid = \"…\", key = \"…\" }",
        other if other.starts_with("struct") => "a section",
        other => other,
    };
    let found = match found {
        "integer" => "this number",
        "floating" => "a number with a fraction",
        "string" => "text",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a table",
        other => other,
    };
    format!("expected {expected}, found {found}")
}

/// The line of the shipped file that shows a key, without its comment.
fn example(section: &str, key: &str) -> Option<&'static str> {
    let mut here = "";
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            here = name.split(']').next().unwrap_or_default();
        }
        let line = line.strip_prefix("# ").unwrap_or(line);
        let (code, comment) = line.split_once('#').unwrap_or((line, ""));
        if here == section && code.split('=').next().is_some_and(|name| name.trim() == key) {
            // Where the default shows nothing, the comment has an example in backquotes.
            return comment.split('`').nth(1).or_else(|| Some(code.trim()));
        }
    }
    None
}

fn syntax_cure(message: &str) -> String {
    let cure = if message.contains("duplicate key") {
        "keep one of the two; a list takes several values: [\"a\", \"b\"]"
    } else if message.contains("string values must be quoted") {
        "put the text in quotes: key = \"text\""
    } else {
        "write key = value, text in quotes, lists in [ ], one key on a line"
    };
    cure.to_owned()
}
