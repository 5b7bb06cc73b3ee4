//! Frames and signaling messages of `hedgerow-coap`.

use hedgerow_coap::{
    Code, Frame, FrameError, FrameHeader, MessageWriter, Options, Signal, SignalingMessage, Token,
};

/// Reads a byte stream message by message and writes what was understood: each message has one
/// encoding alone, so the same bytes must come out. The first byte of the input says where the
/// stream is cut, and a cut stream is read as the whole one.
pub fn coap_frame(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else {
        return;
    };
    let mut rest = stream;
    while let Ok((frame, after)) = Frame::decode(rest) {
        let (bytes, _) = rest.split_at(rest.len() - after.len());
        let header = FrameHeader::decode(bytes).expect("it decoded");
        assert_eq!(usize::try_from(header.message_len()), Ok(bytes.len()));
        whole(&frame, bytes);
        cut_off(bytes, usize::from(cut) % bytes.len());
        rest = after;
    }
}

fn whole(frame: &Frame<'_>, bytes: &[u8]) {
    match frame {
        // Whatever it holds is ignored.
        Frame::Empty => {}
        Frame::Message(message) => {
            let options = message.options();
            assert!(message.code().is_request() || message.code().is_response());
            let again = write(message.code(), message.token(), options, message.payload());
            assert_eq!(again, bytes);
        }
        Frame::Signaling(message) => {
            let options = message.options();
            let again = write(message.code(), message.token(), options, message.payload());
            assert_eq!(again, bytes);
            signal(message);
        }
    }
}

/// What a signaling message says, another one says too.
fn signal(message: &SignalingMessage<'_>) {
    let Ok(signal) = message.signal() else {
        return;
    };
    let mut out = vec![0; 64 + message.payload().len() + 260 * message.options().count()];
    let len = signal.encode(message.token(), &mut out).expect("room");
    let Ok((Frame::Signaling(again), [])) = Frame::decode(&out[..len]) else {
        unreachable!("what was written decodes");
    };
    let said = again.signal().expect("nothing in it is critical");
    match (signal, said) {
        (Signal::Csm(one), Signal::Csm(other)) => assert_eq!(one, other),
        (Signal::Ping { custody: one }, Signal::Ping { custody: other })
        | (Signal::Pong { custody: one }, Signal::Pong { custody: other }) => {
            assert_eq!(one, other);
        }
        (Signal::Release(one), Signal::Release(other)) => {
            assert!(
                one.alternative_addresses()
                    .eq(other.alternative_addresses())
            );
            assert_eq!(one.hold_off(), other.hold_off());
            assert_eq!(one.diagnostic(), other.diagnostic());
        }
        (Signal::Abort(one), Signal::Abort(other)) => assert_eq!(one, other),
        (one, other) => unreachable!("{one:?} became {other:?}"),
    }
}

/// A message that isn't all there names the bytes that it needs, and never more than it does.
fn cut_off(bytes: &[u8], at: usize) {
    match Frame::decode(&bytes[..at]) {
        Err(FrameError::Incomplete { needed }) => assert!((1..=bytes.len() - at).contains(&needed)),
        other => unreachable!("{other:?}"),
    }
}

fn write(code: Code, token: Token, options: Options<'_>, payload: &[u8]) -> Vec<u8> {
    let len: usize = options.map(|option| option.value().len() + 5).sum();
    let mut out = vec![0; 32 + len + payload.len()];
    let mut writer = MessageWriter::new_framed(&mut out, code, token).expect("it decoded");
    for option in options {
        writer.copy_option(option).expect("options are in order");
    }
    let len = writer.payload(payload).expect("there is room");
    out.truncate(len);
    out
}
