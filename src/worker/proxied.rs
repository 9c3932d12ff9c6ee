//! Clients that come by a load balancer, which says by the PROXY protocol whom it speaks for: over
//! UDP in front of each datagram.
//!
//! A datagram is the client's from the moment that its header is gone: nobody behind this module
//! knows of the balancer. Only where an answer leaves it is asked which way leads back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::net::batch::Sender;
use crate::turn::{FiveTuple, Transport};
use crate::wire::proxy_header::{Carrier, ProxyHeader};
use crate::worker::Worker;
use crate::worker::token::Token;

/// The balancers, and the ways back to clients that came by them.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    balancers: Arc<[IpNet]>,
    /// Which balancer's address brought a client's last datagram. Strangers stand here for one turn
    /// only, clients until nobody has heard of their allocation any more.
    ways_back: HashMap<Ends, WayBack>,
    /// Which turn it is: those before count no more.
    turn: u64,
    /// Who was not there before this turn, or has come by itself in it.
    fresh: Vec<Ends>,
    /// How many ways back there may be before those are looked for that lead to nobody.
    sweep_at: usize,
}

/// A client and the server address that it is served at.
type Ends = (SocketAddr, SocketAddr);

/// The way back to a client.
#[derive(Clone, Copy, Debug)]
struct WayBack {
    balancer: SocketAddr,
    /// In which turn a balancer last brought something.
    brought: u64,
    /// In which turn something last came from the client's address by itself.
    direct: u64,
}

impl Proxied {
    pub(super) fn new(balancers: Arc<[IpNet]>) -> Self {
        Self { balancers, turn: 1, ..Self::default() }
    }

    /// Whether there are balancers at all.
    #[inline]
    pub(super) fn is_expected(&self) -> bool {
        !self.balancers.is_empty()
    }

    /// Whether this is a balancer, which must say whom it speaks for, as nobody else may.
    pub(super) fn is_balancer(&self, ip: IpAddr) -> bool {
        self.balancers.iter().any(|net| net.contains(&ip))
    }

    /// Whom a datagram to `server` is from that has come from this address.
    pub(super) fn sender(&mut self, from: SocketAddr, server: SocketAddr, bytes: &[u8]) -> Sender {
        if !self.is_balancer(from.ip()) {
            self.came_from(from, server, from);
            return Sender::Itself;
        }
        let Ok(Some(header)) = ProxyHeader::read(bytes, Carrier::Datagram) else {
            return Sender::Nobody;
        };
        let source = header.client.unwrap_or(from);
        self.came_from(source, server, from);
        Sender::Behind { header: header.length, source }
    }

    /// A datagram of `client` has come, maybe to another worker, from this address.
    pub(super) fn came_from(&mut self, client: SocketAddr, server: SocketAddr, from: SocketAddr) {
        if !self.is_expected() {
            return;
        }
        let ends = (client, server);
        if from == client {
            // One who came by a balancer may come by itself now, or somebody else in its name.
            if let Some(way) = self.ways_back.get_mut(&ends) {
                way.direct = self.turn;
                // Of a client that has nothing here any more the way back is of no use.
                self.fresh.push(ends);
            }
            return;
        }
        let way = WayBack { balancer: from, brought: self.turn, direct: 0 };
        match self.ways_back.entry(ends) {
            Entry::Occupied(mut there) => {
                let direct = there.get().direct;
                there.insert(WayBack { direct, ..way });
            }
            Entry::Vacant(place) => {
                place.insert(way);
                self.fresh.push(ends);
            }
        }
    }

    /// A client has shown its credentials: the way back by a balancer ends where it has come by
    /// itself. Where both have happened in one turn nobody can tell which of them it was.
    pub(super) fn has_authenticated(&mut self, client: SocketAddr, server: SocketAddr) {
        let ends = (client, server);
        let Some(way) = self.ways_back.get(&ends) else { return };
        if way.direct == self.turn && way.brought != self.turn {
            self.ways_back.remove(&ends);
        }
    }

    /// Where what is for `client` goes when it leaves from `server`.
    #[inline]
    pub(super) fn way_to(&self, client: SocketAddr, server: SocketAddr) -> SocketAddr {
        if self.is_expected() {
            self.ways_back.get(&(client, server)).map_or(client, |way| way.balancer)
        } else {
            client
        }
    }

    /// Ways back that are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ways_back.len()
    }

    /// Forgets the ways to those of whom nobody knows, once the answers to them have left.
    pub(super) fn forget(&mut self, mut is_known: impl FnMut(Ends) -> bool) {
        self.turn += 1;
        for ends in self.fresh.drain(..) {
            if !is_known(ends) {
                self.ways_back.remove(&ends);
            }
        }
        if self.ways_back.len() > self.sweep_at {
            self.ways_back.retain(|ends, _| is_known(*ends));
            self.sweep_at = SWEEP_MIN.max(2 * self.ways_back.len());
        }
    }
}

/// Fewer ways back than this are never looked through.
const SWEEP_MIN: usize = 1024;

impl Worker {
    /// Takes the headers off what balancers have sent.
    pub(super) fn read_proxy_headers(&mut self) {
        let (udp, proxied, drops) = (&self.udp, &mut self.proxied, &mut self.stats.drops);
        self.requests = self.received.reveal(self.requests, |datagram| {
            let Token::Udp(index) = Token::from(datagram.socket) else { return Sender::Itself };
            let server = udp[index as usize].listener.server_addr(datagram.destination);
            let sender = proxied.sender(datagram.source, server, datagram.bytes);
            drops.no_proxy_header += u64::from(sender == Sender::Nobody);
            sender
        });
    }

    /// Keeps no state for strangers beyond the turn.
    pub(super) fn forget_strangers(&mut self) {
        let (core, sessions) = (&self.core, &self.sessions);
        self.proxied.forget(|(client, server)| {
            let tuple = |transport| FiveTuple { transport, client, server };
            core.has_allocation(&tuple(Transport::Udp))
                || sessions.of(&tuple(Transport::Dtls)).is_some()
        });
    }
}
