//! What is the connections' alone: their ends, their framing, their limits, their slow readers.

use super::*;

#[test]
fn an_allocation_ends_with_its_connection() {
    let server = start(Options::default());
    let mut client = Client::tcp(server.address, "alice");
    let relayed = client.allocate();
    assert!(UdpSocket::bind(relayed).is_err());
    drop(client);
    let snapshot = server.until(|snapshot| snapshot.connections == 0);
    assert_eq!((snapshot.relays, snapshot.core.allocations), (0, 0));
    assert!(UdpSocket::bind(relayed).is_ok());
    server.stop();
}

#[test]
fn what_was_asked_before_a_half_close_is_answered() {
    let server = start(Options::default());
    let mut client = Client::tcp(server.address, "alice");
    let requests: Vec<u8> =
        (0..200).flat_map(|_| client.message(Method::BINDING, Class::Request, &[], None)).collect();
    client.write(&requests);
    let Socket::Tcp(mut stream, _) = client.socket else { unreachable!() };
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    let mut count = 0;
    while let Some(length) = frame_length(&answers).unwrap() {
        success(&answers[..length]);
        answers.drain(..length);
        count += 1;
    }
    assert_eq!((count, answers.len()), (200, 0));
    server.stop();
}

#[test]
fn requests_split_at_every_byte_are_answered() {
    let server = start(Options::default());
    let mut client = Client::tcp(server.address, "alice");
    let Socket::Tcp(stream, _) = &client.socket else { unreachable!() };
    stream.set_nodelay(true).unwrap();
    for cut in 1..20 {
        let request = client.message(Method::BINDING, Class::Request, &[], None);
        let before = server.snapshot(0).stats.turns;
        client.write(&request[..cut]);
        // The first part must have been read alone.
        server.until(|snapshot| snapshot.stats.turns > before + 2);
        client.write(&request[cut..]);
        success(&client.read());
    }
    server.stop();
}

#[test]
fn bytes_out_of_step_close_the_connection() {
    let server = start(Options::default());
    let mut client = Client::tcp(server.address, "alice");
    client.write(b"\x16\x03\x01");
    let Socket::Tcp(mut stream, _) = client.socket else { unreachable!() };
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(server.stop()[0].stats.connections_out_of_step, 1);
}

#[test]
fn an_idle_connection_is_closed_and_one_with_an_allocation_is_not() {
    let idle = Lifetime::from_secs(1);
    let server = start(Options { idle, ..Options::default() });
    let mut busy = Client::tcp(server.address, "alice");
    busy.allocate();
    let Socket::Tcp(mut stream, _) = Client::tcp(server.address, "alice").socket else {
        unreachable!()
    };
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    success(&busy.request(Method::REFRESH, &[], None));
    let snapshot = server.snapshot(0);
    assert_eq!((snapshot.stats.connections_idle, snapshot.connections), (1, 1));
    server.stop();
}

#[test]
fn connections_beyond_the_limits_are_closed_at_once() {
    for (total, per_source) in [(2, 100), (100, 2)] {
        let crowd = CrowdLimits { total, per_source, ..CrowdLimits::default() };
        let server = start(Options { crowd, ..Options::default() });
        let mut kept: Vec<_> = (0..2).map(|_| Client::tcp(server.address, "alice")).collect();
        for client in &mut kept {
            success(&client.request(Method::BINDING, &[], None));
        }
        let mut refused = TcpStream::connect(server.address).unwrap();
        refused.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(refused.read(&mut [0; 8]).unwrap(), 0);
        // Whoever leaves makes room.
        kept.pop();
        server.until(|snapshot| snapshot.connections == 1);
        success(&Client::tcp(server.address, "alice").request(Method::BINDING, &[], None));
        let stats = server.stop()[0].stats;
        let refused = (stats.connections_over_limit, stats.connections_over_source_limit);
        assert_eq!(refused, if total == 2 { (1, 0) } else { (0, 1) });
    }
}

#[test]
fn a_client_that_does_not_read_loses_media_and_costs_nobody_else_anything() {
    let server = start(Options::default());
    let (peer, peer_addr) = peer();
    let mut client = Client::tcp(server.address, "alice");
    let relayed = client.allocate();
    client.bind_channel(0x4001, peer_addr);
    let mut other = Client::udp(server.address, "bob");
    let payload = vec![9; 60_000];
    // As much as the kernel's buffers hold, and then more.
    server.until(|snapshot| {
        peer.send_to(&payload, relayed).unwrap();
        snapshot.stats.drops.queue_full > 10
    });
    success(&other.request(Method::BINDING, &[], None));
    // The answer comes behind whole frames of media.
    let refresh = client.message(Method::REFRESH, Class::Request, &[], None);
    client.write(&refresh);
    let media = padded(channel_data(0x4001, &payload));
    loop {
        let message = client.read();
        if message[0] != 0x40 {
            success(&message);
            break;
        }
        assert!(message == media, "a frame was torn");
    }
    server.stop();
}

#[test]
fn a_client_that_does_not_read_its_answers_is_let_go() {
    let server = start(Options::default());
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let mut other = Client::udp(server.address, "bob");
    let request = other.message(Method::BINDING, Class::Request, &[], None).repeat(1000);
    // The connection ends under it sooner or later.
    while stream.write_all(&request).is_ok() {}
    let snapshot = server.until(|snapshot| snapshot.connections == 0);
    assert_eq!(snapshot.stats.connections_unread, 1);
    success(&other.request(Method::BINDING, &[], None));
    server.stop();
}
