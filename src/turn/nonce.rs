//! Stateless nonces (RFC 8489 §9.2): made from the time and the client's address, so that a
//! stranger costs no memory, and good again after a restart with the same key.
//!
//! ```text
//! [obMatJos2 + 4 characters of security features]   the nonce cookie, RFC 8489 §9.2
//! 11 characters: base64url of time(2) mac(6)        time in steps of 4 s since 1970, its end
//!                     on a stream time(2) mac(4) port(2)
//! ```
//!
//! The MAC covers the whole time and the features, so that neither a nonce of days ago nor one
//! whose features somebody on the way has changed is taken (bid-down protection, §9.2.1).
//!
//! On a stream the nonce names the port that it was made for, and a ConnectionBind may have that of
//! another stream of the same address: a client opens more of them for one allocation, and knows a
//! nonce already (RFC 6062 §4.3, RFC 8489 §9.2.3.2). All else is for the stream that it was signed
//! for: others behind the same NAT may have seen it pass.
//!
//! The cookie makes a 401 longer, so a request too short to be a real Allocate gets none: that
//! keeps answers to strangers at three times what they sent, and below, but where third parties
//! authorise (RFC 7635 §6.1 adds their name).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::turn::moment::Lifetime;
use crate::turn::tuple::FiveTuple;
use crate::wire::Method;

/// The characters that a nonce of an RFC 8489 server begins with.
const COOKIE: &[u8; 9] = b"obMatJos2";
/// Seconds in one step of a nonce's time.
const STEP_SECS: u64 = 4;
/// Bytes of time and of MAC. Two bytes of steps are three days, and no nonce is good for a day.
const TIME: usize = 2;
const MAC: usize = 6;
/// Characters without the cookie.
const SHORT: usize = 11;
/// The bytes of the MAC that a stream's nonce has the port in place of.
const PORT: std::ops::Range<usize> = TIME + MAC - 2..TIME + MAC;
/// Characters of the cookie and the security features.
const PREFIX: usize = COOKIE.len() + 4;

/// The STUN Security Features that a nonce cookie tells (RFC 8489 §18.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// Bit 0: PASSWORD-ALGORITHMS comes with the nonce.
    pub(super) password_algorithms: bool,
    /// Bit 1: USERHASH is understood in place of USERNAME.
    pub(super) username_anonymity: bool,
}

impl Features {
    /// Those that a nonce tells, whoever has made it; `None` without a nonce cookie.
    pub(super) fn told_by(nonce: &[u8]) -> Option<Self> {
        let bits = bits_of(nonce)?;
        Some(Self {
            password_algorithms: bits[0] & 0x80 != 0,
            username_anonymity: bits[0] & 0x40 != 0,
        })
    }

    /// All 24 bits.
    fn bits(self) -> [u8; 3] {
        [u8::from(self.password_algorithms) << 7 | u8::from(self.username_anonymity) << 6, 0, 0]
    }
}

/// The 24 bits behind the cookie, where there is one.
fn bits_of(nonce: &[u8]) -> Option<[u8; 3]> {
    let told = nonce.strip_prefix(COOKIE)?.get(..4)?;
    let mut bits = [0; 3];
    (STANDARD.decode_slice(told, &mut bits) == Ok(3)).then_some(bits)
}

/// A nonce as it goes into NONCE.
#[derive(Clone, Copy)]
pub(super) struct Nonce {
    bytes: [u8; PREFIX + SHORT],
    start: usize,
}

impl Nonce {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Mints nonces and knows its own again.
#[derive(Clone)]
pub(super) struct NonceMint {
    mac: Hmac<Sha256>,
    lifetime: Lifetime,
}

impl std::fmt::Debug for NonceMint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceMint")
    }
}

impl NonceMint {
    pub(super) fn new(key: &[u8; 32], lifetime: Lifetime) -> Self {
        let mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { mac, lifetime }
    }

    /// A nonce for this client, with a nonce cookie where there are features to tell.
    pub(super) fn mint(
        &self,
        unix_secs: u64,
        tuple: &FiveTuple,
        features: Option<Features>,
    ) -> Nonce {
        let mut nonce = Nonce { bytes: [0; PREFIX + SHORT], start: PREFIX };
        let bits = features.map(Features::bits);
        if let Some(bits) = bits {
            nonce.start = 0;
            nonce.bytes[..COOKIE.len()].copy_from_slice(COOKIE);
            STANDARD
                .encode_slice(bits, &mut nonce.bytes[COOKIE.len()..PREFIX])
                .expect("three bytes are four characters");
        }
        let step = unix_secs / STEP_SECS;
        let port = tuple.client.port().to_be_bytes();
        let mut raw = [0; TIME + MAC];
        raw[..TIME].copy_from_slice(&(step as u16).to_be_bytes());
        raw[TIME..].copy_from_slice(&self.mac(step, tuple, port, bits));
        if tuple.transport.is_stream() {
            raw[PORT].copy_from_slice(&port);
        }
        URL_SAFE_NO_PAD
            .encode_slice(raw, &mut nonce.bytes[PREFIX..])
            .expect("eight bytes are eleven characters");
        nonce
    }

    /// Nonces are good for as long from now on, those that were minted before as well.
    pub(super) fn set_lifetime(&mut self, lifetime: Lifetime) {
        self.lifetime = lifetime;
    }

    /// Whether `nonce` was minted here, for this client, within the lifetime, and is good for a
    /// request of this method.
    pub(super) fn accepts(
        &self,
        unix_secs: u64,
        tuple: &FiveTuple,
        nonce: &[u8],
        method: Method,
    ) -> bool {
        let bits = bits_of(nonce);
        let short = if bits.is_some() { &nonce[PREFIX..] } else { nonce };
        let mut raw = [0; TIME + MAC];
        if short.len() != SHORT || URL_SAFE_NO_PAD.decode_slice(short, &mut raw).is_err() {
            return false;
        }
        // What a stream's has left of the MAC still gives a captured one no chance worth naming.
        let (port, covered) = if tuple.transport.is_stream() {
            ([raw[PORT.start], raw[PORT.start + 1]], TIME..PORT.start)
        } else {
            (tuple.client.port().to_be_bytes(), TIME..TIME + MAC)
        };
        let own_port = port == tuple.client.port().to_be_bytes();
        if !own_port && method != Method::CONNECTION_BIND {
            return false;
        }
        let now = unix_secs / STEP_SECS;
        let age = (now as u16).wrapping_sub(u16::from_be_bytes([raw[0], raw[1]]));
        let Some(step) = now.checked_sub(age.into()) else { return false };
        let fresh = u64::from(age) * STEP_SECS < u64::from(self.lifetime.as_secs());
        let mac = self.mac(step, tuple, port, bits);
        let genuine: bool = mac[..covered.len()].ct_eq(&raw[covered]).into();
        fresh && genuine
    }

    fn mac(&self, step: u64, tuple: &FiveTuple, port: [u8; 2], bits: Option<[u8; 3]>) -> [u8; MAC] {
        let mut mac = self.mac.clone();
        mac.update(&step.to_be_bytes());
        mac.update(&[tuple.transport as u8, u8::from(bits.is_some())]);
        mac.update(&bits.unwrap_or_default());
        mac.update(&port);
        match tuple.client.ip() {
            IpAddr::V4(ip) => mac.update(&ip.octets()),
            IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        let whole = mac.finalize().into_bytes();
        let mut short = [0; MAC];
        short.copy_from_slice(&whole[..MAC]);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tuple::Transport;

    const NOON: u64 = 1_790_000_000;

    const NONE: Option<Features> = None;
    const BOTH: Option<Features> =
        Some(Features { password_algorithms: true, username_anonymity: true });

    fn mint() -> NonceMint {
        NonceMint::new(&[7; 32], Lifetime::from_secs(3600))
    }

    fn tuple(client: &str) -> FiveTuple {
        FiveTuple {
            transport: Transport::Udp,
            client: client.parse().unwrap(),
            server: "192.0.2.1:3478".parse().unwrap(),
        }
    }

    #[test]
    fn a_nonce_is_good_until_its_lifetime_ends() {
        for features in [NONE, BOTH] {
            let client = tuple("198.51.100.1:4000");
            let nonce = mint().mint(NOON, &client, features);
            assert!(mint().accepts(NOON, &client, nonce.as_bytes(), Method::ALLOCATE));
            assert!(mint().accepts(NOON + 3590, &client, nonce.as_bytes(), Method::ALLOCATE));
            assert!(!mint().accepts(NOON + 3604, &client, nonce.as_bytes(), Method::ALLOCATE));
        }
    }

    #[test]
    fn a_nonce_is_no_good_for_another_client() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON, &client, BOTH);
        for other in ["198.51.100.2:4000", "198.51.100.1:4001", "[::1]:4000"] {
            assert!(!mint().accepts(NOON, &tuple(other), nonce.as_bytes(), Method::ALLOCATE));
        }
        let tcp = FiveTuple { transport: Transport::Tcp, ..client };
        assert!(!mint().accepts(NOON, &tcp, nonce.as_bytes(), Method::ALLOCATE));
    }

    #[test]
    fn a_stream_has_a_nonce_of_its_own_that_binds_others_of_the_same_address() {
        let stream = |text| FiveTuple { transport: Transport::Tcp, ..tuple(text) };
        let (first, second) = (stream("198.51.100.1:4000"), stream("198.51.100.1:4001"));
        for features in [NONE, BOTH] {
            let nonce = mint().mint(NOON, &first, features);
            assert_ne!(nonce.as_bytes(), mint().mint(NOON, &second, features).as_bytes());
            let short = mint().mint(NOON, &tuple("198.51.100.1:4000"), features);
            assert_eq!(nonce.as_bytes().len(), short.as_bytes().len());
            let accepts =
                |tuple: &FiveTuple, method| mint().accepts(NOON, tuple, nonce.as_bytes(), method);
            assert!(accepts(&first, Method::ALLOCATE));
            assert!(!accepts(&second, Method::ALLOCATE));
            assert!(accepts(&second, Method::CONNECTION_BIND));
            assert!(!accepts(&stream("198.51.100.2:4000"), Method::CONNECTION_BIND));
            assert!(!accepts(&tuple("198.51.100.1:4000"), Method::CONNECTION_BIND));
            for at in 0..nonce.as_bytes().len() {
                let mut changed = nonce.as_bytes().to_vec();
                changed[at] = if changed[at] == b'B' { b'C' } else { b'B' };
                assert!(
                    !mint().accepts(NOON, &first, &changed, Method::ALLOCATE),
                    "character {at}"
                );
            }
        }
    }

    #[test]
    fn a_nonce_of_another_key_is_no_good() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON, &client, NONE);
        let other = NonceMint::new(&[8; 32], Lifetime::from_secs(3600));
        assert!(!other.accepts(NOON, &client, nonce.as_bytes(), Method::ALLOCATE));
    }

    #[test]
    fn changing_any_character_or_the_length_makes_it_no_good() {
        let client = tuple("198.51.100.1:4000");
        for features in [NONE, BOTH] {
            let nonce = mint().mint(NOON, &client, features);
            for at in 0..nonce.as_bytes().len() {
                let mut changed = nonce.as_bytes().to_vec();
                changed[at] = if changed[at] == b'B' { b'C' } else { b'B' };
                assert!(
                    !mint().accepts(NOON, &client, &changed, Method::ALLOCATE),
                    "character {at}"
                );
                assert!(!mint().accepts(NOON, &client, &nonce.as_bytes()[..at], Method::ALLOCATE));
            }
            let longer = [nonce.as_bytes(), b"A"].concat();
            assert!(!mint().accepts(NOON, &client, &longer, Method::ALLOCATE));
        }
    }

    #[test]
    fn a_nonce_from_the_future_is_no_good() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON + 60, &client, BOTH);
        assert!(!mint().accepts(NOON, &client, nonce.as_bytes(), Method::ALLOCATE));
    }

    /// Two bytes of time begin anew every three days; the MAC knows of all of it.
    #[test]
    fn a_nonce_does_not_come_back_to_life_when_its_two_bytes_of_time_return() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON, &client, BOTH);
        for turn in 1..4 {
            let later = NOON + turn * 0x10000 * STEP_SECS;
            assert!(!mint().accepts(later, &client, nonce.as_bytes(), Method::ALLOCATE));
        }
        assert!(
            !mint().accepts(0, &client, nonce.as_bytes(), Method::ALLOCATE),
            "a clock at its beginning"
        );
    }

    #[test]
    fn the_cookie_says_which_security_features_there_are() {
        let features = |password_algorithms, username_anonymity| {
            Some(Features { password_algorithms, username_anonymity })
        };
        for (features, told) in [
            (features(false, false), "obMatJos2AAAA"),
            (features(false, true), "obMatJos2QAAA"),
            (features(true, false), "obMatJos2gAAA"),
            (features(true, true), "obMatJos2wAAA"),
            (NONE, ""),
        ] {
            let nonce = mint().mint(NOON, &tuple("198.51.100.1:4000"), features);
            assert!(nonce.as_bytes().starts_with(told.as_bytes()), "{told}");
            assert_eq!(nonce.as_bytes().len(), told.len() + 11);
            assert_eq!(Features::told_by(nonce.as_bytes()), features);
        }
        for nonce in [&b""[..], b"obMatJos2", b"obMatJos2AAA", b"obMatJos2====", b"bMatJos2wAAA"] {
            assert_eq!(Features::told_by(nonce), None);
        }
    }
}
