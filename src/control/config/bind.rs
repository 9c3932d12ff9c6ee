//! What to say when an address of `[listen]` cannot be bound.

use std::io;
use std::net::SocketAddr;

use super::discovery::DISCOVERY;
use super::{Config, ConfigError, Problem};

impl Config {
    /// Whether an address that could not be bound is one that the file names, rather than one of
    /// the built-in defaults.
    pub fn names_listener(&self, key: &str, address: SocketAddr) -> bool {
        self.listener_line(key, address).is_some()
    }

    /// The problem with binding `address` of the list `key`, with its line and a cure.
    pub fn bind_problem(&self, key: &str, address: SocketAddr, error: &io::Error) -> ConfigError {
        let file = match &self.path {
            Some(path) => path.display().to_string(),
            None => "the built-in defaults".to_owned(),
        };
        let place =
            if key == DISCOVERY { "[nat_discovery]".to_owned() } else { format!("[listen] {key}") };
        let problem = Problem {
            line: self.listener_line(key, address),
            cause: format!("{place}: cannot listen on {address}: {error}"),
            cure: cure(key, address, error),
        };
        ConfigError { file, problems: vec![problem] }
    }

    fn listener_line(&self, key: &str, address: SocketAddr) -> Option<usize> {
        let lines = &self.listen.lines;
        lines.iter().find(|(k, a, _)| *k == key && *a == address).map(|(_, _, line)| *line)
    }
}

fn cure(key: &str, address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let option = match key {
                "udp" | "dtls" => "-lnpu",
                DISCOVERY => "-lnptu",
                _ => "-lnpt",
            };
            format!(
                "stop what listens there (`ss {option} sport = :{port}` names it), or write \
                 another port in {key}"
            )
        }
        io::ErrorKind::AddrNotAvailable if key == DISCOVERY => {
            "write two addresses that this host has (`ip address` lists them), or primary = [] and \
             alternate = []"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "write an address that this host has (`ip address` lists them), or 0.0.0.0 and [::]"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "give the service CAP_NET_BIND_SERVICE, as the systemd unit does, or write a port \
             above 1023 instead of {port}"
        ),
        _ => format!("remove {address} from {key}, or give the host what it lacks"),
    }
}
