use super::*;

use std::collections::VecDeque;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore};

use crate::net::output::{Kind, Pushed};
use crate::net::tcp::READ_BYTES;

/// Both directions of a stream; whoever reads takes everything that there is.
#[derive(Debug, Default)]
struct Wire {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    /// How much the client's side takes before it is full.
    room: usize,
    /// Calls that wrote something, since the handshake.
    writes: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.to_server.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            length => Ok(length),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all = parts.iter().flat_map(|part| part.iter());
        let before = self.to_client.len();
        self.to_client.extend(all.take(self.room));
        let length = self.to_client.len() - before;
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= length;
        self.writes += 1;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A session with a client, and the stream between them.
struct Pair {
    session: Session,
    client: ClientConnection,
    wire: Wire,
    output: Output,
    buffer: Vec<u8>,
}

impl Pair {
    /// Before the handshake.
    fn new() -> Self {
        let params = CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let identity = Identity::new(vec![certificate.der().clone()], key, &[]).unwrap();
        Self::between(identity, certificate.der(), aws_lc_rs::default_provider())
    }

    /// The same, of this server and a client that believes this certificate.
    fn between(
        identity: Identity,
        believed: &CertificateDer<'static>,
        provider: CryptoProvider,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(believed.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "turn.example.org".try_into().unwrap();
        Self {
            session: Keyring::new(vec![identity], false).unwrap().session().unwrap(),
            client: ClientConnection::new(Arc::new(config), name).unwrap(),
            wire: Wire { room: usize::MAX, ..Wire::default() },
            output: Output::new(1 << 20),
            buffer: vec![0; READ_BYTES],
        }
    }

    /// After it.
    fn open() -> Self {
        let mut pair = Self::new();
        pair.shake_hands();
        pair
    }

    fn shake_hands(&mut self) {
        while self.session.is_opening() || self.client.is_handshaking() {
            self.client_sends();
            assert_eq!(self.receive().unwrap(), b"");
            self.flush();
            self.client_hears();
        }
        self.wire.writes = 0;
    }

    fn client_sends(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire.to_server).unwrap();
        }
    }

    /// What the session makes of what is on the wire.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self.session.receive(&mut self.wire, &mut self.buffer) {
            Ok(arrived) => Ok(self.buffer[..arrived.length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> Written {
        self.session.flush(&mut self.output, &mut self.wire).unwrap()
    }

    /// What the client makes of what was sent to it.
    fn client_hears(&mut self) -> Vec<u8> {
        let (sent, mut plain) = (std::mem::take(&mut self.wire.to_client), Vec::new());
        let mut sent = &sent[..];
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).unwrap();
            self.client.process_new_packets().unwrap();
            match self.client.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
        }
        plain
    }

    /// The records on their way to the client.
    fn records(&self) -> usize {
        let (mut rest, mut records) = (&self.wire.to_client[..], 0);
        while let Some((header, behind)) = rest.split_first_chunk::<5>() {
            rest = &behind[usize::from(u16::from_be_bytes([header[3], header[4]]))..];
            records += 1;
        }
        records
    }
}

#[test]
fn a_few_frames_get_a_record_each_and_many_share_them_and_all_leave_at_once() {
    for (frames, size, records) in [(1, 1200, 1), (32, 1200, 32), (100, 160, 1), (100, 1200, 8)] {
        let mut pair = Pair::open();
        pair.client_hears();
        for number in 0..frames {
            let pushed = pair.output.push([&vec![number; size], &[], &[]], Kind::Media);
            assert_eq!(pushed, Pushed::Queued { dropped: 0 });
        }
        let frames = usize::from(frames);
        assert_eq!(pair.flush(), Written { bytes: frames * size, frames });
        assert_eq!(pair.records(), records, "{frames} frames of {size} bytes");
        // What is small enough leaves by one call.
        assert!(size * frames > SEALED_MAX || pair.wire.writes == 1);
        let expected: Vec<u8> = (0..frames).flat_map(|number| vec![number as u8; size]).collect();
        assert!(pair.client_hears() == expected);
    }
}

#[test]
fn records_that_arrive_together_are_opened_at_once() {
    let mut pair = Pair::open();
    let mut expected = Vec::new();
    for number in 0..20_u8 {
        let frame = vec![number; 100 * usize::from(number)];
        pair.client.writer().write_all(&frame).unwrap();
        pair.client_sends();
        expected.extend(frame);
    }
    assert!(pair.receive().unwrap() == expected);
}

#[test]
fn whatever_the_stream_is_cut_into_the_same_bytes_come_out_and_none_waits_inside() {
    for step in [1, 7, 100, 5000, 20_000, 47_098, 47_099, READ_BYTES] {
        let mut pair = Pair::open();
        let expected: Vec<u8> = (0..200_000_u32).map(|at| (at / 7) as u8).collect();
        for part in expected.chunks(16_384) {
            pair.client.writer().write_all(part).unwrap();
            pair.client_sends();
        }
        let sent: Vec<u8> = pair.wire.to_server.drain(..).collect();
        let mut came: Vec<u8> = Vec::new();
        for part in sent.chunks(step) {
            pair.wire.to_server.extend(part);
            // Nobody asks again where it was said that there is no more.
            while let Ok(arrived) = pair.session.receive(&mut pair.wire, &mut pair.buffer)
                && {
                    came.extend(&pair.buffer[..arrived.length]);
                    arrived.more
                }
            {}
        }
        assert!(came == expected, "cut every {step} bytes");
    }
}

#[test]
fn what_the_stream_does_not_take_waits_as_frames_and_not_as_records() {
    let mut pair = Pair::open();
    pair.wire.room = 1000;
    for _ in 0..100 {
        let pushed = pair.output.push([&[7; 5000], &[], &[]], Kind::Media);
        assert_eq!(pushed, Pushed::Queued { dropped: 0 });
    }
    pair.flush();
    let sealed = 500_000 - pair.output.len();
    assert!(sealed <= 64 * 1024, "{sealed} bytes were sealed for a stream that is full");
    assert!(pair.session.has_output());
    pair.wire.room = usize::MAX;
    pair.flush();
    assert!(!pair.session.has_output() && pair.output.is_empty());
    assert!(pair.client_hears() == [7; 500_000]);
}

#[test]
fn the_end_of_a_session_is_told_from_a_cut() {
    let mut pair = Pair::open();
    pair.client.writer().write_all(b"last words").unwrap();
    pair.client.send_close_notify();
    pair.client_sends();
    let arrived = pair.session.receive(&mut pair.wire, &mut pair.buffer).unwrap();
    assert_eq!(arrived, Arrived { length: 10, ended: false, more: true });
    let arrived = pair.session.receive(&mut pair.wire, &mut pair.buffer).unwrap();
    assert!(arrived.ended);

    let mut pair = Pair::open();
    let cut = pair.session.receive(&mut io::empty(), &mut pair.buffer).unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_no_tls_is_answered_with_an_alert() {
    let mut pair = Pair::new();
    pair.wire.to_server.extend(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(pair.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    pair.flush();
    assert_eq!(pair.wire.to_client[0], 21, "the content type of alerts");
}

#[test]
fn a_handshake_without_an_end_is_cut_short() {
    let mut pair = Pair::new();
    // A ClientHello that says to be as long as they may be, in records of a thousand bytes.
    let mut hello = vec![1, 0, 0xff, 0xf0];
    hello.resize(60_000, 0);
    let mut taken = 0;
    let failed = hello.chunks(1000).any(|part| {
        let [high, low] = (part.len() as u16).to_be_bytes();
        pair.wire.to_server.extend([22, 3, 1, high, low]);
        pair.wire.to_server.extend(part);
        taken += part.len();
        pair.receive().is_err()
    });
    assert!(failed && taken <= GREETING_MAX + 1000, "{taken} bytes were taken");
}

/// The cipher suite that is agreed on with a client that has these, in its order.
fn agreed(suites: &[CipherSuite]) -> Option<CipherSuite> {
    let made = CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let certificate = made.self_signed(&key).unwrap();
    let mut provider = dhe::provider();
    let all = std::mem::take(&mut provider.cipher_suites);
    let of = |suite: &CipherSuite| *all.iter().find(|it| it.suite() == *suite).unwrap();
    provider.cipher_suites = suites.iter().map(of).collect();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let identity = Identity::new(vec![certificate.der().clone()], key, &[]).unwrap();
    let mut pair = Pair::between(identity, certificate.der(), provider);
    pair.shake_hands();
    pair.client.negotiated_cipher_suite().map(|suite| suite.suite())
}

#[test]
fn the_suites_that_rfc_8489_asks_for_are_there_and_the_slow_one_is_nobodys_first_choice() {
    use CipherSuite as S;
    let dhe = S::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256;
    let ecdhe = S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    assert_eq!(agreed(&[dhe]), Some(dhe));
    assert_eq!(agreed(&[ecdhe]), Some(ecdhe));
    assert_eq!(agreed(&[dhe, ecdhe]), Some(ecdhe));
    let tls13 = S::TLS13_AES_128_GCM_SHA256;
    assert_eq!(agreed(&[dhe, tls13]), Some(tls13));
}
