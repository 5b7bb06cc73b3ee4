//! Certificate mode, both protocols and both ends: what is established, and every way of not proving
//! who one is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/certificates.rs"]
mod certificates;

use hedgerow_core::{
    CertificateFault, CertificateOwner, CertificateType, CertificatesOnly, ClientCertificates, Env,
    Instant, Misuse, Peer, PeerId, Psk, PskAndCertificates, VerifiedChain,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Buffers, ClientHandshake, DEFAULT_CERTIFICATE_SUITES, MIN_DATAGRAM_LEN, Settings,
    TlsClientHandshake, TlsServerHandshake,
};
use hedgerow_record::{ExtensionType, Protocol};
use hedgerow_sim::TestRng;

use certificates::{
    Double, End, Impostor, Message, PROTOCOLS, Shared, alert_sent, buffers, chain, key, public_key,
    put_together, settle, spki, take_apart,
};

const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const DECRYPT_ERROR: u8 = 51;
const UNEXPECTED_MESSAGE: u8 = 10;

const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

fn raw_client() -> Double {
    Double::raw(key(1), CertificateOwner::Server, &spki(&key(2)), 2)
}

fn raw_server() -> Double {
    Double::raw(key(2), CertificateOwner::Client, &spki(&key(1)), 1)
}

fn x509_client() -> Double {
    Double::x509(key(1), &key(2), 2)
}

fn x509_server() -> Double {
    Double::x509(key(2), &key(1), 1)
}

/// Client and server of either type.
const PAIRS: [(Make, Make); 2] = [(raw_client, raw_server), (x509_client, x509_server)];

type Make = fn() -> Double;

fn ends(protocol: Protocol, client: Double, server: Double) -> (End, End) {
    let settings = Settings::default();
    (
        End::client(protocol, client.share(), settings),
        End::server(protocol, server.share(), settings),
    )
}

/// Runs a handshake to its end and returns the alerts that client and server have sent.
fn alerts(protocol: Protocol, client: Double, server: Double) -> (Option<u8>, Option<u8>) {
    let (mut client, mut server) = ends(protocol, client, server);
    settle(&mut client, &mut server);
    assert_eq!((client.peer, server.peer), (None, None));
    (alert_sent(&client), alert_sent(&server))
}

/// Lets the server's flight come into being: the client, the server, and the flight.
fn server_flight(protocol: Protocol, client: Shared, server: Shared) -> (End, End, Vec<Message>) {
    let settings = Settings::default();
    let mut client = End::client(protocol, client, settings);
    let mut server = End::server(protocol, server, settings);
    if protocol == Protocol::Dtls {
        client.send_to(&mut server);
        server.send_to(&mut client);
    }
    client.send_to(&mut server);
    let flight = take_apart(protocol, &server.transmit());
    (client, server, flight)
}

/// Lets the client's flight come into being: the server that waits for it, and the flight's messages
/// in clear.
fn client_flight(protocol: Protocol, client: Shared, server: Shared) -> (End, Vec<Message>) {
    let (mut client, server, flight) = server_flight(protocol, client, server);
    for record in put_together(protocol, &flight, server_seq(protocol)) {
        client.receive(&record);
    }
    assert_eq!(client.failure, None);
    (server, take_apart(protocol, &client.transmit()))
}

/// The number of the server's first message: in DTLS the HelloVerifyRequest had 0.
fn server_seq(protocol: Protocol) -> u8 {
    u8::from(protocol == Protocol::Dtls)
}

/// The number of the client's first message behind its last hello.
fn client_seq(protocol: Protocol) -> u8 {
    2 * u8::from(protocol == Protocol::Dtls)
}

fn feed(end: &mut End, protocol: Protocol, messages: &[Message], first_seq: u8) {
    for record in put_together(protocol, messages, first_seq) {
        end.receive(&record);
    }
}

#[test]
fn every_suite_proves_both_ends_by_either_type() {
    for protocol in PROTOCOLS {
        for suite in DEFAULT_CERTIFICATE_SUITES {
            let settings = Settings::new(&[suite]);
            let pairs = [
                (
                    raw_client(),
                    raw_server(),
                    [PeerId(2), PeerId(1)].map(Peer::RawPublicKey),
                ),
                (
                    x509_client(),
                    x509_server(),
                    [PeerId(2), PeerId(1)].map(Peer::Certificate),
                ),
            ];
            for (client, server, peers) in pairs {
                let mut client = End::client(protocol, client.share(), settings);
                let mut server = End::server(protocol, server.share(), settings);
                settle(&mut client, &mut server);
                assert_eq!([client.peer, server.peer], peers.map(Some), "{suite}");
                server.receive(&client.seal(b"over the hedge"));
                client.receive(&server.seal(b"and back"));
                assert_eq!(server.plaintexts, [b"over the hedge"]);
                assert_eq!(client.plaintexts, [b"and back"]);
            }
        }
    }
}

/// RFC 7250 §4: each direction has a type of its own.
#[test]
fn types_of_both_directions_are_apart() {
    for protocol in PROTOCOLS {
        let client = Double {
            raw: Some(Box::new(key(1))),
            ..x509_client()
        };
        let server = Double {
            accepts: &[CertificateType::RawPublicKey],
            known: vec![(spki(&key(1)), CertificateOwner::Client, PeerId(9))],
            ..x509_server()
        };
        let (mut client, mut server) = ends(protocol, client, server);
        settle(&mut client, &mut server);
        assert_eq!(client.peer, Some(Peer::Certificate(PeerId(2))));
        assert_eq!(server.peer, Some(Peer::RawPublicKey(PeerId(9))));
    }
}

#[test]
fn client_that_is_not_asked_stays_anonymous() {
    for protocol in PROTOCOLS {
        for client in [raw_client(), x509_client()] {
            let mut server = Double {
                raw: Some(Box::new(key(2))),
                ..x509_server()
            };
            server.clients = ClientCertificates::NotRequested;
            let (mut client, mut server) = ends(protocol, client, server);
            settle(&mut client, &mut server);
            assert!(client.peer.is_some());
            assert_eq!(server.peer, Some(Peer::Anonymous));
        }
    }
}

/// RFC 5246 §7.4: each of the server's messages left out, repeated, and before its turn.
#[test]
fn client_takes_the_server_s_messages_in_their_order_alone() {
    for protocol in PROTOCOLS {
        for (own, peer) in PAIRS {
            let expected = [
                2,
                CERTIFICATE,
                SERVER_KEY_EXCHANGE,
                CERTIFICATE_REQUEST,
                SERVER_HELLO_DONE,
            ];
            let run = |change: &dyn Fn(&mut Vec<Message>)| {
                let (mut client, _, mut flight) =
                    server_flight(protocol, own().share(), peer().share());
                assert!(flight.iter().map(|(kind, _)| *kind).eq(expected));
                change(&mut flight);
                feed(&mut client, protocol, &flight, server_seq(protocol));
                alert_sent(&client)
            };
            assert_eq!(run(&|_| {}), None);
            for at in 0..expected.len() {
                let left_out = run(&|flight| drop(flight.remove(at)));
                // RFC 5246 §7.4.4: a server need not ask. Nothing follows the last message.
                let is_optional = matches!(expected[at], CERTIFICATE_REQUEST | SERVER_HELLO_DONE);
                let wanted = (!is_optional).then_some(UNEXPECTED_MESSAGE);
                assert_eq!(left_out, wanted, "{protocol:?} without {}", expected[at]);
                let repeated = run(&|flight| flight.insert(at, flight[at].clone()));
                // In DTLS nothing counts in clear any more once only ChangeCipherSpec is missing.
                let is_over = at == 4 && protocol == Protocol::Dtls;
                let wanted = (!is_over).then_some(UNEXPECTED_MESSAGE);
                assert_eq!(repeated, wanted, "{protocol:?} {at} twice");
                for other in 0..at {
                    let swapped = run(&|flight| flight.swap(at, other));
                    // What asks for a certificate comes too late then.
                    let wanted = (!is_over || other != 3).then_some(UNEXPECTED_MESSAGE);
                    assert_eq!(swapped, wanted, "{protocol:?} {at} {other}");
                }
            }
        }
    }
}

/// RFC 5246 §7.4: each of the client's messages left out, repeated, and before its turn.
#[test]
fn server_takes_the_client_s_messages_in_their_order_alone() {
    for protocol in PROTOCOLS {
        for (peer, own) in PAIRS {
            let expected = [CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY];
            let run = |change: &dyn Fn(&mut Vec<Message>)| {
                let (mut server, mut flight) =
                    client_flight(protocol, peer().share(), own().share());
                assert!(flight.iter().map(|(kind, _)| *kind).eq(expected));
                change(&mut flight);
                // What ends the flight without proving anything.
                flight.push((20, vec![0; 12]));
                feed(&mut server, protocol, &flight, client_seq(protocol));
                assert_eq!(server.peer, None);
                alert_sent(&server)
            };
            for at in 0..expected.len() {
                let left_out = run(&|flight| drop(flight.remove(at)));
                assert_eq!(
                    left_out,
                    Some(UNEXPECTED_MESSAGE),
                    "{protocol:?} without {at}"
                );
                let repeated = run(&|flight| flight.insert(at, flight[at].clone()));
                let is_last = at == 2 && protocol == Protocol::Dtls;
                // In DTLS nothing counts in clear any more once only ChangeCipherSpec is missing.
                let wanted = (!is_last).then_some(UNEXPECTED_MESSAGE);
                assert_eq!(repeated, wanted, "{protocol:?} {at} twice");
                for other in 0..at {
                    let swapped = run(&|flight| flight.swap(at, other));
                    assert_eq!(
                        swapped,
                        Some(UNEXPECTED_MESSAGE),
                        "{protocol:?} {at} {other}"
                    );
                }
            }
        }
    }
}

/// CVE-2022-29222: a client shows somebody's certificate, proves nothing, and goes on to
/// ChangeCipherSpec and Finished.
#[test]
fn certificate_without_proof_of_possession_establishes_nothing() {
    for protocol in PROTOCOLS {
        let (mut server, flight) =
            client_flight(protocol, x509_client().share(), x509_server().share());
        feed(&mut server, protocol, &flight[..2], client_seq(protocol));
        assert_eq!(server.failure, None);
        let change: &[u8] = match protocol {
            Protocol::Dtls => &[20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 90, 0, 1, 1],
            Protocol::Tls => &[20, 3, 3, 0, 1, 1],
        };
        server.receive(change);
        assert_eq!(server.peer, None);
        // A datagram's ChangeCipherSpec may have overtaken what is missing, and is dropped.
        let wanted = (protocol == Protocol::Tls).then_some(UNEXPECTED_MESSAGE);
        assert_eq!(alert_sent(&server), wanted);
        feed(
            &mut server,
            protocol,
            &[(20, vec![0; 12])],
            client_seq(protocol) + 2,
        );
        assert_eq!(alert_sent(&server), Some(UNEXPECTED_MESSAGE));
        assert_eq!(server.peer, None);
    }
}

#[test]
fn another_s_key_or_certificate_does_not_do() {
    for protocol in PROTOCOLS {
        let impostor = |shown| Impostor {
            shown: key(shown),
            signing: key(66),
        };
        let refused = (None, Some(DECRYPT_ERROR));
        let client = Double::raw(impostor(1), CertificateOwner::Server, &spki(&key(2)), 2);
        assert_eq!(alerts(protocol, client, raw_server()), refused);
        let client = Double::x509(key(66), &key(2), 2);
        assert_eq!(alerts(protocol, client, x509_server()), refused);
        let refused = (Some(DECRYPT_ERROR), None);
        let server = Double::raw(impostor(2), CertificateOwner::Client, &spki(&key(1)), 1);
        assert_eq!(alerts(protocol, raw_client(), server), refused);
        let server = Double::x509(key(66), &key(1), 1);
        assert_eq!(alerts(protocol, x509_client(), server), refused);
    }
}

/// RFC 7925 §6: alerts about certificates are not for raw public keys.
#[test]
fn raw_public_key_that_is_not_known_is_refused() {
    for protocol in PROTOCOLS {
        let client = Double::raw(key(3), CertificateOwner::Server, &spki(&key(2)), 2);
        assert_eq!(
            alerts(protocol, client, raw_server()),
            (None, Some(HANDSHAKE_FAILURE))
        );
        let server = Double::raw(key(3), CertificateOwner::Client, &spki(&key(1)), 1);
        assert_eq!(
            alerts(protocol, raw_client(), server),
            (Some(HANDSHAKE_FAILURE), None)
        );
    }
}

/// Who may come as a client isn't a server for that, nor the other way round.
#[test]
fn raw_public_key_counts_in_its_own_role_alone() {
    let both_known = |mut own: Double| {
        own.known = vec![
            (spki(&key(1)), CertificateOwner::Client, PeerId(1)),
            (spki(&key(2)), CertificateOwner::Server, PeerId(2)),
        ];
        own
    };
    for protocol in PROTOCOLS {
        let client = both_known(raw_client());
        let mut other = raw_client();
        other.known = raw_server().known;
        assert_eq!(
            alerts(protocol, client, other),
            (Some(HANDSHAKE_FAILURE), None)
        );
        let server = both_known(raw_server());
        let mut other = raw_server();
        other.known = raw_client().known;
        // It shows the server's key, and accepts the server.
        assert_eq!(
            alerts(protocol, other, server),
            (None, Some(HANDSHAKE_FAILURE))
        );
    }
}

/// A key that credentials would let in all the same: on P-384, in another form, cut off, none.
#[test]
fn raw_public_key_of_another_kind_is_refused() {
    let mut p384 = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04".to_vec();
    p384.resize(120, 7);
    let mut compressed = spki(&key(1));
    compressed[26] = 2;
    for protocol in PROTOCOLS {
        for other in [&p384, &compressed, &spki(&key(1))[..90].to_vec()] {
            let body = [&[0, 0, u8::try_from(other.len()).unwrap()][..], other].concat();
            let mut own = raw_server();
            own.known
                .push((other.clone(), CertificateOwner::Client, PeerId(5)));
            let (mut server, mut flight) =
                client_flight(protocol, raw_client().share(), own.share());
            flight[0].1.clone_from(&body);
            feed(&mut server, protocol, &flight, client_seq(protocol));
            assert_eq!(alert_sent(&server), Some(HANDSHAKE_FAILURE));

            let mut own = raw_client();
            own.known
                .push((other.clone(), CertificateOwner::Server, PeerId(5)));
            let (mut client, _, mut flight) =
                server_flight(protocol, own.share(), raw_server().share());
            flight[1].1 = body;
            feed(&mut client, protocol, &flight, server_seq(protocol));
            assert_eq!(alert_sent(&client), Some(HANDSHAKE_FAILURE));
        }
        for body in [&[][..], &[0, 0, 0], &[0, 0, 2, 1], &[0, 0, 1, 1, 1]] {
            let (mut server, mut flight) =
                client_flight(protocol, raw_client().share(), raw_server().share());
            flight[0].1 = body.to_vec();
            feed(&mut server, protocol, &flight, client_seq(protocol));
            assert_eq!(alert_sent(&server), Some(50), "{body:?}");
        }
    }
}

/// RFC 5246 §7.2.2: what is wrong with a certificate has an alert of its own.
#[test]
fn each_fault_of_a_chain_has_its_alert() {
    for protocol in PROTOCOLS {
        for (fault, alert) in [
            (CertificateFault::Malformed, 42),
            (CertificateFault::Unsupported, 43),
            (CertificateFault::NotValidNow, 45),
            (CertificateFault::TimeUnknown, 46),
            (CertificateFault::OtherName, 46),
            (CertificateFault::UnknownAuthority, 48),
            (CertificateFault::NoAccess, 49),
        ] {
            let mut client = x509_client();
            client.verdict = Err(fault);
            assert_eq!(alerts(protocol, client, x509_server()), (Some(alert), None));
            let mut server = x509_server();
            server.verdict = Err(fault);
            assert_eq!(alerts(protocol, x509_client(), server), (None, Some(alert)));
        }
    }
}

/// RFC 5246 §7.4.6.
#[test]
fn client_without_a_certificate_is_refused_where_one_is_required() {
    for protocol in PROTOCOLS {
        let mut client = x509_client();
        client.chains.clear();
        let (mut server, flight) = client_flight(protocol, client.share(), x509_server().share());
        assert_eq!(flight[0], (CERTIFICATE, vec![0, 0, 0]));
        assert_eq!(flight.len(), 2, "nothing to verify");
        feed(&mut server, protocol, &flight, client_seq(protocol));
        assert_eq!(alert_sent(&server), Some(HANDSHAKE_FAILURE));

        let (mut client, _, mut flight) =
            server_flight(protocol, x509_client().share(), x509_server().share());
        flight[1].1 = vec![0, 0, 0];
        feed(&mut client, protocol, &flight, server_seq(protocol));
        assert_eq!(alert_sent(&client), Some(42), "a server has to have one");
    }
}

#[test]
fn certificate_that_nobody_asked_for_is_refused() {
    for protocol in PROTOCOLS {
        let mut server = x509_server();
        server.clients = ClientCertificates::NotRequested;
        let (mut server, mut flight) =
            client_flight(protocol, x509_client().share(), server.share());
        assert_eq!(flight.len(), 1);
        let (_, other) = client_flight(protocol, x509_client().share(), x509_server().share());
        flight.insert(0, other[0].clone());
        feed(&mut server, protocol, &flight, client_seq(protocol));
        assert_eq!(alert_sent(&server), Some(UNEXPECTED_MESSAGE));
    }
}

/// RFC 5246 §7.4.3, §7.4.8: signatures of another handshake, whose randoms differ.
#[test]
fn signature_over_another_handshake_is_refused() {
    for protocol in PROTOCOLS {
        let settings = Settings::default();
        let other_flight = || {
            let mut client = End::client(protocol, raw_client().share(), settings);
            let mut server = End::server_with_seed(protocol, raw_server().share(), settings, 77);
            if protocol == Protocol::Dtls {
                client.send_to(&mut server);
                server.send_to(&mut client);
            }
            client.send_to(&mut server);
            let flight = server.transmit();
            flight.iter().for_each(|bytes| client.receive(bytes));
            (
                take_apart(protocol, &flight),
                take_apart(protocol, &client.transmit()),
            )
        };
        let (server_s, client_s) = other_flight();

        let (mut client, _, mut flight) =
            server_flight(protocol, raw_client().share(), raw_server().share());
        assert_ne!(flight[2], server_s[2]);
        flight[2] = server_s[2].clone();
        feed(&mut client, protocol, &flight, server_seq(protocol));
        assert_eq!(alert_sent(&client), Some(DECRYPT_ERROR));

        let (mut server, mut flight) =
            client_flight(protocol, raw_client().share(), raw_server().share());
        assert_ne!(flight[2], client_s[2]);
        flight[2] = client_s[2].clone();
        feed(&mut server, protocol, &flight, client_seq(protocol));
        assert_eq!(alert_sent(&server), Some(DECRYPT_ERROR));
    }
}

/// Every byte of a signed message counts, and the algorithm is the one that was offered.
#[test]
fn changed_signature_parameters_or_algorithm_are_refused() {
    for protocol in PROTOCOLS {
        let (_, _, flight) = server_flight(protocol, raw_client().share(), raw_server().share());
        // Curve type, group, key, algorithm, then the signature's length and bytes.
        let key_len = usize::from(flight[2].1[3]);
        for at in 4..flight[2].1.len() {
            let (mut client, _, mut flight) =
                server_flight(protocol, raw_client().share(), raw_server().share());
            flight[2].1[at] ^= 1;
            feed(&mut client, protocol, &flight, server_seq(protocol));
            let wanted = match at - 4 {
                at if at < key_len => &[DECRYPT_ERROR][..],
                at if at < key_len + 2 => &[ILLEGAL_PARAMETER],
                at if at < key_len + 4 => &[50],
                _ => &[DECRYPT_ERROR],
            };
            assert!(wanted.contains(&alert_sent(&client).unwrap()), "byte {at}");
        }
        let (_, flight) = client_flight(protocol, raw_client().share(), raw_server().share());
        for at in 0..flight[2].1.len() {
            let (mut server, mut flight) =
                client_flight(protocol, raw_client().share(), raw_server().share());
            flight[2].1[at] ^= 1;
            feed(&mut server, protocol, &flight, client_seq(protocol));
            let wanted = match at {
                0 | 1 => ILLEGAL_PARAMETER,
                2 | 3 => 50,
                _ => DECRYPT_ERROR,
            };
            assert_eq!(alert_sent(&server), Some(wanted), "byte {at}");
        }
    }
}

/// RFC 7250 §4.2, RFC 6066 §3.
#[test]
fn types_and_names_without_a_common_one_end_the_handshake() {
    for protocol in PROTOCOLS {
        let unsupported = (None, Some(43));
        // The client names raw public keys, the server has X.509, and the other way round.
        let both = |accepts| Double {
            raw: Some(Box::new(key(1))),
            accepts,
            ..raw_client()
        };
        let client = both(&[CertificateType::RawPublicKey]);
        assert_eq!(alerts(protocol, client, x509_server()), unsupported);
        // X.509 goes without saying.
        let failure = (None, Some(HANDSHAKE_FAILURE));
        assert_eq!(alerts(protocol, x509_client(), raw_server()), failure);
        // Each accepts the other's, but the client has nothing that the server takes.
        let client = both(&[CertificateType::X509]);
        assert_eq!(alerts(protocol, client, x509_server()), unsupported);

        let mut client = x509_client();
        client.name = Some("other.example");
        let mut server = x509_server();
        server.chains[0].0 = "lamp.example";
        assert_eq!(alerts(protocol, client, server), (None, Some(112)));
    }
}

#[test]
fn name_that_the_client_says_chooses_the_certificate() {
    for protocol in PROTOCOLS {
        let mut server = x509_server();
        server.chains = vec![
            ("meter.example", Box::new(key(5)), chain(&[b"meter"])),
            ("lamp.example", Box::new(key(2)), chain(&[b"lamp"])),
        ];
        let server = server.share();
        let mut client = x509_client();
        client.name = Some("lamp.example");
        let (mut client, mut end, flight) = server_flight(protocol, client.share(), server);
        assert_eq!(flight[1].1, b"\0\0\x07\0\0\x04lamp");
        feed(&mut client, protocol, &flight, server_seq(protocol));
        settle(&mut client, &mut end);
        assert_eq!(client.peer, Some(Peer::Certificate(PeerId(2))));

        let mut client = x509_client();
        client.name = Some("meter.example");
        let (mut client, _, flight) = server_flight(protocol, client.share(), server);
        assert_eq!(flight[1].1, b"\0\0\x08\0\0\x05meter");
        // The client wants the other one's key.
        feed(&mut client, protocol, &flight, server_seq(protocol));
        assert_eq!(alert_sent(&client), Some(DECRYPT_ERROR));
    }
}

/// Takes the extensions of the ClientHello in TLS apart, changes them, and shows it to a server.
fn server_s_answer(change: impl Fn(&mut Vec<(u16, Vec<u8>)>)) -> Option<u8> {
    let settings = Settings::default();
    let mut client = End::client(Protocol::Tls, raw_client().share(), settings);
    let mut server = End::server(Protocol::Tls, raw_server().share(), settings);
    let mut messages = take_apart(Protocol::Tls, &client.transmit());
    let body = &mut messages[0].1;
    let at = 2 + 32 + 1 + 2 + 2 * (DEFAULT_CERTIFICATE_SUITES.len() + 1) + 2;
    let mut rest = &body[at + 2..];
    let mut extensions = Vec::new();
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        extensions.push((kind, rest[4..4 + len].to_vec()));
        rest = &rest[4 + len..];
    }
    change(&mut extensions);
    let mut block = Vec::new();
    for (kind, data) in extensions {
        block.extend(kind.to_be_bytes());
        block.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        block.extend(data);
    }
    body.truncate(at);
    body.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    body.extend(block);
    feed(&mut server, Protocol::Tls, &messages, 0);
    alert_sent(&server)
}

/// RFC 7925 §5, RFC 5246 §7.4.1.4.1, RFC 8422 §5.1.1.
#[test]
fn client_that_takes_no_ecdsa_with_sha_256_on_p_256_is_refused() {
    let set = |wanted: ExtensionType, data: &'static [u8]| {
        server_s_answer(|extensions| {
            assert!(extensions.iter().any(|(kind, _)| *kind == wanted.0));
            extensions.retain(|(kind, _)| *kind != wanted.0);
            extensions.push((wanted.0, data.to_vec()));
        })
    };
    assert_eq!(server_s_answer(|_| {}), None);
    let without = |wanted: ExtensionType| {
        server_s_answer(|extensions| extensions.retain(|(kind, _)| *kind != wanted.0))
    };
    let algorithms = ExtensionType::SIGNATURE_ALGORITHMS;
    assert_eq!(without(algorithms), Some(HANDSHAKE_FAILURE));
    assert_eq!(
        set(algorithms, &[0, 4, 2, 3, 4, 1]),
        Some(HANDSHAKE_FAILURE)
    );
    assert_eq!(set(algorithms, &[0, 4, 2, 3, 4, 3]), None);
    assert_eq!(set(algorithms, &[0, 0]), Some(50));
    let groups = ExtensionType::SUPPORTED_GROUPS;
    assert_eq!(set(groups, &[0, 2, 0, 0x1d]), Some(HANDSHAKE_FAILURE));
    assert_eq!(set(groups, &[0, 2, 0, 0x17]), None);
    assert_eq!(without(groups), None);
    let types = ExtensionType::SERVER_CERTIFICATE_TYPE;
    assert_eq!(set(types, &[1, 1]), Some(43));
    assert_eq!(set(types, &[0]), Some(50));
    assert_eq!(without(types), Some(HANDSHAKE_FAILURE));
    let types = ExtensionType::CLIENT_CERTIFICATE_TYPE;
    assert_eq!(set(types, &[1, 0]), Some(43));
    assert_eq!(set(types, &[2, 1, 2]), None);
}

/// RFC 5246 §7.4.1.4, RFC 7250 §4.2: what a ServerHello may say about types and names.
#[test]
fn server_answers_with_types_that_were_offered() {
    let answer = |own: fn() -> Double, kind: ExtensionType, data: &[u8]| {
        let (mut client, _, mut flight) = server_flight(
            Protocol::Tls,
            own().share(),
            if own().raw.is_some() {
                raw_server()
            } else {
                x509_server()
            }
            .share(),
        );
        let body = &mut flight[0].1;
        let at = 2 + 32 + 1 + 2 + 1;
        let mut block = Vec::new();
        let mut rest = &body[at + 2..];
        while !rest.is_empty() {
            let len = 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            if rest[..2] != kind.0.to_be_bytes() {
                block.extend(&rest[..len]);
            }
            rest = &rest[len..];
        }
        block.extend(kind.0.to_be_bytes());
        block.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        block.extend(data);
        body.truncate(at);
        body.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        body.extend(block);
        feed(&mut client, Protocol::Tls, &flight[..1], 0);
        alert_sent(&client)
    };
    for kind in [
        ExtensionType::CLIENT_CERTIFICATE_TYPE,
        ExtensionType::SERVER_CERTIFICATE_TYPE,
    ] {
        assert_eq!(answer(raw_client, kind, &[2]), None);
        assert_eq!(answer(raw_client, kind, &[0]), Some(ILLEGAL_PARAMETER));
        assert_eq!(answer(raw_client, kind, &[1]), Some(ILLEGAL_PARAMETER));
        assert_eq!(answer(raw_client, kind, &[]), Some(50));
        assert_eq!(answer(raw_client, kind, &[1, 2]), Some(50));
        assert_eq!(answer(x509_client, kind, &[0]), Some(110), "not offered");
    }
    for kind in [
        ExtensionType::SERVER_NAME,
        ExtensionType::SIGNATURE_ALGORITHMS,
    ] {
        assert_eq!(answer(raw_client, kind, &[]), Some(110), "not offered");
    }
    let named = || Double {
        name: Some("lamp.example"),
        ..x509_client()
    };
    assert_eq!(answer(named, ExtensionType::SERVER_NAME, &[]), None);
    assert_eq!(answer(named, ExtensionType::SERVER_NAME, &[0]), Some(50));
}

/// RFC 7250 §4.2: a server that doesn't know raw public keys leaves them out and shows X.509.
#[test]
fn certificate_of_a_type_that_was_not_offered_is_refused() {
    let (mut client, _, mut flight) =
        server_flight(Protocol::Tls, raw_client().share(), raw_server().share());
    let body = &mut flight[0].1;
    // server_certificate_type is the last extension, of five bytes.
    let len = body.len();
    assert_eq!(body[len - 5..], [0, 0x14, 0, 1, 2]);
    body.truncate(len - 5);
    body[2 + 32 + 1 + 2 + 1 + 1] -= 5;
    flight[1].1 = b"\0\0\x08\0\0\x05X.509".to_vec();
    feed(&mut client, Protocol::Tls, &flight, 0);
    assert_eq!(alert_sent(&client), Some(43));
}

/// RFC 5246 §7.4.6: a client that has nothing of what is asked for says so, and proves nothing.
#[test]
fn client_answers_an_unsuitable_request_with_no_certificate() {
    for protocol in PROTOCOLS {
        // rsa_sign; ecdsa_sign, but with SHA-1 alone.
        for request in [
            &b"\x01\x01\0\x02\x04\x03\0\0"[..],
            b"\x01\x40\0\x02\x02\x03\0\0",
        ] {
            let answer = |client: Double, server: Double| {
                let (mut client, _, mut flight) =
                    server_flight(protocol, client.share(), server.share());
                flight[3].1 = request.to_vec();
                feed(&mut client, protocol, &flight, server_seq(protocol));
                let alert = alert_sent(&client);
                (alert, take_apart(protocol, &client.transmit()))
            };
            let (alert, flight) = answer(x509_client(), x509_server());
            assert_eq!(alert, None);
            assert_eq!(flight[0], (CERTIFICATE, vec![0, 0, 0]));
            assert_eq!(flight.len(), 2);
            // A raw public key can't be left empty.
            let (alert, _) = answer(raw_client(), raw_server());
            assert_eq!(alert, Some(HANDSHAKE_FAILURE));
        }
    }
}

#[test]
fn one_server_serves_clients_of_either_mode() {
    let certificates: Shared = raw_server().share();
    let server = || PskAndCertificates {
        psk: (
            b"thermometer".as_slice(),
            Psk::new(b"sixteen byte key").unwrap(),
            PeerId(4),
        ),
        certificates,
    };
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let settings = Settings::default();
    let psk = Psk::new(b"sixteen byte key").unwrap();
    let credentials = hedgerow_core::Credentials {
        psk_identity: b"thermometer",
        psk: &psk,
        peer: PeerId(7),
    };
    macro_rules! peer_of {
        ($credentials:expr) => {{
            let mut client =
                TlsClientHandshake::new(SoftCrypto, $credentials, settings, buffers(512), env)
                    .unwrap();
            let mut server =
                TlsServerHandshake::new(SoftCrypto, server(), settings, buffers(512), env).unwrap();
            let mut out = [0; 2_000];
            for _ in 0..2 {
                while let Some(len) = client.poll_transmit(env, &mut out).unwrap() {
                    let mut rest = &mut out[..len];
                    while !rest.is_empty() {
                        rest = server.handle_bytes(env, rest).unwrap().unwrap().rest;
                    }
                }
                while let Some(len) = server.poll_transmit(env, &mut out).unwrap() {
                    let mut rest = &mut out[..len];
                    while !rest.is_empty() {
                        rest = client.handle_bytes(env, rest).unwrap().unwrap().rest;
                    }
                }
            }
            server.into_session().unwrap().session.peer()
        }};
    }
    assert_eq!(peer_of!(credentials), Peer::Psk(PeerId(4)));
    let certificates: Shared = raw_client().share();
    assert_eq!(
        peer_of!(CertificatesOnly(certificates)),
        Peer::RawPublicKey(PeerId(1))
    );
    // Who has both is known in the stronger mode, as the settings have it if nothing is said.
    let both = PskAndCertificates {
        psk: credentials,
        certificates,
    };
    assert_eq!(peer_of!(both), Peer::RawPublicKey(PeerId(1)));
}

/// What [`MIN_DATAGRAM_LEN`] promises: the longest ClientHello without a server's name, which takes
/// 165 bytes with a cookie of 32.
#[test]
fn hello_with_everything_fits_the_smallest_datagram() {
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let psk = Psk::new(b"sixteen byte key").unwrap();
    let credentials = PskAndCertificates {
        psk: hedgerow_core::Credentials {
            psk_identity: b"thermometer",
            psk: &psk,
            peer: PeerId(7),
        },
        certificates: Double {
            raw: Some(Box::new(key(1))),
            accepts: &CertificateType::ALL,
            ..x509_client()
        },
    };
    let settings = Settings::default();
    let mut client =
        ClientHandshake::new(SoftCrypto, credentials, settings, buffers(5_000), env).unwrap();
    let mut out = [0; MIN_DATAGRAM_LEN];
    let len = client.poll_transmit(env, &mut out).unwrap();
    assert_eq!(len, Some(165 - 32));
}

#[test]
fn buffers_without_room_for_chains_are_refused() {
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut needed = |credentials: Double, len: usize| {
        let credentials = CertificatesOnly(credentials.share());
        let settings = Settings::default();
        ClientHandshake::new(SoftCrypto, credentials, settings, buffers(len), env).err()
    };
    let too_small = |needed, available| Some(Misuse::BufferTooSmall { needed, available });
    let min = Buffers::<[u8; 0]>::MIN_LEN;
    let min_chain = Buffers::<[u8; 0]>::MIN_CHAIN_LEN;
    assert_eq!(needed(raw_client(), min), None);
    assert_eq!(needed(raw_client(), min - 1), too_small(min, min - 1));
    assert_eq!(needed(x509_client(), min_chain), None);
    assert_eq!(needed(x509_client(), min), too_small(min_chain, min));
    // One that only accepts chains, and one whose own is longer than usual.
    let mut accepting = raw_client();
    accepting.accepts = &[CertificateType::X509];
    assert_eq!(needed(accepting, min), too_small(min_chain, min));
    let mut long = x509_client();
    long.chains[0].2 = chain(&[&[7; 6_000]]);
    let len = min + 6_003;
    assert_eq!(needed(long, len - 1), too_small(len, len - 1));
}

/// Chains longer than a datagram, and each datagram lost once.
#[test]
fn lost_datagram_of_a_long_chain_comes_again() {
    let long = |mut own: Double| {
        own.chains[0].2 = chain(&[&[1; 1_100], &[2; 1_100], &[3; 1_000]]);
        own
    };
    let mut lost = 0;
    loop {
        let (mut client, mut server) =
            ends(Protocol::Dtls, long(x509_client()), long(x509_server()));
        let mut sent = 0;
        let mut is_lost = || {
            sent += 1;
            sent - 1 == lost
        };
        let mut has_lost = false;
        for _ in 0..20 {
            for _ in 0..8 {
                for bytes in client.transmit() {
                    let lose = is_lost();
                    has_lost |= lose;
                    if !lose {
                        server.receive(&bytes);
                    }
                }
                for bytes in server.transmit() {
                    let lose = is_lost();
                    has_lost |= lose;
                    if !lose {
                        client.receive(&bytes);
                    }
                }
            }
            if client.peer.is_some() {
                break;
            }
            client.wait();
            server.wait();
        }
        assert_eq!(
            client.peer,
            Some(Peer::Certificate(PeerId(2))),
            "datagram {lost}"
        );
        assert_eq!(
            server.peer,
            Some(Peer::Certificate(PeerId(1))),
            "datagram {lost}"
        );
        if !has_lost {
            break;
        }
        lost += 1;
    }
    assert!(lost >= 10, "{lost} datagrams");
}

/// RFC 6347 §4.2.4: once the client's flight has begun to arrive, what comes again of it is answered
/// with nothing; the rest of it is the client's to send again.
#[test]
fn part_of_the_client_s_flight_does_not_bring_the_server_s_again() {
    let protocol = Protocol::Dtls;
    let (mut server, flight) = client_flight(protocol, raw_client().share(), raw_server().share());
    for _ in 0..3 {
        feed(&mut server, protocol, &flight[..1], client_seq(protocol));
        assert!(server.transmit().is_empty());
        server.wait();
    }
    feed(&mut server, protocol, &flight, client_seq(protocol));
    assert_eq!(server.failure, None);
}

#[test]
fn chain_is_verified_for_its_key_and_not_for_another() {
    for protocol in PROTOCOLS {
        // The verifier found another public key in the certificate than the one that signs.
        let mut server = x509_server();
        server.verdict = Ok(VerifiedChain {
            peer: PeerId(1),
            public_key: public_key(&key(8)),
        });
        let refused = (None, Some(DECRYPT_ERROR));
        assert_eq!(alerts(protocol, x509_client(), server), refused);
        // Or one that is on no curve.
        let mut client = x509_client();
        client.verdict = Ok(VerifiedChain {
            peer: PeerId(2),
            public_key: [4; 65],
        });
        let refused = (Some(DECRYPT_ERROR), None);
        assert_eq!(alerts(protocol, client, x509_server()), refused);
    }
}
