//! When a run measures and when it ends, what the server's process used meanwhile, and the line
//! that tells how far it is.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use crate::load::cpu::CpuTime;
use crate::load::histogram::Histogram;
use crate::load::is_interrupted;
use crate::load::lane::Counts;
use crate::load::options::Options;

/// What is watched: a loop and its counts.
pub(super) trait Watched {
    /// From now on packets count.
    fn begin(&mut self);
    /// What has arrived since the very start.
    fn arrived(&self) -> u64;
    /// What has become of what counts.
    fn counts(&self) -> Counts;
    /// How long it took.
    fn latencies(&self) -> &Histogram;
}

/// Time, CPU time and arrivals at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at_ns: u64,
    pub(super) arrived: u64,
    pub(super) cpu: Option<CpuTime>,
}

/// The run's clockwork.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    options: &'a Options,
    /// When warming up ends.
    begins_ns: u64,
    ends_ns: u64,
    /// When it began to measure.
    pub(super) began: Option<Sample>,
    /// When it stopped sending.
    pub(super) ended: Option<Sample>,
    /// Whether anybody looks.
    live: bool,
    shown: Option<Sample>,
}

/// How often the live line is written.
const SHOWN_EACH_NS: u64 = 200_000_000;
/// Characters of its bar.
const BAR: usize = 24;

impl<'a> Watch<'a> {
    pub(super) fn start(options: &'a Options, now_ns: u64) -> Self {
        let begins_ns = now_ns + options.warmup.as_nanos() as u64;
        let ends_ns = begins_ns + options.seconds.as_nanos() as u64;
        let live = is_live(options);
        Self { options, begins_ns, ends_ns, began: None, ended: None, live, shown: None }
    }

    /// Whether to go on sending.
    pub(super) fn look(&mut self, now_ns: u64, watched: &mut impl Watched) -> io::Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        if self.began.is_none() && now_ns >= self.begins_ns {
            watched.begin();
            let began = self.sample(now_ns, watched)?;
            (self.began, self.shown) = (Some(began), Some(began));
        }
        if self.live && self.shown.is_some_and(|shown| now_ns > shown.at_ns + SHOWN_EACH_NS) {
            self.show(now_ns, watched)?;
        }
        if now_ns < self.ends_ns && !is_interrupted() {
            return Ok(true);
        }
        self.ended = Some(self.sample(now_ns, watched)?);
        if self.live {
            eprint!("\r\x1b[K");
        }
        Ok(false)
    }

    fn sample(&self, at_ns: u64, watched: &impl Watched) -> io::Result<Sample> {
        let cpu = self.options.server_pid.map(CpuTime::of).transpose()?;
        Ok(Sample { at_ns, arrived: watched.arrived(), cpu })
    }

    fn show(&mut self, now_ns: u64, watched: &impl Watched) -> io::Result<()> {
        let (Some(before), now) = (self.shown, self.sample(now_ns, watched)?) else {
            return Ok(());
        };
        self.shown = Some(now);
        let whole = (self.ends_ns - self.begins_ns) as f64;
        let part = (now_ns - self.begins_ns) as f64 / whole;
        let line = line(part, whole / 1e9, &before, &now, watched);
        let mut terminal = io::stderr().lock();
        // Whoever does not want to hear is not told.
        let _ = write!(terminal, "\r{line}\x1b[K").and_then(|()| terminal.flush());
        Ok(())
    }
}

/// Whether somebody looks, and wants to.
pub(super) fn is_live(options: &Options) -> bool {
    !options.quiet && io::stderr().is_terminal()
}

/// What the live line says.
fn line(
    part: f64,
    whole_secs: f64,
    before: &Sample,
    now: &Sample,
    watched: &impl Watched,
) -> String {
    let filled = (part * BAR as f64) as usize;
    let bar = "█".repeat(filled.min(BAR)) + &"░".repeat(BAR.saturating_sub(filled));
    let arrived = (now.arrived - before.arrived) as f64;
    let rate = arrived * 1e9 / (now.at_ns - before.at_ns).max(1) as f64;
    let (counts, latencies) = (watched.counts(), watched.latencies());
    let mut line = format!("{bar} {:.1}/{whole_secs} s  {rate:.0}/s", part * whole_secs);
    if latencies.count() > 0 {
        let _ = write!(line, "  p99 {:.0} µs", latencies.percentile(99.0) as f64 / 1e3);
    }
    let _ = write!(line, "  {} of {} not there yet", counts.lost, counts.sent);
    if let (Some(before), Some(now)) = (before.cpu, now.cpu)
        && arrived > 0.0
    {
        let used = now.since(before).total_ns as f64;
        let _ = write!(line, "  server {:.2} µs each", used / 1e3 / arrived);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still(Histogram);

    impl Watched for Still {
        fn begin(&mut self) {}

        fn arrived(&self) -> u64 {
            0
        }

        fn counts(&self) -> Counts {
            Counts { sent: 9, lost: 2, ..Counts::default() }
        }

        fn latencies(&self) -> &Histogram {
            &self.0
        }
    }

    #[test]
    fn the_line_tells_how_far_it_is() {
        let sample = |at_ns, arrived, total_ns| Sample {
            at_ns,
            arrived,
            cpu: Some(CpuTime { total_ns, ..CpuTime::default() }),
        };
        let (before, now) = (sample(0, 0, 0), sample(500_000_000, 1000, 4_500_000));
        let line = line(0.5, 4.0, &before, &now, &Still(Histogram::new()));
        assert!(line.starts_with("████████████░░░░░░░░░░░░ 2.0/4 s  2000/s"), "{line}");
        assert!(line.contains("2 of 9 not there yet") && line.contains("4.50 µs each"), "{line}");
    }
}
