//! When a socket is asked for the traffic class of what it receives.
//!
//! The kernel tells it with each datagram or not at all, which takes 70 ns each time: a twentieth
//! of what relaying one takes. So a socket by which many come, and none is marked, is asked only
//! now and then whether that has changed. One by which few come is always asked.

use crate::net::Received;
use crate::turn::Moment;

/// Whether a socket reports traffic classes, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    state: State,
    since: Moment,
    /// Datagrams that came unmarked, one behind the other.
    unmarked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody wants to know.
    Never,
    Asked,
    Spared,
}

impl Attention {
    /// For a socket that reports classes, or for one that never does.
    pub(super) fn new(now: Moment, wanted: bool) -> Self {
        let state = if wanted { State::Asked } else { State::Never };
        Self { state, since: now, unmarked: 0 }
    }

    /// Learns what a call has brought; whether the socket is to report classes from now on, where
    /// that changes.
    pub(super) fn learn(&mut self, now: Moment, received: &Received) -> Option<bool> {
        let elapsed = now.as_millis() - self.since.as_millis();
        match self.state {
            State::Asked if received.marked => {
                self.since = now;
                self.unmarked = 0;
            }
            State::Asked => {
                self.unmarked = self.unmarked.saturating_add(received.datagrams as u32);
                if self.unmarked >= UNMARKED_MAX {
                    let many = elapsed < 1000;
                    self.since = now;
                    self.unmarked = 0;
                    if many {
                        self.state = State::Spared;
                        return Some(false);
                    }
                }
            }
            State::Spared if elapsed >= SPARED_MILLIS => {
                self.state = State::Asked;
                self.since = now;
                self.unmarked = UNMARKED_MAX - ASKED_AGAIN;
                return Some(true);
            }
            State::Spared | State::Never => {}
        }
        None
    }
}

/// So many datagrams without a mark, within a second, and the socket is spared.
const UNMARKED_MAX: u32 = 4096;
/// For how long it is.
const SPARED_MILLIS: u64 = 250;
/// Of how many datagrams it is asked then.
const ASKED_AGAIN: u32 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(datagrams: usize, marked: bool) -> Received {
        Received { datagrams, marked, ..Received::default() }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn whoever_sends_little_is_always_asked() {
        let mut attention = Attention::new(at(0), true);
        for millis in 0..100_000 {
            assert_eq!(attention.learn(at(millis), &received(4, false)), None);
        }
    }

    #[test]
    fn many_without_a_mark_are_asked_now_and_then() {
        let mut attention = Attention::new(at(0), true);
        let (mut asked, mut all, mut on) = (0, 0, true);
        for millis in 0..10_000 {
            all += 300;
            asked += if on { 300 } else { 0 };
            on = attention.learn(at(millis), &received(300, false)).unwrap_or(on);
        }
        assert!((1..=all / 50).contains(&asked), "{asked} of {all}");
    }

    #[test]
    fn a_mark_has_the_socket_asked_for_as_long_as_there_are_more() {
        let mut attention = Attention::new(at(0), true);
        for millis in 0..100 {
            attention.learn(at(millis), &received(300, false));
        }
        // Somebody begins: within a moment it is seen, and then kept.
        let begins = (100..1000)
            .find(|millis| attention.learn(at(*millis), &received(300, false)) == Some(true));
        let begins = begins.expect("asked again");
        assert!(begins <= 300, "after {begins} ms");
        for millis in begins..begins + 10_000 {
            let marked = millis % 10 == 0;
            assert_eq!(attention.learn(at(millis), &received(300, marked)), None);
            if millis == begins {
                assert_eq!(attention.learn(at(millis), &received(1, true)), None);
            }
        }
    }

    #[test]
    fn where_nobody_wants_to_know_nothing_is_asked() {
        let mut attention = Attention::new(at(0), false);
        for millis in 0..10_000 {
            assert_eq!(attention.learn(at(millis), &received(300, true)), None);
        }
    }
}
