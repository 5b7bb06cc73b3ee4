//! Both ends of a TLS handshake against transcripts that a second reader computed from the RFCs' text
//! (`vectors/tls12_psk.py`), without a look at this crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/tls.rs"]
mod tls;
#[path = "common/vectors.rs"]
mod vectors;

use hedgerow_core::{Env, Instant, SecureStream};
use hedgerow_handshake::{ExtendedMasterSecret, Settings};
use hedgerow_record::CipherSuite;

use tls::{End, credentials, known};
use vectors::{Case, Counting, cases};

const VECTORS: &str = include_str!("vectors/tls12_psk.hex");

fn settings(name: &str) -> Settings {
    let suite = match name {
        name if name.contains("CCM_8") => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        name if name.contains("CCM") => CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        name if name.contains("GCM") => CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        _ => CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    };
    let settings = Settings::new(&[suite]);
    match name.ends_with("NO_EMS") {
        true => settings.with_extended_master_secret(ExtendedMasterSecret::Accepted),
        false => settings,
    }
}

fn records(case: &Case, names: &[&str]) -> Vec<u8> {
    names
        .iter()
        .filter_map(|name| case.get(&format!("{name}_record")))
        .flatten()
        .copied()
        .collect()
}

const CLIENT_FINAL: [&str; 3] = [
    "client_key_exchange",
    "client_change_cipher_spec",
    "client_finished",
];
const SERVER_FINAL: [&str; 2] = ["server_change_cipher_spec", "server_finished"];

#[test]
fn client_sends_what_the_second_reader_computed() {
    let mut seen = 0;
    // This client always offers the extended master secret; without it the server's side serves.
    for (name, case) in cases(VECTORS)
        .iter()
        .filter(|(name, _)| !name.ends_with("NO_EMS"))
    {
        let mut rng = Counting(0);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let shown = credentials(&case["psk_identity"], &case["psk"]);
        let mut client = End::client(settings(name), shown, env);
        assert_eq!(client.transmit(env), case["client_hello_record"], "{name}");
        let flight = records(
            case,
            &["server_hello", "server_key_exchange", "server_hello_done"],
        );
        client.receive(env, &flight);
        assert_eq!(client.transmit(env), records(case, &CLIENT_FINAL), "{name}");
        client.receive(env, &records(case, &SERVER_FINAL));
        let text = &case["client_application_data"];
        assert_eq!(
            client.seal(text),
            case["client_application_record"],
            "{name}"
        );
        client.receive(env, &case["server_application_record"]);
        assert_eq!(client.plaintexts, [case["server_application_data"].clone()]);
        client.session().close();
        assert_eq!(
            client.transmit(env),
            case["client_close_notify_record"],
            "{name}"
        );
        client.receive(env, &case["server_close_notify_record"]);
        assert!(client.closed && client.failure.is_none(), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn server_sends_what_the_second_reader_computed() {
    let mut seen = 0;
    // This server never sends a hint.
    for (name, case) in cases(VECTORS)
        .iter()
        .filter(|(name, _)| !name.ends_with("HINT"))
    {
        for hello in ["client_hello", "client_hello_record_0301"] {
            let mut rng = Counting(0x20);
            let env = &mut Env::new(Instant::ZERO, &mut rng);
            let store = known(&case["psk_identity"], &case["psk"]);
            let mut server = End::server(settings(name), store, env);
            let hello = case.get(hello).unwrap_or(&case["client_hello_record"]);
            server.receive(env, hello);
            let flight = records(case, &["server_hello", "server_hello_done"]);
            assert_eq!(server.transmit(env), flight, "{name}");
            server.receive(env, &records(case, &CLIENT_FINAL));
            assert_eq!(server.transmit(env), records(case, &SERVER_FINAL), "{name}");
            server.receive(env, &case["client_application_record"]);
            assert_eq!(server.plaintexts, [case["client_application_data"].clone()]);
            let text = &case["server_application_data"];
            assert_eq!(
                server.seal(text),
                case["server_application_record"],
                "{name}"
            );
            server.receive(env, &case["client_close_notify_record"]);
            // RFC 5246 §7.2.1: answered with a close_notify.
            assert_eq!(
                server.transmit(env),
                case["server_close_notify_record"],
                "{name}"
            );
            assert!(server.closed && server.failure.is_none(), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 10);
}
