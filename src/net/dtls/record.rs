//! What the records of a datagram look like from outside (RFC 6347 §4.1), before OpenSSL is shown
//! them. What no honest client sends is not shown to it at all: some of that it takes for the end
//! of a session (a record too short for its tag), and much of it keeps for later.

/// What is known of a datagram without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    /// A part of it is encrypted.
    pub(super) is_encrypted: bool,
}

/// Reads a datagram that consists of whole records; `None` where it is anything else.
pub(super) fn outside(datagram: &[u8]) -> Option<Outside> {
    let (mut rest, mut is_encrypted) = (datagram, false);
    while !rest.is_empty() {
        let (header, behind) = rest.split_at_checked(HEADER)?;
        let &[kind, MAJOR, _, e0, e1, .., high, low] = header else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (body, behind) = behind.split_at_checked(length)?;
        let fits = match (kind, [e0, e1]) {
            (CHANGE_CIPHER_SPEC..=APPLICATION_DATA, epoch) if epoch != [0, 0] => {
                is_encrypted = true;
                length >= ENCRYPTED_MIN
            }
            (HANDSHAKE, _) => are_messages(body),
            (CHANGE_CIPHER_SPEC | ALERT, _) => !body.is_empty(),
            _ => false,
        };
        if !fits {
            return None;
        }
        rest = behind;
    }
    (!datagram.is_empty()).then_some(Outside { is_encrypted })
}

/// Whether this is handshake messages (RFC 6347 §4.2.2), whole ones or pieces, none of them longer
/// than a client's may be.
fn are_messages(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((header, behind)) = rest.split_at_checked(MESSAGE_HEADER) else { return false };
        let number =
            |at: usize| u32::from_be_bytes([0, header[at], header[at + 1], header[at + 2]]);
        let (length, offset, piece) = (number(1), number(6), number(9));
        if length > u32::from(HANDSHAKE_MESSAGE_MAX) || offset + piece > length {
            return false;
        }
        let Some((_, behind)) = behind.split_at_checked(piece as usize) else { return false };
        rest = behind;
    }
    true
}

/// A fatal alert, internal_error, before there is a key: with the last of all numbers, as it is the
/// last record of its session.
#[cfg(feature = "dtls")]
pub(super) const INTERNAL_ERROR: [u8; 15] =
    [ALERT, MAJOR, 0xfd, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 2, 2, 80];

pub(super) const HEADER: usize = 13;
pub(super) const MESSAGE_HEADER: usize = 12;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// Versions are written as their complement: DTLS 1.x has 0xfe in front.
pub(super) const MAJOR: u8 = 0xfe;
/// A nonce of 8 bytes and a tag of 16 (RFC 5288 §3): every cipher suite here is AES-GCM.
const ENCRYPTED_MIN: usize = 24;
/// The longest handshake message that is taken. A client sends no certificates, but a ClientHello,
/// which has to come in one datagram, and its half of a key exchange.
pub(super) const HANDSHAKE_MESSAGE_MAX: u16 = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dtls::hello::tests::hello;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let header = [kind, MAJOR, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, body.len() as u8];
        [&header[..], body].concat()
    }

    /// A piece of a handshake message of this length, from its start.
    fn piece(length: [u8; 3], bytes: u8) -> Vec<u8> {
        let header = [&[16], &length[..], &[0, 2, 0, 0, 0, 0, 0, bytes]].concat();
        [&header[..], &vec![7; usize::from(bytes)]].concat()
    }

    #[test]
    fn what_an_honest_client_sends_is_let_through() {
        let flight = [
            record(HANDSHAKE, 0, &piece([0, 0, 66], 66)),
            record(CHANGE_CIPHER_SPEC, 0, &[1]),
            record(HANDSHAKE, 1, &[0; 48]),
        ];
        let told = |datagram: &[u8]| outside(datagram).map(|outside| outside.is_encrypted);
        assert_eq!(told(&flight.concat()), Some(true));
        assert_eq!(told(&flight[..2].concat()), Some(false));
        assert_eq!(told(&hello(1, b"biscuit")), Some(false));
        assert_eq!(told(&record(ALERT, 0, &[2, 40])), Some(false));
        assert_eq!(told(&record(APPLICATION_DATA, 1, &[0; 25])), Some(true));
        // A long message in pieces, several to a record.
        let pieces = [piece([0, 8, 0], 20), piece([0, 8, 0], 30)].concat();
        assert_eq!(told(&record(HANDSHAKE, 0, &pieces)), Some(false));
    }

    #[test]
    fn what_no_honest_client_sends_is_not() {
        for bad in [
            vec![],
            b"noise".to_vec(),
            record(APPLICATION_DATA, 0, &[0; 60]),
            record(APPLICATION_DATA, 1, &[0; 23]),
            record(ALERT, 1, &[1, 0]),
            record(ALERT, 0, &[]),
            record(24, 1, &[0; 60]),
            record(HANDSHAKE, 0, &[1; 11]),
            record(HANDSHAKE, 0, &piece([0, 0x08, 1], 9)),
            record(HANDSHAKE, 0, &piece([0, 0, 8], 9)),
            record(HANDSHAKE, 0, &piece([0, 0, 9], 9)[..20]),
            [record(ALERT, 0, &[2, 40]), b"x".to_vec()].concat(),
        ] {
            assert_eq!(outside(&bad), None, "{bad:?}");
        }
        let mut cut = record(APPLICATION_DATA, 1, &[0; 60]);
        cut.pop();
        assert_eq!(outside(&cut), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_arrives_is_judged(
            mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let _ = outside(&bytes);
            for (at, byte) in [(0, HANDSHAKE), (1, MAJOR), (3, 0), (4, 0), (11, 0)] {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = outside(&bytes);
        }
    }
}
