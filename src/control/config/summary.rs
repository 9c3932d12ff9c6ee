//! What a configuration comes to, in a few lines for a human: said by `check-config` and at start.

use std::fmt::Display;
use std::net::IpAddr;

use super::Config;
use crate::turn::config::Pair;

impl Config {
    /// What would listen and relay, a line each.
    pub fn summary(&self, found: &[IpAddr]) -> Vec<String> {
        let Self { listen, relay, credentials, alternates, .. } = self;
        let addresses = match relay.addresses.as_slice() {
            [] => format!("what the client reached, of {}", list(found)),
            addresses => list(addresses),
        };
        let mut lines = vec![
            format!("udp     {}", list(&listen.udp)),
            format!("tcp     {}", list(&listen.tcp)),
            format!("tls     {}", list(&listen.tls)),
            format!("http    {}{}", list(&listen.http), also(self.http_over_tls())),
            format!("relay   {addresses}, ports {} to {}", relay.port_min, relay.port_max),
        ];
        if !listen.dtls.is_empty() {
            lines.insert(2, format!("dtls    {}", list(&listen.dtls)));
        }
        if !alternates.servers.is_empty() {
            let when = if alternates.always { "always" } else { "while this server drains" };
            let servers: Vec<_> = alternates.servers.iter().map(|server| server.address).collect();
            lines.push(format!("others  new clients are sent to {}, {when}", list(&servers)));
        }
        if !listen.proxy_protocol.is_empty() {
            let balancers = list(&listen.proxy_protocol);
            lines.push(format!("proxied clients of {balancers} (udp, tcp, tls)"));
        }
        for (local, outside) in &relay.external {
            lines.push(format!("        the world sees {local} as {outside}"));
        }
        for pair in &self.discovery.pairs {
            let Pair { primary, alternate } = pair;
            lines.push(format!("nat     discovery at {primary} and {alternate}"));
        }
        lines.push(format!("realm   {}", self.realm));
        if let Some(third_party) = &credentials.third_party {
            let kids: Vec<_> = third_party.keys.iter().map(|key| key.kid.as_str()).collect();
            lines.push(format!("tokens  for {}, keys: {}", third_party.server_name, list(&kids)));
        }
        lines.push(match (self.made_up, credentials.secrets.len(), credentials.users.len()) {
            (true, ..) => "auth    a secret made up at each start".to_owned(),
            (false, secrets, users) => format!("auth    secrets: {secrets}, users: {users}"),
        });
        lines
    }

    /// What is allowed but probably not meant, a sentence each.
    pub fn doubts(&self, found: &[IpAddr]) -> Vec<String> {
        let mut doubts = Vec::new();
        let missing = |ip: &&IpAddr| !found.is_empty() && !found.contains(ip);
        for ip in self.relay.addresses.iter().filter(missing) {
            doubts.push(format!("[relay] addresses: no interface of this host has {ip} now"));
        }
        for (ip, _) in self.relay.external.iter().filter(|(ip, _)| missing(&ip)) {
            doubts.push(format!("[relay] external: no interface of this host has {ip} now"));
        }
        for server in self.alternates_to_itself(found) {
            doubts.push(format!(
                "[alternates] {} is this server itself, as far as can be seen from here, and \
                 clients would come back; name another server",
                server.address
            ));
        }
        let hands_out = !self.made_up && !self.credentials.secrets.is_empty();
        if hands_out && !self.listen.tls.is_empty() && self.signalling.public_host.is_none() {
            doubts.push(
                "[signalling] public_host is not set, so turns: may be handed out with an address \
                 in place of the name that the certificate is for; write \
                 public_host = \"turn.example.org\""
                    .to_owned(),
            );
        }
        if !self.discovery.pairs.is_empty() && !self.listen.proxy_protocol.is_empty() {
            doubts.push(
                "[nat_discovery] answers from other addresses do not go by a load balancer: who \
                 comes by one (proxy_protocol) over UDP is told wrongly what a NAT does"
                    .to_owned(),
            );
        }
        for net in self.listen.proxy_protocol.iter().filter(|net| net.prefix_len() == 0) {
            doubts.push(format!(
                "[listen] proxy_protocol {net} has everybody say who they are, and nobody served \
                 who does not; name the load balancers"
            ));
        }
        for net in self.peers.allow.iter().filter(|net| net.prefix_len() == 0) {
            doubts.push(format!(
                "[peers] allow {net} opens loopback, private networks and the cloud's metadata \
                 service to every client; a server needs no allow to reach the internet"
            ));
        }
        if !self.made_up && self.credentials.secrets.iter().any(|secret| secret.len() < 16) {
            doubts.push(
                "[auth] secrets: one is shorter than 16 characters, and whoever has been given a \
                 password can guess it at home; `openssl rand -hex 32` prints a good one"
                    .to_owned(),
            );
        }
        if !self.made_up && self.is_readable_by_all() {
            doubts.push(
                "every user of this host may read the file and its secrets: \
                 chmod o= it"
                    .to_owned(),
            );
        }
        doubts
    }

    fn is_readable_by_all(&self) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let metadata = self.path.as_ref().and_then(|path| path.metadata().ok());
        metadata.is_some_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    }
}

fn also(over_tls: bool) -> &'static str {
    if over_tls { ", and inside tls" } else { "" }
}

fn list<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
