//! `hedgerow-handshake`: both ends of one handshake, from the cookie to application data.

use hedgerow_core::{
    CertificatesOnly, ChannelError, ClientCredentials, Credentials, Env, Event, Instant,
    P256_PUBLIC_KEY_LEN, PeerId, Psk, RawPublicKeys, Received, SecureChannel, ServerCredentials,
    SignatureScheme, Signatures, SigningKey,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Acceptance, Acceptor, Buffers, ClientHandshake, ServerHandshake, Session, Settings,
};
use hedgerow_record::{ConnectionId, encode_p256_spki};

use crate::counting_rng::CountingRng;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    with_psk(bytes)
        .unwrap_or_default()
        .wrapping_add(with_raw_public_keys(bytes).unwrap_or_default())
}

fn with_psk(bytes: &mut [u8]) -> Option<usize> {
    let psk = Psk::new(bytes).ok()?;
    let credentials = Credentials {
        psk_identity: b"lamp",
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (b"lamp".as_slice(), Psk::new(bytes).ok()?, PeerId(2));
    run(bytes, credentials, &store)
}

fn with_raw_public_keys(bytes: &mut [u8]) -> Option<usize> {
    let key = |private| {
        let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
        let key = SoftCrypto.signing_key(scheme, &[private; 32]).ok()?;
        let mut public_key = [0; P256_PUBLIC_KEY_LEN];
        key.write_public_key(&mut public_key).ok()?;
        Some((key, encode_p256_spki(&public_key)))
    };
    let (client_key, client_spki) = key(1)?;
    let (server_key, server_spki) = key(2)?;
    let client = RawPublicKeys::client(client_key, &server_spki, PeerId(1));
    let clients = [(client_spki.as_slice(), PeerId(2))];
    let server = RawPublicKeys::server(server_key, &clients);
    run(bytes, CertificatesOnly(client), CertificatesOnly(&server))
}

fn run(
    bytes: &mut [u8],
    credentials: impl ClientCredentials,
    store: impl ServerCredentials,
) -> Option<usize> {
    let mut rng = CountingRng(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let (mut up, mut down) = ([0; 1200], [0; 1200]);
    let id = ConnectionId::new(bytes.get(..8)?).ok()?;
    let settings = Settings::default().with_connection_id(Some(id));
    let acceptor = Acceptor::new(SoftCrypto, settings, env);
    let mut client =
        ClientHandshake::new(SoftCrypto, credentials, settings, buffers(), env).ok()?;

    let hello = loop {
        let len = client.poll_transmit(env, &mut up).ok()??;
        let hello = up.get_mut(..len)?;
        match acceptor.handle_datagram_with(&store, env, b"address", hello, &mut down) {
            Acceptance::Accept(hello) => break hello,
            Acceptance::Answer(len) => {
                client.handle_datagram(env, down.get_mut(..len)?).ok()?;
            }
            _ => return None,
        }
    };
    let mut server =
        ServerHandshake::new(SoftCrypto, store, settings, hello, buffers(), env).ok()?;
    let len = server.poll_transmit(env, &mut down).ok()??;
    feed(down.get_mut(..len)?, |rest| {
        client.handle_datagram(env, rest)
    })?;
    let len = client.poll_transmit(env, &mut up).ok()??;
    feed(up.get_mut(..len)?, |rest| server.handle_datagram(env, rest))?;
    server.handle_timeout(env).ok()?;
    let mut server = server.into_session()?.session;
    let len = server.poll_transmit(env, &mut down).ok()??;
    feed(down.get_mut(..len)?, |rest| {
        client.handle_datagram(env, rest)
    })?;
    client.handle_timeout(env).ok()?;
    let mut client = client.into_session()?.session;
    exchange(&mut client, &mut server, env, bytes)
}

/// Takes application data one way and closes.
fn exchange<A: hedgerow_core::Aead>(
    client: &mut Session<A>,
    server: &mut Session<A>,
    env: &mut Env<'_>,
    bytes: &[u8],
) -> Option<usize> {
    let mut datagram = [0; 256];
    let len = client.seal(bytes, &mut datagram).ok()?;
    let received = server.handle_datagram(env, datagram.get_mut(..len)?).ok()?;
    let received = match received.event? {
        Event::Plaintext(text) => text.len(),
        _ => return None,
    };
    client.close();
    let len = client.poll_transmit(env, &mut datagram).ok()??;
    server.handle_datagram(env, datagram.get_mut(..len)?).ok()?;
    server.handle_timeout(env).ok()?;
    Some(received)
}

/// Gives a datagram's records to a machine, one after the other.
fn feed(
    datagram: &mut [u8],
    mut handle: impl for<'d> FnMut(&'d mut [u8]) -> Result<Received<'d>, ChannelError>,
) -> Option<()> {
    let mut rest = datagram;
    while !rest.is_empty() {
        rest = handle(rest).ok()?.rest;
    }
    Some(())
}

fn buffers() -> Buffers<[u8; 512]> {
    Buffers {
        incoming: [0; 512],
        outgoing: [0; 512],
    }
}
