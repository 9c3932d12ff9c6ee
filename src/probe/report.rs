//! What it came to: a table for humans, or JSON.

use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;

use crate::client::uri::Carrier;
use crate::probe::leg::{Failed, Leg, Peer, Step};
use crate::probe::nat::{Dependence, Nat};
use crate::probe::tls::Certificate;

/// All that was found out. The names in JSON stay what they are.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing has failed.
    pub ok: bool,
    /// Each way to each server.
    pub legs: Vec<Leg>,
    /// What NATs do, for each family of which a server could tell.
    pub nat: Vec<Nat>,
}

const HEAD: [&str; 8] = [
    "over",
    "server",
    "connect",
    "binding",
    "you are seen as",
    "allocate",
    "relay address",
    "through it and back",
];

impl Report {
    pub(super) fn new(legs: Vec<Leg>, nat: Vec<Nat>) -> Self {
        let ok = legs.iter().all(|leg| leg.failures.is_empty() || is_spared(leg, &legs));
        Self { ok, legs, nat }
    }

    /// Prints the table, and below it what there is to say in sentences.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let rows: Vec<[String; 8]> = self.legs.iter().map(row).collect();
        let head = HEAD.map(str::to_owned);
        let width = |column: usize| {
            let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        for row in [&head].into_iter().chain(&rows) {
            let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
            let line = cells.collect::<Vec<_>>().join("  ");
            writeln!(out, "{}", line.trim_end())?;
        }
        for (index, leg) in self.legs.iter().enumerate() {
            print_leg(leg, &self.legs[..index], out)?;
        }
        if self.nat.is_empty() {
            print_translation(&self.legs, out)?;
        }
        self.nat.iter().try_for_each(|nat| print_nat(nat, out))
    }
}

/// What there is to say about a leg, but for what has been said about one before it.
fn print_leg(leg: &Leg, before: &[Leg], out: &mut impl Write) -> io::Result<()> {
    let Leg { uri, transport, .. } = leg;
    let same = || before.iter().filter(|other| other.uri == *uri);
    if let Some(software) = &leg.software
        && same().all(|other| other.software != leg.software)
    {
        writeln!(out, "\n{uri}: the server says that it is {software}")?;
    }
    let lacks_login = |leg: &Leg| leg.realm.is_some() && leg.relayed.is_none();
    if let Some(realm) = &leg.realm
        && leg.failures.is_empty()
        && lacks_login(leg)
        && !same().any(lacks_login)
    {
        let cure = "say --user and --password, or --secret";
        writeln!(out, "\n{uri}: a relay is for users of realm {realm:?}: {cure}")?;
    }
    if let Some(Certificate { subject, issuer, not_after, verified, .. }) = &leg.certificate {
        let verified = if *verified { "verified" } else { "not verified" };
        writeln!(
            out,
            "\n{uri}: its certificate is that of {subject:?}, signed by {issuer:?}, good until \
             {not_after}, {verified}"
        )?;
    }
    if leg.peer == Some(Peer::Allocation) {
        let what = "the server does not let its clients reach this machine";
        writeln!(out, "\n{uri} over {transport}: {what}, so a second allocation was the far end")?;
    }
    for Failed { failure, .. } in &leg.failures {
        let at = leg.server.map(|server| format!(" at {server}")).unwrap_or_default();
        writeln!(out, "\n{uri}{at} over {transport}: {}", failure.cause)?;
        writeln!(out, "    {}", failure.cure)?;
    }
    Ok(())
}

/// Whether a leg failed because this machine lacks the family, while another of the same kind did
/// not. What a router on the way says of an address is no excuse: others hear the same.
fn is_spared(leg: &Leg, legs: &[Leg]) -> bool {
    let is_like = |other: &&Leg| (&other.uri, other.transport) == (&leg.uri, leg.transport);
    leg.no_route && legs.iter().filter(is_like).any(|other| other.failures.is_empty())
}

fn row(leg: &Leg) -> [String; 8] {
    let ms = |ms: Option<f64>| ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
    let address = |a: Option<SocketAddr>| a.map_or_else(String::new, |a| a.to_string());
    let mut cells = [
        leg.transport.to_string(),
        leg.server.map_or_else(|| leg.uri.clone(), |server| server.to_string()),
        ms(leg.connect_ms),
        ms(leg.binding_ms),
        address(leg.reflexive),
        ms(leg.allocate_ms),
        address(leg.relayed),
        ms(leg.round_trip_ms),
    ];
    for failed in &leg.failures {
        let column = match failed.step {
            Step::Certificate => {
                cells[2] += ", untrusted";
                continue;
            }
            Step::Resolve | Step::Connect => 2,
            Step::Binding => 3,
            Step::Allocate => 5,
            Step::Relay => 7,
        };
        "failed".clone_into(&mut cells[column]);
    }
    cells
}

/// All that can be said where no server has a second address.
fn print_translation(legs: &[Leg], out: &mut impl Write) -> io::Result<()> {
    let seen = |leg: &Leg| Some(leg.local? != leg.reflexive?);
    let mut udp = legs.iter().filter(|leg| leg.transport == Carrier::Udp).filter_map(seen);
    let Some(translated) = udp.next() else { return Ok(()) };
    let what = if translated { "your address is another outside" } else { "there is none" };
    writeln!(out, "\nNAT: {what}; a server with a second address could tell more (RFC 5780)")
}

fn print_nat(nat: &Nat, out: &mut impl Write) -> io::Result<()> {
    let family = if nat.server.is_ipv4() { "IPv4" } else { "IPv6" };
    writeln!(out, "\nNAT, {family}, as {} sees it", nat.server)?;
    let mut line = |what: &str, found: &str, means: &str| {
        let colon = if means.is_empty() { "" } else { ": " };
        writeln!(out, "    {what:<12} {found}{colon}{means}")
    };
    match nat.translated {
        Some(true) => line("translation", "yes", "your address is another outside")?,
        Some(false) => line("translation", "none", "your own address is the one outside")?,
        None => {}
    }
    if let Some(mapping) = nat.mapping {
        line(
            "mapping",
            name(mapping),
            match mapping {
                Dependence::EndpointIndependent => {
                    "whomever you talk to sees you at the same address"
                }
                Dependence::AddressDependent | Dependence::AddressAndPortDependent => {
                    "each peer sees you at another address, which nobody can tell it before"
                }
            },
        )?;
    }
    if let Some(filtering) = nat.filtering {
        line(
            "filtering",
            name(filtering),
            match filtering {
                Dependence::EndpointIndependent => {
                    "anybody can send to an address once it is in use"
                }
                Dependence::AddressDependent => "only hosts that you have sent to can send to you",
                Dependence::AddressAndPortDependent => {
                    "only the very addresses and ports that you have sent to can send to you"
                }
            },
        )?;
    }
    match nat.hairpinning {
        Some(true) => {
            line("hairpinning", "yes", "two behind it reach each other by its outside address")?
        }
        Some(false) => {
            line(
                "hairpinning",
                "no",
                "two behind it do not reach each other by its outside address",
            )?;
        }
        None => {}
    }
    if let (Some(mapping), Some(filtering)) = (nat.mapping, nat.filtering) {
        line("so", means(mapping, filtering), "")?;
    }
    nat.notes.iter().try_for_each(|note| line("not known", note, ""))
}

fn name(dependence: Dependence) -> &'static str {
    match dependence {
        Dependence::EndpointIndependent => "endpoint-independent",
        Dependence::AddressDependent => "address-dependent",
        Dependence::AddressAndPortDependent => "address- and port-dependent",
    }
}

/// What it means for a call.
fn means(mapping: Dependence, filtering: Dependence) -> &'static str {
    match (mapping, filtering) {
        (Dependence::EndpointIndependent, Dependence::EndpointIndependent) => {
            "direct calls come about, with whatever the other side is behind"
        }
        (Dependence::EndpointIndependent, Dependence::AddressDependent) => {
            "direct calls come about, with almost whatever the other side is behind"
        }
        (Dependence::EndpointIndependent, Dependence::AddressAndPortDependent) => {
            "direct calls come about, unless each peer sees the other side at another address; \
             then the relay carries them"
        }
        _ => {
            "direct calls come about only with those whom anybody, or any port of yours, can send \
             to; the relay carries the rest"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::probe::failure::Failure;

    fn leg(server: &str) -> Leg {
        let server = server.parse().expect("an address");
        Leg::new("turn:turn.example.org:3478", Carrier::Tcp, Some(server))
    }

    #[test]
    fn a_family_is_spared_where_this_machine_lacks_it_and_not_where_a_router_refuses_it() {
        let error = ErrorKind::NetworkUnreachable.into();
        for no_route in [true, false] {
            let (well, mut broken) = (leg("192.0.2.1:3478"), leg("[2001:db8::1]:3478"));
            broken.no_route = no_route;
            broken.failed(Step::Connect, Failure::network(&error, Carrier::Tcp));
            assert_eq!(Report::new(vec![well, broken.clone()], Vec::new()).ok, no_route);
            assert!(!Report::new(vec![broken], Vec::new()).ok, "no other way works");
        }
    }
}
