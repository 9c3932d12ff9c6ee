//! Addresses in attributes: plain (RFC 8489 §14.1) and XORed (§14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::message::MAGIC_COOKIE;

/// The longest encoding: four bytes, and an IPv6 address.
pub const ADDRESS_MAX: usize = 20;

/// The bytes that an address is XORed with: the cookie and the transaction id, as they stand in
/// bytes 4 to 20 of the message.
pub type XorKey = [u8; 16];

/// An encoded address attribute value.
#[derive(Clone, Copy, Debug)]
pub struct EncodedAddress {
    bytes: [u8; ADDRESS_MAX],
    len: usize,
}

impl EncodedAddress {
    /// The value's bytes: 8 for IPv4, 20 for IPv6.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Encodes an address as (XOR-)MAPPED-ADDRESS and its kin carry it; a key of zeros is no XOR.
#[inline]
pub fn encode(address: SocketAddr, key: Option<&XorKey>) -> EncodedAddress {
    let mut bytes = [0; ADDRESS_MAX];
    let len = match address.ip() {
        IpAddr::V4(ip) => {
            bytes[1] = 1;
            bytes[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            bytes[1] = 2;
            bytes[4..20].copy_from_slice(&ip.octets());
            20
        }
    };
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    if let Some(key) = key {
        bytes[2] ^= MAGIC_COOKIE[0];
        bytes[3] ^= MAGIC_COOKIE[1];
        for (byte, key) in bytes[4..len].iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    EncodedAddress { bytes, len }
}

/// Why an address attribute cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The family code is neither IPv4's nor IPv6's.
    UnknownFamily,
    /// The value's length does not fit its family.
    WrongLength,
}

/// Decodes an address that is not XORed.
///
/// # Errors
///
/// [`AddressError`] says what is wrong with the value.
pub fn decode_plain(value: &[u8]) -> Result<SocketAddr, AddressError> {
    let xored = decode_xor(value, &[0; 16])?;
    let cookie = u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    Ok(SocketAddr::new(xored.ip(), xored.port() ^ cookie))
}

/// Decodes a XORed address. The first byte is ignored, as RFC 8489 §14.1 wants.
///
/// # Errors
///
/// [`AddressError`] says what is wrong with the value.
#[inline]
pub fn decode_xor(value: &[u8], key: &XorKey) -> Result<SocketAddr, AddressError> {
    let Some((&[_, family, p0, p1], address)) = value.split_first_chunk::<4>() else {
        return Err(AddressError::WrongLength);
    };
    let port = u16::from_be_bytes([p0 ^ MAGIC_COOKIE[0], p1 ^ MAGIC_COOKIE[1]]);
    let ip = match family {
        1 => {
            let octets: [u8; 4] = address.try_into().map_err(|_| AddressError::WrongLength)?;
            let key = [key[0], key[1], key[2], key[3]];
            let bits = u32::from_be_bytes(octets) ^ u32::from_be_bytes(key);
            IpAddr::V4(Ipv4Addr::from(bits))
        }
        2 => {
            let octets: [u8; 16] = address.try_into().map_err(|_| AddressError::WrongLength)?;
            let bits = u128::from_be_bytes(octets) ^ u128::from_be_bytes(*key);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        _ => return Err(AddressError::UnknownFamily),
    };
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_encoded_address_decodes_to_itself(
            ip: IpAddr, port: u16, mut key: XorKey
        ) {
            key[..4].copy_from_slice(&MAGIC_COOKIE);
            let address = SocketAddr::new(ip, port);
            let encoded = encode(address, Some(&key));
            prop_assert_eq!(decode_xor(encoded.as_bytes(), &key), Ok(address));
            let plain = encode(address, None);
            prop_assert_eq!(decode_plain(plain.as_bytes()), Ok(address));
        }

        #[test]
        fn any_other_length_is_refused(family in 1u8..=2, extra in 0usize..40, key: XorKey) {
            let right = if family == 1 { 8 } else { 20 };
            let mut value = vec![0; extra];
            if extra >= 2 { value[1] = family; }
            prop_assume!(extra != right);
            prop_assert!(decode_xor(&value, &key).is_err());
        }
    }
}
