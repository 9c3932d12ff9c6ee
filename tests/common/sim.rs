//! A world around the core: clients that know how to speak TURN, peers, time, and a shell whose
//! sockets are a set of addresses. After each step the core's invariants are checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use hairpin::turn::acl::Acl;
use hairpin::turn::config::{Alternates, Credentials, Discovery, Limits, Relay, Software, User};
use hairpin::turn::stats::Drop;
use hairpin::turn::{
    Action, Config, ConnectError, ConnectionId, CoreId, FiveTuple, Lifetime, Link, LoginFailure,
    Moment, Now, OpenError, Path, PeerAddr, RelayId, RelayedAddr, Reservation, ReservationToken,
    Server, Stats, Transport, Username, Verdict,
};
use hairpin::wire::{AttributeType, ChannelData, Class, ErrorCode, Icmp, IntegrityKey, Method};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

use super::packet::{Packet, Response, addr};
use super::{TCP, UDP};

pub(crate) const REALM: &str = "example.org";
pub(crate) const SECRET: &str = "a shared secret";
/// The second since 1970 at which each simulation begins.
pub(crate) const EPOCH: u64 = 1_790_000_000;
pub(crate) const SERVER_V4: &str = "8.0.0.1:3478";
pub(crate) const SERVER_V6: &str = "[2600:8::1]:3478";

/// Seconds, in the milliseconds of the simulation.
pub(crate) const fn secs(secs: u64) -> u64 {
    secs * 1000
}

/// A client of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client(pub(crate) usize);

#[derive(Debug)]
struct ClientState {
    core: usize,
    path: Path,
    user: String,
    key: IntegrityKey,
    nonce: Option<Vec<u8>>,
    relayed: Vec<SocketAddr>,
}

/// A request for a socket that the shell has not answered.
#[derive(Clone, Debug)]
struct Pending {
    core: usize,
    action: Action,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Nothing,
    Reply(Vec<u8>),
    Elsewhere { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    ToPeer { from: SocketAddr, to: SocketAddr, payload: Vec<u8>, dont_fragment: bool },
    ToClient { path: Path, bytes: Vec<u8> },
}

impl Out {
    #[track_caller]
    pub(crate) fn dropped(self) {
        assert_eq!(self, Self::Nothing);
    }

    /// The packet goes to this peer; gives the payload.
    #[track_caller]
    pub(crate) fn reaches(self, peer: &str) -> Vec<u8> {
        match self {
            Self::ToPeer { to, payload, .. } => {
                assert_eq!(to, addr(peer));
                payload
            }
            other => panic!("not on its way to {peer}: {other:?}"),
        }
    }

    /// The packet goes to the client in a Data indication from this peer; gives the payload.
    #[track_caller]
    pub(crate) fn arrives_from(self, peer: &str) -> Vec<u8> {
        let Self::ToClient { bytes, .. } = self else { panic!("not to a client: {self:?}") };
        let response = Response::read(&bytes);
        assert_eq!((response.class, response.method), (Class::Indication, Method::DATA.get()));
        assert_eq!(response.addresses(AttributeType::XOR_PEER_ADDRESS), [addr(peer)]);
        response.get(AttributeType::DATA).to_vec()
    }

    /// The client hears of an ICMP error about this peer; gives the attribute's value.
    #[track_caller]
    pub(crate) fn tells_of(self, peer: &str) -> Vec<u8> {
        let Self::ToClient { bytes, .. } = self else { panic!("not to a client: {self:?}") };
        let response = Response::read(&bytes);
        assert_eq!((response.class, response.method), (Class::Indication, Method::DATA.get()));
        assert_eq!(response.addresses(AttributeType::XOR_PEER_ADDRESS), [addr(peer)]);
        assert_eq!(response.find(AttributeType::DATA), None);
        response.get(AttributeType::ICMP).to_vec()
    }

    /// The packet goes to the client on this channel; gives the payload.
    #[track_caller]
    pub(crate) fn arrives_on(self, channel: u16) -> Vec<u8> {
        let Self::ToClient { bytes, path } = self else { panic!("not to a client: {self:?}") };
        let data = ChannelData::parse(&bytes).expect("ChannelData");
        assert_eq!(data.channel.get(), channel);
        let unpadded = 4 + data.data.len();
        let length =
            if path.tuple.transport.is_stream() { unpadded.next_multiple_of(4) } else { unpadded };
        assert_eq!(bytes.len(), length);
        assert!(bytes[unpadded..].iter().all(|byte| *byte == 0));
        data.data.to_vec()
    }
}

/// What a client hears after a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) response: Option<Response>,
    /// Whether the integrity is the client's; `None` where there is none.
    pub(crate) authentic: Option<bool>,
}

impl Answer {
    /// A success, signed with the client's key.
    #[track_caller]
    pub(crate) fn success(self) -> Response {
        let response = self.response.expect("an answer");
        assert_eq!(response.class, Class::Success, "refused with {:?}", response.code());
        assert_eq!(self.authentic, Some(true), "a success is signed");
        response
    }

    /// An error with this code; signed where the request had been authenticated.
    #[track_caller]
    pub(crate) fn rejected(self, code: u16) -> Response {
        let response = self.response.expect("an answer");
        assert_eq!(response.class, Class::Error, "not refused with {code}");
        assert_eq!(response.code(), Some(code));
        if ![400, 401, 420, 438].contains(&code) {
            assert_eq!(self.authentic, Some(true), "{code} answers an authenticated request");
        }
        assert_ne!(self.authentic, Some(false), "{code} is signed with another key");
        response
    }

    #[track_caller]
    pub(crate) fn nothing(self) {
        assert!(self.response.is_none(), "{:?}", self.response);
    }
}

/// Cores, clients, the shell between them and the clock.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) cores: Vec<Server>,
    millis: u64,
    clients: Vec<ClientState>,
    next_transaction: u64,
    /// The sockets of each core.
    pub(crate) sockets: BTreeMap<(usize, RelayId), SocketAddr>,
    /// The listeners of each core.
    pub(crate) listeners: BTreeMap<(usize, RelayId), SocketAddr>,
    /// The connections with peers of each core, and the client's that each is joined to.
    pub(crate) connections: BTreeMap<(usize, ConnectionId), Option<Path>>,
    /// Connects that no peer has answered, in the order in which they were asked for.
    pub(crate) connecting: VecDeque<(usize, ConnectionId, SocketAddr, SocketAddr)>,
    /// Whether a ConnectionBind reaches no core but the one that it came to.
    pub(crate) cut_off: bool,
    /// Sockets held for whoever shows the token.
    pub(crate) shelf: BTreeMap<ReservationToken, (SocketAddr, Reservation)>,
    /// Ports that some other program on the host has.
    pub(crate) foreign: BTreeSet<SocketAddr>,
    /// What the next requests for a socket fail with.
    pub(crate) failures: VecDeque<OpenError>,
    /// Whether requests for sockets wait for [`Sim::open_pending`].
    pub(crate) slow_shell: bool,
    pending: VecDeque<Pending>,
    pub(crate) quota: usize,
    pub(crate) charged: BTreeMap<Username, usize>,
    /// What the cores have sent on their own account.
    pub(crate) outbox: VecDeque<(Path, Vec<u8>)>,
    /// Every action, as it came.
    pub(crate) actions: Vec<Action>,
    /// Who was refused by name.
    pub(crate) refused: Vec<(Path, Username, LoginFailure)>,
    /// Every verdict's bytes and every action, as text: what a deterministic core repeats.
    pub(crate) journal: Option<Vec<String>>,
    /// Room for replies.
    pub(crate) reply_room: usize,
    /// Packets that one core has passed on to another.
    pub(crate) passed_on: u64,
}

/// The settings of a simulated server.
pub(crate) fn config() -> Config {
    let user = |name: &str, password: &str| User { name: name.into(), password: password.into() };
    let own: Vec<IpAddr> = vec![addr(SERVER_V4).ip(), addr(SERVER_V6).ip()];
    Config {
        realm: REALM.into(),
        credentials: Credentials {
            users: vec![user("alice", "wonderland"), user("bob", "builder")],
            secrets: vec!["an older secret".into(), SECRET.into()],
            username_anonymity: true,
            third_party: None,
            nonce_key: [7; 32],
        },
        relay: Relay {
            addresses: own.clone(),
            found: vec![],
            external: vec![],
            port_min: 49152,
            port_max: 65535,
            share: 0,
            shares: 1,
        },
        acl: Acl { allow: vec![], deny: vec![], own, listening_ports: vec![3478, 5349] },
        limits: Limits::default(),
        software: Software::default(),
        discovery: Discovery::default(),
        alternates: Alternates::default(),
    }
}

/// The password of a time-limited username (RFC 8656 does not say; this is what everybody does).
pub(crate) fn time_limited_password(secret: &str, username: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(username.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}

/// The CONNECTION-ID of a message.
pub(crate) fn connection_id(message: &Response) -> ConnectionId {
    let id = message.get(AttributeType::CONNECTION_ID).try_into().expect("four bytes");
    ConnectionId(u32::from_be_bytes(id))
}

impl Sim {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// One core with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::of(vec![Server::new(config, [1; 32])])
    }

    /// Several cores that share the ports.
    pub(crate) fn cores(count: u16, seed: u8, change: impl Fn(&mut Config)) -> Self {
        let core = |share| {
            let mut config = config();
            (config.relay.share, config.relay.shares) = (share, count);
            change(&mut config);
            Server::new(config, [seed.wrapping_add(share as u8); 32])
        };
        Self::of((0..count).map(core).collect())
    }

    pub(crate) fn of(cores: Vec<Server>) -> Self {
        Self {
            cores,
            millis: 1000,
            clients: Vec::new(),
            next_transaction: 1,
            sockets: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            connecting: VecDeque::new(),
            cut_off: false,
            shelf: BTreeMap::new(),
            foreign: BTreeSet::new(),
            failures: VecDeque::new(),
            slow_shell: false,
            pending: VecDeque::new(),
            quota: usize::MAX,
            charged: BTreeMap::new(),
            outbox: VecDeque::new(),
            actions: Vec::new(),
            refused: Vec::new(),
            journal: None,
            reply_room: 1500,
            passed_on: 0,
        }
    }

    // ---- who there is

    /// A client of the first core over UDP, whose user is alice.
    pub(crate) fn client(&mut self, address: &str) -> Client {
        self.client_on(0, Transport::Udp, address)
    }

    pub(crate) fn tcp_client(&mut self, address: &str) -> Client {
        self.client_on(0, Transport::Tcp, address)
    }

    pub(crate) fn client_on(&mut self, core: usize, transport: Transport, address: &str) -> Client {
        let client = addr(address);
        let server = addr(if client.is_ipv4() { SERVER_V4 } else { SERVER_V6 });
        self.client_at(core, FiveTuple { transport, client, server })
    }

    pub(crate) fn client_at(&mut self, core: usize, tuple: FiveTuple) -> Client {
        let link = Link(self.clients.len() as u32);
        self.clients.push(ClientState {
            core,
            path: Path { link, tuple },
            user: String::new(),
            key: IntegrityKey::from_bytes(b""),
            nonce: None,
            relayed: Vec::new(),
        });
        let client = Client(self.clients.len() - 1);
        self.log_in(client, "alice", "wonderland");
        client
    }

    /// Gives a client other credentials.
    pub(crate) fn log_in(&mut self, client: Client, user: &str, password: &str) {
        let state = &mut self.clients[client.0];
        state.user = user.into();
        state.key = IntegrityKey::long_term(user.as_bytes(), REALM.as_bytes(), password.as_bytes());
    }

    /// Has a client sign with a key that is no password's.
    pub(crate) fn log_in_by_key(&mut self, client: Client, user: &str, key: IntegrityKey) {
        let state = &mut self.clients[client.0];
        (state.user, state.key) = (user.into(), key);
    }

    /// Gives a client credentials that end after this many seconds.
    pub(crate) fn log_in_for(&mut self, client: Client, lifetime: u64, name: &str) {
        let user = format!("{}:{name}", self.unix_secs() + lifetime);
        self.log_in(client, &user, &time_limited_password(SECRET, &user));
    }

    pub(crate) fn path(&self, client: Client) -> Path {
        self.clients[client.0].path
    }

    pub(crate) fn key(&self, client: Client) -> &IntegrityKey {
        &self.clients[client.0].key
    }

    pub(crate) fn user(&self, client: Client) -> &str {
        &self.clients[client.0].user
    }

    pub(crate) fn core_of(&self, client: Client) -> usize {
        self.clients[client.0].core
    }

    /// The last nonce that the client was told.
    pub(crate) fn nonce(&self, client: Client) -> &[u8] {
        self.clients[client.0].nonce.as_deref().unwrap_or_default()
    }

    /// The relayed addresses that the client was told.
    pub(crate) fn relayed(&self, client: Client) -> Vec<SocketAddr> {
        self.clients[client.0].relayed.clone()
    }

    /// The first core's numbers.
    pub(crate) fn stats(&self) -> Stats {
        self.cores[0].stats()
    }

    pub(crate) fn drops(&self, reason: Drop) -> u64 {
        self.stats().drops(reason)
    }

    pub(crate) fn errors(&self, code: ErrorCode) -> u64 {
        self.stats().errors(code)
    }

    // ---- time

    pub(crate) fn now(&self) -> Now {
        Now { moment: Moment::from_millis(self.millis), unix_secs: self.unix_secs() }
    }

    pub(crate) fn millis(&self) -> u64 {
        self.millis
    }

    pub(crate) fn unix_secs(&self) -> u64 {
        EPOCH + self.millis / 1000
    }

    /// Lets time pass, timers served when they are due.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.millis + millis;
        loop {
            let due =
                self.cores.iter().enumerate().filter_map(|(i, core)| {
                    core.poll_timeout().map(|moment| (moment.as_millis(), i))
                });
            let Some((at, core)) = due.min().filter(|(at, _)| *at <= end) else { break };
            self.millis = self.millis.max(at);
            let now = self.now();
            self.cores[core].handle_timeout(now);
            self.settle(core);
        }
        self.millis = end;
    }

    /// Lets time pass for a shell that is late: no timer is served.
    pub(crate) fn pass_without_timers(&mut self, millis: u64) {
        self.millis += millis;
    }

    // ---- the shell

    /// What the first core asks for, where a test has called it by itself.
    pub(crate) fn do_actions(&mut self) {
        self.act(0);
    }

    pub(crate) fn settle(&mut self, core: usize) {
        self.act(core);
        self.cores[core].check_invariants();
    }

    /// The operator ends an allocation; whether it was there.
    pub(crate) fn revoke(&mut self, core: usize, id: u64) -> bool {
        let now = self.now();
        let was_there = self.cores[core].revoke(now, id);
        self.settle(core);
        was_there
    }

    /// Does what the core asks for, until it asks for nothing more.
    fn act(&mut self, core: usize) {
        while let Some(action) = self.cores[core].poll_action() {
            if let Some(journal) = &mut self.journal {
                journal.push(format!("{core} {action:?}"));
            }
            if let Action::LoginFailed { path, user, why } = action {
                self.refused.push((path, user, why));
                continue;
            }
            self.actions.push(action.clone());
            match action {
                Action::LoginFailed { .. } => unreachable!("it was put aside"),
                Action::Send { path, bytes } => self.outbox.push_back((path, bytes.into())),
                Action::OpenRelay { .. }
                | Action::OpenListener { .. }
                | Action::TakeReserved { .. }
                    if self.slow_shell =>
                {
                    self.pending.push_back(Pending { core, action });
                }
                Action::OpenRelay { .. }
                | Action::OpenListener { .. }
                | Action::TakeReserved { .. } => self.open(core, action),
                Action::CloseRelay { relay } => {
                    if let Some(gone) = self.listeners.remove(&(core, relay)) {
                        self.announce_listener(core, gone, false);
                        continue;
                    }
                    let gone = self.sockets.remove(&(core, relay)).expect("it was open");
                    self.announce(core, gone, false);
                }
                Action::Connect { connection, relay, peer } => {
                    let from = *self.listeners.get(&(core, relay)).expect("from a listener");
                    assert_eq!(self.connections.insert((core, connection), None), None);
                    self.connecting.push_back((core, connection, from, peer.0));
                }
                Action::Bind { path, bind } => {
                    let now = self.now();
                    let owner = bind.connection.share(self.cores.len() as u32) as usize;
                    if self.cut_off && owner != core {
                        self.cores[core].handle_bind_refused(path, &bind);
                    } else {
                        self.cores[owner].handle_connection_bind(now, path, &bind);
                        if owner != core {
                            self.settle(owner);
                        }
                    }
                }
                Action::Join { connection, path } => {
                    let joined = self.connections.get_mut(&(core, connection));
                    let joined = joined.expect("only what is there is joined");
                    assert_eq!(joined.replace(path), None, "joined twice");
                }
                Action::Disconnect { connection } => {
                    self.connections.remove(&(core, connection)).expect("it was there");
                    self.connecting.retain(|(of, id, ..)| (*of, *id) != (core, connection));
                }
                Action::DropReserved { token } => {
                    self.shelf.remove(&token);
                }
                Action::AllocationEnded { record, .. } => {
                    let charged = self.charged.get_mut(&record.user).expect("it was charged");
                    *charged = charged.checked_sub(1).expect("never given back twice");
                }
                Action::ClientMoved { tuple, here } => {
                    for (other, server) in self.cores.iter_mut().enumerate() {
                        if other != core {
                            server.handle_client_elsewhere(tuple, CoreId(core as u16), here);
                        }
                    }
                }
                Action::ChannelBound { relay, .. } | Action::ChannelUnbound { relay, .. } => {
                    assert!(self.sockets.contains_key(&(core, relay)), "channels lead to sockets");
                }
            }
        }
    }

    /// Answers what a slow shell has kept waiting.
    pub(crate) fn open_pending(&mut self) {
        while let Some(Pending { core, action }) = self.pending.pop_front() {
            self.open(core, action);
            self.settle(core);
        }
    }

    fn open(&mut self, core: usize, action: Action) {
        if let Action::OpenListener { relay, local, charge } = action {
            let result = self.listen(local.0, charge);
            if let Ok(address) = result {
                assert_eq!(self.listeners.insert((core, relay), address), None);
                self.announce_listener(core, address, true);
            }
            let now = self.now();
            return self.cores[core].handle_relay_opened(now, relay, result.map(RelayedAddr));
        }
        let (relay, result) = match action {
            Action::OpenRelay { relay, local, reserve, charge } => {
                (relay, self.bind(local.0, reserve, charge))
            }
            Action::TakeReserved { relay, token, charge, third_party } => {
                (relay, self.take_reserved(token, charge, third_party))
            }
            other => panic!("not about a socket: {other:?}"),
        };
        if let Ok(address) = result {
            let before = self.sockets.insert((core, relay), address);
            assert_eq!(before, None, "a relay's name is used twice");
            self.announce(core, address, true);
        }
        let now = self.now();
        self.cores[core].handle_relay_opened(now, relay, result.map(RelayedAddr));
    }

    /// Tells all other cores.
    fn announce(&mut self, core: usize, address: SocketAddr, open: bool) {
        for (other, server) in self.cores.iter_mut().enumerate() {
            if other != core {
                server.handle_relay_elsewhere(RelayedAddr(address), CoreId(core as u16), open);
                server.check_invariants();
            }
        }
    }

    fn announce_listener(&mut self, core: usize, address: SocketAddr, open: bool) {
        for (other, server) in self.cores.iter_mut().enumerate() {
            if other != core {
                server.handle_listener_elsewhere(RelayedAddr(address), CoreId(core as u16), open);
                server.check_invariants();
            }
        }
    }

    fn listen(
        &mut self,
        local: SocketAddr,
        charge: Option<Username>,
    ) -> Result<SocketAddr, OpenError> {
        if let Some(failure) = self.failures.pop_front() {
            return Err(failure);
        }
        if self.foreign.contains(&local) || self.listeners.values().any(|it| *it == local) {
            return Err(OpenError::InUse);
        }
        charge.map_or(Ok(()), |user| self.charge(user)).map(|()| local)
    }

    /// Whether a core listens there.
    pub(crate) fn is_listened_at(&self, address: SocketAddr) -> bool {
        self.listeners.values().any(|listener| *listener == address)
    }

    /// The first Connect that waits gets this answer.
    pub(crate) fn connected(&mut self, result: Result<(), ConnectError>) {
        let (core, connection, ..) = self.connecting.pop_front().expect("a Connect waits");
        if result.is_err() {
            self.connections.remove(&(core, connection));
        }
        let now = self.now();
        self.cores[core].handle_connected(now, connection, result);
        self.settle(core);
    }

    /// A peer connects to a client's first relayed address.
    pub(crate) fn peer_connects(&mut self, peer: &str, client: Client) -> Option<ConnectionId> {
        let relayed = self.relayed(client)[0];
        let listener = self.listeners.iter().find(|(_, address)| **address == relayed);
        let (&(core, relay), _) = listener.expect("somebody listens there");
        self.peer_comes(core, relay, addr(peer))
    }

    /// A peer connects to some relay, whatever that is.
    pub(crate) fn peer_comes(
        &mut self,
        core: usize,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Option<ConnectionId> {
        let now = self.now();
        let connection = self.cores[core].handle_peer_connected(now, relay, PeerAddr(peer));
        if let Some(connection) = connection {
            assert_eq!(self.connections.insert((core, connection), None), None);
        }
        self.settle(core);
        connection
    }

    /// A connection with a peer ends by itself.
    pub(crate) fn connection_ends(&mut self, core: usize, connection: ConnectionId) {
        self.connections.remove(&(core, connection)).expect("it was there");
        self.cores[core].handle_connection_gone(connection);
        self.settle(core);
    }

    fn is_bound(&self, address: SocketAddr) -> bool {
        self.foreign.contains(&address)
            || self.sockets.values().any(|socket| *socket == address)
            || self.shelf.values().any(|(socket, _)| *socket == address)
    }

    fn charge(&mut self, user: Username) -> Result<(), OpenError> {
        let charged = self.charged.entry(user).or_default();
        if *charged >= self.quota {
            return Err(OpenError::Quota);
        }
        *charged += 1;
        Ok(())
    }

    fn bind(
        &mut self,
        local: SocketAddr,
        reserve: Option<Reservation>,
        charge: Option<Username>,
    ) -> Result<SocketAddr, OpenError> {
        if let Some(failure) = self.failures.pop_front() {
            return Err(failure);
        }
        let odd = SocketAddr::new(local.ip(), local.port() | 1);
        if self.is_bound(local) || (reserve.is_some() && self.is_bound(odd)) {
            return Err(OpenError::InUse);
        }
        if let Some(user) = charge {
            self.charge(user)?;
        }
        if let Some(reservation) = reserve {
            assert_eq!(local.port() % 2, 0, "the pair begins with the even port");
            self.shelf.insert(reservation.token, (odd, reservation));
        }
        Ok(local)
    }

    fn take_reserved(
        &mut self,
        token: ReservationToken,
        user: Username,
        third_party: bool,
    ) -> Result<SocketAddr, OpenError> {
        if let Some(failure) = self.failures.pop_front() {
            return Err(failure);
        }
        match self.shelf.get(&token) {
            Some((address, held))
                if held.third_party == third_party && (third_party || held.user == user) =>
            {
                let address = *address;
                self.charge(user)?;
                self.shelf.remove(&token);
                Ok(address)
            }
            _ => Err(OpenError::NoReservation),
        }
    }

    // ---- packets

    /// A client's packet, and what becomes of it.
    pub(crate) fn deliver(&mut self, client: Client, bytes: &[u8]) -> Out {
        let (core, path) = (self.core_of(client), self.path(client));
        // What was there before must never be seen.
        let mut reply = vec![0xEE; self.reply_room];
        let now = self.now();
        let verdict = self.cores[core].handle_client(now, path, bytes, &mut reply);
        let Verdict::ToCore { core: CoreId(owner) } = verdict else {
            let out = self.outcome(core, verdict, bytes, &reply);
            self.settle(core);
            return out;
        };
        // Nothing was done for it where it came in.
        assert_eq!(self.cores[core].poll_action(), None);
        let owner = usize::from(owner);
        self.passed_on += 1;
        if path.tuple.transport.is_stream() {
            self.clients[client.0].core = owner;
        }
        let verdict = self.cores[owner].handle_client(now, path, bytes, &mut reply);
        assert!(!matches!(verdict, Verdict::ToCore { .. }), "passed on for ever");
        let out = self.outcome(owner, verdict, bytes, &reply);
        self.settle(owner);
        out
    }

    /// A peer's datagram to a relayed address, as it is bound.
    pub(crate) fn peer_to_relay(
        &mut self,
        peer: SocketAddr,
        local: SocketAddr,
        payload: &[u8],
    ) -> Out {
        let socket = self.sockets.iter().find(|(_, socket)| **socket == local);
        let Some((&(core, relay), _)) = socket else { return Out::Nothing };
        let now = self.now();
        let verdict = self.cores[core].handle_peer(now, relay, PeerAddr(peer), payload.len());
        let out = self.outcome(core, verdict, payload, &[]);
        self.settle(core);
        out
    }

    /// An ICMP error about a datagram from a relayed address, as it is bound, to a peer.
    pub(crate) fn icmp(&mut self, local: SocketAddr, peer: &str, icmp: Icmp) -> Out {
        let socket = self.sockets.iter().find(|(_, socket)| **socket == local);
        let Some((&(core, relay), _)) = socket else { return Out::Nothing };
        let now = self.now();
        let verdict = self.cores[core].handle_icmp(now, relay, PeerAddr(addr(peer)), icmp);
        let out = self.outcome(core, verdict, &icmp.value(), &[]);
        self.settle(core);
        out
    }

    /// A payload that one core hands to another, or its relay socket sends there.
    fn neighbour_to_relay(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Out {
        let socket = self.sockets.iter().find(|(_, socket)| **socket == to);
        let Some((&(core, relay), _)) = socket else { return Out::Nothing };
        let (now, length) = (self.now(), payload.len());
        let by_socket = self.cores[core].handle_peer(now, relay, PeerAddr(from), length);
        let (from, to) = (RelayedAddr(from), RelayedAddr(to));
        let by_hand = self.cores[core].handle_neighbour(now, from, to, length);
        // A Data indication has a transaction id of its own.
        let header = |verdict| match verdict {
            Verdict::ToClient { header, .. } => header[..header.len().min(8)].to_vec(),
            _ => Vec::new(),
        };
        assert_eq!(header(by_socket), header(by_hand));
        let out = self.outcome(core, by_hand, payload, &[]);
        self.settle(core);
        out
    }

    /// A peer's datagram to the client's first relayed address.
    pub(crate) fn peer_sends(&mut self, peer: &str, client: Client, payload: &[u8]) -> Out {
        let relayed = self.relayed(client)[0];
        self.peer_to_relay(addr(peer), relayed, payload)
    }

    /// Carries a packet that is on its way to a relayed address of this server there. Where both
    /// are of one core it has arrived, or was dropped, already.
    pub(crate) fn carry(&mut self, out: Out) -> Out {
        match out {
            Out::ToClient { .. } | Out::Nothing => out,
            Out::ToPeer { from, to, payload, .. } => self.neighbour_to_relay(from, to, &payload),
            other => panic!("not on its way to a peer: {other:?}"),
        }
    }

    fn outcome(&mut self, core: usize, verdict: Verdict, packet: &[u8], reply: &[u8]) -> Out {
        let out = match verdict {
            Verdict::Nothing => Out::Nothing,
            Verdict::Reply { len } => Out::Reply(reply[..len].to_vec()),
            Verdict::ReplyElsewhere { len, from, to } => {
                Out::Elsewhere { from, to, bytes: reply[..len].to_vec() }
            }
            Verdict::ToPeer { relay, peer, payload, dont_fragment } => Out::ToPeer {
                from: *self.sockets.get(&(core, relay)).expect("from a socket that is open"),
                to: peer.0,
                payload: packet[std::ops::Range::from(payload)].to_vec(),
                dont_fragment,
            },
            Verdict::ToCore { .. } => panic!("deliver() has passed it on"),
            // Carried on, it goes to that core.
            Verdict::ToNeighbour { from, to, payload, .. } => Out::ToPeer {
                from: from.0,
                to: to.0,
                payload: packet[std::ops::Range::from(payload)].to_vec(),
                dont_fragment: false,
            },
            Verdict::ToClient { path, header, payload, padding } => {
                let payload = &packet[std::ops::Range::from(payload)];
                let bytes = [&header[..], payload, &[0; 3][..usize::from(padding)]].concat();
                Out::ToClient { path, bytes }
            }
        };
        if let Some(journal) = &mut self.journal {
            journal.push(format!("{core} {out:?}"));
        }
        out
    }

    pub(crate) fn transaction(&mut self) -> [u8; 12] {
        let mut id = [0x5A; 12];
        id[4..].copy_from_slice(&self.next_transaction.to_be_bytes());
        self.next_transaction += 1;
        id
    }

    /// An unsigned request.
    pub(crate) fn packet(&mut self, method: Method) -> Packet {
        let transaction = self.transaction();
        Packet::new(Class::Request, method, transaction)
    }

    /// Adds what the long-term mechanism wants.
    pub(crate) fn sign(&self, client: Client, packet: Packet) -> Packet {
        let state = &self.clients[client.0];
        packet
            .with(AttributeType::USERNAME, state.user.as_bytes())
            .with(AttributeType::REALM, REALM)
            .with(AttributeType::NONCE, state.nonce.as_deref().unwrap_or_default())
            .signed(&state.key)
    }

    /// Sends a packet and hears the answer, at once or by an action.
    pub(crate) fn ask(&mut self, client: Client, packet: &Packet) -> Answer {
        self.ask_bytes(client, &packet.encode())
    }

    pub(crate) fn ask_bytes(&mut self, client: Client, bytes: &[u8]) -> Answer {
        let out = self.deliver(client, bytes);
        let bytes = match out {
            Out::Reply(bytes) => Some(bytes),
            Out::Nothing => self.heard(client),
            other => panic!("a request is answered, not relayed: {other:?}"),
        };
        self.answer(client, bytes)
    }

    /// The next message that a core has sent the client on its own account.
    pub(crate) fn heard(&mut self, client: Client) -> Option<Vec<u8>> {
        let path = self.path(client);
        let at = self.outbox.iter().position(|(to, _)| *to == path)?;
        self.outbox.remove(at).map(|(_, bytes)| bytes)
    }

    pub(crate) fn answer(&mut self, client: Client, bytes: Option<Vec<u8>>) -> Answer {
        let response = bytes.map(|bytes| Response::read(&bytes));
        let state = &mut self.clients[client.0];
        let authentic = response.as_ref().and_then(|r| r.authentic(&state.key));
        if let Some(response) = &response {
            if let Some(nonce) = response.find(AttributeType::NONCE) {
                state.nonce = Some(nonce.to_vec());
            }
            if response.method == Method::ALLOCATE.get() && response.class == Class::Success {
                state.relayed = response.addresses(AttributeType::XOR_RELAYED_ADDRESS);
            }
        }
        Answer { response, authentic }
    }

    /// A nonce for the client: an Allocate without credentials.
    pub(crate) fn challenge(&mut self, client: Client) -> Response {
        let packet = self.packet(Method::ALLOCATE).with(AttributeType::REQUESTED_TRANSPORT, UDP);
        self.ask(client, &packet).rejected(401)
    }

    /// A signed request with these attributes; once more where the nonce is stale.
    pub(crate) fn request(
        &mut self,
        client: Client,
        method: Method,
        attributes: &[(AttributeType, &[u8])],
    ) -> Answer {
        self.request_with(client, method, |packet| {
            attributes.iter().fold(packet, |packet, (kind, value)| packet.with(*kind, value))
        })
    }

    pub(crate) fn request_with(
        &mut self,
        client: Client,
        method: Method,
        fill: impl Fn(Packet) -> Packet,
    ) -> Answer {
        if self.clients[client.0].nonce.is_none() {
            self.challenge(client);
        }
        let mut answer = Answer { response: None, authentic: None };
        for _ in 0..2 {
            let packet = fill(self.packet(method));
            let packet = self.sign(client, packet);
            answer = self.ask(client, &packet);
            if answer.response.as_ref().and_then(Response::code) != Some(438) {
                break;
            }
        }
        answer
    }

    // ---- what clients do

    /// Allocate, with nothing but REQUESTED-TRANSPORT.
    pub(crate) fn allocate(&mut self, client: Client) -> Answer {
        self.allocate_with(client, &[])
    }

    /// Allocate, with REQUESTED-TRANSPORT and more.
    pub(crate) fn allocate_with(
        &mut self,
        client: Client,
        attributes: &[(AttributeType, &[u8])],
    ) -> Answer {
        let all = [&[(AttributeType::REQUESTED_TRANSPORT, &UDP[..])], attributes].concat();
        self.request(client, Method::ALLOCATE, &all)
    }

    /// Allocate, for TCP between server and peers.
    pub(crate) fn allocate_tcp(&mut self, client: Client) -> Answer {
        self.allocate_tcp_with(client, &[])
    }

    /// The same with more attributes.
    pub(crate) fn allocate_tcp_with(
        &mut self,
        client: Client,
        attributes: &[(AttributeType, &[u8])],
    ) -> Answer {
        let all = [&[(AttributeType::REQUESTED_TRANSPORT, &TCP[..])], attributes].concat();
        self.request(client, Method::ALLOCATE, &all)
    }

    /// Connect; the answer comes when [`Sim::connected`] is called.
    pub(crate) fn connect(&mut self, client: Client, peer: &str) -> Answer {
        self.request_with(client, Method::CONNECT, |packet| packet.peer(addr(peer)))
    }

    /// Connect to a peer that accepts.
    #[track_caller]
    pub(crate) fn connect_to(&mut self, client: Client, peer: &str) -> ConnectionId {
        self.connect(client, peer).nothing();
        self.connected(Ok(()));
        let bytes = self.heard(client);
        connection_id(&self.answer(client, bytes).success())
    }

    /// ConnectionBind.
    pub(crate) fn bind_connection(&mut self, client: Client, id: ConnectionId) -> Answer {
        self.request_with(client, Method::CONNECTION_BIND, |packet| {
            packet.with(AttributeType::CONNECTION_ID, id.0.to_be_bytes())
        })
    }

    /// The ConnectionAttempt that a client has got: from whom, and the id.
    #[track_caller]
    pub(crate) fn attempted(&mut self, client: Client) -> (SocketAddr, ConnectionId) {
        let bytes = self.heard(client).expect("a ConnectionAttempt");
        let message = Response::read(&bytes);
        let kind = (message.class, message.method);
        assert_eq!(kind, (Class::Indication, Method::CONNECTION_ATTEMPT.get()));
        (message.addresses(AttributeType::XOR_PEER_ADDRESS)[0], connection_id(&message))
    }

    /// Refresh, with LIFETIME if it is given.
    pub(crate) fn refresh(&mut self, client: Client, lifetime: impl Into<Option<u32>>) -> Answer {
        let lifetime = lifetime.into().map(u32::to_be_bytes);
        self.request_with(client, Method::REFRESH, |packet| match lifetime {
            Some(lifetime) => packet.with(AttributeType::LIFETIME, lifetime),
            None => packet,
        })
    }

    /// Allocate, with an empty ticket; gives the ticket that comes back.
    #[track_caller]
    pub(crate) fn allocate_mobile(&mut self, client: Client) -> Vec<u8> {
        let response = self.allocate_with(client, &[(AttributeType::MOBILITY_TICKET, b"")]);
        response.success().get(AttributeType::MOBILITY_TICKET).to_vec()
    }

    /// Refresh with a ticket.
    pub(crate) fn show(&mut self, client: Client, ticket: &[u8]) -> Answer {
        self.request(client, Method::REFRESH, &[(AttributeType::MOBILITY_TICKET, ticket)])
    }

    /// The client `from` goes on as `to`; gives the next ticket.
    #[track_caller]
    pub(crate) fn resume(&mut self, from: Client, to: Client, ticket: &[u8]) -> Vec<u8> {
        let response = self.show(to, ticket).success();
        self.clients[to.0].relayed = self.relayed(from);
        response.get(AttributeType::MOBILITY_TICKET).to_vec()
    }

    /// CreatePermission for one peer.
    pub(crate) fn permit(&mut self, client: Client, peer: &str) -> Answer {
        self.permit_all(client, &[peer])
    }

    pub(crate) fn permit_all(&mut self, client: Client, peers: &[&str]) -> Answer {
        self.request_with(client, Method::CREATE_PERMISSION, |packet| {
            peers.iter().fold(packet, |packet, peer| packet.peer(addr(peer)))
        })
    }

    /// ChannelBind.
    pub(crate) fn bind_channel(&mut self, client: Client, channel: u16, peer: &str) -> Answer {
        self.request_with(client, Method::CHANNEL_BIND, |packet| {
            let [high, low] = channel.to_be_bytes();
            packet.with(AttributeType::CHANNEL_NUMBER, [high, low, 0, 0]).peer(addr(peer))
        })
    }

    /// A Send indication.
    pub(crate) fn send(&mut self, client: Client, peer: &str, payload: &[u8]) -> Out {
        let packet = self.send_packet(peer, payload);
        self.send_as(client, &packet, payload)
    }

    /// A Send indication, not yet sent.
    pub(crate) fn send_packet(&mut self, peer: &str, payload: &[u8]) -> Packet {
        let transaction = self.transaction();
        Packet::new(Class::Indication, Method::SEND, transaction)
            .peer(addr(peer))
            .with(AttributeType::DATA, payload)
    }

    pub(crate) fn send_as(&mut self, client: Client, packet: &Packet, payload: &[u8]) -> Out {
        let out = self.deliver(client, &packet.encode());
        if let Out::ToPeer { payload: sent, .. } = &out {
            assert_eq!(sent, payload);
        }
        out
    }

    /// ChannelData, padded on a stream.
    pub(crate) fn send_on(&mut self, client: Client, channel: u16, payload: &[u8]) -> Out {
        let length = (payload.len() as u16).to_be_bytes();
        let mut bytes = [&channel.to_be_bytes()[..], &length, payload].concat();
        if self.path(client).tuple.transport.is_stream() {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.deliver(client, &bytes)
    }

    /// The client's connection ends.
    pub(crate) fn hang_up(&mut self, client: Client) {
        let (core, tuple) = (self.core_of(client), self.path(client).tuple);
        let now = self.now();
        self.cores[core].handle_client_gone(now, tuple);
        self.settle(core);
    }

    /// Asserts that nothing is left anywhere: no state, no deadline, no socket, no charge.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        for core in &self.cores {
            let stats = core.stats();
            assert_eq!((stats.allocations, stats.permissions, stats.channels), (0, 0, 0));
            assert_eq!(stats.timers, 0);
            assert_eq!(core.poll_timeout(), None);
        }
        assert!(self.sockets.is_empty(), "{:?}", self.sockets);
        assert!(self.listeners.is_empty(), "{:?}", self.listeners);
        assert!(self.connections.is_empty(), "{:?}", self.connections);
        assert!(self.shelf.is_empty(), "{:?}", self.shelf);
        assert!(self.charged.values().all(|charged| *charged == 0), "{:?}", self.charged);
    }
}
