//! ECDHE_PSK handshakes of both protocols and both ends against transcripts that a second reader
//! computed from the RFCs' text (`vectors/ecdhe_psk.py`), without a look at this crate.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/fixed_key.rs"]
mod fixed_key;
#[path = "common/tls.rs"]
mod tls;
#[path = "common/vectors.rs"]
mod vectors;

use hedgerow_core::{Env, Event, Instant, NamedGroup, SecureChannel};
use hedgerow_handshake::{ClientHandshake, Settings};
use hedgerow_record::CipherSuite;

use fixed_key::FixedKey;
use tls::{End, buffers, credentials, known};
use vectors::{Case, Counting, cases};

const VECTORS: &str = include_str!("vectors/ecdhe_psk.hex");

const CLIENT_FINAL: [&str; 3] = [
    "client_key_exchange",
    "client_change_cipher_spec",
    "client_finished",
];
const SERVER_FLIGHT: [&str; 3] = ["server_hello", "server_key_exchange", "server_hello_done"];
const SERVER_FINAL: [&str; 2] = ["server_change_cipher_spec", "server_finished"];

fn settings(name: &str) -> Settings {
    let suite = match name {
        name if name.contains("CCM_8") => CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256,
        name if name.contains("CCM") => CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
        name if name.contains("GCM") => CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256,
        _ => CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    };
    let group = match name {
        name if name.contains("X25519") => NamedGroup::X25519,
        _ => NamedGroup::Secp256r1,
    };
    Settings::new(&[suite]).with_groups(&[group])
}

fn cases_of(protocol: &str) -> Vec<(String, Case)> {
    let mut cases = cases(VECTORS);
    cases.retain(|(name, _)| name.starts_with(protocol));
    assert_eq!(cases.len(), 9);
    cases
}

fn records(case: &Case, names: &[&str]) -> Vec<u8> {
    let record = |name: &&str| case[&format!("{name}_record")].clone();
    names.iter().flat_map(record).collect()
}

#[test]
fn tls_client_sends_what_the_second_reader_computed() {
    for (name, case) in cases_of("TLS12") {
        let mut rng = Counting(0);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let shown = credentials(&case["psk_identity"], &case["psk"]);
        let provider = FixedKey(case["client_private"].clone());
        let mut client = End::client_with(provider, settings(&name), shown, env);
        assert_eq!(client.transmit(env), case["client_hello_record"], "{name}");
        client.receive(env, &records(&case, &SERVER_FLIGHT));
        assert_eq!(
            client.transmit(env),
            records(&case, &CLIENT_FINAL),
            "{name}"
        );
        client.receive(env, &records(&case, &SERVER_FINAL));
        client.receive(env, &case["server_application_record"]);
        assert_eq!(client.plaintexts, [case["server_application_data"].clone()]);
    }
}

#[test]
fn tls_server_sends_what_the_second_reader_computed() {
    for (name, case) in cases_of("TLS12") {
        let mut rng = Counting(0x20);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let store = known(&case["psk_identity"], &case["psk"]);
        let provider = FixedKey(case["server_private"].clone());
        let mut server = End::server_with(provider, settings(&name), store, env);
        server.receive(env, &case["client_hello_record"]);
        assert_eq!(
            server.transmit(env),
            records(&case, &SERVER_FLIGHT),
            "{name}"
        );
        server.receive(env, &records(&case, &CLIENT_FINAL));
        assert_eq!(
            server.transmit(env),
            records(&case, &SERVER_FINAL),
            "{name}"
        );
        server.receive(env, &case["client_application_record"]);
        assert_eq!(server.plaintexts, [case["client_application_data"].clone()]);
        server.receive(env, &case["client_close_notify_record"]);
        assert!(server.closed && !server.session().is_open());
    }
}

#[test]
fn dtls_client_sends_what_the_second_reader_computed() {
    for (name, case) in cases_of("DTLS12") {
        let mut rng = Counting(0);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let shown = credentials(&case["psk_identity"], &case["psk"]);
        let provider = FixedKey(case["client_private"].clone());
        let mut client =
            ClientHandshake::new(provider, shown, settings(&name), buffers(), env).unwrap();
        let mut out = [0; 1200];

        let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
        assert_eq!(out[..len], case["client_hello_1_record"], "{name}");
        let mut request = case["hello_verify_request_record"].clone();
        client.handle_datagram(env, &mut request).unwrap();
        let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
        assert_eq!(out[..len], case["client_hello_2_record"], "{name}");

        let mut flight = records(&case, &SERVER_FLIGHT);
        let mut rest = &mut flight[..];
        while !rest.is_empty() {
            rest = client.handle_datagram(env, rest).unwrap().rest;
        }
        let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
        assert_eq!(out[..len], records(&case, &CLIENT_FINAL), "{name}");

        let mut flight = records(&case, &SERVER_FINAL);
        let mut rest = &mut flight[..];
        while !rest.is_empty() {
            rest = client.handle_datagram(env, rest).unwrap().rest;
        }
        let mut session = client.into_session().unwrap().session;
        let mut record = case["server_application_record"].clone();
        let received = session.handle_datagram(env, &mut record).unwrap();
        let Some(Event::Plaintext(text)) = received.event else {
            panic!("{name}: {:?}", received.event);
        };
        assert_eq!(text, case["server_application_data"], "{name}");
        let len = session
            .seal(&case["client_application_data"], &mut out)
            .unwrap();
        assert_eq!(out[..len], case["client_application_record"], "{name}");
    }
}
