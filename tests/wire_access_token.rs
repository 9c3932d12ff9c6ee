//! ACCESS-TOKEN: the samples of RFC 7635 appendix A, and that nothing but a whole token opens.

use hairpin::wire::{
    AccessToken, AttributeType, Class, Integrity, IntegrityKey, MacKey, MessageWriter, Method,
    TokenAlgorithm, TokenKey,
};
use proptest::prelude::*;
use sha1::{Digest as _, Sha1};

const SERVER: &[u8] = b"blackdow.carleon.gov";
const KEY: &[u8; 32] = b"HGkj32KJGiuy098sdfaqbNjOiaz71923";
const MAC_KEY: &[u8] = b"ZksjpweoixXmvn67534m";
const NONCE: &[u8; 12] = b"h4j3k2l2n4b5";

/// RFC 7635 appendix A, 1).
const SEALED_256: &[u8; 64] = b"\x00\x0c\x68\x34\x6a\x33\x6b\x32\x6c\x32\x6e\x34\x62\
    \x35\x61\x7e\xf1\x34\xa3\xd5\xe4\x4e\x9a\x19\xcc\x7d\
    \xc1\x04\xb0\xc0\x3d\x03\xb2\xa5\x51\xd8\xfd\xf5\xcd\
    \x3b\x6d\xca\x6f\x10\xcf\xb7\x7e\x5b\x2d\xde\xc8\x4d\
    \x29\x3a\x5c\x50\x49\x93\x59\xf0\xc2\xe2\x6f\x76";

/// RFC 7635 appendix A, 2).
const SEALED_128: &[u8; 64] = b"\x00\x0c\x68\x34\x6a\x33\x6b\x32\x6c\x32\x6e\x34\x62\
    \x35\x7f\xb9\xe9\x9f\x08\x27\xbe\x3d\xf1\xe1\xbd\x65\
    \x14\x93\xd3\x03\x1d\x36\xdf\x57\x07\x97\x84\xae\xe5\
    \xea\xcb\x65\xfa\xd4\xf2\x7f\xab\x1a\x3f\x97\x97\x4b\
    \x69\xf8\x51\xb2\x4b\xf5\xaf\x09\xed\xa3\x57\xe0";

/// A token of this server name whose key is the bytes from 0 to 63, that of the session those from
/// 0x80 to 0x9f, made at 1790000000 for an hour: computed with `openssl enc -aes-256-cbc`, an
/// initialisation vector of zeros, and an HMAC-SHA-512 over name, ciphertext and the name's 128
/// bits, of which 32 bytes stay.
const CBC: &[u8] = b"\
    \x00\x00\x0e\x75\x68\x01\x31\xd0\x72\x09\xd1\xd5\xeb\x06\xe3\xcc\
    \x8b\x6e\x16\x83\x5f\xe9\x85\x3e\x53\x1b\xf9\x77\xfc\x3e\x09\xb5\
    \x77\x0a\xb7\x62\xae\xbc\x46\x05\x52\xbb\xcf\x88\x1c\x97\xea\x52\
    \x7c\xa8\xb3\xc1\x7b\xca\x0d\x49\x66\xd3\xb5\x28\xcd\xff\x77\x42\
    \xb5\xfd\x18\x19\xc0\x68\x9d\x50\x84\xab\x4c\x54\xf8\x0c\x27\xe0\
    \xf6\x45";

fn key(algorithm: TokenAlgorithm, bytes: &[u8]) -> TokenKey {
    TokenKey::new(algorithm, bytes).expect("a key of the right length")
}

fn both() -> [(TokenKey, &'static [u8; 64]); 2] {
    [
        (key(TokenAlgorithm::A256Gcm, KEY), SEALED_256),
        (key(TokenAlgorithm::A128Gcm, &KEY[..16]), SEALED_128),
    ]
}

/// What a key signs, to tell keys apart without seeing them.
fn signature(key: &IntegrityKey) -> Vec<u8> {
    key.sign(&[0; 20]).as_ref().to_vec()
}

fn token(mac_key: &[u8], timestamp: u64, lifetime: u32) -> AccessToken {
    let mac_key = MacKey::new(mac_key).expect("long enough");
    AccessToken { mac_key, timestamp, lifetime }
}

#[test]
fn the_samples_open() {
    for (key, sealed) in both() {
        let opened = key.open(SERVER, sealed).expect("a token for this server");
        assert_eq!(opened.timestamp, 92_470_300_704_768 >> 16);
        assert_eq!(opened.lifetime, 3600);
        let signed = signature(&opened.mac_key.keyed(Integrity::Sha1));
        assert_eq!(signed, signature(&IntegrityKey::new(Integrity::Sha1, MAC_KEY)));
    }
}

#[test]
fn the_samples_are_what_is_sealed() {
    let token = token(MAC_KEY, 92_470_300_704_768 >> 16, 3600);
    for (key, sealed) in both() {
        assert_eq!(key.seal(SERVER, *NONCE, &token), sealed);
    }
}

#[test]
fn the_construction_with_cbc_is_the_one_that_openssl_computes() {
    let bytes: Vec<u8> = (0..64).collect();
    let key = key(TokenAlgorithm::A256CbcHs512, &bytes);
    let mac_key: Vec<u8> = (0x80..0xA0).collect();
    let token = token(&mac_key, 1_790_000_000, 3600);
    let sealed = key.seal(b"turn.example.org", [9; 12], &token);
    assert_eq!(sealed, CBC);
    let opened = key.open(b"turn.example.org", &sealed).expect("the same key");
    assert_eq!((opened.timestamp, opened.lifetime), (1_790_000_000, 3600));
    assert!(key.open(b"turn.example.com", &sealed).is_none());
}

/// `turnutils_oauth -e -i turn.example.org -n A256GCM …` of coturn 4.6.1, and with A128GCM.
#[test]
fn what_coturns_tool_seals_opens() {
    use base64::Engine as _;
    let sealed = [
        (
            key(TokenAlgorithm::A256Gcm, b"01234567890123456789012345678901"),
            "AAx0d2VsdmUgYnl0ZXOz19BlcoQ1XDzCrHE7R+LElw95t4JbzuqYdIBW9ktROTjRlxhMEzJjE+u/0eogAv/0\
             4g==",
        ),
        (
            key(TokenAlgorithm::A128Gcm, b"0123456789012345"),
            "AAx0d2VsdmUgYnl0ZXPKPkeBTh7AItQfnrrSLzKCjpRti49uPn+/0MjkvnYwnf0cQh+Eqmt5Jvt7UpqWqPKu\
             WQ==",
        ),
    ];
    for (key, text) in sealed {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        let opened = key.open(b"turn.example.org", &bytes).expect("a token for this server");
        assert_eq!((opened.timestamp, opened.lifetime), (1_790_000_000, 3600));
        let signed = signature(&opened.mac_key.keyed(Integrity::Sha1));
        let own = IntegrityKey::new(Integrity::Sha1, b"a key of 160 bits...");
        assert_eq!(signed, signature(&own));
    }
}

#[test]
fn a_token_for_another_server_stays_closed() {
    for (key, sealed) in both() {
        for name in [&b""[..], b"blackdow.carleon.go", b"blackdow.carleon.gov.", b"Blackdow"] {
            assert!(key.open(name, sealed).is_none());
        }
    }
}

#[test]
fn a_token_with_any_bit_changed_or_any_byte_too_few_stays_closed() {
    let cbc = key(TokenAlgorithm::A256CbcHs512, &[7; 64]);
    let cbc_sealed = cbc.seal(SERVER, [0; 12], &token(MAC_KEY, 1, 1));
    let gcm = both().map(|(key, sealed)| (key, sealed.to_vec()));
    for (key, sealed) in gcm.into_iter().chain([(cbc, cbc_sealed)]) {
        assert!(key.open(SERVER, &sealed).is_some());
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(SERVER, &changed).is_none(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(key.open(SERVER, &sealed[..length]).is_none(), "{length} bytes");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert!(key.open(SERVER, &longer).is_none());
    }
}

#[test]
fn a_key_opens_nothing_of_another_key_and_another_algorithm() {
    let other = key(TokenAlgorithm::A256Gcm, b"HGkj32KJGiuy098sdfaqbNjOiaz71924");
    assert!(other.open(SERVER, SEALED_256).is_none());
    for (key, sealed) in [(&both()[0].0, SEALED_128), (&both()[1].0, SEALED_256)] {
        assert!(key.open(SERVER, sealed).is_none());
    }
}

#[test]
fn a_session_key_has_160_bits_at_least_and_512_at_most() {
    for (length, is_key) in [(0, false), (19, false), (20, true), (64, true), (65, false)] {
        assert_eq!(MacKey::new(&vec![1; length]).is_some(), is_key, "{length} bytes");
    }
}

/// The length is the authorisation server's to say, and no token may make us read past its end.
#[test]
fn a_sealed_block_that_says_a_wrong_length_is_no_token() {
    use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
    let cipher = aes_gcm::Aes256Gcm::new_from_slice(KEY).expect("32 bytes");
    let seal = |block: &[u8]| {
        let mut block = block.to_vec();
        let tag = cipher
            .encrypt_inout_detached(&(*NONCE).into(), SERVER, block.as_mut_slice().into())
            .expect("it seals");
        [&[0, 12][..], NONCE, &block, &tag].concat()
    };
    let whole = |length: u16, mac_key: usize, rest: usize| {
        seal(&[&length.to_be_bytes()[..], &vec![5; mac_key], &vec![0; rest]].concat())
    };
    let key = key(TokenAlgorithm::A256Gcm, KEY);
    assert!(key.open(SERVER, &whole(20, 20, 12)).is_some());
    for (length, mac_key, rest) in [
        (0, 0, 12),
        (19, 19, 12),
        (65, 65, 12),
        (20, 20, 11),
        (20, 20, 13),
        (21, 20, 12),
        (0xFFFF, 20, 12),
        (20, 0, 0),
    ] {
        assert!(key.open(SERVER, &whole(length, mac_key, rest)).is_none(), "{length}");
    }
    assert!(key.open(SERVER, &seal(b"")).is_none());
    assert!(key.open(SERVER, &seal(b"\0")).is_none());
}

#[test]
fn a_longer_key_is_hashed_to_160_bits_for_hmac_sha1_and_whole_for_sha256() {
    let bytes = [3; 32];
    let key = MacKey::new(&bytes).expect("256 bits");
    let short = IntegrityKey::new(Integrity::Sha1, &Sha1::digest(bytes));
    assert_eq!(signature(&key.keyed(Integrity::Sha1)), signature(&short));
    let whole = IntegrityKey::new(Integrity::Sha256, &bytes);
    assert_eq!(signature(&key.keyed(Integrity::Sha256)), signature(&whole));
}

#[test]
fn no_key_shows_in_debug() {
    let shown = format!("{:?} {:?}", both()[0].0, token(MAC_KEY, 1, 1));
    assert_eq!(
        shown,
        "TokenKey(A256Gcm) AccessToken { mac_key: MacKey(160 bits), timestamp: 1, lifetime: 1 }"
    );
}

#[test]
fn a_token_fits_a_request_over_any_path() {
    let key = key(TokenAlgorithm::A256CbcHs512, &[7; 64]);
    let sealed = key.seal(SERVER, [0; 12], &token(&[1; 64], u64::MAX >> 16, u32::MAX));
    let mut buffer = [0; 548];
    let mut writer = MessageWriter::new(&mut buffer, Method::ALLOCATE, Class::Request, &[0x21; 16]);
    writer.attribute(AttributeType::ACCESS_TOKEN, &sealed);
    assert!(writer.finish().is_some());
    assert!(key.open(SERVER, &sealed).is_some());
}

proptest! {
    #[test]
    fn what_was_sealed_opens_to_what_it_was(
        mac_key in prop::collection::vec(any::<u8>(), 20..=64),
        name in prop::collection::vec(any::<u8>(), 0..64),
        nonce: [u8; 12],
        timestamp in 0..1_u64 << 48,
        lifetime: u32,
        secret: [u8; 64],
    ) {
        for (algorithm, _) in TokenAlgorithm::ALL {
            let key = key(algorithm, &secret[..algorithm.key_length()]);
            let token = token(&mac_key, timestamp, lifetime);
            let opened = key.open(&name, &key.seal(&name, nonce, &token)).expect("the same key");
            prop_assert_eq!((opened.timestamp, opened.lifetime), (timestamp, lifetime));
            let integrity = Integrity::Sha256;
            let keys = [opened.mac_key, token.mac_key].map(|key| signature(&key.keyed(integrity)));
            prop_assert_eq!(&keys[0], &keys[1]);
        }
    }

    #[test]
    fn whatever_a_stranger_sends_stays_closed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (algorithm, _) in TokenAlgorithm::ALL {
            let key = key(algorithm, &vec![7; algorithm.key_length()]);
            prop_assert!(key.open(SERVER, &bytes).is_none());
        }
    }
}
