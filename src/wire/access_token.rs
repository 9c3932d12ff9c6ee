//! ACCESS-TOKEN (RFC 7635 §6.2): what an authorisation server seals for this server, and a client
//! carries without being able to read it.
//!
//! ```text
//! nonce_length(2) nonce, then sealed with a key that both servers have:
//!     key_length(2) mac_key timestamp(8) lifetime(4)
//! ```

use aes_gcm::aead::{AeadInOut, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use crate::wire::integrity::{Integrity, IntegrityKey};

/// Lengths of `mac_key` that are taken: the 160 bits of HMAC-SHA1, up to what an HMAC uses whole.
const MAC_KEY: std::ops::RangeInclusive<usize> = 20..=64;
/// The longest sealed block: the longest content, padding, the longest tag.
const SEALED_MAX: usize = 2 + 64 + 12 + 16 + 32;
/// The nonce and the tag of AES-GCM (RFC 5116 §5.1).
const GCM_NONCE: usize = 12;
const GCM_TAG: usize = 16;
/// The tag of A256CBC-HS512 (RFC 7518 §5.2.5).
const CBC_TAG: usize = 32;

/// How tokens are sealed, of what RFC 7518 §5.1 has: those that RFC 7635 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// AES-256-GCM, which everybody has to know (RFC 7635 §4.1.1).
    A256Gcm,
    /// AES-128-GCM.
    A128Gcm,
    /// AES-256-CBC with HMAC-SHA-512.
    A256CbcHs512,
}

impl TokenAlgorithm {
    /// Every algorithm with its name in RFC 7518 §5.1.
    pub const ALL: [(Self, &str); 3] = [
        (Self::A256Gcm, "A256GCM"),
        (Self::A128Gcm, "A128GCM"),
        (Self::A256CbcHs512, "A256CBC-HS512"),
    ];

    /// The one that is called so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(algorithm, _)| algorithm)
    }

    /// The bytes of its key.
    pub const fn key_length(self) -> usize {
        match self {
            Self::A256Gcm => 32,
            Self::A128Gcm => 16,
            Self::A256CbcHs512 => 64,
        }
    }
}

/// What a token says once it is open.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The session's key.
    pub mac_key: MacKey,
    /// When it was made, in seconds since 1970; the fractions below are not kept.
    pub timestamp: u64,
    /// For how many seconds it is good.
    pub lifetime: u32,
}

impl AccessToken {
    fn decode(block: &[u8]) -> Option<Self> {
        let (length, rest) = block.split_first_chunk::<2>()?;
        let (mac_key, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (timestamp, lifetime) = rest.split_first_chunk::<8>()?;
        Some(Self {
            mac_key: MacKey::new(mac_key)?,
            timestamp: u64::from_be_bytes(*timestamp) >> 16,
            lifetime: u32::from_be_bytes(lifetime.try_into().ok()?),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mac_key = self.mac_key.as_bytes();
        let mut block = Vec::with_capacity(SEALED_MAX);
        block.extend((mac_key.len() as u16).to_be_bytes());
        block.extend(mac_key);
        block.extend((self.timestamp << 16).to_be_bytes());
        block.extend(self.lifetime.to_be_bytes());
        block
    }
}

/// The key of a session, which the client has in clear and the server finds in the token.
#[derive(Clone)]
pub struct MacKey {
    bytes: [u8; 64],
    length: u8,
}

impl MacKey {
    /// A key of 160 to 512 bits.
    pub fn new(key: &[u8]) -> Option<Self> {
        MAC_KEY.contains(&key.len()).then(|| Self::of(key))
    }

    fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..key.len()].copy_from_slice(key);
        Self { bytes, length: key.len() as u8 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }

    /// Ready for an integrity attribute. MESSAGE-INTEGRITY takes 160 bits, into which SHA-1 makes
    /// a longer key (RFC 7635 §6.2, appendix B).
    pub fn keyed(&self, integrity: Integrity) -> IntegrityKey {
        if integrity == Integrity::Sha1 && self.as_bytes().len() > *MAC_KEY.start() {
            return IntegrityKey::new(integrity, &Sha1::digest(self.as_bytes()));
        }
        IntegrityKey::new(integrity, self.as_bytes())
    }

    /// What tells keys apart without telling any.
    pub fn digest(&self) -> [u8; 8] {
        let whole = Sha256::digest(self.as_bytes());
        *whole.first_chunk().expect("SHA-256 has 32 bytes")
    }

    /// What coturn makes of a key of 160 bits: its HMAC-SHA1 takes the length of an MD5.
    pub fn first_128_bits(&self) -> Option<Self> {
        (self.as_bytes().len() == *MAC_KEY.start()).then(|| Self::of(&self.bytes[..16]))
    }
}

impl std::fmt::Debug for MacKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MacKey({} bits)", usize::from(self.length) * 8)
    }
}

/// A key that this server and an authorisation server share.
#[derive(Clone)]
pub struct TokenKey(Sealing);

#[derive(Clone)]
enum Sealing {
    A256Gcm(Box<Aes256Gcm>),
    A128Gcm(Box<Aes128Gcm>),
    A256CbcHs512 { auth: Box<Hmac<Sha512>>, as_rs: Box<[u8; 32]> },
}

impl TokenKey {
    /// A key for this algorithm; `None` where it has not the length.
    pub fn new(algorithm: TokenAlgorithm, key: &[u8]) -> Option<Self> {
        Some(Self(match algorithm {
            TokenAlgorithm::A256Gcm => {
                Sealing::A256Gcm(Box::new(Aes256Gcm::new_from_slice(key).ok()?))
            }
            TokenAlgorithm::A128Gcm => {
                Sealing::A128Gcm(Box::new(Aes128Gcm::new_from_slice(key).ok()?))
            }
            // RFC 7518 §5.2.2.1: the first half authenticates, the second encrypts.
            TokenAlgorithm::A256CbcHs512 => {
                let (auth, as_rs) = key.split_first_chunk::<32>()?;
                let auth = Box::new(Hmac::new_from_slice(auth).ok()?);
                Sealing::A256CbcHs512 { auth, as_rs: Box::new(as_rs.try_into().ok()?) }
            }
        }))
    }

    /// Opens the value of an ACCESS-TOKEN. `None` where it was not sealed with this key for this
    /// server name, or holds no session's key.
    pub fn open(&self, server_name: &[u8], token: &[u8]) -> Option<AccessToken> {
        let (length, rest) = token.split_first_chunk::<2>()?;
        let (nonce, sealed) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let mut bytes = [0; SEALED_MAX];
        let bytes = bytes.get_mut(..sealed.len())?;
        bytes.copy_from_slice(sealed);
        let block = match &self.0 {
            Sealing::A256Gcm(gcm) => open_gcm(&**gcm, server_name, nonce, bytes),
            Sealing::A128Gcm(gcm) => open_gcm(&**gcm, server_name, nonce, bytes),
            // The initialisation vector is zero, whatever stands in the nonce's place (§6.2).
            Sealing::A256CbcHs512 { auth, as_rs } => open_cbc(auth, as_rs, server_name, bytes),
        }?;
        AccessToken::decode(block)
    }

    /// Seals a token, as authorisation servers do. `nonce` must be another one for each.
    pub fn seal(&self, server_name: &[u8], nonce: [u8; GCM_NONCE], token: &AccessToken) -> Vec<u8> {
        let block = token.encode();
        let (nonce, sealed) = match &self.0 {
            Sealing::A256Gcm(gcm) => (&nonce[..], seal_gcm(&**gcm, server_name, nonce, block)),
            Sealing::A128Gcm(gcm) => (&nonce[..], seal_gcm(&**gcm, server_name, nonce, block)),
            Sealing::A256CbcHs512 { auth, as_rs } => {
                (&[][..], seal_cbc(auth, as_rs, server_name, &block))
            }
        };
        [&(nonce.len() as u16).to_be_bytes()[..], nonce, &sealed].concat()
    }
}

impl std::fmt::Debug for TokenKey {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let algorithm = match self.0 {
            Sealing::A256Gcm(_) => TokenAlgorithm::A256Gcm,
            Sealing::A128Gcm(_) => TokenAlgorithm::A128Gcm,
            Sealing::A256CbcHs512 { .. } => TokenAlgorithm::A256CbcHs512,
        };
        write!(f, "TokenKey({algorithm:?})")
    }
}

/// RFC 5116 §2.2, the associated data being the server's name (RFC 7635 §6.2).
fn open_gcm<'b, C>(
    cipher: &C,
    server_name: &[u8],
    nonce: &[u8],
    sealed: &'b mut [u8],
) -> Option<&'b [u8]>
where
    C: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let nonce = <[u8; GCM_NONCE]>::try_from(nonce).ok()?.into();
    let (block, tag) = sealed.split_last_chunk_mut::<GCM_TAG>()?;
    let tag = (*tag).into();
    cipher.decrypt_inout_detached(&nonce, server_name, block.into(), &tag).ok()?;
    Some(block)
}

fn seal_gcm<C>(
    cipher: &C,
    server_name: &[u8],
    nonce: [u8; GCM_NONCE],
    mut block: Vec<u8>,
) -> Vec<u8>
where
    C: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>,
{
    let tag = cipher
        .encrypt_inout_detached(&nonce.into(), server_name, block.as_mut_slice().into())
        .expect("a token is far shorter than what GCM can seal");
    block.extend(tag);
    block
}

/// RFC 7635 §6.2: the MAC first, over the server's name, what is encrypted, and the name's length.
fn open_cbc<'b>(
    auth: &Hmac<Sha512>,
    as_rs: &[u8; 32],
    server_name: &[u8],
    sealed: &'b mut [u8],
) -> Option<&'b [u8]> {
    let (encrypted, tag) = sealed.split_last_chunk_mut::<CBC_TAG>()?;
    cbc_mac(auth, server_name, encrypted).verify_truncated_left(tag).ok()?;
    let cipher = cbc::Decryptor::<Aes256>::new(as_rs.into(), &[0; 16].into());
    cipher.decrypt_padded::<Pkcs7>(encrypted).ok()
}

fn seal_cbc(auth: &Hmac<Sha512>, as_rs: &[u8; 32], server_name: &[u8], block: &[u8]) -> Vec<u8> {
    let cipher = cbc::Encryptor::<Aes256>::new(as_rs.into(), &[0; 16].into());
    let mut room = [0; SEALED_MAX];
    let mut sealed = cipher
        .encrypt_padded_b2b::<Pkcs7>(block, &mut room)
        .expect("there is room for a block and its padding")
        .to_vec();
    let tag = cbc_mac(auth, server_name, &sealed).finalize().into_bytes();
    sealed.extend(&tag[..CBC_TAG]);
    sealed
}

fn cbc_mac(auth: &Hmac<Sha512>, server_name: &[u8], encrypted: &[u8]) -> Hmac<Sha512> {
    let mut mac = auth.clone();
    mac.update(server_name);
    mac.update(encrypted);
    mac.update(&(server_name.len() as u64 * 8).to_be_bytes());
    mac
}
