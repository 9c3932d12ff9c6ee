//! Why nobody could be made out behind a request (401), for whoever watches over the server. The
//! client is told none of this.

use std::fmt;

use crate::turn::Server;
use crate::turn::action::{Action, Username};
use crate::turn::claim::{Claim, User};
use crate::turn::moment::Now;
use crate::turn::tuple::Path;
use crate::wire::{AttributeType, Message};

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// Nothing: every client's first request comes without a name, to be asked for it.
    Challenged,
    /// It was for another realm.
    Realm,
    /// Nobody has that name.
    UnknownUser,
    /// The time of that name is over (a time-limited one).
    Expired,
    /// It was not signed with the password of that name.
    Password,
    /// The token opens nothing, is not for now, or its key did not sign the request (RFC 7635).
    Token,
}

impl LoginFailure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] = [
        Self::Challenged,
        Self::Realm,
        Self::UnknownUser,
        Self::Expired,
        Self::Password,
        Self::Token,
    ];

    /// Its name in the log and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Challenged => "challenged",
            Self::Realm => "other-realm",
            Self::UnknownUser => "unknown-user",
            Self::Expired => "expired",
            Self::Password => "wrong-password",
            Self::Token => "bad-token",
        }
    }
}

impl fmt::Display for LoginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The longest name that is told: a real one is no longer (RFC 8489 §14.3).
const NAME_MAX: usize = 508;

impl Server {
    /// Counts a 401, and has whoever watches told who was refused.
    pub(super) fn login_failed(&mut self, now: Now, path: Path, message: &Message<'_>) {
        let claim = Claim::read(message).ok();
        let why =
            claim.map_or(LoginFailure::Challenged, |claim| self.fault_of(now, claim, message));
        self.stats.count_login_failure(why);
        // Told is only who has our nonce, and so is where it says it is: otherwise whoever writes
        // another's address could have that one kept out.
        let Some(claim) = claim.filter(|claim| {
            self.nonces.accepts(now.unix_secs, &path.tuple, claim.nonce, message.method())
        }) else {
            return;
        };
        let name = match claim.user {
            User::Named(name) => &name[..name.len().min(NAME_MAX)],
            User::Hashed(_) => &[],
        };
        let user = Username(name.into());
        self.actions.push_back(Action::LoginFailed { path, user, why });
    }

    fn fault_of(&self, now: Now, claim: Claim<'_>, message: &Message<'_>) -> LoginFailure {
        let name = self.accounts.name_of(claim.user);
        let third_party = self.accounts.third_party();
        if claim.realm != self.accounts.realm() {
            LoginFailure::Realm
        } else if third_party.is_some_and(|it| {
            message.has(AttributeType::ACCESS_TOKEN) || name.is_some_and(|name| it.is_kid(name))
        }) {
            LoginFailure::Token
        } else {
            name.map_or(LoginFailure::UnknownUser, |name| {
                self.accounts.fault_of_user(name, now.unix_secs)
            })
        }
    }
}
