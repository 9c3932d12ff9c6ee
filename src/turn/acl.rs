//! Which peers may be reached: one canonical form of an address, and one function that judges it.
//!
//! Most holes of this field are a path that forgot to ask, or an address written in a form that
//! the list did not know (`::ffff:10.0.0.1`, `64:ff9b::a00:1`, `2002:a00:1::`). Here every path
//! that can reach a peer asks [`Acl::judge`], and an address passes only if each address that it
//! stands for passes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::turn::reserved::{RESERVED, TUNNELS};

/// The rules for peers: the operator's on top of the built-in ones.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    /// Operator's exceptions; an allow beats every deny.
    pub allow: Vec<IpNet>,
    /// Operator's own denials.
    pub deny: Vec<IpNet>,
    /// This server's addresses, local and external; relayed addresses lie on some of them.
    pub own: Vec<IpAddr>,
    /// Ports that this server listens on, on any of its own addresses.
    pub listening_ports: Vec<u16>,
}

/// Whether a peer may be reached, and the rule that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The answer.
    pub allowed: bool,
    /// Why.
    pub rule: Rule,
    /// The address that the rule fits: the peer's own, or one that it stands for.
    pub address: IpAddr,
}

/// The rule behind a [`Ruling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A relayed address of this server is always reachable.
    OwnRelay,
    /// Nobody relays to the ports this server listens on.
    OwnListener,
    /// Teredo and 6to4 (RFC 8656 §21.4): reachable only by an `allow` inside the tunnel's prefix.
    Tunnel(IpNet, &'static str),
    /// An address of this server where nothing relays: what else runs on the host is not for
    /// clients, and behind a 1:1 NAT it would be reached around the firewall.
    OwnAddress,
    /// In the operator's `allow`.
    Allow(IpNet),
    /// In the operator's `deny`.
    Deny(IpNet),
    /// In the built-in list of addresses that are nobody's business.
    Reserved(IpNet, &'static str),
    /// In no list.
    Public,
}

/// Which ports of an address a permission opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All of them.
    All,
    /// One of this server's own addresses, which the operator allows: all but the ports that it
    /// listens on.
    AllButListening,
    /// One of this server's own addresses: those that are relayed addresses at the time.
    Relays,
}

impl Acl {
    /// Judges a peer's transport address. `own_relay` tells whether it is a relayed address of
    /// this server that is open now.
    pub fn judge(&self, peer: SocketAddr, own_relay: bool) -> Ruling {
        if own_relay {
            return Ruling { allowed: true, rule: Rule::OwnRelay, address: peer.ip() };
        }
        match self.own_form(peer.ip()) {
            Some(address) if self.listening_ports.contains(&peer.port()) => {
                Ruling { allowed: false, rule: Rule::OwnListener, address }
            }
            _ => self.judge_ip(peer.ip()),
        }
    }

    /// The first form of an address that this host itself answers at. A listener on a wildcard
    /// answers on every loopback address, and on the unspecified one.
    fn own_form(&self, ip: IpAddr) -> Option<IpAddr> {
        let is_here =
            |form: &IpAddr| form.is_loopback() || form.is_unspecified() || self.own.contains(form);
        Forms::of(ip).find(is_here)
    }

    /// Judges an address whatever the port. Of several forms the first that is denied decides.
    pub fn judge_ip(&self, ip: IpAddr) -> Ruling {
        let mut rulings = Forms::of(ip).map(|form| self.judge_form(form));
        let Some(first) = rulings.next() else {
            unreachable!("an address is always a form of itself")
        };
        if !first.allowed {
            return first;
        }
        rulings.find(|ruling| !ruling.allowed).unwrap_or(first)
    }

    /// Which ports a permission for `peer` would open; `None` where it must be refused (403).
    ///
    /// A permission is for an address (RFC 8656 §9), so the port is a hint only where the address
    /// is our own: then what the client asked for must be reachable, and each packet's port counts.
    pub fn permits(&self, peer: SocketAddr, own_relay: bool) -> Option<Ports> {
        if !self.judge_ip(peer.ip()).allowed {
            return own_relay.then_some(Ports::Relays);
        }
        let own = own_relay || self.own_form(peer.ip()).is_some();
        Some(if own { Ports::AllButListening } else { Ports::All })
    }

    /// Notes an address that has turned out to be this server's own.
    pub(super) fn add_own(&mut self, address: IpAddr) {
        if !self.own.contains(&address) {
            self.own.push(address);
        }
    }

    /// Whether the address is at a tunnel's end that the operator has not allowed: neither peers
    /// nor clients may be there (RFC 8656 §21.4).
    pub fn is_tunnel(&self, address: IpAddr) -> bool {
        matches!(self.judge_form(address).rule, Rule::Tunnel(..))
    }

    fn judge_form(&self, address: IpAddr) -> Ruling {
        let ruling = |allowed, rule| Ruling { allowed, rule, address };
        let allow = self.allow.iter().find(|net| net.contains(&address));
        if let Some((net, what)) = find(TUNNELS, address) {
            // A wide allow (::/0) is no wish for tunnels; one that names them is.
            return match self.allow.iter().find(|a| net.contains(*a) && a.contains(&address)) {
                Some(allow) => ruling(true, Rule::Allow(*allow)),
                None => ruling(false, Rule::Tunnel(net, what)),
            };
        }
        if let Some(net) = allow {
            return ruling(true, Rule::Allow(*net));
        }
        if self.own.contains(&address) {
            return ruling(false, Rule::OwnAddress);
        }
        if let Some(net) = self.deny.iter().find(|net| net.contains(&address)) {
            return ruling(false, Rule::Deny(*net));
        }
        match find(RESERVED, address) {
            Some((net, what)) => ruling(false, Rule::Reserved(net, what)),
            None => ruling(true, Rule::Public),
        }
    }
}

fn find(list: &[(IpNet, &'static str)], address: IpAddr) -> Option<(IpNet, &'static str)> {
    list.iter().find(|(net, _)| net.contains(&address)).copied()
}

/// The addresses that an address stands for: itself, and any IPv4 address written inside it.
#[derive(Clone, Copy, Debug)]
pub struct Forms {
    forms: [Option<IpAddr>; 3],
    next: usize,
}

impl Forms {
    /// The forms of `ip`, the address itself first.
    pub fn of(ip: IpAddr) -> Self {
        let (first, second) = match ip {
            IpAddr::V4(_) => (None, None),
            IpAddr::V6(v6) => embedded(v6),
        };
        Self { forms: [Some(ip), first.map(IpAddr::V4), second.map(IpAddr::V4)], next: 0 }
    }
}

impl Iterator for Forms {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        while let Some(form) = self.forms.get(self.next) {
            self.next += 1;
            if form.is_some() {
                return *form;
            }
        }
        None
    }
}

/// The IPv4 addresses inside an IPv6 address, by the mechanisms that carry packets to them.
fn embedded(ip: Ipv6Addr) -> (Option<Ipv4Addr>, Option<Ipv4Addr>) {
    let o = ip.octets();
    let v4 = |a: usize| Some(Ipv4Addr::new(o[a], o[a + 1], o[a + 2], o[a + 3]));
    match ip.segments() {
        // Loopback only looks like an IPv4-compatible address; it is listed itself.
        [0, 0, 0, 0, 0, 0, 0, 1] => (None, None),
        // IPv4-compatible (::a.b.c.d).
        [0, 0, 0, 0, 0, 0, _, _] => (v4(12), None),
        // IPv4-mapped (::ffff:a.b.c.d) and IPv4-translated (::ffff:0:a.b.c.d, RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => (v4(12), None),
        // NAT64's well-known prefix (RFC 6052 §2.1).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => (v4(12), None),
        // NAT64's local-use prefix (RFC 8215): as a /48 the address goes around bits 64 to 71
        // (RFC 6052 §2.2); used as a /96 it stands at the end. Both are judged.
        [0x64, 0xff9b, 1, ..] => (Some(Ipv4Addr::new(o[6], o[7], o[9], o[10])), v4(12)),
        // 6to4 (RFC 3056 §2).
        [0x2002, ..] => (v4(2), None),
        // Teredo (RFC 4380 §4): the server, and the client's address with its bits inverted.
        [0x2001, 0, ..] => (v4(4), Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]))),
        // ISATAP (RFC 5214 §6.1): the interface identifier, whatever the prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => (v4(12), None),
        _ => (None, None),
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed: " } else { "denied: " })?;
        let address = self.address;
        match self.rule {
            Rule::OwnRelay => write!(f, "{address} is a relayed address of this server"),
            Rule::OwnListener => write!(f, "this server listens on that port of {address}"),
            Rule::OwnAddress => write!(
                f,
                "{address} is this server's own; only its relayed addresses can be reached"
            ),
            Rule::Tunnel(net, what) => write!(f, "{address} is in {net}, {what}"),
            Rule::Allow(net) => write!(f, "{address} is in [peers] allow: {net}"),
            Rule::Deny(net) => write!(f, "{address} is in [peers] deny: {net}"),
            Rule::Reserved(net, what) => {
                write!(f, "{address} is in the built-in list: {net}, {what}")
            }
            Rule::Public => write!(f, "{address} is in no list"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl() -> Acl {
        let net = |text: &str| text.parse().expect("a network");
        Acl {
            allow: vec![net("10.1.0.0/16"), net("::/0")],
            deny: vec![net("9.0.0.0/8")],
            own: vec!["8.0.0.1".parse().expect("an address")],
            listening_ports: vec![3478],
        }
    }

    fn told(peer: &str, own_relay: bool) -> String {
        acl().judge(peer.parse().expect("an address and a port"), own_relay).to_string()
    }

    #[test]
    fn a_ruling_says_which_rule_it_follows() {
        for (peer, expected) in [
            ("8.8.8.8:53", "allowed: 8.8.8.8 is in no list"),
            ("10.1.2.3:9", "allowed: 10.1.2.3 is in [peers] allow: 10.1.0.0/16"),
            ("9.1.2.3:9", "denied: 9.1.2.3 is in [peers] deny: 9.0.0.0/8"),
            (
                "10.2.0.1:9",
                "denied: 10.2.0.1 is in the built-in list: 10.0.0.0/8, a private network",
            ),
            (
                "169.254.169.254:80",
                "denied: 169.254.169.254 is in the built-in list: 169.254.0.0/16, link-local, \
                 where clouds keep their metadata service",
            ),
            ("8.0.0.1:3478", "denied: this server listens on that port of 8.0.0.1"),
            ("[2002:808:808::1]:9", "denied: 2002:808:808::1 is in 2002::/16, 6to4 tunnels"),
        ] {
            assert_eq!(told(peer, false), expected);
        }
        assert_eq!(
            told("10.2.0.1:50000", true),
            "allowed: 10.2.0.1 is a relayed address of this server"
        );
    }

    /// What is denied is the address inside, not the form that an `allow` has let pass.
    #[test]
    fn a_ruling_names_the_address_that_a_form_stands_for() {
        for form in ["[::ffff:127.0.0.1]:9", "[64:ff9b::7f00:1]:9", "[2600::5efe:127.0.0.1]:9"] {
            assert_eq!(
                told(form, false),
                "denied: 127.0.0.1 is in the built-in list: 127.0.0.0/8, loopback"
            );
        }
    }

    #[test]
    fn an_ipv4_address_stands_for_itself_alone() {
        let ip: IpAddr = "8.8.8.8".parse().expect("an address");
        assert_eq!(Forms::of(ip).collect::<Vec<_>>(), [ip]);
    }

    #[test]
    fn a_teredo_address_stands_for_its_server_and_its_client() {
        let ip: IpAddr = "2001:0:808:808:0:0:f5ff:fffe".parse().expect("an address");
        let inside = ["8.8.8.8", "10.0.0.1"].map(|ip| ip.parse().expect("an address"));
        assert_eq!(Forms::of(ip).collect::<Vec<_>>(), [ip, inside[0], inside[1]]);
    }

    #[test]
    fn a_permission_for_an_own_address_opens_some_of_its_ports() {
        let at = |peer: &str| peer.parse().expect("an address and a port");
        assert_eq!(acl().permits(at("8.8.8.8:9"), false), Some(Ports::All));
        assert_eq!(acl().permits(at("8.0.0.1:9"), true), Some(Ports::Relays));
        assert_eq!(acl().permits(at("8.0.0.1:9"), false), None);
        let mut allowed = acl();
        allowed.allow.push("8.0.0.1/32".parse().expect("a range"));
        assert_eq!(allowed.permits(at("8.0.0.1:9"), false), Some(Ports::AllButListening));
        assert_eq!(allowed.permits(at("8.0.0.1:9"), true), Some(Ports::AllButListening));
        assert_eq!(acl().permits(at("10.2.0.1:50000"), true), Some(Ports::Relays));
        assert_eq!(acl().permits(at("10.2.0.1:50000"), false), None);
        allowed.allow.push("127.0.0.0/8".parse().expect("a range"));
        for loopback in ["127.0.0.9:9", "[::ffff:127.0.0.9]:9"] {
            assert_eq!(allowed.permits(at(loopback), false), Some(Ports::AllButListening));
        }
    }
}
