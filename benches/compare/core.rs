//! hairpin's core by itself, with many allocations and a clock that goes where it is told: what
//! expires after ten minutes of simulated time is measured in real time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hairpin::turn::acl::Acl;
use hairpin::turn::config::{Alternates, Credentials, Discovery, Limits, Relay, Software, User};
use hairpin::turn::{
    Action, Config, FiveTuple, Link, Moment, Now, Path, PeerAddr, RelayId, Server, Transport,
    Verdict,
};
use hairpin::wire::{AttributeType, Class, IntegrityKey, Message, MessageWriter, Method};

use crate::run::Result;

const REALM: &str = "bench";
const NAME: &str = "u";
const PASSWORD: &str = "p";
const LIFETIME_SECS: u64 = 600;
/// The second since 1970 at which the simulation begins.
const EPOCH: u64 = 1_790_000_000;
const CHANNEL: [u8; 4] = [0x40, 0, 0, 0];
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 3478);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(9, 0, 0, 1)), 7000);

/// A core with allocations.
pub(crate) struct Core {
    server: Server,
    millis: u64,
    paths: Vec<(Path, RelayId)>,
}

/// How a core's allocations ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) calls: u64,
    pub(crate) longest: Duration,
    pub(crate) total: Duration,
}

impl Core {
    /// One with so many allocations, each with a channel, that all end in the same second.
    pub(crate) fn with(allocations: u32) -> Result<Self> {
        let addresses = (0..=allocations / 15_000).map(|n| Ipv4Addr::new(203, 0, 113, 1 + n as u8));
        let addresses: Vec<IpAddr> = addresses.map(IpAddr::V4).collect();
        let user = User { name: NAME.to_owned(), password: PASSWORD.to_owned() };
        let config = Config {
            realm: REALM.to_owned(),
            credentials: Credentials { users: vec![user], ..Credentials::default() },
            relay: Relay {
                addresses: addresses.clone(),
                found: Vec::new(),
                external: Vec::new(),
                port_min: 49152,
                port_max: 65535,
                share: 0,
                shares: 1,
            },
            acl: Acl { own: addresses, ..Acl::default() },
            limits: Limits::default(),
            software: Software::default(),
            discovery: Discovery::default(),
            alternates: Alternates::default(),
        };
        let (server, paths) = (Server::new(config, [7; 32]), Vec::new());
        let mut core = Self { server, millis: 0, paths };
        (0..allocations).try_for_each(|number| core.allocate(number))?;
        Ok(core)
    }

    fn now(&self) -> Now {
        Now { moment: Moment::from_millis(self.millis), unix_secs: EPOCH + self.millis / 1000 }
    }

    fn allocate(&mut self, number: u32) -> Result<()> {
        let ip = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number / 20_000);
        let client = SocketAddr::new(ip.into(), 10_000 + (number % 20_000) as u16);
        let tuple = FiveTuple { transport: Transport::Udp, client, server: SERVER };
        let path = Path { link: Link(0), tuple };
        let key = IntegrityKey::long_term(NAME.as_bytes(), REALM.as_bytes(), PASSWORD.as_bytes());
        let udp = (AttributeType::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
        let (challenge, _) =
            self.ask(path, request(Method::ALLOCATE, std::slice::from_ref(&udp), None))?;
        let message = Message::parse(&challenge).map_err(|_| "the challenge is no message")?;
        let nonce = message.find(AttributeType::NONCE).ok_or("no nonce")?.to_vec();
        let (_, relay) = self.ask(path, request(Method::ALLOCATE, &[udp], Some((&key, &nonce))))?;
        self.paths.push((path, relay.ok_or("no relay was opened")?));
        let peer = hairpin::wire::address::encode(PEER, Some(&TRANSACTION)).as_bytes().to_vec();
        let channel = [
            (AttributeType::CHANNEL_NUMBER, CHANNEL.to_vec()),
            (AttributeType::XOR_PEER_ADDRESS, peer),
        ];
        self.ask(path, request(Method::CHANNEL_BIND, &channel, Some((&key, &nonce)))).map(drop)
    }

    /// The response, and the relay that was opened for it.
    fn ask(&mut self, path: Path, request: Vec<u8>) -> Result<(Vec<u8>, Option<RelayId>)> {
        let mut reply = [0; 1500];
        let mut response = match self.server.handle_client(self.now(), path, &request, &mut reply) {
            Verdict::Reply { len } => Some(reply[..len].to_vec()),
            _ => None,
        };
        let mut opened = None;
        while let Some(action) = self.server.poll_action() {
            match action {
                Action::OpenRelay { relay, local, .. } => {
                    opened = Some(relay);
                    self.server.handle_relay_opened(self.now(), relay, Ok(local));
                }
                Action::Send { bytes, .. } => response = Some(bytes.into_vec()),
                _ => {}
            }
        }
        let response = response.ok_or("the core does not answer")?;
        Ok((response, opened))
    }

    /// Nanoseconds for each of `packets` that go up and down over a hundred of the allocations,
    /// which lie as far apart as they can.
    pub(crate) fn relay_ns(&mut self, packets: u32) -> Result<f64> {
        let now = self.now();
        let mut packet = [0; 164];
        packet[..4].copy_from_slice(&[0x40, 0, 0, 160]);
        let mut reply = [0; 1500];
        let step = (self.paths.len() / 100).max(1);
        let mut relayed = 0;
        let began = Instant::now();
        for n in 0..packets as usize / 2 {
            let (path, relay) = self.paths[n % 100 * step % self.paths.len()];
            let up = self.server.handle_client(now, path, &packet, &mut reply);
            relayed += u32::from(matches!(up, Verdict::ToPeer { .. }));
            let down = self.server.handle_peer(now, relay, PeerAddr(PEER), packet.len() - 4);
            relayed += u32::from(matches!(down, Verdict::ToClient { .. }));
        }
        let each = began.elapsed().as_nanos() as f64 / f64::from(packets);
        if relayed == packets { Ok(each) } else { Err("the core does not relay".into()) }
    }

    /// Lets everything expire, the way a worker does: one call, and what it asks for, between two
    /// looks at its sockets.
    pub(crate) fn expire(mut self) -> Result<Ended> {
        self.millis += (LIFETIME_SECS + 1) * 1000;
        let now = self.now();
        let mut ended = Ended { calls: 0, longest: Duration::ZERO, total: Duration::ZERO };
        while self.server.poll_timeout().is_some_and(|due| due <= now.moment) {
            let began = Instant::now();
            self.server.handle_timeout(now);
            while self.server.poll_action().is_some() {}
            let took = began.elapsed();
            ended.calls += 1;
            ended.total += took;
            ended.longest = ended.longest.max(took);
        }
        if self.paths.iter().any(|(path, _)| self.server.has_allocation(&path.tuple)) {
            return Err("an allocation has outlived its time".into());
        }
        Ok(ended)
    }
}

const TRANSACTION: [u8; 16] = *b"\x21\x12\xa4\x42a transactio";

fn request(
    method: Method,
    attributes: &[(AttributeType, Vec<u8>)],
    signed: Option<(&IntegrityKey, &[u8])>,
) -> Vec<u8> {
    let mut buffer = vec![0; 1500];
    let mut writer = MessageWriter::new(&mut buffer, method, Class::Request, &TRANSACTION);
    for (kind, value) in attributes {
        writer.attribute(*kind, value);
    }
    if let Some((key, nonce)) = signed {
        writer.attribute(AttributeType::USERNAME, NAME.as_bytes());
        writer.attribute(AttributeType::REALM, REALM.as_bytes());
        writer.attribute(AttributeType::NONCE, nonce);
        writer.integrity(key);
    }
    let length = writer.finish().expect("it is short");
    buffer.truncate(length);
    buffer
}
