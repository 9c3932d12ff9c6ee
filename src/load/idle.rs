//! Allocations that nothing is done with: the server holds them, and no socket of ours. Each comes
//! from an address and port of its own, which is bound while it is made and again to delete it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::client::message::{self, Session};
use crate::load::client::Clients;
use crate::load::is_interrupted;
use crate::load::port::Port;
use crate::wire::Method;

/// How long a server grants at least (RFC 8656 §7.2).
const LIFETIME_MIN_SECS: u64 = 600;
/// How many are made in a second, at the very least.
const PER_SECOND: u64 = 500;
/// Ports of one address, below those that systems hand out by themselves.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// How many are made until somebody is told.
const TOLD_EACH: usize = 500;
/// How many addresses and ports are tried for one that somebody else has.
const TRIES: usize = 16;

/// Allocations that rest.
#[derive(Debug, Default)]
pub(super) struct Idle {
    list: Vec<Held>,
    /// When all of them expire, in the run's nanoseconds.
    pub(super) ends_ns: u64,
}

#[derive(Debug)]
struct Held {
    local: SocketAddr,
    session: Session,
}

/// Where clients come from: 127.64.0.0/10 has room for any number of them, elsewhere it is for the
/// system to say.
#[derive(Clone, Copy, Debug)]
struct Origins {
    network: Option<u32>,
    next: u32,
}

impl Origins {
    fn of(server: SocketAddr) -> Self {
        // Another network each time: a server may remember who has come from the last one's.
        let network = (127 << 24) | (64 << 16) | (rand::random::<u32>() & 0x003F_F000);
        Self { network: server.ip().is_loopback().then_some(network), next: 0 }
    }

    fn take(&mut self, server: SocketAddr) -> SocketAddr {
        let (place, ports) = (self.next, u32::from(PORTS.end - PORTS.start));
        self.next += 1;
        match (self.network, server.ip()) {
            (Some(network), IpAddr::V4(_)) => {
                let ip = Ipv4Addr::from_bits(network + 1 + place / ports);
                SocketAddr::new(ip.into(), PORTS.start + (place % ports) as u16)
            }
            (Some(_), ip) => SocketAddr::new(ip, 0),
            (None, IpAddr::V4(_)) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            (None, IpAddr::V6(_)) => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0),
        }
    }
}

impl Idle {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Makes `count` of them, which are to expire in the same second, at least `secs` from now.
    /// What was made before an error is there all the same.
    pub(super) fn fill(
        &mut self,
        clients: &Clients,
        count: u32,
        secs: u32,
        live: bool,
    ) -> io::Result<()> {
        let count = u64::from(count);
        let secs = LIFETIME_MIN_SECS.max(secs.into()) + 1 + count / PER_SECOND;
        self.ends_ns = clients.clock.ns() + secs * 1_000_000_000;
        let mut origins = Origins::of(clients.server);
        let mut session = Session::new(clients.login.clone());
        while (self.list.len() as u64) < count {
            if is_interrupted() {
                return Err(ErrorKind::Interrupted.into());
            }
            let held = self.make(clients, &mut origins, &session)?;
            // What one client has learnt spares the next one a question.
            session.clone_from(&held.session);
            self.list.push(held);
            if live && self.list.len().is_multiple_of(TOLD_EACH) {
                eprint!("\r{} of {count} idle allocations\x1b[K", self.list.len());
            }
        }
        if live {
            eprint!("\r\x1b[K");
        }
        Ok(())
    }

    fn make(
        &self,
        clients: &Clients,
        origins: &mut Origins,
        session: &Session,
    ) -> io::Result<Held> {
        let mut tries = 0;
        loop {
            let mut session = session.clone();
            let secs = (self.ends_ns.saturating_sub(clients.clock.ns()) / 1_000_000_000) as u32;
            let made = clients.endpoint(origins.take(clients.server)).and_then(|endpoint| {
                let local = endpoint.local_addr();
                clients.allocate_by(&mut Port::Udp(endpoint), &mut session, secs)?;
                Ok(local)
            });
            match made {
                Ok(local) => return Ok(Held { local, session }),
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes them; how many the server may still hold.
    pub(super) fn delete(self, clients: &Clients) -> usize {
        let (mut left, mut failures) = (0, 0);
        for mut held in self.list {
            let attributes = |_: &[u8; 12]| message::refresh(clients.peer, 0);
            let gone = failures < 3
                && clients.endpoint(held.local).is_ok_and(|endpoint| {
                    let mut port = Port::Udp(endpoint);
                    clients.ask(&mut port, &mut held.session, Method::REFRESH, attributes).is_ok()
                });
            failures = if gone { 0 } else { failures + 1 };
            left += usize::from(!gone);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_clients_come_from_the_same_place() {
        let server = "127.0.0.1:3478".parse().unwrap();
        let mut origins = Origins::of(server);
        let mut list: Vec<_> = (0..50_000).map(|_| origins.take(server)).collect();
        assert!(list.iter().all(|at| at.ip().is_loopback() && PORTS.contains(&at.port())));
        list.sort();
        list.dedup();
        assert_eq!(list.len(), 50_000);
        for elsewhere in ["192.0.2.1:3478", "[2001:db8::1]:3478", "[::1]:3478"] {
            let server = elsewhere.parse().unwrap();
            assert_eq!(Origins::of(server).take(server).port(), 0, "{elsewhere}");
        }
    }
}
