//! Prints what everything takes, ours and others' in turns in one process, as Markdown tables.
//!
//! `cargo run --release --bin ratios [ROUNDS]`; more rounds help on a noisy machine.

use std::hint::black_box;

use hedgerow_benches::aead::{OpenSsl, Ours, Ring, open_job, seal_job};
use hedgerow_benches::record::Records;
use hedgerow_benches::rounds::{Contender, Section, measure};
use hedgerow_benches::suites::{LENGTHS, SUITES};
use hedgerow_benches::{codec, handshake, openssl_dtls, versions};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;

fn main() {
    let rounds = std::env::args().nth(1).map_or(300, |rounds| {
        rounds
            .parse()
            .expect("the number of rounds should be a number")
    });
    versions::print();
    println!("- {rounds} rounds; 10th percentile (median) in ns; ratio to the fastest reference");
    println!("  of the row, 10th percentiles both");
    codecs(rounds);
    packets(rounds);
    records(rounds);
    handshakes(rounds);
}

fn codecs(rounds: usize) {
    let mut section = Section::default();
    let mut datagram = [0; 128];
    let len = codec::encode(&mut datagram);
    let datagram = &datagram[..len];
    let decode = vec![
        Contender::ours("hedgerow-coap", || codec::decode(black_box(datagram))),
        Contender::reference("coap-lite", || codec::decode_lite(black_box(datagram))),
        Contender::reference("coap-message-implementations", || {
            codec::decode_in_memory(black_box(datagram))
        }),
    ];
    section.row(
        format!("decode {len} B, 5 options"),
        measure(decode, rounds),
    );
    let (mut ours, mut in_memory) = ([0; 128], [0; 128]);
    let encode = vec![
        Contender::ours("hedgerow-coap", || codec::encode(black_box(&mut ours))),
        Contender::reference("coap-lite", codec::encode_lite),
        Contender::reference("coap-message-implementations", || {
            codec::encode_in_memory(black_box(&mut in_memory))
        }),
    ];
    section.row("encode the same", measure(encode, rounds));
    section.print("CoAP messages");
}

fn packets(rounds: usize) {
    let mut section = Section::default();
    for suite in SUITES {
        let algorithm = suite.algorithm;
        for len in LENGTHS {
            let mut seal = vec![
                Contender::ours(
                    SOFT,
                    seal_job(Ours::new(&SoftCrypto, algorithm), algorithm, len),
                ),
                Contender::ours(
                    RING,
                    seal_job(Ours::new(&RingCrypto, algorithm), algorithm, len),
                ),
                Contender::reference(EVP, seal_job(OpenSsl::new(algorithm), algorithm, len)),
            ];
            let mut open = vec![
                Contender::ours(
                    SOFT,
                    open_job(Ours::new(&SoftCrypto, algorithm), algorithm, len),
                ),
                Contender::ours(
                    RING,
                    open_job(Ours::new(&RingCrypto, algorithm), algorithm, len),
                ),
                Contender::reference(EVP, open_job(OpenSsl::new(algorithm), algorithm, len)),
            ];
            if let Some(ring) = Ring::new(algorithm) {
                seal.push(Contender::reference("ring", seal_job(ring, algorithm, len)));
            }
            if let Some(ring) = Ring::new(algorithm) {
                open.push(Contender::reference("ring", open_job(ring, algorithm, len)));
            }
            section.row(
                format!("{} seal {len} B", suite.name),
                measure(seal, rounds),
            );
            section.row(
                format!("{} open {len} B", suite.name),
                measure(open, rounds),
            );
        }
    }
    section.print("Seal and open, one packet");
}

fn records(rounds: usize) {
    let mut section = Section::default();
    for suite in SUITES {
        for len in LENGTHS {
            let plaintext = vec![9; len];
            let (mut a, mut b, mut c) = ([0; 1_200], [0; 1_200], [0; 1_200]);
            let mut soft = Records::new(&SoftCrypto, suite.algorithm);
            let mut ring = Records::new(&RingCrypto, suite.algorithm);
            let mut openssl = openssl_dtls::Ends::new(suite.openssl).run();
            let pass = vec![
                Contender::ours(SOFT, || soft.pass(&plaintext, &mut a)),
                Contender::ours(RING, || ring.pass(&plaintext, &mut b)),
                Contender::reference(DTLS, || openssl.pass(&plaintext, &mut c)),
            ];
            section.row(format!("{} {len} B", suite.name), measure(pass, rounds));
        }
    }
    section.print("One DTLS 1.2 record sealed and opened");
}

fn handshakes(rounds: usize) {
    let mut section = Section::default();
    for suite in SUITES {
        let mut soft = handshake::Ends::new(SoftCrypto, suite.suite);
        let mut ring = handshake::Ends::new(RingCrypto, suite.suite);
        let openssl = openssl_dtls::Ends::new(suite.openssl);
        let run = vec![
            Contender::ours(SOFT, || soft.run()),
            Contender::ours(RING, || ring.run()),
            Contender::reference(DTLS, || openssl.run()),
        ];
        section.row(format!("PSK {}", suite.name), measure(run, rounds));
    }
    section.print("DTLS 1.2 PSK handshake with cookie, both ends in memory");
}

const SOFT: &str = "crypto-soft";
const RING: &str = "crypto-ring";
const EVP: &str = "OpenSSL EVP";
const DTLS: &str = "OpenSSL DTLS";
