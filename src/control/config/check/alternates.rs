//! `[alternates]`: other servers, which new clients can be sent to.

use std::net::{IpAddr, SocketAddr};

use super::super::Listen;
use super::super::address::{self, Wrong};
use super::super::file;
use super::super::source::At;
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
