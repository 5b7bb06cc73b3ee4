//! The limits of a session's keys (RFC 9147 §4.5.3), with a provider that costs nothing.

use core::time::Duration;
use std::vec::Vec;

use hedgerow_core::{
    AeadAlgorithm, ChannelError, DropReason, Env, Event, Instant, Limit, Peer, PeerFault, PeerId,
    SecureChannel, SecureStream,
};
use hedgerow_record::{
    CipherSuite, ContentType, DtlsOpener, DtlsSealer, EpochNumber, TlsOpener, TlsSealer,
    TrafficKeys, UsageLimits,
};

use crate::key_schedule::ConnectionEnd;
use crate::toy_provider::{Toy, ToyAead, ToyRng};
use crate::{Session, TlsSession};

const EPOCH: EpochNumber = EpochNumber(1);

fn keys(algorithm: AeadAlgorithm) -> TrafficKeys<ToyAead> {
    let iv = [0; 12];
    let iv = &iv[..TrafficKeys::<ToyAead>::iv_len(algorithm)];
    TrafficKeys::new(&Toy, algorithm, &[], iv).unwrap()
}

fn session(algorithm: AeadAlgorithm, sealed: u64) -> Session<ToyAead> {
    Session::new(
        DtlsSealer::starting_at(keys(algorithm), EPOCH, sealed),
        DtlsOpener::new(keys(algorithm), EPOCH),
        0,
        None,
        Peer::Psk(PeerId(1)),
        CipherSuite(0),
        ConnectionEnd::Client,
    )
}

fn forged(algorithm: AeadAlgorithm) -> Vec<u8> {
    let mut record = std::vec![0; 64];
    let mut sealer = DtlsSealer::new(keys(algorithm), EPOCH);
    let len = sealer
        .seal(ContentType::ApplicationData, b"text", &mut record)
        .unwrap();
    record.truncate(len);
    record[len - 1] ^= 1;
    record
}

#[test]
fn key_wants_a_successor_and_then_seals_no_more() {
    for algorithm in [
        AeadAlgorithm::Aes128Gcm,
        AeadAlgorithm::Aes128Ccm,
        AeadAlgorithm::Aes128Ccm8,
    ] {
        let limits = UsageLimits::of(algorithm);
        let mut out = [0; 64];
        let mut early = session(algorithm, limits.rekey_records - 1);
        assert!(!early.wants_new_keys());
        early.seal(b"text", &mut out).unwrap();
        assert!(early.wants_new_keys());

        let mut late = session(algorithm, limits.max_records - 1);
        late.seal(b"last", &mut out).unwrap();
        let max = limits.max_records;
        let refused = Err(Limit::KeyUsedUp { max }.into());
        assert_eq!(late.seal(b"more", &mut out), refused);
        // It still says goodbye.
        late.close();
        assert!(!late.wants_new_keys());
        let mut rng = ToyRng;
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        assert!(late.poll_transmit(env, &mut out).unwrap().is_some());

        let sealer = TlsSealer::starting_at(keys(algorithm), max - 1);
        let opener = TlsOpener::new(keys(algorithm));
        let peer = Peer::Psk(PeerId(1));
        let end = ConnectionEnd::Client;
        let mut late = TlsSession::new(sealer, opener, None, peer, CipherSuite(0), None, end);
        late.seal(b"last", &mut out).unwrap();
        assert_eq!(late.seal(b"more", &mut out), refused);
    }
}

/// RFC 9147 §B.3: 128 failures keep CCM_8 at the usual margin. Ending the session there would be a
/// cheap remote kill; it goes on to 2^20, at most 1,024 a second.
#[test]
fn forgeries_with_short_tags_ask_for_new_keys_and_end_the_session_late() {
    let algorithm = AeadAlgorithm::Aes128Ccm8;
    let limits = UsageLimits::of(algorithm);
    let mut session = session(algorithm, 0);
    let record = forged(algorithm);
    let mut rng = ToyRng;
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut seconds = 0_u32;
    let end = loop {
        let mut copy = record.clone();
        match session.handle_datagram(env, &mut copy) {
            Ok(received) => match received.event {
                Some(Event::Dropped(DropReason::AuthenticationFailed)) => {
                    let is_wanted = session.forgeries() >= limits.rekey_forgeries;
                    assert_eq!(session.wants_new_keys(), is_wanted);
                }
                Some(Event::Dropped(DropReason::RateLimited)) => {
                    assert_eq!(session.forgeries() % 1_024, 0);
                    seconds += 1;
                    env.now = Instant::ZERO + Duration::from_secs(seconds.into());
                }
                other => unreachable!("{other:?}"),
            },
            Err(error) => break error,
        }
    };
    assert_eq!(end, ChannelError::Peer(PeerFault::TooManyForgeries));
    assert_eq!(session.forgeries(), limits.max_forgeries);
    assert_eq!(seconds, 1_023, "17 minutes at the least");
    assert!(!session.is_open());
}

/// With a whole tag a flood wouldn't reach the limit in a lifetime, and so isn't slowed down: that
/// would only keep honest records out.
#[test]
fn forgeries_with_whole_tags_are_not_slowed_down() {
    let algorithm = AeadAlgorithm::Aes128Gcm;
    let mut session = session(algorithm, 0);
    let record = forged(algorithm);
    let mut rng = ToyRng;
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    for count in 1..5_000 {
        let mut copy = record.clone();
        let received = session.handle_datagram(env, &mut copy).unwrap();
        let dropped = Event::Dropped(DropReason::AuthenticationFailed);
        assert_eq!(received.event, Some(dropped));
        assert_eq!(session.forgeries(), count);
    }
    assert!(!session.wants_new_keys());
}
