//! `[nat_discovery]`: two addresses for each family, and what is wrong with them.

use std::iter;
use std::net::SocketAddr;

use super::Listen;
use super::address::{self, Wrong};
use super::check::Check;
use super::file::NatDiscovery;
use super::source::At;
use crate::turn::config::{Discovery, Pair};

/// The section, by which the addresses of a pair are told from those of `[listen]`.
pub const DISCOVERY: &str = "nat_discovery";

impl Check<'_> {
    /// The pairs; where their addresses stand is noted with those of the listeners.
    pub(super) fn discovery(&mut self, written: &NatDiscovery, listen: &mut Listen) -> Discovery {
        let primary = self.one_of_each_family("primary", &written.primary);
        let mut alternate = self.one_of_each_family("alternate", &written.alternate);
        let mut pairs = Vec::new();
        for (index, first) in primary {
            let Some(at) = alternate.iter().position(|(_, a)| a.is_ipv4() == first.is_ipv4())
            else {
                let cause = format!("{first} has no counterpart in alternate");
                let cure = "write one address of each family in both lists, or in neither";
                self.wrong(At(DISCOVERY, "primary", Some(index)), cause, cure);
                continue;
            };
            let (index, second) = alternate.remove(at);
            let at = At(DISCOVERY, "alternate", Some(index));
            match pair(first, second) {
                Ok(pair) => {
                    self.corners_are_free(at, &pair, written.tcp, listen);
                    let line = self.source.line(at);
                    let noted = |corner| line.map(|line| (DISCOVERY, corner, line));
                    listen.lines.extend(pair.corners().into_iter().filter_map(noted));
                    pairs.push(pair);
                }
                Err(Wrong { cause, cure }) => self.wrong(at, cause, cure),
            }
        }
        for (index, second) in alternate {
            let cause = format!("{second} has no counterpart in primary");
            let cure = "write one address of each family in both lists, or in neither";
            self.wrong(At(DISCOVERY, "alternate", Some(index)), cause, cure);
        }
        let requests_per_sec = written.requests_per_sec_per_source;
        self.nonzero(DISCOVERY, &[("requests_per_sec_per_source", requests_per_sec == 0)]);
        Discovery { pairs, streams: written.tcp, requests_per_sec }
    }

    /// Sockets that share a port share what comes to it, and nobody would be told.
    fn corners_are_free(&mut self, at: At, pair: &Pair, streams: bool, listen: &Listen) {
        let of_streams = [("tls", &listen.tls), ("http", &listen.http)];
        let of_streams = of_streams.into_iter().filter(|_| streams);
        for (key, taken) in iter::once(("dtls", &listen.dtls)).chain(of_streams) {
            let both = |corner| taken.iter().map(move |held| (corner, *held));
            let mut both = pair.corners().into_iter().flat_map(both);
            if let Some((corner, held)) = both.find(|(a, b)| address::collide(*a, *b)) {
                let cause = format!("{corner} is taken by [listen] {key} = [\"{held}\"]");
                let cure = format!("write other ports here, or give {key} one of its own");
                self.wrong(at, cause, cure);
            }
        }
    }

    fn one_of_each_family(
        &mut self,
        key: &'static str,
        list: &[String],
    ) -> Vec<(usize, SocketAddr)> {
        let mut found: Vec<(usize, SocketAddr)> = Vec::new();
        for (index, text) in list.iter().enumerate() {
            let at = At(DISCOVERY, key, Some(index));
            let Some(address) = self.kept(at, address::listener(text)) else { continue };
            if address.ip().is_unspecified() || address.port() == 0 {
                let cause = format!("{address} is no address that a client could be told");
                let cure = "write one address of this host and a port, such as \"192.0.2.1:3478\"";
                self.wrong(at, cause, cure);
            } else if found.iter().any(|(_, other)| other.is_ipv4() == address.is_ipv4()) {
                let cause = format!("{address} is the second of its family");
                self.wrong(at, cause, "write one IPv4 and one IPv6 address at most");
            } else {
                found.push((index, address));
            }
        }
        found
    }
}

/// Two addresses that differ in both parts, without which neither answer tells anything (RFC 5780
/// §6).
fn pair(primary: SocketAddr, alternate: SocketAddr) -> Result<Pair, Wrong> {
    if primary.ip() == alternate.ip() {
        let cause = format!("{alternate} is at the same IP address as {primary}");
        return Err(Wrong::new(cause, "write another address of this host"));
    }
    if primary.port() == alternate.port() {
        let cause = format!("{alternate} has the same port as {primary}");
        let free = SocketAddr::new(alternate.ip(), alternate.port().checked_add(1).unwrap_or(3479));
        return Err(Wrong::new(cause, format!("write another port, such as \"{free}\"")));
    }
    Ok(Pair { primary, alternate })
}
