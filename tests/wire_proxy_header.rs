//! The headers of the PROXY protocol: examples of its text, another implementation's, and that
//! nothing else is taken for one.

use std::net::{IpAddr, SocketAddr};

use hairpin::wire::proxy_header::{Carrier, NoProxyHeader, PROXY_HEADER_MAX, ProxyHeader};
use ppp::v2::{Addresses, Builder, Command, IPv4, IPv6, Protocol, Type, Version};
use proptest::prelude::*;

const SIGNATURE: &[u8] = b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A";

fn read(bytes: &[u8], carrier: Carrier) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    ProxyHeader::read(bytes, carrier)
}

fn client(bytes: &[u8], carrier: Carrier) -> Option<SocketAddr> {
    let header = read(bytes, carrier).expect("a header").expect("a whole one");
    assert_eq!(header.length, bytes.len());
    header.client
}

/// Version 2, put together by hand.
fn binary(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, kind], &length, rest].concat()
}

const V4: &[u8] = &[198, 51, 100, 7, 192, 0, 2, 1, 0x11, 0x5C, 0x0D, 0x96];

#[test]
fn lines_of_version_1_are_read() {
    for (line, address) in [
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
        ("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324"),
        ("PROXY TCP4 192.168.0.1 192.168.0.11 0 0\r\n", "192.168.0.1:0"),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324"),
        // The longest one that the text has, of 104 bytes with this prefix.
        (
            "PROXY TCP6 ffff:f0f0:ffff:ffff:ffff:ffff:ffff:ffff \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            "[ffff:f0f0:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    ] {
        let expected = Some(address.parse().expect("an address"));
        assert_eq!(client(line.as_bytes(), Carrier::Stream), expected, "{line}");
        assert_eq!(read(line.as_bytes(), Carrier::Datagram), Err(NoProxyHeader), "only streams");
    }
}

/// "the receiver must … ignore anything presented before the CRLF is found".
#[test]
fn an_unknown_client_is_the_balancer() {
    for line in [
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        "PROXY UNKNOWN whatever it likes to say\r\n",
    ] {
        assert_eq!(client(line.as_bytes(), Carrier::Stream), None, "{line}");
    }
}

#[test]
fn what_is_no_line_of_version_1_is_refused() {
    for line in [
        "PROXY\r\n\r\n\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 ::1%lo ::1 1 2\r\n",
        "PROXY TCP4 example.org 1.2.3.4 1 2\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \u{662}\r\n",
        "GET / HTTP/1.1\r\n",
    ] {
        assert_eq!(read(line.as_bytes(), Carrier::Stream), Err(NoProxyHeader), "{line}");
    }
}

/// "the longest line is 107 bytes": with a line's end at the 107th byte, and not later.
#[test]
fn a_line_that_does_not_end_is_refused_at_its_107th_byte() {
    let padded = |length: usize| {
        let filler = "x".repeat(length - "PROXY UNKNOWN \r\n".len());
        format!("PROXY UNKNOWN {filler}\r\n").into_bytes()
    };
    assert!(read(&padded(107), Carrier::Stream).is_ok_and(|header| header.is_some()));
    assert_eq!(read(&padded(108), Carrier::Stream), Err(NoProxyHeader));
    let endless = padded(400);
    for length in 1..107 {
        assert_eq!(read(&endless[..length], Carrier::Stream), Ok(None), "{length}");
    }
    assert_eq!(read(&endless[..107], Carrier::Stream), Err(NoProxyHeader));
}

#[test]
fn headers_of_version_2_are_read_for_their_carrier_alone() {
    let expected = Some("198.51.100.7:4444".parse().expect("an address"));
    for (kind, is_for, not_for) in
        [(0x11, Carrier::Stream, Carrier::Datagram), (0x12, Carrier::Datagram, Carrier::Stream)]
    {
        let bytes = binary(0x21, kind, V4);
        assert_eq!(client(&bytes, is_for), expected);
        assert_eq!(read(&bytes, not_for), Err(NoProxyHeader));
    }
}

#[test]
fn an_ipv4_client_in_ipv6_clothes_is_an_ipv4_client() {
    let mut addresses = [0; 36];
    addresses[10..16].copy_from_slice(&[0xFF, 0xFF, 198, 51, 100, 7]);
    addresses[32..34].copy_from_slice(&4444_u16.to_be_bytes());
    let expected = Some("198.51.100.7:4444".parse().expect("an address"));
    assert_eq!(client(&binary(0x21, 0x22, &addresses), Carrier::Datagram), expected);
    let line = b"PROXY TCP6 ::ffff:198.51.100.7 ::1 4444 2\r\n";
    assert_eq!(client(line, Carrier::Stream), expected);
}

#[test]
fn where_the_balancer_speaks_for_itself_there_is_no_client() {
    let unix = [7; 216];
    for carrier in [Carrier::Stream, Carrier::Datagram] {
        for bytes in [
            binary(0x20, 0x00, b""),
            binary(0x20, 0x11, V4),
            binary(0x20, 0x12, V4),
            binary(0x20, 0x22, b"whatever"),
            binary(0x20, 0xFF, b""),
            binary(0x21, 0x00, b""),
            binary(0x21, 0x00, V4),
        ] {
            assert_eq!(client(&bytes, carrier), None);
        }
    }
    assert_eq!(client(&binary(0x21, 0x31, &unix), Carrier::Stream), None);
    assert_eq!(client(&binary(0x21, 0x32, &unix), Carrier::Datagram), None);
}

#[test]
fn what_is_no_header_of_version_2_is_refused() {
    let mut wrong = vec![
        binary(0x11, 0x11, V4),
        binary(0x31, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x2F, 0x11, V4),
        binary(0x21, 0x01, V4),
        binary(0x21, 0x10, V4),
        binary(0x21, 0x13, V4),
        binary(0x21, 0x1F, V4),
        binary(0x21, 0x41, V4),
        binary(0x21, 0xF1, V4),
        binary(0x21, 0x11, &V4[..11]),
        binary(0x21, 0x11, b""),
        binary(0x21, 0x21, &[1; 35]),
        binary(0x21, 0x31, &[1; 215]),
        binary(0x21, 0x11, &vec![0; PROXY_HEADER_MAX - 15]),
    ];
    for at in 0..SIGNATURE.len() {
        let mut changed = binary(0x21, 0x11, V4);
        changed[at] ^= 0x20;
        wrong.push(changed);
    }
    for bytes in wrong {
        assert_eq!(read(&bytes, Carrier::Stream), Err(NoProxyHeader), "{bytes:02x?}");
    }
    let longest = binary(0x21, 0x11, &[V4, &vec![0; PROXY_HEADER_MAX - 28]].concat());
    assert!(read(&longest, Carrier::Stream).is_ok_and(|header| header.is_some()));
}

#[test]
fn every_beginning_of_a_header_waits_for_the_rest() {
    for whole in [
        binary(0x21, 0x11, &[V4, b"\x04\0\x02ab"].concat()),
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ] {
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end], Carrier::Stream), Ok(None), "{end}");
        }
        let longer = [&whole[..], b"\x00\x01\x00\x00"].concat();
        let header = read(&longer, Carrier::Stream).expect("a header").expect("a whole one");
        assert_eq!(header.length, whole.len(), "what follows is the client's");
    }
}

fn addresses(source: SocketAddr) -> Addresses {
    match source.ip() {
        IpAddr::V4(ip) => IPv4::new(ip, ip, source.port(), 3478).into(),
        IpAddr::V6(ip) => IPv6::new(ip, ip, source.port(), 3478).into(),
    }
}

proptest! {
    #[test]
    fn what_another_implementation_writes_is_read(
        ip: IpAddr,
        port: u16,
        more in prop::collection::vec(any::<u8>(), 0..200),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let source = SocketAddr::new(ip, port);
        let expected = Some(SocketAddr::new(ip.to_canonical(), port));
        for (protocol, carrier) in
            [(Protocol::Stream, Carrier::Stream), (Protocol::Datagram, Carrier::Datagram)]
        {
            let version = Version::Two | Command::Proxy;
            let built = Builder::with_addresses(version, protocol, addresses(source))
                .write_tlv(Type::UniqueId, &more)
                .and_then(Builder::build)
                .expect("it fits");
            let whole = [&built[..], &behind].concat();
            let header = read(&whole, carrier).expect("a header").expect("a whole one");
            prop_assert_eq!((header.length, header.client), (built.len(), expected));
        }
        let (family, far) = if ip.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "::1") };
        let line = format!("PROXY {family} {ip} {far} {port} 3478\r\n");
        let theirs = ppp::v1::Header::try_from(line.as_str());
        prop_assert!(theirs.is_ok());
        prop_assert_eq!(client(line.as_bytes(), Carrier::Stream), expected);
    }

    /// Whatever we take, the other implementation takes.
    #[test]
    fn nothing_is_taken_that_another_implementation_refuses(
        mut bytes in prop::collection::vec(any::<u8>(), 16..120),
        is_binary: bool,
        kind in 0..0x40_u8,
        line in "PROXY TCP[46]( [0-9a-f.:]{0,12}){0,5}\r\n",
    ) {
        if is_binary {
            let length = bytes.len() as u16 - 16;
            bytes[..12].copy_from_slice(SIGNATURE);
            (bytes[12], bytes[13]) = (0x21, kind);
            bytes[14..16].copy_from_slice(&length.to_be_bytes());
            for carrier in [Carrier::Stream, Carrier::Datagram] {
                if read(&bytes, carrier).is_ok_and(|header| header.is_some()) {
                    prop_assert!(ppp::v2::Header::try_from(&bytes[..]).is_ok(), "{bytes:02x?}");
                }
            }
        } else if read(line.as_bytes(), Carrier::Stream).is_ok_and(|header| header.is_some()) {
            prop_assert!(ppp::v1::Header::try_from(line.as_str()).is_ok(), "{line:?}");
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for carrier in [Carrier::Stream, Carrier::Datagram] {
            if let Ok(Some(header)) = read(&bytes, carrier) {
                prop_assert!(header.length <= bytes.len());
            }
        }
    }
}
