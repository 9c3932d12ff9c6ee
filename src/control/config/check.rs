//! From what is written to what is meant: every value judged, every problem collected.

mod alternates;

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::address::{self, Wrong};
use super::error::Problem;
use super::file::{Admin, File, Limits, Signalling};
use super::source::{At, Source};
use super::{CertificateFiles, Listen, Peers, Relay};
use crate::control::admin::{Keys, Token};
use crate::control::log;
use crate::net::Switch;
use crate::net::dtls::Identity;
use crate::turn::config::{Software, User};

/// Collects what is wrong, with the line.
pub(super) struct Check<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, at: At, cause: String, cure: impl Into<String>) {
        let At(section, key, _) = at;
        if self.source.is_whole(section) {
            let place = if section.is_empty() { String::new() } else { format!("[{section}] ") };
            let cause = format!("{place}{key}: {cause}");
            self.problems.push(Problem { line: self.source.line(at), cause, cure: cure.into() });
        }
    }

    pub(super) fn kept<T>(&mut self, at: At, parsed: Result<T, Wrong>) -> Option<T> {
        parsed.map_err(|wrong| self.wrong(at, wrong.cause, wrong.cure)).ok()
    }

    /// The realm (RFC 8489 §14.9): sent in a quoted string, fewer than 128 characters.
    pub(super) fn realm(&mut self, file: &File) {
        let at = At("", "realm", None);
        let realm = &file.realm;
        let auth = &file.auth;
        let filled = [
            (("auth", "secrets"), !auth.secrets.is_empty()),
            (("auth", "users"), !auth.users.is_empty()),
            (("third_party", "keys"), !file.third_party.keys.is_empty()),
        ];
        let credentials = filled.into_iter().find(|(_, filled)| *filled).map(|(key, _)| key);
        if let Some((section, key)) = credentials
            && self.source.line(at).is_none()
            && self.source.is_whole("")
        {
            let cause = "credentials need a realm, and the file names none".to_owned();
            let cure = "write realm = \"example.org\", with your domain, above every [section]";
            self.wrong(At(section, key, None), cause, cure);
        }
        if realm.is_empty() {
            self.wrong(at, "is empty".to_owned(), "write your domain: realm = \"example.org\"");
        }
        if let Some(bad) = realm.chars().find(|c| matches!(c, '"' | '\\') || c.is_control()) {
            let cause = format!("has {bad:?} in it, which clients cannot quote");
            self.wrong(at, cause, "use letters, digits, dots and hyphens, as in a domain");
        }
        let length = realm.chars().count();
        if length > 127 {
            let cause = format!("has {length} characters; STUN allows 127 (RFC 8489 §14.9)");
            self.wrong(at, cause, "use a shorter name, such as your domain");
        }
    }

    /// A switch that may be left to what is known of the kernel.
    pub(super) fn switch(&mut self, key: &'static str, text: &str) -> Switch {
        text.parse().unwrap_or_else(|()| {
            let cure = format!("write {key} = \"auto\", or \"on\" or \"off\"");
            self.wrong(At("", key, None), format!("{text:?} is no position of a switch"), cure);
            Switch::Auto
        })
    }

    /// Who is told what this server is.
    pub(super) fn software(&mut self, text: &str) -> Software {
        text.parse().unwrap_or_else(|()| {
            let cure = "write software = \"authenticated\", or \"everybody\" or \"nobody\"";
            self.wrong(At("", "software", None), format!("{text:?} is nobody to tell"), cure);
            Software::default()
        })
    }

    pub(super) fn listen(&mut self, written: &super::file::Listen) -> Listen {
        if !Identity::KNOWN && !written.dtls.is_empty() {
            let cause = "this build has no DTLS listener".to_owned();
            let cure = "build it with --features dtls (needs libssl-dev) or dtls-vendored, or \
                        write dtls = []";
            self.wrong(At("listen", "dtls", Some(0)), cause, cure);
        }
        let udp = self.sockets("udp", &written.udp);
        let tcp = self.sockets("tcp", &written.tcp);
        let tls = self.sockets("tls", &written.tls);
        let dtls = self.sockets("dtls", &written.dtls);
        let http = self.sockets("http", &written.http);
        self.apart("tls", &tls, 5349, "tcp", &tcp);
        self.apart("dtls", &dtls, 5349, "udp", &udp);
        self.apart("http", &http, 8080, "tcp", &tcp);
        self.apart("http", &http, 8080, "tls", &tls);
        let lists = [&written.udp, &written.tcp, &written.tls, &written.dtls, &written.http];
        if lists.iter().all(|list| list.is_empty()) {
            let cause = "is empty, and so is every other list: there is nothing to do".to_owned();
            let cure = "write udp = [\"0.0.0.0:3478\", \"[::]:3478\"]";
            self.wrong(At("listen", "udp", None), cause, cure);
        }
        let mut lines = Vec::new();
        for (key, list) in
            [("udp", &udp), ("tcp", &tcp), ("tls", &tls), ("dtls", &dtls), ("http", &http)]
        {
            for (index, address) in list {
                let line = self.source.line(At("listen", key, Some(*index)));
                lines.extend(line.map(|line| (key, *address, line)));
            }
        }
        let plain = |list: Vec<(usize, SocketAddr)>| list.into_iter().map(|(_, a)| a).collect();
        let proxy_protocol = self.nets("listen", "proxy_protocol", &written.proxy_protocol);
        let [udp, tcp, tls, dtls, http] = [udp, tcp, tls, dtls, http].map(plain);
        Listen { udp, tcp, tls, dtls, http, proxy_protocol, lines }
    }

    /// Two listeners can't have the same port of TCP, or of UDP.
    fn apart(
        &mut self,
        key: &'static str,
        list: &[(usize, SocketAddr)],
        usual: u16,
        other: &'static str,
        taken: &[(usize, SocketAddr)],
    ) {
        for (index, address) in list {
            let held = taken.iter().find(|(_, held)| address::collide(*address, *held));
            if let Some((_, held)) = held {
                let cause = format!("{address} is taken by [listen] {other} = [\"{held}\"]");
                let free = SocketAddr::new(address.ip(), usual);
                let cure = format!("give it a port of its own, such as \"{free}\"");
                self.wrong(At("listen", key, Some(*index)), cause, cure);
            }
        }
    }

    /// The files are not looked at here: nobody needs them who has no listener for them.
    pub(super) fn tls(&mut self, written: &super::file::Tls) -> Vec<CertificateFiles> {
        let [certificate, key] = ["certificate", "key"].map(|key| At("tls", key, None));
        let first = (certificate, &written.certificate, key, &written.key);
        let more = written.more.iter().enumerate().map(|(index, it)| {
            let at = At("tls", "more", Some(index));
            (at, &it.certificate, at, &it.key)
        });
        let mut all = Vec::new();
        for (at, certificate, key_at, key) in iter::once(first).chain(more) {
            for (at, what, name) in [(at, "certificate", certificate), (key_at, "key", key)] {
                if name.is_empty() {
                    let cause = format!("the {what} is in a file, and none is named");
                    self.wrong(at, cause, "write certificate = \"cert.pem\", key = \"key.pem\"");
                }
            }
            // Where no line names it, the listener is to blame that needs it.
            let listeners = ["tls", "dtls"].map(|key| At("listen", key, Some(0)));
            let lines = [at, key_at].into_iter().chain(listeners);
            let line = lines.into_iter().find_map(|at| self.source.line(at));
            all.push(CertificateFiles { certificate: certificate.into(), key: key.into(), line });
        }
        all
    }

    fn sockets(&mut self, key: &'static str, list: &[String]) -> Vec<(usize, SocketAddr)> {
        let mut sockets: Vec<(usize, SocketAddr)> = Vec::new();
        for (index, text) in list.iter().enumerate() {
            let at = At("listen", key, Some(index));
            let Some(address) = self.kept(at, address::listener(text)) else { continue };
            if address.port() != 0 && sockets.iter().any(|(_, other)| *other == address) {
                self.wrong(at, format!("{address} stands here twice"), "remove one of the two");
                continue;
            }
            sockets.push((index, address));
        }
        sockets
    }

    pub(super) fn relay(&mut self, written: &super::file::Relay) -> Relay {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (index, text) in written.addresses.iter().enumerate() {
            let at = At("relay", "addresses", Some(index));
            let Some(ip) = self.kept(at, address::relay(text)) else { continue };
            if addresses.contains(&ip) {
                self.wrong(at, format!("{ip} stands here twice"), "remove one of the two");
                continue;
            }
            addresses.push(ip);
        }
        let external = self.external(&written.external, &addresses);
        let (port_min, port_max) = (written.port_min, written.port_max);
        if port_min == 0 {
            let cure = "write the first port to relay from, such as port_min = 49152";
            self.wrong(At("relay", "port_min", None), "port 0 is no port".to_owned(), cure);
        } else if port_min < 1024 {
            // RFC 8656 §7.2: nobody shall run a well-known service by way of us.
            let cause = format!("port {port_min} is a well-known service's");
            let cure = "write the first port to relay from, 1024 or above, such as 49152";
            self.wrong(At("relay", "port_min", None), cause, cure);
        }
        if port_min > port_max {
            let written_max = self.source.line(At("relay", "port_max", None)).is_some();
            let written_min = self.source.line(At("relay", "port_min", None)).is_some();
            let key = if written_max && !written_min { "port_max" } else { "port_min" };
            let cause = format!("the first port, {port_min}, is above the last, {port_max}");
            let cure =
                format!("write port_min = {port_max} and port_max = {port_min}, or give both");
            self.wrong(At("relay", key, None), cause, cure);
        }
        Relay { addresses, external, port_min, port_max }
    }

    fn external(
        &mut self,
        written: &BTreeMap<String, String>,
        addresses: &[IpAddr],
    ) -> Vec<(IpAddr, IpAddr)> {
        let mut external = Vec::new();
        for (local, outside) in written {
            let line = self.source.external_line(local);
            match address::external(local, outside, addresses) {
                Ok(pair) => external.push(pair),
                Err(Wrong { cause, cure }) if self.source.is_whole("relay") => {
                    let cause = format!("[relay] external: {cause}");
                    self.problems.push(Problem { line, cause, cure });
                }
                Err(_) => {}
            }
        }
        external
    }

    pub(super) fn auth(&mut self, written: &super::file::Auth) -> Vec<User> {
        for (index, secret) in written.secrets.iter().enumerate() {
            let at = At("auth", "secrets", Some(index));
            if secret.is_empty() {
                let cure = "write what `openssl rand -hex 32` prints, or secrets = []";
                self.wrong(at, "the secret is empty: everybody knows it".to_owned(), cure);
            } else if written.secrets[..index].contains(secret) {
                self.wrong(at, "this secret stands here twice".to_owned(), "remove one");
            }
        }
        if written.nonce_secret.as_deref() == Some("") {
            let cure = "write what `openssl rand -hex 32` prints, or leave the key out";
            self.wrong(At("auth", "nonce_secret", None), "is empty".to_owned(), cure);
        }
        let mut users: Vec<User> = Vec::new();
        for (index, user) in written.users.iter().enumerate() {
            let at = At("auth", "users", Some(index));
            let name = &user.name;
            if let Err(wrong) = user_name(name, !written.secrets.is_empty()) {
                self.wrong(at, wrong.cause, wrong.cure);
            } else if users.iter().any(|other| other.name == *name) {
                self.wrong(at, format!("user {name:?} stands here twice"), "remove one of the two");
            } else if user.password.is_empty() {
                let cause = format!("the password of {name:?} is empty: everybody knows it");
                self.wrong(at, cause, "write a password, such as `openssl rand -hex 16` prints");
            } else {
                users.push(User { name: name.clone(), password: user.password.clone() });
            }
        }
        users
    }

    pub(super) fn peers(&mut self, written: &super::file::Peers) -> Peers {
        let allow = self.nets("peers", "allow", &written.allow);
        let deny = self.nets("peers", "deny", &written.deny);
        Peers { allow, deny }
    }

    fn nets(&mut self, section: &'static str, key: &'static str, list: &[String]) -> Vec<IpNet> {
        let at = |index| At(section, key, Some(index));
        let list = list.iter().enumerate();
        list.filter_map(|(index, text)| self.kept(at(index), address::net(text))).collect()
    }

    pub(super) fn limits(&mut self, limits: &Limits) {
        let zero = [
            ("allocations_per_user", limits.allocations_per_user == 0),
            ("allocations_total", limits.allocations_total == 0),
            ("permissions_per_allocation", limits.permissions_per_allocation == 0),
            ("channels_per_allocation", limits.channels_per_allocation == 0),
            ("peer_connections_per_allocation", limits.peer_connections_per_allocation == 0),
            ("peer_connections", limits.peer_connections == 0),
            ("lifetime_max_secs", limits.lifetime_max_secs == 0),
            ("nonce_lifetime_secs", limits.nonce_lifetime_secs == 0),
            ("tcp_connections", limits.tcp_connections == 0),
            ("tcp_connections_per_source", limits.tcp_connections_per_source == 0),
            ("tcp_idle_secs", limits.tcp_idle_secs == 0),
            ("tls_handshakes", limits.tls_handshakes == 0),
            ("tls_handshake_secs", limits.tls_handshake_secs == 0),
            ("dtls_sessions", limits.dtls_sessions == 0),
            ("dtls_sessions_per_source", limits.dtls_sessions_per_source == 0),
            ("dtls_handshakes", limits.dtls_handshakes == 0),
            ("dtls_handshakes_per_source", limits.dtls_handshakes_per_source == 0),
            ("dtls_handshake_secs", limits.dtls_handshake_secs == 0),
        ];
        self.nonzero("limits", &zero);
        let at = At("limits", "nonce_lifetime_secs", None);
        if limits.nonce_lifetime_secs > 3600 {
            let cause = "a nonce lives for an hour at most (RFC 8656 §5)".to_owned();
            self.wrong(at, cause, "write nonce_lifetime_secs = 3600");
        }
        let at = At("limits", "lifetime_max_secs", None);
        if limits.lifetime_max_secs > DAY {
            let cause = "no client that lives goes a day without a refresh".to_owned();
            self.wrong(at, cause, "write lifetime_max_secs = 3600, as RFC 8656 §7.2 recommends");
        }
        if (1..LIFETIME_DEFAULT).contains(&limits.lifetime_max_secs) {
            let cause = format!(
                "{} is less than the {LIFETIME_DEFAULT} s that every client may count on \
                 (RFC 8656 §7.2)",
                limits.lifetime_max_secs
            );
            self.wrong(at, cause, "write lifetime_max_secs = 600 or more; 3600 is recommended");
        }
    }

    pub(super) fn signalling(&mut self, signalling: &Signalling) -> Vec<IpNet> {
        let s = signalling;
        let zero = [
            ("max_frame_bytes", s.max_frame_bytes == 0),
            ("messages_per_sec", s.messages_per_sec == 0),
            ("messages_burst", s.messages_burst == 0),
            ("bytes_per_sec", s.bytes_per_sec == 0),
            ("bytes_burst", s.bytes_burst == 0),
            ("queue_frames", s.queue_frames == 0),
            ("queue_bytes", s.queue_bytes == 0),
            ("peers_per_room", s.peers_per_room == 0),
            ("rooms_per_socket", s.rooms_per_socket == 0),
            ("rooms", s.rooms == 0),
            ("rooms_per_source", s.rooms_per_source == 0),
            ("sockets", s.sockets == 0),
            ("sockets_per_source", s.sockets_per_source == 0),
            ("accepts_per_sec_per_source", s.accepts_per_sec_per_source == 0),
            ("accepts_per_sec", s.accepts_per_sec == 0),
            ("accepts_burst", s.accepts_burst == 0),
            ("http_connections", s.http_connections == 0),
            ("http_connections_per_source", s.http_connections_per_source == 0),
        ];
        self.nonzero("signalling", &zero);
        if !(60..=DAY).contains(&s.ttl_secs) {
            let cause = "credentials are good for a minute at least and a day at most".to_owned();
            self.wrong(At("signalling", "ttl_secs", None), cause, "write ttl_secs = 3600");
        }
        if s.peers_per_room > 1000 {
            let cause = "a room holds 1000 at most: its traffic grows with the square".to_owned();
            self.wrong(At("signalling", "peers_per_room", None), cause, "use several rooms");
        }
        // The envelope that a relayed frame travels in takes room as well.
        let frame = s.max_frame_bytes;
        let queued = frame.saturating_add(128);
        let floors = [
            ("bytes_burst", s.bytes_burst as usize, frame),
            ("queue_bytes", s.queue_bytes, queued),
        ];
        for (key, bytes, least) in floors {
            if bytes != 0 && bytes < least {
                let cause = format!("{bytes} is less than one frame of max_frame_bytes = {frame}");
                self.wrong(
                    At("signalling", key, None),
                    cause,
                    format!("write {key} = {least} or more"),
                );
            }
        }
        for (index, origin) in s.origins.iter().enumerate() {
            self.kept(At("signalling", "origins", Some(index)), address::origin(origin));
        }
        if let Some(host) = &s.public_host {
            self.kept(At("signalling", "public_host", None), address::host(host));
        }
        self.nets("signalling", "trusted_proxies", &s.trusted_proxies)
    }

    pub(super) fn admin(&mut self, admin: &Admin) -> Keys {
        let token = admin.token.clone().unwrap_or_default();
        if admin.token.is_some() && token.len() < 16 {
            let cause = "a token of fewer than 16 characters can be guessed".to_owned();
            let cure = "write what `openssl rand -hex 32` prints, or take the key away";
            self.wrong(At("admin", "token", None), cause, cure);
        }
        let metrics_from = self.nets("admin", "metrics_from", &admin.metrics_from);
        Keys { token: Token(token), metrics_from }
    }

    pub(super) fn log(&mut self, level: &str) {
        if let Err(cause) = log::check(level) {
            let cure = "write level = \"info\", or debug, warn, error, off";
            self.wrong(At("log", "level", None), cause, cure);
        }
    }

    pub(super) fn nonzero(&mut self, section: &'static str, zero: &[(&'static str, bool)]) {
        for (key, _) in zero.iter().filter(|(_, is_zero)| *is_zero) {
            let cause = "a limit of 0 would refuse everybody".to_owned();
            let cure =
                "write at least 1, a large number for hardly any limit, or leave the key out";
            self.wrong(At(section, key, None), cause, cure);
        }
    }
}

/// USERNAME (RFC 8489 §14.3): fewer than 509 bytes. Beside secrets, a name that looks like a
/// time-limited one would be judged as such.
pub(super) fn user_name(name: &str, beside_secrets: bool) -> Result<(), Wrong> {
    let expiry = name.split(':').next().unwrap_or_default();
    if name.is_empty() {
        return Err(Wrong::new("the name is empty", "write name = \"alice\""));
    }
    if name.len() > 508 {
        let cause = format!("the name has {} bytes; STUN allows 508", name.len());
        return Err(Wrong::new(cause, "use a shorter name"));
    }
    if name.chars().any(char::is_control) {
        let cause = format!("the name {name:?} has a control character in it");
        return Err(Wrong::new(cause, "use letters and digits"));
    }
    if beside_secrets && !expiry.is_empty() && expiry.bytes().all(|byte| byte.is_ascii_digit()) {
        let cause = format!("beside `secrets`, {name:?} reads as a time-limited name");
        return Err(Wrong::new(cause, "start the name with a letter"));
    }
    Ok(())
}

const DAY: u32 = 86_400;
/// What an allocation lives where nobody asks for more (RFC 8656 §3.2), and what no server may cut.
const LIFETIME_DEFAULT: u32 = 600;
