//! Handshake messages in parts: their header in `hedgerow-record`, their reassembly in
//! `hedgerow-handshake`.

use std::sync::OnceLock;

use hedgerow_core::{Credentials, Env, Instant, PeerId, Psk, Reader, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Settings,
};
use hedgerow_record::{
    ContentType, DTLS_1_2, DtlsRecord, EpochNumber, HandshakeFragment, HandshakeType, RecordNumber,
    encode_handshake_header, encode_record,
};
use hedgerow_sim::TestRng;

type Client<'a> = ClientHandshake<SoftCrypto, Credentials<'a>, [u8; 512]>;

/// Takes the input for a record of handshake messages, which must encode again, and for a script
/// that cuts a server's flight into parts.
///
/// However the flight was cut, shuffled and mixed with parts that don't belong to it, once its
/// whole messages arrive the client answers as one that saw nothing else.
pub fn handshake_fragment(input: &[u8]) {
    encodes_again(input);
    let known = known();
    let psk = psk();
    let mut rng = TestRng::new(CLIENT_SEED);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let mut client = client(&psk, env);
    transmit(&mut client, env).expect("a first hello");
    handle(&mut client, env, &mut known.verify.clone());
    transmit(&mut client, env).expect("a hello with a cookie");
    let mut sent = Vec::new();
    let mut script = Reader::new(input);
    while let Ok(&[kind, a, b, c]) = script.array::<4>() {
        let mut record = known.part([kind, a, b, c]);
        handle(&mut client, env, &mut record);
        sent.extend(transmit(&mut client, env));
    }
    for message in &known.flight {
        handle(&mut client, env, &mut plain(message));
        sent.extend(transmit(&mut client, env));
    }
    assert_eq!(sent, [known.answer.as_slice()]);
}

/// What doesn't depend on the input.
struct Known {
    verify: Vec<u8>,
    /// ServerHello and ServerHelloDone with their headers.
    flight: Vec<Vec<u8>>,
    /// The client's answer to the flight.
    answer: Vec<u8>,
}

impl Known {
    /// Makes a part of a message of the flight, one that contradicts its length, or one that has
    /// its place before or far behind the flight.
    fn part(&self, [kind, a, b, c]: [u8; 4]) -> Vec<u8> {
        let message = self
            .flight
            .get(usize::from(kind & 1))
            .expect("two messages");
        let (header, body) = message.split_at(HEADER_LEN);
        let whole = HandshakeFragment::decode(&mut Reader::new(message)).expect("our own");
        let offset = usize::from(a) % body.len().saturating_add(1);
        let rest = body.get(offset..).unwrap_or_default();
        let len = usize::from(b) % rest.len().saturating_add(1);
        let part = rest.get(..len).unwrap_or_default();
        let (mut length, mut message_seq) = (whole.length, whole.message_seq);
        let mut msg_type = whole.msg_type;
        match kind >> 6 {
            // A longer message, which the parts of this one never make whole.
            1 => length = length.saturating_add(1).saturating_add(u32::from(c)),
            // Behind everything that is held; the numbers up to 6 are the flight's and the next.
            2 => message_seq = u16::from(c).saturating_add(7),
            // The HelloVerifyRequest's number, which had its turn.
            3 => (message_seq, msg_type) = (0, HandshakeType::from(c)),
            _ => {}
        }
        let mut out = vec![0; header.len().saturating_add(part.len())];
        let mut writer = Writer::new(&mut out);
        let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let (offset, len) = (number(offset), number(part.len()));
        encode_handshake_header(msg_type, length, message_seq, offset, len, &mut writer)
            .and_then(|()| writer.bytes(part))
            .expect("there is room");
        plain(&out)
    }
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let psk = psk();
        let store = (IDENTITY, self::psk(), PeerId(2));
        let mut rng = TestRng::new(CLIENT_SEED);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let mut client = client(&psk, env);
        let mut server_rng = TestRng::new(6);
        let server_env = &mut Env::new(Instant::ZERO, &mut server_rng);
        let acceptor = Acceptor::new(SoftCrypto, Settings::default(), server_env);

        let mut out = [0; 1200];
        let mut hello = transmit(&mut client, env).expect("a first hello");
        let answer = acceptor.handle_datagram(server_env, b"", &mut hello, &mut out);
        let Acceptance::Answer(len) = answer else {
            unreachable!("a first hello gets a cookie");
        };
        let verify = out.get(..len).unwrap_or_default().to_vec();
        handle(&mut client, env, &mut verify.clone());
        let mut hello = transmit(&mut client, env).expect("a hello with a cookie");
        let answer = acceptor.handle_datagram(server_env, b"", &mut hello, &mut out);
        let Acceptance::Accept(hello) = answer else {
            unreachable!("a second hello is accepted");
        };
        let settings = Settings::default();
        let mut server =
            ServerHandshake::new(SoftCrypto, &store, settings, hello, buffers(), server_env)
                .expect("there are buffers");
        let len = server
            .poll_transmit(server_env, &mut out)
            .ok()
            .flatten()
            .expect("a flight");
        let mut flight = Vec::new();
        let mut rest = out.get_mut(..len).unwrap_or_default();
        while let Ok((record, behind)) = DtlsRecord::decode(rest) {
            flight.push(record.fragment.to_vec());
            rest = behind;
        }
        for message in &flight {
            handle(&mut client, env, &mut plain(message));
        }
        Known {
            verify,
            flight,
            answer: transmit(&mut client, env).expect("an answer"),
        }
    })
}

fn encodes_again(input: &[u8]) {
    let mut reader = Reader::new(input);
    let mut out = vec![0; input.len()];
    let mut writer = Writer::new(&mut out);
    while let Ok(part) = HandshakeFragment::decode(&mut reader) {
        let len = u32::try_from(part.fragment.len()).unwrap_or(u32::MAX);
        let (seq, offset) = (part.message_seq, part.fragment_offset);
        encode_handshake_header(part.msg_type, part.length, seq, offset, len, &mut writer)
            .and_then(|()| writer.bytes(part.fragment))
            .expect("it fits where it came from");
        assert_eq!(part.whole().is_some(), len == part.length);
    }
    assert_eq!(input.strip_suffix(reader.rest()), Some(writer.written()));
}

fn client<'a>(psk: &'a Psk, env: &mut Env<'_>) -> Client<'a> {
    let credentials = Credentials {
        psk_identity: IDENTITY,
        psk,
        peer: PeerId(1),
    };
    ClientHandshake::new(SoftCrypto, credentials, Settings::default(), buffers(), env)
        .expect("there are buffers")
}

fn transmit(client: &mut Client<'_>, env: &mut Env<'_>) -> Option<Vec<u8>> {
    let mut out = [0; 1200];
    let len = client
        .poll_transmit(env, &mut out)
        .expect("there is room")?;
    Some(out.get(..len).unwrap_or_default().to_vec())
}

fn handle(client: &mut Client<'_>, env: &mut Env<'_>, datagram: &mut [u8]) {
    let received = client.handle_datagram(env, datagram);
    assert!(received.expect("nothing here is fatal").rest.is_empty());
}

/// Puts a message or a part of one into a record of its own. No machine looks at the numbers of
/// records in clear.
fn plain(fragment: &[u8]) -> Vec<u8> {
    let mut out = vec![0; fragment.len().saturating_add(13)];
    let number = RecordNumber::new(EpochNumber(0), 1).expect("a small number");
    let kind = ContentType::Handshake;
    encode_record(kind, DTLS_1_2, number, fragment, &mut Writer::new(&mut out))
        .expect("there is room");
    out
}

fn psk() -> Psk {
    Psk::new(b"a key of 16 byte").expect("16 bytes")
}

const fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}

const IDENTITY: &[u8] = b"thermometer";
const CLIENT_SEED: u64 = 5;
const HEADER_LEN: usize = hedgerow_record::HANDSHAKE_HEADER_LEN;
