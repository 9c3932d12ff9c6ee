//! A load balancer before a running server (PROXY protocol): from turnserver.toml to an answer that
//! names the client, and nobody else is believed.
#![allow(clippy::disallowed_methods, reason = "real sockets need the real clock")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common {
    pub(crate) mod client;
    pub(crate) mod server;
}

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use common::client::{Client, PATIENCE};
use common::server::Server;
use hairpin::wire::message::MAGIC_COOKIE;
use hairpin::wire::{AttributeType, Class, Message, MessageWriter, Method};
use socket2::{Domain, Socket, Type};

const CONFIG: &str = "workers = 2\n[listen]\nproxy_protocol = [\"127.0.0.3\", \"10.0.0.0/8\"]";
const CLIENT: &str = "198.51.100.7:4444";
/// The client and 192.0.2.1:3478 behind signature, version, family and protocol, length.
const ADDRESSES: &[u8] = b"\0\x0C\xC6\x33\x64\x07\xC0\0\x02\x01\x11\x5C\x0D\x96";

fn header(protocol: u8) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[0x10 | protocol][..], ADDRESSES].concat()
}

fn request() -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut transaction = [7; 16];
    transaction[..4].copy_from_slice(&MAGIC_COOKIE);
    let mut writer = MessageWriter::new(&mut buffer, Method::BINDING, Class::Request, &transaction);
    writer.written().unwrap().to_vec()
}

fn mapped(answer: &[u8]) -> SocketAddr {
    let message = Message::parse(answer).unwrap();
    message.xor_address(AttributeType::XOR_MAPPED_ADDRESS).unwrap().unwrap()
}

fn udp_from(ip: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn tcp_from(ip: &str, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_listed_balancer_brings_clients_and_nobody_else_does() {
    let server = Server::with(CONFIG);
    let client: SocketAddr = CLIENT.parse().unwrap();

    let balancer = udp_from("127.0.0.3", server.address());
    let mut buffer = [0; 512];
    // Without its header it gets no answer: the next one is for the next request.
    balancer.send(&request()).unwrap();
    balancer.send(&[header(2), request()].concat()).unwrap();
    let length = balancer.recv(&mut buffer).unwrap();
    assert_eq!(mapped(&buffer[..length]), client);

    let line = format!("PROXY TCP4 {} 192.0.2.1 {} 3478\r\n", client.ip(), client.port());
    for header in [header(1), line.into_bytes()] {
        let mut balancer = tcp_from("127.0.0.3", server.address());
        balancer.write_all(&[header, request()].concat()).unwrap();
        let mut answer = [0; 32];
        balancer.read_exact(&mut answer).unwrap();
        assert_eq!(mapped(&answer), client);
    }

    // Without a header, a listed one is no client; with one, an unlisted one isn't either.
    for (from, bytes) in [("127.0.0.3", request()), ("127.0.0.4", header(1))] {
        let mut stream = tcp_from(from, server.address());
        stream.write_all(&bytes).unwrap();
        assert_eq!(stream.read(&mut buffer).unwrap_or(0), 0, "{from} is hung up on");
    }
    let unlisted = udp_from("127.0.0.4", server.address());
    unlisted.send(&[header(2), request()].concat()).unwrap();
    unlisted.send(&request()).unwrap();
    let length = unlisted.recv(&mut buffer).unwrap();
    assert_eq!(mapped(&buffer[..length]), unlisted.local_addr().unwrap());

    // Whoever comes by itself is served as ever.
    Client::udp(server.address()).allocate();
    Client::tcp(server.address()).allocate();
}
