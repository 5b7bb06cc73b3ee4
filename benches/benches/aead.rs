//! One packet sealed, or opened: each cipher and length, ours beside others'.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hedgerow_benches::aead::{OpenSsl, Ours, Packets, Ring, open_job, seal_job};
use hedgerow_benches::suites::{LENGTHS, SUITES};
use hedgerow_core::AeadAlgorithm;
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;

fn run(criterion: &mut Criterion) {
    for suite in SUITES {
        compare::<Seal>(criterion, suite.name, suite.algorithm);
        compare::<Open>(criterion, suite.name, suite.algorithm);
    }
}

/// What is done with a packet.
trait Direction {
    const NAME: &str;

    fn job(packets: impl Packets, algorithm: AeadAlgorithm, len: usize) -> impl FnMut() -> u8;
}

struct Seal;

impl Direction for Seal {
    const NAME: &str = "seal";

    fn job(packets: impl Packets, algorithm: AeadAlgorithm, len: usize) -> impl FnMut() -> u8 {
        seal_job(packets, algorithm, len)
    }
}

struct Open;

impl Direction for Open {
    const NAME: &str = "open";

    fn job(packets: impl Packets, algorithm: AeadAlgorithm, len: usize) -> impl FnMut() -> u8 {
        open_job(packets, algorithm, len)
    }
}

fn compare<D: Direction>(criterion: &mut Criterion, name: &str, algorithm: AeadAlgorithm) {
    let mut group = criterion.benchmark_group(format!("{name} {}", D::NAME));
    for len in LENGTHS {
        group.throughput(Throughput::Bytes(u64::try_from(len).unwrap()));
        group.bench_function(BenchmarkId::new("crypto-soft", len), |bencher| {
            bencher.iter(D::job(Ours::new(&SoftCrypto, algorithm), algorithm, len));
        });
        group.bench_function(BenchmarkId::new("crypto-ring", len), |bencher| {
            bencher.iter(D::job(Ours::new(&RingCrypto, algorithm), algorithm, len));
        });
        group.bench_function(BenchmarkId::new("openssl", len), |bencher| {
            bencher.iter(D::job(OpenSsl::new(algorithm), algorithm, len));
        });
        if Ring::new(algorithm).is_some() {
            group.bench_function(BenchmarkId::new("ring", len), |bencher| {
                let ring = Ring::new(algorithm).unwrap();
                bencher.iter(D::job(ring, algorithm, len));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, run);
criterion_main!(benches);
