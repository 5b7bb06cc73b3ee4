//! Mode `translate`: the framing of DTLS records on a stream, at both of its ends.

use hedgerow_core::DropReason;
use hedgerow_endpoint::{TranslatedEvent, TranslatedStream};
use hedgerow_proxy::{NotPermitted, Opening, ToDevice, Translator};
use hedgerow_record::{
    FromStream, StreamToDatagrams, TranslateForm, TranslatePreface, datagram_to_stream,
};

/// The first byte chooses the form, whom the rest comes from, and where the stream is cut: it is a
/// datagram, what a gateway reads, or what an Internet end reads. Whatever it is, nothing grows past its
/// bounds, the parts in which it comes change nothing, and a datagram that comes out of a stream goes
/// back without a loss.
pub fn translate(input: &[u8]) {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let form = match choice & 1 {
        0 => TranslateForm::Short,
        _ => TranslateForm::Long,
    };
    let part = usize::from(choice >> 3).saturating_add(1);
    match choice >> 1 & 3 {
        0 => datagram(form, bytes),
        1 => stream(form, bytes, part),
        2 => gateway(bytes, part),
        _ => internet_end(form, bytes, part),
    }
}

fn datagram(form: TranslateForm, bytes: &[u8]) {
    let mut copy = bytes.to_vec();
    let mut dropped = 0_usize;
    let len = datagram_to_stream(form, &mut copy, |drop| {
        dropped = dropped.saturating_add(drop.len);
    });
    assert!(len.saturating_add(dropped) <= bytes.len());
    copy.truncate(len);
    let (found, is_whole) = read(form, &copy, copy.len().max(1), bytes.len());
    assert!(is_whole, "what was written is read");
    let datagrams: Vec<_> = found.iter().filter(|(_, it)| !it.is_empty()).collect();
    assert_eq!(datagrams.len(), usize::from(len > 0));
    for (_, datagram) in datagrams {
        // All that wasn't dropped is there again.
        assert_eq!(datagram.len().saturating_add(dropped), bytes.len());
    }
}

fn stream(form: TranslateForm, bytes: &[u8], part: usize) {
    let (found, _) = read(form, bytes, part, ROOM);
    let (whole, _) = read(form, bytes, bytes.len().max(1), ROOM);
    assert_eq!(found, whole, "in parts of {part}");
    for (_, mut datagram) in found {
        assert!(datagram.len() <= ROOM);
        datagram_to_stream(form, &mut datagram, |drop| {
            unreachable!("{drop:?} of what came from a stream")
        });
    }
}

fn read(
    form: TranslateForm,
    bytes: &[u8],
    part: usize,
    room: usize,
) -> (Vec<(FromStream, Vec<u8>)>, bool) {
    let mut reader = StreamToDatagrams::new(form);
    let mut buffer = vec![0; room];
    let mut found = Vec::new();
    for part in bytes.chunks(part) {
        let mut rest = part;
        loop {
            match reader.read(rest, &mut buffer) {
                Err(_) => return (found, false),
                Ok((len, None)) => {
                    assert_eq!(len, rest.len());
                    break;
                }
                Ok((len, Some(event))) => {
                    let datagram = match event {
                        FromStream::Datagram(len) => buffer[..len].to_vec(),
                        _ => Vec::new(),
                    };
                    found.push((event, datagram));
                    rest = &rest[len..];
                }
            }
        }
    }
    (found, reader.is_at_border())
}

/// A connection from its first byte on. Every other datagram to the device is answered by itself.
fn gateway(bytes: &[u8], part: usize) {
    let permit = |name: &str| match name.len() % 3 {
        0 => Err(NotPermitted::Refused),
        1 => Ok(()),
        _ => Err(NotPermitted::Busy),
    };
    let Ok(Opening::Accepted {
        mut translator,
        consumed,
        ..
    }) = Translator::open(bytes, permit)
    else {
        return;
    };
    let preface = TranslatePreface::decode(bytes).expect("it opened");
    let (preface, _) = preface.expect("it opened");
    assert_eq!(preface.device.len() % 3, 1);
    let mut buffer = vec![0; ROOM];
    let mut turn = 0_usize;
    for part in bytes[consumed..].chunks(part) {
        let mut rest = part;
        loop {
            let Ok((len, found)) = translator.read_stream(rest, &mut buffer) else {
                return;
            };
            rest = &rest[len..];
            match found {
                None => break,
                Some(ToDevice::Datagram(len)) => {
                    turn = turn.saturating_add(1);
                    if turn.is_multiple_of(2) {
                        let mut datagram = buffer[..len].to_vec();
                        translator.translate_datagram(&mut datagram, |reason| {
                            unreachable!("{reason:?} of its own")
                        });
                        assert!(datagram.len() <= len);
                    }
                }
                Some(ToDevice::Dropped { reason, len }) => {
                    if reason == DropReason::TooLong {
                        assert!(len > ROOM && translator.too_long(len).len() <= 16);
                    }
                }
            }
        }
    }
}

fn internet_end(form: TranslateForm, bytes: &[u8], part: usize) {
    let mut sent = Vec::new();
    let stream = TranslatedStream::open("a", form, &mut sent);
    let mut stream = stream.expect("a name of one byte");
    for part in bytes.chunks(part) {
        let mut rest = part;
        loop {
            match stream.stream_to_datagrams(rest) {
                Err(error) => {
                    assert_eq!(stream.handle_end(), error);
                    return;
                }
                Ok((_, None)) => break,
                Ok((len, Some(event))) => {
                    if let TranslatedEvent::Datagram(datagram) = event {
                        let datagram = datagram.to_vec();
                        assert_eq!(stream.datagram_to_stream(&datagram, &mut sent), None);
                    }
                    rest = &rest[len..];
                }
            }
        }
    }
}

/// The longest datagram, in bytes.
const ROOM: usize = 256;
