//! Cookies (RFC 6347 §4.2.1): whoever shows one hears what is sent to its address.
//!
//! A cookie is a MAC of what it is for, and of the half minute in which it was made; so nothing is
//! kept until it is shown, and what was made a minute ago is worth nothing any more.

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::net::dtls::ClientHello;
use crate::turn::Moment;

/// Makes and judges cookies.
#[derive(Clone)]
pub struct Cookies {
    mac: Hmac<Sha256>,
}

impl Cookies {
    /// Keyed with a secret of 32 bytes that nobody else knows.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length is a key");
        mac.update(b"dtls cookie");
        let key = mac.finalize().into_bytes();
        Self { mac: Hmac::<Sha256>::new_from_slice(&key).expect("any length is a key") }
    }

    /// The cookie for this client, to be shown with the same ClientHello.
    pub fn mint(
        &self,
        now: Moment,
        client: SocketAddr,
        server: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE] {
        self.of_step(step(now), client, server, hello)
    }

    /// Whether the client shows a cookie that was made here, for it and for this ClientHello, a
    /// minute ago at most.
    pub fn accepts(
        &self,
        now: Moment,
        client: SocketAddr,
        server: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> bool {
        let Some(&shown) = hello.cookie.first() else { return false };
        let now = step(now);
        let age = u64::from((now as u8).wrapping_sub(shown));
        let Some(then) = now.checked_sub(age).filter(|_| age <= 1) else { return false };
        hello.cookie.ct_eq(&self.of_step(then, client, server, hello)).into()
    }

    fn of_step(
        &self,
        step: u64,
        client: SocketAddr,
        server: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE] {
        let mut mac = self.mac.clone();
        mac.update(&step.to_be_bytes());
        for address in [client, server] {
            mac.update(&address.port().to_be_bytes());
            match address.ip() {
                IpAddr::V4(ip) => mac.update(&ip.octets()),
                IpAddr::V6(ip) => mac.update(&ip.octets()),
            }
        }
        hello.repeated.iter().for_each(|part| mac.update(part));
        let whole = mac.finalize().into_bytes();
        let mut cookie = [step as u8; COOKIE];
        cookie[1..].copy_from_slice(&whole[..COOKIE - 1]);
        cookie
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies(…)")
    }
}

fn step(now: Moment) -> u64 {
    now.as_millis() / STEP_MILLIS
}

/// Bytes of a cookie: when it was made, modulo 256 steps, and the front of the MAC.
pub const COOKIE: usize = 17;
/// A cookie is good for two of these at most, and for one at least.
const STEP_MILLIS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dtls::hello::tests::hello;

    const SECRET: [u8; 32] = [7; 32];

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_client_its_server_and_its_hello_only() {
        let cookies = Cookies::new(&SECRET);
        let (client, server) = (addr("192.0.2.1:5000"), addr("198.51.100.1:5349"));
        let now = Moment::from_millis(1_000_000);
        let first = hello(1, b"");
        let cookie = cookies.mint(now, client, server, &ClientHello::read(&first).unwrap());
        let second = hello(1, &cookie);
        let second = ClientHello::read(&second).unwrap();
        assert!(cookies.accepts(now, client, server, &second));
        for other in ["192.0.2.1:5001", "192.0.2.2:5000", "[2001:db8::1]:5000"] {
            assert!(!cookies.accepts(now, addr(other), server, &second), "{other}");
        }
        assert!(!cookies.accepts(now, client, addr("198.51.100.2:5349"), &second));
        assert!(!Cookies::new(&[8; 32]).accepts(now, client, server, &second));
        let another = hello(2, &cookie);
        let another = ClientHello::read(&another).unwrap();
        assert!(!cookies.accepts(now, client, server, &another), "another random");
        for at in 0..COOKIE {
            let mut bad = cookie;
            bad[at] ^= 1;
            for bad in [&bad[..], &cookie[..at]] {
                let bad = hello(1, bad);
                let accepted = ClientHello::read(&bad)
                    .is_some_and(|bad| cookies.accepts(now, client, server, &bad));
                assert!(!accepted, "{at}");
            }
        }
    }

    #[test]
    fn a_cookie_is_good_for_half_a_minute_and_never_for_more_than_one() {
        let cookies = Cookies::new(&SECRET);
        let (client, server) = (addr("[2001:db8::1]:5000"), addr("[2001:db8::2]:5349"));
        for start in [0, 29_999, 30_000, 7_679_999, 7_680_000] {
            let first = hello(1, b"");
            let first = ClientHello::read(&first).unwrap();
            let minted = cookies.mint(Moment::from_millis(start), client, server, &first);
            let second = hello(1, &minted);
            let second = ClientHello::read(&second).unwrap();
            let good = |after| {
                cookies.accepts(Moment::from_millis(start + after), client, server, &second)
            };
            assert!(good(0) && good(30_000), "{start}");
            assert!(!good(60_000) && !good(256 * 30_000 + 60_000), "{start}");
        }
    }
}
