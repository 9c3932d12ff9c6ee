//! Which datagrams leave as segments of one message (UDP_SEGMENT, "GSO").
//!
//! The kernel walks its stack once for such a message, not once for each datagram; it is most of
//! what a relay can save. The receiver sees single datagrams, as they would have been sent.

use crate::net::class::TrafficClass;
use crate::net::sys::Outgoing;

/// What a socket is trusted to send as segments. What the kernel once refused is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The longest segment; 0 where nothing is joined.
    max: usize,
}

impl Segments {
    /// Nothing is joined.
    pub const OFF: Self = Self { max: 0 };
    /// Everything is joined that may be. A segment that does not fit the path is refused by the
    /// kernel, and longer ones are then sent alone, in fragments where they may be.
    pub const ON: Self = Self { max: MESSAGE_BYTES_MAX };

    /// Segments of no more than `max` bytes.
    pub const fn up_to(max: usize) -> Self {
        Self { max }
    }

    /// Learns from a message that was refused, whose segments had `length` bytes.
    pub(super) fn refused(&mut self, errno: i32, length: usize) {
        self.max = match errno {
            // A device that cannot compute checksums will not learn it.
            libc::EIO => 0,
            _ => self.max.min(length.saturating_sub(1)),
        };
    }
}

/// Marks datagrams that can leave with the one before them.
pub(super) struct Joining<I> {
    datagrams: I,
    limit: Segments,
    run: Option<Current>,
}

/// The message that is being gathered.
struct Current {
    to: std::net::SocketAddr,
    from: Option<std::net::IpAddr>,
    class: TrafficClass,
    segment: usize,
    count: usize,
    bytes: usize,
}

impl<I> Joining<I> {
    pub(super) fn new(limit: Segments, datagrams: I) -> Self {
        Self { datagrams, limit, run: None }
    }
}

impl<'a, I: Iterator<Item = Outgoing<'a>>> Iterator for Joining<I> {
    type Item = Outgoing<'a>;

    fn next(&mut self) -> Option<Outgoing<'a>> {
        let mut datagram = self.datagrams.next()?;
        let length: usize = datagram.parts.iter().map(|part| part.len()).sum();
        let fits = |run: &Current| {
            run.to == datagram.to
                && run.from == datagram.from
                && run.class == datagram.class
                && run.count < SEGMENTS_MAX
                && (1..=run.segment).contains(&length)
                && run.bytes + length <= MESSAGE_BYTES_MAX
                // A shorter one was the last.
                && run.bytes == run.count * run.segment
        };
        match &mut self.run {
            Some(run) if fits(run) => {
                datagram.joins = true;
                run.count += 1;
                run.bytes += length;
            }
            run if (1..=self.limit.max).contains(&length) => {
                let Outgoing { to, from, class, .. } = datagram;
                *run = Some(Current { to, from, class, segment: length, count: 1, bytes: length });
            }
            run => *run = None,
        }
        Some(datagram)
    }
}

/// Segments of one message (the kernel's UDP_MAX_SEGMENTS was 64 until it was 128).
const SEGMENTS_MAX: usize = 64;
/// Bytes of one message: what an IPv4 datagram could carry.
const MESSAGE_BYTES_MAX: usize = 65_507;
