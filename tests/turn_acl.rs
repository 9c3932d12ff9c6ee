//! No path reaches an address that is nobody's business, however it is written.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::{AttributeType, Client, Sim, V6};
use hairpin::turn::acl::{Acl, Rule};
use ipnet::IpNet;
use proptest::prelude::*;

const AND_V6: (AttributeType, &[u8]) = (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &V6);

/// From the IANA IPv4 special-purpose registry, multicast and the reserved class E; written down
/// here once more, from the registry and not from the code.
const DENIED_V4: [&str; 18] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// From the IANA IPv6 special-purpose registry, and multicast, without those that carry IPv4.
const DENIED_V6: [&str; 14] = [
    "::/128",
    "::1/128",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "ff02::/16",
];

/// Each way in which an IPv6 address may carry an IPv4 address.
fn encodings(v4: Ipv4Addr) -> Vec<(&'static str, Ipv6Addr)> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let v6 = |s: [u16; 8]| Ipv6Addr::from(s);
    let mut local = [0; 16];
    local[..6].copy_from_slice(&[0x00, 0x64, 0xff, 0x9b, 0x00, 0x01]);
    [local[6], local[7], local[9], local[10]] = [a, b, c, d];
    vec![
        ("IPv4-mapped", v6([0, 0, 0, 0, 0, 0xffff, high, low])),
        ("IPv4-compatible", v6([0, 0, 0, 0, 0, 0, high, low])),
        ("IPv4-translated", v6([0, 0, 0, 0, 0xffff, 0, high, low])),
        ("6to4", v6([0x2002, high, low, 0, 0, 0, 0, 1])),
        ("NAT64 /96", v6([0x64, 0xff9b, 0, 0, 0, 0, high, low])),
        ("NAT64 local-use /48", Ipv6Addr::from(local)),
        ("NAT64 local-use /96", v6([0x64, 0xff9b, 1, 0, 0, 0, high, low])),
        ("Teredo server", v6([0x2001, 0, high, low, 0, 0x1234, 0xf6ff, 0xfffe])),
        ("Teredo client", v6([0x2001, 0, 0x0900, 0x0001, 0, 0x1234, !high, !low])),
        ("ISATAP", v6([0x2600, 9, 0, 0, 0, 0x5efe, high, low])),
        ("ISATAP, global", v6([0x2600, 9, 0, 0, 0x0200, 0x5efe, high, low])),
    ]
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

/// An address of a network, chosen by `bits`.
fn within(net: IpNet, bits: u128) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let host = u32::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(net.network()) | (bits as u32 & host)))
        }
        IpNet::V6(net) => {
            let host = u128::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(net.network()) | (bits & host)))
        }
    }
}

/// Whether a network holds an address: bit by bit, as on paper.
fn holds(net: IpNet, address: IpAddr) -> bool {
    let bits = |ip: IpAddr| -> Vec<bool> {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
    };
    let (network, address) = (bits(net.addr()), bits(address));
    network.len() == address.len()
        && (0..usize::from(net.prefix_len())).all(|bit| network[bit] == address[bit])
}

fn acl(allow: &[&str], deny: &[&str]) -> Acl {
    let nets = |list: &[&str]| list.iter().map(|text| net(text)).collect();
    Acl { allow: nets(allow), deny: nets(deny), ..Acl::default() }
}

fn allows(acl: &Acl, ip: IpAddr) -> bool {
    let ruling = acl.judge_ip(ip);
    assert_eq!(acl.judge(SocketAddr::new(ip, 9), false).allowed, ruling.allowed);
    assert_eq!(acl.permits(SocketAddr::new(ip, 9), false).is_some(), ruling.allowed);
    ruling.allowed
}

/// A world where a client holds a dual allocation and a permission for somebody harmless.
fn dual(allow: &[&str], deny: &[&str]) -> (Sim, Client) {
    let mut sim = Sim::with(|config| {
        let Acl { allow, deny, .. } = acl(allow, deny);
        (config.acl.allow, config.acl.deny) = (allow, deny);
    });
    let client = sim.client("198.51.100.1:4000");
    sim.allocate_with(client, &[AND_V6]).success();
    sim.permit_all(client, &[common::PEER, common::PEER_V6]).success();
    (sim, client)
}

/// Tries each path by which a packet could reach the peer or come from there.
#[track_caller]
fn nothing_passes(sim: &mut Sim, client: Client, ip: IpAddr) {
    for port in [1, 80, 65535] {
        let peer = SocketAddr::new(ip, port);
        let text = peer.to_string();
        sim.permit(client, &text).rejected(403);
        sim.permit_all(client, &[common::PEER, &text]).rejected(403);
        sim.bind_channel(client, 0x4000, &text).rejected(403);
        sim.send(client, &text, b"x").dropped();
        sim.send_on(client, 0x4000, b"x").dropped();
        let local = sim.relayed(client)[usize::from(ip.is_ipv6())];
        sim.peer_to_relay(peer, local, b"x").dropped();
    }
}

#[test]
fn denied_ipv4_addresses_are_reached_by_no_path_and_in_no_form() {
    let (mut sim, client) = dual(&[], &[]);
    for range in DENIED_V4.map(net) {
        for bits in [0, u128::MAX, 0x5555_5555] {
            let IpAddr::V4(v4) = within(range, bits) else { unreachable!("an IPv4 range") };
            nothing_passes(&mut sim, client, v4.into());
            for (_, form) in encodings(v4) {
                nothing_passes(&mut sim, client, form.into());
            }
        }
    }
}

#[test]
fn denied_ipv6_addresses_are_reached_by_no_path() {
    let (mut sim, client) = dual(&[], &[]);
    for range in DENIED_V6.map(net) {
        for bits in [0, u128::MAX, 0x5555_5555_5555_5555_5555] {
            nothing_passes(&mut sim, client, within(range, bits));
        }
    }
}

/// The same with everything allowed in IPv6: what stands for a denied IPv4 address stays denied.
#[test]
fn allowing_all_of_ipv6_opens_no_ipv4() {
    let (mut sim, client) = dual(&["::/0"], &[]);
    for range in DENIED_V4.map(net) {
        let IpAddr::V4(v4) = within(range, 0x0102_0304) else { unreachable!("an IPv4 range") };
        nothing_passes(&mut sim, client, v4.into());
        for (_, form) in encodings(v4) {
            nothing_passes(&mut sim, client, form.into());
        }
    }
}

#[test]
fn the_zero_forms_are_nobodys_address() {
    for allow in [&[][..], &["::/0"]] {
        let (mut sim, client) = dual(allow, &[]);
        let mut zeros = vec!["0.0.0.0".parse().expect("an address")];
        zeros
            .extend(encodings(Ipv4Addr::UNSPECIFIED).into_iter().map(|(_, form)| IpAddr::V6(form)));
        zeros.extend(["::", "::0.0.0.0"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
        for zero in zeros {
            nothing_passes(&mut sim, client, zero);
        }
    }
}

/// Clouds keep their metadata service there; the most wanted address of this field.
#[test]
fn the_metadata_service_is_out_of_reach() {
    let (mut sim, client) = dual(&[], &[]);
    nothing_passes(&mut sim, client, "169.254.169.254".parse().expect("an address"));
    nothing_passes(&mut sim, client, "fd00:ec2::254".parse().expect("an address"));
    for (_, form) in encodings(Ipv4Addr::new(169, 254, 169, 254)) {
        nothing_passes(&mut sim, client, form.into());
    }
}

/// RFC 8656 §21.4: a tunnel is open only to an operator who names it.
#[test]
fn a_wide_allow_opens_no_tunnel() {
    let all = ["0.0.0.0/0", "::/0", "2000::/3"];
    let (mut sim, client) = dual(&all, &[]);
    for (name, form) in encodings(Ipv4Addr::new(9, 0, 0, 1)) {
        if name.starts_with("6to4") || name.starts_with("Teredo") {
            nothing_passes(&mut sim, client, form.into());
        } else {
            assert!(allows(&acl(&all, &[]), form.into()), "{name}");
        }
    }
    // One that names it opens it, but not what is behind it.
    let named = acl(&["2002::/16", "2001::/32"], &[]);
    for (name, form) in encodings(Ipv4Addr::new(9, 0, 0, 1)) {
        // ISATAP has no prefix of its own, so that it is as public as what it carries.
        let open = ["6to4", "Teredo", "ISATAP"].iter().any(|tunnel| name.starts_with(tunnel));
        assert_eq!(allows(&named, form.into()), open, "{name}");
    }
    for (_, form) in encodings(Ipv4Addr::new(10, 0, 0, 1)) {
        assert!(!allows(&named, form.into()));
    }
}

#[test]
fn an_allow_beats_every_deny() {
    let allow = ["10.1.0.0/16", "fd00:1::/32", "9.1.1.0/24"];
    let (mut sim, client) = dual(&allow, &["10.1.2.0/24", "9.1.0.0/16", "9.1.1.1/32"]);
    let peers = ["10.1.2.3:9", "10.1.3.4:9", "[fd00:1::9]:9", "9.1.1.1:9"];
    for (peer, number) in peers.into_iter().zip(0x4001..) {
        sim.permit(client, peer).success();
        sim.send(client, peer, b"x").reaches(peer);
        sim.bind_channel(client, number, peer).success();
    }
    nothing_passes(&mut sim, client, "10.2.0.1".parse().expect("an address"));
    nothing_passes(&mut sim, client, "9.1.2.1".parse().expect("an address"));
    nothing_passes(&mut sim, client, "fd00:2::1".parse().expect("an address"));
}

#[test]
fn a_deny_reaches_into_every_form() {
    let acl = acl(&["::/0"], &["9.9.0.0/16"]);
    for (name, form) in encodings(Ipv4Addr::new(9, 9, 1, 2)) {
        assert!(!allows(&acl, form.into()), "{name}");
    }
    assert!(!allows(&acl, IpAddr::V4(Ipv4Addr::new(9, 9, 1, 2))));
}

#[test]
fn the_neighbours_of_denied_ranges_are_open() {
    let acl = Acl::default();
    for ip in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:db7::1",
        "2001:db9::1",
        "2003::1",
        "2600::1",
        "3ffe::1",
    ] {
        assert!(allows(&acl, ip.parse().expect("an address")), "{ip}");
    }
}

#[test]
fn a_relayed_address_of_this_server_is_allowed_and_its_listener_never() {
    let mut acl = acl(&["10.0.0.5/32"], &[]);
    acl.own = vec!["10.0.0.5".parse().expect("an address")];
    acl.listening_ports = vec![3478];
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    assert_eq!(acl.judge(at("10.0.0.6:50000"), true).rule, Rule::OwnRelay);
    assert_eq!(acl.judge(at("10.0.0.5:3478"), false).rule, Rule::OwnListener);
    assert_eq!(acl.judge(at("[::ffff:10.0.0.5]:3478"), false).rule, Rule::OwnListener);
    assert!(acl.judge(at("10.0.0.5:3479"), false).allowed);
}

prop_compose! {
    /// A network near which something interesting happens.
    fn a_net()(
        at in 0..DENIED_V4.len() + DENIED_V6.len(), bits: u128, longer in 0u8..6, any: bool,
        length in 0u8..=128,
    )
        -> IpNet {
        let all: Vec<_> = DENIED_V4.iter().chain(&DENIED_V6).collect();
        let base = net(all[at]);
        let length = if any { length } else { base.prefix_len().saturating_add(longer) };
        let length = length.min(base.max_prefix_len());
        IpNet::new(within(base, bits), length).expect("a length that fits")
    }
}

prop_compose! {
    /// An address in such a network, or beside it.
    fn an_address()(net in a_net(), bits: u128, step in -1i8..=1, edge: bool) -> IpAddr {
        let ip = within(net.trunc(), if edge { u128::MAX } else { bits });
        match ip {
            IpAddr::V4(ip) => IpAddr::V4(u32::from(ip).wrapping_add_signed(step.into()).into()),
            IpAddr::V6(ip) => IpAddr::V6(u128::from(ip).wrapping_add_signed(step.into()).into()),
        }
    }
}

/// What a list on paper says of an address that carries no other.
fn on_paper(allow: &[IpNet], deny: &[IpNet], ip: IpAddr) -> bool {
    if allow.iter().any(|net| holds(*net, ip)) {
        return true;
    }
    let carriers = [
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
    ];
    let reserved = DENIED_V4.iter().chain(&DENIED_V6).chain(&carriers).map(|text| net(text));
    !reserved.chain(deny.iter().copied()).any(|net| holds(net, ip))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn ipv4_is_judged_as_on_paper(
        allow in proptest::collection::vec(a_net(), 0..4),
        deny in proptest::collection::vec(a_net(), 0..4),
        ip in an_address(),
        random: u32,
        at_random: bool,
    ) {
        let ip = match ip {
            IpAddr::V4(ip) if !at_random => ip,
            _ => Ipv4Addr::from(random),
        };
        let acl = Acl { allow: allow.clone(), deny: deny.clone(), ..Acl::default() };
        prop_assert_eq!(allows(&acl, ip.into()), on_paper(&allow, &deny, ip.into()));
    }

    #[test]
    fn ipv6_is_judged_as_on_paper(
        allow in proptest::collection::vec(a_net(), 0..4),
        deny in proptest::collection::vec(a_net(), 0..4),
        ip in an_address(),
    ) {
        let IpAddr::V6(v6) = ip else { return Ok(()) };
        let s = v6.segments();
        // What carries IPv4 is judged by more than the lists; see below.
        prop_assume!(s[..3] != [0; 3] && s[..2] != [0x64, 0xff9b] && s[0] != 0x2002);
        prop_assume!(s[..2] != [0x2001, 0] && s[5] != 0x5efe);
        let acl = Acl { allow: allow.clone(), deny: deny.clone(), ..Acl::default() };
        prop_assert_eq!(allows(&acl, ip), on_paper(&allow, &deny, ip));
    }

    /// An address passes only if both it and what it carries pass.
    #[test]
    fn a_form_is_never_open_where_the_address_inside_is_not(
        allow in proptest::collection::vec(a_net(), 0..4),
        deny in proptest::collection::vec(a_net(), 0..4),
        inside in an_address(),
        which in 0usize..11,
    ) {
        let IpAddr::V4(inside) = inside else { return Ok(()) };
        let (name, form) = encodings(inside)[which];
        let acl = Acl { allow: allow.clone(), deny: deny.clone(), ..Acl::default() };
        if allows(&acl, form.into()) {
            prop_assert!(on_paper(&allow, &deny, inside.into()), "{} {}", name, form);
            prop_assert!(on_paper(&allow, &deny, form.into()), "{} {}", name, form);
        }
    }

    /// Relaying follows the ruling: what is refused passes by no path.
    #[test]
    fn the_paths_follow_the_ruling(ip in an_address()) {
        let (mut sim, client) = dual(&[], &[]);
        if allows(&Acl::default(), ip) {
            let peer = SocketAddr::new(ip, 9).to_string();
            sim.permit(client, &peer).success();
            sim.send(client, &peer, b"x").reaches(&peer);
        } else {
            nothing_passes(&mut sim, client, ip);
        }
    }
}
