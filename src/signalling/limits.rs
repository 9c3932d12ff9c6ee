//! What one socket, one source and the whole relay may cost. Every field is a bound that some
//! test reaches; the defaults leave a factor of a few above what honest browsers were seen to use.

/// The bounds of the signalling relay. Rates are per second, sizes in bytes, all inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one frame from a client. An offer with many media lines has 10 to 30 KiB.
    pub frame_bytes: usize,
    /// Brackets open at once in a frame's JSON. A session description needs three.
    pub frame_depth: usize,
    /// Frames per second that a socket may send for ever, pings and pongs included.
    pub messages_per_sec: u32,
    /// Frames that a socket may send at once after a rest.
    pub message_burst: u32,
    /// Bytes per second that a socket may send for ever.
    pub bytes_per_sec: u32,
    /// Bytes that a socket may send at once after a rest.
    pub byte_burst: u32,
    /// Offences (a frame over the rate, a frame that is no frame) answered with an error before
    /// the socket is closed. One is forgiven each second.
    pub strikes: u32,
    /// Frames waiting for one socket; beyond that, signals to it are refused to their senders.
    pub queue_frames: usize,
    /// Bytes waiting for one socket; beyond that, signals to it are refused to their senders.
    pub queue_bytes: usize,
    /// Milliseconds without a byte taken off a queue after which its socket is slow.
    pub stalled_after_ms: u64,
    /// Rooms in all.
    pub rooms: usize,
    /// Rooms that one source may have founded and that somebody is still in.
    pub rooms_per_source: usize,
    /// Peers in one room, [`Limits::ROOM_PEERS_HARD`] at most.
    pub room_peers: usize,
    /// Rooms that one socket may be in.
    pub rooms_per_socket: usize,
    /// Bytes in a room's name.
    pub name_bytes: usize,
    /// Bytes in what a peer says about itself when it joins, as JSON text.
    pub meta_bytes: usize,
    /// Sockets in all.
    pub sockets: usize,
    /// Sockets of one source: an IPv4 address or an IPv6 /64.
    pub sockets_per_source: usize,
    /// Sockets per second that one source may open for ever.
    pub opens_per_sec_per_source: u32,
    /// Sockets that one source may open at once after a rest.
    pub open_burst_per_source: u32,
    /// Sockets per second that all sources together may open.
    pub opens_per_sec: u32,
    /// Sockets that all sources together may open at once after a rest.
    pub open_burst: u32,
    /// Milliseconds between two pings of the server, which clients are told in `welcome`.
    pub heartbeat_ms: u64,
    /// Milliseconds without any frame or pong after which a socket is dead.
    pub dead_after_ms: u64,
}

impl Limits {
    /// A room's fan-out is linear in its peers and a mesh's traffic quadratic: above this, what is
    /// wanted is another kind of server.
    pub const ROOM_PEERS_HARD: usize = 1000;

    /// Bytes per second that a connection may send for ever, whatever they are: a few times what
    /// the frames within their rates have, for envelopes, fragments and frames that are refused.
    #[must_use]
    pub fn raw_bytes_per_sec(&self) -> u32 {
        let frames = self.messages_per_sec.saturating_mul(Self::RAW_BYTES_LEAST as u32);
        self.bytes_per_sec.saturating_add(frames).saturating_mul(4)
    }

    /// Bytes that a connection may send at once, whatever they are.
    #[must_use]
    pub fn raw_byte_burst(&self) -> u32 {
        let frames = self.message_burst.saturating_mul(Self::RAW_BYTES_LEAST as u32);
        self.byte_burst.saturating_add(frames).saturating_add(HEAD_BYTES).saturating_mul(2)
    }

    /// Frames waiting for one socket, the server's own among them; one more and it is slow. Those
    /// are small, so here it is the bytes that count and this bounds what each costs beside them.
    #[must_use]
    pub fn queue_frames_hard(&self) -> usize {
        self.queue_frames.saturating_mul(16).min(QUEUE_FRAMES_MOST)
    }

    /// Bytes waiting for one socket, the server's own frames among them; one more and it is slow.
    #[must_use]
    pub fn queue_bytes_hard(&self) -> usize {
        self.queue_bytes.saturating_mul(2)
    }

    /// As how many bytes a single read counts at least.
    pub const RAW_BYTES_LEAST: usize = 64;

    /// Says what is wrong with limits that cannot hold together, or can never be met.
    ///
    /// # Errors
    ///
    /// A sentence for the operator that names the keys.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("frame_bytes", self.frame_bytes),
            ("frame_depth", self.frame_depth),
            ("queue_frames", self.queue_frames),
            ("rooms", self.rooms),
            ("rooms_per_source", self.rooms_per_source),
            ("room_peers", self.room_peers),
            ("rooms_per_socket", self.rooms_per_socket),
            ("name_bytes", self.name_bytes),
            ("sockets", self.sockets),
            ("sockets_per_source", self.sockets_per_source),
            ("messages_per_sec", self.messages_per_sec as usize),
            ("message_burst", self.message_burst as usize),
            ("bytes_per_sec", self.bytes_per_sec as usize),
            ("opens_per_sec_per_source", self.opens_per_sec_per_source as usize),
            ("open_burst_per_source", self.open_burst_per_source as usize),
            ("opens_per_sec", self.opens_per_sec as usize),
            ("open_burst", self.open_burst as usize),
            ("stalled_after_ms", usize::try_from(self.stalled_after_ms).unwrap_or(usize::MAX)),
            ("heartbeat_ms", usize::try_from(self.heartbeat_ms).unwrap_or(usize::MAX)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{key} must be at least 1"));
        }
        if self.room_peers > Self::ROOM_PEERS_HARD {
            return Err(format!("room_peers must be at most {}", Self::ROOM_PEERS_HARD));
        }
        if (self.byte_burst as usize) < self.frame_bytes {
            return Err(
                "byte_burst must be at least frame_bytes, or large frames never pass".into()
            );
        }
        // A joiner is told of everybody present in one frame; it must fit into an empty queue.
        let joined = self.room_peers * (self.meta_bytes + PEER_ENTRY_BYTES) + self.name_bytes * 6;
        if joined > self.queue_bytes || self.frame_bytes + FRAME_OVERHEAD > self.queue_bytes {
            return Err(format!(
                "queue_bytes must be at least {}: room_peers times meta_bytes, or a whole frame",
                joined.max(self.frame_bytes + FRAME_OVERHEAD)
            ));
        }
        if self.dead_after_ms <= self.heartbeat_ms {
            return Err("dead_after_ms must be greater than heartbeat_ms".into());
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 * 1024,
            frame_depth: 32,
            messages_per_sec: 50,
            message_burst: 200,
            bytes_per_sec: 16 * 1024,
            byte_burst: 256 * 1024,
            strikes: 16,
            queue_frames: 256,
            queue_bytes: 256 * 1024,
            stalled_after_ms: 10_000,
            rooms: 10_000,
            rooms_per_source: 128,
            room_peers: 64,
            rooms_per_socket: 16,
            name_bytes: 128,
            meta_bytes: 1024,
            sockets: 10_000,
            sockets_per_source: 64,
            opens_per_sec_per_source: 10,
            open_burst_per_source: 20,
            opens_per_sec: 2000,
            open_burst: 4000,
            heartbeat_ms: 25_000,
            dead_after_ms: 80_000,
        }
    }
}

/// `{"id":"…22…","meta":,"polite":false},` and the braces around the list, rounded up.
const PEER_ENTRY_BYTES: usize = 64;
/// What the handshake before the first frame may have.
const HEAD_BYTES: u32 = 16 * 1024;
/// What the channel behind a queue can count.
const QUEUE_FRAMES_MOST: usize = 1 << 30;
/// What the envelope of a relayed `signal` adds to its data, rounded up.
const FRAME_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_room_of_a_thousand_needs_small_metas_or_a_larger_queue() {
        let large = Limits { room_peers: 1000, ..Limits::default() };
        assert!(large.check().unwrap_err().contains("queue_bytes"));
        let small = Limits { room_peers: 1000, meta_bytes: 128, ..Limits::default() };
        assert_eq!(small.check(), Ok(()));
    }

    #[test]
    fn limits_that_nothing_can_meet_are_refused() {
        for limits in [
            Limits { room_peers: 1001, meta_bytes: 8, ..Limits::default() },
            Limits { byte_burst: 1000, ..Limits::default() },
            Limits { sockets: 0, ..Limits::default() },
            Limits { dead_after_ms: 25_000, ..Limits::default() },
        ] {
            assert!(limits.check().is_err(), "{limits:?}");
        }
    }
}
