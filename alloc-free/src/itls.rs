//! `hedgerow-itls`: a session of both ends, a light datagram, and what the gateway reads.

use hedgerow_core::{Credentials, Env, Instant, PeerId, Psk, Secret, Writer};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_itls::{
    Control, End, Initiator, InitiatorKey, InitiatorStep, LightLayer, OuterBinding, OuterRole,
    Responder, ResponderStep, RoutingHeader, Settings,
};

use crate::counting_rng::CountingRng;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    session(bytes)
        .unwrap_or_default()
        .wrapping_add(routed(bytes).unwrap_or_default())
}

fn session(bytes: &mut [u8]) -> Option<usize> {
    let mut rng = CountingRng(1);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let psk = Psk::new(bytes).and_then(Psk::into_end_to_end).ok()?;
    let stored = Psk::new(bytes).and_then(Psk::into_end_to_end).ok()?;
    let credentials = Credentials {
        psk_identity: b"lamp",
        psk: &psk,
        peer: PeerId(1),
    };
    let key = InitiatorKey::EndToEnd(credentials);
    let (mine, theirs) = (OuterBinding::new([1; 32]), OuterBinding::new([2; 32]));
    let settings = Settings::new(End::Internet);
    let initiator = Initiator::new(SoftCrypto, settings, key, mine, env).ok()?;
    let store = (b"lamp".as_slice(), stored, PeerId(2));
    let half_open = Responder::new(SoftCrypto, Settings::new(End::Device))
        .handle_hello(env, &store, &[], theirs, initiator.hello())
        .ok()?;
    let step = initiator.handle_message(&mine, half_open.answer());
    let InitiatorStep::Established(mut envelope) = step else {
        return None;
    };
    let mut message = [0; 64];
    let len = envelope.seal(b"text", &mut message).ok()?;
    let step = half_open.handle_message(&theirs, message.get_mut(..len)?);
    let ResponderStep::Established(mut envelope, Ok(_)) = step else {
        return None;
    };
    let len = envelope.close(&mut message).ok()?;
    let material = Secret::zeroed();
    let mut light = LightLayer::new(&SoftCrypto, &material, OuterRole::Client).ok()?;
    let len = light.seal(3, message.get(..len)?, bytes).ok()?;
    let opened = light.open(bytes.get_mut(..len)?);
    opened.ok().map(|(_, message)| message.len())
}

fn routed(bytes: &mut [u8]) -> Option<usize> {
    let mut out = [0; 128];
    let mut writer = Writer::new(&mut out);
    let (header, rest) = RoutingHeader::decode_mut(bytes).ok()?;
    header.encode(&mut writer).ok()?;
    let control = Control::decode(rest).ok()?;
    control.encode(&mut writer).ok()?;
    Some(writer.len())
}
