//! Allocate (RFC 8656 §7.2): the request is checked, step by step. Its sockets are asked for and
//! answered in the other half, `opening`.

use std::net::IpAddr;

use crate::turn::Server;
use crate::turn::action::{ReservationToken, Username, Verdict};
use crate::turn::moment::Now;
use crate::turn::opening::{Opening, Wish};
use crate::turn::port::PortWish;
use crate::turn::refresh::lifetime_of;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::table::AllocationId;
use crate::turn::timer::Timer;
use crate::turn::tuple::{Family, Protocol};
use crate::wire::{AttributeType, ErrorCode};

impl Server {
    pub(super) fn allocate(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut [u8],
    ) -> Result<Verdict, Reject> {
        // Step 1, authentication, is done.
        // Step 2: the 5-tuple must be free (437), unless this is the same request once more,
        // which gets the same answer (RFC 8489 §6.3.1).
        if let Some(id) = self.table.find(&request.path.tuple) {
            return self.allocate_again(now, id, request, reply);
        }
        // Nobody relays for a tunnel's end (RFC 8656 §21.4).
        if self.acl.is_tunnel(request.path.tuple.client.ip()) {
            return reject(ErrorCode::FORBIDDEN);
        }
        // Steps 3 to 10 read what is wanted.
        let wish = self.read_wish(request)?;
        // Step 11: another server may be asked.
        self.redirect(request, &wish)?;

        // All checks have passed: the allocation takes its 5-tuple while its sockets are opened.
        let opening = Opening::new(wish, request.message.has(AttributeType::FINGERPRINT));
        let expires = now.moment + wish.lifetime;
        let expires = request.session().map_or(expires, |session| session.cap(expires));
        let id = self.table.insert(
            request.path,
            *request.message.transaction(),
            Username((*request.username).into()),
            request.credential.clone(),
            opening,
            expires,
        );
        if let Some(allocation) = self.table.get_mut(id) {
            allocation.session = request.session().cloned().map(Box::new);
            allocation.began = now.moment;
        }
        self.timers.set(expires, Timer::Allocation(id));
        match wish.token {
            Some(token) => self.take_reserved(id, token),
            None => self.open_next(now, id),
        }
        Ok(Verdict::Nothing)
    }

    /// Another Allocate on a 5-tuple that is in use.
    fn allocate_again(
        &mut self,
        now: Now,
        id: AllocationId,
        request: &Request<'_>,
        reply: &mut [u8],
    ) -> Result<Verdict, Reject> {
        let Some(allocation) = self.table.get(id) else {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        };
        if !request.owns(allocation) || allocation.transaction != *request.message.transaction() {
            return reject(ErrorCode::ALLOCATION_MISMATCH);
        }
        self.stats.retransmissions += 1;
        if allocation.opening().is_some() {
            // The first one's answer is on its way.
            return Ok(Verdict::Nothing);
        }
        let fingerprint = request.message.has(AttributeType::FINGERPRINT);
        let finished = self.write_success(now.moment, allocation, fingerprint, reply);
        Ok(self.replied(finished))
    }

    fn read_wish(&self, request: &Request<'_>) -> Result<Wish, Reject> {
        let message = request.message;

        // Step 3: REQUESTED-TRANSPORT is there and well-formed (400), and UDP or TCP (442).
        let protocol = match message.find(AttributeType::REQUESTED_TRANSPORT) {
            Some(&[number, _, _, _]) => {
                Protocol::from_number(number).ok_or(ErrorCode::UNSUPPORTED_TRANSPORT)?
            }
            Some(_) | None => return reject(ErrorCode::BAD_REQUEST),
        };
        // RFC 6062 §5.1: TCP only for a client on a stream, and without what is about datagrams.
        let about_datagrams = [
            AttributeType::DONT_FRAGMENT,
            AttributeType::EVEN_PORT,
            AttributeType::RESERVATION_TOKEN,
        ];
        if protocol == Protocol::Tcp
            && (!request.path.tuple.transport.is_stream()
                || about_datagrams.into_iter().any(|kind| message.has(kind)))
        {
            return reject(ErrorCode::BAD_REQUEST);
        }

        // Step 4: DONT-FRAGMENT is supported, so there is nothing to refuse.

        // Step 5: RESERVATION-TOKEN goes with none of the attributes that choose an address (400).
        let requested = family_in(request, AttributeType::REQUESTED_ADDRESS_FAMILY)?;
        // Clients of before the RFC (coturn's up to 4.6) know the second by another number.
        let additional = match family_in(request, AttributeType::ADDITIONAL_ADDRESS_FAMILY)? {
            None => family_in(request, AttributeType::DRAFT_ADDITIONAL_ADDRESS_FAMILY)?,
            additional => additional,
        };
        let port = match message.find(AttributeType::EVEN_PORT) {
            None => PortWish::Any,
            Some(&[bits]) if bits & 0x80 == 0 => PortWish::Even,
            Some(&[_]) => PortWish::EvenPair,
            Some(_) => return reject(ErrorCode::BAD_REQUEST),
        };
        let token = match message.find(AttributeType::RESERVATION_TOKEN) {
            None => None,
            Some(value) => match <[u8; 8]>::try_from(value) {
                Ok(token) => Some(ReservationToken(token)),
                Err(_) => return reject(ErrorCode::BAD_REQUEST),
            },
        };
        let chooses = requested.is_some() || additional.is_some() || port != PortWish::Any;
        if token.is_some() && chooses {
            return reject(ErrorCode::BAD_REQUEST);
        }

        // Step 6: not both families' attributes (400).
        if requested.is_some() && additional.is_some() {
            return reject(ErrorCode::BAD_REQUEST);
        }

        // Step 7: a family that is relayed here, IPv4 unless another is asked for (440).
        let server = request.path.tuple.server.ip();
        let families = match (requested, additional) {
            (Some(family), _) => [family, None],
            // Steps 8 and 9: ADDITIONAL-ADDRESS-FAMILY means IPv6 and goes without R (400). A
            // family that is missing is told in the success.
            (None, Some(Some(Family::V6))) if port != PortWish::EvenPair => {
                [Some(Family::V4), Some(Family::V6)]
            }
            (None, Some(_)) => return reject(ErrorCode::BAD_REQUEST),
            (None, None) => [Some(Family::V4), None],
        };
        let relayed = |family: Option<Family>| {
            family.is_some_and(|family| self.relay_addresses(family, server).next().is_some())
        };
        if token.is_none() && !families.into_iter().any(relayed) {
            return reject(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED);
        }

        // Step 10, the quota: the shell charges it when it opens the first socket, as all workers
        // share it.
        let lifetime = self.granted(lifetime_of(request)?);

        // RFC 8016 §3.1.2: an empty ticket asks for one, which the operator may forbid (405); one
        // that is none has no place here (400).
        let mobile = match message.find(AttributeType::MOBILITY_TICKET) {
            None => false,
            Some([]) if self.limits.mobility => true,
            Some([]) => return reject(ErrorCode::MOBILITY_FORBIDDEN),
            Some(_) => return reject(ErrorCode::BAD_REQUEST),
        };
        Ok(Wish { protocol, port, token, families, lifetime, mobile })
    }

    /// The local addresses to relay from for a client that reached `server`.
    pub(super) fn relay_addresses(
        &self,
        family: Family,
        server: IpAddr,
    ) -> impl Iterator<Item = IpAddr> {
        let of_family = move |ip: &&IpAddr| Family::of(**ip) == family;
        let configured = self.relay.addresses.iter().filter(of_family);
        let automatic = self.relay.addresses.is_empty();
        let reached = (automatic && Family::of(server) == family).then_some(server);
        // The client reached the other family: loopback goes with loopback, and the world with
        // an address that the world can reach.
        let fits = move |ip: &&IpAddr| ip.is_loopback() == server.is_loopback();
        let found = self.relay.found.iter().filter(of_family).filter(fits);
        let other = found.take(usize::from(automatic && reached.is_none())).copied();
        configured.copied().chain(reached).chain(other)
    }
}

/// The family that an attribute names: `Some(None)` where it names none that exists; 400 where it
/// is malformed.
fn family_in(request: &Request<'_>, kind: AttributeType) -> Result<Option<Option<Family>>, Reject> {
    match request.message.find(kind) {
        None => Ok(None),
        Some(&[code, _, _, _]) => Ok(Some(Family::from_code(code))),
        Some(_) => reject(ErrorCode::BAD_REQUEST),
    }
}
