//! TCP allocations: connections that go from worker to worker, and what the counters say.

use super::*;

use std::net::TcpListener;

const TCP: (AttributeType, &[u8]) = (AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);

impl Client {
    /// A client over TCP with a TCP allocation.
    fn control(server: &Running) -> Self {
        let mut client = Self::tcp(server.address, "alice");
        let challenge = client.request(Method::ALLOCATE, &[TCP], None);
        let challenge = Message::parse(&challenge).unwrap();
        client.nonce = challenge.find(AttributeType::NONCE).unwrap().to_vec();
        success(&client.request(Method::ALLOCATE, &[TCP], None));
        client
    }

    fn connect(&mut self, peer: SocketAddr) -> Vec<u8> {
        let answer = self.request(Method::CONNECT, &[], Some(peer));
        success(&answer).find(AttributeType::CONNECTION_ID).unwrap().to_vec()
    }

    /// A ConnectionBind on a connection of its own, with the nonce that is known.
    fn bind(&self, server: &Running, id: &[u8]) -> (Self, Vec<u8>) {
        let mut data = Self::tcp(server.address, "alice");
        data.nonce.clone_from(&self.nonce);
        let answer =
            data.request(Method::CONNECTION_BIND, &[(AttributeType::CONNECTION_ID, id)], None);
        (data, answer)
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        match &mut self.socket {
            Socket::Tcp(stream, kept) => {
                assert!(kept.is_empty());
                stream
            }
            Socket::Udp(_) => panic!("no stream"),
        }
    }
}

impl Running {
    fn all(&self) -> Vec<Snapshot> {
        (0..self.workers.len()).map(|worker| self.snapshot(worker)).collect()
    }

    fn sum(&self, what: impl Fn(&Snapshot) -> u64) -> u64 {
        self.all().iter().map(what).sum()
    }

    /// Waits until all workers together please.
    fn until_all(&self, mut please: impl FnMut(&[Snapshot]) -> bool) {
        for _ in 0..100_000 {
            if please(&self.all()) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("it never came: {:?}", self.all());
    }
}

/// A pipe: the control connection, the client's end and the peer's.
pub(super) fn pipe(server: &Running) -> (Client, Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut control = Client::control(server);
    let id = control.connect(listener.local_addr().unwrap());
    let (data, answer) = control.bind(server, &id);
    success(&answer);
    (control, data, listener.accept().unwrap().0)
}

#[test]
fn a_connection_that_came_to_another_worker_is_handed_over_whole() {
    let server = start(Options { workers: 3, ..Options::default() });
    let mut pipes = Vec::new();
    // The kernel decides where a connection goes, so until there are some of either kind.
    while pipes.len() < 200 {
        pipes.push(pipe(&server));
        let moved = server.sum(|snapshot| snapshot.stats.connections_handed_over) as usize;
        if moved >= 3 && pipes.len() - moved >= 3 {
            break;
        }
    }
    let count = pipes.len() as u64;
    let moved = server.sum(|snapshot| snapshot.stats.connections_handed_over);
    assert!((3..=count - 3).contains(&moved), "{moved} of {count} were handed over");
    assert_eq!(server.sum(|snapshot| snapshot.stats.handovers_refused), 0);
    for (_, data, peer) in &mut pipes {
        let mut bytes = [0; 5];
        data.stream().write_all(b"there").unwrap();
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"there");
        peer.write_all(b"back.").unwrap();
        data.stream().read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"back.");
    }
    assert_eq!(server.sum(|snapshot| snapshot.stats.peers_connected), count);
    assert_eq!(server.sum(|snapshot| snapshot.core.connection_binds), count);
    assert_eq!(server.sum(|snapshot| snapshot.peers as u64), count);
    assert_eq!(server.sum(|snapshot| snapshot.connections as u64), 2 * count);
    // Counted when they were taken, which the reader may hear of first.
    server.until_all(|all| {
        let sum = |what: fn(&Stats) -> u64| all.iter().map(|s| what(&s.stats)).sum::<u64>();
        sum(|s| s.data_to_peers) == 5 * count && sum(|s| s.data_to_clients) == 5 * count
    });
    drop(pipes);
    server.until_all(|all| {
        all.iter().all(|s| (s.peers, s.connections, s.relays, s.core.connections) == (0, 0, 0, 0))
    });
    server.stop();
}

#[test]
fn a_bind_for_a_worker_that_has_ended_is_refused_and_the_connection_goes_on() {
    let server = start(Options { workers: 2, ..Options::default() });
    server.workers[1].stop().unwrap();
    while !server.workers[1].is_finished() {
        std::thread::yield_now();
    }
    let mut control = Client::control(&server);
    // An odd id is the other's.
    let (mut data, answer) = control.bind(&server, &[0, 0, 0, 1]);
    assert_eq!(error(&answer), Some(508));
    success(&data.request(Method::BINDING, &[], None));
    success(&control.request(Method::BINDING, &[], None));
    assert_eq!(server.snapshot(0).stats.handovers_refused, 1);
    server.workers[0].stop().unwrap();
}

#[test]
fn a_pipe_that_waits_costs_no_turns() {
    let server = start(Options::default());
    let (_control, mut data, mut peer) = pipe(&server);
    let quiet = |server: &Running| {
        let before = server.snapshot(0).stats.turns;
        let mut after = before;
        for _ in 0..50 {
            after = server.snapshot(0).stats.turns;
        }
        after - before <= 51
    };
    let waits = |server: &Running| server.until(|_| quiet(server));
    waits(&server);
    // One direction has ended, the other stands still.
    data.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    waits(&server);
    peer.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while peer.write(&[0; 65_536]).is_ok() {}
    waits(&server);
    server.stop();
}

#[test]
fn peers_beyond_the_limit_are_closed_at_once() {
    let crowd = CrowdLimits { peers: 1, ..CrowdLimits::default() };
    let server = start(Options { crowd, ..Options::default() });
    let (mut control, _data, peer_end) = pipe(&server);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let answer = control.request(Method::CONNECT, &[], Some(other.local_addr().unwrap()));
    assert_eq!(error(&answer), Some(508));
    let relayed = peer_end.peer_addr().unwrap();
    let permitted = Some(other.local_addr().unwrap());
    success(&control.request(Method::CREATE_PERMISSION, &[], permitted));
    let mut refused = TcpStream::connect(relayed).unwrap();
    refused.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(server.snapshot(0).stats.peers_over_limit, 2);
    server.stop();
}

/// Whoever names a key may be of a session that another worker has, and needs no credentials to
/// name one.
#[test]
fn a_strangers_connection_crosses_to_another_worker_once_and_no_more() {
    let server = start(Options { workers: 2, third_party: true, ..Options::default() });
    let mut client = Client::tcp(server.address, "north");
    let challenge = client.request(Method::ALLOCATE, &[TCP], None);
    let challenge = Message::parse(&challenge).unwrap();
    client.nonce = challenge.find(AttributeType::NONCE).unwrap().to_vec();
    let mut refused = [0; 2];
    for id in [0_u32, 1, 0, 1, 0, 1] {
        let id = (AttributeType::CONNECTION_ID, &id.to_be_bytes()[..]);
        let answer = client.request(Method::CONNECTION_BIND, &[id], None);
        match error(&answer) {
            Some(401) => refused[0] += 1,
            Some(508) => refused[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.sum(|snapshot| snapshot.stats.connections_handed_over), 1);
    assert_eq!(server.sum(|snapshot| snapshot.stats.handovers_refused), refused[1]);
    assert!(refused[0] >= 3 && refused[1] >= 2, "{refused:?}");
    assert_eq!(server.sum(|snapshot| snapshot.connections as u64), 1, "it is still served");
    server.stop();
}

/// A handover that is refused brings the connection back as it was.
#[test]
fn a_connection_that_has_crossed_has_done_so_when_it_comes_back() {
    let server = start(Options { workers: 3, third_party: true, ..Options::default() });
    server.workers[2].stop().unwrap();
    while !server.workers[2].is_finished() {
        std::thread::yield_now();
    }
    let mut client = Client::tcp(server.address, "north");
    let challenge = client.request(Method::ALLOCATE, &[TCP], None);
    let challenge = Message::parse(&challenge).unwrap();
    client.nonce = challenge.find(AttributeType::NONCE).unwrap().to_vec();
    let mut bind = |user, id: u32| {
        client.user = user;
        let id = (AttributeType::CONNECTION_ID, &id.to_be_bytes()[..]);
        error(&client.request(Method::CONNECTION_BIND, &[id], None))
    };
    let both = |what: fn(&Stats) -> u64| {
        [0, 1].map(|worker| what(&server.snapshot(worker).stats)).iter().sum::<u64>()
    };
    for id in [0, 1] {
        bind("north", id);
    }
    assert_eq!(both(|stats| stats.connections_handed_over), 1);
    let refused = both(|stats| stats.handovers_refused);
    // Whoever shows credentials may cross once more, but that worker has ended.
    assert_eq!(bind("alice", 2), Some(508));
    assert_eq!(both(|stats| stats.handovers_refused), refused + 1);
    for id in [0, 1] {
        bind("north", id);
    }
    assert_eq!(both(|stats| stats.connections_handed_over), 1);
    assert_eq!(both(|stats| stats.handovers_refused), refused + 2);
    server.workers.iter().for_each(|worker| worker.stop().unwrap());
}
