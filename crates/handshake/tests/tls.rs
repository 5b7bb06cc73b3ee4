//! TLS handshakes and sessions over a stream in memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/tls.rs"]
mod tls;

use std::time::Duration;

use hedgerow_core::{ChannelError, Env, Instant, Limit, Misuse, PeerFault, SecureStream};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{DEFAULT_SUITES, Settings, TlsServerHandshake};
use hedgerow_record::{AlertDescription, MAX_PLAINTEXT_LEN};
use hedgerow_sim::TestRng;

use tls::{End, IDENTITY, PSK, Stage, buffers, credentials, known, settle};

fn pair(env: &mut Env<'_>, settings: Settings) -> (End, End) {
    (
        End::client(settings, credentials(IDENTITY, PSK), env),
        End::server(settings, known(IDENTITY, PSK), env),
    )
}

fn established(env: &mut Env<'_>) -> (End, End) {
    let (mut client, mut server) = pair(env, Settings::default());
    settle(env, &mut client, &mut server, 4_096);
    (client, server)
}

fn alert_sent(end: &End) -> Option<AlertDescription> {
    match end.failure {
        Some(ChannelError::Peer(PeerFault::AlertSent { description })) => {
            Some(AlertDescription(description))
        }
        _ => None,
    }
}

#[test]
fn every_suite_is_negotiated_however_the_stream_is_cut() {
    for suite in DEFAULT_SUITES {
        for piece in [1, 2, 5, 7, 64, 4_096] {
            let mut rng = TestRng::new(3);
            let env = &mut Env::new(Instant::ZERO, &mut rng);
            let (mut client, mut server) = pair(env, Settings::new(&[suite]));
            settle(env, &mut client, &mut server, piece);
            assert_eq!(client.session().suite(), suite);
            assert_eq!(server.session().suite(), suite);
            let up = client.seal(b"up");
            server.receive(env, &up);
            let down = server.seal(&[9; MAX_PLAINTEXT_LEN]);
            client.receive(env, &down);
            assert_eq!(server.plaintexts, [b"up".to_vec()]);
            assert_eq!(client.plaintexts, [[9; MAX_PLAINTEXT_LEN].to_vec()]);
        }
    }
}

/// `decisions.md` 4 has all three look the same: bad_record_mac, at once.
#[test]
fn unknown_identity_wrong_key_and_forbidden_policy_look_the_same() {
    let outcome = |identity: &'static [u8], psk: &[u8]| {
        let mut rng = TestRng::new(5);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let mut client = End::client(Settings::default(), credentials(identity, psk), env);
        let mut server = End::server(Settings::default(), known(IDENTITY, PSK), env);
        let hello = client.transmit(env);
        server.receive(env, &hello);
        let flight = server.transmit(env);
        client.receive(env, &flight);
        let credentials = client.transmit(env);
        server.receive(env, &credentials);
        let answer = server.transmit(env);
        client.receive(env, &answer);
        assert_eq!(alert_sent(&server), Some(AlertDescription::BAD_RECORD_MAC));
        assert_eq!(
            client.failure,
            Some(PeerFault::CredentialsRefused.into()),
            "{identity:?}"
        );
        answer
    };
    let wrong_key = outcome(IDENTITY, b"another 16 bytes");
    let unknown = outcome(b"thermometre", PSK);
    assert_eq!(wrong_key, b"\x15\x03\x03\x00\x02\x02\x14");
    assert_eq!(wrong_key, unknown);
}

#[test]
fn server_that_hangs_up_on_credentials_has_refused_them() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (mut client, mut server) = pair(env, Settings::default());
    let Stage::Client(handshake) = &mut client.stage else {
        panic!("no handshake");
    };
    assert_eq!(handshake.handle_end(), Err(PeerFault::Truncated.into()));
    let (mut client, hello) = {
        let (mut client, _) = pair(env, Settings::default());
        let hello = client.transmit(env);
        (client, hello)
    };
    server.receive(env, &hello);
    let flight = server.transmit(env);
    client.receive(env, &flight);
    let Stage::Client(handshake) = &mut client.stage else {
        panic!("no handshake");
    };
    let ended = handshake.handle_end();
    assert_eq!(ended, Err(PeerFault::CredentialsRefused.into()));
}

#[test]
fn handshake_ends_at_its_deadline() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let store = known(IDENTITY, PSK);
    let settings = Settings::default();
    let mut server = TlsServerHandshake::new(SoftCrypto, store, settings, buffers(), env).unwrap();
    assert_eq!(
        server.poll_timeout(),
        Some(Instant::ZERO + Duration::from_secs(31))
    );
    env.now = Instant::ZERO + Duration::from_secs(30);
    assert_eq!(server.handle_timeout(env), Ok(()));
    env.now = Instant::ZERO + Duration::from_secs(31);
    let given_up = server.handle_timeout(env);
    assert_eq!(given_up, Err(PeerFault::HandshakeTimeout.into()));
    assert_eq!(server.poll_timeout(), None);
}

/// RFC 5246 §7.2.2: a record that doesn't verify ends the connection.
#[test]
fn changed_replayed_and_missing_records_end_the_connection() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let len = {
        let (mut client, _) = established(env);
        client.seal(b"one").len()
    };
    for bit in (0..3 * 8).chain(5 * 8..len * 8) {
        let (mut client, mut server) = established(env);
        let mut record = client.seal(b"one");
        record[bit / 8] ^= 1 << (bit % 8);
        server.receive(env, &record);
        assert!(alert_sent(&server).is_some(), "bit {bit}");
        assert!(server.plaintexts.is_empty());
        let alert = server.transmit(env);
        client.receive(env, &alert);
        assert!(matches!(
            client.failure,
            Some(ChannelError::Peer(PeerFault::AlertReceived {
                authenticated: true,
                ..
            }))
        ));
        let mut out = [0; 64];
        assert_eq!(
            client.session().seal(b"", &mut out),
            Err(Misuse::Closed.into())
        );
        assert_eq!(
            server.session().seal(b"", &mut out),
            Err(Misuse::Closed.into())
        );
    }
    for order in [[0, 0], [1, 0]] {
        let (mut client, mut server) = established(env);
        let records = [client.seal(b"one"), client.seal(b"two")];
        order
            .iter()
            .for_each(|&at| server.receive(env, &records[at]));
        assert_eq!(alert_sent(&server), Some(AlertDescription::BAD_RECORD_MAC));
    }
}

/// RFC 5246 §7.2.1: a stream that ends without close_notify was cut off.
#[test]
fn truncation_is_no_close() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (mut client, mut server) = established(env);
    assert_eq!(
        server.session().handle_end(),
        Err(PeerFault::Truncated.into())
    );
    assert!(!server.session().is_open());
    client.session().close();
    let close = client.transmit(env);
    let (_, mut server) = established(env);
    server.receive(env, &close);
    // Another connection's close_notify is no close either.
    assert_eq!(alert_sent(&server), Some(AlertDescription::BAD_RECORD_MAC));

    let (mut client, mut server) = established(env);
    client.session().close();
    let close = client.transmit(env);
    server.receive(env, &close);
    assert!(server.closed);
    assert_eq!(server.session().handle_end(), Ok(()));
    let answer = server.transmit(env);
    client.receive(env, &answer);
    assert!(client.closed);
    assert_eq!(client.session().handle_end(), Ok(()));
}

#[test]
fn servers_finished_goes_before_its_data() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (mut client, mut server) = pair(env, Settings::default());
    let hello = client.transmit(env);
    server.receive(env, &hello);
    let flight = server.transmit(env);
    client.receive(env, &flight);
    let finished = client.transmit(env);
    server.receive(env, &finished);
    let mut out = [0; 64];
    let early = server.session().seal(b"early", &mut out);
    assert_eq!(early, Err(Misuse::NotEstablished.into()));
    let finished = server.transmit(env);
    client.receive(env, &finished);
    let record = server.seal(b"in time");
    client.receive(env, &record);
    assert_eq!(client.plaintexts, [b"in time".to_vec()]);
}

#[test]
fn application_protocol_is_the_servers_choice_among_the_clients() {
    const BOTH: &[&[u8]] = &[b"coap", b"http/1.1"];
    const HTTP: &[&[u8]] = &[b"http/1.1"];
    const COAP: &[&[u8]] = &[b"coap"];
    type Names = &'static [&'static [u8]];
    let agree = |client: Names, server: Names| {
        let mut rng = TestRng::new(5);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let with = |names| Settings::default().with_application_protocols(names);
        let mut client = End::client(with(client), credentials(IDENTITY, PSK), env);
        let mut server = End::server(with(server), known(IDENTITY, PSK), env);
        settle(env, &mut client, &mut server, 4_096);
        match alert_sent(&server) {
            Some(alert) => Err(alert),
            None => {
                let agreed = server.session().application_protocol();
                assert_eq!(client.session().application_protocol(), agreed);
                Ok(agreed)
            }
        }
    };
    assert_eq!(agree(BOTH, HTTP), Ok(Some(&b"http/1.1"[..])));
    assert_eq!(agree(COAP, BOTH), Ok(Some(&b"coap"[..])));
    assert_eq!(agree(&[], BOTH), Ok(None));
    assert_eq!(agree(BOTH, &[]), Ok(None));
    // RFC 7301 §3.2.
    assert_eq!(
        agree(COAP, HTTP),
        Err(AlertDescription::NO_APPLICATION_PROTOCOL)
    );
}

#[test]
fn plaintext_and_buffer_have_their_bounds() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (mut client, _) = established(env);
    let max = client.session().max_plaintext_len();
    let mut out = vec![0; 20_000];
    assert_eq!(
        client.session().seal(&vec![0; max + 1], &mut out),
        Err(Limit::PlaintextTooLong { len: max + 1, max }.into())
    );
    let overhead = client.session().overhead();
    let sealed = client.session().seal(&vec![0; max], &mut out);
    assert_eq!(sealed, Ok(max + overhead));
}

/// Records that carry nothing cost their sender little and this end a decryption each.
#[test]
fn useless_records_are_borne_only_so_long() {
    let mut rng = TestRng::new(5);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (mut client, mut server) = established(env);
    for _ in 0..16 {
        let record = client.seal(b"");
        server.receive(env, &record);
    }
    let record = client.seal(b"something");
    server.receive(env, &record);
    assert_eq!(server.failure, None);
    for _ in 0..17 {
        let record = client.seal(b"");
        server.receive(env, &record);
    }
    assert_eq!(
        alert_sent(&server),
        Some(AlertDescription::UNEXPECTED_MESSAGE)
    );
}

#[test]
fn another_protocol_on_the_port_ends_the_handshake_with_its_first_bytes() {
    for (bytes, alert) in [
        (
            &b"GET / HTTP/1.1\r\n"[..],
            AlertDescription::PROTOCOL_VERSION,
        ),
        (
            b"\x16\xfe\xfd\x00\x00\x00",
            AlertDescription::PROTOCOL_VERSION,
        ),
        (
            b"\x16\x03\x01\x48\x01\x00",
            AlertDescription::RECORD_OVERFLOW,
        ),
        (
            b"\x16\x03\x01\x00\x00\x00",
            AlertDescription::UNEXPECTED_MESSAGE,
        ),
        (
            b"\x17\x03\x03\x00\x01\x00",
            AlertDescription::UNEXPECTED_MESSAGE,
        ),
        (
            b"\x14\x03\x03\x00\x01\x01",
            AlertDescription::UNEXPECTED_MESSAGE,
        ),
        (
            b"\x99\x03\x03\x00\x01\x00",
            AlertDescription::UNEXPECTED_MESSAGE,
        ),
        (b"\x15\x03\x03\x00\x01\x00", AlertDescription::DECODE_ERROR),
    ] {
        let mut rng = TestRng::new(5);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let (_, mut server) = pair(env, Settings::default());
        server.receive(env, bytes);
        assert_eq!(alert_sent(&server), Some(alert), "{bytes:?}");
        let sent = server.transmit(env);
        assert_eq!(sent, [0x15, 3, 3, 0, 2, 2, alert.0]);
    }
}
