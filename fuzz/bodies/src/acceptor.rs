//! The stateless `Acceptor` of `hedgerow-handshake`.

use std::time::Duration;

use hedgerow_core::{Env, Instant, Reader, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{Acceptance, Acceptor, Settings, peek_client_random};
use hedgerow_record::{
    ClientHello, ContentType, DtlsRecord, HandshakeFragment, HandshakeType, HelloVerifyRequest,
    MAX_PLAINTEXT_LEN, Protocol, encode_handshake_header, encode_record,
};
use hedgerow_sim::TestRng;

const PEER: &[u8] = b"an address";
const ELSEWHERE: &[u8] = b"on address";
/// A cookie's life ends after its own minute and the next one.
const LATE: Duration = Duration::from_secs(120);

/// Gives an acceptor any datagram: what comes back is at most three times as long, and nothing is
/// accepted that doesn't carry the cookie which the acceptor itself makes for it.
pub fn acceptor(input: &[u8]) {
    let mut rng = TestRng::new(1);
    let mut env = Env::new(Instant::ZERO + Duration::from_secs(600), &mut rng);
    let acceptor = Acceptor::new(SoftCrypto, Settings::default(), &mut env);
    let mut out = [0; 64];
    let answer = acceptor.handle_datagram(&mut env, PEER, &mut input.to_vec(), &mut out);
    match answer {
        Acceptance::Answer(len) => {
            assert!(len <= input.len().saturating_mul(3));
            let cookie = cookie_of(out.get_mut(..len).unwrap_or_default(), input);
            let Some(proved) = with_cookie(input, &cookie) else {
                // With a cookie it is longer than a record.
                assert!(input.len() > MAX_PLAINTEXT_LEN - 64);
                return;
            };
            assert!(is_proved(&acceptor, &mut env, PEER, &proved));
            assert!(!is_proved(&acceptor, &mut env, ELSEWHERE, &proved));
            env.now = env.now + LATE;
            assert!(!is_proved(&acceptor, &mut env, PEER, &proved));
        }
        Acceptance::Accept(hello) => {
            assert_eq!(
                peek_client_random(input).as_ref(),
                Some(hello.client_random())
            );
            carries_own_cookie(&acceptor, &mut env, input);
        }
        Acceptance::Refuse { len, .. } => {
            assert!(len <= input.len().saturating_mul(3));
            carries_own_cookie(&acceptor, &mut env, input);
        }
        Acceptance::Drop(_) => {}
    }
}

/// Takes the cookie from a HelloVerifyRequest, which must bear the hello's numbers.
fn cookie_of(answer: &mut [u8], input: &[u8]) -> Vec<u8> {
    let (record, rest) = DtlsRecord::decode(answer).expect("our own record");
    assert!(rest.is_empty());
    let mut hello = input.to_vec();
    let (hello, _) = DtlsRecord::decode(&mut hello).expect("it was answered");
    assert_eq!(record.number, hello.number);
    let part = HandshakeFragment::decode(&mut Reader::new(record.fragment)).expect("our own");
    let hello = HandshakeFragment::decode(&mut Reader::new(hello.fragment)).expect("answered");
    assert_eq!(part.msg_type, HandshakeType::HelloVerifyRequest);
    assert_eq!(part.message_seq, hello.message_seq);
    let request = HelloVerifyRequest::decode_exact(part.whole().expect("whole")).expect("our own");
    request.cookie.to_vec()
}

/// Puts a cookie into the ClientHello that a datagram begins with, and leaves out what follows.
fn with_cookie(datagram: &[u8], cookie: &[u8]) -> Option<Vec<u8>> {
    let mut datagram = datagram.to_vec();
    let (record, _) = DtlsRecord::decode(&mut datagram).ok()?;
    let part = HandshakeFragment::decode(&mut Reader::new(record.fragment)).ok()?;
    let mut hello = ClientHello::decode_exact(Protocol::Dtls, part.whole()?).ok()?;
    hello.cookie = Some(cookie);
    let mut body = vec![0; record.fragment.len().checked_add(cookie.len())?];
    let mut body = Writer::new(&mut body);
    hello.encode(&mut body).ok()?;
    let mut message = vec![0; body.len().checked_add(12)?];
    let mut message = Writer::new(&mut message);
    let length = u32::try_from(body.len()).ok()?;
    encode_handshake_header(
        part.msg_type,
        length,
        part.message_seq,
        0,
        length,
        &mut message,
    )
    .ok()?;
    message.bytes(body.written()).ok()?;
    let mut out = vec![0; message.len().checked_add(13)?];
    let mut writer = Writer::new(&mut out);
    let (version, number) = (record.version, record.number);
    let kind = ContentType::Handshake;
    encode_record(kind, version, number, message.written(), &mut writer).ok()?;
    Some(out)
}

fn is_proved(
    acceptor: &Acceptor<SoftCrypto>,
    env: &mut Env<'_>,
    peer: &[u8],
    datagram: &[u8],
) -> bool {
    let mut out = [0; 64];
    match acceptor.handle_datagram(env, peer, &mut datagram.to_vec(), &mut out) {
        Acceptance::Accept(_) | Acceptance::Refuse { .. } => true,
        // A hello with a cookie is never too short to be answered.
        Acceptance::Answer(_) => false,
        Acceptance::Drop(reason) => unreachable!("{reason:?}"),
    }
}

/// The same hello without its cookie gets the very cookie that it carried.
fn carries_own_cookie(acceptor: &Acceptor<SoftCrypto>, env: &mut Env<'_>, input: &[u8]) {
    let bare = with_cookie(input, &[]).expect("it was a hello");
    let mut carried = input.to_vec();
    let (carried, _) = DtlsRecord::decode(&mut carried).expect("a record");
    let part = HandshakeFragment::decode(&mut Reader::new(carried.fragment)).expect("a message");
    let hello = ClientHello::decode_exact(Protocol::Dtls, part.fragment).expect("a hello");
    let mut out = [0; 64];
    let periods = [Duration::ZERO, Duration::from_secs(60)];
    let now = env.now;
    let made = periods.into_iter().any(|back| {
        let then = Instant::from_micros(now.as_micros()).saturating_since(Instant::ZERO) - back;
        env.now = Instant::ZERO + then;
        let answer = acceptor.handle_datagram(env, PEER, &mut bare.clone(), &mut out);
        let Acceptance::Answer(len) = answer else {
            return false;
        };
        cookie_of(out.get_mut(..len).unwrap_or_default(), &bare) == hello.cookie.unwrap_or_default()
    });
    env.now = now;
    assert!(made, "accepted with a cookie that wasn't made here");
}
