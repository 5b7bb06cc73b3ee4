//! Capsules and UDP payloads of a tunnel, `hedgerow-proxy`.

use hedgerow_proxy::{
    CarrierMessage, MAX_UDP_CAPSULE_OVERHEAD, MAX_UDP_CARRIER_MESSAGE_LEN, MAX_UDP_PAYLOAD_LEN,
    TunnelDecoder, TunnelEvent, TunnelFault, encode_echo, encode_udp_capsule,
};

/// Reads a tunnel's stream as a whole and cut into pieces: the same comes out. The first byte says how
/// long the pieces are, the second how long a payload is kept. What comes out goes in again, and no
/// more is held than was asked for.
pub fn tunnel_stream(input: &[u8]) {
    let [cut, kept, stream @ ..] = input else {
        return;
    };
    let kept = usize::from(*kept) * 8;
    let whole = read(stream.chunks(stream.len().max(1)), kept);
    assert_eq!(whole, read(stream.chunks(usize::from(*cut).max(1)), kept));
    assert_eq!(whole, read(stream.chunks(1), kept));
    let mut again = Vec::new();
    for payload in whole.payloads.iter() {
        assert!(payload.len() <= kept);
        let mut out = vec![0; payload.len() + MAX_UDP_CAPSULE_OVERHEAD];
        let len = encode_udp_capsule(payload, &mut out).expect("there is room");
        again.extend_from_slice(&out[..len]);
    }
    let again = read([again.as_slice()].into_iter(), kept);
    assert_eq!((again.payloads, again.drops), (whole.payloads, 0));
    assert_eq!(again.fault, None);
}

#[derive(Debug, PartialEq)]
struct Read {
    payloads: Vec<Vec<u8>>,
    drops: usize,
    fault: Option<TunnelFault>,
}

fn read<'s>(pieces: impl Iterator<Item = &'s [u8]>, kept: usize) -> Read {
    let mut decoder = TunnelDecoder::new(kept).with_probes();
    let (mut payloads, mut drops) = (Vec::new(), 0);
    for mut piece in pieces {
        loop {
            match decoder.next_event(&mut piece) {
                Ok(Some(TunnelEvent::UdpPayload(payload))) => {
                    assert!(payload.len() <= MAX_UDP_PAYLOAD_LEN);
                    payloads.push(payload.to_vec());
                }
                Ok(Some(TunnelEvent::Probing(message))) => {
                    if let CarrierMessage::Probe(probe) = message {
                        let mut echo = [0; MAX_UDP_CARRIER_MESSAGE_LEN];
                        assert!(encode_echo(probe, &mut echo).is_some(), "an echo has room");
                    }
                    drops += 1;
                }
                Ok(Some(TunnelEvent::Dropped(_))) => drops += 1,
                Ok(None) => break,
                Err(fault) => {
                    let fault = Some(fault);
                    return Read {
                        payloads,
                        drops,
                        fault,
                    };
                }
            }
        }
        assert!(piece.is_empty(), "all bytes are taken");
        assert!(decoder.buffered_len() <= kept + 16, "no more is held");
    }
    let fault = decoder.finish().err();
    Read {
        payloads,
        drops,
        fault,
    }
}
