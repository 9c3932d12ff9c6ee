//! What can be said of an option without knowing what the others say.

use super::draft::Draft;
use super::lines::Entry;
use super::notes::{Weight, shown};
use super::options::{self, Fate, Row, Takes};

/// Tells of every option that is not carried over, and of flags that are neither yes nor no.
pub(super) fn tell(draft: &mut Draft<'_>) {
    for entry in draft.entries {
        let Some(row) = options::find(entry.name) else { continue };
        if row.takes == Takes::Flag && entry.flag().is_none() {
            let text = format!("{} is neither yes nor no", shown(&entry.value));
            draft.lost(entry, text, "write yes or no, and import it again");
            continue;
        }
        if asks_for_nothing(row, entry) {
            continue;
        }
        match row.fate {
            Fate::Carried(_) => {}
            Fate::Needless(why) => draft.note(Weight::Needless, Some(entry), why, ""),
            Fate::Unsupported { why, cure } => draft.lost(entry, why, cure),
        }
    }
    tell_repeated(draft);
}

/// A flag that says no, and a value that everybody has anyway.
fn asks_for_nothing(row: &Row, entry: &Entry) -> bool {
    let is_default = !row.idle.is_empty() && [row.idle, ""].contains(&entry.word());
    is_default || row.takes == Takes::Flag && entry.flag() == Some(false)
}

/// Of these each one counts; of the others the last.
const REPEATED: [&str; 12] = [
    "allowed-peer-ip",
    "alternate-server",
    "aux-server",
    "denied-peer-ip",
    "external-ip",
    "listening-ip",
    "relay-ip",
    "static-auth-secret",
    "tcp-alternate-server",
    "tls-alternate-server",
    "udp-alternate-server",
    "user",
];

fn tell_repeated(draft: &mut Draft<'_>) {
    for row in options::all() {
        let is_carried = matches!(row.fate, Fate::Carried(_));
        if !is_carried || row.takes == Takes::Flag || REPEATED.contains(&row.name) {
            continue;
        }
        if let [.., before, last] = draft.all(row.name).as_slice()
            && before.value != last.value
        {
            let text = format!("stands on line {} as well; the last one counts", before.line);
            draft.changed(last, text, "");
        }
    }
}
