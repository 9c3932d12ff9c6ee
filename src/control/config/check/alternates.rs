//! `[alternates]`: other servers, which new clients can be sent to.

use std::net::SocketAddr;

use super::super::Listen;
use super::super::address::{self, Wrong};
use super::super::file;
use super::super::source::At;
use super::Check;
use crate::turn::Transport;
use crate::turn::config::Alternates;

impl Check<'_> {
    pub(in crate::control::config) fn alternates(
        &mut self,
        written: &file::Alternates,
        listen: &Listen,
    ) -> Alternates {
        let lists = [
            ("udp", Transport::Udp, &written.udp, &listen.udp),
            ("tcp", Transport::Tcp, &written.tcp, &listen.tcp),
        ];
        let mut servers = Vec::new();
        for (key, transport, list, own) in lists {
            for (index, text) in list.iter().enumerate() {
                let at = At("alternates", key, Some(index));
                let server = address::server(text).and_then(|server| another(server, own));
                let Some(server) = self.kept(at, server) else { continue };
                if servers.contains(&(transport, server)) {
                    self.wrong(at, format!("{server} stands here twice"), "remove one of the two");
                    continue;
                }
                servers.push((transport, server));
            }
        }
        if written.always && servers.is_empty() {
            let cause = "there is nobody to send clients to".to_owned();
            let cure = "write udp = [\"192.0.2.2:3478\"] with the other server, or always = false";
            self.wrong(At("alternates", "always", None), cause, cure);
        }
        Alternates { servers, always: written.always }
    }
}

/// A server that is not this one: clients would come back.
fn another(server: SocketAddr, own: &[SocketAddr]) -> Result<SocketAddr, Wrong> {
    if own.contains(&server) {
        let cause = format!("{server} is this server itself");
        return Err(Wrong::new(cause, "name another server, or remove it"));
    }
    Ok(server)
}
