//! `[relay]`: where relayed addresses come from, and how the world sees them.

use std::net::IpAddr;

use super::draft::{Draft, Value};
use super::lines::Entry;

pub(super) fn carry<'a>(draft: &mut Draft<'a>, listening: &[(IpAddr, &'a Entry)]) {
    let mut local = local(draft, listening);
    let external = external(draft, &mut local);
    if !local.is_empty() {
        let from: Vec<&Entry> = local.iter().map(|(_, entry)| *entry).collect();
        let list = local.iter().map(|(ip, _)| ip.to_string()).collect();
        draft.set(("relay", "addresses"), Value::List(list), &from);
    }
    if !external.is_empty() {
        let from: Vec<&Entry> = external.iter().map(|(.., entry)| *entry).collect();
        let pair =
            |(local, outside, _): &(IpAddr, IpAddr, _)| (local.to_string(), outside.to_string());
        let pairs = Value::Pairs(external.iter().map(pair).collect());
        draft.set(("relay", "external"), pairs, &from);
    }
    ports(draft);
}

/// What to relay from: `relay-ip`, else, as in coturn, where clients come in.
fn local<'a>(draft: &mut Draft<'a>, listening: &[(IpAddr, &'a Entry)]) -> Vec<(IpAddr, &'a Entry)> {
    let mut written = draft.addresses("relay-ip");
    for (ip, entry) in written.iter().filter(|(ip, _)| ip.is_unspecified()) {
        let text = format!("{ip} is no address to relay from");
        draft.changed(entry, text, "nothing: without one they are found out at the start");
    }
    written.retain(|(ip, _)| !ip.is_unspecified());
    if !written.is_empty() {
        return written;
    }
    let mut listening = listening.to_vec();
    if listening.iter().any(|(ip, _)| ip.is_unspecified()) {
        return Vec::new();
    }
    // Loopback is for those who ask on the host itself, unless there is nothing else.
    if listening.iter().any(|(ip, _)| !ip.is_loopback()) {
        listening.retain(|(ip, _)| !ip.is_loopback());
    }
    listening
}

/// `external-ip`, in both forms. One for all can only be one for one: a NAT cannot give the same
/// port to two.
fn external<'a>(
    draft: &mut Draft<'a>,
    local: &mut Vec<(IpAddr, &'a Entry)>,
) -> Vec<(IpAddr, IpAddr, &'a Entry)> {
    let mut external: Vec<(IpAddr, IpAddr, &Entry)> = Vec::new();
    for entry in draft.all("external-ip") {
        let word = entry.word();
        let (outside, inside) = match word.split_once('/') {
            Some((outside, inside)) => (outside, Some(inside)),
            None => (word, None),
        };
        let Some(outside) = draft.address(entry, outside) else { continue };
        if outside.is_unspecified() {
            draft.lost(entry, format!("{outside} is no address that a client could be told"), CURE);
            continue;
        }
        let inside = match inside {
            Some(inside) => draft.address(entry, inside),
            None => the_one(draft, entry, outside, local),
        };
        let Some(inside) = inside else { continue };
        let taken = external.iter().find(|(ip, other, _)| *ip == inside || *other == outside);
        if outside == inside {
            draft.changed(entry, format!("{inside} is the host's own address: nothing to map"), "");
        } else if outside.is_ipv4() != inside.is_ipv4() {
            let text = format!("{outside} and {inside} are of different families");
            draft.lost(entry, text, "map IPv4 to IPv4 and IPv6 to IPv6");
        } else if let Some((.., before)) = taken {
            let text = format!("line {} maps one of the two already", before.line);
            draft.lost(entry, text, "write each address once in external");
        } else if !local.is_empty() && !local.iter().any(|(ip, _)| *ip == inside) {
            let text = format!("nothing relays from {inside}");
            draft.lost(entry, text, "add it to addresses in [relay], and map it in external");
        } else {
            external.push((inside, outside, entry));
        }
    }
    external
}

/// The local address that an `external-ip` without one is for.
fn the_one<'a>(
    draft: &mut Draft<'a>,
    entry: &Entry,
    outside: IpAddr,
    local: &mut Vec<(IpAddr, &'a Entry)>,
) -> Option<IpAddr> {
    let of_family = |ip: &IpAddr| ip.is_ipv4() == outside.is_ipv4() && !ip.is_loopback();
    let written: Vec<IpAddr> = local.iter().map(|(ip, _)| *ip).filter(of_family).collect();
    if let [first, rest @ ..] = written.as_slice() {
        if !rest.is_empty() {
            let text = format!(
                "{outside} stands for {first} only: the NAT cannot give one port to two addresses; \
                 of the others nothing is relayed"
            );
            draft.changed(entry, text, "write one external-ip=public/private for each");
            local.retain(|(ip, _)| !rest.contains(ip));
        }
        return Some(*first);
    }
    let found: Vec<IpAddr> = draft.host.found.iter().copied().filter(of_family).collect();
    if found.contains(&outside) {
        return Some(outside);
    }
    match found.as_slice() {
        [one] => {
            let text = format!("taken to be how the world sees {one}, this host's own address");
            draft.changed(entry, text, "correct external in [relay] where that is another host");
            Some(*one)
        }
        _ => {
            let text =
                format!("which of this host's addresses the world sees as {outside} is open");
            draft.lost(entry, text, CURE);
            draft.offer("relay", format!("external = {{ \"10.0.0.5\" = \"{outside}\" }}"));
            None
        }
    }
}

fn ports(draft: &mut Draft<'_>) {
    let (min, max) = (draft.port("min-port", 49_152), draft.port("max-port", 65_535));
    let [first, last] = ["min-port", "max-port"].map(|name| draft.last(name));
    let Some(entry) = first.or(last) else { return };
    if min > max || max < 1024 {
        let text = format!("{min} to {max} is no range that can be relayed from");
        draft.lost(entry, text, "write port_min and port_max in [relay], 1024 or above");
        return;
    }
    if min < 1024 {
        let text =
            format!("begins at 1024, not at {min}: those before are of services (RFC 8656 §7.2)");
        draft.changed(entry, text, "");
    }
    let from = |entry: Option<&'_ Entry>| entry.cloned();
    for (key, port, entry) in
        [("port_min", min.max(1024), from(first)), ("port_max", max, from(last))]
    {
        let from: Vec<&Entry> = entry.iter().collect();
        draft.set(("relay", key), Value::Number(port.into()), &from);
    }
}

const CURE: &str = "write external = { \"10.0.0.5\" = \"203.0.113.10\" } in [relay], the host's \
                    own address first";
