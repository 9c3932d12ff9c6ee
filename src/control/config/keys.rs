//! The names of keys: what they are, and which one was probably meant.

use serde::de::{Deserialize, Deserializer, Error as _, Visitor, value};
use serde::forward_to_deserialize_any;

use super::file::{Certificate, SECTIONS, SharedKey, User};
use crate::control::import::options;

/// Tells the keys of a section.
pub(super) type Fields = fn() -> &'static [&'static str];

/// The field names of a struct, as serde knows them: the struct is asked to deserialise itself
/// from something that only listens to the question.
pub(super) fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    let refused = T::deserialize(Ask(&mut fields));
    debug_assert!(refused.is_err(), "there is nothing to deserialise from");
    fields
}

struct Ask<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("only asked"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys that may stand at `section`; `None` where keys are the operator's own words.
pub(super) fn keys_at(section: &str) -> Option<&'static [&'static str]> {
    match section {
        "auth.users" => return Some(fields_of::<User>()),
        "third_party.keys" => return Some(fields_of::<SharedKey>()),
        "tls.more" => return Some(fields_of::<Certificate>()),
        _ => {}
    }
    SECTIONS.iter().find(|(name, _)| *name == section).map(|(_, fields)| fields())
}

/// What to write instead of the unknown `key` in `section`.
pub(super) fn cure(section: &str, key: &str) -> String {
    let known = keys_at(section).unwrap_or_default();
    if let Some(near) = nearest(key, known) {
        return format!("did you mean `{near}`?");
    }
    let home = SECTIONS.iter().find(|(name, fields)| *name != section && fields().contains(&key));
    match home {
        Some(("", _)) => {
            return format!("`{key}` belongs at the top of the file, above every [section]");
        }
        Some((home, _)) => return format!("`{key}` belongs in [{home}]"),
        None => {}
    }
    options::advice(key).unwrap_or_else(|| format!("known here: {}", known.join(", ")))
}

/// The known key that is the fewest typing mistakes away, if it is few.
pub(in crate::control) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let tolerated = |known: &str| 1 + known.len() / 4;
    let plain = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|known| (distance(&plain(key), &plain(known)), *known))
        .filter(|(mistakes, known)| *mistakes <= tolerated(known))
        .min()
        .map(|(_, known)| known)
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let above = &rows[i - 1];
            let substituted = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_tells_the_keys_of_each_section() {
        assert_eq!(keys_at("relay"), Some(&["addresses", "external", "port_min", "port_max"][..]));
        assert_eq!(keys_at("auth.users"), Some(&["name", "password"][..]));
        assert_eq!(keys_at("relay.external"), None);
        assert!(SECTIONS.iter().all(|(_, fields)| !fields().is_empty()));
    }

    #[test]
    fn distance_counts_typing_mistakes() {
        let pairs = [("udp", "udp", 0), ("upd", "udp", 1), ("port", "ports", 1), ("", "abc", 3)];
        for (a, b, mistakes) in pairs {
            assert_eq!(distance(a, b), mistakes, "{a} {b}");
        }
    }

    #[test]
    fn the_cure_names_what_was_probably_meant() {
        for (section, key, words) in [
            ("relay", "port_mni", "did you mean `port_min`?"),
            ("relay", "port-max", "did you mean `port_max`?"),
            ("relay", "udp", "`udp` belongs in [listen]"),
            ("limits", "realm", "belongs at the top of the file"),
            ("", "static-auth-secret", "[auth] secrets"),
            ("listen", "no_tlsv1_2", "TLS 1.2 is served"),
            ("", "Verbose", "[log] level"),
            ("limits", "pidfile", "not needed here"),
            ("log", "colour", "known here: level"),
        ] {
            assert!(cure(section, key).contains(words), "{key}: {}", cure(section, key));
        }
    }
}
