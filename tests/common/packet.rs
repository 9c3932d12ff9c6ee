//! Packets as a client sees them, encoded and decoded by `stun_codec`.

use std::net::{IpAddr, SocketAddr};

use bytecodec::{DecodeExt as _, EncodeExt as _};
use hairpin::wire::integrity::fingerprint;
use hairpin::wire::{AttributeType, Class, IntegrityKey, Method};
use stun_codec::{
    AttributeType as CodecType, Message, MessageClass, MessageDecoder, MessageEncoder,
    Method as CodecMethod, RawAttribute, TransactionId,
};

pub(crate) const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// An address from its text.
pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    class: Class,
    method: Method,
    pub(crate) transaction: [u8; 12],
    attributes: Vec<(AttributeType, Vec<u8>)>,
}

impl Packet {
    pub(crate) fn new(class: Class, method: Method, transaction: [u8; 12]) -> Self {
        Self { class, method, transaction, attributes: Vec::new() }
    }

    /// Appends an attribute.
    pub(crate) fn with(mut self, kind: AttributeType, value: impl AsRef<[u8]>) -> Self {
        self.attributes.push((kind, value.as_ref().to_vec()));
        self
    }

    /// Appends XOR-PEER-ADDRESS.
    pub(crate) fn peer(self, peer: SocketAddr) -> Self {
        let value = xor(peer, &self.transaction);
        self.with(AttributeType::XOR_PEER_ADDRESS, value)
    }

    /// Appends the key's integrity over what is there.
    pub(crate) fn signed(self, key: &IntegrityKey) -> Self {
        let value = key.sign(&self.encode());
        self.with(key.integrity().attribute(), value)
    }

    /// Appends FINGERPRINT over what is there.
    pub(crate) fn fingerprint(self) -> Self {
        let value = fingerprint(&self.encode());
        self.with(AttributeType::FINGERPRINT, value)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let class = match self.class {
            Class::Request => MessageClass::Request,
            Class::Indication => MessageClass::Indication,
            Class::Success => MessageClass::SuccessResponse,
            Class::Error => MessageClass::ErrorResponse,
        };
        let method = CodecMethod::new(self.method.get()).expect("twelve bits");
        let id = TransactionId::new(self.transaction);
        let mut message: Message<RawAttribute> = Message::new(class, method, id);
        for (kind, value) in &self.attributes {
            message.add_attribute(RawAttribute::new(CodecType::new(kind.0), value.clone()));
        }
        MessageEncoder::new().encode_into_bytes(message).expect("it fits a message")
    }
}

/// XORs an address as RFC 8489 §14.2 says; its own inverse but for the family.
pub(crate) fn xor(address: SocketAddr, transaction: &[u8; 12]) -> Vec<u8> {
    let key = [&COOKIE[..], transaction].concat();
    let (family, octets) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let port = address.port() ^ 0x2112;
    let mut value = vec![0, family, (port >> 8) as u8, port as u8];
    value.extend(octets.iter().zip(key).map(|(octet, key)| octet ^ key));
    value
}

/// A message that the server has sent.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) bytes: Vec<u8>,
    pub(crate) class: Class,
    pub(crate) method: u16,
    pub(crate) transaction: [u8; 12],
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Response {
    /// Reads a message; panics where it is none, as the server must not send such.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let message: Message<RawAttribute> = MessageDecoder::new()
            .decode_from_bytes(bytes)
            .expect("the server sends STUN")
            .expect("the server's attributes are whole");
        assert!(padding_is_zero(bytes), "padding carries something: {bytes:02x?}");
        let class = match message.class() {
            MessageClass::Request => Class::Request,
            MessageClass::Indication => Class::Indication,
            MessageClass::SuccessResponse => Class::Success,
            MessageClass::ErrorResponse => Class::Error,
        };
        let attributes = message
            .attributes()
            .map(|attribute| (attribute_code(attribute), attribute.value().to_vec()))
            .collect();
        Self {
            bytes: bytes.to_vec(),
            class,
            method: message.method().as_u16(),
            transaction: *message.transaction_id().as_bytes(),
            attributes,
        }
    }

    /// The attribute types in their order.
    pub(crate) fn kinds(&self) -> Vec<AttributeType> {
        self.attributes.iter().map(|(kind, _)| AttributeType(*kind)).collect()
    }

    pub(crate) fn has(&self, kind: AttributeType) -> bool {
        self.attributes.iter().any(|(k, _)| *k == kind.0)
    }

    pub(crate) fn find(&self, kind: AttributeType) -> Option<&[u8]> {
        self.attributes.iter().find(|(k, _)| *k == kind.0).map(|(_, value)| &value[..])
    }

    /// The value of an attribute that must be there.
    pub(crate) fn get(&self, kind: AttributeType) -> &[u8] {
        self.find(kind).unwrap_or_else(|| panic!("no {kind} in {self:?}"))
    }

    /// All addresses of this type.
    pub(crate) fn addresses(&self, kind: AttributeType) -> Vec<SocketAddr> {
        self.addresses_with(kind, &[&COOKIE[..], &self.transaction].concat())
    }

    /// All addresses of this type that is not XORed.
    pub(crate) fn plain_addresses(&self, kind: AttributeType) -> Vec<SocketAddr> {
        self.addresses_with(kind, &[0; 16])
    }

    fn addresses_with(&self, kind: AttributeType, key: &[u8]) -> Vec<SocketAddr> {
        let read = |value: &Vec<u8>| {
            let port = u16::from_be_bytes([value[2] ^ key[0], value[3] ^ key[1]]);
            let octets: Vec<u8> = value[4..].iter().zip(key).map(|(v, k)| v ^ k).collect();
            let ip = match value[1] {
                1 => IpAddr::from(<[u8; 4]>::try_from(&octets[..]).expect("four bytes")),
                2 => IpAddr::from(<[u8; 16]>::try_from(&octets[..]).expect("sixteen bytes")),
                other => panic!("family {other}"),
            };
            SocketAddr::new(ip, port)
        };
        self.attributes.iter().filter(|(k, _)| *k == kind.0).map(|(_, value)| read(value)).collect()
    }

    /// The first relayed address.
    pub(crate) fn relayed(&self) -> SocketAddr {
        self.addresses(AttributeType::XOR_RELAYED_ADDRESS)[0]
    }

    /// LIFETIME in seconds.
    pub(crate) fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.get(AttributeType::LIFETIME).try_into().expect("four bytes"))
    }

    /// The error code, in an error.
    pub(crate) fn code(&self) -> Option<u16> {
        let value = self.find(AttributeType::ERROR_CODE)?;
        Some(u16::from(value[2] & 7) * 100 + u16::from(value[3]))
    }

    /// Whether the integrity is this key's; `None` where there is none.
    pub(crate) fn authentic(&self, key: &IntegrityKey) -> Option<bool> {
        self.find(key.integrity().attribute())?;
        let message = hairpin::wire::Message::parse(&self.bytes).expect("read before");
        Some(key.verifies(&message))
    }
}

fn attribute_code(attribute: &RawAttribute) -> u16 {
    use stun_codec::Attribute as _;
    attribute.get_type().as_u16()
}

/// Whether every byte that no length covers is zero.
pub(crate) fn padding_is_zero(bytes: &[u8]) -> bool {
    let mut at = 20;
    while at + 4 <= bytes.len() {
        let length = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        let (end, next) = (at + 4 + length, at + 4 + length.next_multiple_of(4));
        if next > bytes.len() || bytes[end..next].iter().any(|byte| *byte != 0) {
            return false;
        }
        at = next;
    }
    at == bytes.len()
}
