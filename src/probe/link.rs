//! One way to a server, asked and listened to with a deadline.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::client::uri::Carrier;
use crate::probe::failure::Failure;
use crate::wire::stream::{FRAME_MAX, frame_length};

/// The first wait for an answer over UDP; each further one is twice as long (RFC 8489 §6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// Messages that are kept for whoever asks for them later.
const STRAYS_MAX: usize = 64;

/// The clock of a probe.
#[expect(clippy::disallowed_methods, reason = "this is where a probe's clock is read")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// How long it is since then, in milliseconds.
pub(super) fn ms_since(then: Instant) -> f64 {
    let ms = now().saturating_duration_since(then).as_secs_f64() * 1000.0;
    (ms * 100.0).round() / 100.0
}

/// A connection, whatever is between it and its bytes.
pub(super) trait Stream: Read + Write + Send {
    /// How long a read may take.
    fn set_patience(&self, patience: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(patience))
    }
}

/// A way to a server.
pub(super) struct Link {
    port: Port,
    carrier: Carrier,
    local: SocketAddr,
    patience: Duration,
    /// What came while an answer was waited for, and was none.
    strays: VecDeque<Vec<u8>>,
}

enum Port {
    Udp(UdpSocket),
    Stream { stream: Box<dyn Stream>, inbox: Vec<u8> },
}

/// An answer, and how long it took since the request was sent first: to which of several it is, if
/// it was repeated, nothing tells.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) ms: f64,
}

impl Link {
    /// A UDP socket that hears from the server only, and of what the network says about it.
    pub(super) fn udp(server: SocketAddr, patience: Duration) -> io::Result<Self> {
        let socket = UdpSocket::bind(unspecified(server))?;
        socket.connect(server)?;
        let local = socket.local_addr()?;
        Ok(Self::new(Port::Udp(socket), Carrier::Udp, local, patience))
    }

    /// A connection that is up.
    pub(super) fn stream(
        stream: Box<dyn Stream>,
        carrier: Carrier,
        local: SocketAddr,
        patience: Duration,
    ) -> Self {
        Self::new(Port::Stream { stream, inbox: Vec::new() }, carrier, local, patience)
    }

    fn new(port: Port, carrier: Carrier, local: SocketAddr, patience: Duration) -> Self {
        Self { port, carrier, local, patience, strays: VecDeque::new() }
    }

    /// Our own address.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Sends a request and waits for its answer. Over UDP it is sent again while there is none.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let began = now();
        let deadline = began + self.patience;
        let mut wait = match self.port {
            Port::Udp(_) => FIRST_WAIT,
            Port::Stream { .. } => self.patience,
        };
        let is_answer = |bytes: &[u8]| {
            bytes.len() >= 20 && bytes[0] & 0xC1 == 1 && bytes[4..20] == request[4..20]
        };
        loop {
            let next = (now() + wait).min(deadline);
            self.send(request)?;
            while let Some(bytes) = self.receive(next)? {
                if is_answer(&bytes) {
                    return Ok(Answer { bytes, ms: ms_since(began) });
                }
                if self.strays.len() < STRAYS_MAX {
                    self.strays.push_back(bytes);
                }
            }
            if now() >= deadline {
                return Err(match &self.port {
                    Port::Stream { inbox, .. } if !inbox.is_empty() => {
                        Failure::network(&ErrorKind::InvalidData.into(), self.carrier)
                    }
                    _ => Failure::silence(self.carrier),
                });
            }
            wait *= 2;
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        let sent = match &mut self.port {
            Port::Udp(socket) => socket.send(message).map(drop),
            Port::Stream { stream, .. } => stream.write_all(message).and_then(|()| stream.flush()),
        };
        sent.map_err(|error| Failure::network(&error, self.carrier))
    }

    /// The next message that nobody has asked for; `None` where none came in time.
    pub(super) fn stray(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        match self.strays.pop_front() {
            Some(stray) => Ok(Some(stray)),
            None => self.receive(deadline),
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Ok(None);
            }
            match self.port.read(left) {
                Ok(Some(bytes)) => return Ok(Some(bytes)),
                Ok(None) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(Failure::network(&error, self.carrier)),
            }
        }
    }
}

impl Port {
    /// Reads once; `None` where that was no whole message.
    fn read(&mut self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                let mut bytes = vec![0; FRAME_MAX];
                let length = socket.recv(&mut bytes)?;
                bytes.truncate(length);
                Ok(Some(bytes))
            }
            Self::Stream { stream, inbox } => {
                let whole = |inbox: &[u8]| {
                    frame_length(inbox).map_err(|_| io::Error::from(ErrorKind::InvalidData))
                };
                if let Some(length) = whole(inbox)? {
                    return Ok(Some(inbox.drain(..length).collect()));
                }
                stream.set_patience(patience)?;
                let mut bytes = [0; 4096];
                match stream.read(&mut bytes)? {
                    0 => Err(ErrorKind::UnexpectedEof.into()),
                    length => {
                        inbox.extend_from_slice(&bytes[..length]);
                        Ok(whole(inbox)?.map(|length| inbox.drain(..length).collect()))
                    }
                }
            }
        }
    }
}

/// Every address of the same family, and any port.
pub(super) fn unspecified(like: SocketAddr) -> SocketAddr {
    let any = if like.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    any.parse().expect("an address")
}

/// The address of ours that leads to the server. Nobody is asked: where this machine has no route
/// that is an error.
pub(super) fn local_ip(server: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(unspecified(server))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?} from {})", self.carrier, self.local)
    }
}
