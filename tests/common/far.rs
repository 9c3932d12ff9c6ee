//! A server that is far away.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Nobody needs a way any more by which nothing has come for so long.
const IDLE: Duration = Duration::from_secs(20);

/// An address by which clients reach this server over UDP, each way so much later.
pub(crate) fn far_away(server: SocketAddr, delay: Duration) -> SocketAddr {
    let near = socket();
    let address = near.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut ways: HashMap<SocketAddr, Sender<(Instant, Vec<u8>)>> = HashMap::new();
        let mut bytes = [0; 2048];
        while let Ok((length, client)) = near.recv_from(&mut bytes) {
            let way = ways.entry(client).or_insert_with(|| {
                let far = socket();
                far.connect(server).expect("a way on loopback");
                back(clone(&far), clone(&near), client, delay);
                later(move |bytes| drop(far.send(bytes)))
            });
            let _ = way.send((Instant::now() + delay, bytes[..length].to_vec()));
        }
    });
    address
}

/// Passes on to a client what comes for it.
fn back(far: UdpSocket, near: UdpSocket, client: SocketAddr, delay: Duration) {
    let way = later(move |bytes| drop(near.send_to(bytes, client)));
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok(length) = far.recv(&mut bytes) {
            let _ = way.send((Instant::now() + delay, bytes[..length].to_vec()));
        }
    });
}

/// Sends each datagram when it is due.
fn later(send: impl Fn(&[u8]) + Send + 'static) -> Sender<(Instant, Vec<u8>)> {
    let (way, datagrams) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (due, bytes) in datagrams {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            send(&bytes);
        }
    });
    way
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
    socket.set_read_timeout(Some(IDLE)).expect("a timeout");
    socket
}

fn clone(socket: &UdpSocket) -> UdpSocket {
    socket.try_clone().expect("another descriptor")
}
