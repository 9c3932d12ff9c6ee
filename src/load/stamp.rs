//! What each packet carries, and what is made of it where it arrives: whether it is new, twice
//! there, or late.
//!
//! ```text
//! 0    lane (4)  run (4)         big-endian; a lane is one direction of one flow
//! 8    sequence number (4)       12 bytes that every payload has
//! 12   when it was sent (8)      nanoseconds since the run began; at 24 bytes and more
//! ```

/// The shortest payload.
pub const SEQUENCE_BYTES: usize = 12;
/// The shortest payload that says when it was sent.
pub const LATENCY_BYTES: usize = 24;

/// A packet's own mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which lane.
    pub lane: u32,
    /// Which run of the tool: what is left from another one does not count.
    pub run: u32,
    /// Which packet of the lane; a run is too short for it to wrap.
    pub sequence: u32,
    /// When it was sent, where there was room for that.
    pub sent_ns: Option<u64>,
}

impl Stamp {
    /// Writes the stamp at the head of `payload`, which has [`SEQUENCE_BYTES`] at least.
    #[inline]
    pub fn write(&self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.lane.to_be_bytes());
        payload[4..8].copy_from_slice(&self.run.to_be_bytes());
        payload[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        if let (Some(sent), true) = (self.sent_ns, payload.len() >= LATENCY_BYTES) {
            payload[12..20].copy_from_slice(&sent.to_be_bytes());
        }
    }

    /// Reads it back; `None` where the payload is too short for one.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(*payload.get(at..)?.first_chunk()?));
        let sent = payload.get(12..20).filter(|_| payload.len() >= LATENCY_BYTES);
        let sent_ns = sent.and_then(|sent| Some(u64::from_be_bytes(*sent.first_chunk()?)));
        Some(Self { lane: word(0)?, run: word(4)?, sequence: word(8)?, sent_ns })
    }

    /// The stamp as a transaction id: lane, sequence number and the time in 48 bits, which is
    /// three days.
    #[inline]
    pub fn to_transaction(self) -> [u8; 12] {
        let mut id = [0; 12];
        id[..2].copy_from_slice(&(self.lane as u16).to_be_bytes());
        id[2..6].copy_from_slice(&self.sequence.to_be_bytes());
        id[6..].copy_from_slice(&self.sent_ns.unwrap_or(0).to_be_bytes()[2..]);
        id
    }

    /// Reads a transaction id of this run.
    #[inline]
    pub fn from_transaction(id: [u8; 12], run: u32) -> Self {
        let [a, b, c, d, e, f, time @ ..] = id;
        let sent = time.iter().fold(0, |sent, byte| sent << 8 | u64::from(*byte));
        Self {
            lane: u16::from_be_bytes([a, b]).into(),
            run,
            sequence: u32::from_be_bytes([c, d, e, f]),
            sent_ns: Some(sent),
        }
    }
}

/// What an arrival is to its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// The newest so far.
    Ahead,
    /// Behind a newer one, and not seen before.
    Late,
    /// Seen before, or so old that nobody can tell.
    Again,
}

/// Which packets of a lane have arrived: all that can be told from the last [`Seen::DEPTH`].
#[derive(Clone, Debug)]
pub struct Seen {
    /// One above the newest.
    next: u64,
    /// Bit `n % DEPTH`: packet `n` has arrived.
    bits: [u64; Self::WORDS],
}

impl Seen {
    const WORDS: usize = 64;
    /// How far back an arrival is still told from a duplicate.
    pub const DEPTH: u64 = 64 * Self::WORDS as u64;

    /// Nothing has arrived.
    pub fn new() -> Self {
        Self { next: 0, bits: [0; Self::WORDS] }
    }

    /// One above the newest that has arrived.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes note of an arrival.
    #[inline]
    pub fn note(&mut self, sequence: u32) -> Arrived {
        let sequence = u64::from(sequence);
        let ahead = sequence >= self.next;
        if ahead {
            // What lies between was not seen, and its bits may be those of a round before.
            let skipped = (sequence - self.next).min(Self::DEPTH);
            for missing in sequence - skipped..sequence {
                self.bits[word(missing)] &= !bit(missing);
            }
            self.next = sequence + 1;
        } else if sequence + Self::DEPTH < self.next
            || self.bits[word(sequence)] & bit(sequence) != 0
        {
            return Arrived::Again;
        }
        self.bits[word(sequence)] |= bit(sequence);
        if ahead { Arrived::Ahead } else { Arrived::Late }
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self::new()
    }
}

fn word(sequence: u64) -> usize {
    (sequence / 64) as usize % Seen::WORDS
}

fn bit(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let stamp = Stamp { lane: 7, run: 0xDEAD_BEEF, sequence: 1 << 31, sent_ns: Some(1 << 40) };
        let mut payload = [0; LATENCY_BYTES];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        let mut short = [0; SEQUENCE_BYTES];
        stamp.write(&mut short);
        assert_eq!(Stamp::read(&short), Some(Stamp { sent_ns: None, ..stamp }));
        assert_eq!(Stamp::read(&short[1..]), None);
        assert_eq!(Stamp::from_transaction(stamp.to_transaction(), stamp.run), stamp);
    }

    #[test]
    fn arrivals_are_told_apart() {
        let mut seen = Seen::new();
        assert_eq!([0, 1, 5].map(|n| seen.note(n)), [Arrived::Ahead; 3]);
        assert_eq!([3, 2].map(|n| seen.note(n)), [Arrived::Late; 2]);
        assert_eq!([3, 5, 0].map(|n| seen.note(n)), [Arrived::Again; 3]);
        assert_eq!(seen.next(), 6);
        // A jump over more than it remembers leaves nothing behind from before.
        let far = 5 + 3 * Seen::DEPTH as u32;
        assert_eq!(seen.note(far), Arrived::Ahead);
        assert_eq!(seen.note(far - 1), Arrived::Late);
        assert_eq!(seen.note(far - Seen::DEPTH as u32 + 1), Arrived::Late);
        assert_eq!(seen.note(far - Seen::DEPTH as u32), Arrived::Again);
    }
}
