//! CoAP messages built and taken apart, ours beside others'.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hedgerow_benches::codec;

fn run(criterion: &mut Criterion) {
    let mut datagram = [0; 128];
    let len = codec::encode(&mut datagram);
    let datagram = &datagram[..len];

    let mut group = criterion.benchmark_group("coap decode");
    group.bench_function("hedgerow-coap", |bencher| {
        bencher.iter(|| codec::decode(black_box(datagram)));
    });
    group.bench_function("coap-lite", |bencher| {
        bencher.iter(|| codec::decode_lite(black_box(datagram)));
    });
    group.bench_function("coap-message-implementations", |bencher| {
        bencher.iter(|| codec::decode_in_memory(black_box(datagram)));
    });
    group.finish();

    let mut out = [0; 128];
    let mut group = criterion.benchmark_group("coap encode");
    group.bench_function("hedgerow-coap", |bencher| {
        bencher.iter(|| codec::encode(black_box(&mut out)));
    });
    group.bench_function("coap-lite", |bencher| bencher.iter(codec::encode_lite));
    group.bench_function("coap-message-implementations", |bencher| {
        bencher.iter(|| codec::encode_in_memory(black_box(&mut out)));
    });
    group.finish();
}

criterion_group!(benches, run);
criterion_main!(benches);
