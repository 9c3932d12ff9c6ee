//! Clients over DTLS (RFC 7350), with OpenSSL at their end: what they get, and what strangers do
//! not.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod dtls;
    pub(crate) mod server;
}

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use common::client::{Association, Client, PATIENCE, Via, eventually, hear, peer};
use common::dtls::{Algorithm, Caller, Identity, cookie_in, hello, stranger};
use common::server::Server;
use hairpin::control::config::Config;
use hairpin::net;
use hairpin::net::dtls::Keyring;
use hairpin::net::{bind_udp, relay, udp};
use hairpin::turn::Lifetime;
use hairpin::worker::{
    self, CrowdLimits, DtlsLimits, DtlsSetup, QuotaLimits, Snapshot, TlsLimits, WorkerHandle,
    WorkerSetup,
};
use nix::sys::signal::Signal;
use openssl::ssl::SslVersion;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const CHANNEL: u16 = 0x4001;

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

// The whole server.

/// A server that shows this identity, with these keys of its configuration changed.
fn server(identity: &Identity, changes: &str) -> (Server, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("chain.pem"), &identity.chain_pem).unwrap();
    std::fs::write(path("key.pem"), &identity.key_pem).unwrap();
    let config = format!(
        "{changes}\n[listen]\ndtls = [\"127.0.0.1:DTLS\", \"[::1]:DTLS\"]\n\
         [tls]\ncertificate = {:?}\nkey = {:?}",
        path("chain.pem"),
        path("key.pem")
    );
    (Server::with(&config), directory)
}

/// The root alone is known to the client: the whole chain was sent.
#[test]
fn what_a_client_and_its_peers_send_each_other_arrives_in_both_families_under_rsa_and_ecdsa() {
    for algorithm in [Algorithm::Rsa, Algorithm::Ecdsa] {
        let identity = Identity::new(algorithm);
        let (server, _files) = server(&identity, "workers = 2");
        for near in [V4, V6] {
            for far in [V4, V6] {
                let caller = Caller::knowing(&identity.root);
                let mut client = Client::over(caller.call(server.dtls(near)).unwrap());
                let relayed = client.allocate_like(far);
                let peer = peer(far);
                client.permit(address(&peer));
                client.bind(CHANNEL, address(&peer));
                // ChannelData need not be padded, as over UDP (RFC 8656 §12.5).
                for length in [0, 1, 2, 3, 1000, 1400, 5000, 16_000] {
                    let data: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
                    client.send(address(&peer), &data);
                    assert_eq!(hear(&peer), (relayed, data.clone()));
                    client.channel_data(CHANNEL, &data);
                    assert_eq!(hear(&peer), (relayed, data.clone()));
                    peer.send_to(&data, relayed).unwrap();
                    assert_eq!(client.receive(), (Via::Channel(CHANNEL), data));
                }
                assert_eq!(client.refresh(0), Ok(0));
            }
        }
    }
}

#[test]
fn two_clients_over_dtls_reach_each_other_by_their_relayed_addresses() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (server, _files) = server(&identity, "workers = 2");
    let client = |_| {
        let caller = Caller::knowing(&identity.root);
        let mut client = Client::over(caller.call(server.dtls(V4)).unwrap());
        let relayed = client.allocate();
        (client, relayed)
    };
    let mut clients: Vec<_> = (0..6).map(client).collect();
    let addresses: Vec<_> = clients.iter().map(|(_, relayed)| *relayed).collect();
    for (client, own) in &mut clients {
        addresses.iter().filter(|other| *other != own).for_each(|other| client.permit(*other));
    }
    for from in 0..clients.len() {
        for to in (0..clients.len()).filter(|to| *to != from) {
            let data = [from as u8, to as u8];
            clients[from].0.send(addresses[to], &data);
            assert_eq!(clients[to].0.receive(), (Via::Data(addresses[from]), data.to_vec()));
        }
    }
}

/// RFC 6062 §4.1, RFC 7350 §4.6: "TCP allocations MUST NOT be obtained using a DTLS association".
#[test]
fn a_tcp_allocation_cannot_be_had() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (server, _files) = server(&identity, "");
    let caller = Caller::knowing(&identity.root);
    let mut client = Client::over(caller.call(server.dtls(V4)).unwrap());
    assert_eq!(client.try_allocate_tcp(V4), Err(400));
}

/// RFC 7443, and RFC 7301 §3.2 for what is none of ours.
#[test]
fn whoever_names_a_protocol_of_ours_or_none_is_served() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (server, _files) = server(&identity, "");
    for (offered, chosen) in [
        (&b""[..], Ok(None)),
        (b"\x09stun.turn", Ok(Some(&b"stun.turn"[..]))),
        (b"\x12stun.nat-discovery", Ok(Some(b"stun.nat-discovery"))),
        (b"\x02h2\x12stun.nat-discovery\x09stun.turn", Ok(Some(b"stun.turn"))),
        (b"\x02h2", Err(())),
    ] {
        let caller = Caller { alpn: offered, ..Caller::knowing(&identity.root) };
        let called = caller.call(server.dtls(V4));
        let got = called.as_ref().map(|session| session.ssl().selected_alpn_protocol());
        let why = called.as_ref().err();
        assert_eq!(got.map_err(|_| ()), chosen, "{}: {why:?}", offered.escape_ascii());
    }
}

#[test]
fn the_suites_that_every_client_may_count_on_are_spoken() {
    let identity = Identity::new(Algorithm::Rsa);
    let (server, _files) = server(&identity, "");
    for suite in ["DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"] {
        let caller = Caller { suites: Some(suite), ..Caller::knowing(&identity.root) };
        let session = caller.call(server.dtls(V4)).unwrap();
        assert_eq!(session.ssl().current_cipher().unwrap().name(), suite);
    }
}

#[test]
fn a_suite_without_forward_secrecy_is_refused() {
    let identity = Identity::new(Algorithm::Rsa);
    let (server, _files) = server(&identity, "");
    for suite in ["AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA"] {
        let caller = Caller { suites: Some(suite), ..Caller::knowing(&identity.root) };
        let refused = caller.call(server.dtls(V4)).map(drop).unwrap_err();
        assert!(refused.contains("handshake failure"), "{suite}: {refused}");
    }
}

#[test]
fn what_is_older_than_dtls_1_2_is_refused() {
    let identity = Identity::new(Algorithm::Rsa);
    let (server, _files) = server(&identity, "");
    let caller = Caller { version: SslVersion::DTLS1, ..Caller::knowing(&identity.root) };
    let refused = caller.call(server.dtls(V4)).map(drop).unwrap_err();
    assert!(refused.contains("protocol version"), "{refused}");
}

/// RFC 8489 §6.2.3, as for TCP: the end of the association is the end of what it has.
#[test]
fn close_notify_is_answered_and_ends_the_allocation() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (server, _files) = server(&identity, "[limits]\nallocations_total = 1");
    let caller = Caller::knowing(&identity.root);
    let mut client = Client::over(caller.call(server.dtls(V4)).unwrap());
    client.allocate();
    assert_eq!(Client::udp(server.address()).try_allocate(), Err(486));
    let mut road = client.into_other();
    road.finish();
    assert_eq!(end_of(&mut *road), ErrorKind::UnexpectedEof);
    eventually("its place is free", || Client::udp(server.address()).try_allocate().is_ok());
}

/// What comes when nothing more does.
fn end_of(road: &mut dyn Association) -> ErrorKind {
    loop {
        match road.read(Instant::now() + PATIENCE) {
            Ok(_) => {}
            Err(error) => return error.kind(),
        }
    }
}

#[test]
fn a_server_that_ends_says_so() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (mut server, _files) = server(&identity, "workers = 2");
    let caller = Caller::knowing(&identity.root);
    let mut session = caller.call(server.dtls(V4)).unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(end_of(&mut session), ErrorKind::UnexpectedEof);
    eventually("the server ends", || server.ended().is_some());
}

#[test]
fn a_renewed_certificate_is_shown_to_the_next_client_and_ends_nobodys_session() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (server, files) = server(&identity, "");
    let mut before = Client::over(Caller::knowing(&identity.root).call(server.dtls(V4)).unwrap());
    before.allocate();
    let renewed = Identity::new(Algorithm::Rsa);
    std::fs::write(files.path().join("chain.pem"), &renewed.chain_pem).unwrap();
    std::fs::write(files.path().join("key.pem"), &renewed.key_pem).unwrap();
    server.signal(Signal::SIGHUP);
    eventually("the next client sees it", || {
        Caller::knowing(&renewed.root).call(server.dtls(V4)).is_ok()
    });
    assert_eq!(before.refresh(0), Ok(0));
}

// One worker, whose counters can be seen.

struct Running {
    address: SocketAddr,
    worker: WorkerHandle,
    shared: Arc<worker::Dtls>,
    identity: Arc<Identity>,
}

struct Options {
    limits: DtlsLimits,
    idle: Lifetime,
    /// Workers that share them, though only one is there.
    workers: usize,
}

impl Default for Options {
    fn default() -> Self {
        let limits = DtlsLimits {
            sessions: 100,
            sessions_per_source: 100,
            handshakes: 100,
            handshakes_per_source: 100,
            handshake: Lifetime::from_secs(60),
        };
        Self { limits, idle: Lifetime::from_secs(60), workers: 1 }
    }
}

fn keys(identity: &Identity) -> net::dtls::Identity {
    net::dtls::Identity::from_pem(&identity.chain_pem, &identity.key_pem).unwrap()
}

impl Running {
    fn start(options: &Options) -> Self {
        let identity = Arc::new(Identity::new(Algorithm::Ecdsa));
        let keyring = Arc::new(Keyring::new(keys(&identity)));
        Self::start_with(options, identity, Arc::new(worker::Dtls::new(keyring, options.limits)))
    }

    /// A worker that shares this with another.
    fn start_with(options: &Options, identity: Arc<Identity>, shared: Arc<worker::Dtls>) -> Self {
        let pairs = bind_udp((V4, 0).into(), 1, udp::Options::default()).unwrap();
        let listeners: Vec<_> = pairs.into_iter().map(|pair| pair.requests).collect();
        let address = listeners[0].local_addr();
        let text = "realm = 'example.org'\n[auth]\n\
                    users = [{ name = 'user1', password = 'test' }]\n\
                    [peers]\nallow = ['127.0.0.0/8']";
        let core = Config::parse("t", text, &mut rand::rng()).unwrap().turn(&[V4], 0, 1);
        let setup = WorkerSetup {
            core,
            seed: rand::random(),
            udp: Vec::new(),
            tcp: Vec::new(),
            tls: Vec::new(),
            keyring: None,
            guests: None,
            tls_limits: TlsLimits::default(),
            dtls: Some(DtlsSetup {
                listeners,
                shared: Arc::clone(&shared),
                cookie_secret: rand::random(),
            }),
            balancers: [].into(),
            relay: relay::Options::default(),
            idle: options.idle,
            gather: true,
        };
        let (quota, crowd) = (QuotaLimits::default(), CrowdLimits::default());
        let mut seats = worker::seats(options.workers, quota, crowd).unwrap();
        let worker = worker::spawn(seats.remove(0), setup).unwrap();
        Self { address, worker, shared, identity }
    }

    fn snapshot(&self) -> Snapshot {
        self.worker.mailbox().snapshot().unwrap().blocking_recv().unwrap()
    }

    /// Waits for a snapshot that pleases.
    fn until(&self, what: &str, mut pleases: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let mut last = self.snapshot();
        eventually(what, || {
            last = self.snapshot();
            pleases(&last)
        });
        last
    }

    fn call(&self) -> Client {
        self.call_from(None)
    }

    fn call_from(&self, local: Option<SocketAddr>) -> Client {
        let caller = Caller { local, ..Caller::knowing(&self.identity.root) };
        Client::over(caller.call(self.address).unwrap())
    }

    /// Begins a handshake that will not be gone on with; answers whether the server takes it up.
    fn begin(&self, stranger: &UdpSocket, random: u8) -> bool {
        let cookie = self.cookie(stranger, random);
        let before = self.snapshot().stats;
        stranger.send(&hello(random, &cookie)).unwrap();
        let after = self.after(before.udp.packets_in + 1).stats;
        after.dtls.handshakes_begun > before.dtls.handshakes_begun
    }

    /// What there is when so many datagrams have come and were done with: numbers are told between
    /// the two.
    fn after(&self, packets: u64) -> Snapshot {
        let came = self.until("it has come", |now| now.stats.udp.packets_in >= packets);
        self.until("it is done with", |now| now.stats.turns > came.stats.turns)
    }

    /// The cookie that a stranger is given.
    fn cookie(&self, stranger: &UdpSocket, random: u8) -> Vec<u8> {
        stranger.send(&hello(random, b"")).unwrap();
        cookie_in(&datagram(stranger)).expect("a HelloVerifyRequest")
    }
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// RFC 6347 §4.2.1, RFC 7350 §4.6.
#[test]
fn a_hello_without_a_good_cookie_is_answered_with_less_and_leaves_nothing() {
    let server = Running::start(&Options::default());
    let (one, other) = (stranger(V4, server.address), stranger(V4, server.address));
    let asked = hello(1, b"");
    one.send(&asked).unwrap();
    let answer = datagram(&one);
    assert!(answer.len() < asked.len());
    let cookie = cookie_in(&answer).expect("a HelloVerifyRequest");
    // From another port, with another hello, and one that nobody gave.
    for (stranger, random, cookie) in
        [(&other, 1, &cookie), (&one, 2, &cookie), (&one, 1, &vec![7; 17])]
    {
        let asked = hello(random, cookie);
        stranger.send(&asked).unwrap();
        let answer = datagram(stranger);
        assert!(cookie_in(&answer).is_some() && answer.len() < asked.len());
    }
    let snapshot = server.snapshot();
    assert_eq!((snapshot.stats.dtls.cookies, snapshot.stats.dtls.handshakes_begun), (4, 0));
    assert_eq!(snapshot.sessions, 0);
    // And the same is good from whom it was given to.
    assert!(server.begin(&one, 1));
    assert_eq!(server.snapshot().sessions, 1);
}

/// Pieces of a ClientHello, records of no session, STUN and noise.
#[test]
fn what_is_no_whole_hello_is_dropped() {
    let server = Running::start(&Options::default());
    let stranger = stranger(V4, server.address);
    let whole = hello(1, b"");
    let mut piece = whole[..60].to_vec();
    piece[12] = 60 - 13;
    piece[24] = 60 - 25;
    let record = [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2, 1, 2];
    let binding = *b"\x00\x01\x00\x00\x21\x12\xa4\x42are you here";
    for strange in [&piece[..], &whole[..whole.len() - 1], &record, &binding, b"", b"\x16"] {
        stranger.send(strange).unwrap();
    }
    let snapshot = server.until("all were received", |now| now.stats.dtls.strangers == 6);
    assert_eq!((snapshot.stats.dtls.cookies, snapshot.sessions), (0, 0));
    assert_eq!(snapshot.stats.udp.packets_out, 0);
}

/// Clients that show their cookie, and then send what could only be kept until there is a key to
/// it: more than 100 MB, if all of it were.
#[test]
fn what_comes_before_its_key_takes_little_memory() {
    let identity = Identity::new(Algorithm::Ecdsa);
    let (server, _files) = server(&identity, "workers = 1");
    let clients: Vec<_> = (0..64).map(|_| stranger(V4, server.dtls(V4))).collect();
    for client in &clients {
        client.send(&hello(1, b"")).unwrap();
        let cookie = cookie_in(&datagram(client)).expect("a HelloVerifyRequest");
        client.send(&hello(1, &cookie)).unwrap();
        assert_eq!(cookie_in(&datagram(client)), None, "the flight that follows");
    }
    let before = server.memory();
    for client in &clients {
        for number in 0..100 {
            let header = [22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 1, number, 0, 48];
            client.send(&[&header[..], &[7; 48]].concat()).unwrap();
        }
        // Somebody else is answered when all of that was received.
        let other = stranger(V4, server.dtls(V4));
        other.send(&hello(2, b"")).unwrap();
        datagram(&other);
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 10_000, "{grown} KiB");
}

/// OpenSSL at the client's end has no timer here: it goes on only because the server does.
#[test]
fn a_flight_that_was_lost_is_sent_again() {
    let server = Running::start(&Options::default());
    let caller = Caller { deaf: 2, ..Caller::knowing(&server.identity.root) };
    let mut client = Client::over(caller.call(server.address).unwrap());
    client.allocate();
    assert_eq!(server.snapshot().stats.dtls.sessions_opened, 1);
}

#[test]
fn handshakes_under_way_are_limited_by_source_and_in_all() {
    let limits =
        DtlsLimits { handshakes: 5, handshakes_per_source: 2, ..Options::default().limits };
    // Rounded up it is three for each.
    let options = Options { limits, workers: 2, ..Options::default() };
    let server = Running::start(&options);
    let from = |last| stranger(Ipv4Addr::new(127, 0, 0, last).into(), server.address);
    let strangers = [from(2), from(2), from(2), from(3), from(4)];
    let begun: Vec<_> = strangers.iter().map(|stranger| server.begin(stranger, 1)).collect();
    assert_eq!(begun, [true, true, false, true, true]);
    let dtls = server.snapshot().stats.dtls;
    assert_eq!((dtls.handshakes_over_source_limit, dtls.handshakes_displaced), (1, 1));
    assert_eq!(server.snapshot().sessions, 3);
    // Another worker, with none of them: the limit of a source is for both.
    let other = {
        let (identity, shared) = (Arc::clone(&server.identity), Arc::clone(&server.shared));
        Running::start_with(&options, identity, shared)
    };
    let from = |last| stranger(Ipv4Addr::new(127, 0, 0, last).into(), other.address);
    let strangers = [from(3), from(3), from(5), from(6), from(7)];
    let begun: Vec<_> = strangers.iter().map(|stranger| other.begin(stranger, 1)).collect();
    assert_eq!(begun, [true, false, true, true, true]);
    let dtls = other.snapshot().stats.dtls;
    assert_eq!((dtls.handshakes_over_source_limit, dtls.handshakes_displaced), (1, 1));
    // Whoever goes through with it is served.
    other.call().allocate();
    server.call().allocate();
    assert_eq!(server.snapshot().stats.dtls.handshakes_displaced, 2);
}

/// OpenSSL at the client's end would wait for as long as it is patient.
#[test]
fn a_client_that_makes_way_is_told() {
    let limits = DtlsLimits { handshakes: 1, ..Options::default().limits };
    let server = Running::start(&Options { limits, ..Options::default() });
    let address = server.address;
    std::thread::scope(|scope| {
        let caller = Caller { deaf: 1, ..Caller::knowing(&server.identity.root) };
        let called = scope.spawn(move || caller.call(address).err());
        server.until("it has begun", |now| now.sessions == 1);
        assert!(server.begin(&stranger(V4, server.address), 1));
        let told = called.join().unwrap().expect("no session");
        assert!(told.contains("internal error"), "{told}");
    });
    assert_eq!(server.snapshot().stats.dtls.handshakes_displaced, 1);
}

#[test]
fn a_handshake_that_takes_too_long_makes_room_and_one_that_is_through_has_made_it() {
    let limits = DtlsLimits {
        handshakes: 1,
        handshake: Lifetime::from_secs(2),
        ..Options::default().limits
    };
    let server = Running::start(&Options { limits, ..Options::default() });
    let mut clients: Vec<_> = (0..3).map(|_| server.call()).collect();
    let stranger = stranger(V4, server.address);
    assert!(server.begin(&stranger, 1));
    let snapshot = server.until("its time is over", |now| now.sessions == 3);
    assert_eq!(snapshot.stats.dtls.handshakes_expired, 1);
    clients.push(server.call());
    clients.iter_mut().for_each(|client| {
        client.allocate();
    });
}

#[test]
fn sessions_are_limited_by_source_and_in_all() {
    let limits = DtlsLimits { sessions: 3, sessions_per_source: 2, ..Options::default().limits };
    let server = Running::start(&Options { limits, ..Options::default() });
    let from = |last| Some(SocketAddr::from(([127, 0, 0, last], 0)));
    let mut clients = vec![server.call_from(from(2)), server.call_from(from(2))];
    let stranger = |last| stranger(Ipv4Addr::new(127, 0, 0, last).into(), server.address);
    assert!(!server.begin(&stranger(2), 1));
    clients.push(server.call_from(from(3)));
    assert!(!server.begin(&stranger(4), 1));
    let dtls = server.snapshot().stats.dtls;
    assert_eq!((dtls.sessions_over_source_limit, dtls.sessions_over_limit), (1, 1));
    clients.remove(0).into_other().finish();
    server.until("there is room again", |now| now.sessions == 2);
    assert!(server.begin(&stranger(4), 2));
}

#[test]
fn nobody_makes_way_for_one_who_may_not_have_a_session() {
    let limits = DtlsLimits {
        handshakes: 1,
        handshakes_per_source: 1,
        sessions: 4,
        sessions_per_source: 1,
        ..Options::default().limits
    };
    let server = Running::start(&Options { limits, ..Options::default() });
    let client = server.call_from(Some(SocketAddr::from(([127, 0, 0, 2], 0))));
    let stranger = |last| stranger(Ipv4Addr::new(127, 0, 0, last).into(), server.address);
    assert!(server.begin(&stranger(3), 1));
    for _ in 0..3 {
        assert!(!server.begin(&stranger(2), 1));
        assert!(!server.begin(&stranger(3), 2));
    }
    let snapshot = server.snapshot();
    let dtls = snapshot.stats.dtls;
    assert_eq!((dtls.handshakes_displaced, snapshot.sessions), (0, 2));
    assert_eq!((dtls.sessions_over_source_limit, dtls.handshakes_over_source_limit), (3, 3));
    drop(client);
    assert!(server.begin(&stranger(4), 1));
    assert_eq!(server.snapshot().stats.dtls.handshakes_displaced, 1);
}

#[test]
fn whoever_has_no_allocation_and_nothing_to_say_is_sent_away() {
    let server = Running::start(&Options { idle: Lifetime::from_secs(1), ..Options::default() });
    let mut holder = server.call();
    holder.allocate();
    let mut silent = server.call().into_other();
    assert_eq!(end_of(&mut *silent), ErrorKind::UnexpectedEof);
    let snapshot = server.until("one is gone", |now| now.sessions == 1);
    assert_eq!(snapshot.stats.dtls.sessions_idle, 1);
    assert_eq!(holder.refresh(0), Ok(0));
    server.until("so is the other", |now| now.sessions == 0 && now.core.allocations == 0);
}

/// RFC 6347 §4.1.2.7: what does not verify is discarded, and ends nothing.
#[test]
fn what_somebody_sends_in_a_clients_name_does_it_no_harm() {
    let server = Running::start(&Options::default());
    let caller = Caller::knowing(&server.identity.root);
    let session = caller.call(server.address).unwrap();
    let forger = session.socket().try_clone().unwrap();
    let mut client = Client::over(session);
    client.allocate();
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let header = [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 9, 9, 0, body.len() as u8];
        [&header[..], body].concat()
    };
    let mut forged = vec![hello(1, b""), hello(1, &[7; 17]), b"noise".to_vec(), Vec::new()];
    for epoch in 0..3 {
        // close_notify, handshake_failure, a message, a handshake's and a change of keys.
        forged.push(record(21, epoch, &[1, 0]));
        forged.push(record(21, epoch, &[2, 40]));
        forged.push(record(23, epoch, &[9; 60]));
        forged.push(record(22, epoch, &[9; 60]));
        forged.push(record(20, epoch, &[1]));
    }
    for forged in &forged {
        let before = server.snapshot().stats.udp.packets_in;
        forger.send(forged).unwrap();
        let snapshot = server.after(before + 1);
        assert_eq!((snapshot.sessions, snapshot.core.allocations), (1, 1), "{forged:?}");
    }
    // The answers to the forged hellos are the forger's; OpenSSL passes over them.
    assert_eq!(client.refresh(0), Ok(0));
}

/// RFC 6347 §4.2.8: a client that has lost its session may begin again from the same address.
#[test]
fn a_client_that_begins_again_has_one_session_and_the_old_ones_allocation_ends() {
    let server = Running::start(&Options::default());
    let local = address(&stranger(V4, server.address));
    let mut first = server.call_from(Some(local));
    first.allocate();
    drop(first);
    let mut second = server.call_from(Some(local));
    let snapshot = server.snapshot();
    assert_eq!((snapshot.sessions, snapshot.core.allocations), (1, 0));
    second.allocate();
    // In the middle of a handshake, too.
    drop(second);
    let stranger = UdpSocket::bind(local).unwrap();
    stranger.connect(server.address).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(server.begin(&stranger, 1));
    assert_eq!(server.snapshot().core.allocations, 0);
    drop(stranger);
    let mut third = server.call_from(Some(local));
    third.allocate();
    assert_eq!(server.snapshot().sessions, 1);
    assert_eq!(server.snapshot().stats.dtls.sessions_opened, 3);
}

/// RFC 6347 §4.1.1: a record holds 2^14 bytes, and STUN is never cut.
#[test]
fn what_does_not_fit_a_record_is_dropped_and_counted() {
    let server = Running::start(&Options::default());
    let mut client = server.call();
    let relayed = client.allocate();
    let peer = peer(V4);
    client.bind(CHANNEL, address(&peer));
    let most = (1 << 14) - 4;
    for length in [most + 1, 60_000, most] {
        peer.send_to(&vec![7; length], relayed).unwrap();
    }
    assert_eq!(client.receive(), (Via::Channel(CHANNEL), vec![7; most]));
    assert_eq!(server.snapshot().stats.drops.too_long, 2);
}

#[test]
fn another_certificate_is_for_the_next_client_and_ends_nobodys_session() {
    let server = Running::start(&Options::default());
    let mut before = server.call();
    before.allocate();
    let another = Identity::new(Algorithm::Rsa);
    server.shared.keyring.replace(keys(&another));
    let after = Caller::knowing(&another.root).call(server.address).unwrap();
    let shown = after.ssl().peer_certificate().unwrap();
    assert_eq!(shown.to_der().unwrap(), another.own.to_der().unwrap());
    assert!(Caller::knowing(&server.identity.root).call(server.address).is_err());
    assert_eq!(before.refresh(0), Ok(0));
}

#[test]
fn keys_and_certificates_that_do_not_belong_together_are_told_apart() {
    let (one, other) = (Identity::new(Algorithm::Rsa), Identity::new(Algorithm::Ecdsa));
    let flaw = |chain: &[u8], key: &[u8]| {
        net::dtls::Identity::from_pem(chain, key).map(drop).unwrap_err().to_string()
    };
    assert!(flaw(&one.chain_pem, &other.key_pem).contains("is not that of the certificate"));
    assert!(flaw(b"nothing", &one.key_pem).contains("certificate is not in the file"));
    assert!(flaw(&one.chain_pem, b"nothing").contains("key is not in the file"));
    assert!(flaw(&one.chain_pem[..900], &one.key_pem).contains("certificate cannot be used"));
    let locked = openssl::pkey::PKey::private_key_from_pem(&one.key_pem)
        .and_then(|key| {
            key.private_key_to_pem_pkcs8_passphrase(openssl::symm::Cipher::aes_128_cbc(), b"x")
        })
        .unwrap();
    assert!(flaw(&one.chain_pem, &locked).contains("without a passphrase"));
}
