//! Which of the sockets that share a port gets a datagram: a filter that the kernel runs.
//!
//! Media comes in floods, and a flood fills the receive buffer of its socket. Requests would be
//! lost with it, so they have sockets of their own: each worker has one for requests and one for
//! everything else (ChannelData, Send indications, what is neither). The kernel's own choice among
//! the sockets of a port is by addresses alone, which must stay so for workers: all that a client
//! sends comes to one of them. So the filter does both, the worker by a keyed hash of the client's
//! address and port, the socket by the first two bytes.
//!
//! It is a classic BPF program (`SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5), which needs no privilege. A
//! load beyond the packet's end yields socket 0: such a packet is no message of anybody's.

use std::fmt;

use libc::sock_filter;

use crate::wire::method::{Class, Method, message_type};

/// How a port's datagrams are dealt to its sockets: one for requests for each worker, and as many
/// for media behind them, in the order in which they were bound.
#[derive(Clone, Copy)]
pub struct Steering {
    /// Odd, as they are multiplied with.
    key: [u32; 6],
}

impl Steering {
    /// With a key that clients cannot guess, or they could all come to one worker.
    pub fn new(seed: [u8; 32]) -> Self {
        let word = |i: usize| u32::from_le_bytes(std::array::from_fn(|at| seed[4 * i + at]));
        Self { key: std::array::from_fn(|i| word(i) | 1) }
    }

    /// The filter for `workers` workers.
    pub(super) fn program(&self, workers: u16, ipv6: bool) -> Vec<sock_filter> {
        let workers = u32::from(workers);
        let media_skips = |skip| {
            [
                load(HALF, 0),
                jump(libc::BPF_JEQ, SEND.into(), skip + 1, 0),
                jump(libc::BPF_JGE, STUN_TYPES_END, skip, 0),
            ]
        };
        if workers == 1 {
            return [&media_skips(1)[..], &[give(0), give(1)]].concat();
        }
        let first = [
            immediate(0),
            operation(libc::BPF_JMP | libc::BPF_JA, 1),
            immediate(workers),
            store(FIRST),
        ];
        let hash = if ipv6 { self.hash_v6() } else { self.hash_v4() };
        let [.., last] = self.key;
        let choice = [
            // The upper bits hang on all of the input; the remainder is of the lower ones.
            operation(libc::BPF_MISC | libc::BPF_TAX, 0),
            arithmetic(libc::BPF_RSH, 16),
            with_x(libc::BPF_XOR),
            arithmetic(libc::BPF_MUL, last),
            operation(libc::BPF_MISC | libc::BPF_TAX, 0),
            arithmetic(libc::BPF_RSH, 15),
            with_x(libc::BPF_XOR),
            arithmetic(libc::BPF_MOD, workers),
            recall(FIRST),
            with_x(libc::BPF_ADD),
            operation(libc::BPF_RET | libc::BPF_A, 0),
        ];
        [&media_skips(2)[..], &first, &hash, &choice].concat()
    }

    /// Source address and port of an IPv4 packet, whose header may hold options.
    fn hash_v4(&self) -> Vec<sock_filter> {
        vec![
            load(WORD, NETWORK + 12),
            arithmetic(libc::BPF_MUL, self.key[0]),
            store(SUM),
            load(BYTE, NETWORK),
            arithmetic(libc::BPF_AND, 0x0F),
            arithmetic(libc::BPF_LSH, 2),
            operation(libc::BPF_MISC | libc::BPF_TAX, 0),
            operation(libc::BPF_LD | libc::BPF_IND | HALF, NETWORK),
            arithmetic(libc::BPF_MUL, self.key[1]),
            recall(SUM),
            with_x(libc::BPF_ADD),
        ]
    }

    /// Source address and port of an IPv6 packet. Behind extension headers the port is not looked
    /// for: no client sends some of its packets with them and others without.
    fn hash_v6(&self) -> Vec<sock_filter> {
        let mut program = vec![immediate(0), store(SUM)];
        for (word, key) in (0..4).zip(self.key) {
            program.extend([
                load(WORD, NETWORK + 8 + 4 * word),
                arithmetic(libc::BPF_MUL, key),
                recall(SUM),
                with_x(libc::BPF_ADD),
                store(SUM),
            ]);
        }
        program.extend([
            load(BYTE, NETWORK + 6),
            jump(libc::BPF_JEQ, libc::IPPROTO_UDP as u32, 0, 2),
            load(HALF, NETWORK + 40),
            arithmetic(libc::BPF_MUL, self.key[4]),
            recall(SUM),
            with_x(libc::BPF_ADD),
        ]);
        program
    }
}

impl fmt::Debug for Steering {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steering")
    }
}

/// The first two bytes of a Send indication (RFC 8656 §11.1).
const SEND: u16 = message_type(Method::SEND, Class::Indication);
/// The first byte of a STUN message is 0 to 3 (RFC 7983).
const STUN_TYPES_END: u32 = 0x0400;

/// Cells of the program's memory.
const FIRST: u32 = 0;
const SUM: u32 = 1;
/// Loads from here on are from the packet's IP header; others are from its payload.
const NETWORK: u32 = libc::SKF_NET_OFF.cast_unsigned();

const BYTE: u32 = libc::BPF_B;
const HALF: u32 = libc::BPF_H;
const WORD: u32 = libc::BPF_W;

const fn operation(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

const fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | libc::BPF_K | test) as u16, jt, jf, k }
}

const fn load(size: u32, at: u32) -> sock_filter {
    operation(libc::BPF_LD | libc::BPF_ABS | size, at)
}

const fn immediate(value: u32) -> sock_filter {
    operation(libc::BPF_LD | libc::BPF_IMM, value)
}

const fn arithmetic(code: u32, k: u32) -> sock_filter {
    operation(libc::BPF_ALU | libc::BPF_K | code, k)
}

const fn with_x(code: u32) -> sock_filter {
    operation(libc::BPF_ALU | libc::BPF_X | code, 0)
}

const fn store(cell: u32) -> sock_filter {
    operation(libc::BPF_ST, cell)
}

/// Into X.
const fn recall(cell: u32) -> sock_filter {
    operation(libc::BPF_LDX | libc::BPF_MEM, cell)
}

const fn give(socket: u32) -> sock_filter {
    operation(libc::BPF_RET | libc::BPF_K, socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashMap;
    use std::net::{SocketAddr, UdpSocket};

    use crate::net::batch::{RecvBatch, SocketKey};
    use crate::net::udp::{self, Pair, bind_udp};

    fn bind(address: &str, workers: u16, seed: u8) -> Vec<Pair> {
        let steering = Some(Steering::new([seed; 32]));
        let options = udp::Options { steering, ..udp::Options::default() };
        bind_udp(address.parse().unwrap(), workers, options).unwrap()
    }

    /// What waits at the sockets: for each datagram its source, its bytes, which worker has it and
    /// whether it came as media. On loopback, what was sent has arrived.
    fn received(pairs: &mut [Pair]) -> Vec<(SocketAddr, Vec<u8>, usize, bool)> {
        let (mut batch, mut all) = (RecvBatch::new(), Vec::new());
        for (worker, pair) in pairs.iter_mut().enumerate() {
            let media = pair.media.as_mut().expect("this kernel runs filters");
            for (listener, is_media) in [(&mut pair.requests, false), (media, true)] {
                loop {
                    batch.clear();
                    let most = RecvBatch::BUFFERS;
                    let emptied = listener.receive(&mut batch, SocketKey(0), most).emptied;
                    let datagrams = (0..batch.len()).map(|at| batch.datagram(at));
                    all.extend(
                        datagrams.map(|it| (it.source, it.bytes.to_vec(), worker, is_media)),
                    );
                    if emptied {
                        break;
                    }
                }
            }
        }
        all
    }

    #[test]
    fn requests_and_media_come_to_sockets_of_their_own() {
        let requests = [&b"\0\x01"[..], b"\0\x03", b"\0\x04 and more", b"\x01\x11", b"\x03\xff"];
        let media = [&b"\x40\0"[..], b"\x4f\xff\0\x01x", b"\0\x16", b"\x16\xfe", b"\x80\xc8"];
        for workers in [1, 2, 5] {
            for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
                let mut pairs = bind(address, workers, 1);
                let mut to = pairs[0].requests.local_addr();
                if to.ip().is_unspecified() {
                    to.set_ip(if to.is_ipv4() { [127, 0, 0, 1].into() } else { [0; 16].into() });
                }
                let client = UdpSocket::bind(if to.is_ipv4() { "127.0.0.1:0" } else { "[::]:0" });
                let client = client.unwrap();
                for bytes in requests.iter().chain(&media) {
                    client.send_to(bytes, to).unwrap();
                }
                let received = received(&mut pairs);
                assert_eq!(received.len(), 10);
                for (_, bytes, _, is_media) in received {
                    assert_eq!(media.contains(&&bytes[..]), is_media, "{address} {bytes:x?}");
                }
            }
        }
    }

    #[test]
    fn all_that_a_client_sends_comes_to_one_worker_and_clients_to_all() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut pairs = bind(address, 3, 2);
            let to = pairs[0].requests.local_addr();
            let any = SocketAddr::new(to.ip(), 0);
            let clients: Vec<_> = (0..60).map(|_| UdpSocket::bind(any).unwrap()).collect();
            for client in &clients {
                for bytes in [b"\0\x01", b"\0\x16", b"\x40\0", b"\0\x04"] {
                    client.send_to(bytes, to).unwrap();
                }
            }
            let mut workers = HashMap::new();
            let mut clients_of = [0; 3];
            for (source, _, worker, _) in received(&mut pairs) {
                let first = *workers.entry(source).or_insert_with(|| {
                    clients_of[worker] += 1;
                    worker
                });
                assert_eq!(first, worker, "{source} came to two workers");
            }
            assert_eq!(clients_of.iter().sum::<usize>(), 60);
            assert!(clients_of.iter().all(|clients| *clients > 0), "{clients_of:?}");
        }
    }

    #[test]
    fn another_key_spreads_the_same_clients_otherwise() {
        let clients: Vec<_> = (0..30).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let spread = |seed| {
            let mut pairs = bind("127.0.0.1:0", 2, seed);
            let to = pairs[0].requests.local_addr();
            for client in &clients {
                client.send_to(b"\0\x01", to).unwrap();
            }
            let mut workers: Vec<_> = received(&mut pairs)
                .iter()
                .map(|(source, _, worker, _)| (*source, *worker))
                .collect();
            workers.sort_unstable();
            workers
        };
        assert_eq!(spread(3), spread(3));
        assert_ne!(spread(3), spread(4));
    }

    #[test]
    fn what_is_too_short_to_be_anything_harms_nobody() {
        let mut pairs = bind("127.0.0.1:0", 2, 5);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for bytes in [&b""[..], b"\0", b"\x40"] {
            client.send_to(bytes, pairs[0].requests.local_addr()).unwrap();
        }
        let received = received(&mut pairs);
        assert_eq!(received.len(), 3);
        assert!(received.iter().all(|(_, _, worker, is_media)| (*worker, *is_media) == (0, false)));
    }
}
