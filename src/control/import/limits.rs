//! `[limits]`, the log and what stands at the top of the file.

use super::draft::{Draft, Value};
use super::notes::shown;

pub(super) fn carry(draft: &mut Draft<'_>) {
    workers(draft);
    software(draft);
    quota(draft, "user-quota", "allocations_per_user");
    quota(draft, "total-quota", "allocations_total");
    if let Some((rate, entry)) = draft.number("max-bps").filter(|(rate, _)| *rate > 0) {
        draft.set(("limits", "bandwidth_per_allocation"), Value::Number(rate), &[entry]);
    }
    bounded(draft, "stale-nonce", "nonce_lifetime_secs", (600, 1, 3600));
    bounded(draft, "max-allocate-lifetime", "lifetime_max_secs", (3600, 600, 86_400));
    bounded(draft, "max-allocate-timeout", "tcp_idle_secs", (60, 1, 86_400));
    log(draft);
}

/// coturn has no thread but its main one where the number is 0; the least here is one worker.
fn workers(draft: &mut Draft<'_>) {
    let by_option = ["relay-threads", "cpus"].map(|name| draft.number(name));
    let Some((threads, entry)) = by_option.into_iter().flatten().next() else { return };
    let workers = threads.clamp(1, 128);
    if workers != threads {
        draft.changed(entry, format!("{workers}, not {threads}"), "");
    }
    draft.set(("", "workers"), Value::Number(workers), &[entry]);
}

/// Who is told what this server is. The last word counts, as in coturn.
fn software(draft: &mut Draft<'_>) {
    let hides = |name: &str| name != "software-attribute";
    let said = draft.entries.iter().rev().find_map(|entry| {
        let is_one = ["software-attribute", "no-software-attribute", "prod"].contains(&entry.name);
        is_one.then(|| entry.flag().map(|flag| (flag != hides(entry.name), entry)))?
    });
    let Some((tells, entry)) = said else { return };
    let whom = if tells { "everybody" } else { "nobody" };
    draft.set(("", "software"), Value::Text(whom.to_owned()), &[entry]);
}

/// 0 is no quota, which is what the default comes near to.
fn quota(draft: &mut Draft<'_>, name: &'static str, key: &'static str) {
    match draft.number(name) {
        Some((0, entry)) => {
            let text =
                format!("0 is no limit in coturn; here {key} has its default, which is high");
            draft.changed(entry, text, "");
        }
        Some((quota, entry)) => draft.set(("limits", key), Value::Number(quota), &[entry]),
        None => {}
    }
}

/// A time that has bounds here; nothing written stands for coturn's default, 0 for the longest.
fn bounded(
    draft: &mut Draft<'_>,
    name: &'static str,
    key: &'static str,
    (default, least, most): (u64, u64, u64),
) {
    let Some(entry) = draft.last(name) else { return };
    let secs = if entry.value.is_empty() { Some((default, entry)) } else { draft.number(name) };
    let Some((secs, _)) = secs else { return };
    let kept = if secs == 0 { most } else { secs.clamp(least, most) };
    if kept != secs {
        let text = format!("{kept} s, not {secs}: {least} s is the least, and {most} s the most");
        draft.changed(entry, text, "");
    }
    draft.set(("limits", key), Value::Number(kept), &[entry]);
}

fn log(draft: &mut Draft<'_>) {
    if let Some(entry) = draft.last("log-min-level") {
        let level = match entry.word().to_ascii_lowercase().as_str() {
            "debug" => "debug",
            "info" => "info",
            "warning" => "warn",
            "error" => "error",
            other => {
                let text = format!("{} is no level", shown(other));
                draft.lost(entry, text, "write level = \"info\" in [log], or debug, warn, error");
                return;
            }
        };
        draft.set(("log", "level"), Value::Text(level.to_owned()), &[entry]);
    } else if let Some(entry) = draft.last("Verbose").filter(|entry| entry.flag() == Some(true)) {
        draft.set(("log", "level"), Value::Text("debug".to_owned()), &[entry]);
    }
}
