//! How many allocations a user and the server may hold, over all workers.
//!
//! One of the three locks that workers share (the others: the shelf of reservations and the crowd
//! of connections). It is taken when an allocation begins or ends, and never on a packet's road.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::turn::Username;

/// The limits; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Allocations that one username may hold at a time.
    pub per_user: usize,
    /// Allocations that the server may hold at a time.
    pub total: usize,
}

/// The count of allocations.
#[derive(Debug)]
pub struct Quota {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    limits: QuotaLimits,
    by_account: HashMap<Box<[u8]>, usize>,
    total: usize,
}

/// The user, or the server, holds as many allocations as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Quota {
    /// Nothing held, under these limits.
    pub fn new(limits: QuotaLimits) -> Self {
        Self { held: Mutex::new(Held { limits, ..Held::default() }) }
    }

    /// Books one allocation for `user`.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] where it would be one too many; nothing is booked then.
    pub fn charge(&self, user: &Username) -> Result<(), Exhausted> {
        let mut held = self.held();
        let account = account(user);
        let of_user = held.by_account.get(account).copied().unwrap_or(0);
        if reached(held.total, held.limits.total) || reached(of_user, held.limits.per_user) {
            return Err(Exhausted);
        }
        held.total += 1;
        match held.by_account.get_mut(account) {
            Some(count) => *count += 1,
            None => drop(held.by_account.insert(account.into(), 1)),
        }
        Ok(())
    }

    /// Gives one allocation of `user` back.
    pub fn release(&self, user: &Username) {
        let mut held = self.held();
        let account = account(user);
        let Some(of_user) = held.by_account.get_mut(account) else {
            debug_assert!(false, "released more than was charged");
            return;
        };
        *of_user -= 1;
        if *of_user == 0 {
            held.by_account.remove(account);
        }
        held.total -= 1;
    }

    /// Goes by other limits from now on. Whoever holds more keeps it, and gets nothing new.
    pub fn set_limits(&self, limits: QuotaLimits) {
        self.held().limits = limits;
    }

    /// Allocations held now.
    pub fn total(&self) -> usize {
        self.held().total
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        // A panic elsewhere can't leave the counts half-changed: nothing above panics between two
        // changes.
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Whom a username counts for: of a time-limited one the part behind its expiry, so that a fresh
/// credential is no fresh quota.
pub(super) fn account(user: &Username) -> &[u8] {
    let colon = user.0.iter().position(|byte| *byte == b':');
    match colon.map(|at| user.0.split_at(at)) {
        Some((expiry, [_, name @ ..]))
            if !name.is_empty() && expiry.iter().all(u8::is_ascii_digit) =>
        {
            name
        }
        _ => &user.0,
    }
}

fn reached(count: usize, limit: usize) -> bool {
    limit != 0 && count >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Username {
        Username(name.as_bytes().into())
    }

    #[test]
    fn a_user_holds_no_more_than_its_limit() {
        let quota = Quota::new(QuotaLimits { per_user: 2, total: 0 });
        assert_eq!(quota.charge(&user("a")), Ok(()));
        assert_eq!(quota.charge(&user("a")), Ok(()));
        assert_eq!(quota.charge(&user("a")), Err(Exhausted));
        assert_eq!(quota.charge(&user("b")), Ok(()));
        quota.release(&user("a"));
        assert_eq!(quota.charge(&user("a")), Ok(()));
    }

    #[test]
    fn a_fresh_time_limited_credential_is_no_fresh_quota() {
        let quota = Quota::new(QuotaLimits { per_user: 1, total: 0 });
        assert_eq!(quota.charge(&user("1790000000:a")), Ok(()));
        assert_eq!(quota.charge(&user("1790000600:a")), Err(Exhausted));
        assert_eq!(quota.charge(&user("1790000600:b")), Ok(()));
        quota.release(&user("1790000000:a"));
        assert_eq!(quota.charge(&user("1790000600:a")), Ok(()));
        for bare in ["1790000000", "1790000600", "x:a", "1790000000:"] {
            assert_eq!(quota.charge(&user(bare)), Ok(()), "{bare} stands for itself");
        }
    }

    #[test]
    fn all_users_together_hold_no_more_than_the_total() {
        let quota = Quota::new(QuotaLimits { per_user: 0, total: 2 });
        assert_eq!(quota.charge(&user("a")), Ok(()));
        assert_eq!(quota.charge(&user("b")), Ok(()));
        assert_eq!(quota.charge(&user("c")), Err(Exhausted));
        assert_eq!(quota.total(), 2);
    }

    #[test]
    fn a_user_with_nothing_left_costs_no_memory() {
        let quota = Quota::new(QuotaLimits::default());
        assert_eq!(quota.charge(&user("a")), Ok(()));
        quota.release(&user("a"));
        assert_eq!(quota.total(), 0);
        assert!(quota.held().by_account.is_empty());
    }
}
