//! A device that gives a TLS client's connection up before anything is established (mode `translate`, the
//! device adapts).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

mod common;

use std::sync::Arc;

use common::{Known, Shown};
use hedgerow_core::{Env, Instant};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    AdaptedConfig, AdaptedConnection, AdaptedFraming, ForwardSecrecy, SecurityPolicy, TlsConnection,
};
use hedgerow_handshake::Settings;
use hedgerow_record::LegForm;
use hedgerow_sim::TestRng;

const KEY: &[u8] = b"nobody between has it";

/// What a client begins with, as a gateway sends it over the leg.
fn hello(env: &mut Env<'_>) -> Vec<u8> {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let key = Shown::end_to_end(b"user", KEY);
    let settings = Settings::default();
    let mut client =
        TlsConnection::<_, Known, _>::client(SoftCrypto, key, settings, &Arc::new(policy), env)
            .unwrap();
    let mut out = [0; 1_024];
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    let mut bytes = Vec::new();
    AdaptedFraming::gateway(LegForm::Dtls)
        .to_leg(&out[..len], &mut bytes)
        .unwrap();
    bytes
}

/// A driver that asks `is_over` and waits otherwise would wait with nothing to wait for.
#[test]
fn connection_closed_before_a_session_is_over_at_once() {
    let mut rng = TestRng::stream(1, 1);
    let env = &mut Env::new(Instant::default(), &mut rng);
    let hello = hello(env);
    // Nothing has come, a part of the hello, and the hello, which the device answers.
    for (len, answers) in [(0, false), (20, false), (hello.len(), true)] {
        let config = Arc::new(AdaptedConfig::default());
        let store = Known::end_to_end(&[(b"user", KEY)]);
        let mut device =
            AdaptedConnection::<_, _, Shown>::new(SoftCrypto, store, config, 443, env).unwrap();
        assert_eq!(device.push(&hello[..len]), Ok(len));
        while device.poll(env).unwrap().is_some() {}
        let mut out = Vec::new();
        while device.poll_transmit(env, &mut out).unwrap() {}
        assert_eq!(!out.is_empty(), answers);
        assert!(!device.is_over() && device.poll_timeout().is_some());
        device.close();
        assert!(device.is_over(), "{len}");
        assert_eq!((device.poll_timeout(), device.room()), (None, 0));
        assert_eq!(device.poll_transmit(env, &mut out), Ok(false));
    }
}
