//! `[peers]`: whom clients may reach.

use std::net::IpAddr;

use ipnet::IpNet;

use super::draft::{Draft, Value};
use super::lines::Entry;
use super::notes::shown;
use super::ranges::Range;

pub(super) fn carry(draft: &mut Draft<'_>) {
    let mut allow = Vec::new();
    let mut from = draft.all("allowed-peer-ip");
    for entry in from.clone() {
        if let Some(range) = range(draft, entry) {
            allow.extend(without_the_forbidden(draft, entry, range));
        }
    }
    if draft.is_set("allow-loopback-peers")
        && let Some(entry) = draft.last("allow-loopback-peers")
    {
        allow.extend(LOOPBACK.iter().flat_map(|net| Range::parse(net)));
        from.push(entry);
        let text = "every client reaches what listens on this host's loopback, but for hairpin's \
                    own ports";
        draft.changed(entry, text, "take it out of allow in [peers] unless this is for tests");
    }
    let deny_from = draft.all("denied-peer-ip");
    let mut deny = Vec::new();
    for entry in &deny_from {
        // Whoever has written a CIDR has meant to deny it, and more denied does no harm.
        if let Ok(net) = text(entry).parse::<IpNet>() {
            draft.changed(
                entry,
                "coturn 4.6 passes over a CIDR, and denies nothing by it; here it is denied",
                "",
            );
            deny.push(Range::from(net));
        } else {
            deny.extend(range(draft, entry));
        }
    }
    tell_of_private_peers(draft, &allow);
    for (key, ranges, from) in [("allow", allow, from), ("deny", deny, deny_from)] {
        let list = nets(ranges);
        if !list.is_empty() {
            draft.set(("peers", key), Value::List(list), &from);
        }
    }
}

/// A range has no blanks of its own but around the dash.
fn text(entry: &Entry) -> &str {
    entry.value.split('#').next().unwrap_or_default().trim()
}

/// What an option names; what is no range is told.
fn range(draft: &mut Draft<'_>, entry: &Entry) -> Option<Range> {
    let text = text(entry);
    let range = Range::parse(text);
    if range.is_none() {
        let cure = match text.parse::<IpNet>() {
            Ok(_) => "coturn knows no CIDR either; write it in allow of [peers] if it was meant",
            Err(_) => {
                "write an address, or the first and the last of a range, as 10.0.0.0-10.0.0.9"
            }
        };
        draft.lost(entry, format!("{} is no range of addresses", shown(text)), cure);
    }
    range
}

/// An allow beats everything in hairpin. In coturn it does not reach loopback and what else is
/// nobody's business, so a wide one must not open that here.
fn without_the_forbidden(draft: &mut Draft<'_>, entry: &Entry, range: Range) -> Vec<Range> {
    let mut left = vec![range];
    let mut cut: Vec<&str> = Vec::new();
    for net in LOOPBACK.iter().chain(FORBIDDEN) {
        let hole = Range::parse(net).expect("a test reads them all");
        let before = left.clone();
        left = left.into_iter().flat_map(|range| range.without(hole)).collect();
        if left != before {
            cut.push(net);
        }
    }
    if !cut.is_empty() {
        let text = format!("without {}, which coturn does not relay to either", cut.join(", "));
        draft.changed(entry, text, "");
    }
    left
}

/// What coturn relays to without being asked, and hairpin does not.
fn tell_of_private_peers(draft: &mut Draft<'_>, allow: &[Range]) {
    let inside: [IpAddr; 3] = [[10, 0, 0, 1], [172, 16, 0, 1], [192, 168, 0, 1]].map(IpAddr::from);
    if inside.iter().any(|ip| !allow.iter().any(|range| range.contains(*ip))) {
        draft.custom(
            "private networks (10.0.0.0/8 and the like), this host itself and what else no \
             stranger shall reach are denied; coturn relays there unless denied-peer-ip says no",
            "name what clients shall reach in allow of [peers], a media server on this host for \
             instance; `hairpin check-peer ADDRESS` tells what holds",
        );
    }
}

fn nets(ranges: Vec<Range>) -> Vec<String> {
    let mut nets: Vec<IpNet> = ranges.into_iter().flat_map(Range::cidrs).collect();
    nets.retain(|net| !is_mapped(*net));
    let mut list: Vec<String> = Vec::new();
    for net in nets {
        let text = net.to_string();
        if !list.contains(&text) {
            list.push(text);
        }
    }
    list
}

/// IPv4 in IPv6 clothes at the edge of a range of IPv6: each form of a peer is judged anyway.
fn is_mapped(net: IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.network().to_ipv4_mapped().is_some())
}

const LOOPBACK: [&str; 2] = ["127.0.0.0-127.255.255.255", "::1"];

/// Unspecified, link-local (the cloud's metadata service) and multicast addresses.
const FORBIDDEN: &[&str] = &[
    "0.0.0.0",
    "169.254.0.0-169.254.255.255",
    "224.0.0.0-255.255.255.255",
    "::",
    "fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "ff00::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_allow_opens_is_made_of_ranges() {
        for text in LOOPBACK.iter().chain(FORBIDDEN) {
            assert!(Range::parse(text).is_some(), "{text}");
        }
    }
}
