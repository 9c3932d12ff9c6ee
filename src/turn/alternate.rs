//! Try Alternate (RFC 8656 §7.2, step 11; RFC 8489 §10): new clients are sent to other servers, one
//! after the other, while those that are here go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::turn::Server;
use crate::turn::config::{self, Alternate};
use crate::turn::opening::Wish;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::tuple::{Family, FiveTuple, Transport};
use crate::wire::{AttributeType, ErrorCode, MessageWriter};

/// The other servers, and when clients are sent there.
#[derive(Debug)]
pub(super) struct Alternates {
    rings: BTreeMap<(Transport, bool, Family), Ring>,
    domain: Option<String>,
    tls_listeners: Vec<SocketAddr>,
    /// Whether clients are sent there from the start.
    always: bool,
    /// Whether the server drains.
    drains: bool,
}

/// Servers for clients of one kind, each in its turn.
#[derive(Debug, Default)]
struct Ring {
    servers: Vec<SocketAddr>,
    next: usize,
}

impl Ring {
    fn turn(&mut self) -> Option<SocketAddr> {
        let server = self.servers.get(self.next % self.servers.len().max(1)).copied();
        self.next = self.next.wrapping_add(1);
        server
    }
}

impl Alternates {
    /// `share` says where this core begins, so that many cores do not all begin with the same.
    pub(super) fn new(settings: config::Alternates, share: u16) -> Self {
        let mut rings: BTreeMap<_, Ring> = BTreeMap::new();
        for Alternate { transport, tls, address } in settings.servers {
            let ring = rings.entry((transport, tls, Family::of(address.ip()))).or_default();
            ring.servers.push(address);
            ring.next = share.into();
        }
        let config::Alternates { domain, tls_listeners, always, .. } = settings;
        Self { rings, domain, tls_listeners, always, drains: false }
    }

    /// Takes over what does not change: where clients come in, and that it drains.
    pub(super) fn go_on_from(&mut self, before: &Self) {
        self.tls_listeners.clone_from(&before.tls_listeners);
        self.drains = before.drains;
    }

    /// Whether a client has come by a TLS listener.
    fn is_over_tls(&self, client: &FiveTuple) -> bool {
        let (ip, port) = (client.server.ip(), client.server.port());
        let reaches = |listener: &SocketAddr| {
            let anywhere = listener.ip().is_unspecified() && listener.is_ipv4() == ip.is_ipv4();
            listener.port() == port && (anywhere || listener.ip() == ip)
        };
        client.transport == Transport::Tcp && self.tls_listeners.iter().any(reaches)
    }

    /// Whether there is one of the client's own family, which the answer must name.
    fn serve(&self, client: &FiveTuple) -> bool {
        let kind = (client.transport, self.is_over_tls(client), Family::of(client.client.ip()));
        (self.always || self.drains) && self.rings.contains_key(&kind)
    }
}

impl Server {
    /// From now on new clients are sent to other servers, where there are any.
    pub fn drain(&mut self) {
        self.alternates.drains = true;
    }

    /// Step 11 of Allocate: 300, if new clients are sent elsewhere. Who has reserved a port can
    /// have it nowhere else.
    pub(super) fn redirect(&self, request: &Request<'_>, wish: &Wish) -> Result<(), Reject> {
        if wish.token.is_none() && self.alternates.serve(&request.path.tuple) {
            return reject(ErrorCode::TRY_ALTERNATE);
        }
        Ok(())
    }

    /// RFC 8489 §10: one server of the client's family, then one of the other where there is one;
    /// and what to look for in its certificate, if another name than in ours.
    pub(super) fn name_alternates(&mut self, client: &FiveTuple, writer: &mut MessageWriter<'_>) {
        let families = match Family::of(client.client.ip()) {
            Family::V4 => [Family::V4, Family::V6],
            Family::V6 => [Family::V6, Family::V4],
        };
        let tls = self.alternates.is_over_tls(client);
        for family in families {
            let ring = self.alternates.rings.get_mut(&(client.transport, tls, family));
            if let Some(server) = ring.and_then(Ring::turn) {
                writer.plain_address(AttributeType::ALTERNATE_SERVER, server);
            }
        }
        if let Some(domain) = self.alternates.domain.as_ref().filter(|_| tls) {
            writer.attribute(AttributeType::ALTERNATE_DOMAIN, domain.as_bytes());
        }
    }
}
