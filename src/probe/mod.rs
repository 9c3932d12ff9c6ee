//! `hairpin probe`: asks STUN and TURN servers, any, everything that a client wants of them, and
//! says what works, how fast, and what to do about the rest.
//!
//! ```text
//! options   what is asked for               leg      one way to one server, step by step
//! link      a way there, with deadlines     relay    through the relay and back
//! tls       certificates                    failure  what went wrong, in words
//! nat       what NATs do (RFC 5780)
//! report    a table, or JSON
//! ```
//!
//! One request at a time, with sockets that block: nothing here is in a hurry but the human.

mod failure;
mod leg;
mod link;
mod nat;
mod options;
mod relay;
mod report;
mod tls;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

pub use failure::{Failure, Kind};
pub use leg::{Failed, Leg, Peer, Step};
pub use nat::{Dependence, Nat};
pub use options::Options;
pub use report::Report;
pub use tls::Certificate;

use crate::client::uri::Carrier;
use crate::client::{Login, Scheme, Uri};
use crate::probe::leg::Prober;
use crate::probe::tls::Authorities;
use crate::turn::Transport;

/// Asks, and prints what came of it.
///
/// # Errors
///
/// Where nobody reads the answer.
pub fn run(options: &Options, login: Option<&Login>, out: &mut impl Write) -> io::Result<ExitCode> {
    let progress = |text: &str| {
        if !options.quiet {
            // Nobody may be looking.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    };
    let authorities = match Authorities::load(options.ca.as_deref()) {
        Ok(authorities) => authorities,
        Err(error) => {
            writeln!(io::stderr().lock(), "{error}")?;
            return Ok(ExitCode::from(2));
        }
    };
    if options.uris.iter().any(|uri| uri.secure) {
        for doubt in &authorities.doubts {
            let what = "an authority that this machine trusts cannot be read";
            writeln!(io::stderr().lock(), "{what}: {doubt}")?;
        }
    }
    let patience = options.timeout;
    let prober = Prober { login, patience, authorities: &authorities, progress: &progress };
    let mut legs = Vec::new();
    for uri in &options.uris {
        for mut leg in legs_of(uri) {
            prober.probe(uri, &mut leg);
            legs.push(leg);
        }
    }
    let mut nat: Vec<Nat> = Vec::new();
    for leg in &legs {
        if let (Carrier::Udp, Some(server), Some(other)) = (leg.transport, leg.server, leg.other)
            && nat.iter().all(|nat| nat.server.is_ipv4() != server.is_ipv4())
        {
            nat.push(prober.discover(server, other));
        }
    }
    let report = Report::new(legs, nat);
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        report.print(out)?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a URI leads to: each transport that it may mean, at one address of each family.
fn legs_of(uri: &Uri) -> Vec<Leg> {
    let name = uri.to_string();
    let carriers = carriers(uri);
    let found: Vec<SocketAddr> = match uri.resolve_all() {
        Ok(found) => found.collect(),
        Err(error) => {
            let cure = "see how the name is written, and this machine's name server";
            let cause = format!("{} cannot be looked up: {error}", uri.host);
            let mut leg = Leg::new(&name, carriers[0], None);
            leg.failed(Step::Resolve, Failure::new(Kind::Name, cause, cure));
            return vec![leg];
        }
    };
    let first = |v4: bool| found.iter().copied().find(|address| address.is_ipv4() == v4);
    let servers: Vec<SocketAddr> = [first(true), first(false)].into_iter().flatten().collect();
    let legs = carriers.iter().flat_map(|carrier| servers.iter().map(move |s| (*carrier, *s)));
    legs.map(|(carrier, server)| Leg::new(&name, carrier, Some(server))).collect()
}

/// A `turn:` URI without a transport stands for UDP and TCP: clients fall back from one to the
/// other. `stun:` is for UDP, where nothing else is said (RFC 7064).
fn carriers(uri: &Uri) -> Vec<Carrier> {
    match (uri.secure, uri.transport, uri.scheme) {
        (false, None, Scheme::Turn) => vec![Carrier::Udp, Carrier::Tcp],
        (false, None | Some(Transport::Udp | Transport::Dtls), _) => vec![Carrier::Udp],
        (false, Some(Transport::Tcp), _) => vec![Carrier::Tcp],
        (true, Some(Transport::Udp | Transport::Dtls), _) => vec![Carrier::Dtls],
        (true, _, _) => vec![Carrier::Tls],
    }
}
