//! Prints what everything takes, ours and others' in turns in one process, as Markdown tables.
//!
//! `cargo run --release --bin ratios [ROUNDS [handshakes | records]]`; more rounds help on a noisy machine.

use std::hint::black_box;
use std::time::Duration;

use hedgerow_benches::aead::{OpenSsl, Ours, Ring, open_job, seal_job};
use hedgerow_benches::matrix::{KINDS, Ours as Handshakes, Split, Transport};
use hedgerow_benches::record::{Records, TlsRecords};
use hedgerow_benches::resumed::Resumed;
use hedgerow_benches::rounds::{Contender, Section, measure};
use hedgerow_benches::suites::{LENGTHS, SUITES};
use hedgerow_benches::{codec, matrix, openssl_dtls, versions};
use hedgerow_crypto_ring::RingCrypto;
use hedgerow_crypto_soft::SoftCrypto;

fn main() {
    let rounds = std::env::args().nth(1).map_or(300, |rounds| {
        rounds
            .parse()
            .expect("the number of rounds should be a number")
    });
    versions::print();
    let only = std::env::args().nth(2);
    match only.as_deref() {
        Some("handshakes") => return handshakes(rounds),
        Some("records") => {
            records(rounds);
            return tls_records(rounds);
        }
        Some(other) => panic!("{other} should be handshakes or records"),
        None => {}
    }
    println!("- {rounds} rounds; 10th percentile (median) in ns; ratio to the fastest reference");
    println!("  of the row, 10th percentiles both");
    codecs(rounds);
    packets(rounds);
    records(rounds);
    tls_records(rounds);
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

fn tls_records(rounds: usize) {
    let mut section = Section::default();
    for suite in SUITES {
        for len in LENGTHS {
            let plaintext = vec![9; len];
            let (mut a, mut b, mut c) = ([0; 1_200], [0; 1_200], [0; 1_200]);
            let mut soft = TlsRecords::new(&SoftCrypto, suite.algorithm);
            let mut ring = TlsRecords::new(&RingCrypto, suite.algorithm);
            let (_, mut openssl) = matrix::OpenSsl::new(Transport::Tls, suite.openssl).streams();
            let pass = vec![
                Contender::ours(SOFT, || soft.pass(&plaintext, &mut a)),
                Contender::ours(RING, || ring.pass(&plaintext, &mut b)),
                Contender::reference(TLS, || matrix::pass(&mut openssl, 0, 1, &plaintext, &mut c)),
            ];
            section.row(format!("{} {len} B", suite.name), measure(pass, rounds));
        }
    }
    section.print("One TLS 1.2 record sealed and opened");
}

/// By transport and suite, and for each both ends together, the client's share and the server's.
fn handshakes(rounds: usize) {
    for transport in [Transport::Dtls, Transport::Tls] {
        let mut section = Section::default();
        for kind in KINDS {
            for resumes in [false, true] {
                for role in Role::ALL {
                    let mut soft = Handshakes::new(SoftCrypto, transport, kind.suite, resumes);
                    let mut ring = Handshakes::new(RingCrypto, transport, kind.suite, resumes);
                    let mut run = vec![
                        Contender::timed(SOFT, true, move || role.of(soft.run())),
                        Contender::timed(RING, true, move || role.of(ring.run())),
                    ];
                    if let Some(suite) = kind.openssl {
                        let mut job: Box<dyn FnMut() -> Split> = if resumes {
                            let mut abbreviated = Resumed::new(transport, suite);
                            Box::new(move || abbreviated.run())
                        } else {
                            let full = matrix::OpenSsl::new(transport, suite);
                            Box::new(move || full.run())
                        };
                        run.push(Contender::timed(OPENSSL, false, move || role.of(job())));
                    }
                    let resumed = if resumes { " resumed" } else { "" };
                    let what = format!("{}{resumed}, {}", kind.name, role.name());
                    section.row(what, measure(run, rounds));
                }
            }
        }
        section.print(&format!("{transport:?} handshakes, both ends in memory"));
    }
}

/// Whose time counts.
#[derive(Clone, Copy)]
enum Role {
    Both,
    Client,
    Server,
}

impl Role {
    const ALL: [Self; 3] = [Self::Both, Self::Client, Self::Server];

    const fn name(self) -> &'static str {
        match self {
            Self::Both => "both ends",
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    fn of(self, [client, server]: Split) -> Duration {
        match self {
            Self::Both => client + server,
            Self::Client => client,
            Self::Server => server,
        }
    }
}

const SOFT: &str = "crypto-soft";
const RING: &str = "crypto-ring";
const EVP: &str = "OpenSSL EVP";
const DTLS: &str = "OpenSSL DTLS";
const TLS: &str = "OpenSSL TLS";
const OPENSSL: &str = "OpenSSL";
