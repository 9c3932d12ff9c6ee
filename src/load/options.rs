//! What is asked for, and whether it can be.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::client::authority::authorities;
use crate::client::{Scheme, Uri};
use crate::load::stamp::SEQUENCE_BYTES;
use crate::net::tls::{Trust, Visit};
use crate::turn::Transport;

/// `hairpin load`
#[derive(Args, Clone)]
pub struct Options {
    /// The server: turn:HOST:PORT?transport=udp (or tcp), turns:HOST:PORT for TLS, stun:HOST:PORT,
    /// stuns:HOST:PORT, or udp:HOST:PORT for one that merely passes datagrams on to --peer; without
    /// a port it is 3478, with TLS 5349
    #[arg(value_name = "URI")]
    pub uri: Uri,
    /// What to do to it [default: both for turn:, binding for stun:, up for udp:]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Who we are
    #[arg(long, value_name = "NAME", default_value = "load")]
    pub user: String,
    /// The password of --user
    #[arg(long, env = "HAIRPIN_PASSWORD", conflicts_with = "secret", hide_env_values = true)]
    pub password: Option<String>,
    /// The server's secret, to make time-limited credentials with
    #[arg(long, env = "HAIRPIN_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// Allocations, or pairs of them in mode hairpin; with binding: sockets
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub flows: u32,
    /// Payload of each packet in bytes; below 24 no latency is measured
    #[arg(long, value_name = "BYTES", default_value_t = 160,
          value_parser = clap::value_parser!(u32).range(SEQUENCE_BYTES as i64..=60_000))]
    pub size: u32,
    /// Packets, or requests, per second over all flows; or max
    #[arg(long, value_name = "PPS", default_value = "max", value_parser = rate)]
    pub rate: Rate,
    /// Packets sent to one flow back to back, by one send where the kernel can
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub burst: u32,
    /// Packets of one flow that may be on their way at once; 0: no limit
    /// [default: by the number of flows at --rate max, else 0]
    #[arg(long, value_name = "N")]
    pub window: Option<u32>,
    /// How long to measure
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// How long to run before that
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = seconds)]
    pub warmup: Duration,
    /// How clients wrap what they send
    #[arg(long, value_enum, default_value_t = Framing::Channel)]
    pub framing: Framing,
    /// The local address of the peers [default: the one that leads to the server]
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = peer)]
    pub peer: Option<SocketAddr>,
    /// Peers that the flows are spread over
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub peers: u32,
    /// Allocations to hold besides, which carry nothing
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub idle: u32,
    /// Do not delete the --idle ones: all expire in the same second, ten minutes on or later
    #[arg(long, requires = "idle")]
    pub leave: bool,
    /// In mode hairpin: no pairs, but one ring, in which each client sends to the next; wherever a
    /// server has put its clients, some packets go from one of its threads to another
    #[arg(long)]
    pub ring: bool,
    /// Receive every datagram by itself even where the kernel could hand over several as one
    #[arg(long)]
    pub no_gro: bool,
    /// With turns: or stuns:, believe servers whose certificates these (PEM) have issued for the
    /// name or address in the URI; without it, any server: what goes there is of no worth
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// The server's process, where it runs on this machine: its CPU time is measured
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is done to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Clients send to a peer
    Up,
    /// A peer sends to the clients
    Down,
    /// Clients and a peer send to each other
    Both,
    /// Clients send to a peer, which sends it back: latencies are round trips
    Echo,
    /// Clients send to clients, each by an allocation of its own
    Hairpin,
    /// Binding requests
    Binding,
    /// Allocations, each of a new client, and each deleted at once
    Allocate,
    /// Refreshes of allocations that stay
    Refresh,
}

/// How application data travels between a client and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// ChannelData
    Channel,
    /// Send and Data indications
    Indication,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as the window lets us.
    Max,
    /// So many in a second.
    PerSecond(f64),
}

impl Options {
    /// What to do, where nothing was said: what fits the URI.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or(match self.uri.scheme {
            Scheme::Turn => Mode::Both,
            Scheme::Stun => Mode::Binding,
            Scheme::Udp => Mode::Up,
        })
    }

    /// Packets of one flow that may be on their way; `None`: any number.
    pub fn window(&self) -> Option<u64> {
        match (self.window, self.rate) {
            (Some(0), _) | (None, Rate::PerSecond(_)) => None,
            (Some(window), _) => Some(window.max(self.burst).into()),
            // Enough that a server never waits for us, little enough that the kernel's default
            // buffers (some 90 long datagrams) hold one flow's.
            (None, Rate::Max) => {
                let each = (512 / self.flows).clamp(2, 64);
                Some(each.max(2 * self.burst).into())
            }
        }
    }

    /// How clients begin TLS, where the URI asks for it.
    pub(super) fn visit(&self) -> io::Result<Option<Visit>> {
        if !self.uri.secure {
            return Ok(None);
        }
        let trust = match &self.ca {
            None => Trust::Anybody,
            Some(file) => Trust::Issuers(authorities(file).map_err(io::Error::other)?),
        };
        Visit::new(&self.uri.host, trust).map(Some)
    }

    /// Sockets that a run needs at once.
    pub(super) fn sockets(&self) -> u64 {
        let each = if self.mode() == Mode::Hairpin && !self.ring { 2 } else { 1 };
        u64::from(self.flows) * each + u64::from(self.peers.min(self.flows))
    }

    /// What cannot be done as it is asked for.
    pub fn objection(&self) -> Option<&'static str> {
        let (mode, scheme) = (self.mode(), self.uri.scheme);
        let stream = self.uri.transport() == Transport::Tcp;
        match scheme {
            _ if self.uri.secure && !stream => Some("DTLS is not spoken here"),
            Scheme::Stun if mode != Mode::Binding => Some("a stun: URI serves mode binding only"),
            Scheme::Udp if mode != Mode::Up => Some("a udp: URI serves mode up only"),
            Scheme::Udp if self.peer.is_none_or(|peer| peer.port() == 0) => {
                Some("with a udp: URI, --peer ADDRESS:PORT says where the datagrams arrive")
            }
            Scheme::Turn
                if mode != Mode::Binding && self.password.is_none() && self.secret.is_none() =>
            {
                Some("--password or --secret is needed")
            }
            _ if self.peers > 1 && self.peer.is_some_and(|peer| peer.port() != 0) => {
                Some("with several --peers, --peer names no port")
            }
            _ if self.ring && (mode != Mode::Hairpin || self.flows < 2) => {
                Some("--ring is for mode hairpin with several --flows")
            }
            _ if self.ca.is_some() && !self.uri.secure => {
                Some("--ca is for turns: and stuns:, where there are certificates")
            }
            _ if self.seconds.is_zero() => Some("--seconds must be more than 0"),
            _ if self.idle > 0 && (scheme != Scheme::Turn || mode == Mode::Binding) => {
                Some("--idle is for a turn: URI and a mode with allocations")
            }
            _ if self.idle > 0 && stream => Some("--idle is for UDP"),
            _ if stream && mode == Mode::Allocate => {
                Some("mode allocate is for UDP: over TCP it would measure connections")
            }
            _ => None,
        }
    }
}

/// Nothing of a secret.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Options({} {:?}, {} flows)", self.uri, self.mode(), self.flows)
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Rate::Max),
        Ok(rate) if rate > 0.0 && rate <= 1e8 => Ok(Rate::PerSecond(rate)),
        _ => Err("a number above 0, or max".to_owned()),
    }
}

/// A run is shorter than a permission lives, so that nothing has to be refreshed in it.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=120.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("0 to 120 seconds: no longer than what is set up lives by itself".to_owned()),
    }
}

fn peer(text: &str) -> Result<SocketAddr, String> {
    let ip = || text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| (ip, 0).into());
    text.parse().or_else(|_| ip()).map_err(|_| "ADDRESS or ADDRESS:PORT".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Result<Options, String> {
        let line = ["load"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(line).map(|line| line.options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mode_follows_the_uri() {
        for (uri, mode) in
            [("turn:a", Mode::Both), ("stun:a", Mode::Binding), ("udp:a:9", Mode::Up)]
        {
            assert_eq!(options(uri).unwrap().mode(), mode);
        }
    }

    #[test]
    fn the_window_is_bounded_at_full_speed_only() {
        let window = |line: &str| options(line).unwrap().window();
        assert_eq!(window("turn:a"), Some(64));
        assert_eq!(window("turn:a --flows 200"), Some(2));
        assert_eq!(window("turn:a --flows 200 --burst 16"), Some(32));
        assert_eq!(window("turn:a --rate 1000"), None);
        assert_eq!(window("turn:a --rate 1000 --window 8"), Some(8));
        assert_eq!(window("turn:a --window 0"), None);
    }

    #[test]
    fn what_cannot_be_is_said() {
        for line in [
            "turn:a --mode up",
            "turns:a?transport=udp --password p",
            "stun:a --mode up",
            "udp:a:9",
            "udp:a:9 --mode down --peer 127.0.0.1:9",
            "turn:a --password p --seconds 0",
            "turn:a --password p --peers 2 --peer 127.0.0.1:9",
            "turn:a --mode binding --idle 5",
            "turn:a --password p --mode hairpin --ring",
            "turn:a --password p --mode up --ring --flows 2",
            "turn:a?transport=tcp --password p --idle 5",
            "turn:a?transport=tcp --password p --mode allocate",
            "turns:a --password p --mode allocate",
            "turn:a --password p --ca ca.pem",
        ] {
            assert!(options(line).unwrap().objection().is_some(), "{line}");
        }
        for line in ["turn:a --password p", "turn:a --mode binding", "udp:a:9 --peer 127.0.0.1:9"] {
            assert_eq!(options(line).unwrap().objection(), None, "{line}");
        }
        for line in
            ["turn:a --size 1", "turn:a --flows 0", "turn:a --rate 0", "turn:a --seconds 999"]
        {
            assert!(options(line).is_err(), "{line}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", options("turn:a --password hush").unwrap());
        assert!(!shown.contains("hush"), "{shown}");
    }
}
