//! `[alternates]`: other servers, which new clients can be sent to.

use std::net::{IpAddr, SocketAddr};

use super::super::address::{self, Wrong};
use super::super::file;
use super::super::source::At;
use super::super::{Config, Listen};
use super::Check;
use crate::turn::Transport;
use crate::turn::config::{Alternate, Alternates};

impl Check<'_> {
    pub(in crate::control::config) fn alternates(
        &mut self,
        written: &file::Alternates,
        listen: &Listen,
    ) -> Alternates {
        let lists = [
            ("udp", Transport::Udp, &written.udp, &listen.udp),
            ("tcp", Transport::Tcp, &written.tcp, &listen.tcp),
            ("tls", Transport::Tcp, &written.tls, &listen.tls),
        ];
        let mut servers = Vec::new();
        for (key, transport, list, own) in lists {
            for (index, text) in list.iter().enumerate() {
                let at = At("alternates", key, Some(index));
                let server = address::server(text).and_then(|server| another(server, own));
                let Some(server) = self.kept(at, server) else { continue };
                let server = Alternate { transport, tls: key == "tls", address: server };
                if servers.contains(&server) {
                    let cause = format!("{} stands here twice", server.address);
                    self.wrong(at, cause, "remove one of the two");
                    continue;
                }
                servers.push(server);
            }
        }
        if written.always && servers.is_empty() {
            let cause = "there is nobody to send clients to".to_owned();
            let cure = "write udp = [\"192.0.2.2:3478\"] with the other server, or always = false";
            self.wrong(At("alternates", "always", None), cause, cure);
        }
        let domain = (!written.domain.is_empty()).then(|| written.domain.clone());
        if domain.as_deref().is_some_and(|name| !is_dns_name(name)) {
            let cause = format!("{:?} is not a DNS name of at most 255 characters", written.domain);
            let cure = "write the name in the certificate, domain = \"turn2.example.org\"";
            self.wrong(At("alternates", "domain", None), cause, cure);
        }
        let tls_listeners = listen.tls.clone();
        Alternates { servers, domain, tls_listeners, always: written.always }
    }
}

impl Config {
    /// Alternates that lead back to this server by an address that `[listen]` does not write: one
    /// of the host's own, `found`, where a listener has them all, or one that the world sees.
    pub(in crate::control::config) fn alternates_to_itself(
        &self,
        found: &[IpAddr],
    ) -> impl Iterator<Item = &Alternate> {
        self.alternates.servers.iter().filter(move |server| {
            let own = self.listeners_like(server);
            own.iter().any(|own| {
                own.port() == server.address.port() && self.is_reached_by(*own, server, found)
            })
        })
    }

    /// Where this server listens for those who would be sent to `server`.
    fn listeners_like(&self, server: &Alternate) -> Vec<SocketAddr> {
        let corners = self.discovery.addresses();
        match (server.transport, server.tls) {
            (_, true) => self.listen.tls.clone(),
            (Transport::Tcp, false) if !self.discovery.streams => self.listen.tcp.clone(),
            (Transport::Tcp, false) => self.listen.tcp.iter().copied().chain(corners).collect(),
            _ => self.listen.udp.iter().copied().chain(corners).collect(),
        }
    }

    /// Whether a listener at `own` is reached by that server's address.
    fn is_reached_by(&self, own: SocketAddr, server: &Alternate, found: &[IpAddr]) -> bool {
        let outside = server.address.ip();
        let external = || self.relay.external.iter().filter(|(_, to)| *to == outside);
        if !own.ip().is_unspecified() {
            return own.ip() == outside || external().any(|(from, _)| *from == own.ip());
        }
        let is_here = |ip: IpAddr| ip.is_loopback() || found.contains(&ip);
        own.is_ipv4() == outside.is_ipv4()
            && (is_here(outside) || external().any(|(from, _)| is_here(*from)))
    }
}

/// ALTERNATE-DOMAIN (RFC 8489 §14.16): a valid DNS name.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = name.parse::<IpAddr>().is_ok();
    name.len() <= 255 && !is_address && name.split('.').all(is_label)
}

/// A server that is not this one: clients would come back.
fn another(server: SocketAddr, own: &[SocketAddr]) -> Result<SocketAddr, Wrong> {
    if own.contains(&server) {
        let cause = format!("{server} is this server itself");
        return Err(Wrong::new(cause, "name another server, or remove it"));
    }
    Ok(server)
}
