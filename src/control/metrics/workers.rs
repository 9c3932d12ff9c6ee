//! The workers one by one, to see whether the load is even.

use super::{Family, Observed};

pub(super) fn families(seen: &Observed) -> [Family; 6] {
    let mut families = [
        Family::counter("worker_cpu_seconds", "CPU time of each worker; its rate is the load"),
        Family::counter("worker_turns", "Turns of each worker's loop"),
        Family::gauge("worker_allocations", "Allocations of each worker now"),
        Family::gauge("worker_waiting", "Messages of others that wait for each worker now"),
        Family::counter("worker_crossed", "Packets that each worker handed to another"),
        Family::gauge("workers", "Workers that should run, and that answer")
            .with([("state", "started")], seen.workers_started as u64)
            .with([("state", "answering")], seen.workers_answering as u64),
    ];
    for it in &seen.workers {
        let index = it.worker.to_string();
        let label = [("worker", &*index)];
        let values = [it.stats.turns, it.core.allocations, it.waiting as u64, it.stats.crossed];
        let [cpu, turns, allocations, waiting, crossed, workers] = families;
        families = [
            cpu.fraction(label, it.cpu.as_secs_f64()),
            turns.with(label, values[0]),
            allocations.with(label, values[1]),
            waiting.with(label, values[2]),
            crossed.with(label, values[3]),
            workers,
        ];
    }
    families
}
