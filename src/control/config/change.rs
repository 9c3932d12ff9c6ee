//! What changes while the server runs, and what has to wait for the next start.

use super::{Config, Limits, Listen};

impl Config {
    /// Takes over from a newer configuration what can change while the server runs. Gives the keys
    /// that have changed as well and cannot, as `[section] key`.
    pub fn take_over(&mut self, new: Self) -> Vec<&'static str> {
        let waiting = self.waiting(&new);
        // A secret that was made up is made up once, and told at the start only.
        if !new.made_up {
            let nonce_key = self.credentials.nonce_key;
            self.credentials = new.credentials;
            self.credentials.nonce_key = nonce_key;
            self.made_up = new.made_up;
        }
        self.peers = new.peers;
        self.limits = self.limits.with_changeable(&new.limits);
        self.tls = new.tls;
        self.log.level = new.log.level;
        self.drain_secs = new.drain_secs;
        self.mobility = new.mobility;
        self.software = new.software;
        self.alternates = new.alternates;
        waiting
    }

    fn waiting(&self, new: &Self) -> Vec<&'static str> {
        let Listen { udp, tcp, tls, dtls, http, proxy_protocol, .. } = &self.listen;
        let fixed = [
            ("realm", self.realm != new.realm),
            ("[auth]: it names no credentials any more, which", new.made_up && !self.made_up),
            (
                "[auth] nonce_secret",
                new.nonce_is_written && new.credentials.nonce_key != self.credentials.nonce_key,
            ),
            ("workers", self.workers != new.workers),
            ("gso", self.gso != new.gso),
            ("gro", self.gro != new.gro),
            ("gather", self.gather != new.gather),
            ("dscp", self.dscp != new.dscp),
            ("steer", self.steer != new.steer),
            ("[listen] udp", *udp != new.listen.udp),
            ("[listen] tcp", *tcp != new.listen.tcp),
            ("[listen] tls", *tls != new.listen.tls),
            ("[listen] dtls", *dtls != new.listen.dtls),
            ("[listen] http", *http != new.listen.http),
            ("[listen] proxy_protocol", *proxy_protocol != new.listen.proxy_protocol),
            ("[nat_discovery]", self.discovery != new.discovery),
            ("[relay]", self.relay != new.relay),
            ("[signalling]", self.signalling != new.signalling || self.proxies != new.proxies),
            ("[admin]", self.admin != new.admin),
            ("[log] format", self.log.format != new.log.format),
            (
                "[limits] of TLS, DTLS or tcp_idle_secs",
                self.limits.with_changeable(&new.limits) != new.limits,
            ),
        ];
        fixed.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

impl Limits {
    /// These, but for what `new` says of that which can change.
    fn with_changeable(&self, new: &Self) -> Self {
        Self {
            allocations_per_user: new.allocations_per_user,
            allocations_total: new.allocations_total,
            permissions_per_allocation: new.permissions_per_allocation,
            channels_per_allocation: new.channels_per_allocation,
            bandwidth_per_allocation: new.bandwidth_per_allocation,
            peer_connections_per_allocation: new.peer_connections_per_allocation,
            peer_connections: new.peer_connections,
            lifetime_max_secs: new.lifetime_max_secs,
            nonce_lifetime_secs: new.nonce_lifetime_secs,
            tcp_connections: new.tcp_connections,
            tcp_connections_per_source: new.tcp_connections_per_source,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("a test", text, &mut StdRng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn what_cannot_change_is_named_and_stays() {
        let mut running = config("realm = \"one\"\n[auth]\nsecrets = [\"s\"]");
        let new = "realm = \"two\"\n[listen]\nudp = [\"127.0.0.1:3479\"]\n[limits]\n\
                   tls_handshakes = 7\nallocations_per_user = 3\n[auth]\nsecrets = [\"t\"]";
        let waiting = running.take_over(config(new));
        let named = ["realm", "[listen] udp", "[limits] of TLS, DTLS or tcp_idle_secs"];
        assert_eq!(waiting, named);
        assert_eq!((&*running.realm, running.limits.allocations_per_user), ("one", 3));
        assert_ne!(running.limits.tls_handshakes, 7);
        assert_eq!(running.credentials.secrets, ["t"]);
    }

    #[test]
    fn the_same_again_changes_nothing_and_a_made_up_secret_stays() {
        let mut running = config("");
        let secrets = running.credentials.secrets.clone();
        let again = Config::parse("a test", "", &mut StdRng::seed_from_u64(2)).unwrap();
        assert_ne!(again.credentials.secrets, secrets);
        assert!(running.take_over(again).is_empty());
        assert_eq!(running.credentials.secrets, secrets);
    }

    #[test]
    fn credentials_that_are_gone_from_the_file_stay_until_the_next_start() {
        let mut running = config("realm = \"r\"\n[auth]\nsecrets = [\"s\"]");
        let waiting = running.take_over(config("realm = \"r\""));
        assert_eq!(waiting, ["[auth]: it names no credentials any more, which"]);
        assert_eq!(running.credentials.secrets, ["s"]);
        let secret = "realm = \"r\"\n[auth]\nsecrets = [\"s\"]\nnonce_secret = \"n\"";
        assert_eq!(running.take_over(config(secret)), ["[auth] nonce_secret"]);
    }

    #[test]
    fn the_key_of_the_nonces_stays_so_that_no_client_has_to_begin_again() {
        let mut running =
            config("realm = \"r\"\n[auth]\nsecrets = [\"0123456789abcdef0123456789abcdef\"]");
        let key = running.credentials.nonce_key;
        let new = config("realm = \"r\"\n[auth]\nsecrets = [\"fedcba9876543210fedcba9876543210\"]");
        assert_ne!(new.credentials.nonce_key, key);
        running.take_over(new);
        assert_eq!(running.credentials.nonce_key, key);
    }
}
