//! A request of the usual kind, built from its parts and taken apart again.

use std::hint::black_box;

use coap_lite::{CoapOption, MessageClass, MessageType as LiteType, Packet, RequestType};
use coap_message::{MessageOption as _, MinimalWritableMessage, ReadableMessage};
use coap_message_implementations::inmemory::{Message as InMemory, MessageMut};
use hedgerow_coap::{Code, Message, MessageId, MessageType, MessageWriter, OptionNumber, Token};

/// What a message is built from.
struct Parts {
    id: u16,
    token: [u8; 4],
    options: [(u16, &'static [u8]); 5],
    payload: &'static [u8],
}

/// A Confirmable PUT with a token of 4 bytes, five options (Uri-Path twice, Content-Format,
/// Uri-Query, Accept) and a small CBOR payload.
static PARTS: Parts = Parts {
    id: 0x7d34,
    token: [0x5e, 0x11, 0x0a, 0x42],
    options: [
        (11, b"sensors"),
        (11, b"temperature"),
        (12, &[60]),
        (15, b"unit=C"),
        (17, &[60]),
    ],
    payload: b"\xa2\x61n\x6btemperature\x61v\xfb\x40\x35\x80\0\0\0\0\0",
};

/// Returns the parts as if they came from elsewhere: known to the compiler, they would let it write
/// the whole message beforehand.
fn parts() -> &'static Parts {
    black_box(&PARTS)
}

/// Builds it with `hedgerow-coap` and returns its length in bytes.
pub fn encode(out: &mut [u8]) -> usize {
    let parts = parts();
    let (kind, id, token) = (
        MessageType::Confirmable,
        MessageId(parts.id),
        Token::from(parts.token),
    );
    let mut writer = MessageWriter::new(out, kind, Code::PUT, id, token).unwrap();
    for (number, value) in parts.options {
        writer.option(OptionNumber(number), value).unwrap();
    }
    writer.payload(parts.payload).unwrap()
}

/// Takes it apart with `hedgerow-coap`, and returns a sum over all that was found.
pub fn decode(datagram: &[u8]) -> usize {
    let message = Message::decode(datagram).unwrap();
    let options: usize = message
        .options()
        .map(|option| usize::from(option.number().0) + sum(option.value()))
        .sum();
    options + sum(message.payload()) + sum(message.token().as_bytes())
}

/// Builds it with `coap-lite`.
pub fn encode_lite() -> Vec<u8> {
    let parts = parts();
    let mut packet = Packet::new();
    packet.header.set_type(LiteType::Confirmable);
    packet.header.code = MessageClass::Request(RequestType::Put);
    packet.header.message_id = parts.id;
    packet.set_token(parts.token.to_vec());
    for (number, value) in parts.options {
        packet.add_option(CoapOption::from(number), value.to_vec());
    }
    packet.payload = parts.payload.to_vec();
    packet.to_bytes().unwrap()
}

/// Takes it apart with `coap-lite`, and returns the same sum.
pub fn decode_lite(datagram: &[u8]) -> usize {
    let packet = Packet::from_bytes(datagram).unwrap();
    let options: usize = packet
        .options()
        .flat_map(|(number, values)| {
            let values = values.iter();
            values.map(|value| usize::from(*number) + sum(value))
        })
        .sum();
    options + sum(&packet.payload) + sum(packet.get_token())
}

/// Builds it with `coap-message-implementations`, whose messages begin behind header and token;
/// those are put in by hand.
pub fn encode_in_memory(out: &mut [u8]) -> usize {
    const CODE_PUT: u8 = 0x03;
    let parts = parts();
    let (head, tail) = out.split_at_mut(8);
    let mut code = 0;
    let mut message = MessageMut::new_in_slice(&mut code, tail);
    message.set_code(CODE_PUT);
    for (number, value) in parts.options {
        message.add_option(number, value).unwrap();
    }
    message.set_payload(parts.payload).unwrap();
    let (len, _) = message.finish();
    let [high, low] = parts.id.to_be_bytes();
    head[..4].copy_from_slice(&[0x44, code, high, low]);
    head[4..].copy_from_slice(&parts.token);
    8 + len
}

/// Takes it apart with `coap-message-implementations`, header and token by hand, and returns the
/// same sum. It checks the format of options only as they are iterated over.
pub fn decode_in_memory(datagram: &[u8]) -> usize {
    let (header, rest) = datagram.split_first_chunk::<4>().unwrap();
    let (token, rest) = rest.split_at(usize::from(header[0] & 0x0f));
    let message = InMemory::new_from_slice(header[1], rest);
    let options: usize = message
        .options()
        .map(|option| usize::from(option.number()) + sum(option.value()))
        .sum();
    options + sum(message.payload()) + sum(token)
}

/// Something that needs the bytes' place and length, and costs little.
fn sum(bytes: &[u8]) -> usize {
    bytes.len() + usize::from(bytes.first().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_codecs_do_the_same_job() {
        let (mut ours, mut in_memory) = ([0; 128], [0; 128]);
        let len = encode(&mut ours);
        assert_eq!(encode_lite(), ours[..len]);
        let in_memory_len = encode_in_memory(&mut in_memory);
        assert_eq!(in_memory[..in_memory_len], ours[..len]);
        assert_eq!(decode_lite(&ours[..len]), decode(&ours[..len]));
        assert_eq!(decode_in_memory(&ours[..len]), decode(&ours[..len]));
    }
}
