use super::*;

use std::collections::VecDeque;

/// A stream whose far end is the test.
#[derive(Debug, Default)]
struct Stream {
    /// What it will give to its reader; then nothing for now.
    arrives: VecDeque<Arrival>,
    received: Vec<u8>,
    /// How much it takes before it is full.
    room: usize,
    broken: bool,
    finished: bool,
    was_reset: bool,
}

#[derive(Debug)]
enum Arrival {
    Bytes(Vec<u8>),
    End,
    Break,
}

impl End for Stream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.arrives.pop_front() {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Arrival::End) => {
                self.arrives.push_front(Arrival::End);
                Ok(0)
            }
            Some(Arrival::Break) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Arrival::Bytes(mut bytes)) => {
                let length = bytes.len().min(buffer.len());
                let rest = bytes.split_off(length);
                buffer[..length].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    self.arrives.push_front(Arrival::Bytes(rest));
                }
                Ok(length)
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        assert!(!self.finished, "nothing is sent behind the end");
        let length = bytes.len().min(self.room);
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= length;
        self.received.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn finish(&mut self) -> io::Result<()> {
        assert!(!self.finished, "the end is told once");
        self.finished = true;
        Ok(())
    }

    fn reset(&mut self) {
        self.was_reset = true;
    }
}

fn pipe(client: Vec<Arrival>, peer: Vec<Arrival>) -> Pipe<Stream, Stream> {
    let stream =
        |arrives: Vec<Arrival>| Stream { arrives: arrives.into(), room: 1000, ..Stream::default() };
    Pipe {
        client: stream(client),
        peer: stream(peer),
        to_peer: Flow::default(),
        to_client: Flow::default(),
    }
}

fn bytes(text: &str) -> Arrival {
    Arrival::Bytes(text.as_bytes().to_vec())
}

/// Advances until it waits or ends.
fn run(pipe: &mut Pipe<Stream, Stream>) -> Next {
    for _ in 0..100 {
        let next = pipe.advance(&mut [0; 16]).next;
        if next != Next::Again {
            return next;
        }
    }
    panic!("it turns without end");
}

#[test]
fn both_directions_pass_their_bytes_and_their_ends() {
    let client = vec![bytes("a question that is longer than one read"), Arrival::End];
    let mut pipe = pipe(client, vec![bytes("an answer")]);
    assert_eq!(run(&mut pipe), Next::Wait);
    assert_eq!(pipe.peer.received, b"a question that is longer than one read");
    assert_eq!(pipe.client.received, b"an answer");
    assert!(pipe.peer.finished && !pipe.client.finished);
    // The other direction goes on until it ends too.
    pipe.peer.arrives.extend([bytes(", and more"), Arrival::End]);
    assert_eq!(run(&mut pipe), Next::Close);
    assert_eq!(pipe.client.received, b"an answer, and more");
    assert!(pipe.client.finished && !pipe.client.was_reset && !pipe.peer.was_reset);
}

#[test]
fn what_was_moved_is_counted_when_it_was_taken() {
    let mut pipe = pipe(vec![bytes("12345")], vec![bytes("123")]);
    pipe.peer.room = 2;
    let advance = pipe.advance(&mut [0; 16]);
    assert_eq!(advance, Advance { to_peer: 2, to_client: 3, next: Next::Wait });
    pipe.peer.room = 10;
    assert_eq!(pipe.advance(&mut [0; 16]), Advance { to_peer: 3, ..Advance::default() });
}

#[test]
fn nothing_is_read_for_an_end_that_takes_nothing() {
    let mut pipe = pipe(vec![bytes(&"x".repeat(500))], vec![]);
    pipe.peer.room = 20;
    for _ in 0..10 {
        assert_eq!(run(&mut pipe), Next::Wait);
        let Some(Arrival::Bytes(left)) = pipe.client.arrives.front() else { panic!("all read") };
        assert_eq!(left.len() + pipe.to_peer.kept.len() - pipe.to_peer.taken, 480);
        assert!(pipe.to_peer.kept.len() <= 16, "more than one read waits");
    }
    pipe.peer.room = 1000;
    assert_eq!(run(&mut pipe), Next::Wait);
    assert_eq!(pipe.peer.received.len(), 500);
    assert_eq!(pipe.to_peer.kept.capacity(), 0, "a pipe that keeps up costs no memory");
}

#[test]
fn an_end_waits_behind_what_the_other_has_not_taken() {
    let mut pipe = pipe(vec![bytes("12345"), Arrival::End], vec![]);
    pipe.peer.room = 2;
    assert_eq!(run(&mut pipe), Next::Wait);
    assert!(!pipe.peer.finished);
    pipe.peer.room = 3;
    assert_eq!(run(&mut pipe), Next::Wait);
    assert!(pipe.peer.finished);
}

#[test]
fn one_advance_moves_a_bounded_piece() {
    let mut pipe = pipe(vec![bytes(&"x".repeat(500))], vec![bytes(&"y".repeat(500))]);
    let advance = pipe.advance(&mut [0; 16]);
    assert_eq!(advance, Advance { to_peer: 48, to_client: 48, next: Next::Again });
}

#[test]
fn a_break_is_passed_on_as_a_break() {
    let mut pipe = pipe(vec![bytes("half a"), Arrival::Break], vec![]);
    assert_eq!(run(&mut pipe), Next::Close);
    assert!(pipe.peer.was_reset && !pipe.peer.finished);
    assert_eq!(pipe.peer.received, b"half a");
}

#[test]
fn who_was_told_an_ordinary_end_is_not_told_a_break() {
    let mut pipe = pipe(vec![Arrival::End], vec![]);
    assert_eq!(run(&mut pipe), Next::Wait);
    pipe.client.broken = true;
    pipe.client.arrives.clear();
    pipe.client.arrives.push_back(Arrival::Break);
    pipe.peer.arrives.push_back(Arrival::Break);
    assert_eq!(run(&mut pipe), Next::Close);
    assert!(!pipe.peer.was_reset && pipe.client.was_reset);
}

/// It has sent all and is gone; the other, who still talks to it, gets all of it.
#[test]
fn the_last_words_of_one_who_is_gone_arrive() {
    let mut pipe = pipe(vec![], vec![bytes("farewell"), Arrival::End]);
    pipe.client.room = 4;
    assert_eq!(run(&mut pipe), Next::Wait);
    pipe.peer_has_ended();
    pipe.peer.broken = true;
    pipe.client.arrives.push_back(bytes("are you there?"));
    assert_eq!(run(&mut pipe), Next::Wait);
    pipe.client.room = 10;
    assert_eq!(run(&mut pipe), Next::Close);
    assert_eq!(pipe.client.received, b"farewell");
    assert!(pipe.client.finished && !pipe.client.was_reset);
}

#[test]
fn who_takes_nothing_and_says_nothing_of_an_end_has_broken() {
    let mut pipe = pipe(vec![bytes("hello")], vec![bytes("half a")]);
    pipe.peer.broken = true;
    assert_eq!(run(&mut pipe), Next::Close);
    assert!(pipe.client.was_reset && pipe.peer.was_reset);
}
