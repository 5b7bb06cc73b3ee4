//! A DTLS 1.2 PSK handshake with cookie round trip, both ends in memory, ours beside OpenSSL's.

use criterion::{Criterion, criterion_group, criterion_main};
use hedgerow_benches::suites::SUITES;
use hedgerow_benches::{handshake, openssl_dtls};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;

fn run(criterion: &mut Criterion) {
    for suite in SUITES {
        let mut soft = handshake::Ends::new(SoftCrypto, suite.suite);
        let mut ring = handshake::Ends::new(RingCrypto, suite.suite);
        let openssl = openssl_dtls::Ends::new(suite.openssl);
        let mut group = criterion.benchmark_group(format!("{} handshake", suite.name));
        group.bench_function("crypto-soft", |bencher| bencher.iter(|| soft.run()));
        group.bench_function("crypto-ring", |bencher| bencher.iter(|| ring.run()));
        group.bench_function("openssl", |bencher| bencher.iter(|| openssl.run()));
        group.finish();
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
