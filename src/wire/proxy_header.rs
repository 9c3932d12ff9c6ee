//! The header of the PROXY protocol, by which a load balancer says whom it speaks for: version 1 is
//! a line of text, version 2 binary. <https://www.haproxy.org/download/3.3/doc/proxy-protocol.txt>
//!
//! ```text
//! v1  "PROXY TCP4 192.0.2.1 198.51.100.1 56324 3478\r\n", 107 bytes at most; TCP6, UNKNOWN
//! v2  signature(12) version and command(1) family and protocol(1) length(2), then so many bytes:
//!     source, destination, their ports, and whatever the balancer has to tell beyond that
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const PREFIX: &[u8; 6] = b"PROXY ";
/// The longest line of version 1, its end included.
const LINE_MAX: usize = 107;
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;

/// The longest header that is taken: addresses, and what balancers tell of certificates.
pub const PROXY_HEADER_MAX: usize = 4096;

/// What a header stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The bytes of a connection: one header before all of them.
    Stream,
    /// A datagram: each has a header of its own, of version 2.
    Datagram,
}

/// A header that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length in bytes; what follows is the client's.
    pub length: usize,
    /// Whom the balancer speaks for; `None` where it speaks for itself (a health check), or for
    /// somebody without an IP address.
    pub client: Option<SocketAddr>,
}

/// The bytes do not begin with a header that this carrier may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader;

impl ProxyHeader {
    /// Reads the header that `bytes` begin with; `Ok(None)` where it is not whole yet.
    ///
    /// # Errors
    ///
    /// [`NoProxyHeader`] as soon as no further byte could make it one.
    pub fn read(bytes: &[u8], carrier: Carrier) -> Result<Option<Self>, NoProxyHeader> {
        if begins_like(bytes, SIGNATURE) {
            read_binary(bytes, carrier)
        } else if begins_like(bytes, PREFIX) && carrier == Carrier::Stream {
            read_line(bytes)
        } else {
            Err(NoProxyHeader)
        }
    }
}

/// Whether `bytes` are a beginning of `start`, or `start` one of theirs.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn read_line(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let within = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if within.len() < LINE_MAX { Ok(None) } else { Err(NoProxyHeader) };
    };
    let line = std::str::from_utf8(&within[PREFIX.len()..end]).map_err(|_| NoProxyHeader)?;
    let length = end + 2;
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some(ProxyHeader { length, client: None }));
    }
    let mut word = || words.next().ok_or(NoProxyHeader);
    let (source, destination) = (word()?, word()?);
    let (port, _) = (port(word()?)?, port(word()?)?);
    let ip = match family {
        Some("TCP4") => same::<Ipv4Addr>(source, destination)?.into(),
        Some("TCP6") => same::<Ipv6Addr>(source, destination)?.into(),
        _ => return Err(NoProxyHeader),
    };
    if words.next().is_some() {
        return Err(NoProxyHeader);
    }
    Ok(Some(ProxyHeader { length, client: Some(client(ip, port)) }))
}

/// The source, if both are addresses of this family.
fn same<T: std::str::FromStr>(source: &str, destination: &str) -> Result<T, NoProxyHeader> {
    match (source.parse(), destination.parse::<T>()) {
        (Ok(source), Ok(_)) => Ok(source),
        _ => Err(NoProxyHeader),
    }
}

/// Digits, no zero before others.
fn port(text: &str) -> Result<u16, NoProxyHeader> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(NoProxyHeader)
}

fn read_binary(bytes: &[u8], carrier: Carrier) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > PROXY_HEADER_MAX {
        return Err(NoProxyHeader);
    }
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(NoProxyHeader),
    };
    let Some(addresses) = bytes.get(FIXED..length) else { return Ok(None) };
    // Of a balancer's own connection nothing else is looked at.
    let client = if is_local { None } else { read_addresses(fixed[13], addresses, carrier)? };
    Ok(Some(ProxyHeader { length, client }))
}

/// The source, where the family of addresses has any.
fn read_addresses(
    kind: u8,
    addresses: &[u8],
    carrier: Carrier,
) -> Result<Option<SocketAddr>, NoProxyHeader> {
    // Unspecified: the balancer does not know.
    if kind == 0 {
        return Ok(None);
    }
    let protocol = match carrier {
        Carrier::Stream => 1,
        Carrier::Datagram => 2,
    };
    if kind & 0xF != protocol {
        return Err(NoProxyHeader);
    }
    match kind >> 4 {
        1 => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] =
                *addresses.first_chunk::<12>().ok_or(NoProxyHeader)?;
            Ok(Some(client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))))
        }
        2 => {
            let addresses = addresses.first_chunk::<36>().ok_or(NoProxyHeader)?;
            let ip: [u8; 16] = *addresses.first_chunk().ok_or(NoProxyHeader)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Ok(Some(client(Ipv6Addr::from(ip).into(), port)))
        }
        // Paths in the file system: no address that a client could be told.
        3 => addresses.first_chunk::<216>().map(|_| None).ok_or(NoProxyHeader),
        _ => Err(NoProxyHeader),
    }
}

/// An IPv4 address is one, even where a balancer that reaches us by IPv6 writes it as `::ffff:…`.
fn client(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}
