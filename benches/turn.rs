//! The core, packet by packet: from the bytes of one to its verdict. `cargo bench --bench turn`
#![allow(missing_docs, reason = "a bench has no readers but those of this file")]

#[path = "../tests/common/calls.rs"]
mod calls;

use std::hint::black_box;
use std::iter;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hairpin::turn::Verdict;

use calls::Calls;

/// How many allocations are live meanwhile: what fits any cache, and what fits none.
const LIVE: [usize; 3] = [1, 100, 50_000];

/// Each packet belongs to another call than the one before.
fn channel_data(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    group.throughput(Throughput::Elements(1));
    for live in LIVE {
        let mut calls = Calls::with_peers(live);
        let packet = calls::channel_data();
        let mut turns = (0..live).cycle();
        group.bench_function(BenchmarkId::new("ChannelData to a peer", live), |bencher| {
            bencher.iter(|| {
                let index = turns.next().expect("it goes round");
                let verdict = calls.client_sends(index, black_box(&packet));
                assert!(matches!(verdict, Verdict::ToPeer { .. }), "{verdict:?}");
                verdict
            });
        });
        group.bench_function(BenchmarkId::new("ChannelData to a client", live), |bencher| {
            bencher.iter(|| {
                let index = turns.next().expect("it goes round");
                let verdict = calls.peer_sends(black_box(index));
                assert!(matches!(verdict, Verdict::ToClient { .. }), "{verdict:?}");
                verdict
            });
        });
    }
    group.finish();
}

fn the_rest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    group.throughput(Throughput::Elements(1));

    let mut calls = Calls::with_peers(100);
    let packets = calls.send_indications();
    let mut turns = (0..100).cycle();
    group.bench_function("a Send indication", |bencher| {
        bencher.iter(|| {
            let index = turns.next().expect("it goes round");
            let verdict = calls.client_sends(index, black_box(&packets[index]));
            assert!(matches!(verdict, Verdict::ToPeer { .. }), "{verdict:?}");
            verdict
        });
    });
    group.bench_function("a Data indication", |bencher| {
        bencher.iter(|| {
            let index = turns.next().expect("it goes round");
            let verdict = calls.peer_sends_beside(black_box(index));
            assert!(matches!(verdict, Verdict::ToClient { .. }), "{verdict:?}");
            verdict
        });
    });
    let request = calls::binding();
    group.bench_function("a Binding request", |bencher| {
        bencher.iter(|| {
            let verdict = calls.client_sends(0, black_box(&request));
            assert!(matches!(verdict, Verdict::Reply { .. }), "{verdict:?}");
            verdict
        });
    });

    let mut pair = Calls::with_each_other();
    let packet = calls::channel_data();
    let mut turns = iter::successors(Some(0), |index| Some(1 - index));
    group.bench_function("from relay to relay of one core", |bencher| {
        bencher.iter(|| {
            let index = turns.next().expect("it goes to and fro");
            let verdict = pair.client_sends(index, black_box(&packet));
            assert!(matches!(verdict, Verdict::ToClient { .. }), "{verdict:?}");
            verdict
        });
    });

    // Two requests, and the socket between them.
    let visitor = calls.visitor(100);
    group.bench_function("Allocate and Refresh 0", |bencher| {
        bencher.iter(|| {
            let call = calls.allocate(black_box(&visitor));
            calls.end(&visitor);
            call
        });
    });
    group.finish();
}

criterion_group!(benches, channel_data, the_rest);
criterion_main!(benches);
