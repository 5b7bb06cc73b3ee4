//! One DTLS 1.2 record of application data sealed and opened again, ours beside OpenSSL's.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hedgerow_benches::openssl_dtls;
use hedgerow_benches::record::Records;
use hedgerow_benches::suites::{LENGTHS, SUITES};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;

fn run(criterion: &mut Criterion) {
    for suite in SUITES {
        let mut soft = Records::new(&SoftCrypto, suite.algorithm);
        let mut ring = Records::new(&RingCrypto, suite.algorithm);
        let mut openssl = openssl_dtls::Ends::new(suite.openssl).run();
        let mut out = [0; 1_200];
        let mut group = criterion.benchmark_group(format!("{} record", suite.name));
        for len in LENGTHS {
            let plaintext = vec![9; len];
            group.bench_function(BenchmarkId::new("crypto-soft", len), |bencher| {
                bencher.iter(|| soft.pass(&plaintext, &mut out));
            });
            group.bench_function(BenchmarkId::new("crypto-ring", len), |bencher| {
                bencher.iter(|| ring.pass(&plaintext, &mut out));
            });
            group.bench_function(BenchmarkId::new("openssl", len), |bencher| {
                bencher.iter(|| openssl.pass(&plaintext, &mut out));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
