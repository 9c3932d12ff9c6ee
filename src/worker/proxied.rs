//! Clients that come by a load balancer, which says by the PROXY protocol whom it speaks for: over
//! UDP in front of each datagram.
//!
//! A datagram is the client's from the moment that its header is gone: nobody behind this module
//! knows of the balancer. Only where an answer leaves it is asked which way leads back.

use std::collections::HashMap;
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
    ways_back: HashMap<Ends, SocketAddr>,
    /// Who was not there before this turn.
    fresh: Vec<Ends>,
    /// How many ways back there may be before those are looked for that lead to nobody.
    sweep_at: usize,
}

/// A client and the server address that it is served at.
type Ends = (SocketAddr, SocketAddr);

impl Proxied {
    pub(super) fn new(balancers: Arc<[IpNet]>) -> Self {
        Self { balancers, ..Self::default() }
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

    /// Whom a datagram to `server` is from.
    pub(super) fn sender(
        &mut self,
        balancer: SocketAddr,
        server: SocketAddr,
        bytes: &[u8],
    ) -> Sender {
        if !self.is_balancer(balancer.ip()) {
            // One who came by a balancer before comes by itself now.
            self.ways_back.remove(&(balancer, server));
            return Sender::Itself;
        }
        let Ok(Some(header)) = ProxyHeader::read(bytes, Carrier::Datagram) else {
            return Sender::Nobody;
        };
        let source = header.client.unwrap_or(balancer);
        self.came_from(source, server, balancer);
        Sender::Behind { header: header.length, source }
    }

    /// A datagram of `client` has come, maybe to another worker, from this address.
    pub(super) fn came_from(&mut self, client: SocketAddr, server: SocketAddr, from: SocketAddr) {
        if !self.is_expected() {
            return;
        }
        let ends = (client, server);
        if self.ways_back.insert(ends, from).is_none() {
            self.fresh.push(ends);
        }
    }

    /// Where what is for `client` goes when it leaves from `server`.
    #[inline]
    pub(super) fn way_to(&self, client: SocketAddr, server: SocketAddr) -> SocketAddr {
        if self.is_expected() {
            self.ways_back.get(&(client, server)).copied().unwrap_or(client)
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
