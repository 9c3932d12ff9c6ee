//! `[alternates]`: other servers, to which coturn sends clients from the start.

use std::net::{IpAddr, SocketAddr};

use super::draft::{Draft, Value};
use super::lines::Entry;
use super::notes::shown;

pub(super) fn carry(draft: &mut Draft<'_>) {
    let mut from: Vec<&Entry> = Vec::new();
    for (key, own, shared) in [
        ("udp", Some("udp-alternate-server"), "alternate-server"),
        ("tcp", Some("tcp-alternate-server"), "alternate-server"),
        ("tls", None, "tls-alternate-server"),
    ] {
        // A list for one transport takes the place of the one for both.
        let of_its_own = own.map(|name| draft.all(name)).unwrap_or_default();
        let entries = if of_its_own.is_empty() { draft.all(shared) } else { of_its_own };
        let servers = servers(draft, key, &entries);
        if !servers.is_empty() {
            from.extend(&entries);
            draft.set(("alternates", key), Value::List(servers), &entries);
        }
    }
    if !from.is_empty() {
        draft.set(("alternates", "always"), Value::Switch(true), &[]);
        draft.custom(
            "new clients are always sent to the servers in [alternates], as coturn does",
            "write always = false to have that only while this one drains",
        );
    }
}

fn servers(draft: &mut Draft<'_>, key: &'static str, entries: &[&Entry]) -> Vec<String> {
    let own: Vec<String> = draft.list("listen", key).to_vec();
    let mut servers: Vec<String> = Vec::new();
    for entry in entries {
        let port = if key == "tls" { 5349 } else { 3478 };
        let Some(server) = server(draft, entry, port) else { continue };
        if own.contains(&server) {
            let cure = "nothing: a server that always sends others away serves nobody itself";
            draft.lost(entry, format!("{server} is this server itself ({key})"), cure);
        } else if servers.contains(&server) {
            let text = format!("{server} stands there twice ({key}); each has the same share");
            draft.changed(entry, text, "");
        } else {
            servers.push(server);
        }
    }
    servers
}

/// `ip[:port]`
fn server(draft: &mut Draft<'_>, entry: &Entry, port: u16) -> Option<String> {
    let word = entry.word();
    let bare = || word.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let server = word.parse().ok().or_else(|| Some(SocketAddr::new(bare()?, port)));
    let Some(server) = server.filter(|server| server.port() != 0 && !server.ip().is_unspecified())
    else {
        let text = format!("{} is no address with a port", shown(&entry.value));
        draft.lost(entry, text, "write it like 192.0.2.2:3478; names are not looked up");
        return None;
    };
    let ip = draft.address(entry, &server.ip().to_string())?;
    Some(SocketAddr::new(ip, server.port()).to_string())
}
