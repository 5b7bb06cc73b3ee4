//! `hedgerow-coap`: a message in and out, also in a stream, a URI both ways, links.

use hedgerow_coap::{
    BlockValue, CoapUri, Frame, FrameHeader, LinkFilter, LinkWriter, Links, Message, MessageId,
    MessageWriter, OptionNumber, Scheme,
};

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    let mut out = [0; 256];
    answer(bytes, &mut out)
        .unwrap_or_default()
        .wrapping_add(frame(bytes, &mut out).unwrap_or_default())
        .wrapping_add(name(bytes, &mut out).unwrap_or_default())
        .wrapping_add(list(bytes, &mut out).unwrap_or_default())
}

/// Decodes a message and encodes one with its options and payload.
fn answer(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let message = match Message::decode(bytes) {
        Ok(message) => message,
        Err(error) => return error.rejectable().map(|header| header.encode().len()),
    };
    if message.unrecognised_critical(|_| true).is_some() {
        return None;
    }
    let id = MessageId::next(message.message_id());
    let (kind, code) = (message.message_type(), message.code());
    let mut writer = MessageWriter::new(out, kind, code, id, message.token()).ok()?;
    for option in message.recognised_options(|_| true) {
        writer.copy_option(option).ok()?;
    }
    let block = message.option(OptionNumber::BLOCK2)?;
    let block = BlockValue::decode(block.value()).ok()?.to_uint();
    writer.option_uint(OptionNumber::SIZE2, block).ok()?;
    writer.payload(message.payload()).ok()
}

/// Reads a message of a stream and writes one.
fn frame(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = FrameHeader::decode(bytes).ok()?.message_len();
    let (frame, rest) = Frame::decode(bytes).ok()?;
    match frame {
        Frame::Empty => usize::try_from(len).ok(),
        Frame::Signaling(message) => message.signal().ok()?.encode(message.token(), out).ok(),
        Frame::Message(message) => {
            let writer = MessageWriter::new_framed(out, message.code(), message.token()).ok()?;
            writer.payload(rest).ok()
        }
    }
}

/// Takes a URI apart into options and puts it together again.
fn name(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let message = Message::decode(bytes).ok()?;
    let uri = CoapUri::parse(::core::str::from_utf8(message.payload()).ok()?).ok()?;
    let mut options = [0; 128];
    let (kind, code) = (message.message_type(), message.code());
    let id = message.message_id();
    let mut writer = MessageWriter::new(&mut options, kind, code, id, message.token()).ok()?;
    let destination = ([192, 0, 2, 1], uri.port()).into();
    uri.write_options(Some(destination), &[], &mut writer)
        .ok()?;
    let len = writer.finish();
    let request = Message::decode(options.get(..len)?).ok()?;
    let scheme = Scheme::Coaps;
    request.compose_uri_into(scheme, destination, out).ok()
}

/// Copies the links that a filter selects.
fn list(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let filter = LinkFilter::decode(b"rt=temperature*")?;
    let mut writer = LinkWriter::new(out);
    for link in Links::decode(bytes).ok()? {
        let link = link.ok()?;
        if filter.matches(&link) {
            writer.copy_link(&link).ok()?;
            writer.quoted("title", "one of them").ok()?;
        }
    }
    Some(writer.finish())
}
