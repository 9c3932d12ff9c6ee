//! The host's own addresses: what to relay from, and what nobody may reach us by.

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The addresses of every interface that is up: those that the world can reach first, then
/// private ones, loopback last. Link-local addresses of IPv6 mean nothing without their interface
/// and are left out.
pub fn found() -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in getifaddrs()? {
        let Some(ip) = interface.address.as_ref().and_then(ip_of) else { continue };
        let up = interface.flags.contains(InterfaceFlags::IFF_UP);
        if up && is_usable(ip) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    found.sort_by_key(|ip| distance(*ip));
    Ok(found)
}

fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn is_usable(ip: IpAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    !ip.is_unspecified() && !ip.is_multicast() && !link_local
}

/// How near to home an address keeps its packets.
fn distance(ip: IpAddr) -> u8 {
    let private = match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    match (ip.is_loopback(), private) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_and_comes_last() {
        let found = found().expect("a host has interfaces");
        assert!(found.last().is_some_and(IpAddr::is_loopback), "{found:?}");
        assert!(found.iter().all(|ip| is_usable(*ip)));
    }

    #[test]
    fn what_the_world_reaches_comes_before_what_it_does_not() {
        let order = ["8.8.8.8", "10.0.0.1", "127.0.0.1"].map(|ip| ip.parse().expect("an address"));
        assert!(order.is_sorted_by_key(|ip| distance(*ip)));
    }
}
