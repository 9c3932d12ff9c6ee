//! What is to be compared, and for how long.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::bare::Way;

/// Compares hairpin with coturn and with bare kernel loops
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// One short round
    #[arg(long)]
    pub(crate) quick: bool,
    /// Rounds, of which the medians count [default: 5, or 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each case is measured [default: 2, or 0.5 with --quick]
    #[arg(long)]
    seconds: Option<f64>,
    /// Where coturn's turnserver is
    #[arg(long, default_value = "/usr/bin/turnserver")]
    pub(crate) coturn: PathBuf,
    /// Where a turnserver of 4.17 or later is, to run with --multiplex-peer --udp-gso
    #[arg(long, value_name = "PATH")]
    pub(crate) coturn_fast: Option<PathBuf>,
    /// What to measure [default: all of it, or full where --only is given]
    #[arg(long, value_enum, value_delimiter = ',')]
    sections: Vec<Section>,
    /// In section full: only cases whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// In sections growth and expiry: allocations that live at once
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub(crate) live: u32,
    /// In section overload: how long the flood goes on [default: 30, or 2 with --quick]
    #[arg(long, value_name = "S")]
    flood: Option<f64>,
    /// In section expiry: wait until allocations of a running server expire, eleven minutes
    #[arg(long)]
    pub(crate) wait: bool,
    /// Write the tables there
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    #[arg(long, hide = true, requires_all = ["listen", "peer"])]
    pub(crate) bare: Option<Way>,
    #[arg(long, hide = true)]
    pub(crate) listen: Option<SocketAddrV4>,
    #[arg(long, hide = true)]
    pub(crate) peer: Option<SocketAddrV4>,
}

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// CPU per packet at full load
    Full,
    /// Round trips at the pace of a call
    Paced,
    /// CPU per packet, and memory, with many live allocations
    Growth,
    /// All allocations end in the same second
    Expiry,
    /// Three times as much as a server can take
    Overload,
    /// Two workers beside one
    Workers,
}

impl Options {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    /// How long a case is measured.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.5 } else { 2.0 })
    }

    pub(crate) fn flood_seconds(&self) -> f64 {
        self.flood.unwrap_or(if self.quick { 2.0 } else { 30.0 })
    }

    pub(crate) fn warmup(&self) -> f64 {
        if self.quick { 0.2 } else { (self.seconds() / 2.0).min(0.5) }
    }

    pub(crate) fn sections(&self) -> &[Section] {
        match (self.sections.as_slice(), &self.only) {
            ([], None) => Section::value_variants(),
            ([], Some(_)) => &[Section::Full],
            (sections, _) => sections,
        }
    }

    /// Whether a case of this name is asked for.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|only| case.contains(only.as_str()))
    }
}
