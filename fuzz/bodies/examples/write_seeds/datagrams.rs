//! Seeds of the decoders of DTLS: the datagrams of a real handshake, and the records that a second
//! reader computed for `hedgerow-handshake`.

use std::time::Duration;

use hedgerow_core::{Credentials, Env, Instant, PeerId, Psk, Reader};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Settings,
};
use hedgerow_record::{CipherSuite, DtlsRecord, HandshakeFragment};
use hedgerow_sim::TestRng;

use crate::Seeds;

pub(crate) fn acceptor() -> Seeds {
    let mut seeds: Seeds = hellos_of(&Settings::default())
        .into_iter()
        .map(|(name, datagram)| (name.to_owned(), datagram))
        .collect();
    // An offer that the acceptor refuses, since it wants another suite: none is known to it.
    let (_, mut refused) = hellos_of(&Settings::default()).remove(1);
    *refused.last_mut().unwrap() ^= 1;
    seeds.push(("cookie_for_another_offer".into(), refused));
    seeds
}

pub(crate) fn dtls_record() -> Seeds {
    let mut seeds: Seeds = flights()
        .into_iter()
        .map(|(name, datagram)| (name.to_owned(), datagram))
        .collect();
    for line in include_str!("../../../../crates/handshake/tests/vectors/dtls12_psk.hex").lines() {
        let Some((name, hex)) = line.split_once(" = ") else {
            continue;
        };
        if name.ends_with("_record") && !seeds.iter().any(|(seed, _)| seed == name) {
            seeds.push((name.to_owned(), bytes(hex)));
        }
    }
    seeds
}

/// The second reader's records, each behind the length of its connection ID.
pub(crate) fn cid_record() -> Seeds {
    let mut seeds = Seeds::new();
    let (mut case, mut id_len) = ("", 0);
    for line in include_str!("../../../../crates/record/tests/vectors/cid_record.hex").lines() {
        if let Some(name) = line.strip_prefix("case ") {
            case = name;
        } else if let Some(hex) = line.strip_prefix("cid = ") {
            id_len = u8::try_from(hex.len() / 2).unwrap();
        } else if let (Some(hex), true) = (line.strip_prefix("record = "), case.contains("CCM_8")) {
            let input = [&[id_len][..], &bytes(hex)].concat();
            seeds.push((case.to_ascii_lowercase(), input));
        }
    }
    seeds
}

pub(crate) fn handshake_fragment() -> Seeds {
    let mut seeds: Seeds = flights()
        .into_iter()
        .map(|(name, mut datagram)| {
            let (record, _) = DtlsRecord::decode(&mut datagram).unwrap();
            (format!("{name}_message"), record.fragment.to_vec())
        })
        .collect();
    let scripts: [(&str, &[u8]); 5] = [
        ("two_halves", &[0, 0, 20, 0, 0, 20, 29, 0]),
        ("behind_first", &[1, 0, 0, 0, 0, 20, 29, 0, 0, 0, 20, 0]),
        ("overlapping", &[0, 10, 30, 0, 0, 0, 15, 0, 0, 35, 14, 0]),
        (
            "contradicting",
            &[0x40, 0, 20, 7, 0, 0, 49, 0, 0x41, 0, 0, 1],
        ),
        (
            "elsewhere",
            &[0x80, 0, 9, 0, 0xc0, 0, 49, 2, 0x81, 0, 0, 200],
        ),
    ];
    seeds.extend(scripts.map(|(name, script)| (name.to_owned(), script.to_vec())));
    seeds
}

pub(crate) fn hellos() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, mut datagram) in flights().into_iter().take(4) {
        let (record, _) = DtlsRecord::decode(&mut datagram).unwrap();
        let part = HandshakeFragment::decode(&mut Reader::new(record.fragment)).unwrap();
        seeds.push((name.to_owned(), part.whole().unwrap().to_vec()));
    }
    let mut bare = seeds[0].1.clone();
    bare.truncate(bare.len() - 6);
    seeds.push(("no_extensions".into(), bare));
    seeds
}

/// A client's two hellos to the acceptor of the target's body: same key, same time, same address.
fn hellos_of(settings: &Settings) -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = TestRng::new(1);
    let env = &mut Env::new(Instant::ZERO + Duration::from_secs(600), &mut rng);
    let acceptor = Acceptor::new(SoftCrypto, Settings::default(), env);
    let psk = psk();
    let mut client = client(&psk, settings, env);
    let mut out = [0; 1_200];
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    let first = out[..len].to_vec();
    let mut answer = [0; 64];
    let len = match acceptor.handle_datagram(env, b"an address", &mut out[..len], &mut answer) {
        Acceptance::Answer(len) => len,
        _ => 0,
    };
    client.handle_datagram(env, &mut answer[..len]).unwrap();
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    vec![
        ("first_hello", first),
        ("hello_with_cookie", out[..len].to_vec()),
    ]
}

/// Every datagram of one handshake, in order, and application data.
fn flights() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = TestRng::new(9);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let settings = Settings::new(&[CipherSuite::TLS_PSK_WITH_AES_128_CCM_8]);
    let acceptor = Acceptor::new(SoftCrypto, settings, env);
    let psk = psk();
    let mut client = client(&psk, &settings, env);
    let store = (b"lamp".as_slice(), self::psk(), PeerId(1));
    let mut sent = Vec::new();
    let mut out = [0; 1_200];

    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    sent.push(("client_hello", out[..len].to_vec()));
    let mut answer = [0; 64];
    let len = match acceptor.handle_datagram(env, b"", &mut out[..len], &mut answer) {
        Acceptance::Answer(len) => len,
        _ => 0,
    };
    sent.push(("hello_verify_request", answer[..len].to_vec()));
    client.handle_datagram(env, &mut answer[..len]).unwrap();
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    sent.push(("client_hello_with_cookie", out[..len].to_vec()));
    let answer = acceptor.handle_datagram(env, b"", &mut out[..len], &mut answer);
    let Acceptance::Accept(hello) = answer else {
        return sent;
    };
    let mut server =
        ServerHandshake::new(SoftCrypto, &store, settings, hello, buffers(), env).unwrap();
    let len = server.poll_transmit(env, &mut out).unwrap().unwrap();
    sent.push(("server_hello", out[..len].to_vec()));
    let mut rest = &mut out[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    let len = client.poll_transmit(env, &mut out).unwrap().unwrap();
    sent.push(("client_key_exchange", out[..len].to_vec()));
    sent
}

fn client<'a>(
    psk: &'a Psk,
    settings: &Settings,
    env: &mut Env<'_>,
) -> ClientHandshake<SoftCrypto, Credentials<'a>, [u8; 512]> {
    let credentials = Credentials {
        psk_identity: b"lamp",
        psk,
        peer: PeerId(1),
    };
    ClientHandshake::new(SoftCrypto, credentials, *settings, buffers(), env).unwrap()
}

fn psk() -> Psk {
    Psk::new(b"a key of 16 byte").unwrap()
}

fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
