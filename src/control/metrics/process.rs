//! The process as the kernel sees it, by the names that Prometheus' own clients have for it but for
//! the prefix.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use super::{Family, Observed};

pub(super) fn families(seen: &Observed) -> Vec<Family> {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    let mut families = vec![
        Family::gauge("build_info", "Always 1; the label is the version").with(version, 1),
        Family::gauge("draining", "Whether no new allocations are made")
            .value(seen.draining.into()),
        Family::counter("log_lines_lost", "Lines of the log that nobody read in time")
            .value(seen.log_lines_lost),
        Family::counter(
            "log_lines_held_back",
            "Lines that were not logged one by one, for there were too many",
        )
        .value(seen.sum(|it| it.stats.lines_held_back)),
    ];
    // A figure that the system does not tell is left out.
    if let Some(bytes) = resident_bytes() {
        let help = "Memory that is resident, in bytes";
        families.push(Family::gauge("process_resident_memory_bytes", help).value(bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let help = "Descriptors that are open";
        families.push(Family::gauge("process_open_fds", help).value(open.count() as u64));
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let help = "Descriptors that may be open";
        families.push(Family::gauge("process_max_fds", help).value(most));
    }
    families
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
