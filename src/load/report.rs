//! What a run came to: JSON for programs, a table for people.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use serde::Serialize;

use crate::load::histogram::Histogram;
use crate::load::lane::{Counts, Direction};
use crate::load::options::{Framing, Mode, Options, Rate};
use crate::load::watch::Watch;
use crate::turn::Transport;

/// All of it. Packets count that were sent while the run measured; in modes allocate and refresh
/// a packet is one operation, from its first request to its last response.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server as it was named.
    pub target: String,
    /// Its address.
    pub server: SocketAddr,
    /// How clients reached it: udp, tcp or tls.
    pub transport: &'static str,
    /// What was done.
    pub mode: Mode,
    /// How clients wrapped what they sent; `null` where there was nothing to wrap.
    pub framing: Option<Framing>,
    /// Flows.
    pub flows: u32,
    /// Bytes of payload; `null` where there was none.
    pub size: Option<u32>,
    /// Packets sent back to back.
    pub burst: u32,
    /// Packets of a flow that could be on their way; `null`: any number.
    pub window: Option<u64>,
    /// Packets per second that were asked for; `null`: as many as possible.
    pub rate: Option<f64>,
    /// How long it measured.
    pub seconds: f64,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// What became of all packets.
    #[serde(flatten)]
    pub counts: Counts,
    /// The part of `sent` that was lost.
    pub loss: f64,
    /// Of the lost, those that our own kernel did not take.
    pub refused: u64,
    /// What arrived and was none of ours.
    pub foreign: u64,
    /// Arrivals per second while it measured.
    pub per_second: f64,
    /// Their payload, in millions of bits per second; `null` where there was none.
    pub payload_mbit_per_second: Option<f64>,
    /// How long packets took; `null` where that was not measured.
    pub latency_us: Option<Latency>,
    /// What it cost the server; `null` where its process was not given.
    pub server_cpu: Option<ServerCpu>,
    /// Error responses by code.
    pub errors: BTreeMap<u16, u64>,
    /// The counts of each direction.
    pub directions: BTreeMap<Direction, Counts>,
    /// Allocations that were held besides.
    pub idle: usize,
    /// Where those were left to the server: in how many seconds all of them expire.
    pub idle_expires_secs: Option<f64>,
    /// Allocations that could not be deleted: the server will, in time.
    pub left_behind: usize,
}

/// Microseconds from send to arrival.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    pub max: f64,
}

/// CPU time of the server's process while it was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerCpu {
    /// The process.
    pub pid: u32,
    /// Seconds that it used.
    pub seconds: f64,
    /// How many CPUs that kept busy.
    pub cpus: f64,
    /// Microseconds for each arrival; `null` where nothing arrived.
    pub us_per_packet: Option<f64>,
    /// The part of them in user space, by clock ticks.
    pub user_us_per_packet: Option<f64>,
    /// The part of them in the kernel.
    pub system_us_per_packet: Option<f64>,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram) -> Option<Self> {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |percent| us(histogram.percentile(percent));
        (histogram.count() > 0).then(|| Self {
            mean: us(histogram.mean()),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            max: us(histogram.max()),
        })
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        server: SocketAddr,
        watch: &Watch<'_>,
        counts: Counts,
        latencies: &Histogram,
    ) -> Self {
        let mode = options.mode();
        let carries = !matches!(mode, Mode::Binding | Mode::Allocate | Mode::Refresh);
        let (seconds, arrived) = match (watch.began, watch.ended) {
            (Some(began), Some(ended)) => {
                ((ended.at_ns - began.at_ns) as f64 / 1e9, ended.arrived - began.arrived)
            }
            _ => (0.0, 0),
        };
        let per_second = if seconds > 0.0 { arrived as f64 / seconds } else { 0.0 };
        let loss = if counts.sent > 0 { counts.lost as f64 / counts.sent as f64 } else { 0.0 };
        Self {
            target: options.uri.in_full().to_string(),
            server,
            transport: match options.uri.transport() {
                Transport::Tcp if options.uri.secure => "tls",
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
                Transport::Dtls => "dtls",
            },
            mode,
            framing: Some(options.framing).filter(|_| carries),
            flows: options.flows,
            size: Some(options.size).filter(|_| carries),
            burst: options.burst,
            window: options.window(),
            rate: match options.rate {
                Rate::Max => None,
                Rate::PerSecond(rate) => Some(rate),
            },
            seconds,
            interrupted: super::is_interrupted(),
            counts,
            loss,
            refused: 0,
            foreign: 0,
            per_second,
            payload_mbit_per_second: carries
                .then(|| per_second * f64::from(options.size) * 8.0 / 1e6),
            latency_us: Latency::of(latencies),
            server_cpu: server_cpu(options, watch, seconds, arrived),
            errors: BTreeMap::new(),
            directions: BTreeMap::new(),
            idle: 0,
            idle_expires_secs: None,
            left_behind: 0,
        }
    }

    /// Prints it for people.
    ///
    /// # Errors
    ///
    /// Where nobody reads on.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mode = format!("{:?}", self.mode).to_lowercase();
        writeln!(out, "{}  {mode}, {} flows, {:.1} s", self.target, self.flows, self.seconds)?;
        let counts = &self.counts;
        writeln!(out, "sent        {:>12}", counts.sent)?;
        writeln!(out, "delivered   {:>12}   {:.0} per second", counts.delivered, self.per_second)?;
        writeln!(out, "lost        {:>12}   {:.3} %", counts.lost, self.loss * 100.0)?;
        for (what, count) in [
            ("duplicated", counts.duplicated),
            ("reordered", counts.reordered),
            ("idle beside", self.idle as u64),
            ("refused", self.refused),
            ("foreign", self.foreign),
            ("left behind", self.left_behind as u64),
        ] {
            if count > 0 {
                writeln!(out, "{what:<11} {count:>12}")?;
            }
        }
        for (code, count) in &self.errors {
            writeln!(out, "error {code:<5} {count:>12}")?;
        }
        if let Some(rate) = self.payload_mbit_per_second {
            writeln!(out, "payload     {rate:>12.1} Mbit/s")?;
        }
        if let Some(latency) = &self.latency_us {
            let Latency { p50, p90, p99, p99_9, max, .. } = latency;
            writeln!(
                out,
                "latency µs  p50 {p50:.0}   p90 {p90:.0}   p99 {p99:.0}   p99.9 {p99_9:.0}   \
                 max {max:.0}"
            )?;
        }
        if let Some(cpu) = &self.server_cpu {
            write!(out, "server      {:>12.3} s on {:.2} CPUs", cpu.seconds, cpu.cpus)?;
            if let Some(each) = cpu.us_per_packet {
                write!(out, "   {each:.2} µs each")?;
            }
            if let (Some(user), Some(system)) = (cpu.user_us_per_packet, cpu.system_us_per_packet) {
                write!(out, " (user {user:.2}, system {system:.2})")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn server_cpu(
    options: &Options,
    watch: &Watch<'_>,
    seconds: f64,
    arrived: u64,
) -> Option<ServerCpu> {
    let used = watch.ended?.cpu?.since(watch.began?.cpu?);
    let busy = used.total_ns as f64 / 1e9;
    let each = (arrived > 0).then(|| busy * 1e6 / arrived as f64);
    let part = |share: Option<f64>| Some(each? * share?);
    Some(ServerCpu {
        pid: options.server_pid?,
        seconds: busy,
        cpus: if seconds > 0.0 { busy / seconds } else { 0.0 },
        us_per_packet: each,
        user_us_per_packet: part(used.user_share()),
        system_us_per_packet: part(used.user_share().map(|share| 1.0 - share)),
    })
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

    /// Programs read these names.
    #[test]
    fn the_json_has_its_shape() {
        let options = Line::parse_from(["load", "turn:127.0.0.1", "--mode", "up"]).options;
        let mut latencies = Histogram::new();
        latencies.record(1500);
        let counts = Counts { sent: 4, delivered: 3, lost: 1, ..Counts::default() };
        let server = "127.0.0.1:3478".parse().unwrap();
        let watch = Watch::start(&options, 0);
        let mut report = Report::new(&options, server, &watch, counts, &latencies);
        report.directions.insert(Direction::Up, counts);
        report.errors.insert(486, 1);
        let json = serde_json::to_value(&report).unwrap();
        let names = [
            "target",
            "server",
            "transport",
            "mode",
            "framing",
            "flows",
            "size",
            "burst",
            "window",
            "rate",
            "seconds",
            "interrupted",
            "sent",
            "delivered",
            "lost",
            "duplicated",
            "reordered",
            "loss",
            "refused",
            "foreign",
            "per_second",
            "payload_mbit_per_second",
            "latency_us",
            "server_cpu",
            "errors",
            "directions",
            "idle",
            "idle_expires_secs",
            "left_behind",
        ];
        for name in names {
            assert!(json.get(name).is_some(), "{name}: {json}");
        }
        assert_eq!(json.as_object().unwrap().len(), names.len(), "{json}");
        assert_eq!(json["target"], "turn:127.0.0.1:3478?transport=udp");
        assert_eq!((&json["mode"], &json["loss"]), (&"up".into(), &0.25.into()));
        assert_eq!(json["latency_us"]["p99.9"], 1.5);
        assert_eq!(
            (&json["directions"]["up"]["lost"], &json["errors"]["486"]),
            (&1.into(), &1.into())
        );
    }
}
