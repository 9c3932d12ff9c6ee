//! A client over DTLS, by OpenSSL, and the certificates that a server shows it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslRef, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509NameBuilder};

use super::client::{Association, PATIENCE};

/// What certificates sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rsa,
    Ecdsa,
}

/// A server's certificate under that of an intermediate authority, under a root that clients know.
pub(crate) struct Identity {
    pub(crate) root: X509,
    /// The server's own.
    pub(crate) own: X509,
    /// The server's, and the intermediate one.
    pub(crate) chain_pem: Vec<u8>,
    pub(crate) key_pem: Vec<u8>,
}

impl Identity {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let key = || match algorithm {
            Algorithm::Rsa => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
            Algorithm::Ecdsa => {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
            }
        };
        let (root_key, middle_key, own_key) = (key(), key(), key());
        let root = certificate("root", &root_key, None, true);
        let middle = certificate("middle", &middle_key, Some((&root, &root_key)), true);
        let own = certificate("localhost", &own_key, Some((&middle, &middle_key)), false);
        let chain_pem = [own.to_pem().unwrap(), middle.to_pem().unwrap()].concat();
        Self { root, own, chain_pem, key_pem: own_key.private_key_to_pem_pkcs8().unwrap() }
    }
}

fn certificate(
    name: &str,
    key: &PKey<Private>,
    issuer: Option<(&X509, &PKey<Private>)>,
    is_authority: bool,
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(rand::random()).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&subject, |(issuer, _)| issuer.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut constraints = BasicConstraints::new();
    if is_authority {
        constraints.critical().ca();
    }
    builder.append_extension(constraints.build().unwrap()).unwrap();
    let context = builder.x509v3_context(issuer.map(|(issuer, _)| &**issuer), None);
    let names = SubjectAlternativeName::new().dns(name).build(&context).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    builder.build()
}

/// How a client comes.
pub(crate) struct Caller<'a> {
    /// The one authority that it knows.
    pub(crate) root: &'a X509,
    /// The protocols that it offers, each with its length in front.
    pub(crate) alpn: &'a [u8],
    /// From here; anywhere if `None`.
    pub(crate) local: Option<SocketAddr>,
    /// After the first datagram that comes it does not hear so many.
    pub(crate) deaf: usize,
    pub(crate) version: SslVersion,
    /// The cipher suites that it knows; the usual ones if `None`.
    pub(crate) suites: Option<&'a str>,
}

impl<'a> Caller<'a> {
    pub(crate) fn knowing(root: &'a X509) -> Self {
        let version = SslVersion::DTLS1_2;
        Self { root, alpn: b"", local: None, deaf: 0, version, suites: None }
    }

    /// A session, or how the handshake failed.
    pub(crate) fn call(&self, server: SocketAddr) -> Result<Dtls, String> {
        let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
        context.set_verify(SslVerifyMode::PEER);
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(self.root.clone()).unwrap();
        context.set_cert_store(store.build());
        context.set_security_level(0);
        context.set_options(SslOptions::NO_QUERY_MTU);
        context.set_min_proto_version(Some(self.version)).unwrap();
        context.set_max_proto_version(Some(self.version)).unwrap();
        if let Some(suites) = self.suites {
            context.set_cipher_list(suites).unwrap();
        }
        if !self.alpn.is_empty() {
            context.set_alpn_protos(self.alpn).unwrap();
        }
        let mut ssl = Ssl::new(&context.build()).unwrap();
        ssl.set_mtu(1200).unwrap();
        let ip = if server.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { server.ip() };
        let socket = UdpSocket::bind(self.local.unwrap_or_else(|| (ip, 0).into())).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let deaf = (1 + self.deaf, self.deaf);
        let mut stream = SslStream::new(ssl, Wire { socket, deaf }).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match stream.connect() {
                Ok(()) => return Ok(Dtls { stream }),
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    if Instant::now() > deadline {
                        return Err("no answer".to_owned());
                    }
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// A session with a server.
pub(crate) struct Dtls {
    stream: SslStream<Wire>,
}

/// The datagrams of a session.
struct Wire {
    socket: UdpSocket,
    /// Of so many that come next the last so many are lost.
    deaf: (usize, usize),
}

impl Dtls {
    pub(crate) fn ssl(&self) -> &SslRef {
        self.stream.ssl()
    }

    /// The socket below, for what no session would send.
    pub(crate) fn socket(&self) -> &UdpSocket {
        &self.stream.get_ref().socket
    }
}

impl Association for Dtls {
    fn local_addr(&self) -> SocketAddr {
        self.socket().local_addr().unwrap()
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.ssl_write(message).map(drop).map_err(io::Error::other)
    }

    /// `UnexpectedEof` where the server has said close_notify.
    fn read(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 1 << 14];
        loop {
            match self.stream.ssl_read(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    if Instant::now() > deadline {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn finish(&mut self) {
        self.stream.shutdown().unwrap();
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.socket.recv(buffer)?;
            let (coming, lost) = self.deaf;
            self.deaf.0 = coming.saturating_sub(1);
            if coming > lost || coming == 0 {
                return Ok(length);
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A ClientHello that no OpenSSL stands behind: whole, with what a server needs to answer it.
pub(crate) fn hello(random: u8, cookie: &[u8]) -> Vec<u8> {
    let extensions: &[&[u8]] = &[
        // supported_groups: P-256. signature_algorithms: RSA and ECDSA with SHA-256.
        &[0, 10, 0, 4, 0, 2, 0, 23],
        &[0, 13, 0, 6, 0, 4, 4, 1, 4, 3],
    ];
    let extensions = extensions.concat();
    let suites = [0, 4, 0xc0, 0x2b, 0xc0, 0x2f];
    let (count, length) = ([cookie.len() as u8], [0, extensions.len() as u8]);
    let body: &[&[u8]] = &[
        &[0xfe, 0xfd],
        &[random; 32],
        &[0],
        &count,
        cookie,
        &suites,
        &[1, 0],
        &length,
        &extensions,
    ];
    let body = body.concat();
    let second = u8::from(!cookie.is_empty());
    let length = [0, 0, body.len() as u8];
    let message = [&[1], &length[..], &[0, second, 0, 0, 0], &length, &body].concat();
    let header = [22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, second, 0, message.len() as u8];
    [&header[..], &message].concat()
}

/// The cookie in a HelloVerifyRequest; `None` where this is none.
pub(crate) fn cookie_in(datagram: &[u8]) -> Option<Vec<u8>> {
    let is_one = datagram.first() == Some(&22) && datagram.get(13) == Some(&3);
    is_one.then(|| datagram[28..].to_vec())
}

/// A socket that nobody stands behind.
pub(crate) fn stranger(ip: IpAddr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}
