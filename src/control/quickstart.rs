//! What whoever starts hairpin without a configuration sees: the snippet to paste, and a page to
//! open. Told once, as the credentials in it are made up and gone with the process.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;

use crate::control::clock::unix_secs;
use crate::control::config::Config;
use crate::control::ice::IceSource;

/// How long the printed credentials are good: a day of trying things out.
const TTL_SECS: u32 = 86_400;

/// Prints `iceServers` for the listeners that are up, and the page's address.
pub fn print(
    config: &Config,
    found: &[IpAddr],
    udp: &[SocketAddr],
    tcp: &[SocketAddr],
    tls: &[SocketAddr],
    http: &[SocketAddr],
) {
    let text = text(config, found, [udp, tcp, tls, http], unix_secs());
    let mut out = io::stdout().lock();
    // Nobody may be reading; the server runs all the same.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn text(
    config: &Config,
    found: &[IpAddr],
    [udp, tcp, tls, http]: [&[SocketAddr]; 4],
    now: u64,
) -> String {
    let source = IceSource::from_config(config, udp, tcp, tls);
    let reached = reachable(found, udp.first().or_else(|| tcp.first()));
    let host = source.host(None, reached);
    let mut text = String::new();
    if let Ok(grant) = source.grant(now, &host, "quickstart", TTL_SECS) {
        let snippet = json!({ "iceServers": grant.ice_servers });
        text.push_str("\nNo credentials are configured, so some were made up for this run.\n");
        text.push_str("Paste this into new RTCPeerConnection(…); it is good for a day:\n\n");
        text.push_str(&format!("{snippet:#}\n"));
    }
    let over_tls = tls.first().filter(|_| config.http_over_tls()).map(|address| ("https", address));
    if let Some((scheme, address)) = http.first().map(|address| ("http", address)).or(over_tls) {
        let host = match address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = address.port();
        text.push_str(&format!("\nTry it: open {scheme}://{host}:{port}/ in two tabs.\n\n"));
    }
    text
}

/// The address by which others reach a listener: its own, else the best that the host has.
fn reachable(found: &[IpAddr], listener: Option<&SocketAddr>) -> IpAddr {
    match listener.map(SocketAddr::ip) {
        Some(ip) if !ip.is_unspecified() => ip,
        _ => {
            let v4 = found.iter().find(|ip| ip.is_ipv4());
            v4.or_else(|| found.first()).copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
        }
    }
}
