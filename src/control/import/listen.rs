//! `[listen]`, `[tls]`, `[nat_discovery]`: where clients come in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::draft::{Draft, Value, quoted};
use super::lines::Entry;
use super::notes::{Weight, shown};

const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;

/// The addresses and ports of all listeners.
struct Places<'a> {
    /// Each with its line; none for the wildcards that stand for everything.
    ips: Vec<(IpAddr, Option<&'a Entry>)>,
    port: u16,
    tls_port: u16,
    aux: Vec<(SocketAddr, &'a Entry)>,
}

pub(super) fn carry<'a>(draft: &mut Draft<'a>, listening: &[(IpAddr, &'a Entry)]) {
    let places = Places {
        ips: ips(draft, listening),
        port: draft.port("listening-port", PORT),
        tls_port: draft.port("tls-listening-port", TLS_PORT),
        aux: aux(draft),
    };
    let tls = certificate(draft);
    let wants_tls = !draft.is_set("no-tls");
    let wants_dtls = draft.is_set("dtls") || draft.flag("no-dtls") == Some(false);
    // Of one port for both, TLS is what clients count on, and UDP rather than DTLS.
    let udp_there = places.port == places.tls_port && !draft.is_set("no-udp");
    let secured = |wants: bool| (wants && tls == Some(true)).then_some(places.tls_port);
    let dtls = wants_dtls && draft.host.dtls && !udp_there;
    plain(draft, &places, ("udp", "no-udp"), secured(dtls));
    plain(draft, &places, ("tcp", "no-tcp"), secured(wants_tls));
    secure(draft, &places, tls, wants_tls);
    datagrams(draft, &places, tls, [wants_dtls, wants_tls], udp_there);
    http(draft);
    discovery(draft, &places);
}

/// What `listening-ip` names; all of both families where it names nothing.
fn ips<'a>(
    draft: &mut Draft<'a>,
    written: &[(IpAddr, &'a Entry)],
) -> Vec<(IpAddr, Option<&'a Entry>)> {
    let wildcards = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    if written.is_empty() {
        return wildcards.into_iter().map(|ip| (ip, None)).collect();
    }
    let has = |ip: IpAddr| written.iter().any(|(other, _)| *other == ip);
    let mut ips = Vec::new();
    for (ip, entry) in written {
        let all = wildcards[usize::from(ip.is_ipv6())];
        if *ip != all && has(all) {
            let text = format!("{all} stands there too, and has {ip} in it");
            draft.changed(entry, text, "");
            continue;
        }
        ips.push((*ip, Some(*entry)));
    }
    ips
}

fn aux<'a>(draft: &mut Draft<'a>) -> Vec<(SocketAddr, &'a Entry)> {
    let mut aux: Vec<(SocketAddr, &Entry)> = Vec::new();
    for entry in draft.all("aux-server") {
        match entry.word().parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => {
                if let Some(ip) = draft.address(entry, &address.ip().to_string()) {
                    aux.push((SocketAddr::new(ip, address.port()), entry));
                }
            }
            _ => {
                let text = format!("{} is no address with a port", shown(&entry.value));
                draft.lost(entry, text, "write it like 192.0.2.1:33478 or [2001:db8::1]:33478");
            }
        }
    }
    aux
}

/// The listeners for UDP or TCP; `secured` is the port at which DTLS or TLS takes their place.
fn plain(
    draft: &mut Draft<'_>,
    places: &Places<'_>,
    (key, off): (&'static str, &'static str),
    secured: Option<u16>,
) {
    let mut from: Vec<&Entry> = Vec::new();
    if draft.is_set(off) {
        from.extend(draft.last(off));
        return draft.set(("listen", key), Value::List(Vec::new()), &from);
    }
    from.extend(places.ips.iter().filter_map(|(_, entry)| *entry));
    from.extend(draft.last("listening-port"));
    let is_taken = secured == Some(places.port);
    let mut sockets = if is_taken { Vec::new() } else { places.at(places.port) };
    let by_port = ["listening-port", "tls-listening-port"];
    if is_taken && let Some(entry) = by_port.into_iter().find_map(|name| draft.last(name)) {
        let text = format!(
            "{} is for TLS as well, which coturn tells apart; here {key} has none",
            places.port
        );
        let cure = format!("write another port in {key} of [listen] for clients without TLS");
        draft.changed(entry, text, &cure);
    }
    for (address, entry) in &places.aux {
        if secured == Some(address.port()) {
            let text = format!("{address} is not in {key}: the port is for TLS");
            draft.changed(entry, text, "give it a port of its own in [listen]");
        } else if !sockets.contains(&address.to_string()) && !places.covers(*address) {
            sockets.push(address.to_string());
            from.push(entry);
        }
    }
    draft.set(("listen", key), Value::List(sockets), &from);
}

/// The certificate: whether it can be used; `None` where none is named.
fn certificate(draft: &mut Draft<'_>) -> Option<bool> {
    let (certificate, key) = (draft.last("cert"), draft.last("pkey"));
    let pair = match (certificate, key) {
        (Some(certificate), Some(key)) => [(certificate, "certificate"), (key, "key")],
        (Some(one), None) | (None, Some(one)) => {
            let text = "a certificate needs its key, and coturn's file names but one of the two";
            draft.lost(one, text, "write both in [tls], and tls = [\"0.0.0.0:5349\"] in [listen]");
            return None;
        }
        (None, None) => return None,
    };
    for (entry, key) in pair {
        let path = draft.host.directory.join(Path::new(&entry.value));
        draft.set(("tls", key), Value::Text(path.display().to_string()), &[entry]);
    }
    Some(draft.host.certificate.is_none())
}

/// The listener for TLS: coturn has one wherever it has a certificate.
fn secure(draft: &mut Draft<'_>, places: &Places<'_>, tls: Option<bool>, wants: bool) {
    let port = draft.last("tls-listening-port");
    let from: Vec<&Entry> = port.or_else(|| draft.last("cert")).into_iter().collect();
    let sockets = places.at(places.tls_port);
    match (wants, tls) {
        (false, _) => {
            let from: Vec<&Entry> = draft.last("no-tls").into_iter().collect();
            draft.set(("listen", "tls"), Value::List(Vec::new()), &from);
        }
        (true, Some(true)) => {
            draft.set(("listen", "tls"), Value::List(sockets), &from);
            draft.custom(
                "[listen] tls takes TLS only, and udp and tcp take none, where coturn finds out at \
                 every port what a client speaks",
                "give clients the port for what they speak: turn: 3478, turns: 5349",
            );
        }
        (true, Some(false)) => {
            draft.set(("listen", "tls"), Value::List(Vec::new()), &[]);
            let line = format!("tls = [{}]", quoted_list(&sockets));
            let (cause, cure) = draft.host.certificate.clone().unwrap_or_default();
            let text = format!("no TLS, for the certificate cannot be used: {cause}");
            let cure = format!("{cure}; then write {line} in [listen]");
            match draft.last("cert") {
                Some(entry) => draft.lost(entry, text, &cure),
                None => draft.custom(text, &cure),
            }
            draft.offer("listen", line);
        }
        (true, None) => draft.set(("listen", "tls"), Value::List(Vec::new()), &[]),
    }
}

/// The listener for DTLS, which coturn has had only where it is asked for since 4.7 or so.
fn datagrams(
    draft: &mut Draft<'_>,
    places: &Places<'_>,
    tls: Option<bool>,
    [wants, wants_tls]: [bool; 2],
    udp_there: bool,
) {
    let flags = [draft.last("dtls"), draft.last("no-dtls")];
    let asked = flags.into_iter().flatten().next();
    let sockets = places.at(places.tls_port);
    let line = format!("dtls = [{}]", quoted_list(&sockets));
    let Some(asked) = asked else {
        if wants_tls && tls.is_some() {
            draft.custom(
                "DTLS is off; coturn 4.6 has it on wherever it has TLS",
                &format!("write {line} in [listen], in a build with the feature dtls"),
            );
        }
        return;
    };
    if !wants {
        // This key is unknown to nobody, whatever the build: an empty list turns it off.
        return draft.set(("listen", "dtls"), Value::List(Vec::new()), &[asked]);
    }
    if !draft.host.dtls {
        let cure = format!("build with --features dtls (needs libssl-dev), then write {line}");
        draft.lost(asked, "this build of hairpin has no DTLS", &cure);
        draft.offer("listen", line);
    } else if tls != Some(true) {
        let cure = format!("write certificate and key in [tls], then {line} in [listen]");
        draft.lost(asked, "there is no certificate to be shown", &cure);
        draft.offer("listen", line);
    } else if udp_there {
        let text = "UDP has the same port, and hairpin does not tell them apart";
        draft.lost(asked, text, "give dtls a port of its own in [listen]");
    } else {
        draft.set(("listen", "dtls"), Value::List(sockets), &[asked]);
    }
}

/// The page, signalling and health are at 127.0.0.1:8080, unless that is taken.
fn http(draft: &mut Draft<'_>) {
    let taken: Vec<u16> = ["tcp", "tls"]
        .iter()
        .flat_map(|key| draft.list("listen", key))
        .filter_map(|socket| Some(socket.parse::<SocketAddr>().ok()?.port()))
        .collect();
    if taken.contains(&8080) {
        let free = (8081..).find(|port| !taken.contains(port)).unwrap_or(0);
        let socket = format!("127.0.0.1:{free}");
        draft.custom(format!("HTTP listens on {socket}, for 8080 is taken"), "");
        draft.set(("listen", "http"), Value::List(vec![socket]), &[]);
    }
}

/// NAT discovery needs two addresses of a family, and offers nothing to those who have one.
fn discovery(draft: &mut Draft<'_>, places: &Places<'_>) {
    let asked = draft.last("rfc5780").filter(|_| draft.is_set("rfc5780"));
    let alternate_port = places.port.checked_add(1).unwrap_or(PORT);
    let port = match draft.last("alt-listening-port") {
        Some(entry) if entry.word() != "0" => draft.port("alt-listening-port", alternate_port),
        _ => alternate_port,
    };
    let (mut primary, mut alternate) = (Vec::new(), Vec::new());
    for is_v4 in [true, false] {
        let of_family = places.ips.iter().filter(|(ip, _)| ip.is_ipv4() == is_v4);
        let ips: Vec<_> =
            of_family.map(|(ip, _)| *ip).filter(|ip| !ip.is_unspecified()).take(2).collect();
        if let [first, second] = ips[..] {
            primary.push(SocketAddr::new(first, places.port).to_string());
            alternate.push(SocketAddr::new(second, port).to_string());
        }
    }
    let Some(asked) = asked else {
        let entry = draft.last("alt-listening-port");
        if entry.is_some() {
            draft.note(Weight::Needless, entry, "it belongs to rfc5780, which is not set", "");
        }
        if !primary.is_empty() && draft.last("no-rfc5780").is_none() {
            draft.custom(
                "NAT discovery (RFC 5780) is off; coturn 4.6 has it on where it has two addresses",
                "docs/nat-discovery.md tells how to switch it on",
            );
        }
        return;
    };
    if primary.is_empty() {
        let cure =
            "write primary and alternate in [nat_discovery], as docs/nat-discovery.md has it";
        draft.lost(asked, "NAT discovery needs two listening-ip of one family", cure);
    } else if port == places.port {
        let text = format!("the alternate port is {port}, as the first; the two must differ");
        draft.lost(asked, text, "write another port in alt-listening-port");
    } else {
        let from: Vec<&Entry> =
            [Some(asked), draft.last("alt-listening-port")].into_iter().flatten().collect();
        draft.set(("nat_discovery", "primary"), Value::List(primary), &[asked]);
        draft.set(("nat_discovery", "alternate"), Value::List(alternate), &from);
    }
}

impl Places<'_> {
    fn at(&self, port: u16) -> Vec<String> {
        self.ips.iter().map(|(ip, _)| SocketAddr::new(*ip, port).to_string()).collect()
    }

    /// Whether a listener of the first port has this address already.
    fn covers(&self, address: SocketAddr) -> bool {
        let is_same = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv4() == address.is_ipv4();
        address.port() == self.port && self.ips.iter().any(|(ip, _)| is_same(*ip))
    }
}

fn quoted_list(items: &[String]) -> String {
    items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ")
}
