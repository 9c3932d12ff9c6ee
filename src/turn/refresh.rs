//! Refresh (RFC 8656 §8.2): a new lifetime for an allocation, or its end; for one half of a dual
//! allocation alone, where its family is named (§8.1).

use crate::turn::Server;
use crate::turn::action::Verdict;
use crate::turn::mobility::Resume;
use crate::turn::moment::{Lifetime, Now};
use crate::turn::record::Ending;
use crate::turn::request::{Reject, Request, reject};
use crate::turn::table::AllocationId;
use crate::turn::tuple::Family;
use crate::wire::{AttributeType, ErrorCode};

/// The lifetime of an allocation whose client asks for none (RFC 8656 §3.2).
pub(super) const DEFAULT_LIFETIME: Lifetime = Lifetime::from_secs(600);

impl Server {
    pub(super) fn refresh(
        &mut self,
        now: Now,
        request: &Request<'_>,
        reply: &mut [u8],
    ) -> Result<Verdict, Reject> {
        // A client that shows a ticket is where its allocation is not yet (RFC 8016 §3.2.2).
        let ticket = request.message.find(AttributeType::MOBILITY_TICKET);
        let (id, resume) = match ticket {
            None => (self.allocation_of(request)?, None),
            Some(ticket) => {
                let (id, resume) = self.judge_ticket(request, ticket)?;
                (id, Some(resume))
            }
        };

        // A family that was not allocated: 443.
        let family = match request.message.find(AttributeType::REQUESTED_ADDRESS_FAMILY) {
            None => None,
            Some(&[code, _, _, _]) => {
                let family = Family::from_code(code);
                let has = |f: &Family| self.table.get(id).is_some_and(|a| a.has(*f));
                if family.filter(has).is_none() {
                    return reject(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH);
                }
                family
            }
            Some(_) => return reject(ErrorCode::BAD_REQUEST),
        };

        // The desired lifetime: zero stays zero, all else lies between the default and the most.
        let wanted = lifetime_of(request)?;
        let mut lifetime = match wanted {
            Some(zero) if zero.as_secs() == 0 => zero,
            wanted => self.granted(wanted),
        };

        if lifetime.as_secs() == 0 {
            // Gone before the answer leaves. In a dual allocation a family can go alone.
            match family {
                Some(family) => self.end_family(now, id, family, Ending::Deleted),
                None => self.end_allocation(now, id, Ending::Deleted),
            }
        } else {
            lifetime = self.extend(now, id, family, lifetime, request);
        }
        // Whatever is left goes where its client is.
        if let Some(Resume::Move(shown)) = resume {
            self.begin_move(id, shown, request);
        }

        self.stats.refreshes += 1;
        let mobility = self.table.get(id).and_then(|allocation| allocation.mobility.as_ref());
        let ticket = mobility.filter(|_| resume.is_some()).map(|mobility| *mobility.ticket());
        Ok(self.succeed(request, reply, |writer| {
            writer.attribute(AttributeType::LIFETIME, &lifetime.as_secs().to_be_bytes());
            if let Some(ticket) = ticket {
                writer.attribute(AttributeType::MOBILITY_TICKET, ticket.as_bytes());
            }
        }))
    }

    /// Gives an allocation, or one half of it, another lifetime: the one that is granted, but for a
    /// token's end. A new token is that of the allocation from now on (RFC 7635 §9).
    fn extend(
        &mut self,
        now: Now,
        id: AllocationId,
        family: Option<Family>,
        lifetime: Lifetime,
        request: &Request<'_>,
    ) -> Lifetime {
        let Some(allocation) = self.table.get_mut(id) else { return lifetime };
        if let Some(session) = request.session() {
            allocation.session = Some(Box::new(session.clone()));
            allocation.credential = request.credential.clone();
        }
        let expires = allocation.cap(now.moment + lifetime);
        // The other half has no more time than the token has, either.
        let before = allocation
            .session
            .as_deref()
            .map_or(allocation.expiry, |session| session.cap_both(allocation.expiry));
        // Without a family it applies to all that there is (RFC 8656 §8.1).
        let named = |of: &Family| allocation.has(*of) && family.is_none_or(|it| it == *of);
        let families = [Family::V4, Family::V6].into_iter().filter(named);
        let expiry = families.fold(before, |expiry, of| expiry.with(of, expires));
        self.set_expiry(id, expiry);
        Lifetime::from_secs(now.moment.secs_until(expires) as u32)
    }

    /// The lifetime for a client that wants this one (RFC 8656 §7.2): never less than the
    /// default, never more than the maximum.
    pub(super) fn granted(&self, wanted: Option<Lifetime>) -> Lifetime {
        wanted.map_or(DEFAULT_LIFETIME, |wanted| {
            wanted.min(self.limits.lifetime_max).max(DEFAULT_LIFETIME)
        })
    }
}

/// What LIFETIME asks for; 400 where it is malformed.
pub(super) fn lifetime_of(request: &Request<'_>) -> Result<Option<Lifetime>, Reject> {
    match request.message.find(AttributeType::LIFETIME) {
        None => Ok(None),
        Some(value) => match <[u8; 4]>::try_from(value) {
            Ok(secs) => Ok(Some(Lifetime::from_secs(u32::from_be_bytes(secs)))),
            Err(_) => reject(ErrorCode::BAD_REQUEST),
        },
    }
}
