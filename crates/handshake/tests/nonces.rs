//! What a world's ledger of nonces sees of handshakes and of keys at their end. That it finds a repeat
//! at all is shown here with planted ones; a change of address, new keys beside a session and a restart
//! stand in `hedgerow-endpoint`'s tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{CLIENT, Net, SERVER, Setup, start, talk};
use hedgerow_core::{AeadAlgorithm, ChannelError, CryptoProvider, Env, Instant, Limit};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{DEFAULT_SUITES, Settings};
use hedgerow_record::{
    ContentType, DtlsSealer, EpochNumber, MAX_SEQUENCE_NUMBER, TlsSealer, TrafficKeys,
};
use hedgerow_sim::{Address, Fault, LedgerAead, Node, NodeId, NonceLedger, Outbox, World};

type Aead = LedgerAead<<SoftCrypto as CryptoProvider>::Aead>;

/// The flights with protected records are lost `losses` times each, so that Finished is sealed anew
/// each time.
#[test]
fn retransmitted_flights_are_sealed_under_new_numbers() {
    for suite in DEFAULT_SUITES {
        for losses in 0..3 {
            let mut world: Net<SoftCrypto> = World::new(losses);
            for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
                let mut left = losses;
                world
                    .direction(from, to)
                    .fault_each(Fault::Drop, move |datagram| {
                        let is_lost = left > 0 && has_finished(datagram);
                        left -= u64::from(is_lost);
                        is_lost
                    });
            }
            let settings = Settings::new(&[suite]);
            let (client, server) = start(&mut world, Setup::new(SoftCrypto, settings));
            world.run_until_idle().unwrap();
            talk(&mut world, client, server);
            // The client's Finished once more for each that was lost and for each answer that was,
            // the server's for each answer, and the two records that say something.
            let [of_client, of_server] = [1 + losses + losses, 1 + losses];
            let seals = usize::try_from(of_client + of_server + 2).unwrap();
            assert_eq!(world.ledger().seals(), seals, "{suite}, {losses} lost");
            assert_eq!(world.ledger().keys(), 2, "one for each direction");
        }
    }
}

/// Says whether a flight ends in a record of epoch 1.
fn has_finished(mut datagram: &[u8]) -> bool {
    while datagram.len() >= 13 {
        if datagram[3..5] == [0, 1] {
            return true;
        }
        let len = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        datagram = &datagram[13 + len..];
    }
    false
}

/// A node that seals whatever comes, over whichever protocol, until its key refuses.
struct Sealer {
    sealer: Either,
    sealed: u32,
    refused: Option<ChannelError>,
}

enum Either {
    Dtls(DtlsSealer<Aead>),
    Tls(TlsSealer<Aead>),
}

impl Node for Sealer {
    type Provider = NonceLedger<SoftCrypto>;

    fn handle_datagram(
        &mut self,
        _env: &mut Env<'_>,
        _from: Address,
        _to: Address,
        datagram: &mut [u8],
        _out: &mut Outbox,
    ) {
        let mut record = [0; 100];
        let sealed = match &mut self.sealer {
            Either::Dtls(sealer) => {
                sealer.seal(ContentType::ApplicationData, datagram, &mut record)
            }
            Either::Tls(sealer) => sealer.seal(ContentType::ApplicationData, datagram, &mut record),
        };
        match sealed {
            Ok(_) => self.sealed += 1,
            Err(error) => self.refused = Some(error),
        }
    }

    fn handle_timeout(&mut self, _env: &mut Env<'_>, _out: &mut Outbox) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

fn keys(world: &mut World<Sealer>, algorithm: AeadAlgorithm) -> TrafficKeys<Aead> {
    let provider = world.provider(SoftCrypto, "sealer");
    let iv = vec![9; TrafficKeys::<Aead>::iv_len(algorithm)];
    TrafficKeys::new(&provider, algorithm, &vec![7; algorithm.key_len()], &iv).unwrap()
}

/// Has a key at `number` of either protocol seal six times, and what a key at `again` seals after that.
fn seal_six(
    is_dtls: bool,
    algorithm: AeadAlgorithm,
    number: u64,
    again: Option<u64>,
) -> (World<Sealer>, NodeId) {
    let mut world = World::new(5);
    let mut last = None;
    for at in [Some(number), again].into_iter().flatten() {
        let keys = keys(&mut world, algorithm);
        let sealer = match is_dtls {
            true => Either::Dtls(DtlsSealer::starting_at(keys, EpochNumber(1), at)),
            false => Either::Tls(TlsSealer::starting_at(keys, at)),
        };
        let node = Sealer {
            sealer,
            sealed: 0,
            refused: None,
        };
        last = Some(world.add(node, &[SERVER]));
        for _ in 0..6 {
            world.send(CLIENT, SERVER, b"text");
        }
        world.run_until_idle().unwrap();
    }
    (world, last.unwrap())
}

#[test]
fn key_out_of_sequence_numbers_refuses_and_repeats_none() {
    for algorithm in AeadAlgorithm::ALL {
        for (is_dtls, last) in [(true, MAX_SEQUENCE_NUMBER), (false, u64::MAX)] {
            let (world, node) = seal_six(is_dtls, algorithm, last - 2, None);
            assert_eq!(world.ledger().seals(), 3, "{algorithm:?} {is_dtls}");
            let node = world.node(node);
            assert_eq!(node.sealed, 3);
            assert_eq!(node.refused, Some(Limit::SequenceNumbersExhausted.into()));
        }
    }
}

/// A key that begins again at a number that it has used, as after a restore without a lease: the
/// ledger sees it, whatever the cipher.
#[test]
fn planted_repeat_is_found_under_every_cipher_and_in_both_protocols() {
    for algorithm in AeadAlgorithm::ALL {
        for is_dtls in [true, false] {
            drop(seal_six(is_dtls, algorithm, 10, Some(16)));
            let repeat = AssertUnwindSafe(|| drop(seal_six(is_dtls, algorithm, 10, Some(15))));
            let panic = catch_unwind(repeat).expect_err("a repeat that wasn't caught");
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.starts_with("seed 5: nonce ["), "{message}");
            assert!(message.contains("sealed twice"), "{message}");
        }
    }
}
