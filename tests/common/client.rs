//! A small TURN client that blocks: it asks, authenticates, and waits for what it names.
//!
//! It knows the RFCs and no server: every address, error and payload is checked by whoever uses
//! it, and whatever a server must never do (an answer from another address, a wrong integrity, a
//! message cut short) is a panic here.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hairpin::wire::address::{XorKey, encode};
use hairpin::wire::message::MAGIC_COOKIE;
use hairpin::wire::stream::frame_length;
use hairpin::wire::{
    AttributeType, ChannelData, ChannelNumber, Class, IntegrityKey, Kind, Message, MessageWriter,
    Method, kind_of,
};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long anything may take that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// After how long a request over UDP is sent again.
const RETRANSMIT: Duration = Duration::from_millis(500);
/// UDP, as REQUESTED-TRANSPORT has it.
const UDP: [u8; 4] = [17, 0, 0, 0];

/// What fills a request between its header and its credentials.
pub(crate) type Fill<'a> = &'a dyn Fn(&mut MessageWriter<'_>);

/// A client and what it has learnt.
pub(crate) struct Client {
    road: Road,
    user: String,
    password: String,
    /// What is signed with in place of the password's key.
    mac_key: Option<IntegrityKey>,
    session: Option<Session>,
    /// What came while something else was waited for.
    aside: VecDeque<Vec<u8>>,
    /// Every 401 and 438 so far.
    pub(crate) challenges: Vec<u16>,
}

/// What a challenge tells, and the key that follows from it.
struct Session {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: IntegrityKey,
}

/// How the client reaches the server.
enum Road {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tcp { stream: TcpStream, kept: Vec<u8> },
    Tls { stream: Box<TlsStream>, kept: Vec<u8> },
    Other(Box<dyn Association>),
}

/// A road of whole messages that may be lost, which another file builds.
pub(crate) trait Association {
    fn local_addr(&self) -> SocketAddr;
    /// Sends one message.
    fn write(&mut self, message: &[u8]) -> io::Result<()>;
    /// The next message, if it comes by then.
    fn read(&mut self, deadline: Instant) -> io::Result<Vec<u8>>;
    /// Says that nothing more will be sent.
    fn finish(&mut self);
}

/// A stream inside TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// By which message a peer's data came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A Data indication from this peer.
    Data(SocketAddr),
    /// ChannelData on this channel.
    Channel(u16),
}

/// A success response.
pub(crate) struct Answer(pub(crate) Vec<u8>);

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("the client has read it once")
    }

    pub(crate) fn address(&self, kind: AttributeType) -> SocketAddr {
        let address = self.message().xor_address(kind);
        address.unwrap_or_else(|| panic!("no {kind} in the answer")).expect("an address")
    }

    pub(crate) fn relayed(&self) -> SocketAddr {
        self.address(AttributeType::XOR_RELAYED_ADDRESS)
    }

    pub(crate) fn mapped(&self) -> SocketAddr {
        self.address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    pub(crate) fn lifetime(&self) -> u32 {
        let value = self.message().find(AttributeType::LIFETIME).expect("a LIFETIME");
        u32::from_be_bytes(value.try_into().expect("four bytes"))
    }
}

impl Client {
    /// A client over UDP, from any port of the same loopback address family.
    pub(crate) fn udp(server: SocketAddr) -> Self {
        let ip = if server.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { server.ip() };
        Self::udp_from(SocketAddr::new(ip, 0), server)
    }

    pub(crate) fn udp_from(local: SocketAddr, server: SocketAddr) -> Self {
        Self::new(Road::Udp { socket: UdpSocket::bind(local).expect("a UDP port"), server })
    }

    /// The same port of the client at another address of the server; one of both at a time.
    pub(crate) fn at_another(&self, server: SocketAddr) -> Self {
        let Road::Udp { socket, .. } = &self.road else { panic!("a TCP port is one connection's") };
        Self::new(Road::Udp { socket: socket.try_clone().expect("a second handle"), server })
    }

    /// A client over TCP.
    pub(crate) fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).expect("the server accepts");
        stream.set_nodelay(true).expect("an option of every TCP stream");
        Self::new(Road::Tcp { stream, kept: Vec::new() })
    }

    /// A client over TLS that asks for this name, if the handshake succeeds.
    pub(crate) fn try_tls(
        server: SocketAddr,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = name.to_owned().try_into().expect("a host name or an address");
        let mut tls = ClientConnection::new(config, name).expect("a configuration that holds");
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        let stream = Box::new(StreamOwned::new(tls, stream));
        Ok(Self::new(Road::Tls { stream, kept: Vec::new() }))
    }

    /// What its TLS has agreed on.
    pub(crate) fn tls(&self) -> &ClientConnection {
        let Road::Tls { stream, .. } = &self.road else { panic!("this client has no TLS") };
        &stream.conn
    }

    /// A client over any other road.
    pub(crate) fn over(association: impl Association + 'static) -> Self {
        Self::new(Road::Other(Box::new(association)))
    }

    fn new(road: Road) -> Self {
        let (user, password) = ("user1".to_owned(), "test".to_owned());
        let (aside, challenges) = (VecDeque::new(), Vec::new());
        Self { road, user, password, mac_key: None, session: None, aside, challenges }
    }

    /// The same client as somebody else.
    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        (self.user, self.password) = (name.to_owned(), password.to_owned());
        self
    }

    /// The socket of a client over UDP, for its options.
    pub(crate) fn socket(&self) -> &UdpSocket {
        match &self.road {
            Road::Udp { socket, .. } => socket,
            Road::Tcp { .. } | Road::Tls { .. } | Road::Other(_) => {
                panic!("only a client over UDP has one")
            }
        }
    }

    /// The same client with the key of a session (RFC 7635) instead of a password.
    pub(crate) fn bearing(mut self, kid: &str, mac_key: &[u8]) -> Self {
        (self.user, self.mac_key) = (kid.to_owned(), Some(IntegrityKey::from_bytes(mac_key)));
        self
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        match &self.road {
            Road::Udp { socket, .. } => socket.local_addr(),
            Road::Tcp { stream, .. } => stream.local_addr(),
            Road::Tls { stream, .. } => stream.sock.local_addr(),
            Road::Other(association) => Ok(association.local_addr()),
        }
        .expect("a socket in use has an address")
    }

    // Requests.

    /// Asks, with credentials where the server has told what they are made of, and once more where
    /// it does so now (RFC 8489 §9.2.5). An error response is an `Err` with its code.
    pub(crate) fn request(&mut self, method: Method, fill: Fill<'_>) -> Result<Answer, u16> {
        // A 401 and then a 438 may come before the answer, but no more than that.
        for _ in 0..3 {
            let request = self.signed(method, fill);
            let bytes = self.exchange(&request).expect("the server answers");
            let message = Message::parse(&bytes).expect("exchange() has seen a message");
            if message.class() == Class::Success {
                if let Some(session) = &self.session
                    && method != Method::BINDING
                {
                    assert!(session.key.verifies(&message), "the answer's integrity is wrong");
                }
                return Ok(Answer(bytes));
            }
            let error = message.find(AttributeType::ERROR_CODE).expect("an error says which");
            let code = u16::from(error[2]) * 100 + u16::from(error[3]);
            let is_news = code == 438 || (code == 401 && self.session.is_none());
            if !is_news {
                return Err(code);
            }
            let realm = message.find(AttributeType::REALM).expect("a challenge has a realm");
            let nonce = message.find(AttributeType::NONCE).expect("a challenge has a nonce");
            let key = self.mac_key.clone().unwrap_or_else(|| {
                IntegrityKey::long_term(self.user.as_bytes(), realm, self.password.as_bytes())
            });
            self.session = Some(Session { realm: realm.into(), nonce: nonce.into(), key });
            self.challenges.push(code);
        }
        panic!("the server does not stop to challenge: {:?}", self.challenges);
    }

    /// A request as it would be sent now.
    pub(crate) fn signed(&self, method: Method, fill: Fill<'_>) -> Vec<u8> {
        write(method, Class::Request, &|writer| {
            fill(writer);
            if let Some(session) = &self.session
                && method != Method::BINDING
            {
                writer.attribute(AttributeType::USERNAME, self.user.as_bytes());
                writer.attribute(AttributeType::REALM, &session.realm);
                writer.attribute(AttributeType::NONCE, &session.nonce);
                writer.integrity(&session.key);
            }
        })
    }

    /// Sends a request and waits for the response to it; what else comes is set aside.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.write(request)?;
            let mut again = deadline;
            if matches!(self.road, Road::Udp { .. } | Road::Other(_)) {
                again = again.min(Instant::now() + RETRANSMIT);
            }
            loop {
                match self.road.read(again) {
                    Ok(bytes) if answers(&bytes, request) => return Ok(bytes),
                    // The answer to what was sent twice comes twice.
                    Ok(bytes) if is_response(&bytes) || is_icmp(&bytes) => {}
                    Ok(bytes) => self.aside.push_back(bytes),
                    Err(error) if is_timeout(&error) && Instant::now() < deadline => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }

    pub(crate) fn try_binding(&mut self) -> io::Result<SocketAddr> {
        let request = write(Method::BINDING, Class::Request, &|_| {});
        self.exchange(&request).map(|bytes| Answer(bytes).mapped())
    }

    /// Waits until the server has done with everything that had reached it before: two answers
    /// follow each other only when what came with the first has left.
    pub(crate) fn fence(&mut self) {
        for _ in 0..2 {
            self.try_binding().expect("the server answers");
        }
    }

    pub(crate) fn allocate_with(&mut self, fill: Fill<'_>) -> Result<Answer, u16> {
        self.request(Method::ALLOCATE, &|writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &UDP);
            fill(writer);
        })
    }

    pub(crate) fn try_allocate(&mut self) -> Result<SocketAddr, u16> {
        self.allocate_with(&|_| {}).map(|answer| answer.relayed())
    }

    /// The relayed address of a new allocation.
    pub(crate) fn allocate(&mut self) -> SocketAddr {
        self.try_allocate().expect("an allocation")
    }

    /// The relayed address of a new allocation, of the family of `like`.
    pub(crate) fn allocate_like(&mut self, like: IpAddr) -> SocketAddr {
        let family = if like.is_ipv4() { 1 } else { 2 };
        let kind = AttributeType::REQUESTED_ADDRESS_FAMILY;
        let answer = self.allocate_with(&|writer| {
            writer.attribute(kind, &[family, 0, 0, 0]);
        });
        answer.expect("an allocation").relayed()
    }

    /// The relayed address of a new allocation for TCP between server and peers, of the family of
    /// `like`.
    pub(crate) fn try_allocate_tcp(&mut self, like: IpAddr) -> Result<SocketAddr, u16> {
        let family = if like.is_ipv4() { 1 } else { 2 };
        let answer = self.request(Method::ALLOCATE, &|writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
            writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        });
        answer.map(|answer| answer.relayed())
    }

    /// The CONNECTION-ID of a new connection to a peer.
    pub(crate) fn connect(&mut self, peer: SocketAddr) -> Result<[u8; 4], u16> {
        let answer = self.request(Method::CONNECT, &|writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })?;
        Ok(connection_id(&answer.message()))
    }

    /// The next ConnectionAttempt: which peer, and the CONNECTION-ID.
    pub(crate) fn attempted(&mut self) -> (SocketAddr, [u8; 4]) {
        let bytes = match self.aside.pop_front() {
            Some(bytes) => bytes,
            None => self.read().expect("a ConnectionAttempt"),
        };
        let message = Message::parse(&bytes).expect("a message");
        let kind = (message.method(), message.class());
        assert_eq!(kind, (Method::CONNECTION_ATTEMPT, Class::Indication));
        let peer = message.xor_address(AttributeType::XOR_PEER_ADDRESS).expect("a peer");
        (peer.expect("an address"), connection_id(&message))
    }

    /// ConnectionBind; then the stream carries data as it is.
    pub(crate) fn bind_connection(&mut self, id: [u8; 4]) -> Result<(), u16> {
        let answer = self.request(Method::CONNECTION_BIND, &|writer| {
            writer.attribute(AttributeType::CONNECTION_ID, &id);
        });
        answer.map(drop)
    }

    /// The stream of a client whose connection is bound, and what was read beyond the answer.
    pub(crate) fn into_stream(self) -> (TcpStream, Vec<u8>) {
        let Road::Tcp { stream, kept } = self.road else { panic!("only a stream can be bound") };
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        (stream, kept)
    }

    /// The same of a client over TLS.
    pub(crate) fn into_tls_stream(self) -> (TlsStream, Vec<u8>) {
        let Road::Tls { stream, kept } = self.road else { panic!("this client has no TLS") };
        stream.sock.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        (*stream, kept)
    }

    /// The lifetime that a Refresh gets.
    pub(crate) fn refresh(&mut self, secs: u32) -> Result<u32, u16> {
        let answer = self.request(Method::REFRESH, &|writer| {
            writer.attribute(AttributeType::LIFETIME, &secs.to_be_bytes());
        });
        answer.map(|answer| answer.lifetime())
    }

    pub(crate) fn try_permit(&mut self, peer: SocketAddr) -> Result<(), u16> {
        let permitted = self.request(Method::CREATE_PERMISSION, &|writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        permitted.map(drop)
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) {
        self.try_permit(peer).expect("a permission");
    }

    pub(crate) fn try_bind(&mut self, channel: u16, peer: SocketAddr) -> Result<(), u16> {
        let [high, low] = channel.to_be_bytes();
        let bound = self.request(Method::CHANNEL_BIND, &|writer| {
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        bound.map(drop)
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr) {
        self.try_bind(channel, peer).expect("a channel");
    }

    // Data.

    /// Sends to a peer by a Send indication.
    pub(crate) fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let message = write(Method::SEND, Class::Indication, &|writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.attribute(AttributeType::DATA, data);
        });
        self.write(&message).expect("the road to the server is open");
    }

    /// Sends to a peer by ChannelData, padded where it has to be (RFC 8656 §12.5).
    pub(crate) fn channel_data(&mut self, channel: u16, data: &[u8]) {
        let length = u16::try_from(data.len()).expect("a length that ChannelData can say");
        let mut message = [channel.to_be_bytes(), length.to_be_bytes()].concat();
        message.extend_from_slice(data);
        if !matches!(self.road, Road::Udp { .. } | Road::Other(_)) {
            message.resize(message.len().next_multiple_of(4), 0);
        }
        self.write(&message).expect("the road to the server is open");
    }

    /// Data of a peer, and how it came.
    pub(crate) fn receive(&mut self) -> (Via, Vec<u8>) {
        if let Some(message) = self.aside.pop_front() {
            return peer_data(&message);
        }
        loop {
            let message = self.read().expect("data of a peer");
            if !is_response(&message) && !is_icmp(&message) {
                return peer_data(&message);
            }
        }
    }

    /// Whether a peer's data is there; call [`Client::fence`] before.
    pub(crate) fn has_data(&self) -> bool {
        !self.aside.is_empty()
    }

    /// Sends these bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.road {
            Road::Udp { socket, server } => socket.send_to(bytes, *server).map(drop),
            Road::Tcp { stream, .. } => stream.write_all(bytes),
            Road::Tls { stream, .. } => stream.write_all(bytes),
            Road::Other(association) => association.write(bytes),
        }
    }

    /// Says, over TCP, that nothing more will be sent.
    pub(crate) fn finish(&self) {
        let Road::Tcp { stream, .. } = &self.road else { panic!("only a stream has an end") };
        stream.shutdown(Shutdown::Write).expect("the stream is open");
    }

    /// The road of a client that has come by another.
    pub(crate) fn into_other(self) -> Box<dyn Association> {
        let Road::Other(association) = self.road else { panic!("this is no other road") };
        association
    }

    /// Ends a TCP connection as a crash would.
    pub(crate) fn reset(self) {
        let Road::Tcp { stream, .. } = self.road else { panic!("only a stream can be reset") };
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).expect("an option of every TCP stream");
    }

    /// The next message, whatever it is.
    pub(crate) fn read(&mut self) -> io::Result<Vec<u8>> {
        self.road.read(Instant::now() + PATIENCE)
    }
}

impl Road {
    /// The next whole message, if it comes by then.
    fn read(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        loop {
            if let Self::Tcp { kept, .. } | Self::Tls { kept, .. } = self
                && let Some(length) = frame_length(kept).expect("the server stays in step")
            {
                return Ok(kept.drain(..length).collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_micros(1));
            match self {
                Self::Udp { socket, server } => {
                    socket.set_read_timeout(Some(left))?;
                    let (length, from) = socket.recv_from(&mut buffer)?;
                    assert_eq!(from, *server, "an answer comes from where it was asked");
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Self::Other(association) => return association.read(deadline),
                Self::Tcp { stream, kept } => {
                    stream.set_read_timeout(Some(left))?;
                    match stream.read(&mut buffer)? {
                        0 => return Err(ErrorKind::UnexpectedEof.into()),
                        length => kept.extend_from_slice(&buffer[..length]),
                    }
                }
                Self::Tls { stream, kept } => {
                    stream.sock.set_read_timeout(Some(left))?;
                    match stream.read(&mut buffer)? {
                        0 => return Err(ErrorKind::UnexpectedEof.into()),
                        length => kept.extend_from_slice(&buffer[..length]),
                    }
                }
            }
        }
    }
}

fn connection_id(message: &Message<'_>) -> [u8; 4] {
    let id = message.find(AttributeType::CONNECTION_ID).expect("a CONNECTION-ID");
    id.try_into().expect("four bytes")
}

/// A message with a new transaction id.
pub(crate) fn write(method: Method, class: Class, fill: Fill<'_>) -> Vec<u8> {
    let mut transaction: XorKey = rand::random();
    transaction[..4].copy_from_slice(&MAGIC_COOKIE);
    let mut buffer = vec![0; 1 << 17];
    let mut writer = MessageWriter::new(&mut buffer, method, class, &transaction);
    fill(&mut writer);
    let length = writer.finish().expect("a message that its length field can say");
    buffer.truncate(length);
    buffer
}

/// The longest payload of a Send or Data indication within `room` bytes.
pub(crate) fn longest_data(peer: SocketAddr, room: usize) -> usize {
    let address = encode(peer, None).as_bytes().len();
    (room - 20 - 4 - address - 4) / 4 * 4
}

/// A socket of somebody who speaks no STUN.
pub(crate) fn peer(ip: impl Into<IpAddr>) -> UdpSocket {
    let socket = UdpSocket::bind((ip.into(), 0)).expect("a UDP port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// The next datagram and its source.
pub(crate) fn hear(peer: &UdpSocket) -> (SocketAddr, Vec<u8>) {
    let mut buffer = vec![0; 65536];
    let (length, from) = peer.recv_from(&mut buffer).expect("a datagram for the peer");
    buffer.truncate(length);
    (from, buffer)
}

/// Whether a datagram waits.
pub(crate) fn has_heard(peer: &UdpSocket) -> bool {
    peer.set_nonblocking(true).expect("an option of every socket");
    let heard = peer.peek_from(&mut [0; 1]).is_ok();
    peer.set_nonblocking(false).expect("an option of every socket");
    heard
}

/// Asks again and again until the answer is yes, within [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Whether `bytes` is the response to `request`.
fn answers(bytes: &[u8], request: &[u8]) -> bool {
    is_response(bytes) && bytes[4..20] == request[4..20]
}

fn is_response(bytes: &[u8]) -> bool {
    Message::parse(bytes)
        .is_ok_and(|message| matches!(message.class(), Class::Success | Class::Error))
}

/// Whether it tells of an ICMP error, which may come at any time (RFC 8656 §11.5).
fn is_icmp(bytes: &[u8]) -> bool {
    Message::parse(bytes).is_ok_and(|message| message.has(AttributeType::ICMP))
}

fn peer_data(bytes: &[u8]) -> (Via, Vec<u8>) {
    if kind_of(bytes) == Kind::ChannelData {
        let message = ChannelData::parse(bytes).expect("whole ChannelData");
        assert!(bytes.len() - 4 - message.data.len() < 4, "more than padding behind ChannelData");
        return (Via::Channel(ChannelNumber::get(message.channel)), message.data.to_vec());
    }
    let message = Message::parse(bytes).expect("a message");
    assert_eq!((message.method(), message.class()), (Method::DATA, Class::Indication));
    let peer = message.xor_address(AttributeType::XOR_PEER_ADDRESS).expect("a peer");
    let data = message.find(AttributeType::DATA).expect("data");
    (Via::Data(peer.expect("an address")), data.to_vec())
}
