//! What a worker's sockets have done, in plain numbers.
//!
//! Each worker counts for itself and nobody else looks on; a [`Snapshot`] is a copy. Sums over the
//! workers are made by whoever reads them.

use std::time::Duration;

use crate::net::{Received, Tally};
use crate::turn;
use crate::worker::Worker;

/// Counters of one worker's sockets; they only grow. What the core counts (drops for lack of a
/// permission, error responses, …) is in [`turn::Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients over UDP.
    pub udp: Traffic,
    /// Clients over TCP and TLS: a packet is a frame, its bytes are those inside the TLS.
    pub tcp: Traffic,
    /// Peers.
    pub peers: Traffic,
    /// Packets that did not go on.
    pub drops: Drops,
    /// Errors that earlier datagrams had caused (ICMP), heard of on receiving.
    pub pending_errors: u64,
    /// Connections that were accepted and kept.
    pub connections_accepted: u64,
    /// Connections that were closed at once: too many in all.
    pub connections_over_limit: u64,
    /// Connections that were closed at once: too many from their source.
    pub connections_over_source_limit: u64,
    /// Connections that were closed because they had no allocation and nothing to say.
    pub connections_idle: u64,
    /// Connections that were closed because their bytes were out of step.
    pub connections_out_of_step: u64,
    /// Connections that were closed because they did not read their answers.
    pub connections_unread: u64,
    /// TLS handshakes that were done.
    pub handshakes_done: u64,
    /// TLS handshakes that failed, or that the client gave up.
    pub handshakes_failed: u64,
    /// TLS handshakes that took too long.
    pub handshakes_late: u64,
    /// TLS handshakes that made room for younger ones, because there were too many.
    pub handshakes_displaced: u64,
    /// Connections that were closed because what came was no TLS record of their session.
    pub connections_broken: u64,
    /// Connections that came by a TLS listener to speak HTTP.
    pub guests_shown_in: u64,
    /// The same that nobody had time for.
    pub guests_refused: u64,
    /// Connections of load balancers whose header has said whom they speak for.
    pub proxied_connections: u64,
    /// Of them, those that were closed because the same client address and port had one already.
    pub proxied_twice: u64,
    /// Connections of load balancers that were closed because no header came, but something else or
    /// the end.
    pub proxy_headers_wrong: u64,
    /// Connections of load balancers that were closed because their header took too long.
    pub proxy_headers_late: u64,
    /// Connections of load balancers that made room for newer ones while their header had not come.
    pub proxy_headers_displaced: u64,
    /// Connections that came from another worker, by a ConnectionBind or for an allocation.
    pub connections_handed_over: u64,
    /// ConnectionBinds that were refused, and moves that ended the connection, because the other
    /// worker did not take it.
    pub handovers_refused: u64,
    /// Connections of peers that were accepted and kept.
    pub peers_accepted: u64,
    /// Connections to peers that were made.
    pub peers_connected: u64,
    /// Connections to peers that could not be made.
    pub peers_failed: u64,
    /// Connections with peers that there were too many of in all.
    pub peers_over_limit: u64,
    /// Bytes that went through data connections to peers.
    pub data_to_peers: u64,
    /// Bytes that went through data connections to clients.
    pub data_to_clients: u64,
    /// Times that accepting failed, most likely for lack of descriptors.
    pub accept_errors: u64,
    /// Relay sockets that were opened.
    pub relays_opened: u64,
    /// Relay sockets that could not be opened because the port was taken.
    pub relays_in_use: u64,
    /// Relay sockets that could not be opened for lack of anything else.
    pub relays_failed: u64,
    /// Allocations that the quota refused.
    pub quota_refusals: u64,
    /// Messages to the kernel that carried the datagrams sent: fewer, where runs left as segments.
    pub messages_out: u64,
    /// Payloads, and packets of clients that have moved, that crossed to another worker without a
    /// socket.
    pub crossed: u64,
    /// Refusals and ends that were not told to the log, because there were too many.
    pub lines_held_back: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Clients over DTLS; their datagrams are counted as UDP's.
    pub dtls: DtlsStats,
}

/// What became of clients over DTLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DtlsStats {
    /// ClientHellos without a good cookie, which were answered with one.
    pub cookies: u64,
    /// Datagrams of nobody's session that were no ClientHello, or came while the server drained.
    pub strangers: u64,
    /// Handshakes that were begun after a good cookie.
    pub handshakes_begun: u64,
    /// Handshakes that were put off, because a turn of the loop had begun enough of them.
    pub handshakes_put_off: u64,
    /// Handshakes that were given up for younger ones, because there were too many in all.
    pub handshakes_displaced: u64,
    /// Handshakes that there were too many of from their source.
    pub handshakes_over_source_limit: u64,
    /// Handshakes that broke.
    pub handshakes_failed: u64,
    /// Handshakes that were not through in time.
    pub handshakes_expired: u64,
    /// Handshakes that were through.
    pub sessions_opened: u64,
    /// Sessions that there were too many of in all.
    pub sessions_over_limit: u64,
    /// Sessions that there were too many of from their source.
    pub sessions_over_source_limit: u64,
    /// Sessions that the client ended.
    pub sessions_closed: u64,
    /// Sessions that were ended because they had no allocation and nothing to say.
    pub sessions_idle: u64,
}

/// Packets and bytes both ways, as they cross the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub packets_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Sent.
    pub packets_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// Packets that were dropped by the sockets, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// They came in longer than a datagram can be.
    pub truncated: u64,
    /// They came from a load balancer and had no header that says whom it speaks for.
    pub no_proxy_header: u64,
    /// The kernel had no room for them at a socket of ours: the worker was not quick enough, or the
    /// socket's buffer is small (`net.core.rmem_max`, `net.core.rmem_default`).
    pub overflowed: u64,
    /// They came by a socket that was closed while they waited.
    pub closed: u64,
    /// A UDP socket's buffer was full.
    pub socket_full: u64,
    /// They, with their header, were longer than a datagram, a record or the path can be.
    pub too_long: u64,
    /// There is no way to that address, or none that is allowed.
    pub unreachable: u64,
    /// They were for a client of another worker, which is behind.
    pub neighbour_behind: u64,
    /// Media for a TCP client that reads slower than it is sent.
    pub queue_full: u64,
    /// They had been passed on to this worker, and were for yet another.
    pub passed_on_twice: u64,
    /// For a client over TCP or DTLS that is gone.
    pub client_gone: u64,
    /// Sending failed for any other reason.
    pub failed: u64,
}

/// A worker's counters, and what it holds now.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Which worker.
    pub worker: usize,
    /// What its sockets have done.
    pub stats: Stats,
    /// What its core has done.
    pub core: turn::Stats,
    /// Relay sockets open now, listeners for peers included.
    pub relays: usize,
    /// TCP connections of clients open now, data connections included.
    pub connections: usize,
    /// TCP connections with peers open now, those being made included.
    pub peers: usize,
    /// DTLS sessions now, those that are shaking hands included.
    pub sessions: usize,
    /// Messages of other workers and of the control plane that wait for it.
    pub waiting: usize,
    /// The CPU time that its thread has taken.
    pub cpu: Duration,
}

impl Traffic {
    pub(super) fn received(&mut self, packets: u64, bytes: u64) {
        self.packets_in += packets;
        self.bytes_in += bytes;
    }

    pub(super) fn sent(&mut self, packets: u64, bytes: u64) {
        self.packets_out += packets;
        self.bytes_out += bytes;
    }
}

impl Drops {
    pub(super) fn count(&mut self, tally: &Tally) {
        self.socket_full += tally.full;
        self.too_long += tally.too_long;
        self.unreachable += tally.unreachable;
        self.failed += tally.failed;
    }
}

impl Stats {
    /// Counts what no direction owns.
    pub(super) fn received(&mut self, received: &Received) {
        self.drops.truncated += received.truncated;
        self.drops.overflowed += received.lost;
        self.pending_errors += received.errors;
    }
}

impl Worker {
    /// What it has done so far.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            worker: self.index,
            stats: self.stats,
            core: self.core.stats(),
            relays: self.relays.len() + self.listeners.len(),
            connections: self.connections.len() + self.peers.joined(),
            peers: self.peers.len(),
            sessions: self.sessions.len(),
            waiting: self.inbox.waiting(),
            cpu: self.clock.cpu(),
        }
    }
}
