//! NAT behaviour discovery (RFC 5780) by real sockets: which of the server's answers by which
//! address, whatever listens there.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/server.rs"]
mod server;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hairpin::wire::message::MAGIC_COOKIE;
use hairpin::wire::{AttributeType, Class, Message, MessageWriter, Method};
use server::Server;

const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request waits that may have been lost.
const AGAIN: Duration = Duration::from_millis(500);

/// A server with discovery at 127.0.0.1 and 127.0.0.2; PORT is the primary port, and HTTP, which
/// is free as well, the alternate one.
fn server(udp: &str) -> (Server, [SocketAddr; 4]) {
    let server = Server::with(&format!(
        "workers = 2
        listen = {{ udp = [{udp}], http = [\"[::1]:HTTP\"] }}
        [nat_discovery]
        primary = [\"127.0.0.1:PORT\"]
        alternate = [\"127.0.0.2:HTTP\"]
        tcp = true
        requests_per_sec_per_source = 10000"
    ));
    let (primary, alternate) = (server.address().port(), server.http().port());
    let corners = [(1, primary), (1, alternate), (2, primary), (2, alternate)];
    let corners = corners.map(|(host, port)| ([127, 0, 0, host], port).into());
    (server, corners)
}

fn binding(transaction: u8, flags: Option<u8>) -> Vec<u8> {
    let mut bytes = [0; 1700];
    let mut id = [transaction; 16];
    id[..4].copy_from_slice(&MAGIC_COOKIE);
    let mut writer = MessageWriter::new(&mut bytes, Method::BINDING, Class::Request, &id);
    if let Some(flags) = flags {
        writer.attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, flags]);
    }
    writer.written().expect("it fits").to_vec()
}

/// The answer and who has sent it. What is not answered is sent again.
fn ask(socket: &UdpSocket, to: SocketAddr, request: &[u8]) -> (Vec<u8>, SocketAddr) {
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    let mut bytes = [0; 2048];
    for _ in 0..10 {
        socket.send_to(request, to).unwrap();
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            if bytes[4..20] == request[4..20] {
                return (bytes[..length].to_vec(), from);
            }
        }
    }
    panic!("{to} does not answer");
}

fn address(message: &Message<'_>, kind: AttributeType) -> SocketAddr {
    let value: &[u8; 8] = message.find(kind).expect("the attribute").try_into().unwrap();
    let [_, 1, p0, p1, a, b, c, d] = *value else { panic!("not IPv4") };
    ([a, b, c, d], u16::from_be_bytes([p0, p1])).into()
}

fn answers_by_table_1(udp: &str) {
    let (_server, corners) = server(udp);
    let mut transaction = 0;
    // Several clients, so that each worker has some.
    for _ in 0..8 {
        for (here, sources) in
            [(0, [0, 1, 2, 3]), (1, [1, 0, 3, 2]), (2, [2, 3, 0, 1]), (3, [3, 2, 1, 0])]
        {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            for (flags, source) in [0, 2, 4, 6].into_iter().zip(sources) {
                transaction += 1;
                let (answer, from) =
                    ask(&socket, corners[here], &binding(transaction, Some(flags)));
                let message = Message::parse(&answer).unwrap();
                assert_eq!(message.class(), Class::Success);
                assert_eq!(from, corners[source], "{flags} at {}", corners[here]);
                assert_eq!(address(&message, AttributeType::RESPONSE_ORIGIN), from);
                let other = address(&message, AttributeType::OTHER_ADDRESS);
                assert_eq!(other, corners[sources[3]]);
                let mapped = message.xor_address(AttributeType::XOR_MAPPED_ADDRESS);
                assert_eq!(mapped, Some(Ok(socket.local_addr().unwrap())));
            }
        }
    }
}

#[test]
fn four_sockets_answer_for_each_other() {
    answers_by_table_1("\"127.0.0.1:PORT\"");
}

/// The wildcard has two of the four addresses already, and answers from each.
#[test]
fn a_wildcard_listener_serves_the_addresses_that_it_has() {
    answers_by_table_1("\"0.0.0.0:PORT\"");
}

#[test]
fn a_response_goes_to_the_port_that_was_named() {
    let (_server, corners) = server("\"127.0.0.1:PORT\"");
    let [asking, named] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [high, low] = named.local_addr().unwrap().port().to_be_bytes();
    let mut bytes = [0; 64];
    let id = [[0x21, 0x12, 0xA4, 0x42], [1; 4], [2; 4], [3; 4]].concat().try_into().unwrap();
    let mut writer = MessageWriter::new(&mut bytes, Method::BINDING, Class::Request, &id);
    writer.attribute(AttributeType::RESPONSE_PORT, &[high, low, 0, 0]);
    let request = writer.written().unwrap();
    named.set_read_timeout(Some(PATIENCE)).unwrap();
    asking.send_to(request, corners[0]).unwrap();
    let mut answer = [0; 2048];
    let (length, from) = named.recv_from(&mut answer).unwrap();
    assert_eq!(from, corners[0]);
    let message = Message::parse(&answer[..length]).unwrap();
    let mapped = message.xor_address(AttributeType::XOR_MAPPED_ADDRESS);
    assert_eq!(mapped, Some(Ok(asking.local_addr().unwrap())));
    // It is the only answer: what comes to the asking socket next is that of another request.
    ask(&asking, corners[0], &binding(9, None));
}

#[test]
fn a_padded_answer_arrives_whole_from_the_other_address() {
    let (_server, corners) = server("\"127.0.0.1:PORT\"");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut bytes = [0; 2048];
    let id = [[0x21, 0x12, 0xA4, 0x42], [4; 4], [5; 4], [6; 4]].concat().try_into().unwrap();
    let mut writer = MessageWriter::new(&mut bytes, Method::BINDING, Class::Request, &id);
    writer.attribute(AttributeType::CHANGE_REQUEST, &[0, 0, 0, 6]);
    writer.attribute(AttributeType::PADDING, &[b'x'; 1500]);
    let (answer, from) = ask(&socket, corners[0], writer.written().unwrap());
    assert_eq!(from, corners[3]);
    let message = Message::parse(&answer).unwrap();
    assert_eq!(message.find(AttributeType::PADDING).map(<[u8]>::len), Some(1500));
}

#[test]
fn a_stream_to_any_of_the_four_is_told_the_opposite_one() {
    use std::io::{Read as _, Write as _};
    let (_server, corners) = server("\"127.0.0.1:PORT\"");
    for (here, other) in [(0, 3), (1, 2), (2, 1), (3, 0)] {
        let mut stream = TcpStream::connect_timeout(&corners[here], PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&binding(1, None)).unwrap();
        let mut answer = [0; 68];
        stream.read_exact(&mut answer).unwrap();
        let message = Message::parse(&answer).unwrap();
        assert_eq!(address(&message, AttributeType::OTHER_ADDRESS), corners[other]);
        assert_eq!(address(&message, AttributeType::RESPONSE_ORIGIN), corners[here]);
    }
}

/// Without the section a server has no other address, and says so (RFC 5780 §6).
#[test]
fn by_default_nothing_is_discovered() {
    let server = Server::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (answer, _) = ask(&socket, server.address(), &binding(1, Some(6)));
    let message = Message::parse(&answer).unwrap();
    assert_eq!(message.class(), Class::Error);
    assert_eq!(message.find(AttributeType::UNKNOWN_ATTRIBUTES), Some(&[0, 3][..]));
    let (answer, _) = ask(&socket, server.address(), &binding(2, None));
    assert_eq!(answer.len(), 32);
}
