//! A ClientHello as it arrives (RFC 6347 §4.1, §4.2.2, §4.3.2), and the answer to one without a
//! good cookie: read where it lies, for whoever sends it may be anybody.

use crate::net::dtls::record::{HANDSHAKE, HANDSHAKE_MESSAGE_MAX, HEADER, MAJOR, MESSAGE_HEADER};

/// The first record of a datagram that is one whole ClientHello.
#[derive(Clone, Copy, Debug)]
pub struct ClientHello<'a> {
    /// The record, without what follows it in the datagram.
    pub record: &'a [u8],
    /// What the client made up for this handshake.
    pub random: &'a [u8; 32],
    /// The cookie that it shows; empty at first.
    pub cookie: &'a [u8],
    /// What it must say again, word for word, when it shows the cookie (RFC 6347 §4.2.1): version,
    /// random and session id; cipher suites and compression methods.
    pub(super) repeated: [&'a [u8]; 2],
}

impl<'a> ClientHello<'a> {
    /// The ClientHello at the front of a datagram; `None` where there is anything else, or a piece
    /// of one: before the cookie nothing is put together.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(datagram);
        let header = rest.take(HEADER)?;
        let &[HANDSHAKE, MAJOR, _, 0, 0, .., high, low] = header else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let record = datagram.get(..HEADER + length)?;

        let mut rest = Reader(&record[HEADER..]);
        let &[kind, l0, l1, l2, _, sequence, 0, 0, 0, f0, f1, f2] = rest.take(MESSAGE_HEADER)?
        else {
            return None;
        };
        // One that is too long for what comes behind would be shown a cookie in vain.
        if rest.0.len() > usize::from(HANDSHAKE_MESSAGE_MAX) {
            return None;
        }
        let whole = u32::from_be_bytes([0, l0, l1, l2]) as usize == rest.0.len();
        if kind != CLIENT_HELLO || !whole || [l0, l1, l2] != [f0, f1, f2] {
            return None;
        }

        let body = rest.0;
        let &[MAJOR, _] = rest.take(2)? else { return None };
        let random = rest.take(32)?.first_chunk()?;
        let _session_id = rest.take_counted(1)?;
        let before = &body[..body.len() - rest.0.len()];
        let cookie = rest.take_counted(1)?;
        let behind = rest.0;
        let suites = rest.take_counted(2)?;
        let compression = rest.take_counted(1)?;
        if suites.is_empty() || compression.is_empty() {
            return None;
        }
        let after = &behind[..behind.len() - rest.0.len()];
        // One without a cookie is a client's first word, one with it the second.
        let in_order = sequence == u8::from(!cookie.is_empty());
        in_order.then_some(Self { record, random, cookie, repeated: [before, after] })
    }

    /// Writes a HelloVerifyRequest (RFC 6347 §4.2.1) to the front of `answer`; returns its length,
    /// which is less than that of any ClientHello.
    ///
    /// # Panics
    ///
    /// Where `answer` is shorter than that of a ClientHello, or `cookie` longer than 30 bytes.
    pub fn verify_request(&self, cookie: &[u8], answer: &mut [u8]) -> usize {
        assert!(cookie.len() <= 30, "an answer is shorter than what it answers");
        let body = [&[MAJOR, MINOR_1_0, cookie.len() as u8], cookie];
        let length = body.concat().len() as u8;
        // The record has the number of the client's, which nobody has to keep then.
        let number = &self.record[3..11];
        let parts: [&[u8]; 6] = [
            &[HANDSHAKE, MAJOR, MINOR_1_0],
            number,
            &[0, length + MESSAGE_HEADER as u8],
            &[HELLO_VERIFY_REQUEST, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length],
            body[0],
            body[1],
        ];
        let mut written = 0;
        for part in parts {
            answer[written..written + part.len()].copy_from_slice(part);
            written += part.len();
        }
        written
    }
}

/// Takes one piece after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// What follows a count of so many bytes.
    fn take_counted(&mut self, count: usize) -> Option<&'a [u8]> {
        let count = self.take(count)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.take(count)
    }
}

const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// RFC 6347 §4.2.1: a HelloVerifyRequest says DTLS 1.0, for the version is not agreed on yet.
const MINOR_1_0: u8 = 0xff;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::dtls::record::outside;

    /// A ClientHello of DTLS 1.2 with one cipher suite and no extensions, as short as can be.
    pub(in crate::net::dtls) fn hello(random: u8, cookie: &[u8]) -> Vec<u8> {
        let count = [cookie.len() as u8];
        let body: &[&[u8]] =
            &[&[0xfe, 0xfd], &[random; 32], &[0], &count, cookie, &[0, 2, 0xc0, 0x2f], &[1, 0]];
        let body = body.concat();
        let length = [0, 0, body.len() as u8];
        let message: &[&[u8]] =
            &[&[1], &length, &[0, u8::from(!cookie.is_empty())], &[0; 3], &length, &body];
        let message = message.concat();
        let header = [22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 7, 0, message.len() as u8];
        [&header[..], &message].concat()
    }

    #[test]
    fn a_whole_client_hello_is_read_and_what_follows_it_is_not() {
        let mut datagram = hello(5, b"biscuit");
        let length = datagram.len();
        datagram.extend(b"more");
        let read = ClientHello::read(&datagram).unwrap();
        assert_eq!(
            (read.record.len(), read.random, read.cookie),
            (length, &[5; 32], &b"biscuit"[..])
        );
        assert_eq!(read.repeated[0].len(), 2 + 32 + 1);
        assert_eq!(read.repeated[1], [0, 2, 0xc0, 0x2f, 1, 0]);
        assert_eq!(ClientHello::read(&hello(5, b"")).unwrap().cookie, b"");
    }

    #[test]
    fn what_is_cut_or_something_else_is_no_client_hello() {
        let good = hello(5, b"biscuit");
        for length in 0..good.len() {
            assert!(ClientHello::read(&good[..length]).is_none(), "{length}");
        }
        // Content type, version, epoch, message type, sequence, fragment offset and length, version
        // within, cookie's length.
        for at in [0, 1, 3, 4, 13, 18, 19, 20, 21, 22, 23, 24, 25, 60] {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(ClientHello::read(&bad).is_none(), "{at}");
        }
    }

    #[test]
    fn a_client_hello_is_as_long_as_the_longest_message_at_most() {
        let longest = usize::from(HANDSHAKE_MESSAGE_MAX);
        for (length, is_read) in [(longest - 1, true), (longest, true), (longest + 1, false)] {
            let mut long = hello(5, b"biscuit");
            long.resize(HEADER + MESSAGE_HEADER + length, 0);
            let in_record = (MESSAGE_HEADER + length) as u16;
            long[11..13].copy_from_slice(&in_record.to_be_bytes());
            for at in [15, 23] {
                long[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
            }
            assert_eq!(ClientHello::read(&long).is_some(), is_read, "{length}");
            assert_eq!(outside(&long).is_some(), is_read, "{length}");
        }
    }

    #[test]
    fn a_hello_verify_request_is_what_rfc_6347_says_and_shorter_than_any_hello() {
        let asked = hello(5, b"");
        let mut answer = vec![0; asked.len()];
        let length = ClientHello::read(&asked).unwrap().verify_request(&[9; 17], &mut answer);
        assert!(length < asked.len());
        let mut wanted = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 7, 0, 32];
        wanted.extend([3, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 20, 0xfe, 0xff, 17]);
        wanted.extend([9; 17]);
        assert_eq!(answer[..length], wanted);
    }

    proptest::proptest! {
        #[test]
        fn whatever_arrives_is_read_or_refused(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            at in 0..70_usize,
        ) {
            let _ = ClientHello::read(&bytes);
            let mut spoilt = hello(1, b"biscuit");
            let end = spoilt.len().min(at + bytes.len());
            let at = at.min(end);
            spoilt[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = ClientHello::read(&spoilt);
        }
    }
}
