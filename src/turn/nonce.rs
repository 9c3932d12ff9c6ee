//! Stateless nonces (RFC 8489 §9.2): made from the time and the client's address, so that a
//! stranger costs no memory, and good again after a restart with the same key.
//!
//! ```text
//! [obMatJos2 + 4 characters of security features]   the nonce cookie, RFC 8489 §9.2
//! 12 characters: base64url of time(3) mac(6)        time in steps of 4 s since 1970
//! ```
//!
//! The cookie makes a 401 longer, so a request too short to be a real Allocate gets none: that
//! keeps answers to strangers below three times what they sent.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::turn::moment::Lifetime;
use crate::turn::tuple::FiveTuple;

/// The characters that a nonce of an RFC 8489 server begins with.
const COOKIE: &[u8; 9] = b"obMatJos2";
/// Seconds in one step of a nonce's time.
const STEP_SECS: u64 = 4;
/// Bytes of time and of MAC.
const TIME: usize = 3;
const MAC: usize = 6;
/// Characters without the cookie.
const SHORT: usize = (TIME + MAC) / 3 * 4;
/// Characters of the cookie and the security features.
const PREFIX: usize = COOKIE.len() + 4;

/// The STUN Security Feature bits (RFC 8489 §18.1); none yet.
const FEATURES: [u8; 3] = [0, 0, 0];

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

    /// A nonce for this client, with the nonce cookie or without.
    pub(super) fn mint(&self, unix_secs: u64, tuple: &FiveTuple, with_cookie: bool) -> Nonce {
        let mut nonce = Nonce { bytes: [0; PREFIX + SHORT], start: PREFIX };
        let features = with_cookie.then_some(FEATURES);
        if let Some(features) = features {
            nonce.start = 0;
            nonce.bytes[..COOKIE.len()].copy_from_slice(COOKIE);
            STANDARD
                .encode_slice(features, &mut nonce.bytes[COOKIE.len()..PREFIX])
                .expect("three bytes are four characters");
        }
        let time = time_bytes(unix_secs);
        let mut raw = [0; TIME + MAC];
        raw[..TIME].copy_from_slice(&time);
        raw[TIME..].copy_from_slice(&self.mac(time, tuple, features));
        URL_SAFE_NO_PAD
            .encode_slice(raw, &mut nonce.bytes[PREFIX..])
            .expect("nine bytes are twelve characters");
        nonce
    }

    /// Whether `nonce` was minted here, for this client, within the lifetime.
    pub(super) fn accepts(&self, unix_secs: u64, tuple: &FiveTuple, nonce: &[u8]) -> bool {
        let (features, short) = match nonce.strip_prefix(COOKIE) {
            Some(rest) if rest.len() == 4 + SHORT => {
                let mut features = [0; 3];
                match STANDARD.decode_slice(&rest[..4], &mut features) {
                    Ok(3) => (Some(features), &rest[4..]),
                    _ => return false,
                }
            }
            _ => (None, nonce),
        };
        let mut raw = [0; TIME + MAC];
        if short.len() != SHORT || URL_SAFE_NO_PAD.decode_slice(short, &mut raw).is_err() {
            return false;
        }
        let time = [raw[0], raw[1], raw[2]];
        let age_steps = (step(time_bytes(unix_secs)).wrapping_sub(step(time))) & 0x00FF_FFFF;
        let fresh = u64::from(age_steps) * STEP_SECS < u64::from(self.lifetime.as_secs());
        let genuine: bool = self.mac(time, tuple, features).ct_eq(&raw[TIME..]).into();
        fresh && genuine
    }

    fn mac(&self, time: [u8; TIME], tuple: &FiveTuple, features: Option<[u8; 3]>) -> [u8; MAC] {
        let mut mac = self.mac.clone();
        mac.update(&time);
        mac.update(&[tuple.transport as u8, u8::from(features.is_some())]);
        mac.update(&features.unwrap_or_default());
        mac.update(&tuple.client.port().to_be_bytes());
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

fn time_bytes(unix_secs: u64) -> [u8; TIME] {
    let [.., a, b, c] = (unix_secs / STEP_SECS).to_be_bytes();
    [a, b, c]
}

fn step([a, b, c]: [u8; TIME]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tuple::Transport;

    const NOON: u64 = 1_790_000_000;

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
        for cookie in [false, true] {
            let client = tuple("198.51.100.1:4000");
            let nonce = mint().mint(NOON, &client, cookie);
            assert!(mint().accepts(NOON, &client, nonce.as_bytes()));
            assert!(mint().accepts(NOON + 3590, &client, nonce.as_bytes()));
            assert!(!mint().accepts(NOON + 3604, &client, nonce.as_bytes()));
        }
    }

    #[test]
    fn a_nonce_is_no_good_for_another_client() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON, &client, true);
        for other in ["198.51.100.2:4000", "198.51.100.1:4001", "[::1]:4000"] {
            assert!(!mint().accepts(NOON, &tuple(other), nonce.as_bytes()));
        }
        let tcp = FiveTuple { transport: Transport::Tcp, ..client };
        assert!(!mint().accepts(NOON, &tcp, nonce.as_bytes()));
    }

    #[test]
    fn a_nonce_of_another_key_is_no_good() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON, &client, false);
        let other = NonceMint::new(&[8; 32], Lifetime::from_secs(3600));
        assert!(!other.accepts(NOON, &client, nonce.as_bytes()));
    }

    #[test]
    fn changing_any_character_or_the_length_makes_it_no_good() {
        let client = tuple("198.51.100.1:4000");
        for cookie in [false, true] {
            let nonce = mint().mint(NOON, &client, cookie);
            for at in 0..nonce.as_bytes().len() {
                let mut changed = nonce.as_bytes().to_vec();
                changed[at] = if changed[at] == b'B' { b'C' } else { b'B' };
                assert!(!mint().accepts(NOON, &client, &changed), "character {at}");
                assert!(!mint().accepts(NOON, &client, &nonce.as_bytes()[..at]));
            }
            let longer = [nonce.as_bytes(), b"A"].concat();
            assert!(!mint().accepts(NOON, &client, &longer));
        }
    }

    #[test]
    fn a_nonce_from_the_future_is_no_good() {
        let client = tuple("198.51.100.1:4000");
        let nonce = mint().mint(NOON + 60, &client, true);
        assert!(!mint().accepts(NOON, &client, nonce.as_bytes()));
    }

    #[test]
    fn the_cookie_says_which_security_features_there_are() {
        let nonce = mint().mint(NOON, &tuple("198.51.100.1:4000"), true);
        assert!(nonce.as_bytes().starts_with(b"obMatJos2AAAA"));
        assert_eq!(nonce.as_bytes().len(), 25);
    }
}
