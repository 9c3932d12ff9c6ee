//! What is told to Prometheus, in the OpenMetrics format. Every figure is the one of this moment,
//! and no label has more values than this code has words for it, but for the workers and the
//! certificates, of which there are few.

mod doors;
mod process;
mod relaying;
mod workers;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::signalling;
use crate::worker::Snapshot;

/// The type of what [`Observed::to_openmetrics`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that was seen when somebody asked.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The workers' counters.
    pub workers: Vec<Snapshot>,
    /// How many of them answered just now; of others these are older.
    pub workers_answering: usize,
    /// How many workers there should be.
    pub workers_started: usize,
    /// The signalling relay's.
    pub signalling: signalling::Stats,
    /// Certificates by file, with the second since 1970 at which each ends.
    pub certificates: Vec<(String, i64)>,
    /// Lines of the log that were lost.
    pub log_lines_lost: u64,
    /// Whether new allocations are refused.
    pub draining: bool,
}

impl Observed {
    /// Writes all of it.
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        let mut registry = Registry::with_prefix("hairpin");
        registry.register_collector(Box::new(Families(self.families())));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes everything");
        text
    }

    fn families(&self) -> Vec<Family> {
        let mut families = relaying::families(self);
        families.extend(doors::families(self));
        families.extend(workers::families(self));
        families.extend(process::families(self));
        families
    }

    /// The sum of something over the workers.
    fn sum(&self, of: impl Fn(&Snapshot) -> u64) -> u64 {
        self.workers.iter().map(of).sum()
    }
}

/// One name, with what it means and its values by labels.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    series: Vec<(Labels, Value)>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug)]
enum Value {
    Whole(u64),
    Fraction(f64),
}

impl Family {
    /// What only grows. Its name is written with `_total` behind it.
    fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Counter, series: Vec::new() }
    }

    /// What is there now.
    fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::Gauge, series: Vec::new() }
    }

    fn value(self, value: u64) -> Self {
        self.with([], value)
    }

    fn with<const N: usize>(self, labels: [(&'static str, &str); N], value: u64) -> Self {
        self.series(labels, Value::Whole(value))
    }

    fn fraction<const N: usize>(self, labels: [(&'static str, &str); N], value: f64) -> Self {
        self.series(labels, Value::Fraction(value))
    }

    fn series<const N: usize>(mut self, labels: [(&'static str, &str); N], value: Value) -> Self {
        let labels = labels.map(|(name, value)| (name, value.to_owned()));
        self.series.push((labels.into(), value));
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, self.kind)?;
        for (labels, value) in &self.series {
            let mut series = family.encode_family(labels)?;
            match (self.kind, *value) {
                (MetricType::Counter, Value::Whole(value)) => {
                    series.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
                }
                (MetricType::Counter, Value::Fraction(value)) => {
                    series.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
                }
                (_, Value::Whole(value)) => series.encode_gauge(&value)?,
                (_, Value::Fraction(value)) => series.encode_gauge(&value)?,
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}
