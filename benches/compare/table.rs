//! Medians, and the table that they make.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::bare::Way;
use crate::cases::{Case, Pattern};
use crate::run::median;

/// What one run of the load tool said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    us: f64,
    user: f64,
    system: f64,
    per_second: f64,
    delivered: f64,
    loss: f64,
    p99: f64,
    cpus: f64,
}

impl Sample {
    pub(crate) fn of(report: &Value) -> Option<Self> {
        let cpu = &report["server_cpu"];
        Some(Self {
            us: cpu["us_per_packet"].as_f64()?,
            user: cpu["user_us_per_packet"].as_f64().unwrap_or(f64::NAN),
            system: cpu["system_us_per_packet"].as_f64().unwrap_or(f64::NAN),
            per_second: report["per_second"].as_f64()?,
            delivered: report["delivered"].as_f64()?,
            loss: report["loss"].as_f64()?,
            p99: report["latency_us"]["p99"].as_f64()?,
            cpus: cpu["cpus"].as_f64()?,
        })
    }

    pub(crate) fn brief(&self) -> String {
        format!("{:.2} µs each, {:.0} per second, {:.2} CPUs", self.us, self.per_second, self.cpus)
    }

    fn median(samples: &[Self]) -> Option<Self> {
        let middle = |field: fn(&Self) -> f64| median(samples.iter().map(field));
        Some(Self {
            us: middle(|s| s.us)?,
            user: middle(|s| s.user)?,
            system: middle(|s| s.system)?,
            per_second: middle(|s| s.per_second)?,
            delivered: middle(|s| s.delivered)?,
            loss: middle(|s| s.loss)?,
            p99: middle(|s| s.p99)?,
            cpus: middle(|s| s.cpus)?,
        })
    }
}

/// Whose work was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Hairpin,
    Coturn,
    /// With one relay socket for all allocations.
    CoturnFast,
}

impl Subject {
    pub(crate) const ALL: [Self; 3] = [Self::Hairpin, Self::Coturn, Self::CoturnFast];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hairpin => "hairpin",
            Self::Coturn => "coturn",
            Self::CoturnFast => "coturn-multiplex",
        }
    }
}

/// All samples: by subject, and by the case's place or the pattern and size.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    servers: BTreeMap<(Subject, usize), Vec<Sample>>,
    bare: BTreeMap<(Way, Pattern, u32), Vec<Sample>>,
}

impl Samples {
    pub(crate) fn add_server(&mut self, subject: Subject, case: usize, sample: Sample) {
        self.servers.entry((subject, case)).or_default().push(sample);
    }

    pub(crate) fn add_bare(&mut self, way: Way, pattern: Pattern, size: u32, sample: Sample) {
        self.bare.entry((way, pattern, size)).or_default().push(sample);
    }

    fn server(&self, subject: Subject, case: usize) -> Option<Sample> {
        Sample::median(self.servers.get(&(subject, case))?)
    }

    fn bare(&self, way: Way, pattern: Pattern, size: u32) -> Option<Sample> {
        Sample::median(self.bare.get(&(way, pattern, size))?)
    }

    /// The cheapest bare loop for a case's work.
    fn floor(&self, case: &Case) -> Option<(Way, Sample)> {
        let (pattern, size) = (case.pattern?, case.size?);
        let ways = pattern.floor().iter();
        let found = ways.filter_map(|way| self.bare(*way, pattern, size).map(|s| (*way, s)));
        found.min_by(|a, b| a.1.us.total_cmp(&b.1.us))
    }

    /// The tables, in Markdown.
    pub(crate) fn markdown(&self, cases: &[Case]) -> String {
        let mut text = String::from(
            "## Full load\n\n\
             CPU time of the server's process per delivered packet in µs (user / system), at full \
             load.\n\n\
             | case | bytes | hairpin | coturn | of coturn | coturn-multiplex | of it | \
             bare loop | of the bare loop |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for (place, case) in cases.iter().enumerate() {
            let Some(ours) = self.server(Subject::Hairpin, place) else { continue };
            let theirs = self.server(Subject::Coturn, place);
            let fast = self.server(Subject::CoturnFast, place);
            let floor = self.floor(case);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                case.name,
                size(case),
                cost(&ours),
                dash(theirs.map(|theirs| cost(&theirs))),
                dash(theirs.map(|theirs| ratio(&ours, &theirs))),
                dash(fast.map(|fast| cost(&fast))),
                dash(fast.map(|fast| ratio(&ours, &fast))),
                dash(floor.map(|(way, sample)| format!("{:.2} {}", sample.us, way.name()))),
                dash(floor.map(|(_, sample)| ratio(&ours, &sample))),
            );
        }
        text.push_str(
            "\nWhat was delivered meanwhile: packets per second, loss, 99th percentile of latency, \
             and how busy the server's CPU was.\n\n\
             | case | bytes | server | delivered | per second | loss | p99 µs | CPU |\n\
             |---|---:|---|---:|---:|---:|---:|---:|\n",
        );
        for (place, case) in cases.iter().enumerate() {
            for subject in Subject::ALL {
                let Some(sample) = self.server(subject, place) else { continue };
                let name = subject.name();
                let _ = writeln!(
                    text,
                    "| {} | {} | {name} | {} |",
                    case.name,
                    size(case),
                    rest(&sample)
                );
            }
        }
        text.push_str(
            "\n| bare loop | bytes | pattern | µs | delivered | per second | loss | p99 µs | CPU \
             |\n\
             |---|---:|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for (way, pattern, size) in self.bare.keys() {
            let Some(sample) = self.bare(*way, *pattern, *size) else { continue };
            let (name, pattern) = (way.name(), pattern.line());
            let (cost, rest) = (cost(&sample), rest(&sample));
            let _ = writeln!(text, "| {name} | {size} | `{pattern}` | {cost} | {rest} |");
        }
        text
    }
}

fn size(case: &Case) -> String {
    dash(case.size.map(|size| size.to_string()))
}

fn dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

fn cost(sample: &Sample) -> String {
    if sample.user.is_nan() {
        return format!("{:.2}", sample.us);
    }
    format!("{:.2} ({:.2} / {:.2})", sample.us, sample.user, sample.system)
}

fn ratio(ours: &Sample, theirs: &Sample) -> String {
    format!("{:.2}", ours.us / theirs.us)
}

fn rest(sample: &Sample) -> String {
    format!(
        "{:.0} | {:.0} | {:.2} % | {:.0} | {:.0} %",
        sample.delivered,
        sample.per_second,
        sample.loss * 100.0,
        sample.p99,
        sample.cpus * 100.0
    )
}
