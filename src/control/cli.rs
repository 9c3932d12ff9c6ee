//! The command line, and the commands that answer and end. `serve` is the caller's.
//!
//! Exit codes: 0 fine, 1 the answer is no or it failed, 2 wrong usage.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::json;

use crate::control::certificates::Certificates;
use crate::control::clock::unix_secs;
use crate::control::config::{Config, ConfigError, DEFAULT_FILE};
use crate::control::{credentials, ctl, import, interfaces, log, manual};
use crate::load::{self, Login};
use crate::probe;
use crate::turn::acl::Ports;

/// A STUN/TURN server with a signalling relay beside it.
#[derive(Clone, Debug, Parser)]
#[command(name = "hairpin", version, about)]
pub struct Cli {
    /// Read this file instead of ./turnserver.toml
    #[arg(long, short, global = true, value_name = "FILE", env = "HAIRPIN_CONFIG")]
    pub config: Option<PathBuf>,
    /// Log at these levels instead of the configured ones, e.g. info,hairpin::control=debug
    #[arg(long, global = true, value_name = "LEVELS", env = "HAIRPIN_LOG", value_parser = levels)]
    pub log_level: Option<String>,
    /// Write the log as text or as JSON instead of as configured
    #[arg(long, global = true, value_name = "FORMAT", env = "HAIRPIN_LOG_FORMAT")]
    pub log_format: Option<log::Format>,
    /// What to do; serve, if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the server (the default)
    Serve,
    /// Say what is wrong with the configuration, or what it comes to
    CheckConfig,
    /// Make a time-limited username and password for the configured secret
    Credentials(Credentials),
    /// Ask a running server how it is, and give it orders
    Ctl(ctl::Ctl),
    /// May a client relay to this address? Says by which rule
    CheckPeer(CheckPeer),
    /// Make a turnserver.toml of coturn's turnserver.conf, and say what cannot be carried over
    ImportCoturn(import::Options),
    /// Put load on a STUN or TURN server, and measure what it delivers
    Load(Box<load::Options>),
    /// Ask a STUN or TURN server everything that a client wants of it, and say what works
    Probe(probe::Options),
    /// Print a page for man(1): hairpin's own, or that of a command
    #[command(hide = true)]
    Man {
        /// The command
        command: Option<String>,
    },
    /// Print what a shell reads to complete this command line
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `hairpin credentials`
#[derive(Args, Clone, Debug)]
pub struct Credentials {
    /// Whom they are for: tells users apart, for their limits and in the log
    #[arg(long, value_name = "NAME", value_parser = user_name)]
    pub user: String,
    /// How many seconds they are good for (default: ttl_secs of the configuration)
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..))]
    pub ttl: Option<u32>,
    /// Print JSON, with iceServers to paste into RTCPeerConnection
    #[arg(long)]
    pub json: bool,
}

/// `hairpin check-peer`
#[derive(Args, Clone, Debug)]
pub struct CheckPeer {
    /// The peer: 192.0.2.1, 192.0.2.1:443 or `[2001:db8::1]:443`
    #[arg(value_name = "ADDRESS[:PORT]", value_parser = peer)]
    pub peer: Peer,
}

/// A peer as it is asked about; without a port every port is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The address.
    pub ip: IpAddr,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl Cli {
    /// The configuration that this command line asks for.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut config = Config::find(self.config.as_deref(), &mut rand::rng())?;
        if let Some(levels) = &self.log_level {
            config.log.level.clone_from(levels);
        }
        config.log.format = self.log_format.unwrap_or(config.log.format);
        Ok(config)
    }

    /// Runs a command that answers and ends; `None` where the server is asked for.
    pub fn answer(&self) -> Option<io::Result<ExitCode>> {
        let mut out = io::stdout().lock();
        match &self.command {
            None | Some(Command::Serve) => None,
            Some(Command::CheckConfig) => Some(self.check_config(&mut out)),
            Some(Command::Credentials(asked)) => Some(self.credentials(asked, &mut out)),
            Some(Command::Ctl(asked)) => Some(match self.load() {
                Ok(config) => ctl::run(asked, &config, &mut out),
                Err(error) => failed(&error.to_string()),
            }),
            Some(Command::CheckPeer(asked)) => Some(self.check_peer(asked.peer, &mut out)),
            Some(Command::ImportCoturn(asked)) => Some(import::run(asked, &mut out)),
            Some(Command::Load(o)) => {
                let login = login(&o.user, o.password.as_deref(), o.secret.as_deref());
                Some(load::run(o, login, &mut out))
            }
            Some(Command::Man { command }) => Some(man(command.as_deref(), &mut out)),
            Some(Command::Completions { shell }) => {
                Some(manual::completions(*shell, &mut out).map(|()| ExitCode::SUCCESS))
            }
            Some(Command::Probe(o)) => {
                let login = login(&o.user, o.password.as_deref(), o.secret.as_deref());
                Some(probe::run(o, login.as_ref(), &mut out))
            }
        }
    }

    fn check_config(&self, out: &mut impl Write) -> io::Result<ExitCode> {
        let config = match self.load() {
            Ok(config) => config,
            Err(error) => {
                writeln!(out, "{error}")?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let certificates = match Certificates::load(&config) {
            Ok(loaded) => loaded,
            Err(error) => {
                writeln!(out, "{error}")?;
                return Ok(ExitCode::FAILURE);
            }
        };
        match &config.path {
            Some(path) => writeln!(out, "{}: fine", path.display())?,
            None => writeln!(out, "no {DEFAULT_FILE} here: the built-in defaults, fine")?,
        }
        let found = interfaces::found()?;
        for line in config.summary(&found) {
            writeln!(out, "    {line}")?;
        }
        let about_files = certificates.map(|(_, doubts)| doubts).unwrap_or_default();
        for doubt in config.doubts(&found).into_iter().chain(about_files) {
            writeln!(out, "    doubt: {doubt}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn credentials(&self, asked: &Credentials, out: &mut impl Write) -> io::Result<ExitCode> {
        let config = match self.load() {
            Ok(config) => config,
            Err(error) => return failed(&error.to_string()),
        };
        let secret = config.credentials.secrets.first().filter(|_| !config.made_up);
        let Some(secret) = secret else {
            let file = config.path.unwrap_or_else(|| DEFAULT_FILE.into());
            return failed(&format!(
                "{}: no secret is configured, so there is nothing to sign credentials with\n    \
                 cure: write secrets = [\"…\"] in [auth], with what `openssl rand -hex 32` prints, \
                 and restart the server",
                file.display()
            ));
        };
        let ttl = asked.ttl.unwrap_or(config.signalling.ttl_secs);
        let expires = unix_secs() + u64::from(ttl);
        let (username, password) =
            credentials::time_limited(secret.as_bytes(), &asked.user, expires);
        if !asked.json {
            writeln!(out, "username: {username}")?;
            writeln!(out, "password: {password}")?;
            writeln!(out, "good for: {ttl} s")?;
            return Ok(ExitCode::SUCCESS);
        }
        let (stun, turn) = credentials::uris(&config, &interfaces::found()?);
        let answer = json!({
            "username": username,
            "password": password,
            "ttl": ttl,
            "uris": turn,
            "iceServers": [
                { "urls": stun },
                { "urls": turn, "username": username, "credential": password },
            ],
        });
        writeln!(out, "{answer:#}")?;
        Ok(ExitCode::SUCCESS)
    }

    fn check_peer(&self, peer: Peer, out: &mut impl Write) -> io::Result<ExitCode> {
        let config = match self.load() {
            Ok(config) => config,
            Err(error) => return failed(&error.to_string()),
        };
        let acl = config.acl(&interfaces::found()?);
        let ruling = match peer.port {
            Some(port) => acl.judge(SocketAddr::new(peer.ip, port), false),
            None => acl.judge_ip(peer.ip),
        };
        writeln!(out, "{ruling}")?;
        if peer.port.is_none()
            && acl.permits(SocketAddr::new(peer.ip, 0), false) == Some(Ports::AllButListening)
        {
            let ports: Vec<_> = acl.listening_ports.iter().map(ToString::to_string).collect();
            writeln!(out, "except for ports that this server listens on: {}", ports.join(", "))?;
        }
        Ok(if ruling.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn man(command: Option<&str>, out: &mut impl Write) -> io::Result<ExitCode> {
    match manual::page(command, out) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            failed(&format!("there are pages of: {}", manual::commands().join(", ")))
        }
        Err(error) => Err(error),
    }
}

/// Who the clients of a load or a probe are: as it was said, or made from the server's secret.
fn login(user: &str, password: Option<&str>, secret: Option<&str>) -> Option<Login> {
    if let Some(secret) = secret {
        let expires = unix_secs() + CLIENT_TTL_SECS;
        let (user, password) = credentials::time_limited(secret.as_bytes(), user, expires);
        return Some(Login { user, password });
    }
    Some(Login { user: user.to_owned(), password: password?.to_owned() })
}

/// How long these credentials are good: longer than any run.
const CLIENT_TTL_SECS: u64 = 3600;

fn failed(why: &str) -> io::Result<ExitCode> {
    writeln!(io::stderr().lock(), "{why}")?;
    Ok(ExitCode::FAILURE)
}

fn peer(text: &str) -> Result<Peer, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Peer { ip: address.ip(), port: Some(address.port()) });
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match bare.parse() {
        Ok(ip) => Ok(Peer { ip, port: None }),
        Err(_) => Err("peers are addresses, such as 192.0.2.1 or [2001:db8::1]:443; TURN \
                       carries no names and no other notations"
            .to_owned()),
    }
}

fn user_name(text: &str) -> Result<String, String> {
    // USERNAME has fewer than 509 bytes (RFC 8489 §14.3), the expiry and a colon among them.
    match text.len() {
        0 => Err("name somebody: without a name all share one limit".to_owned()),
        481.. => Err("a username may have 508 bytes, with the expiry before it".to_owned()),
        _ if text.chars().any(char::is_control) => Err("no control characters".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn levels(text: &str) -> Result<String, String> {
    log::check(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_peer_is_an_address_with_or_without_a_port() {
        for (text, port) in [
            ("192.0.2.1", None),
            ("192.0.2.1:443", Some(443)),
            ("2001:db8::1", None),
            ("[2001:db8::1]", None),
            ("[2001:db8::1]:443", Some(443)),
        ] {
            assert_eq!(peer(text).map(|peer| peer.port), Ok(port), "{text}");
        }
        for text in ["", "localhost", "127.1", "0x7f000001", "2130706433", "010.0.0.1", "fe80::1%1"]
        {
            assert!(peer(text).is_err() || text.contains('%'), "{text}");
        }
    }
}
