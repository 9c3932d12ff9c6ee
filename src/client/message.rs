//! A client's requests, written by a codec that is not the server's: what the two agree upon is
//! likely to be what the RFCs say. Responses are read by [`wire`](crate::wire).

use std::io;
use std::net::SocketAddr;

use bytecodec::EncodeExt as _;
use stun_codec::{
    AttributeType as CodecType, Message as CodecMessage, MessageClass, MessageEncoder,
    Method as CodecMethod, RawAttribute, TransactionId,
};

use crate::wire::address::encode;
use crate::wire::message::MAGIC_COOKIE;
use crate::wire::{AttributeType, Class, IntegrityKey, Message, Method};

/// Attributes in their order.
pub type Attributes = Vec<(AttributeType, Vec<u8>)>;

/// A name and a password.
#[derive(Clone)]
pub struct Login {
    /// USERNAME.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// What a client knows of the server that it talks to: how to sign (RFC 8489 §9.2).
#[derive(Clone, Debug)]
pub struct Session {
    login: Option<Login>,
    challenge: Option<Challenge>,
    /// Of the last refusal that told one.
    realm: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: IntegrityKey,
}

/// What a response means for its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Success,
    /// To be asked again: the server has given a nonce.
    Again,
    /// No, with this code; 0 where a success was not signed by the server.
    Refused(u16),
}

impl Session {
    /// For this user, or for nobody.
    pub fn new(login: Option<Login>) -> Self {
        Self { login, challenge: None, realm: None }
    }

    /// The realm that the server has told.
    pub fn realm(&self) -> Option<&[u8]> {
        self.realm.as_deref()
    }

    /// A request, signed where the server has asked for that.
    pub fn request(
        &self,
        method: Method,
        transaction: [u8; 12],
        mut attributes: Attributes,
    ) -> Vec<u8> {
        let (Some(login), Some(challenge)) = (&self.login, &self.challenge) else {
            return encoded(method, MessageClass::Request, transaction, &attributes);
        };
        attributes.push((AttributeType::USERNAME, login.user.clone().into_bytes()));
        attributes.push((AttributeType::REALM, challenge.realm.clone()));
        attributes.push((AttributeType::NONCE, challenge.nonce.clone()));
        let unsigned = encoded(method, MessageClass::Request, transaction, &attributes);
        attributes.push((
            AttributeType::MESSAGE_INTEGRITY,
            challenge.key.sign(&unsigned).as_ref().to_vec(),
        ));
        encoded(method, MessageClass::Request, transaction, &attributes)
    }

    /// Reads a response, and takes a nonce from it.
    pub fn take(&mut self, response: &Message<'_>) -> Outcome {
        if response.class() == Class::Success {
            let signed = |challenge: &Challenge| challenge.key.verifies(response);
            let trusted = self.challenge.as_ref().is_none_or(signed);
            return if trusted { Outcome::Success } else { Outcome::Refused(0) };
        }
        let code = error_code(response).unwrap_or(0);
        if let Some(realm) = response.find(AttributeType::REALM) {
            self.realm = Some(realm.to_vec());
        }
        let (Some(login), Some(nonce)) = (&self.login, response.find(AttributeType::NONCE)) else {
            return Outcome::Refused(code);
        };
        let wanted = match code {
            // The same nonce once more means that the password is wrong.
            401 => self.challenge.as_ref().is_none_or(|challenge| challenge.nonce != nonce),
            438 => true,
            _ => false,
        };
        let known = self.challenge.as_ref().map(|challenge| challenge.realm.as_slice());
        match response.find(AttributeType::REALM).or(known) {
            Some(realm) if wanted => {
                let (user, password) = (login.user.as_bytes(), login.password.as_bytes());
                let key = IntegrityKey::long_term(user, realm, password);
                let (realm, nonce) = (realm.to_vec(), nonce.to_vec());
                self.challenge = Some(Challenge { realm, nonce, key });
                Outcome::Again
            }
            _ => Outcome::Refused(code),
        }
    }
}

/// ERROR-CODE, in an error.
pub fn error_code(response: &Message<'_>) -> Option<u16> {
    let value = response.find(AttributeType::ERROR_CODE)?.first_chunk::<4>()?;
    Some(u16::from(value[2] & 7) * 100 + u16::from(value[3]))
}

/// An Allocate's attributes: a relayed address of the peers' family, for so many seconds.
pub fn allocate(peer: SocketAddr, lifetime_secs: u32) -> Attributes {
    let mut attributes = vec![
        (AttributeType::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]),
        (AttributeType::LIFETIME, lifetime_secs.to_be_bytes().to_vec()),
    ];
    if peer.is_ipv6() {
        attributes.push((AttributeType::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]));
    }
    attributes
}

/// A Refresh's attributes.
pub fn refresh(peer: SocketAddr, lifetime_secs: u32) -> Attributes {
    let mut attributes = allocate(peer, lifetime_secs);
    attributes.remove(0);
    attributes
}

/// XOR-PEER-ADDRESS for a message of this transaction.
pub fn peer_address(peer: SocketAddr, transaction: &[u8; 12]) -> (AttributeType, Vec<u8>) {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&MAGIC_COOKIE);
    key[4..].copy_from_slice(transaction);
    (AttributeType::XOR_PEER_ADDRESS, encode(peer, Some(&key)).as_bytes().to_vec())
}

/// A Send indication that carries `payload`.
pub fn send_indication(peer: SocketAddr, payload: Vec<u8>) -> Vec<u8> {
    let transaction = rand::random();
    let attributes = vec![peer_address(peer, &transaction), (AttributeType::DATA, payload)];
    encoded(Method::SEND, MessageClass::Indication, transaction, &attributes)
}

fn encoded(
    method: Method,
    class: MessageClass,
    transaction: [u8; 12],
    attributes: &Attributes,
) -> Vec<u8> {
    let method = CodecMethod::new(method.get()).expect("methods have twelve bits");
    let id = TransactionId::new(transaction);
    let mut message: CodecMessage<RawAttribute> = CodecMessage::new(class, method, id);
    for (kind, value) in attributes {
        message.add_attribute(RawAttribute::new(CodecType::new(kind.0), value.clone()));
    }
    MessageEncoder::new().encode_into_bytes(message).expect("it fits a message")
}

/// An error that says in words what the server refused.
pub fn refused(method: Method, code: u16) -> io::Error {
    let why = match code {
        0 => "the response is not signed with our password".to_owned(),
        401 => "error 401: the server does not take this name and password".to_owned(),
        403 => "error 403: the server does not let us reach this peer; see its [peers] allow, or \
                coturn's --allow-loopback-peers"
            .to_owned(),
        486 => "error 486: the user has as many allocations as one may".to_owned(),
        508 => "error 508: the server has no room left".to_owned(),
        _ => format!("error {code}"),
    };
    // The server still knows our address and port from an earlier allocation: others may do.
    let kind = if code == 437 { io::ErrorKind::AddrInUse } else { io::ErrorKind::Other };
    io::Error::new(kind, format!("{method}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login { user: "u".to_owned(), password: "p".to_owned() }
    }

    #[test]
    fn requests_are_signed_once_the_server_has_given_a_nonce() {
        let mut session = Session::new(Some(login()));
        let bare = session.request(Method::REFRESH, [7; 12], Vec::new());
        assert_eq!(bare.len(), 20);
        let challenge = encoded(
            Method::REFRESH,
            MessageClass::ErrorResponse,
            [7; 12],
            &vec![
                (AttributeType::ERROR_CODE, vec![0, 0, 4, 1]),
                (AttributeType::REALM, b"r".to_vec()),
                (AttributeType::NONCE, b"n".to_vec()),
            ],
        );
        let challenge = Message::parse(&challenge).unwrap();
        assert_eq!(session.take(&challenge), Outcome::Again);
        let signed = session.request(Method::REFRESH, [7; 12], Vec::new());
        let signed = Message::parse(&signed).unwrap();
        assert!(IntegrityKey::long_term(b"u", b"r", b"p").verifies(&signed));
        assert_eq!(signed.find(AttributeType::NONCE), Some(&b"n"[..]));
        // Whoever refuses a signed request in the same words will not take the next one either.
        assert_eq!(session.take(&challenge), Outcome::Refused(401));
    }

    #[test]
    fn a_success_must_be_signed_by_the_server() {
        let mut session = Session::new(Some(login()));
        let key = IntegrityKey::long_term(b"u", b"r", b"p");
        session.challenge =
            Some(Challenge { realm: b"r".to_vec(), nonce: b"n".to_vec(), key: key.clone() });
        let (class, id) = (MessageClass::SuccessResponse, [7; 12]);
        let unsigned = encoded(Method::REFRESH, class, id, &Vec::new());
        assert_eq!(session.take(&Message::parse(&unsigned).unwrap()), Outcome::Refused(0));
        let attributes =
            vec![(AttributeType::MESSAGE_INTEGRITY, key.sign(&unsigned).as_ref().to_vec())];
        let signed = encoded(Method::REFRESH, class, id, &attributes);
        assert_eq!(session.take(&Message::parse(&signed).unwrap()), Outcome::Success);
    }

    #[test]
    fn a_send_indication_ends_with_its_payload() {
        let peer = "127.0.0.1:9".parse().unwrap();
        let bytes = send_indication(peer, vec![1; 24]);
        assert!(bytes.ends_with(&[1; 24]));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.xor_address(AttributeType::XOR_PEER_ADDRESS), Some(Ok(peer)));
    }
}
