//! Scripts for the target `itls_forwarder`: what ends say to a gateway in mode `itls`.

use hedgerow_core::Writer;
use hedgerow_itls::{CloseReason, Control, Open, RoutingHeader};

use crate::Seeds;

/// The place of a session in its operation, and the operations.
const fn at(place: u8) -> u8 {
    place << 3
}
const ARRIVES: u8 = 0;
const LIGHT: u8 = 0x80;
const DEVICE: u8 = 4;
const USER: u8 = 4 | 0x80;
const SECOND: u8 = 0x40;
const END: u8 = 5;
const UNREACHABLE: u8 = 6;
const HOUR: u8 = 7 | at(6);

const HELLO: &[u8] = b"\x01hello";
const ANSWER: &[u8] = b"\x02hello";
const DATA: &[u8] = b"\x81\x00sealed";

pub(crate) fn itls_forwarder() -> Seeds {
    let lamp = at(0);
    let alice = at(1);
    let talking = [
        step(DEVICE | lamp, b""),
        step(USER | alice, b""),
        step(ARRIVES | alice, &open(2, "lamp", false)),
        step(ARRIVES | lamp, &inner(1, ANSWER)),
        step(ARRIVES | alice, &inner(2, DATA)),
    ]
    .concat();
    let with = |rest: &[Vec<u8>]| [talking.clone(), rest.concat()].concat();
    [
        (
            "closed_by_the_device",
            with(&[step(ARRIVES | lamp, &close(1))]),
        ),
        ("idle", with(&[step(HOUR, b"")])),
        ("session_over", with(&[step(END | lamp, b"")])),
        (
            "light_layer",
            with(&[
                step(ARRIVES | lamp | LIGHT, &inner(1, DATA)),
                step(ARRIVES | alice, &inner(2, DATA)),
            ]),
        ),
        (
            "opened_again",
            with(&[step(ARRIVES | alice, &open(2, "lamp", false))]),
        ),
        (
            "too_many_messages",
            with(&vec![step(ARRIVES | alice, &inner(2, DATA)); 10]),
        ),
        (
            "opened_by_the_device",
            [
                step(USER | alice, b""),
                step(DEVICE | lamp, b""),
                step(ARRIVES | lamp, &open(2, "alice", true)),
                step(ARRIVES | alice, &inner(1, ANSWER)),
                step(ARRIVES | lamp | LIGHT, &inner(2, DATA)),
            ]
            .concat(),
        ),
        (
            "device_comes_late",
            [
                step(USER | alice, b""),
                step(ARRIVES | alice, &open(2, "meter", false)),
                step(ARRIVES | alice, &open(2, "meter", false)),
                step(DEVICE | SECOND | lamp, b""),
                step(ARRIVES | lamp, &inner(1, ANSWER)),
            ]
            .concat(),
        ),
        (
            "device_does_not_come",
            [
                step(USER | alice, b""),
                step(ARRIVES | alice, &open(2, "lamp", false)),
                step(UNREACHABLE, b""),
            ]
            .concat(),
        ),
        (
            "refused",
            [
                step(DEVICE | SECOND | lamp, b""),
                step(ARRIVES | lamp, &open(2, "alice", false)),
                step(ARRIVES | lamp, &open(2, "nobody", false)),
                step(USER | alice, b""),
                step(ARRIVES | alice, &open(2, "bob", false)),
            ]
            .concat(),
        ),
        (
            "too_many_flows",
            [
                [step(DEVICE | lamp, b""), step(USER | alice, b"")].concat(),
                (1..6_u16)
                    .flat_map(|flow| step(ARRIVES | alice, &open(flow * 2, "lamp", false)))
                    .collect(),
            ]
            .concat(),
        ),
        (
            "unknown_flow",
            [
                step(USER | alice, b""),
                step(ARRIVES | alice, &inner(300, DATA)),
                step(ARRIVES | alice, &close(300)),
            ]
            .concat(),
        ),
    ]
    .map(|(name, script)| (name.to_owned(), script))
    .to_vec()
}

fn step(operation: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).unwrap();
    [&[operation, len], bytes].concat()
}

fn message(flow: u16, control: Option<Control<'_>>, inner: &[u8]) -> Vec<u8> {
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out);
    let is_control = control.is_some();
    let header = RoutingHeader { flow, is_control };
    header.encode(&mut writer).unwrap();
    if let Some(control) = control {
        control.encode(&mut writer).unwrap();
    }
    writer.bytes(inner).unwrap();
    writer.written().to_vec()
}

fn open(flow: u16, name: &str, wants_light_layer: bool) -> Vec<u8> {
    let control = Control::Open(Open {
        wants_light_layer,
        name: name.as_bytes(),
        message: HELLO,
    });
    message(flow, Some(control), b"")
}

fn inner(flow: u16, inner: &[u8]) -> Vec<u8> {
    message(flow, None, inner)
}

fn close(flow: u16) -> Vec<u8> {
    message(flow, Some(Control::Close(CloseReason::Done)), b"")
}
