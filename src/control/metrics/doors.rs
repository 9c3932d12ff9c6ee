//! Who comes in: connections, handshakes, load balancers, signalling sockets.

use super::{Family, Observed};
use crate::worker::Stats;

type Count = fn(&Stats) -> u64;

pub(super) fn families(seen: &Observed) -> Vec<Family> {
    let count = |family: Family, label: &'static str, counts: &[(&str, Count)]| {
        counts.iter().fold(family, |family, (value, of)| {
            family.with([(label, *value)], seen.sum(|it| of(&it.stats)))
        })
    };
    let connections = Family::gauge("connections", "Clients' connections and sessions now")
        .with([("transport", "tcp")], seen.sum(|it| it.connections as u64))
        .with([("transport", "dtls")], seen.sum(|it| it.sessions as u64));
    let accepted = Family::counter("connections_accepted", "Connections that were let in")
        .with([("side", "client")], seen.sum(|it| it.stats.connections_accepted))
        .with([("side", "peer")], seen.sum(|it| it.stats.peers_accepted));
    let closed = Family::counter("connections_closed", "Connections that were closed, by reason");
    let tls = Family::counter("tls_handshakes", "TLS handshakes, by result");
    let dtls = Family::counter("dtls_handshakes", "DTLS handshakes, by result");
    let proxied =
        Family::counter("proxied_connections", "Connections of load balancers, by result");
    let mut families = vec![
        connections,
        accepted,
        count(closed, "reason", CLOSED),
        count(tls, "result", TLS),
        count(dtls, "result", DTLS),
        count(proxied, "result", PROXIED),
        Family::counter("accept_errors", "Times that accepting failed: descriptors are short")
            .value(seen.sum(|it| it.stats.accept_errors)),
        Family::counter("quota_refusals", "Allocations that a quota refused")
            .value(seen.sum(|it| it.stats.quota_refusals)),
    ];
    families.extend(certificates(seen));
    families.extend(signalling(seen));
    families
}

const CLOSED: &[(&str, Count)] = &[
    ("over_limit", |it| it.connections_over_limit),
    ("over_source_limit", |it| it.connections_over_source_limit),
    ("idle", |it| it.connections_idle),
    ("out_of_step", |it| it.connections_out_of_step),
    ("unread", |it| it.connections_unread),
    ("broken", |it| it.connections_broken),
    ("peers_over_limit", |it| it.peers_over_limit),
];

const TLS: &[(&str, Count)] = &[
    ("done", |it| it.handshakes_done),
    ("failed", |it| it.handshakes_failed),
    ("late", |it| it.handshakes_late),
    ("displaced", |it| it.handshakes_displaced),
];

const DTLS: &[(&str, Count)] = &[
    ("done", |it| it.dtls.sessions_opened),
    ("failed", |it| it.dtls.handshakes_failed),
    ("late", |it| it.dtls.handshakes_expired),
    ("displaced", |it| it.dtls.handshakes_displaced),
    ("over_limit", |it| it.dtls.sessions_over_limit),
    ("over_source_limit", |it| {
        it.dtls.handshakes_over_source_limit + it.dtls.sessions_over_source_limit
    }),
];

const PROXIED: &[(&str, Count)] = &[
    ("taken", |it| it.proxied_connections),
    ("twice", |it| it.proxied_twice),
    ("wrong_header", |it| it.proxy_headers_wrong),
    ("late_header", |it| it.proxy_headers_late),
    ("displaced", |it| it.proxy_headers_displaced),
];

fn certificates(seen: &Observed) -> Option<Family> {
    let help = "When a certificate ends, in seconds since 1970";
    let family = Family::gauge("certificate_not_after_seconds", help);
    let family = seen
        .certificates
        .iter()
        .fold(family, |family, (file, at)| family.fraction([("file", file)], *at as f64));
    (!family.series.is_empty()).then_some(family)
}

fn signalling(seen: &Observed) -> [Family; 5] {
    let it = seen.signalling;
    [
        Family::gauge("signalling_sockets", "Signalling sockets now").value(it.sockets),
        Family::gauge("signalling_rooms", "Rooms with somebody in them now").value(it.rooms),
        Family::counter("signalling_opened", "Signalling sockets that were let in")
            .value(it.opened),
        Family::counter("signalling_messages", "Signals, by what became of them")
            .with([("result", "passed_on")], it.signals)
            .with([("result", "undelivered")], it.undelivered)
            .with([("result", "fault")], it.faults),
        Family::counter(
            "signalling_turned_away",
            "Signalling sockets refused or closed, by reason",
        )
        .with([("reason", "full")], it.refused_full)
        .with([("reason", "rate")], it.refused_rate)
        .with([("reason", "slow")], it.closed_slow)
        .with([("reason", "dead")], it.closed_dead)
        .with([("reason", "expelled")], it.closed_expelled),
    ]
}
