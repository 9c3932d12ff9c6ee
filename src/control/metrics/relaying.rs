//! Relaying: what crosses, what is held, what is asked for, what is dropped.

use super::{Family, Observed};
use crate::turn::LoginFailure;
use crate::turn::stats::{Drop, ERROR_CODES, METHODS};
use crate::wire::Method;
use crate::worker::{Drops, Stats, Traffic};

pub(super) fn families(seen: &Observed) -> Vec<Family> {
    let mut families = Vec::from(crossing(seen));
    families.extend(held(seen));
    families.extend([requests(seen), login_failures(seen), drops(seen)]);
    families
}

fn crossing(seen: &Observed) -> [Family; 5] {
    let mut packets = Family::counter("packets", "Packets that crossed sockets of this server");
    let mut bytes = Family::counter("bytes", "Bytes of these packets, without IP and UDP headers");
    type Of = fn(&Stats) -> Traffic;
    let sides: [(&str, &str, Of); 3] = [
        ("client", "udp", |stats| stats.udp),
        ("client", "tcp", |stats| stats.tcp),
        ("peer", "udp", |stats| stats.peers),
    ];
    for (side, transport, of) in sides {
        let labels =
            |direction| [("side", side), ("transport", transport), ("direction", direction)];
        packets = packets
            .with(labels("in"), seen.sum(|it| of(&it.stats).packets_in))
            .with(labels("out"), seen.sum(|it| of(&it.stats).packets_out));
        bytes = bytes
            .with(labels("in"), seen.sum(|it| of(&it.stats).bytes_in))
            .with(labels("out"), seen.sum(|it| of(&it.stats).bytes_out));
    }
    let peers = [("transport", "tcp"), ("direction", "to_peer")];
    let clients = [("transport", "tcp"), ("direction", "to_client")];
    [
        packets,
        bytes,
        Family::counter("relayed_packets", "Payloads that were relayed")
            .with([("direction", "to_peer")], seen.sum(|it| it.core.packets_to_peer))
            .with([("direction", "to_client")], seen.sum(|it| it.core.packets_to_client)),
        Family::counter("relayed_bytes", "Bytes of the payloads that were relayed")
            .with([("transport", "udp"), peers[1]], seen.sum(|it| it.core.bytes_to_peer))
            .with([("transport", "udp"), clients[1]], seen.sum(|it| it.core.bytes_to_client))
            .with(peers, seen.sum(|it| it.stats.data_to_peers))
            .with(clients, seen.sum(|it| it.stats.data_to_clients)),
        Family::counter("icmp_errors_told", "ICMP errors of peers that clients were told")
            .value(seen.sum(|it| it.core.icmp_to_client)),
    ]
}

fn held(seen: &Observed) -> [Family; 8] {
    [
        Family::gauge("allocations", "Allocations now").value(seen.sum(|it| it.core.allocations)),
        Family::counter("allocations_created", "Allocations that were made")
            .value(seen.sum(|it| it.core.allocations_created)),
        Family::counter("allocations_ended", "Allocations that ended, whatever the reason")
            .value(seen.sum(|it| it.core.allocations_ended)),
        Family::counter("allocations_expired", "Allocations that nobody refreshed")
            .value(seen.sum(|it| it.core.allocations_expired)),
        Family::gauge("permissions", "Permissions now").value(seen.sum(|it| it.core.permissions)),
        Family::gauge("channels", "Channels bound now").value(seen.sum(|it| it.core.channels)),
        Family::gauge("relay_sockets", "Relay sockets open now, listeners for peers included")
            .value(seen.sum(|it| it.relays as u64)),
        Family::gauge("peer_connections", "TCP connections with peers now")
            .value(seen.sum(|it| it.peers as u64)),
    ]
}

fn requests(seen: &Observed) -> Family {
    let help = "Requests that were answered, by method and result";
    let mut family = Family::counter("requests", help);
    for method in METHODS {
        let success = [("method", name(method)), ("result", "success")];
        family = family.with(success, seen.sum(|it| it.core.successes_of(method)));
        for code in ERROR_CODES {
            let count = seen.sum(|it| it.core.errors_to(method, code));
            // Most pairs never happen.
            if count > 0 {
                let code = code.get().to_string();
                family = family.with([("method", name(method)), ("result", &code)], count);
            }
        }
    }
    family
}

fn name(method: Method) -> &'static str {
    match method {
        Method::BINDING => "binding",
        Method::ALLOCATE => "allocate",
        Method::REFRESH => "refresh",
        Method::CREATE_PERMISSION => "create_permission",
        Method::CHANNEL_BIND => "channel_bind",
        Method::CONNECT => "connect",
        Method::CONNECTION_BIND => "connection_bind",
        _ => "other",
    }
}

fn login_failures(seen: &Observed) -> Family {
    let help = "Requests refused with 401, by what was wrong; every client is challenged once";
    LoginFailure::ALL.into_iter().fold(Family::counter("login_failures", help), |family, why| {
        family.with([("reason", why.name())], seen.sum(|it| it.core.login_failures(why)))
    })
}

fn drops(seen: &Observed) -> Family {
    let mut family = Family::counter("drops", "Packets that did not go on, by reason");
    for reason in Drop::ALL {
        family = family.with([("reason", reason.name())], seen.sum(|it| it.core.drops(reason)));
    }
    type Count = fn(&Drops) -> u64;
    let of_sockets: [(&str, Count); 12] = [
        ("truncated", |it| it.truncated),
        ("no_proxy_header", |it| it.no_proxy_header),
        ("kernel_overflow", |it| it.overflowed),
        ("socket_closed", |it| it.closed),
        ("socket_full", |it| it.socket_full),
        ("over_path_mtu", |it| it.too_long),
        ("unreachable", |it| it.unreachable),
        ("neighbour_behind", |it| it.neighbour_behind),
        ("slow_reader", |it| it.queue_full),
        ("passed_on_twice", |it| it.passed_on_twice),
        ("client_gone", |it| it.client_gone),
        ("send_failed", |it| it.failed),
    ];
    of_sockets.into_iter().fold(family, |family, (reason, of)| {
        family.with([("reason", reason)], seen.sum(|it| of(&it.stats.drops)))
    })
}
