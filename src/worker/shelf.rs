//! Reserved relay sockets, waiting for a second allocation to take them (RFC 8656 §7.2).
//!
//! One of the locks that workers share, for the client that shows a RESERVATION-TOKEN may be
//! another worker's. Touched by EVEN-PORT with R, by RESERVATION-TOKEN and by a reservation's end,
//! never on a packet's road.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::net::relay::RelaySocket;
use crate::turn::{ReservationToken, Username};

/// Every reservation of this process. Each counts for its user's quota, as an allocation does, and
/// its core drops it when its time has come.
#[derive(Debug, Default)]
pub struct Shelf {
    held_by_token: Mutex<HashMap<ReservationToken, Held>>,
}

#[derive(Debug)]
struct Held {
    socket: RelaySocket,
    holder: Holder,
}

/// Whom a reservation is for, and is charged to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who made it.
    pub user: Username,
    /// Whether that was by a token (RFC 7635): then any bearer of one may take it.
    pub third_party: bool,
}

impl Shelf {
    /// Holds `socket` for `holder`, who must show `token`.
    pub fn hold(&self, token: ReservationToken, holder: Holder, socket: RelaySocket) {
        self.held().insert(token, Held { socket, holder });
    }

    /// The socket held under `token`, if it is held for `user`, and whom it was charged to.
    pub fn take(
        &self,
        token: ReservationToken,
        user: &Username,
        third_party: bool,
    ) -> Option<(RelaySocket, Username)> {
        let mut held = self.held();
        held.get(&token).filter(|Held { holder, .. }| {
            holder.third_party == third_party && (third_party || holder.user == *user)
        })?;
        held.remove(&token).map(|held| (held.socket, held.holder.user))
    }

    /// Closes the socket held under `token`, if nobody has taken it; gives whom it was held for.
    pub fn drop_reserved(&self, token: ReservationToken) -> Option<Username> {
        // Closed without the lock: a statement's temporaries live until its end.
        let held = self.held().remove(&token);
        held.map(|held| held.holder.user)
    }

    /// Sockets held now.
    pub fn len(&self) -> usize {
        self.held().len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ReservationToken, Held>> {
        // A panic elsewhere can't leave the map half-changed: each use of it is one call.
        self.held_by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::relay::Options;
    use crate::turn::{OpenError, RelayedAddr};

    fn user(name: &str) -> Username {
        Username(name.as_bytes().into())
    }

    fn holder(name: &str, third_party: bool) -> Holder {
        Holder { user: user(name), third_party }
    }

    fn socket() -> RelaySocket {
        let local = RelayedAddr("127.0.0.1:0".parse().unwrap());
        RelaySocket::open(local, Options::default()).unwrap()
    }

    const TOKEN: ReservationToken = ReservationToken(*b"12345678");

    #[test]
    fn only_the_user_that_made_a_reservation_can_take_it() {
        let shelf = Shelf::default();
        shelf.hold(TOKEN, holder("a", false), socket());
        assert!(shelf.take(TOKEN, &user("b"), false).is_none());
        assert!(shelf.take(TOKEN, &user("a"), true).is_none());
        assert!(shelf.take(ReservationToken([0; 8]), &user("a"), false).is_none());
        assert!(shelf.take(TOKEN, &user("a"), false).is_some());
        assert!(shelf.take(TOKEN, &user("a"), false).is_none());
    }

    #[test]
    fn what_the_bearer_of_a_token_has_reserved_any_other_may_take() {
        let shelf = Shelf::default();
        shelf.hold(TOKEN, holder("a", true), socket());
        assert!(shelf.take(TOKEN, &user("a"), false).is_none());
        let (_, charged) = shelf.take(TOKEN, &user("b"), true).expect("another bearer");
        assert_eq!(charged, user("a"));
    }

    #[test]
    fn a_dropped_reservation_frees_its_port() {
        let shelf = Shelf::default();
        let socket = socket();
        let local = socket.local_addr();
        shelf.hold(TOKEN, holder("a", false), socket);
        let open = || RelaySocket::open(local, Options::default());
        assert_eq!(open().unwrap_err(), OpenError::InUse);
        assert_eq!(shelf.drop_reserved(TOKEN), Some(user("a")));
        assert_eq!(shelf.drop_reserved(TOKEN), None);
        assert!(shelf.is_empty());
        assert!(open().is_ok());
    }
}
