//! turnserver.conf as it is written: a line is an option, in the very way in which coturn reads it.

use super::notes::{Note, Weight};
use super::options;

/// An option as it stands in the file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The line, from 1.
    pub(super) line: usize,
    /// The option, which coturn knows.
    pub(super) name: &'static str,
    /// What stands behind it, without quotes; may be a secret, so there is no `Debug`.
    pub(super) value: String,
}

impl Entry {
    /// What coturn takes a word for where it wants to hear yes or no; `None` for neither.
    pub(super) fn flag(&self) -> Option<bool> {
        let value = self.value.as_str();
        match value.chars().next() {
            None => Some(true),
            Some('0' | 'n' | 'N' | 'f' | 'F') => Some(false),
            Some('1'..='9' | 'y' | 'Y' | 't' | 'T') => Some(true),
            Some(_) if ["off", "OFF", "Off"].contains(&value) => Some(false),
            Some(_) if ["on", "ON", "On"].contains(&value) => Some(true),
            Some(_) => None,
        }
    }

    /// A value that has no blanks in it: what stands behind one is somebody's comment.
    pub(super) fn word(&self) -> &str {
        let word = self.value.split([' ', '\t']).next().unwrap_or_default();
        word.trim_end_matches(';')
    }
}

/// Reads a file. Lines that coturn would not understand are told, by their number: whatever stands
/// there may be a secret in the wrong place.
pub(super) fn read(bytes: &[u8]) -> (Vec<Entry>, Vec<Note>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut entries, mut notes) = (Vec::new(), Vec::new());
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let lost = |about: &str, text: String, cure: &str| {
            Note::new(Weight::Lost, Some(number), about, text, cure)
        };
        let Ok(line) = str::from_utf8(line) else {
            let text = "this line is not UTF-8".to_owned();
            notes.push(lost("", text, "save the file as UTF-8 and import it again"));
            continue;
        };
        let line = line.trim_start_matches([' ', '\t']).trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = split(line);
        match options::find(name) {
            Some(row) => entries.push(Entry { line: number, name: row.name, value: value.into() }),
            None => {
                let (about, cure) = unknown(line);
                notes.push(lost(&about, "coturn has no such option".to_owned(), &cure));
            }
        }
    }
    (entries, notes)
}

/// An option and its value: `name=value`, `name value`, `name = "value"`. Quotes count where they
/// open the value, and a comment cannot stand behind it.
fn split(line: &str) -> (&str, &str) {
    let separators = [' ', '=', '\t'];
    let (name, rest) = line.split_at(line.find(separators).unwrap_or(line.len()));
    let value = rest.trim_start_matches(separators);
    let value = match value.strip_prefix('"') {
        Some(quoted) => {
            let quoted = quoted.trim_end();
            quoted.strip_suffix('"').unwrap_or(quoted)
        }
        None => value,
    };
    (name, value)
}

/// What to call a line that is no option, and what may have been meant. A line is named by its
/// first word, and only where that can be no password: a value is never shown.
fn unknown(line: &str) -> (String, String) {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let word: String = line.chars().take_while(|c| is_of_a_name(*c)).collect();
    let near = options::nearest(&word);
    let cure = match near {
        Some(near) => format!("did you mean `{near}`? Correct it and import again"),
        None => "remove the line, or see whether it is a part of the one above".to_owned(),
    };
    let is_followed = line[word.len()..].trim_start().starts_with('=');
    let is_a_word = word.len() <= 40 && word.chars().all(|c| !c.is_ascii_digit());
    let is_shown = is_a_word && (is_followed || near.is_some());
    (if is_shown { word } else { String::new() }, cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (usize, &'static str, String) {
        let (entries, notes) = read(text.as_bytes());
        assert!(notes.is_empty() && entries.len() == 1, "{text}");
        let entry = &entries[0];
        (entry.line, entry.name, entry.value.clone())
    }

    #[test]
    fn blanks_equals_signs_and_quotes_separate_as_in_coturn() {
        for text in [
            "realm=example.org",
            "realm example.org",
            "  realm = example.org  \r",
            "\trealm\t=\texample.org",
            "realm=\"example.org\"",
            "realm = \"example.org\" \t",
            "realm=\"example.org",
            "\u{feff}realm==example.org",
        ] {
            assert_eq!(one(text), (1, "realm", "example.org".to_owned()), "{text:?}");
        }
        assert_eq!(one("user=a:b=c d").2, "a:b=c d");
        assert_eq!(one("static-auth-secret=a\"b\"").2, "a\"b\"");
        assert_eq!(one("\n# x\n\nmobility").0, 4);
        assert_eq!(one("mobility").2, "");
    }

    #[test]
    fn a_flag_is_read_as_coturn_reads_it() {
        for (value, flag) in [
            ("", Some(true)),
            ("1", Some(true)),
            ("0", Some(false)),
            ("yes", Some(true)),
            ("no", Some(false)),
            ("True", Some(true)),
            ("off", Some(false)),
            ("on", Some(true)),
            ("perhaps", None),
        ] {
            let entry = Entry { line: 1, name: "mobility", value: value.to_owned() };
            assert_eq!(entry.flag(), flag, "{value}");
        }
    }

    #[test]
    fn a_line_that_is_no_option_is_told_by_its_number_and_never_shown() {
        let text = "realm=a\ncorrect horse\nstatic-auth-secert=north\nstatic-auth-secret:north\n\
                    0123456789abcdef\nuser:alice:north\n\u{7f}\n";
        let (entries, notes) = read(text.as_bytes());
        assert_eq!(entries.len(), 1);
        let lines: Vec<_> = notes.iter().map(|note| note.line.unwrap_or(0)).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
        let said: String = notes.iter().map(|note| note.told("t.conf")).collect();
        for secret in ["correct", "horse", "north", "0123456789abcdef", "alice"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
        assert!(said.contains("t.conf:3: static-auth-secert: "), "{said}");
        assert!(said.contains("did you mean `static-auth-secret`?"), "{said}");
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_told_and_the_rest_is_read() {
        let (entries, notes) = read(b"realm=a\nuser=\xff:b\nmobility\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(notes[0].line, Some(2));
    }
}
