//! The client against transcripts that a second reader computed from the RFCs' text
//! (`vectors/dtls12_psk.py`), without a look at this crate.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/vectors.rs"]
mod common;

use common::{Case, Counting, cases};
use hedgerow_core::{
    Credentials, DropReason, Env, Event, Instant, PeerFault, PeerId, Psk, SecureChannel, Writer,
};
use hedgerow_crypto_soft::{SoftAead, SoftCrypto};
use hedgerow_handshake::{Buffers, ClientHandshake, ExtendedMasterSecret, Session, Settings};
use hedgerow_record::{
    CipherSuite, ContentType, DTLS_1_0, DTLS_1_2, DtlsRecord, DtlsSealer, EpochNumber,
    RecordNumber, TrafficKeys, encode_record,
};

const VECTORS: &str = include_str!("vectors/dtls12_psk.hex");

fn plain_record(number: u64, content_type: ContentType, fragment: &[u8]) -> Vec<u8> {
    let mut out = [0; 512];
    let mut writer = Writer::new(&mut out);
    let number = RecordNumber::new(EpochNumber(0), number).unwrap();
    encode_record(content_type, DTLS_1_2, number, fragment, &mut writer).unwrap();
    writer.written().to_vec()
}

type Client<'c> = ClientHandshake<SoftCrypto, Credentials<'c>, [u8; 512]>;

/// Takes a client through the hellos up to ServerHelloDone, and checks its second ClientHello.
fn client_after_server_hello_done<'c>(
    name: &str,
    case: &Case,
    psk: &'c Psk,
    env: &mut Env<'_>,
) -> (Client<'c>, CipherSuite) {
    let suite = match name {
        name if name.contains("CCM_8") => CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
        name if name.contains("CCM") => CipherSuite::TLS_PSK_WITH_AES_128_CCM,
        name if name.contains("GCM") => CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
        _ => CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    };
    let mut settings = Settings::new(&[suite]);
    if name.ends_with("NO_EMS") {
        settings = settings.with_extended_master_secret(ExtendedMasterSecret::Accepted);
    }
    let credentials = Credentials {
        psk_identity: b"Client_identity",
        psk,
        peer: PeerId(0),
    };
    let buffers = Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    };
    let mut client = ClientHandshake::new(SoftCrypto, credentials, settings, buffers, env).unwrap();
    let mut out = [0; 1200];
    client.poll_transmit(env, &mut out).unwrap().unwrap();

    let mut request = [0; 64];
    let mut writer = Writer::new(&mut request);
    let verify: Vec<u8> = [3, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 19, 0xfe, 0xff, 16]
        .into_iter()
        .chain(0xc0..=0xcf)
        .collect();
    let number = RecordNumber::new(EpochNumber(0), 0).unwrap();
    encode_record(
        ContentType::Handshake,
        DTLS_1_0,
        number,
        &verify,
        &mut writer,
    )
    .unwrap();
    let received = client.handle_datagram(env, writer.into_written()).unwrap();
    assert_eq!(received.event, None, "{name}");

    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    let (hello, _) = DtlsRecord::decode(&mut out[..len]).unwrap();
    assert_eq!(&*hello.fragment, case["client_hello_2"], "{name}");

    let mut flight = plain_record(1, ContentType::Handshake, &case["server_hello"]);
    flight.extend(plain_record(
        2,
        ContentType::Handshake,
        &case["server_hello_done"],
    ));
    let received = client.handle_datagram(env, &mut flight).unwrap();
    client.handle_datagram(env, received.rest).unwrap();
    (client, suite)
}

/// RFC 6347 §4.2.6, RFC 5246 §6.3 and §7.4.9, RFC 7925 §B, RFC 5746 §3.4, RFC 6347 §4.2.1.
#[test]
fn client_computes_what_the_second_reader_computed() {
    let cases = cases(VECTORS);
    assert_eq!(cases.len(), 5);
    for (name, case) in cases {
        let mut rng = Counting(0);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let psk = Psk::new(b"secretPSK").unwrap();
        let (mut client, suite) = client_after_server_hello_done(&name, &case, &psk, env);
        let mut out = [0; 1200];
        let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
        let (key_exchange, rest) = DtlsRecord::decode(&mut out[..len]).unwrap();
        assert_eq!(
            &*key_exchange.fragment, case["client_key_exchange"],
            "{name}"
        );
        let (change, finished) = DtlsRecord::decode(rest).unwrap();
        assert_eq!(change.content_type, ContentType::ChangeCipherSpec);
        assert_eq!(finished, case["client_finished_record"], "{name}");

        let mut flight = plain_record(3, ContentType::ChangeCipherSpec, &[1]);
        flight.extend(&case["server_finished_record"]);
        let received = client.handle_datagram(env, &mut flight).unwrap();
        let received = client.handle_datagram(env, received.rest).unwrap();
        assert!(
            matches!(received.event, Some(Event::Established(_))),
            "{name}"
        );
        let mut session = client.into_session().unwrap().session;
        let len = session.seal(b"over the hedge", &mut out).unwrap();
        assert_eq!(out[..len], case["client_application_record"], "{name}");
        assert_eq!(len, 14 + session.overhead());
        refuses_renegotiation(&mut session, suite, &case["key_block"], env);
    }
}

/// RFC 5246 §7.4.9: a Finished that the server has sealed under the right keys, but over another
/// transcript, ends the handshake.
#[test]
fn client_refuses_a_finished_over_another_transcript() {
    for (name, case) in cases(VECTORS) {
        let mut rng = Counting(0);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let psk = Psk::new(b"secretPSK").unwrap();
        let (mut client, suite) = client_after_server_hello_done(&name, &case, &psk, env);
        let mut out = [0; 1200];
        client.poll_transmit(env, &mut out).unwrap().unwrap();

        let mut finished = vec![20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12];
        finished.extend(&case["server_verify_data"]);
        *finished.last_mut().unwrap() ^= 1;
        let mut server = server_sealer(suite, &case["key_block"], 0);
        let mut record = vec![0; finished.len() + 64];
        let len = server
            .seal(ContentType::Handshake, &finished, &mut record)
            .unwrap();
        let mut change = plain_record(3, ContentType::ChangeCipherSpec, &[1]);
        client.handle_datagram(env, &mut change).unwrap();
        assert_eq!(
            client.handle_datagram(env, &mut record[..len]),
            Err(PeerFault::AlertSent { description: 51 }.into()),
            "{name}"
        );
        assert!(!client.is_established());
    }
}

fn server_sealer(suite: CipherSuite, key_block: &[u8], next_number: u64) -> DtlsSealer<SoftAead> {
    let algorithm = suite.aead().unwrap();
    let (key_len, iv_len) = (
        algorithm.key_len(),
        TrafficKeys::<SoftAead>::iv_len(algorithm),
    );
    let key = &key_block[key_len..2 * key_len];
    let iv = &key_block[2 * key_len + iv_len..2 * (key_len + iv_len)];
    let keys = TrafficKeys::new(&SoftCrypto, algorithm, key, iv).unwrap();
    DtlsSealer::starting_at(keys, EpochNumber(1), next_number)
}

/// RFC 5246 §7.2.2: what the server seals under its own keys reaches the machine. A HelloRequest is
/// answered with the warning no_renegotiation, a fatal alert ends the session.
fn refuses_renegotiation(
    session: &mut Session<SoftAead>,
    suite: CipherSuite,
    key_block: &[u8],
    env: &mut Env<'_>,
) {
    // The server's Finished had number 0.
    let mut server = server_sealer(suite, key_block, 1);
    let mut seal = |content_type, fragment: &[u8]| {
        let mut record = vec![0; fragment.len() + 64];
        let len = server.seal(content_type, fragment, &mut record).unwrap();
        record.truncate(len);
        record
    };
    let mut out = [0; 100];

    let hello_request = [0; 12];
    let mut record = seal(ContentType::Handshake, &hello_request);
    let received = session.handle_datagram(env, &mut record).unwrap();
    assert_eq!(
        received.event,
        Some(Event::Dropped(DropReason::UnexpectedMessage))
    );
    let len = session.poll_transmit(env, &mut out).unwrap().unwrap();
    assert_eq!(len, 2 + session.overhead());
    assert!(session.is_open());

    let mut record = seal(ContentType::ApplicationData, b"still here");
    let received = session.handle_datagram(env, &mut record).unwrap();
    assert!(matches!(received.event, Some(Event::Plaintext(text)) if text == b"still here"));

    let mut record = seal(ContentType::Alert, &[2, 40]);
    assert_eq!(
        session.handle_datagram(env, &mut record),
        Err(PeerFault::AlertReceived {
            description: 40,
            authenticated: true
        }
        .into())
    );
    assert!(session.seal(b"late", &mut out).is_err());
}
