//! A handshake with raw public keys on both sides against a transcript that a second reader computed
//! from the RFCs' text (`vectors/ecdhe_ecdsa_rpk.py`), without a look at this crate: DTLS, both ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/fixed_key.rs"]
mod fixed_key;
#[path = "common/vectors.rs"]
mod vectors;

use std::time::Duration;

use hedgerow_core::{
    CertificatesOnly, Env, Event, Instant, NamedGroup, Peer, PeerId, RawPublicKeys, SecureChannel,
    SignatureScheme, Signatures,
};
use hedgerow_crypto_soft::{SoftCrypto, SoftSigningKey};
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ClientState, ServerHandshake, ServerState,
    Settings,
};
use hedgerow_record::CipherSuite;

use fixed_key::{COOKIE_ADDRESS, FixedKey};
use vectors::{Case, Counting, cases};

const VECTORS: &str = include_str!("vectors/ecdhe_ecdsa_rpk.hex");

const SERVER_FLIGHT: [&str; 5] = [
    "server_hello",
    "server_certificate",
    "server_key_exchange",
    "certificate_request",
    "server_hello_done",
];
const CLIENT_FLIGHT: [&str; 5] = [
    "client_certificate",
    "client_key_exchange",
    "certificate_verify",
    "client_change_cipher_spec",
    "client_finished",
];
const SERVER_FINAL: [&str; 2] = ["server_change_cipher_spec", "server_finished"];

fn case() -> Case {
    let [(_, case)] = cases(VECTORS).try_into().unwrap();
    case
}

fn settings() -> Settings {
    Settings::new(&[CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8])
        .with_groups(&[NamedGroup::Secp256r1])
}

/// Raw public keys need no more than the least that pre-shared keys do.
fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}

fn key(private: &[u8]) -> SoftSigningKey {
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    SoftCrypto.signing_key(scheme, private).unwrap()
}

fn records(case: &Case, names: &[&str]) -> Vec<u8> {
    let record = |name: &&str| case[&format!("{name}_record")].clone();
    names.iter().flat_map(record).collect()
}

#[test]
fn client_sends_what_the_second_reader_computed() {
    let case = case();
    let mut rng = Counting(0);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let credentials = CertificatesOnly(RawPublicKeys::client(
        key(&case["client_static_private"]),
        &case["server_spki"],
        PeerId(7),
    ));
    let provider = FixedKey(case["client_ephemeral_private"].clone());
    let mut client =
        ClientHandshake::new(provider, credentials, settings(), buffers(), env).unwrap();
    let mut out = [0; 1200];

    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(out[..len], case["client_hello_1_record"]);
    let mut request = case["hello_verify_request_record"].clone();
    client.handle_datagram(env, &mut request).unwrap();
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(out[..len], case["client_hello_2_record"]);

    let states = [
        ClientState::ExpectCertificate,
        ClientState::ExpectServerKeyExchange,
        ClientState::ExpectCertificateRequest,
        ClientState::ExpectServerHelloDone,
        ClientState::ExpectChangeCipherSpec,
    ];
    for (name, state) in SERVER_FLIGHT.iter().zip(states) {
        let mut record = records(&case, &[name]);
        let received = client.handle_datagram(env, &mut record).unwrap();
        assert_eq!(received.event, None, "{name}");
        assert_eq!(client.state(), state);
    }
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(out[..len], records(&case, &CLIENT_FLIGHT));

    let mut flight = records(&case, &SERVER_FINAL);
    let rest = client.handle_datagram(env, &mut flight).unwrap().rest;
    let event = client.handle_datagram(env, rest).unwrap().event;
    let peer = Peer::RawPublicKey(PeerId(7));
    assert_eq!(event, Some(Event::Established(peer)));
    let mut session = client.into_session().unwrap().session;
    assert_eq!(session.peer(), peer);
    talk(env, &mut session, &case, ["client", "server"]);
}

#[test]
fn server_sends_what_the_second_reader_computed() {
    let case = case();
    let mut rng = Counting(0x20);
    // The cookie's first byte counts its key's periods.
    let now = Instant::ZERO + Duration::from_secs(60 * 0xc0);
    let provider = FixedKey(case["server_ephemeral_private"].clone());
    let mut cookie_rng = hedgerow_sim::TestRng::new(1);
    let cookie_env = &mut Env::new(now, &mut cookie_rng);
    let acceptor = Acceptor::new(provider.clone(), settings(), cookie_env);
    let env = &mut Env::new(now, &mut rng);
    let clients = [(&case["client_spki"][..], PeerId(8))];
    let credentials = CertificatesOnly(RawPublicKeys::server(
        key(&case["server_static_private"]),
        &clients,
    ));
    let mut out = [0; 1200];
    let mut hello = case["client_hello_2_record"].clone();
    let Acceptance::Accept(hello) =
        acceptor.handle_datagram_with(&credentials, env, COOKIE_ADDRESS, &mut hello, &mut out)
    else {
        panic!("not accepted");
    };
    let mut server =
        ServerHandshake::new(provider, credentials, settings(), hello, buffers(), env).unwrap();
    let len = server.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(out[..len], records(&case, &SERVER_FLIGHT));

    let states = [
        ServerState::ExpectClientKeyExchange,
        ServerState::ExpectCertificateVerify,
        ServerState::ExpectChangeCipherSpec,
        ServerState::ExpectFinished,
        ServerState::Established,
    ];
    assert_eq!(server.state(), ServerState::ExpectCertificate);
    for (name, state) in CLIENT_FLIGHT.iter().zip(states) {
        server
            .handle_datagram(env, &mut records(&case, &[name]))
            .unwrap();
        assert_eq!(server.state(), state, "{name}");
    }
    let mut session = server.into_session().unwrap().session;
    assert_eq!(session.peer(), Peer::RawPublicKey(PeerId(8)));
    let len = session.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(out[..len], records(&case, &SERVER_FINAL));
    talk(env, &mut session, &case, ["server", "client"]);
}

/// Compares a record each way and the close_notify with the vectors'.
fn talk(env: &mut Env<'_>, session: &mut impl SecureChannel, case: &Case, [own, peer]: [&str; 2]) {
    let mut out = [0; 100];
    let text = &case[&format!("{own}_application_data")];
    let len = session.seal(text, &mut out).unwrap();
    assert_eq!(out[..len], case[&format!("{own}_application_record")]);
    let mut record = case[&format!("{peer}_application_record")].clone();
    let received = session.handle_datagram(env, &mut record).unwrap();
    let Some(Event::Plaintext(text)) = received.event else {
        panic!("{:?}", received.event);
    };
    assert_eq!(text, case[&format!("{peer}_application_data")]);
    session.close();
    let len = session.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(out[..len], case[&format!("{own}_close_notify_record")]);
}
