//! The realm, `[auth]` and `[third_party]`: who may relay.

use super::draft::{Draft, Value};
use super::lines::Entry;
use super::notes::{Weight, shown};

pub(super) fn carry(draft: &mut Draft<'_>) {
    realm(draft);
    if draft.is_set("stun-only") {
        return nobody(draft);
    }
    let secrets = secrets(draft);
    users(draft, secrets);
    third_party(draft);
    if let (Some(flag), Some(entry)) = (draft.flag("mobility"), draft.last("mobility")) {
        draft.set(("auth", "mobility"), Value::Switch(flag), &[entry]);
    }
    if let Some(entry) = draft.last("stateless-nonce-secret").filter(|e| !e.value.is_empty()) {
        let secret = Value::Text(entry.value.clone());
        draft.set(("auth", "nonce_secret"), secret, &[entry]);
    }
}

/// Any realm does where passwords are plain: clients take it from the challenge.
fn realm(draft: &mut Draft<'_>) {
    let written = draft.last("realm");
    let why = match written.map(|entry| entry.value.as_str()) {
        Some(realm) if is_realm(realm) => {
            return draft.set(("", "realm"), Value::Text(realm.to_owned()), &as_list(written));
        }
        Some(realm) => format!("the realm {} cannot be quoted by clients", shown(realm)),
        None => "coturn's file names no realm, for which coturn takes the host's domain".to_owned(),
    };
    draft.set(("", "realm"), Value::Text("hairpin".to_owned()), &[]);
    let text = format!("{why}; \"hairpin\" stands there");
    let cure = "write your domain, realm = \"example.org\"; clients with a name and a password \
                take any realm";
    draft.note(Weight::Changed, written, text, cure);
}

fn is_realm(realm: &str) -> bool {
    let bad = |c: char| matches!(c, '"' | '\\') || c.is_control();
    (1..=127).contains(&realm.chars().count()) && !realm.contains(bad)
}

/// Nobody has credentials, and nobody is given any.
fn nobody(draft: &mut Draft<'_>) {
    let entry = draft.last("stun-only");
    let text = "users and secrets are left out, and the HTTP listener gives nobody credentials: so \
                nobody can relay";
    draft.note(Weight::Changed, entry, text, "");
    draft.set(("signalling", "demo"), Value::Switch(false), &as_list(entry));
}

/// The secrets of time-limited credentials; whether coturn works by them.
fn secrets(draft: &mut Draft<'_>) -> bool {
    let mut secrets: Vec<String> = Vec::new();
    let entries = draft.all("static-auth-secret");
    for entry in &entries {
        if entry.value.is_empty() {
            draft.lost(entry, "the secret is empty: everybody knows it", "write a new one");
        } else if !secrets.contains(&entry.value) {
            has_a_comment(draft, entry);
            secrets.push(entry.value.clone());
        }
    }
    let switch = draft.last("use-auth-secret");
    if let Some(entry) = switch.filter(|entry| entry.flag() == Some(false)) {
        draft.changed(entry, "coturn takes it for yes, whatever stands behind it", "");
    }
    if secrets.is_empty() {
        if let Some(entry) = switch {
            let text = "the secrets are in coturn's database, and none is in its file; so one is \
                        made up at each start";
            let cure =
                "write secrets = [\"…\"] in [auth] with what `turnadmin --show-secret` prints";
            draft.lost(entry, text, cure);
            draft.offer("auth", "secrets = [\"…\"]".to_owned());
        }
        return switch.is_some();
    }
    draft.set(("auth", "secrets"), Value::List(secrets), &entries);
    true
}

/// The users, of whom coturn knows nothing where it works by secrets.
fn users(draft: &mut Draft<'_>, by_secrets: bool) {
    let entries = draft.all("user");
    if by_secrets {
        if let Some(entry) = entries.first() {
            let text = format!(
                "{} left out, whom coturn does not let in beside secrets",
                count(entries.len(), "user")
            );
            let cure = "add them to users in [auth] if they shall relay: both kinds work at once";
            draft.lost(entry, text, cure);
        }
        return;
    }
    let mut users: Vec<[String; 2]> = Vec::new();
    let mut from: Vec<&Entry> = Vec::new();
    for entry in entries {
        let Some((name, password)) = user(draft, entry) else { continue };
        has_a_comment(draft, entry);
        if let Some(before) = users.iter_mut().find(|[other, _]| *other == name) {
            let text = format!("user {} stands there twice; the last one counts", shown(&name));
            draft.changed(entry, text, "");
            before[1] = password;
        } else {
            users.push([name, password]);
        }
        from.push(entry);
    }
    if users.is_empty() {
        draft.custom(
            "nobody has credentials, so a secret is made up at each start, and told once",
            "write secrets = [\"…\"] in [auth] with what `openssl rand -hex 32` prints, or users = \
             [{ name = \"alice\", password = \"…\" }]",
        );
        return;
    }
    draft.set(("auth", "users"), Value::Tables(["name", "password"], users), &from);
}

/// A name and a password. What is wrong is told without either, until it is known which is which.
fn user(draft: &mut Draft<'_>, entry: &Entry) -> Option<(String, String)> {
    let Some((name, password)) = entry.value.split_once(':') else {
        draft.lost(entry, "no colon is between name and password", "write user=name:password");
        return None;
    };
    let password = password.trim_start_matches([' ', '\t']);
    if name.is_empty() || password.is_empty() {
        draft.lost(entry, "the name or the password is empty", "write user=name:password");
        return None;
    }
    if name.len() > 508 || name.chars().any(char::is_control) {
        draft.lost(entry, "the name is longer than 508 bytes, or not text", "give a shorter one");
        return None;
    }
    if password.starts_with("0x") {
        let text = format!(
            "{} has a key in place of a password; hairpin needs the password, since SHA-256 makes \
             another key of it",
            shown(name)
        );
        draft.lost(entry, text, "give a new password, and write it in users of [auth]");
        return None;
    }
    Some((name.to_owned(), password.to_owned()))
}

/// Somebody may have meant a comment; coturn does not know them there.
fn has_a_comment(draft: &mut Draft<'_>, entry: &Entry) {
    if entry.value.contains(" #") || entry.value.contains("\t#") {
        let text = "what stands behind the # is carried over as a part of it, as coturn reads it";
        draft.changed(entry, text, "remove it where a comment was meant: coturn has no such ones");
    }
}

/// The keys are in a database; only the name that tokens are made for is in the file.
fn third_party(draft: &mut Draft<'_>) {
    if !draft.is_set("oauth") {
        let entry = draft.last("server-name");
        if entry.is_some() {
            draft.note(Weight::Needless, entry, "it belongs to oauth, which is not set", "");
        }
        return;
    }
    if let Some(entry) = draft.last("server-name").filter(|e| is_server_name(&e.value)) {
        let name = Value::Text(entry.value.clone());
        draft.set(("third_party", "server_name"), name, &[entry]);
    } else if let Some(entry) = draft.last("server-name") {
        draft.lost(entry, "this is no name of at most 255 bytes", "write another server_name");
    }
    let Some(entry) = draft.last("oauth") else { return };
    let text = "the keys of tokens are in coturn's database";
    let cure = "write keys = [{ kid = \"…\", key = \"…\" }] in [third_party] with what its table \
                oauth_key has, as docs/authentication.md tells";
    draft.lost(entry, text, cure);
    draft.offer("third_party", "keys = [{ kid = \"…\", key = \"…\" }]".to_owned());
}

fn is_server_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what} is") } else { format!("{number} {what}s are") }
}

fn as_list(entry: Option<&Entry>) -> Vec<&Entry> {
    entry.into_iter().collect()
}
