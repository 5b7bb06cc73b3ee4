//! `record_size_limit` and `max_fragment_length` from the hellos to the records, in both protocols and
//! at both ends (RFC 8449, RFC 6066 §4).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/certificates.rs"]
mod certificates;

use hedgerow_core::{ChannelError, Limit};
use hedgerow_handshake::Settings;
use hedgerow_record::{ConnectionId, MaxFragmentLength, Protocol, RecordSizeLimit};

use certificates::{
    Double, End, Message, PROTOCOLS, alert_sent, chain, key, put_together, settle, take_apart,
};

const DECODE_ERROR: u8 = 50;
const ILLEGAL_PARAMETER: u8 = 47;
const RECORD_OVERFLOW: u8 = 22;
const UNSUPPORTED_EXTENSION: u8 = 110;

const SERVER_HELLO: u8 = 2;

/// A chain that no small record holds.
fn credentials(own: u8, peer: u8, id: u32) -> Double {
    let mut double = Double::x509(key(own), &key(peer), id);
    double.chains[0].2 = chain(&[&[0xcc; 900], &[0xdd; 700]]);
    double
}

fn ends(protocol: Protocol, of_client: Settings, of_server: Settings) -> (End, End) {
    (
        End::client(protocol, credentials(1, 2, 2).share(), of_client),
        End::server(protocol, credentials(2, 1, 1).share(), of_server),
    )
}

fn limit(len: u16) -> Option<RecordSizeLimit> {
    Some(RecordSizeLimit::new(len).unwrap())
}

/// The lengths of all records' fragments in what was sent, and whether each is protected.
fn fragments(protocol: Protocol, sent: &[Vec<u8>]) -> Vec<(usize, bool)> {
    let header = if protocol == Protocol::Dtls { 13 } else { 5 };
    let mut found = Vec::new();
    let mut is_protected = false;
    for mut bytes in sent.iter().map(Vec::as_slice) {
        while !bytes.is_empty() {
            let len = usize::from(u16::from_be_bytes([bytes[header - 2], bytes[header - 1]]));
            found.push((len, is_protected));
            is_protected |= bytes[0] == 20;
            bytes = &bytes[header + len..];
        }
    }
    found
}

/// Runs a handshake and returns what each end has sent.
fn run(client: &mut End, server: &mut End) -> [Vec<Vec<u8>>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    loop {
        let to_server = client.transmit();
        to_server.iter().for_each(|bytes| server.receive(bytes));
        let to_client = server.transmit();
        to_client.iter().for_each(|bytes| client.receive(bytes));
        if to_server.is_empty() && to_client.is_empty() {
            return sent;
        }
        sent[0].extend(to_server);
        sent[1].extend(to_client);
    }
}

/// What is as long as allowed arrives, what is longer isn't sealed.
fn check_sealing(from: &mut End, to: &mut End, max: usize) {
    assert_eq!(from.max_plaintext_len(), max);
    let long = vec![b'x'; max + 1];
    assert_eq!(
        from.try_seal(&long),
        Err(ChannelError::Limit(Limit::PlaintextTooLong {
            len: max + 1,
            max
        }))
    );
    let record = from.seal(&long[..max]);
    to.receive(&record);
    assert_eq!(to.failure, None);
    assert_eq!(to.plaintexts.last().unwrap().len(), max);
}

/// Says whether a message has an extension with these bytes, as RFC 8449 §4 and RFC 6066 §4 give them.
fn has(protocol: Protocol, sent: &[Vec<u8>], wanted: &[u8]) -> bool {
    take_apart(protocol, sent)
        .iter()
        .any(|(_, body)| body.windows(wanted.len()).any(|window| window == wanted))
}

/// MUST (RFC 8449 §4): no protected record is longer than its receiver has named.
#[test]
fn each_direction_keeps_to_the_record_size_limit_of_its_receiver() {
    for protocol in PROTOCOLS {
        for of_client in [64, 100, 512, 1_000, 16_384] {
            for of_server in [None, limit(64), limit(511), limit(4_096)] {
                let settings = Settings::default();
                let (mut client, mut server) = ends(
                    protocol,
                    settings.with_record_size_limit(limit(of_client)),
                    settings.with_record_size_limit(of_server),
                );
                let [of_clients, of_servers] = run(&mut client, &mut server);
                let name = format!("{protocol:?} {of_client} {of_server:?}");
                assert!(client.peer.is_some() && server.peer.is_some(), "{name}");
                let [high, low] = of_client.to_be_bytes();
                assert!(
                    has(protocol, &of_clients, &[0, 0x1c, 0, 2, high, low]),
                    "{name}"
                );
                let named = of_server.unwrap_or(RecordSizeLimit::MAX).as_u16();
                let [high, low] = named.to_be_bytes();
                assert!(
                    has(protocol, &of_servers, &[0, 0x1c, 0, 2, high, low]),
                    "{name}"
                );
                // Those in clear keep to it too, from the ServerHello on.
                let clear = fragments(protocol, &of_servers);
                let is_short = |&&(len, is_protected): &&(usize, bool)| {
                    is_protected || len <= usize::from(of_client)
                };
                assert!(clear.iter().all(|fragment| is_short(&fragment)), "{name}");
                check_sealing(&mut client, &mut server, usize::from(named));
                check_sealing(&mut server, &mut client, usize::from(of_client));
            }
        }
    }
}

/// MUST (RFC 6066 §4): handshake messages are fragmented too, in both directions.
#[test]
fn agreed_fragment_length_holds_for_everything_that_is_sent() {
    for protocol in PROTOCOLS {
        for length in MaxFragmentLength::ALL {
            let settings = Settings::default();
            let (mut client, mut server) = ends(
                protocol,
                settings.with_max_fragment_length(Some(length)),
                settings,
            );
            let [of_clients, of_servers] = run(&mut client, &mut server);
            assert!(client.peer.is_some() && server.peer.is_some());
            let max = usize::from(length.as_u16());
            let code = u8::try_from((max / 512).ilog2()).unwrap() + 1;
            for sent in [&of_clients, &of_servers] {
                assert!(
                    has(protocol, sent, &[0, 1, 0, 1, code]),
                    "{protocol:?} {length:?}"
                );
                let longest = fragments(protocol, sent).into_iter().map(|(len, _)| len);
                assert!(longest.max().unwrap() <= max + 24);
            }
            check_sealing(&mut client, &mut server, max);
            check_sealing(&mut server, &mut client, max);
        }
    }
}

/// MUST (RFC 8449 §5): the newer extension wins, and the older one isn't answered.
#[test]
fn record_size_limit_wins_over_max_fragment_length() {
    for protocol in PROTOCOLS {
        let settings = Settings::default();
        let (mut client, mut server) = ends(
            protocol,
            settings
                .with_record_size_limit(limit(700))
                .with_max_fragment_length(Some(MaxFragmentLength::Len512)),
            settings.with_record_size_limit(limit(300)),
        );
        let [_, of_servers] = run(&mut client, &mut server);
        assert!(has(protocol, &of_servers, &[0, 0x1c, 0, 2, 0x01, 0x2c]));
        assert!(!has(protocol, &of_servers, &[0, 1, 0, 1, 1]));
        check_sealing(&mut client, &mut server, 300);
        check_sealing(&mut server, &mut client, 700);
    }
}

/// A server says nothing of itself: its limit is an answer.
#[test]
fn client_that_offers_nothing_is_answered_with_nothing() {
    for protocol in PROTOCOLS {
        let settings = Settings::default();
        let of_server = settings
            .with_record_size_limit(limit(64))
            .with_max_fragment_length(Some(MaxFragmentLength::Len512));
        let (mut client, mut server) = ends(protocol, settings, of_server);
        let [_, of_servers] = run(&mut client, &mut server);
        assert!(!has(protocol, &of_servers, &[0, 0x1c, 0, 2]));
        check_sealing(&mut client, &mut server, 1 << 14);
        check_sealing(&mut server, &mut client, 1 << 14);
    }
}

/// RFC 9146 §4 encrypts the content's type, which counts as plaintext.
#[test]
fn connection_id_takes_a_byte_of_the_limit() {
    let cid = ConnectionId::new(b"cid").unwrap();
    let settings = Settings::default()
        .with_connection_id(Some(cid))
        .with_record_size_limit(limit(128));
    let double = || (credentials(1, 2, 2).share(), credentials(2, 1, 1).share());
    let (of_client, of_server) = double();
    let mut client = End::client(Protocol::Dtls, of_client, settings);
    let mut server = End::server(Protocol::Dtls, of_server, settings);
    settle(&mut client, &mut server);
    assert_eq!(client.max_plaintext_len(), 127);
    assert_eq!(server.max_plaintext_len(), 127);
    let long = vec![0; 128];
    assert!(client.try_seal(&long).is_err());
    assert!(client.try_seal(&long[..127]).is_ok());
}

/// Replaces `from` by `to`, of the same length, wherever it stands; it has to stand somewhere.
fn replace(sent: &mut [Vec<u8>], from: &[u8], to: &[u8]) {
    let mut is_found = false;
    for bytes in sent {
        for at in 0..bytes.len().saturating_sub(from.len() - 1) {
            if bytes[at..at + from.len()] == *from {
                bytes[at..at + from.len()].copy_from_slice(to);
                is_found = true;
            }
        }
    }
    assert!(is_found);
}

/// What a server makes of a ClientHello in which somebody has put `to` in the place of `from`.
fn server_refusal(protocol: Protocol, of_client: Settings, from: &[u8], to: &[u8]) -> Option<u8> {
    let (mut client, mut server) = ends(protocol, of_client, Settings::default());
    // In DTLS the first hello gets a cookie, which goes for the hello as it came.
    for _ in 0..2 {
        let mut hello = client.transmit();
        if hello.is_empty() {
            break;
        }
        replace(&mut hello, from, to);
        hello.iter().for_each(|bytes| server.receive(bytes));
        if server.failure.is_none() && protocol == Protocol::Dtls {
            server.send_to(&mut client);
        }
    }
    alert_sent(&server)
}

/// MUST (RFC 8449 §4): below 64 is an illegal_parameter, and a server doesn't mind what is above
/// 2^14. MUST (RFC 6066 §4): so is a length other than the four.
#[test]
fn server_refuses_what_is_no_limit() {
    for protocol in PROTOCOLS {
        let offer = Settings::default().with_record_size_limit(limit(0x1234));
        let asked = [0, 0x1c, 0, 2, 0x12, 0x34];
        for wrong in [0_u16, 1, 63] {
            let [high, low] = wrong.to_be_bytes();
            let refusal = server_refusal(protocol, offer, &asked, &[0, 0x1c, 0, 2, high, low]);
            assert_eq!(refusal, Some(ILLEGAL_PARAMETER), "{protocol:?} {wrong}");
        }
        for right in [64_u16, 16_384, 16_385, 65_535] {
            let [high, low] = right.to_be_bytes();
            let refusal = server_refusal(protocol, offer, &asked, &[0, 0x1c, 0, 2, high, low]);
            assert_eq!(refusal, None, "{protocol:?} {right}");
        }
        let offer = Settings::default().with_max_fragment_length(Some(MaxFragmentLength::Len512));
        for wrong in [0, 5, 255] {
            let refusal = server_refusal(protocol, offer, &[0, 1, 0, 1, 1], &[0, 1, 0, 1, wrong]);
            assert_eq!(refusal, Some(ILLEGAL_PARAMETER), "{protocol:?} {wrong}");
        }
        // A record size limit of three bytes; the extension behind it is a length of nothing at all.
        let offer = offer.with_record_size_limit(limit(0x1234));
        let both = [0, 1, 0, 1, 1, 0, 0x1c, 0, 2, 0x12, 0x34];
        let wrong = [0, 0x1c, 0, 3, 1, 0, 0, 0, 1, 0, 0];
        let refusal = server_refusal(protocol, offer, &both, &wrong);
        assert_eq!(refusal, Some(DECODE_ERROR), "{protocol:?}");
    }
}

/// What a client makes of a ServerHello with `extra` behind its other extensions.
fn client_refusal(protocol: Protocol, of_client: Settings, extra: &[u8]) -> Option<u8> {
    let (mut client, mut server) = ends(protocol, of_client, Settings::default());
    let mut flight: Vec<Message> = Vec::new();
    while !flight.iter().any(|(kind, _)| *kind == SERVER_HELLO) {
        let to_server = client.transmit();
        to_server.iter().for_each(|bytes| server.receive(bytes));
        let to_client = server.transmit();
        flight = take_apart(protocol, &to_client);
        if flight.iter().any(|(kind, _)| *kind == SERVER_HELLO) {
            break;
        }
        to_client.iter().for_each(|bytes| client.receive(bytes));
    }
    let hello = &mut flight[0].1;
    // version(2) random(32) session_id(1) suite(2) compression(1) extensions
    let mut block = hello.split_off(40);
    hello.truncate(38);
    let answer = [0, 0x1c, 0, 2];
    if let Some(at) = block.windows(4).position(|window| window == answer) {
        block.drain(at..at + 6);
    }
    if let Some(at) = block.windows(4).position(|window| window == [0, 1, 0, 1]) {
        block.drain(at..at + 5);
    }
    block.extend(extra);
    hello.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
    hello.extend(block);
    let first_seq = u8::from(protocol == Protocol::Dtls);
    for record in put_together(protocol, &flight[..1], first_seq) {
        client.receive(&record);
    }
    alert_sent(&client)
}

/// MUST (RFC 8449 §5): both in one ServerHello are an error. MUST (RFC 6066 §4): so is a length that
/// wasn't asked for.
#[test]
fn client_refuses_what_no_server_may_answer() {
    let plain = Settings::default();
    let limited = plain.with_record_size_limit(limit(256));
    let fragments = plain.with_max_fragment_length(Some(MaxFragmentLength::Len1024));
    let both = limited.with_max_fragment_length(Some(MaxFragmentLength::Len1024));
    let size = [0, 0x1c, 0, 2, 0x01, 0x00];
    let length = [0, 1, 0, 1, 2];
    let cases: [(Settings, Vec<u8>, Option<u8>); 13] = [
        (limited, size.to_vec(), None),
        (limited, vec![], None),
        (limited, vec![0, 0x1c, 0, 2, 0xff, 0xff], None),
        (limited, vec![0, 0x1c, 0, 2, 0, 63], Some(ILLEGAL_PARAMETER)),
        (limited, vec![0, 0x1c, 0, 1, 64], Some(DECODE_ERROR)),
        (limited, length.to_vec(), Some(UNSUPPORTED_EXTENSION)),
        (plain, size.to_vec(), Some(UNSUPPORTED_EXTENSION)),
        (plain, length.to_vec(), Some(UNSUPPORTED_EXTENSION)),
        (fragments, length.to_vec(), None),
        (fragments, vec![0, 1, 0, 1, 1], Some(ILLEGAL_PARAMETER)),
        (fragments, vec![0, 1, 0, 1, 5], Some(ILLEGAL_PARAMETER)),
        (both, [&size[..], &length].concat(), Some(ILLEGAL_PARAMETER)),
        (both, length.to_vec(), None),
    ];
    for protocol in PROTOCOLS {
        for (settings, extra, expected) in &cases {
            let refusal = client_refusal(protocol, *settings, extra);
            assert_eq!(refusal, *expected, "{protocol:?} {extra:?}");
        }
    }
}

/// RFC 8449 §4: a record above the limit ends a TLS connection, and is dropped in DTLS, where the
/// session goes on. Its length says so before anything is decrypted, whoever has sealed it.
#[test]
fn record_above_the_limit_overflows_a_stream_and_is_dropped_as_a_datagram() {
    for protocol in PROTOCOLS {
        let settings = Settings::default();
        let established = |of_client| {
            let of_client = settings.with_record_size_limit(limit(of_client));
            let (mut client, mut server) = ends(protocol, of_client, settings);
            settle(&mut client, &mut server);
            (client, server)
        };
        let (mut client, mut server) = established(200);
        let (_, mut generous) = established(16_384);
        client.receive(&generous.seal(&[7; 201]));
        match protocol {
            Protocol::Tls => assert_eq!(alert_sent(&client), Some(RECORD_OVERFLOW)),
            Protocol::Dtls => {
                client.receive(&server.seal(b"still here"));
                assert_eq!(client.plaintexts, [b"still here"]);
            }
        }
    }
}

/// Behind a ServerHello that agrees on a length, no record in clear is longer either.
#[test]
fn record_in_clear_above_the_agreed_length_is_refused() {
    for protocol in PROTOCOLS {
        let settings =
            Settings::default().with_max_fragment_length(Some(MaxFragmentLength::Len512));
        let (mut client, mut server) = ends(protocol, settings, Settings::default());
        let mut flight: Vec<Message> = Vec::new();
        while flight.is_empty() || flight[0].0 != SERVER_HELLO {
            let to_server = client.transmit();
            to_server.iter().for_each(|bytes| server.receive(bytes));
            let to_client = server.transmit();
            flight = take_apart(protocol, &to_client);
            if flight[0].0 != SERVER_HELLO {
                to_client.iter().for_each(|bytes| client.receive(bytes));
            }
        }
        let first_seq = u8::from(protocol == Protocol::Dtls);
        let records = put_together(protocol, &flight, first_seq);
        assert!(records[1].len() > 1_600, "the certificates in one record");
        client.receive(&records[0]);
        client.receive(&records[1]);
        let expected = (protocol == Protocol::Tls).then_some(RECORD_OVERFLOW);
        assert_eq!(alert_sent(&client), expected);
        assert!(client.transmit().is_empty() || protocol == Protocol::Tls);
    }
}
