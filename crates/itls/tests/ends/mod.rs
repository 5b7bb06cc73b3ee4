//! Two ends, for the tests.
#![allow(
    dead_code,
    reason = "each file of tests is a crate, and none uses all of this"
)]

use hedgerow_core::{
    ChannelError, Credentials, CryptoProvider, DropReason, Env, Event, Instant, PeerId, Psk,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_itls::{
    End, Envelope, HalfOpen, Initiator, InitiatorKey, InitiatorStep, OuterBinding, Responder,
    ResponderStep, Settings,
};
use hedgerow_sim::TestRng;

pub(crate) const IDENTITY: &[u8] = b"sensor-7";
pub(crate) const KEY: [u8; 16] = [0xa5; 16];
pub(crate) const INTERNETS: OuterBinding = OuterBinding::new([0x11; 32]);
pub(crate) const DEVICES: OuterBinding = OuterBinding::new([0x22; 32]);

pub(crate) type Store = (&'static [u8], Psk, PeerId);

pub(crate) fn end_to_end(key: &[u8]) -> Psk {
    Psk::new(key).unwrap().into_end_to_end().unwrap()
}

pub(crate) fn store() -> Store {
    (IDENTITY, end_to_end(&KEY), PeerId(1))
}

pub(crate) fn plain(end: End) -> Settings {
    Settings::new(end).without_forward_secrecy()
}

pub(crate) fn with_env<T>(seed: u64, run: impl FnOnce(&mut Env<'_>) -> T) -> T {
    let mut rng = TestRng::new(seed);
    run(&mut Env::new(Instant::ZERO, &mut rng))
}

pub(crate) fn initiator(settings: Settings, seed: u64) -> Initiator<SoftCrypto> {
    let psk = end_to_end(&KEY);
    let credentials = Credentials {
        psk_identity: IDENTITY,
        psk: &psk,
        peer: PeerId(2),
    };
    let key = InitiatorKey::EndToEnd(credentials);
    with_env(seed, |env| {
        Initiator::new(SoftCrypto, settings, key, INTERNETS, env).unwrap()
    })
}

pub(crate) fn respond(
    settings: Settings,
    hello: &[u8],
    seed: u64,
) -> Result<HalfOpen<SoftAead>, DropReason> {
    respond_with(&SoftCrypto, settings, hello, seed)
}

pub(crate) fn respond_with<P: CryptoProvider + Clone>(
    provider: &P,
    settings: Settings,
    hello: &[u8],
    seed: u64,
) -> Result<HalfOpen<P::Aead>, DropReason> {
    let responder = Responder::new(provider.clone(), settings);
    with_env(seed, |env| {
        responder.handle_hello(env, &store(), &[], DEVICES, hello)
    })
}

pub(crate) fn established<P: CryptoProvider>(step: InitiatorStep<P>) -> Envelope<P::Aead> {
    match step {
        InitiatorStep::Established(envelope) => envelope,
        InitiatorStep::Waiting(_, reason) | InitiatorStep::GivenUp(reason) => {
            panic!("not established: {reason:?}")
        }
    }
}

/// Both ends, confirmed, with forward secrecy or without.
pub(crate) fn pair_of(
    initiators: Settings,
    responders: Settings,
) -> (Envelope<SoftAead>, Envelope<SoftAead>) {
    let initiator = initiator(initiators, 1);
    let half_open = respond(responders, initiator.hello(), 2).unwrap();
    let mut envelope = established(initiator.handle_message(&INTERNETS, half_open.answer()));
    let mut out = [0; 64];
    let len = envelope.seal_confirmation(&mut out).unwrap();
    match half_open.handle_message(&DEVICES, &mut out[..len]) {
        ResponderStep::Established(responder, Ok(received)) => {
            assert_eq!(received.event, None);
            (envelope, responder)
        }
        _ => panic!("not confirmed"),
    }
}

pub(crate) fn pair() -> (Envelope<SoftAead>, Envelope<SoftAead>) {
    pair_of(plain(End::Internet), plain(End::Device))
}

pub(crate) fn sealed(envelope: &mut Envelope<SoftAead>, text: &[u8]) -> Vec<u8> {
    let mut out = vec![0; text.len() + 32];
    let len = envelope.seal(text, &mut out).unwrap();
    out.truncate(len);
    out
}

/// What came of a message, with the plaintext copied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Plaintext(Vec<u8>),
    Nothing,
    Closed,
    Dropped(DropReason),
    Failed(ChannelError),
}

pub(crate) fn open(
    envelope: &mut Envelope<SoftAead>,
    over: &OuterBinding,
    message: &[u8],
) -> Outcome {
    let mut copy = message.to_vec();
    match envelope.open(over, &mut copy) {
        Err(error) => Outcome::Failed(error),
        Ok(received) => match received.event {
            None => Outcome::Nothing,
            Some(Event::Plaintext(text)) => Outcome::Plaintext(text.to_vec()),
            Some(Event::Closed) => Outcome::Closed,
            Some(Event::Dropped(reason)) => Outcome::Dropped(reason),
            Some(other) => panic!("{other:?}"),
        },
    }
}
