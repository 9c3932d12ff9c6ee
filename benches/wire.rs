//! Bytes to values and back, message by message. `cargo bench --bench wire`
#![allow(missing_docs, reason = "a bench has no readers but those of this file")]

#[path = "../tests/common/calls.rs"]
mod calls;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hairpin::wire::address::{decode_xor, encode};
use hairpin::wire::writer::data_indication_header;
use hairpin::wire::{AttributeType, ChannelData, Message};

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));

    let channel_data = calls::channel_data();
    group.bench_function("read ChannelData", |bencher| {
        bencher.iter(|| ChannelData::parse(black_box(&channel_data)).expect("it is ChannelData"));
    });

    let send = calls::send_indication(calls::peer(1));
    group.bench_function("read a Send indication", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(&send)).expect("it is a message");
            let peer = message.xor_address(AttributeType::XOR_PEER_ADDRESS);
            (peer.expect("it has a peer"), message.find(AttributeType::DATA).map(<[u8]>::len))
        });
    });

    let transaction = *Message::parse(&send).expect("it is a message").transaction();
    let peer = calls::peer(1);
    group.bench_function("write the header of a Data indication", |bencher| {
        bencher.iter(|| {
            let (transaction, peer) = (black_box(&transaction), black_box(peer));
            data_indication_header(transaction, peer, AttributeType::DATA, calls::PAYLOAD)
                .expect("it is short enough")
        });
    });

    let (request, key) = calls::signed_request();
    group.bench_function("verify MESSAGE-INTEGRITY", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(&request)).expect("it is a message");
            assert!(key.verifies(&message), "it is signed with this key");
        });
    });

    for (name, address) in [("IPv4", peer), ("IPv6", "[2600:9::1]:7000".parse().expect("one"))] {
        group.bench_function(format!("write and read a XORed {name} address"), |bencher| {
            bencher.iter(|| {
                let encoded = encode(black_box(address), Some(black_box(&transaction)));
                decode_xor(encoded.as_bytes(), &transaction).expect("it was an address")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
