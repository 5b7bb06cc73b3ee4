//! The bytes of a whole handshake against the formula that `docs/WIRE.md` writes out.

use std::vec::Vec;

use hedgerow_core::{
    Credentials, Env, Instant, NamedGroup, PeerId, Psk, SecureChannel, SecureStream,
};
use hedgerow_record::{CipherSuite, MaxFragmentLength, RecordSizeLimit};

use crate::cookie::COOKIE_LEN;
use crate::toy_provider::{Toy, ToyRng};
use crate::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ExtendedMasterSecret, ResumableSession,
    ServerHandshake, ServerResumption, SessionSlot, SessionTable, Settings, TicketKeys,
    TlsClientHandshake, TlsServerHandshake,
};

const PSK: &[u8] = b"sixteen byte key";

/// DTLS with `TLS_PSK_WITH_AES_128_CCM_8`, a cookie of c and an identity of i bytes.
const fn dtls_minimum(c: usize, i: usize) -> [usize; 6] {
    [67, 28 + c, 67 + c, 88, 94 + i, 67]
}

/// TLS with the same suite.
const fn tls_minimum(i: usize) -> [usize; 4] {
    [50, 47 + 9, (11 + i) + 6 + 37, 6 + 37]
}

/// What this crate adds: the signal of RFC 5746 in a ClientHello (2), its answer with the length of
/// the extensions in a ServerHello (7); the extended master secret where it is the only extension (6)
/// and where it isn't (4).
const CLIENT_HELLO: usize = 2 + 6;
const SERVER_HELLO: usize = 7 + 4;

fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}

/// What is offered.
#[derive(Clone, Copy)]
enum Offer {
    /// Plain PSK and no extension.
    Bare,
    /// Plain PSK as every user has it.
    Usual,
    /// The suite with an ephemeral key in this group.
    Ephemeral(NamedGroup),
    /// As usual, with a record size limit.
    RecordSizeLimit,
    /// As usual, with a maximum fragment length.
    MaxFragmentLength,
}

/// The settings of the client, and those of the server.
fn settings(offer: Offer) -> (Settings, Settings) {
    let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
    match offer {
        Offer::Bare => {
            let settings = settings.with_extended_master_secret(ExtendedMasterSecret::Accepted);
            (settings.with_bare_hello(), settings)
        }
        Offer::Usual => (settings, settings),
        Offer::RecordSizeLimit => {
            let limit = RecordSizeLimit::new(256);
            (settings.with_record_size_limit(limit), settings)
        }
        Offer::MaxFragmentLength => {
            let length = Some(MaxFragmentLength::Len512);
            (settings.with_max_fragment_length(length), settings)
        }
        Offer::Ephemeral(group) => {
            // Both groups on offer: the client's hello doesn't depend on which one is taken.
            let suites = [CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_8_SHA256];
            let settings = Settings::new(&suites);
            (settings, settings.with_groups(&[group]))
        }
    }
}

/// Returns the length of each flight, in the order in which they are sent.
fn dtls_flights(offer: Offer, identity: &[u8]) -> Vec<usize> {
    let mut rng = ToyRng;
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (of_client, of_server) = settings(offer);
    let psk = Psk::new(PSK).unwrap();
    let shown = Credentials {
        psk_identity: identity,
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (identity, Psk::new(PSK).unwrap(), PeerId(2));
    let mut client = ClientHandshake::new(Toy, shown, of_client, buffers(), env).unwrap();
    let acceptor = Acceptor::new(Toy, of_server, env);
    let (mut a, mut b) = ([0; 1200], [0; 1200]);
    let mut flights = Vec::new();

    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    let answer = acceptor.handle_datagram(env, b"address", &mut a[..len], &mut b);
    let Acceptance::Answer(len) = answer else {
        unreachable!("no cookie");
    };
    flights.push(len);
    client.handle_datagram(env, &mut b[..len]).unwrap();
    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    let accepted = acceptor.handle_datagram(env, b"address", &mut a[..len], &mut b);
    let Acceptance::Accept(hello) = accepted else {
        unreachable!("not accepted");
    };
    let server = ServerHandshake::new(Toy, &store, of_server, hello, buffers(), env);
    let mut server = server.unwrap();
    let len = server.poll_transmit(env, &mut b).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut b[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut a[..len];
    while !rest.is_empty() {
        rest = server.handle_datagram(env, rest).unwrap().rest;
    }
    let mut session = server.into_session().unwrap().session;
    let len = session.poll_transmit(env, &mut b).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut b[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    assert!(client.is_established());
    flights
}

fn tls_flights(offer: Offer, identity: &[u8]) -> Vec<usize> {
    let mut rng = ToyRng;
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (of_client, of_server) = settings(offer);
    let psk = Psk::new(PSK).unwrap();
    let shown = Credentials {
        psk_identity: identity,
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (identity, Psk::new(PSK).unwrap(), PeerId(2));
    let client = TlsClientHandshake::new(Toy, shown, of_client, buffers(), env);
    let server = TlsServerHandshake::new(Toy, &store, of_server, buffers(), env);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let (mut a, mut b) = ([0; 1200], [0; 1200]);
    let mut flights = Vec::new();

    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    server.handle_bytes(env, &mut a[..len]).unwrap().unwrap();
    let len = server.poll_transmit(env, &mut b).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut b[..len];
    while let Some(received) = client.handle_bytes(env, rest).unwrap() {
        rest = received.rest;
    }
    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut a[..len];
    while let Some(received) = server.handle_bytes(env, rest).unwrap() {
        rest = received.rest;
    }
    let mut session = server.into_session().unwrap().session;
    let len = session.poll_transmit(env, &mut b).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut b[..len];
    while let Some(received) = client.handle_bytes(env, rest).unwrap() {
        rest = received.rest;
    }
    assert!(client.is_established());
    // The comparison draft's overheads, which `docs/WIRE.md` quotes.
    assert_eq!(session.overhead(), 21);
    flights
}

#[test]
fn dtls_handshake_has_the_bytes_of_the_formula() {
    for i in [1, 8, 128] {
        let identity = [b'x'; 128];
        let identity = &identity[..i];
        let [a, b, c, d, e, f] = dtls_minimum(COOKIE_LEN, i);
        assert_eq!(dtls_flights(Offer::Bare, identity), [a, b, c, d, e, f]);
        let ours = [
            a + CLIENT_HELLO,
            b,
            c + CLIENT_HELLO,
            d + SERVER_HELLO,
            e,
            f,
        ];
        assert_eq!(dtls_flights(Offer::Usual, identity), ours);
        let minimum: usize = dtls_minimum(COOKIE_LEN, i).iter().sum();
        assert_eq!(minimum, 411 + 2 * COOKIE_LEN + i);
        assert_eq!(ours.iter().sum::<usize>(), minimum + 27);
    }
}

#[test]
fn tls_handshake_has_the_bytes_of_the_formula() {
    for i in [1, 8, 128] {
        let identity = [b'x'; 128];
        let identity = &identity[..i];
        let [a, b, c, d] = tls_minimum(i);
        assert_eq!(tls_flights(Offer::Bare, identity), [a, b, c, d]);
        let ours = [a + CLIENT_HELLO, b + SERVER_HELLO, c, d];
        assert_eq!(tls_flights(Offer::Usual, identity), ours);
        let minimum: usize = tls_minimum(i).iter().sum();
        assert_eq!(minimum, 203 + i);
        assert_eq!(ours.iter().sum::<usize>(), minimum + 19);
    }
}

/// RFC 8449 §4, RFC 6066 §4: an extension in each hello.
#[test]
fn limits_of_records_take_what_the_document_says() {
    for (offer, extension) in [(Offer::RecordSizeLimit, 6), (Offer::MaxFragmentLength, 5)] {
        let identity = b"lamp";
        let [a, b, c, d, e, f] = dtls_minimum(COOKIE_LEN, identity.len());
        let expected = [
            a + CLIENT_HELLO + extension,
            b,
            c + CLIENT_HELLO + extension,
            d + SERVER_HELLO + extension,
            e,
            f,
        ];
        assert_eq!(dtls_flights(offer, identity), expected);
        let [a, b, c, d] = tls_minimum(identity.len());
        let expected = [
            a + CLIENT_HELLO + extension,
            b + SERVER_HELLO + extension,
            c,
            d,
        ];
        assert_eq!(tls_flights(offer, identity), expected);
    }
}

/// Groups and point format in a ClientHello, the latter in the ServerHello, a ServerKeyExchange, and
/// the key in ClientKeyExchange.
#[test]
fn ephemeral_keys_take_what_the_document_says() {
    for (group, key_len) in [(NamedGroup::X25519, 32), (NamedGroup::Secp256r1, 65)] {
        let identity = b"lamp";
        let [a, b, c, d, e, f] = dtls_minimum(COOKIE_LEN, identity.len());
        let server_key_exchange = 13 + 12 + 2 + 4 + key_len;
        let expected = [
            a + CLIENT_HELLO + 16,
            b,
            c + CLIENT_HELLO + 16,
            d + SERVER_HELLO + 6 + server_key_exchange,
            e + 1 + key_len,
            f,
        ];
        assert_eq!(dtls_flights(Offer::Ephemeral(group), identity), expected);
        let [a, b, c, d] = tls_minimum(identity.len());
        let server_key_exchange = 5 + 4 + 2 + 4 + key_len;
        let expected = [
            a + CLIENT_HELLO + 16,
            b + SERVER_HELLO + 6 + server_key_exchange,
            c + 1 + key_len,
            d,
        ];
        assert_eq!(tls_flights(Offer::Ephemeral(group), identity), expected);
    }
}

/// A server's sessions, by ticket or by ID.
struct Sessions {
    keys: TicketKeys,
    table: SessionTable<[SessionSlot; 1]>,
}

impl Sessions {
    fn new(by_ticket: bool) -> Self {
        let keys = TicketKeys::draw(
            TicketKeys::DEFAULT_LIFETIME,
            &mut Env::new(Instant::ZERO, &mut ToyRng),
        );
        Self {
            keys: if by_ticket {
                keys
            } else {
                keys.without_tickets()
            },
            table: SessionTable::new([SessionSlot::default()]),
        }
    }
}

fn longer_buffers() -> Buffers<[u8; 1024]> {
    Buffers {
        incoming: [0; 1024],
        outgoing: [0; 1024],
    }
}

fn resuming_dtls(
    sessions: &mut Sessions,
    session: Option<ResumableSession>,
    identity: &[u8],
) -> (Vec<usize>, ResumableSession) {
    let mut rng = ToyRng;
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (of_client, of_server) = settings(Offer::Usual);
    let psk = Psk::new(PSK).unwrap();
    let shown = Credentials {
        psk_identity: identity,
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (identity, Psk::new(PSK).unwrap(), PeerId(2));
    let client = ClientHandshake::resuming(Toy, shown, of_client, session, longer_buffers(), env);
    let mut client = client.unwrap();
    let acceptor = Acceptor::new(Toy, of_server, env);
    let (mut a, mut b) = ([0; 1200], [0; 1200]);
    let mut flights = Vec::new();
    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    let answer = acceptor.handle_datagram(env, b"address", &mut a[..len], &mut b);
    let Acceptance::Answer(len) = answer else {
        unreachable!("no cookie");
    };
    flights.push(len);
    client.handle_datagram(env, &mut b[..len]).unwrap();
    let len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    flights.push(len);
    let accepted = acceptor.handle_datagram(env, b"address", &mut a[..len], &mut b);
    let Acceptance::Accept(hello) = accepted else {
        unreachable!("not accepted");
    };
    let found = sessions.table.find(hello.session_id(), env.now);
    let resumption = ServerResumption::new(sessions.keys.lease(env)).with_session_ids(found);
    let buffers = longer_buffers();
    let server = ServerHandshake::resuming(Toy, &store, of_server, resumption, hello, buffers, env);
    let mut server = server.unwrap();
    let len = server.poll_transmit(env, &mut b).unwrap().unwrap();
    flights.push(len);
    let mut rest = &mut b[..len];
    while !rest.is_empty() && !client.is_established() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    let is_resumed = client.is_established();
    let (mut a_len, mut client, mut done) = (0, Some(client), None);
    if is_resumed {
        let mut established = client.take().unwrap().into_session().unwrap();
        a_len = established
            .session
            .poll_transmit(env, &mut a)
            .unwrap()
            .unwrap();
        done = Some(established);
    } else if let Some(client) = &mut client {
        a_len = client.poll_transmit(env, &mut a).unwrap().unwrap();
    }
    flights.push(a_len);
    let mut rest = &mut a[..a_len];
    while !rest.is_empty() {
        rest = server.handle_datagram(env, rest).unwrap().rest;
    }
    let mut established = server.into_session().unwrap();
    if let Some(session) = established.cacheable {
        sessions.table.insert(session);
    }
    if !is_resumed {
        let ticket = established.ticket.as_ref();
        let len = established.session.poll_transmit_with(ticket, &mut b);
        let len = len.unwrap().unwrap();
        flights.push(len);
        let mut client = client.unwrap();
        let mut rest = &mut b[..len];
        while !rest.is_empty() {
            rest = client.handle_datagram(env, rest).unwrap().rest;
        }
        done = client.into_session();
    }
    (flights, done.unwrap().resumable.unwrap())
}

/// What resumption adds to a full handshake, and what an abbreviated one takes.
#[test]
fn resumed_handshake_has_the_bytes_of_the_formula() {
    for i in [1, 8, 128] {
        for by_ticket in [true, false] {
            let identity = [b'x'; 128];
            let identity = &identity[..i];
            let c = COOKIE_LEN;
            let (t, m) = if by_ticket { (110 + i, 8) } else { (0, 16) };
            let mut sessions = Sessions::new(by_ticket);
            let (full, session) = resuming_dtls(&mut sessions, None, identity);
            let [a, b, d, e, f, g] = dtls_minimum(c, i);
            let (in_hello, in_flight) = if by_ticket { (4, 31 + t) } else { (16, 0) };
            let expected = [
                a + CLIENT_HELLO + 4,
                b,
                d + CLIENT_HELLO + 4,
                e + SERVER_HELLO + in_hello,
                f,
                g + in_flight,
            ];
            assert_eq!(full, expected);
            let (resumed, _) = resuming_dtls(&mut sessions, Some(session), identity);
            let hello = 75 + 4 + m + t;
            let expected = [hello, 28 + c, hello + c, 63 + 11 + m + 14 + 53, 14 + 53];
            assert_eq!(resumed, expected);
            let total: usize = expected.iter().sum();
            assert_eq!(total, 394 + 2 * c + 3 * m + 2 * t);
        }
    }
}
