//! Tickets and abbreviated handshakes of both protocols against transcripts that a program of its own
//! computed from `docs/specs/session-ticket.md` and the RFCs (`vectors/session_ticket.py`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/vectors.rs"]
mod vectors;

use std::time::Duration;

use hedgerow_core::{Credentials, Env, Event, Instant, PeerId, Psk, SecureChannel, SecureStream};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Buffers, ClientHandshake, ResumableSession, ServerResumption, SessionSlot, SessionTable,
    Settings, TicketKeys, TlsClientHandshake, TlsServerHandshake,
};
use hedgerow_record::CipherSuite;

use vectors::{Case, Counting, cases};

const VECTORS: &str = include_str!("vectors/session_ticket.hex");
const NOW: Instant = Instant::from_micros(1_000_000_000);

fn cases_of(protocol: &str) -> Vec<(String, Case)> {
    let mut cases = cases(VECTORS);
    cases.retain(|(name, _)| name.starts_with(protocol));
    assert_eq!(cases.len(), 4);
    cases
}

fn settings(name: &str) -> Settings {
    Settings::new(&[match name.contains("CCM_8") {
        true => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        false => CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    }])
}

/// The records of a flight, those that the case has.
fn records(case: &Case, names: &[&str]) -> Vec<u8> {
    let record = |name: &&str| case.get(&format!("{name}_record")).cloned();
    names.iter().filter_map(record).flatten().collect()
}

const SERVER_FLIGHT: [&str; 2] = ["server_hello", "server_hello_done"];
const CLIENT_FINAL: [&str; 3] = [
    "client_key_exchange",
    "client_change_cipher_spec",
    "client_finished",
];
const SERVER_FINAL: [&str; 3] = [
    "new_session_ticket",
    "server_change_cipher_spec",
    "server_finished",
];
const RESUMED_SERVER: [&str; 3] = [
    "resumed_server_hello",
    "resumed_server_change_cipher_spec",
    "resumed_server_finished",
];
const RESUMED_CLIENT: [&str; 2] = [
    "resumed_client_change_cipher_spec",
    "resumed_client_finished",
];

fn buffers() -> Buffers<[u8; 1024]> {
    Buffers {
        incoming: [0; 1024],
        outgoing: [0; 1024],
    }
}

#[test]
fn tls_server_issues_and_takes_what_the_page_says() {
    for (name, case) in cases_of("TLS12") {
        let by_ticket = name.ends_with("TICKET");
        let mut drawn = Counting(0xa0);
        let lifetime = Duration::from_secs(28_800);
        let keys = TicketKeys::draw(lifetime, &mut Env::new(NOW, &mut drawn));
        let mut keys = match by_ticket {
            true => keys,
            false => keys.without_tickets(),
        };
        let mut table = SessionTable::new([SessionSlot::default()]);
        for (prefix, start) in [("", 0x20), ("resumed_", 0x80)] {
            let mut rng = Counting(start);
            let env = &mut Env::new(NOW, &mut rng);
            let store = (
                case["psk_identity"].as_slice(),
                Psk::new(&case["psk"]).unwrap(),
                PeerId(1),
            );
            let resumption = ServerResumption::new(keys.lease(env)).with_session_ids(None);
            let server = TlsServerHandshake::resuming(
                SoftCrypto,
                &store,
                settings(&name),
                resumption,
                buffers(),
                env,
            );
            let mut server = server.unwrap();
            let mut hello = case[&format!("{prefix}client_hello_record")].clone();
            let wanted = server.peek_session_id(&hello).unwrap();
            server.offer_session(table.find(&wanted, NOW));
            server.handle_bytes(env, &mut hello).unwrap().unwrap();
            let mut out = [0; 1200];
            let len = server.poll_transmit(env, &mut out).unwrap().unwrap();
            let (first, answer) = match prefix {
                "" => (records(&case, &SERVER_FLIGHT), &CLIENT_FINAL[..]),
                _ => (records(&case, &RESUMED_SERVER), &RESUMED_CLIENT[..]),
            };
            assert_eq!(out[..len], first, "{name}");
            let mut answer = records(&case, answer);
            let mut rest = &mut answer[..];
            while let Some(received) = server.handle_bytes(env, rest).unwrap() {
                rest = received.rest;
            }
            let mut sent = Vec::new();
            while let Some(len) = server.poll_transmit(env, &mut out).unwrap() {
                sent.extend_from_slice(&out[..len]);
            }
            let mut done = server.into_session().unwrap();
            while let Some(len) = done.session.poll_transmit(env, &mut out).unwrap() {
                sent.extend_from_slice(&out[..len]);
            }
            if let Some(session) = done.cacheable {
                table.insert(session);
            }
            if prefix.is_empty() {
                assert_eq!(sent, records(&case, &SERVER_FINAL), "{name}");
                continue;
            }
            assert!(sent.is_empty() && done.is_resumed);
            let len = done.session.seal(b"and back again", &mut out).unwrap();
            assert_eq!(out[..len], case["resumed_server_application_record"]);
        }
    }
}

#[test]
fn tls_client_resumes_as_the_page_says() {
    for (name, case) in cases_of("TLS12") {
        let psk = Psk::new(&case["psk"]).unwrap();
        let shown = Credentials {
            psk_identity: &case["psk_identity"],
            psk: &psk,
            peer: PeerId(2),
        };
        let mut session: Option<ResumableSession> = None;
        for (prefix, start) in [("", 0), ("resumed_", 0x40)] {
            let mut rng = Counting(start);
            let env = &mut Env::new(NOW, &mut rng);
            let client = TlsClientHandshake::resuming(
                SoftCrypto,
                shown,
                settings(&name),
                session.take(),
                buffers(),
                env,
            );
            let mut client = client.unwrap();
            let mut out = [0; 1200];
            let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
            let hello = &case[&format!("{prefix}client_hello_record")];
            assert_eq!(out[..len], *hello, "{name}");
            let flights: &[&[&str]] = match prefix {
                "" => &[&SERVER_FLIGHT, &SERVER_FINAL],
                _ => &[&RESUMED_SERVER],
            };
            for flight in flights {
                let mut bytes = records(&case, flight);
                let mut rest = &mut bytes[..];
                while let Some(received) = client.handle_bytes(env, rest).unwrap() {
                    rest = received.rest;
                }
                if let Some(len) = client.poll_transmit(env, &mut out).unwrap() {
                    assert_eq!(out[..len], records(&case, &CLIENT_FINAL), "{name}");
                }
            }
            let mut done = client.into_session().unwrap();
            let kept = done.resumable.unwrap();
            assert_eq!(kept.ticket(), case.get("ticket").map_or(&[][..], |it| it));
            session = Some(kept);
            if done.is_resumed {
                let len = done.session.poll_transmit(env, &mut out).unwrap().unwrap();
                assert_eq!(out[..len], records(&case, &RESUMED_CLIENT), "{name}");
                let len = done.session.seal(b"over the hedge", &mut out).unwrap();
                assert_eq!(out[..len], case["resumed_client_application_record"]);
            }
            assert_eq!(done.is_resumed, !prefix.is_empty());
        }
    }
}

#[test]
fn dtls_client_resumes_as_the_page_says() {
    for (name, case) in cases_of("DTLS12") {
        let psk = Psk::new(&case["psk"]).unwrap();
        let shown = Credentials {
            psk_identity: &case["psk_identity"],
            psk: &psk,
            peer: PeerId(2),
        };
        let mut session: Option<ResumableSession> = None;
        for (prefix, start) in [("", 0), ("resumed_", 0x40)] {
            let mut rng = Counting(start);
            let env = &mut Env::new(NOW, &mut rng);
            let client = ClientHandshake::resuming(
                SoftCrypto,
                shown,
                settings(&name),
                session.take(),
                buffers(),
                env,
            );
            let mut client = client.unwrap();
            let mut out = [0; 1200];
            let of = |what: &str| case[&format!("{prefix}{what}_record")].clone();
            let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
            assert_eq!(out[..len], of("client_hello_1"), "{name}");
            let mut request = of("hello_verify_request");
            client.handle_datagram(env, &mut request).unwrap();
            let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
            assert_eq!(out[..len], of("client_hello"), "{name}");
            let flights: &[&[&str]] = match prefix {
                "" => &[&SERVER_FLIGHT, &SERVER_FINAL],
                _ => &[&RESUMED_SERVER],
            };
            for flight in flights {
                let mut bytes = records(&case, flight);
                let mut rest = &mut bytes[..];
                while !rest.is_empty() {
                    rest = client.handle_datagram(env, rest).unwrap().rest;
                }
                if let Some(len) = client.poll_transmit(env, &mut out).unwrap() {
                    assert_eq!(out[..len], records(&case, &CLIENT_FINAL), "{name}");
                }
            }
            let mut done = client.into_session().unwrap();
            assert_eq!(done.is_resumed, !prefix.is_empty());
            session = done.resumable;
            if done.is_resumed {
                let len = done.session.poll_transmit(env, &mut out).unwrap().unwrap();
                assert_eq!(out[..len], records(&case, &RESUMED_CLIENT), "{name}");
                let mut record = case["resumed_server_application_record"].clone();
                let received = done.session.handle_datagram(env, &mut record).unwrap();
                assert!(
                    matches!(received.event, Some(Event::Plaintext(text)) if text == b"and back again")
                );
            }
        }
    }
}
