//! The bounded queue of frames that wait to leave by a stream.
//!
//! A stream that drains slower than a peer sends must lose something. It loses whole frames, never
//! a part of one, and media before answers: late media is worthless, a missing answer is waited
//! for.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// What a frame carries, which says whether it may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ChannelData or a Data indication.
    Media,
    /// A response or any other message.
    Control,
}

/// Frames in the order in which they leave.
#[derive(Debug)]
pub struct Output {
    bytes: VecDeque<u8>,
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that have left; they are no longer in `bytes`.
    first_written: usize,
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    len: usize,
    kind: Kind,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It is queued, and so many queued media frames were dropped to make room.
    Queued {
        /// Media frames dropped.
        dropped: usize,
    },
    /// It is media and there is no room: dropped.
    Dropped,
    /// It is control and even without media there is no room: this client does not read its
    /// answers, and the connection should be closed.
    Overflow,
}

/// What one attempt to write achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes that left.
    pub bytes: usize,
    /// Frames of which the last byte left.
    pub frames: usize,
}

impl Output {
    /// An empty queue of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: VecDeque::new(), frames: VecDeque::new(), first_written: 0, limit }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends one frame that consists of `parts`.
    pub fn push(&mut self, parts: [&[u8]; 3], kind: Kind) -> Pushed {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut dropped = 0;
        if self.cost() + len + FRAME_COST > self.limit {
            if kind == Kind::Media {
                return Pushed::Dropped;
            }
            dropped = self.drop_media();
            if self.cost() + len + FRAME_COST > self.limit {
                return Pushed::Overflow;
            }
        }
        parts.iter().for_each(|part| self.bytes.extend(*part));
        self.frames.push_back(Frame { len, kind });
        Pushed::Queued { dropped }
    }

    /// What waits, with what is kept about each frame: many small ones are not for nothing.
    fn cost(&self) -> usize {
        self.bytes.len() + self.frames.len() * FRAME_COST
    }

    /// Removes every media frame of which no byte has left; returns how many.
    fn drop_media(&mut self) -> usize {
        let before = self.frames.len();
        let bytes = self.bytes.make_contiguous();
        let (mut read, mut kept) = (0, 0);
        let mut begun = self.first_written;
        self.frames.retain(|frame| {
            let waiting = frame.len - begun;
            let keep = frame.kind == Kind::Control || begun > 0;
            if keep {
                bytes.copy_within(read..read + waiting, kept);
                kept += waiting;
            }
            read += waiting;
            begun = 0;
            keep
        });
        self.bytes.truncate(kept);
        before - self.frames.len()
    }

    /// Writes until nothing waits or the stream is full.
    ///
    /// # Errors
    ///
    /// The stream's, except `WouldBlock` and `Interrupted`, which are none.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<Written> {
        self.write_pieces_to(stream, |_| usize::MAX)
    }

    /// The same, but the stream sees no more at a time than one frame, where no more than so many
    /// wait.
    ///
    /// # Errors
    ///
    /// Those of [`Output::write_to`].
    pub fn write_frames_to(&mut self, stream: &mut impl Write, few: usize) -> io::Result<Written> {
        self.write_pieces_to(stream, |output| match output.frames.front() {
            Some(first) if output.frames.len() <= few => first.len - output.first_written,
            _ => usize::MAX,
        })
    }

    fn write_pieces_to(
        &mut self,
        stream: &mut impl Write,
        piece: impl Fn(&Self) -> usize,
    ) -> io::Result<Written> {
        let mut written = Written::default();
        while !self.bytes.is_empty() {
            let piece = piece(self);
            let (front, back) = self.bytes.as_slices();
            let front = &front[..front.len().min(piece)];
            let back = &back[..back.len().min(piece - front.len())];
            let bytes = match stream.write_vectored(&[IoSlice::new(front), IoSlice::new(back)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            written.bytes += bytes;
            written.frames += self.consume(bytes);
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = VecDeque::new();
            self.frames = VecDeque::new();
        }
        Ok(written)
    }

    /// Takes `bytes` off the front; returns how many frames ended in them.
    fn consume(&mut self, bytes: usize) -> usize {
        self.bytes.drain(..bytes);
        self.first_written += bytes;
        let mut frames = 0;
        while let Some(first) = self.frames.front()
            && self.first_written >= first.len
        {
            self.first_written -= first.len;
            self.frames.pop_front();
            frames += 1;
        }
        frames
    }
}

/// Bytes kept about a frame while it waits; they count for the limit.
const FRAME_COST: usize = size_of::<Frame>();

/// An empty queue keeps no more memory than this.
const KEPT_CAPACITY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// A stream that takes some bytes and is then full.
    struct Stream {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let length = bytes.len().min(self.room);
            self.taken.extend(&bytes[..length]);
            self.room -= length;
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queued(dropped: usize) -> Pushed {
        Pushed::Queued { dropped }
    }

    #[test]
    fn media_is_dropped_before_control() {
        let mut output = Output::new(10 + 2 * FRAME_COST);
        let mut stream = Stream { taken: Vec::new(), room: 0 };
        assert_eq!(output.push([b"media", b"", b""], Kind::Media), queued(0));
        assert_eq!(output.push([b"ans", b"w", b""], Kind::Control), queued(0));
        assert_eq!(output.push([b"late", b"", b""], Kind::Media), Pushed::Dropped);
        assert_eq!(output.push([b"answer", b"", b""], Kind::Control), queued(1));
        assert_eq!(output.push([b"more", b"", b""], Kind::Control), Pushed::Overflow);
        stream.room = 100;
        assert_eq!(output.write_to(&mut stream).unwrap(), Written { bytes: 10, frames: 2 });
        assert_eq!(stream.taken, b"answanswer");
        assert!(output.is_empty());
    }

    #[test]
    fn a_frame_that_has_begun_to_leave_is_finished() {
        let mut output = Output::new(10 + 2 * FRAME_COST);
        let mut stream = Stream { taken: Vec::new(), room: 2 };
        assert_eq!(output.push([b"media", b"", b""], Kind::Media), queued(0));
        assert_eq!(output.push([b"medium", b"", b""], Kind::Media), Pushed::Dropped);
        assert_eq!(output.push([b"1", b"", b""], Kind::Media), queued(0));
        assert_eq!(output.write_to(&mut stream).unwrap(), Written { bytes: 2, frames: 0 });
        assert_eq!(output.push([b"answer!", b"", b""], Kind::Control), queued(1));
        stream.room = 100;
        assert_eq!(output.write_to(&mut stream).unwrap(), Written { bytes: 10, frames: 2 });
        assert_eq!(stream.taken, b"mediaanswer!");
    }

    #[test]
    fn whatever_is_dropped_the_stream_is_made_of_whole_frames_in_order() {
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut output = Output::new(1200);
            let mut stream = Stream { taken: Vec::new(), room: 0 };
            let (mut control, mut dropped, mut frames) = (Vec::new(), 0, 0);
            for number in 0..300_u16 {
                // length(1) kind(1) number(2) filling
                let length = rng.random_range(0..100_u8);
                let kind = if rng.random_bool(0.8) { Kind::Media } else { Kind::Control };
                let [high, low] = number.to_be_bytes();
                let header = [length, u8::from(kind == Kind::Control), high, low];
                let filling = vec![length; usize::from(length)];
                match output.push([&header, &filling, &[]], kind) {
                    Pushed::Queued { dropped: more } => {
                        dropped += more;
                        if kind == Kind::Control {
                            control.push(number);
                        }
                    }
                    Pushed::Dropped => dropped += 1,
                    Pushed::Overflow => frames += 1,
                }
                stream.room = rng.random_range(0..80);
                frames += output.write_to(&mut stream).unwrap().frames;
            }
            stream.room = usize::MAX;
            frames += output.write_to(&mut stream).unwrap().frames;
            assert_eq!(frames + dropped, 300);

            let (mut rest, mut last) = (&stream.taken[..], None);
            let mut answers = Vec::new();
            while let Some((&[length, kind, high, low], behind)) = rest.split_first_chunk() {
                let number = u16::from_be_bytes([high, low]);
                assert!(last < Some(number), "out of order");
                last = Some(number);
                let (filling, behind) = behind.split_at(usize::from(length));
                assert!(filling.iter().all(|byte| *byte == length), "a torn frame");
                if kind == 1 {
                    answers.push(number);
                }
                rest = behind;
            }
            assert!(rest.is_empty());
            assert_eq!(answers, control, "an answer was lost");
            assert!(dropped > 0, "nothing was dropped: the test tests nothing");
        }
    }

    #[test]
    fn an_empty_queue_keeps_little_memory() {
        let mut output = Output::new(1 << 20);
        let mut stream = Stream { taken: Vec::new(), room: usize::MAX };
        assert_eq!(output.push([&[0; 100_000], b"", b""], Kind::Media), queued(0));
        output.write_to(&mut stream).unwrap();
        assert!(output.bytes.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn a_stream_that_fails_is_an_error() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output::new(10 + 2 * FRAME_COST);
        assert_eq!(output.push([b"a", b"", b""], Kind::Media), queued(0));
        let error = output.write_to(&mut Broken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
