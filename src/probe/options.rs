//! What is asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::client::{Scheme, Uri};

/// `hairpin probe`
#[derive(Args, Clone)]
pub struct Options {
    /// Servers: turn:HOST or turn:HOST:PORT, over UDP and TCP, or over the one that ?transport=udp
    /// or ?transport=tcp names; turns:HOST, stun:HOST, stuns:HOST
    #[arg(value_name = "URI", required = true, value_parser = server)]
    pub uris: Vec<Uri>,
    /// Who we are; without a password no relay is asked for
    #[arg(long, value_name = "NAME", default_value = "probe")]
    pub user: String,
    /// The password of --user
    #[arg(long, env = "HAIRPIN_PASSWORD", conflicts_with = "secret", hide_env_values = true)]
    pub password: Option<String>,
    /// The server's secret, to make a time-limited name and password with
    #[arg(long, env = "HAIRPIN_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// An authority for certificates, PEM, besides those that this machine trusts
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How long to wait for each answer
    #[arg(long, value_name = "S", default_value = "3", value_parser = seconds)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// Nothing of a secret.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let uris: Vec<String> = self.uris.iter().map(ToString::to_string).collect();
        write!(f, "Options({})", uris.join(" "))
    }
}

fn server(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse()?;
    match uri.scheme {
        Scheme::Udp => {
            Err("udp: is no server that could be asked; write stun: or turn:".to_owned())
        }
        Scheme::Stun | Scheme::Turn => Ok(uri),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("0.1 to 60 seconds".to_owned()),
    }
}
