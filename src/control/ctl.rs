//! `hairpin ctl`: asks a running server, and gives it orders, as a person would.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use axum::body::Body;
use clap::{Args, Subcommand};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::Config;

/// `hairpin ctl`
#[derive(Args, Clone, Debug)]
pub struct Ctl {
    /// Where the server's http listener is (default: the first that the configuration names)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub server: Option<SocketAddr>,
    /// The token of `[admin]` (default: the configuration's); asked for from other machines
    #[arg(long, value_name = "TOKEN", env = "HAIRPIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print the server's answer as it is, JSON
    #[arg(long)]
    pub json: bool,
    /// What to ask for.
    #[command(subcommand)]
    pub order: Order,
}

/// What can be asked for.
#[derive(Clone, Debug, Subcommand)]
pub enum Order {
    /// How the server is
    Status,
    /// Who relays, from where, by which address, and how much
    Allocations {
        /// This user's only
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// No more than so many
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
    },
    /// End an allocation now
    End {
        /// Its id, as `allocations` tells it
        id: String,
    },
    /// End all allocations of a user now
    EndUser {
        /// The name
        user: String,
    },
    /// Make no more allocations, and end when there are none left
    Drain,
    /// Read the configuration and the certificates again
    Reload,
    /// Log at these levels until the next start, or until the configuration has others
    LogLevel {
        /// For instance info,hairpin::control=debug
        levels: String,
    },
    /// Everything that is counted, as Prometheus gets it
    Metrics,
}

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks, and prints the answer.
///
/// # Errors
///
/// Only where the answer cannot be printed.
pub fn run(ctl: &Ctl, config: &Config, out: &mut impl Write) -> io::Result<ExitCode> {
    let Some(server) = ctl.server.or_else(|| reachable(config.listen.http.first().copied()?))
    else {
        writeln!(io::stderr(), "the configuration names no http listener; say --server")?;
        return Ok(ExitCode::FAILURE);
    };
    let token = ctl.token.as_deref().unwrap_or(&config.admin.token.0);
    match ask(server, token, &ctl.order) {
        Ok((200..=299, body)) if ctl.json => writeln!(out, "{}", body.trim_end())?,
        Ok((200..=299, body)) => tell(&ctl.order, &body, out)?,
        Ok((status, body)) => {
            let why = serde_json::from_str::<Value>(&body).ok();
            let why = why.as_ref().and_then(|it| it["message"].as_str()).unwrap_or(&body);
            writeln!(io::stderr(), "{server} refuses it ({status}): {why}")?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => {
            writeln!(
                io::stderr(),
                "{server} does not answer: {error}; is the server running, and does it listen \
                 there ([listen] http)?"
            )?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A listener on a wildcard is reached by loopback.
fn reachable(listener: SocketAddr) -> Option<SocketAddr> {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    (listener.port() != 0).then_some(SocketAddr::new(ip, listener.port()))
}

fn request(order: &Order) -> (Method, String, Body) {
    let escaped = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let one = |byte: u8| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect::<String>()
    };
    let (method, path) = match order {
        Order::Status => (Method::GET, "/admin/v1/status".to_owned()),
        Order::Allocations { user, limit } => {
            let user = user.as_deref().map(|user| format!("&user={}", escaped(user)));
            let path = format!("/admin/v1/allocations?limit={limit}{}", user.unwrap_or_default());
            (Method::GET, path)
        }
        Order::End { id } => (Method::DELETE, format!("/admin/v1/allocations/{}", escaped(id))),
        Order::EndUser { user } => {
            (Method::DELETE, format!("/admin/v1/users/{}/allocations", escaped(user)))
        }
        Order::Drain => (Method::POST, "/admin/v1/drain".to_owned()),
        Order::Reload => (Method::POST, "/admin/v1/reload".to_owned()),
        Order::LogLevel { levels } => {
            let body = Body::from(json!({ "level": levels }).to_string());
            return (Method::PUT, "/admin/v1/log-level".to_owned(), body);
        }
        Order::Metrics => (Method::GET, "/metrics".to_owned()),
    };
    (method, path, Body::empty())
}

/// The status and the body of the answer.
fn ask(server: SocketAddr, token: &str, order: &Order) -> io::Result<(u16, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        timeout(PATIENCE, exchange(server, token, order))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
    })
}

async fn exchange(server: SocketAddr, token: &str, order: &Order) -> io::Result<(u16, String)> {
    let stream = TcpStream::connect(server).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let (method, path, body) = request(order);
    // By its address: a name could be anybody's.
    let mut request = Request::builder().method(method).uri(path).header(HOST, server.to_string());
    request = request.header(CONTENT_TYPE, "application/json");
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(body).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER_MAX).await;
    let body = body.map_err(io::Error::other)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Ten thousand allocations are four megabytes.
const ANSWER_MAX: usize = 64 << 20;

fn tell(order: &Order, body: &str, out: &mut impl Write) -> io::Result<()> {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    match order {
        Order::Metrics => write!(out, "{body}"),
        Order::Status => tell_status(&parsed, out),
        Order::Allocations { .. } => tell_allocations(&parsed, out),
        Order::End { .. } | Order::EndUser { .. } => {
            writeln!(out, "ended: {}", parsed["ended"])
        }
        Order::Drain => writeln!(out, "the server drains"),
        Order::Reload => writeln!(out, "the server reads again; its log tells how it went"),
        Order::LogLevel { levels } => writeln!(out, "the server logs at {levels}"),
    }
}

fn tell_status(status: &Value, out: &mut impl Write) -> io::Result<()> {
    let Some(status) = status.as_object() else { return Ok(()) };
    for (key, value) in status {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Object(parts) => {
                let part = |(name, value): (&String, &Value)| format!("{value} {name}");
                parts.iter().map(part).collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        writeln!(out, "{:<20} {value}", key.replace('_', " "))?;
    }
    Ok(())
}

fn tell_allocations(answer: &Value, out: &mut impl Write) -> io::Result<()> {
    const HEAD: [&str; 9] =
        ["id", "user", "client", "by", "relayed", "age", "left", "bytes up", "bytes down"];
    let text = |value: &Value| match value {
        Value::String(text) => text.escape_debug().to_string(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    let mut rows = vec![HEAD.map(str::to_owned)];
    for it in answer["allocations"].as_array().into_iter().flatten() {
        rows.push([
            text(&it["id"]),
            text(&it["user"]),
            text(&it["client"]),
            text(&it["transport"]),
            text(&it["relayed"]),
            format!("{} s", it["age_secs"]),
            format!("{} s", it["expires_in_secs"]),
            text(&it["to_peers"]["bytes"]),
            text(&it["to_client"]["bytes"]),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
