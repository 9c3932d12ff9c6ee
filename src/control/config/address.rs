//! Addresses as people write them, each with the cure for how it is written wrong most often.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// A cause and its cure; whoever asked knows the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) cause: String,
    pub(super) cure: String,
}

impl Wrong {
    pub(super) fn new(cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { cause: cause.into(), cure: cure.into() }
    }
}

/// `IP:port` to listen on; port 0 lets the system choose.
pub(super) fn listener(text: &str) -> Result<SocketAddr, Wrong> {
    let address = socket(text)?;
    let ip = address.ip();
    if !ip.is_unspecified() {
        host_address(ip)?;
    }
    Ok(address)
}

/// `IP:port` of another server.
pub(super) fn server(text: &str) -> Result<SocketAddr, Wrong> {
    let address = socket(text)?;
    if address.ip().is_unspecified() || address.port() == 0 {
        let cause = format!("{address} is no address that a client could be told");
        return Err(Wrong::new(cause, "write where that server listens, \"192.0.2.2:3478\""));
    }
    host_address(address.ip())?;
    Ok(address)
}

fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let whole = SocketAddr::new(ip, 3478);
        return Err(Wrong::new(format!("{text:?} has no port"), format!("write \"{whole}\"")));
    }
    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let host = text.rsplit_once(':').map_or("", |(host, _)| host);
    if let (Some(port), "" | "*" | "localhost") = (port, host) {
        let cure = match host {
            "localhost" => format!("write \"127.0.0.1:{port}\""),
            _ => format!("write \"0.0.0.0:{port}\", \"[::]:{port}\""),
        };
        return Err(Wrong::new(format!("{text:?} has no address"), cure));
    }
    if let (Some(port), Ok(ip)) = (port, host.parse::<Ipv6Addr>()) {
        let cure = format!("write \"[{ip}]:{port}\"");
        return Err(Wrong::new(format!("{text:?} needs brackets around the address"), cure));
    }
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        let cause = format!("{text:?} has no port from 0 to 65535");
        return Err(Wrong::new(cause, format!("write \"{}\"", SocketAddr::new(ip, 3478))));
    }
    let cure = "write address and port, \"192.0.2.1:3478\" or \"[2001:db8::1]:3478\"; \
                names are not looked up";
    Err(Wrong::new(format!("{text:?} is not an address with a port"), cure))
}

/// An address to relay from.
pub(super) fn relay(text: &str) -> Result<IpAddr, Wrong> {
    let ip = plain(text)?;
    if ip.is_unspecified() {
        let cause = format!("{ip} is no address that a client could be told");
        let cure = "write one address of this host, or addresses = [] to have them found out";
        return Err(Wrong::new(cause, cure));
    }
    host_address(ip)
}

/// One pair of `external`; `addresses` is what `[relay] addresses` has.
pub(super) fn external(
    local: &str,
    outside: &str,
    addresses: &[IpAddr],
) -> Result<(IpAddr, IpAddr), Wrong> {
    let (from, to) = (relay(local)?, plain(outside)?);
    if from.is_ipv4() != to.is_ipv4() {
        let cause = format!("{from} and {to} are of different families");
        return Err(Wrong::new(cause, "map IPv4 to IPv4 and IPv6 to IPv6"));
    }
    if to.is_unspecified() {
        let cause = format!("{to} is no address that a client could be told");
        return Err(Wrong::new(cause, "write the address that the world sees this host by"));
    }
    host_address(to)?;
    if !addresses.is_empty() && !addresses.contains(&from) {
        let cause = format!("{from} is not in [relay] addresses, so this does nothing");
        let cure = format!("add \"{from}\" to addresses, or remove it here");
        return Err(Wrong::new(cause, cure));
    }
    Ok((from, to))
}

fn plain(text: &str) -> Result<IpAddr, Wrong> {
    if let Ok(ip) = text.parse() {
        return Ok(ip);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let cure = format!("write \"{}\"; ports are port_min and port_max", address.ip());
        return Err(Wrong::new(format!("{text:?} has a port"), cure));
    }
    let cure = "write it like \"192.0.2.1\" or \"2001:db8::1\"; names are not looked up";
    Err(Wrong::new(format!("{text:?} is not an IP address"), cure))
}

/// An address that a host can have.
fn host_address(ip: IpAddr) -> Result<IpAddr, Wrong> {
    if let IpAddr::V6(v6) = ip {
        if let Some(v4) = v6.to_ipv4_mapped() {
            let cause = format!("{ip} is an IPv4 address in IPv6 clothes");
            return Err(Wrong::new(cause, format!("write {v4}")));
        }
        if v6.is_unicast_link_local() {
            let cause = format!("{ip} is link-local: it means nothing without its interface");
            return Err(Wrong::new(cause, "use a global or a unique local address of this host"));
        }
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        let cause = format!("{ip} is an address of many hosts, not of this one");
        return Err(Wrong::new(cause, "write a unicast address of this host"));
    }
    Ok(ip)
}

/// A CIDR, or one address.
pub(super) fn net(text: &str) -> Result<IpNet, Wrong> {
    let Some(net) =
        text.parse::<IpNet>().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))
    else {
        return Err(Wrong::new(format!("{text:?} is not a range of addresses"), net_cure(text)));
    };
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.network().to_ipv4_mapped()
    {
        let cause = format!("{net} is IPv4 in IPv6 clothes; every form of a peer is judged anyway");
        return Err(Wrong::new(cause, format!("write \"{v4}/{}\"", v6.prefix_len() - 96)));
    }
    if net != net.trunc() {
        let cause = format!("{net} is one address and a whole range at once");
        let cure =
            format!("write \"{}\" for the range or \"{}\" for the one", net.trunc(), net.addr());
        return Err(Wrong::new(cause, cure));
    }
    Ok(net)
}

fn net_cure(text: &str) -> String {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    match address.parse::<IpAddr>() {
        Ok(ip) if length.is_empty() || length.parse::<u16>().is_ok() => {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            format!("write a length from 0 to {longest} behind the slash")
        }
        Ok(ip) => {
            let length = if ip.is_ipv4() { 24 } else { 64 };
            format!("write the length in bits, such as \"{ip}/{length}\"")
        }
        Err(_) if text.contains('-') => {
            "write the range as CIDR, such as \"10.0.0.0/8\"; several where one does not do"
                .to_owned()
        }
        Err(_) => "write it like \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"".to_owned(),
    }
}

/// Whether two listeners, both on streams or both on datagrams, take each other's port.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip()
        || a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    a.port() != 0 && a.port() == b.port() && overlap
}

/// A page's origin, as browsers send it: scheme, host, perhaps a port, nothing behind.
pub(super) fn origin(text: &str) -> Result<(), Wrong> {
    let cure = "write it as browsers send it: \"https://example.org\", no path, no slash";
    let host = text.split_once("://").map(|(_, host)| host);
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#']) => Ok(()),
        _ if text == "*" => {
            Err(Wrong::new("\"*\" is no origin", "name each page; the server's own needs no entry"))
        }
        _ => Err(Wrong::new(format!("{text:?} is not an origin"), cure)),
    }
}

/// A name or an address, without scheme and port.
pub(super) fn host(text: &str) -> Result<(), Wrong> {
    let is_name = |text: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || is_name(text) {
        return Ok(());
    }
    let cure = "write the bare name or address, such as \"turn.example.org\"";
    Err(Wrong::new(format!("{text:?} is not a name or an address"), cure))
}
