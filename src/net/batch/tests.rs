//! Batches with real sockets on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use super::*;

use crate::net::class::TrafficClass;
use crate::net::offload::Offload;
use crate::net::relay::{Options, RelaySocket};
use crate::net::sys::{Fragmentation, fragmentation, wait_readable};
use crate::net::udp::{self, Listener, bind_udp};
use crate::turn::RelayedAddr;
use crate::wire::Header;

const KEY: SocketKey = SocketKey(7);

/// One socket that answers to [`KEY`], and what became of its datagrams.
struct One<'a>(&'a mut dyn Outlet, Tally);

impl Outlets for One<'_> {
    fn outlet(&mut self, key: SocketKey) -> Option<&mut dyn Outlet> {
        if key == KEY { Some(self.0) } else { None }
    }

    fn tally(&mut self, _key: SocketKey, tally: &Tally) {
        self.1 = *tally;
    }
}

fn flush(send: &mut SendBatch, received: &RecvBatch, outlet: &mut dyn Outlet) -> Tally {
    let mut one = One(outlet, Tally::default());
    send.flush(received, &mut one);
    one.1
}

fn listener(address: &str) -> Listener {
    let mut pairs = bind_udp(address.parse().unwrap(), 1, udp::Options::default()).unwrap();
    pairs.remove(0).requests
}

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    socket
}

fn envelope(to: SocketAddr) -> Envelope {
    Envelope { socket: KEY, to, from: None, dont_fragment: false, class: TrafficClass::BEST_EFFORT }
}

fn receive(listener: &mut Listener, batch: &mut RecvBatch) -> Received {
    wait_readable(listener.descriptor());
    listener.receive(batch, KEY, RecvBatch::BUFFERS)
}

#[test]
fn datagrams_of_every_size_pass_unchanged() {
    let (mut received, mut send) = (RecvBatch::new(), SendBatch::new());
    let mut echoed = vec![0; 65_536];
    let pattern: Vec<u8> = (0..65_507_u32).map(|i| (i % 251) as u8).collect();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut listener, client) = (listener(address), client(address));
        client.connect(listener.local_addr()).unwrap();
        for size in (0..=65_507).step_by(61).chain([1, 1472, 1473, 65_506, 65_507]) {
            assert_eq!(client.send(&pattern[..size]).unwrap(), size);
            received.clear();
            let report = receive(&mut listener, &mut received);
            assert_eq!((report.datagrams, report.emptied), (1, true));
            let datagram = received.datagram(0);
            assert_eq!(datagram.bytes, &pattern[..size]);
            assert_eq!(datagram.source, client.local_addr().unwrap());
            send.push_slot(envelope(datagram.source), None, 0, 0..size, 0);
            let tally = flush(&mut send, &received, &mut listener);
            assert_eq!((tally.packets, tally.bytes), (1, size as u64));
            assert_eq!(client.recv(&mut echoed).unwrap(), size);
            assert_eq!(echoed[..size], pattern[..size]);
        }
    }
}

#[test]
fn header_payload_and_padding_leave_as_one_datagram() {
    let (mut received, mut send) = (RecvBatch::new(), SendBatch::new());
    let (mut listener, client) = (listener("127.0.0.1:0"), client("127.0.0.1:0"));
    client.send_to(b"0123456", listener.local_addr()).unwrap();
    receive(&mut listener, &mut received);
    let to = envelope(client.local_addr().unwrap());
    let header = Header::from_slice(&[0x40, 0, 0, 5]);
    send.push_slot(to, header, 0, 1..6, 3);
    send.push_bytes(to, header, b"own", 0);
    send.space()[..5].copy_from_slice(b"space");
    send.push_space(to, 5);
    assert_eq!(flush(&mut send, &received, &mut listener).packets, 3);
    assert!(send.is_empty());
    let mut buffer = [0; 64];
    for expected in [&b"\x40\0\0\x0512345\0\0\0"[..], b"\x40\0\0\x05own", b"space"] {
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected);
    }
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    for (wildcard, asked) in
        [("0.0.0.0:0", "127.0.0.2"), ("0.0.0.0:0", "127.0.0.3"), ("[::]:0", "::1")]
    {
        let (mut received, mut send) = (RecvBatch::new(), SendBatch::new());
        let mut listener = listener(wildcard);
        let asked = SocketAddr::new(asked.parse().unwrap(), listener.local_addr().port());
        let client = client(if asked.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" });
        // A connected socket hears nobody but whom it asked.
        client.connect(asked).unwrap();
        client.send(b"who?").unwrap();
        receive(&mut listener, &mut received);
        let datagram = received.datagram(0);
        let server = listener.server_addr(datagram.destination);
        assert_eq!(server, asked);
        let from = listener.source_for(server);
        assert_eq!(from, Some(asked.ip()));
        send.push_slot(Envelope { from, ..envelope(datagram.source) }, None, 0, 0..4, 0);
        assert_eq!(flush(&mut send, &received, &mut listener).packets, 1);
        assert_eq!(client.recv(&mut [0; 8]).unwrap(), 4);
    }
}

#[test]
fn an_error_of_one_packet_does_not_stop_the_others() {
    let (received, mut send) = (RecvBatch::new(), SendBatch::new());
    let (mut listener, client) = (listener("127.0.0.1:0"), client("127.0.0.1:0"));
    let good = client.local_addr().unwrap();
    let long = vec![0; 65_508];
    let bad: [(SocketAddr, &[u8]); 6] = [
        ("127.0.0.1:0".parse().unwrap(), b"port 0"),
        ("255.255.255.255:9".parse().unwrap(), b"broadcast"),
        (good, &long),
        ("[::1]:9".parse().unwrap(), b"another family"),
        ("240.0.0.1:9".parse().unwrap(), b"no such network"),
        ("192.0.2.1:9".parse().unwrap(), b"from loopback to the world"),
    ];
    for (number, (to, bytes)) in bad.into_iter().enumerate() {
        send.push_bytes(envelope(to), None, bytes, 0);
        send.push_bytes(envelope(good), None, &[number as u8], 0);
    }
    let tally = flush(&mut send, &received, &mut listener);
    assert_eq!(tally.too_long, 1);
    assert!(tally.packets >= 6 && tally.unreachable >= 2, "{tally:?}");
    let all = tally.packets + tally.too_long + tally.unreachable + tally.failed;
    assert_eq!((all, tally.full), (12, 0));
    let mut buffer = [0; 64];
    for number in 0..bad.len() {
        assert_eq!(client.recv(&mut buffer).unwrap(), 1);
        assert_eq!(usize::from(buffer[0]), number);
    }
}

#[test]
fn the_error_of_one_peer_costs_no_datagram_of_another() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (received, mut send) = (RecvBatch::new(), SendBatch::new());
        let local = RelayedAddr(address.parse().unwrap());
        let mut relay = RelaySocket::open(local, Options::default()).unwrap();
        let (there, deaf) = (client(address), client(address));
        let (to, gone) = (envelope(there.local_addr().unwrap()), deaf.local_addr().unwrap());
        // Who listens to itself alone refuses the rest.
        deaf.connect(gone).unwrap();
        for number in 0..100 {
            send.push_bytes(envelope(gone), None, b"nobody", 0);
            send.push_bytes(to, None, &[number as u8], 0);
            let tally = flush(&mut send, &received, &mut relay);
            assert_eq!((tally.packets, tally.unreachable, tally.failed), (2, 0, 0));
        }
        let mut buffer = [0; 8];
        for number in 0..100 {
            assert_eq!(there.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], number);
        }
    }
}

#[test]
fn a_run_ends_where_the_class_changes() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (received, mut send) = (RecvBatch::new(), SendBatch::new());
        let (mut listener, client) = (listener(address), client(address));
        let to = envelope(client.local_addr().unwrap());
        for class in [0, 0, 0xB8, 0xB8, 0xB8, 0, 2, 2] {
            let class = TrafficClass::carried(class);
            send.push_bytes(Envelope { class, ..to }, None, b"equally long", 0);
        }
        let tally = flush(&mut send, &received, &mut listener);
        assert_eq!((tally.packets, tally.messages), (8, 4));
        let mut buffer = [0; 64];
        for _ in 0..8 {
            assert_eq!(client.recv(&mut buffer).unwrap(), 12);
        }
    }
}

#[test]
fn packets_for_a_closed_socket_are_dropped() {
    let (received, mut send) = (RecvBatch::new(), SendBatch::new());
    let mut listener = listener("127.0.0.1:0");
    let to = listener.local_addr();
    send.push_bytes(Envelope { socket: SocketKey(8), ..envelope(to) }, None, b"late", 0);
    let tally = flush(&mut send, &received, &mut listener);
    assert_eq!(tally, Tally { failed: 1, ..Tally::default() });
}

#[test]
fn one_batch_takes_from_several_sockets_until_it_is_full() {
    let mut received = RecvBatch::new();
    let (mut first, mut second) = (listener("127.0.0.1:0"), listener("127.0.0.1:0"));
    let client = client("127.0.0.1:0");
    for number in 0..40 {
        client.send_to(&[number], first.local_addr()).unwrap();
    }
    client.send_to(b"other", second.local_addr()).unwrap();
    wait_readable(first.descriptor());
    let report = second.receive(&mut received, SocketKey(2), RecvBatch::BUFFERS);
    assert_eq!((report.datagrams, report.emptied), (1, true));
    let report = first.receive(&mut received, SocketKey(1), RecvBatch::BUFFERS);
    assert_eq!((report.datagrams, report.emptied), (31, false));
    assert!(received.is_full());
    assert_eq!(first.receive(&mut received, SocketKey(1), RecvBatch::BUFFERS), Received::default());
    assert_eq!(received.datagram(0).socket, SocketKey(2));
    for slot in 1..received.len() {
        assert_eq!(received.datagram(slot).bytes, [slot as u8 - 1]);
    }
    received.clear();
    let report = first.receive(&mut received, SocketKey(1), RecvBatch::BUFFERS);
    assert_eq!((report.datagrams, report.bytes, report.emptied), (9, 9, true));
    let report = first.receive(&mut received, SocketKey(1), RecvBatch::BUFFERS);
    assert_eq!((report.datagrams, report.emptied, report.errors), (0, true, 0));
}

#[test]
fn df_is_set_for_the_datagrams_that_ask_for_it_and_for_no_others() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (received, mut send) = (RecvBatch::new(), SendBatch::new());
        let local = RelayedAddr(address.parse().unwrap());
        let mut relay = RelaySocket::open(local, Options::default()).unwrap();
        let ipv6 = local.0.is_ipv6();
        let now = |relay: &RelaySocket| fragmentation(relay.descriptor().as_fd(), ipv6).unwrap();
        assert_eq!(now(&relay), Fragmentation::Allowed);
        let client = client(address);
        let to = envelope(client.local_addr().unwrap());
        for (dont_fragment, expected) in
            [(true, Fragmentation::Forbidden), (false, Fragmentation::Allowed)]
        {
            send.push_bytes(Envelope { dont_fragment: !dont_fragment, ..to }, None, b"a", 0);
            send.push_bytes(Envelope { dont_fragment, ..to }, None, b"b", 0);
            assert_eq!(flush(&mut send, &received, &mut relay).packets, 2);
            assert_eq!(now(&relay), expected);
        }
    }
}

/// Sends datagrams of these sizes to one client, and says in how many messages they left.
fn messages_for(sizes: &[usize], offload: Offload) -> (Tally, Vec<usize>) {
    let any = "127.0.0.1:0".parse().unwrap();
    let options = udp::Options { offload, ..udp::Options::default() };
    let mut listener = bind_udp(any, 1, options).unwrap().remove(0).requests;
    let client = client("127.0.0.1:0");
    let to = envelope(client.local_addr().unwrap());
    let mut send = SendBatch::new();
    for (number, size) in sizes.iter().enumerate() {
        send.push_bytes(to, None, &vec![number as u8; *size], 0);
    }
    let tally = flush(&mut send, &RecvBatch::new(), &mut listener);
    let mut buffer = vec![0; 65_536];
    let arrived = (0..sizes.len()).map(|number| {
        let length = client.recv(&mut buffer).unwrap();
        assert!(buffer[..length].iter().all(|byte| *byte == number as u8), "out of order");
        length
    });
    let arrived = arrived.collect();
    (tally, arrived)
}

#[test]
fn a_run_to_one_address_leaves_as_one_message_and_arrives_as_it_was() {
    let on = Offload::default();
    let off = Offload { gso: false, gro: false };
    for (sizes, messages) in [
        (&[100; 16][..], 1),
        // A shorter one ends a run, a longer one begins another.
        (&[100, 100, 99, 99, 99], 2),
        (&[100, 101, 101], 2),
        (&[1, 2, 3], 3),
        // An empty datagram is none's segment.
        (&[0, 0, 5, 0], 4),
        // No more than 64 segments, nor more than a datagram's bytes, in one message.
        (&[10; 100], 2),
        (&[30_000; 3], 2),
    ] {
        let (tally, arrived) = messages_for(sizes, on);
        assert_eq!(arrived, sizes);
        let bytes: usize = sizes.iter().sum();
        let sums = (tally.packets, tally.bytes, tally.messages);
        assert_eq!(sums, (sizes.len() as u64, bytes as u64, messages), "{sizes:?}");
        let (tally, arrived) = messages_for(sizes, off);
        assert_eq!((arrived.as_slice(), tally.messages), (sizes, sizes.len() as u64));
    }
}

#[test]
fn datagrams_for_several_addresses_are_sorted_and_none_is_mixed_up() {
    let mut listener = listener("127.0.0.1:0");
    let clients: Vec<_> = (0..5).map(|_| client("127.0.0.1:0")).collect();
    let mut send = SendBatch::new();
    for round in 0..10_u8 {
        for (number, client) in clients.iter().enumerate() {
            let to = envelope(client.local_addr().unwrap());
            send.push_bytes(to, None, &[number as u8, round], 0);
        }
    }
    let tally = flush(&mut send, &RecvBatch::new(), &mut listener);
    assert_eq!((tally.packets, tally.messages), (50, 5));
    let mut buffer = [0; 8];
    for (number, client) in clients.iter().enumerate() {
        for round in 0..10 {
            assert_eq!(client.recv(&mut buffer).unwrap(), 2);
            assert_eq!(buffer[..2], [number as u8, round]);
        }
    }
}

#[test]
fn what_the_kernel_has_joined_is_single_datagrams_again() {
    let (mut listener, mut sender) = (listener("127.0.0.1:0"), listener("127.0.0.1:0"));
    let mut send = SendBatch::new();
    for number in 0..40_u8 {
        let length = if number == 39 { 7 } else { 100 };
        send.push_bytes(envelope(listener.local_addr()), None, &[number; 100][..length], 0);
    }
    assert_eq!(flush(&mut send, &RecvBatch::new(), &mut sender).messages, 1);
    let mut received = RecvBatch::new();
    let report = receive(&mut listener, &mut received);
    assert_eq!((report.datagrams, received.len()), (40, 40));
    for number in 0..40 {
        let datagram = received.datagram(number);
        assert_eq!(datagram.bytes, &[number as u8; 100][..if number == 39 { 7 } else { 100 }]);
        assert_eq!(datagram.source, sender.local_addr());
    }
    // They came in one buffer, so that there is room for as many as before but one.
    assert_eq!(received.room(), RecvBatch::new().room() - 1);
}

/// As on a path with a short MTU: the segments are too long for the kernel, but not for fragments.
#[test]
fn what_the_kernel_refuses_to_segment_is_sent_alone_and_not_tried_again() {
    let mut segments = Segments::ON;
    segments.refused(libc::EMSGSIZE, 1400);
    assert_eq!(segments, Segments::up_to(1399));
    segments.refused(libc::EINVAL, 9000);
    assert_eq!(segments, Segments::up_to(1399));
    segments.refused(libc::EIO, 100);
    assert_eq!(segments, Segments::OFF);
}

#[test]
fn a_batch_grows_while_single_datagrams_queue_up_and_shrinks_for_long_runs() {
    let (mut to, mut sender) = (listener("127.0.0.1:0"), listener("127.0.0.1:0"));
    let (mut send, mut received) = (SendBatch::new(), RecvBatch::new());
    let first = received.room();
    let client = client("127.0.0.1:0");
    for _ in 0..3 {
        for _ in 0..received.room() {
            client.send_to(&[7; 50], to.local_addr()).unwrap();
        }
        assert_eq!(receive(&mut to, &mut received).datagrams, received.len());
        assert!(received.is_full());
        received.clear();
    }
    assert_eq!(received.room(), 8 * first);
    // 60 000 bytes in one buffer.
    for _ in 0..2 {
        for _ in 0..50 {
            send.push_bytes(envelope(to.local_addr()), None, &[7; 1200], 0);
        }
        assert_eq!(flush(&mut send, &RecvBatch::new(), &mut sender).messages, 1);
        assert_eq!(receive(&mut to, &mut received).datagrams, 50);
        received.clear();
    }
    assert!(received.room() < first, "{}", received.room());
}

#[test]
fn datagrams_that_a_socket_had_no_room_for_are_told_once() {
    let mut to = listener("127.0.0.1:0");
    let client = client("127.0.0.1:0");
    let room = 2 * to.buffers().receive;
    let (mut received, mut lost, mut sent, mut came) = (RecvBatch::new(), 0, 0, 0);
    while sent * 1000 < room {
        client.send_to(&[0; 1000], to.local_addr()).unwrap();
        sent += 1;
    }
    // The last one is queued behind the losses, so it tells of them.
    let mut drain = |sent: &mut usize| loop {
        received.clear();
        let report = to.receive(&mut received, KEY, RecvBatch::BUFFERS);
        came += report.datagrams;
        lost += report.lost as usize;
        if report.emptied {
            client.send_to(b"last", to.local_addr()).unwrap();
            *sent += 1;
            return;
        }
    };
    drain(&mut sent);
    drain(&mut sent);
    assert!(lost > 0);
    // One more is still on its way to be read.
    assert_eq!(came + lost + 1, sent);
}

#[test]
fn a_datagram_is_whoevers_it_is_told_to_be() {
    let (mut listener, client) = (listener("127.0.0.1:0"), client("127.0.0.1:0"));
    client.connect(listener.local_addr()).unwrap();
    let mut received = RecvBatch::new();
    for (count, bytes) in
        [&b"keep"[..], b"drop", b"header and rest", b"hdr", b"drop"].iter().enumerate()
    {
        client.send(bytes).unwrap();
        while received.len() <= count {
            receive(&mut listener, &mut received);
        }
    }
    let source = "198.51.100.7:4444".parse().unwrap();
    let left = received.reveal(3, |datagram| match datagram.bytes {
        b"drop" => Sender::Nobody,
        b"keep" => Sender::Itself,
        // A header that says it is longer than all of it leaves nothing.
        _ => Sender::Behind { header: 11, source },
    });
    assert_eq!((left, received.len()), (2, 3), "of the first three two are left");
    let own = client.local_addr().unwrap();
    for (slot, (bytes, source)) in
        [(&b"keep"[..], own), (b"rest", source), (b"", source)].iter().enumerate()
    {
        let datagram = received.datagram(slot);
        assert_eq!((datagram.bytes, datagram.source), (*bytes, *source));
    }
}
