//! Seeds of the connection over a reliable transport: streams, and scripts for two ends.

use hedgerow_coap::{
    Abort, BlockValue, Code, Csm, MessageWriter, OptionNumber, Release, Signal, Token,
};

use crate::Seeds;

/// What a script can do. The lowest bit of the argument says which end, the rest how much.
const GET: u8 = 9;
const POST: u8 = 1;
const FETCH: u8 = 2;
const SOME: u8 = 4;
const ALL: u8 = 5;
const PING: u8 = 6;
const TIME: u8 = 7;
const FLIP: u8 = 8;

/// The argument of [`TIME`] for a Release, and for the end of the transport.
const RELEASE: u8 = 240;
const TRANSPORT_CLOSED: u8 = 252;

/// Both ends send what they have, and take it.
const ROUND: [u8; 8] = [FETCH, 0, FETCH, 1, ALL, 0, ALL, 1];

pub(crate) fn connection() -> Seeds {
    let mut seeds = Seeds::new();
    let csm = signaled(Signal::Csm(Csm {
        max_message_size: Some(2_304),
        block_wise_transfer: true,
    }));
    let release = Release::new().with_hold_off(7).with_diagnostic("bye");
    let mut stream = |name: &str, piece: u8, messages: &[Vec<u8>]| {
        let input = [&[0, piece], messages.concat().as_slice()].concat();
        seeds.push((name.to_owned(), input));
    };
    let get = framed(Code::GET, None, 0);
    stream("stream_get", 1, &[csm.clone(), get.clone(), vec![0, 0]]);
    stream("stream_without_csm", 9, std::slice::from_ref(&get));
    let upload = |num, more| framed(Code::PUT, BlockValue::new_reliable(num, more, 7), 1_024);
    let last = upload(2, false);
    stream(
        "stream_bert",
        100,
        &[csm.clone(), upload(0, true), upload(1, true), last],
    );
    let ping = signaled(Signal::Ping { custody: true });
    let pong = signaled(Signal::Pong { custody: true });
    let signals = [
        csm.clone(),
        ping,
        pong,
        signaled(Signal::Release(release)),
        get,
    ];
    stream("stream_signals", 2, &signals);
    let abort = signaled(Signal::Abort(Abort::new("no").with_bad_csm_option(2)));
    stream("stream_abort", 4, &[csm.clone(), abort]);
    stream("stream_too_long", 3, &[csm, vec![0xf0, 0, 1, 0, 0, 1]]);

    let mut script = |name: &str, parts: &[&[u8]]| seeds.push((name.to_owned(), parts.concat()));
    let rounds = ROUND.repeat(24);
    script("asks_both_ways", &[&[GET, 0, GET, 1, POST, 6], &rounds]);
    script("body_in_blocks", &[&[POST, 40, POST, 201], &rounds]);
    let dribble = [FETCH, 0, SOME, 21, FETCH, 1, SOME, 14].repeat(30);
    script("dribble", &[&[GET, 0, POST, 8], &dribble]);
    let unread = [PING, 1].repeat(6);
    let unread = [&unread, [FETCH, 1, ALL, 0].as_slice()].concat().repeat(4);
    script("slow_reader", &[&ROUND, &unread, &rounds]);
    let ending = [GET, 0, FETCH, 0, TIME, RELEASE, TIME, RELEASE + 1];
    script("releases", &[&ROUND, &ending, &rounds]);
    let ending = [POST, 100, FETCH, 0, SOME, 33, TIME, TRANSPORT_CLOSED + 1];
    script("transport_closed", &[&ROUND, &ending, &rounds]);
    let silent = [TIME, 238].repeat(30);
    script(
        "silent_peer",
        &[&ROUND, &[GET, 0, FETCH, 0], &silent, &rounds],
    );
    script("changed", &[&ROUND, &[GET, 0, FETCH, 0, FLIP, 2], &rounds]);
    seeds
}

fn signaled(signal: Signal<'_>) -> Vec<u8> {
    let mut out = [0; 128];
    let len = signal.encode(Token::from([0x42]), &mut out).unwrap();
    out[..len].to_vec()
}

fn framed(code: Code, block1: Option<BlockValue>, payload_len: usize) -> Vec<u8> {
    let mut out = [0; 1_100];
    let mut writer = MessageWriter::new_framed(&mut out, code, Token::from([0x71])).unwrap();
    writer.option(OptionNumber::URI_PATH, b"a").unwrap();
    if let Some(block) = block1 {
        let value = block.encode();
        writer
            .option(OptionNumber::BLOCK1, value.as_bytes())
            .unwrap();
    }
    let len = writer.payload(&vec![7; payload_len]).unwrap();
    out[..len].to_vec()
}
