//! The turnserver.toml that is being made, and what is to be said about it.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::lines::Entry;
use super::notes::{COLUMNS, Note, Weight, shown, wrapped};
use crate::control::config::known_keys;

/// What the import knows of the host that it is made for.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its own addresses, loopback among them.
    pub found: Vec<IpAddr>,
    /// The directory that relative paths in turnserver.conf start from, as an absolute path.
    pub directory: std::path::PathBuf,
    /// Whether this build has DTLS.
    pub dtls: bool,
    /// Why the certificate that coturn uses cannot be used, with the cure, if it cannot.
    pub certificate: Option<(String, String)>,
}

/// A value in turnserver.toml.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Switch(bool),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
    /// Tables with the same keys.
    Tables([&'static str; 2], Vec<[String; 2]>),
}

struct Line {
    section: &'static str,
    key: &'static str,
    value: Value,
    origin: String,
}

/// The file, and the notes.
pub(super) struct Draft<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) host: &'a Host,
    pub(super) notes: Vec<Note>,
    lines: Vec<Line>,
    /// Lines that the operator may want, by section: written as comments.
    offers: Vec<(&'static str, String)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(entries: &'a [Entry], host: &'a Host) -> Self {
        Self { entries, host, notes: Vec::new(), lines: Vec::new(), offers: Vec::new() }
    }

    // What stands in turnserver.conf.

    pub(super) fn all(&self, name: &'static str) -> Vec<&'a Entry> {
        self.entries.iter().filter(|entry| entry.name == name).collect()
    }

    /// Of an option that stands there several times the last one counts.
    pub(super) fn last(&self, name: &'static str) -> Option<&'a Entry> {
        self.entries.iter().rfind(|entry| entry.name == name)
    }

    /// Whether a flag is set; a word that is neither yes nor no has been told by `generic`.
    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        self.last(name).and_then(Entry::flag)
    }

    pub(super) fn is_set(&self, name: &'static str) -> bool {
        self.flag(name) == Some(true)
    }

    /// A number, as `atoi` reads it: what is below zero is zero.
    pub(super) fn number(&mut self, name: &'static str) -> Option<(u64, &'a Entry)> {
        let entry = self.last(name)?;
        let word = entry.word();
        let number = match word.strip_prefix('-') {
            Some(below) => below.parse::<u64>().map(|_| 0),
            None => word.parse(),
        };
        match number {
            Ok(number) => Some((number, entry)),
            Err(_) => {
                let text = format!("{} is no number", shown(&entry.value));
                self.lost(entry, text, "write a whole number, and import it again");
                None
            }
        }
    }

    /// A port; 0 and what is none are told, and count as not written.
    pub(super) fn port(&mut self, name: &'static str, default: u16) -> u16 {
        let Some(entry) = self.last(name) else { return default };
        match entry.word().parse() {
            Ok(port) if port != 0 => port,
            _ => {
                let text = format!("{} is no port from 1 to 65535", shown(&entry.value));
                self.lost(entry, format!("{text}, so {default} stands there"), "write the port");
                default
            }
        }
    }

    /// The addresses of an option that may stand there several times, none twice.
    pub(super) fn addresses(&mut self, name: &'static str) -> Vec<(IpAddr, &'a Entry)> {
        let mut found: Vec<(IpAddr, &Entry)> = Vec::new();
        for entry in self.all(name) {
            // Nothing stands for the wildcard of IPv4, as in coturn.
            let text = if entry.value.is_empty() { "0.0.0.0" } else { entry.word() };
            let Some(ip) = self.address(entry, text) else { continue };
            if !found.iter().any(|(other, _)| *other == ip) {
                found.push((ip, entry));
            }
        }
        found
    }

    /// An address that a host can have; what is none is told.
    pub(super) fn address(&mut self, entry: &Entry, text: &str) -> Option<IpAddr> {
        let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() else {
            let cure = "write it like 192.0.2.1 or 2001:db8::1; names are not looked up";
            self.lost(entry, format!("{} is not an IP address", shown(text)), cure);
            return None;
        };
        let ip = ip.to_canonical();
        let is_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let is_many = ip.is_multicast() || ip == IpAddr::from([255; 4]);
        if is_local || is_many {
            let cure = "write a unicast address of the host, and no link-local one";
            self.lost(entry, format!("{ip} is no address that clients reach a host by"), cure);
            return None;
        }
        Some(ip)
    }

    // What is written.

    /// Writes a key; `from` are the lines that it comes from.
    pub(super) fn set(
        &mut self,
        (section, key): (&'static str, &'static str),
        value: Value,
        from: &[&Entry],
    ) {
        let origin = origin(from);
        self.lines.push(Line { section, key, value, origin });
    }

    /// Writes a comment with a line that the operator may want.
    pub(super) fn offer(&mut self, section: &'static str, line: String) {
        self.offers.push((section, line));
    }

    pub(super) fn list(&self, section: &str, key: &str) -> &[String] {
        let line = self.lines.iter().find(|line| line.section == section && line.key == key);
        match line.map(|line| &line.value) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    // What is said.

    pub(super) fn lost(&mut self, entry: &Entry, text: impl Into<String>, cure: &str) {
        self.note(Weight::Lost, Some(entry), text, cure);
    }

    pub(super) fn changed(&mut self, entry: &Entry, text: impl Into<String>, cure: &str) {
        self.note(Weight::Changed, Some(entry), text, cure);
    }

    pub(super) fn custom(&mut self, text: impl Into<String>, cure: &str) {
        self.note(Weight::Custom, None, text, cure);
    }

    pub(super) fn note(
        &mut self,
        weight: Weight,
        entry: Option<&Entry>,
        text: impl Into<String>,
        cure: &str,
    ) {
        let (line, about) = entry.map_or((None, ""), |entry| (Some(entry.line), entry.name));
        self.notes.push(Note::new(weight, line, about, text, cure));
    }

    /// How many keys are written.
    pub(super) fn keys(&self) -> usize {
        self.lines.len()
    }

    /// The whole file, its sections and keys in the order of the one that hairpin comes with.
    pub(super) fn written(&self, from: &str) -> String {
        let head = format!(
            "Made by `hairpin import-coturn` from {from}. What could not be carried over is told \
             at the end; every key is explained in the turnserver.toml that hairpin comes with."
        );
        let mut file = wrapped(&head, "# ", "# ");
        for (section, keys) in known_keys() {
            let mut body = String::new();
            for key in keys {
                let lines = self.lines.iter();
                for line in lines.filter(|line| line.section == section && line.key == *key) {
                    body.push_str(&line.written());
                }
            }
            for (_, line) in self.offers.iter().filter(|(of, _)| *of == section) {
                let _ = writeln!(body, "# {line}");
            }
            if !body.is_empty() {
                let heading =
                    if section.is_empty() { String::new() } else { format!("[{section}]\n") };
                let _ = write!(file, "\n{heading}{body}");
            }
        }
        for (weight, heading) in Weight::ALL.into_iter().filter(|(w, _)| *w != Weight::Needless) {
            let notes: Vec<_> = self.notes.iter().filter(|note| note.weight == weight).collect();
            if !notes.is_empty() {
                let _ = write!(file, "\n# {heading}\n");
            }
            for note in notes {
                file.push_str(&note.comment());
            }
        }
        file
    }
}

impl Line {
    fn written(&self) -> String {
        let line = format!("{} = {}", self.key, self.value.toml());
        let origin = &self.origin;
        if origin.is_empty() {
            return format!("{line}\n");
        }
        if !line.contains('\n') && line.chars().count() + 4 + origin.chars().count() <= COLUMNS {
            return format!("{line}  # {origin}\n");
        }
        format!("# {origin}\n{line}\n")
    }
}

impl Value {
    fn toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Switch(switch) => switch.to_string(),
            Self::List(list) => listed(list.iter().map(|item| quoted(item)).collect()),
            Self::Pairs(pairs) => {
                let pair = |(a, b): &(String, String)| format!("{} = {}", quoted(a), quoted(b));
                format!("{{ {} }}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            Self::Tables([first, second], rows) => {
                let row = |[a, b]: &[String; 2]| {
                    format!("{{ {first} = {}, {second} = {} }}", quoted(a), quoted(b))
                };
                listed(rows.iter().map(row).collect())
            }
        }
    }
}

/// A list, an element on each line where it is long.
fn listed(items: Vec<String>) -> String {
    let line = format!("[{}]", items.join(", "));
    if line.chars().count() <= 80 && !line.starts_with("[{") {
        return line;
    }
    format!("[\n    {},\n]", items.join(",\n    "))
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The options that a key comes from, with the line of each; its value never.
fn origin(from: &[&Entry]) -> String {
    let mut names: Vec<(&str, Vec<usize>)> = Vec::new();
    for entry in from {
        match names.iter_mut().find(|(name, _)| *name == entry.name) {
            Some((_, lines)) if lines.contains(&entry.line) => {}
            Some((_, lines)) => lines.push(entry.line),
            None => names.push((entry.name, vec![entry.line])),
        }
    }
    let told = |(name, lines): (&str, Vec<usize>)| match lines.as_slice() {
        [line] => format!("{name}, line {line}"),
        [first, .., last] => format!("{name}, lines {first} to {last}"),
        [] => name.to_owned(),
    };
    names.into_iter().map(told).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_read_as_it_was() {
        for text in ["", "plain", "a\"b\\c", "tab\t, bell\u{7}, del\u{7f}", "ümläut – 鍵", "#'[]="]
        {
            let line = format!("key = {}", quoted(text));
            let table: toml::Table = line.parse().expect("TOML");
            assert_eq!(table["key"].as_str(), Some(text));
        }
    }
}
