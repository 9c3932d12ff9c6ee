//! The one cipher suite that RFC 8489 §6.2.3 asks for and the library does not have:
//! TLS_DHE_RSA_WITH_AES_128_GCM_SHA256, with the group ffdhe2048 of RFC 7919.
//!
//! It is the suite of ECDHE but for the key exchange, which is Diffie and Hellman's own. Old
//! clients may need it; it stands last, so that nobody else gets it.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U256, U2048};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, KeyExchangeAlgorithm, SharedSecret,
    SupportedKxGroup,
};
use rustls::ffdhe_groups::{FFDHE2048, FfdheGroup};
use rustls::{
    CipherSuite, Error, NamedGroup, PeerMisbehaved, ProtocolVersion, SupportedCipherSuite,
    Tls12CipherSuite,
};

/// What the library has, and behind it what it lacks.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.push(SupportedCipherSuite::Tls12(&TLS_DHE_RSA_WITH_AES_128_GCM_SHA256));
    provider.kx_groups.push(&Ffdhe2048);
    provider
}

static TLS_DHE_RSA_WITH_AES_128_GCM_SHA256: Tls12CipherSuite =
    match TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls12(sibling) => Tls12CipherSuite {
            common: CipherSuiteCommon {
                suite: CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
                ..sibling.common
            },
            kx: KeyExchangeAlgorithm::DHE,
            ..*sibling
        },
        SupportedCipherSuite::Tls13(_) => panic!("ECDHE is named in suites of TLS 1.2 only"),
    };

/// The prime of the group (RFC 7919 appendix A.1).
const PRIME: Odd<U2048> = match U2048::from_be_slice(FFDHE2048.p).to_odd().into_option_copied() {
    Some(prime) => prime,
    None => panic!("a prime of 2048 bits is odd"),
};

const GENERATOR: U2048 = U2048::from_u8(2);

static FIELD: FixedMontyParams<{ U2048::LIMBS }> = FixedMontyParams::new(PRIME);

/// `base` to the power of `exponent`, in a time that tells nothing of either.
fn power(base: &U2048, exponent: &U256) -> [u8; 256] {
    FixedMontyForm::new(base, &FIELD).pow(exponent).retrieve().to_be_bytes().into()
}

#[derive(Debug)]
struct Ffdhe2048;

impl SupportedKxGroup for Ffdhe2048 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        // RFC 7919 §5.2 asks for 225 bits and more.
        let mut secret = [0; 32];
        default_provider().secure_random.fill(&mut secret)?;
        let secret = U256::from_be_slice(&secret);
        Ok(Box::new(Exchange { public: power(&GENERATOR, &secret), secret }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_2
    }
}

struct Exchange {
    secret: U256,
    public: [u8; 256],
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = Err(PeerMisbehaved::InvalidKeyShare.into());
        // Leading zeros may have been left out.
        let Some(zeros) = 256_usize.checked_sub(peer_pub_key.len()) else { return invalid };
        let mut padded = [0; 256];
        padded[zeros..].copy_from_slice(peer_pub_key);
        let theirs = U2048::from_be_slice(&padded);
        // RFC 7919 §5.1: whoever sends 0, 1 or p - 1 chooses the secret.
        if theirs <= U2048::ONE || theirs >= PRIME.get().wrapping_sub(&U2048::ONE) {
            return invalid;
        }
        Ok(SharedSecret::from(&power(&theirs, &self.secret)[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_come_to_the_same_secret() {
        let (a, b) = (Ffdhe2048.start().unwrap(), Ffdhe2048.start().unwrap());
        let (of_a, of_b) = (a.pub_key().to_vec(), b.pub_key().to_vec());
        assert_ne!(of_a, of_b);
        let (a, b) = (a.complete(&of_b).unwrap(), b.complete(&of_a).unwrap());
        assert_eq!(a.secret_bytes(), b.secret_bytes());
    }

    #[test]
    fn powers_are_those_of_the_group() {
        // The prime lies between 2^2047 and 2^2048.
        let rest = U2048::ZERO.wrapping_sub(&PRIME.get());
        let rest: [u8; 256] = rest.to_be_bytes().into();
        assert_eq!(power(&GENERATOR, &U256::from_u16(2048)), rest);
        assert_eq!(power(&GENERATOR, &U256::from_u8(3))[255], 8);
    }

    #[test]
    fn a_share_that_chooses_the_secret_is_refused() {
        let prime = PRIME.get();
        let less = prime.wrapping_sub(&U2048::ONE);
        let bytes = |number: U2048| <[u8; 256]>::from(number.to_be_bytes()).to_vec();
        for share in [vec![], vec![0; 256], vec![1], bytes(less), bytes(prime), vec![7; 257]] {
            assert!(Ffdhe2048.start().unwrap().complete(&share).is_err(), "{share:?}");
        }
        assert!(Ffdhe2048.start().unwrap().complete(&[2]).is_ok());
    }
}
