//! What one turn of the loop does, and what it leaves for the next: a worker that turns only when
//! it is told to.

use super::*;

use std::thread;

use super::proxied::{BALANCED, mapped, proxied_tcp, v1};
use super::tcp_relay::pipe;
use super::tls::{asks, keyring, open};

struct ByHand {
    worker: Worker,
    events: Events,
    /// Its address; nobody runs there by himself.
    server: Running,
}

fn by_hand(options: Options, secured: Option<Secured>) -> ByHand {
    let (address, mut prepared) = prepare(options, secured);
    let (seat, setup) = prepared.remove(0);
    let worker = Worker::new(seat, setup);
    let mut by_hand = ByHand {
        worker,
        events: Events::with_capacity(EVENTS),
        server: Running { address, workers: Vec::new() },
    };
    by_hand.worker.register_listeners().unwrap();
    by_hand
}

impl ByHand {
    /// A turn that waits for nothing.
    fn turn(&mut self) {
        drop(self.worker.shared.mailboxes[0].snapshot().unwrap());
        self.worker.turn(&mut self.events).unwrap();
    }

    /// Turns for as long as somebody else works.
    fn during<T: Send>(&mut self, work: impl FnOnce(&Running) -> T + Send) -> T {
        let server = Running { address: self.server.address, workers: Vec::new() };
        thread::scope(|scope| {
            let working = scope.spawn(move || work(&server));
            while !working.is_finished() {
                self.turn();
            }
            working.join().unwrap()
        })
    }
}

fn never_wait(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
}

#[test]
fn ready_handshakes_keep_neither_peers_nor_connections_waiting() {
    let (keyring, config) = keyring();
    let mut server = by_hand(Options::default(), Some(Secured { keyring, guests: None }));
    let (peer, peer_addr) = peer();
    let (mut before, mut client, relayed) = server.during(|server| {
        let mut client = Client::udp(server.address, "alice");
        let relayed = client.allocate();
        client.bind_channel(0x4001, peer_addr);
        let mut before = open(server, &config);
        asks(&mut before);
        (before, client, relayed)
    });
    let crowd: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(server.server.address).unwrap();
            stream.write_all(&[22, 3, 1]).unwrap();
            stream
        })
        .collect();
    while server.worker.connections.len() < 1 + crowd.len() {
        server.turn();
    }
    // Their first bytes are known to be there.
    server.turn();

    peer.send_to(b"media", relayed).unwrap();
    before.write_all(b"\x00\x01\x00\x00\x21\x12\xa4\x42tls request.").unwrap();
    server.turn();
    never_wait(&before.sock);
    let Socket::Udp(socket) = &client.socket else { unreachable!() };
    socket.set_nonblocking(true).unwrap();
    assert_eq!(client.read(), channel_data(0x4001, b"media"));
    before.read_exact(&mut [0; 32]).expect("an answer in the same turn");
}

#[test]
fn each_pipe_has_its_turn_however_much_the_first_ones_carry() {
    let mut server = by_hand(Options::default(), None);
    let mut pipes = server.during(|server| (0..8).map(|_| pipe(server)).collect::<Vec<_>>());
    for (_, data, peer) in &mut pipes {
        never_wait(data.stream());
        never_wait(peer);
    }
    let mut scratch = vec![0; 1 << 20];
    let mut arrived = [0; 8];
    for _ in 0..16 {
        for (_, data, _) in &mut pipes {
            while data.stream().write(&scratch).is_ok() {}
        }
        server.turn();
        for ((_, _, peer), arrived) in pipes.iter_mut().zip(&mut arrived) {
            while let Ok(length) = peer.read(&mut scratch) {
                *arrived += length;
            }
        }
    }
    assert!(arrived.iter().all(|bytes| *bytes > 0), "{arrived:?}");
}

#[test]
fn whoever_has_left_the_lobby_leaves_nothing_behind_one_who_waits() {
    let options = Options { balancers: BALANCED, ..Options::default() };
    let mut server = by_hand(options, None);
    let silent = TcpStream::connect(server.server.address).unwrap();
    while server.worker.lobby.order_len() == 0 {
        server.turn();
    }
    server.during(|server| {
        for port in 4001..4051 {
            mapped(&mut proxied_tcp(server, &v1(&format!("198.51.100.7:{port}"))));
        }
    });
    assert_eq!(server.worker.lobby.order_len(), 1);
    drop(silent);
}
