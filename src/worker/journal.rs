//! What a worker tells the log: each allocation's end with all that is known of it, and everybody
//! who said who they are and was refused. Nothing is told for each packet.

use std::fmt;

use tracing::{info, warn};

use crate::turn::{Ending, LoginFailure, Moment, Path, Record, Username};

/// Holds back what would flood the log: whoever guesses passwords does so by the thousand.
#[derive(Debug, Default)]
pub(super) struct Journal {
    since: Moment,
    lines: u32,
    ends: u32,
    held_back: u64,
}

/// Refusals that are told in a second.
const REFUSALS_PER_SECOND: u32 = 20;
/// Ends that are: a restart of many clients' network is told whole, a loop of one is not.
const ENDS_PER_SECOND: u32 = 1000;

impl Journal {
    /// One line, with everything; answers whether it was held back.
    pub(super) fn allocation_ended(
        &mut self,
        now: Moment,
        record: &Record,
        ending: Ending,
    ) -> bool {
        self.turn_page(now);
        if self.ends >= ENDS_PER_SECOND {
            self.held_back += 1;
            return true;
        }
        self.ends += 1;
        let [v4, v6] = record.relayed.map(|address| address.map(tracing::field::display));
        info!(
            target: "hairpin::session",
            client = %record.tuple.client.ip().to_canonical(),
            port = record.tuple.client.port(),
            transport = %record.tuple.transport,
            user = ?Name(&record.user),
            relay = v4,
            relay6 = v6,
            secs = record.age_millis / 1000,
            peers = record.peers,
            packets_to_peers = record.to_peers.packets,
            bytes_to_peers = record.to_peers.bytes,
            packets_to_client = record.to_client.packets,
            bytes_to_client = record.to_client.bytes,
            why = %ending,
            "ended"
        );
        false
    }

    /// Begins with another second, and tells what was not told in the last.
    fn turn_page(&mut self, now: Moment) {
        if now.as_millis() - self.since.as_millis() >= 1000 {
            if self.held_back > 0 {
                warn!(target: "hairpin::log", lines = self.held_back, "not told one by one");
            }
            *self = Self { since: now, ..Self::default() };
        }
    }

    /// A line by which a firewall can be told whom to keep out; answers whether it was held back.
    pub(super) fn login_failed(
        &mut self,
        now: Moment,
        path: Path,
        user: &Username,
        why: LoginFailure,
    ) -> bool {
        self.turn_page(now);
        if self.lines >= REFUSALS_PER_SECOND {
            self.held_back += 1;
            return true;
        }
        self.lines += 1;
        let (client, port) = (path.tuple.client.ip().to_canonical(), path.tuple.client.port());
        let (transport, user) = (path.tuple.transport, Name(user));
        // A name whose time is over is a client that was not told in time, and no attack.
        if why == LoginFailure::Expired {
            info!(target: "hairpin::auth", %client, port, %transport, ?user, %why, "refused");
        } else {
            warn!(target: "hairpin::auth", %client, port, %transport, ?user, %why, "refused");
        }
        false
    }
}

/// A name from outside, in quotes and with everything escaped that is not plain.
struct Name<'a>(&'a Username);

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{FiveTuple, Link, Transport};

    fn path() -> Path {
        let [client, server] =
            ["203.0.113.5:4000", "198.51.100.1:3478"].map(|a| a.parse().unwrap());
        Path { link: Link(0), tuple: FiveTuple { transport: Transport::Udp, client, server } }
    }

    #[test]
    fn refusals_beyond_so_many_in_a_second_are_counted_and_not_told() {
        let mut journal = Journal::default();
        let user = Username((*b"mallory").into());
        for second in 1..4 {
            let now = Moment::from_millis(second * 1000);
            let held_back = (0..100)
                .filter(|_| journal.login_failed(now, path(), &user, LoginFailure::Password));
            assert_eq!(held_back.count(), 100 - REFUSALS_PER_SECOND as usize);
        }
    }

    #[test]
    fn no_name_breaks_a_line() {
        let name = |bytes: &[u8]| format!("{:?}", Name(&Username(bytes.into())));
        assert_eq!(name(b"alice"), r#""alice""#);
        assert_eq!(name(b"a\"\nWARN b\x1b[31m\xff"), r#""a\"\nWARN b\x1b[31m\xff""#);
    }
}
