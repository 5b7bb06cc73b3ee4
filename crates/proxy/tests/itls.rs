//! Flows of mode `itls`: who may open one, where messages go, limits and ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::{DropReason, Instant, Writer};
use hedgerow_itls::{CloseReason, Control, Open, RoutingHeader};
use hedgerow_proxy::{
    FlowEnd, ItlsContent, ItlsEvent, ItlsForwarder, ItlsLimits, ItlsOutcome, ItlsParty, ItlsPolicy,
    OuterSession,
};
use proptest::collection::vec;
use proptest::prelude::*;

const LAMP: usize = 3;
const METER: usize = 5;
const ALICE: usize = 0;
const BOB: usize = 1;

/// A protected inner message, and hellos.
const DATA: &[u8] = b"\x81\x00sealed";
const HELLO: &[u8] = b"\x01hello";
const ANSWER: &[u8] = b"\x02hello";

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

fn policy() -> ItlsPolicy {
    ItlsPolicy::new()
        .with_device(LAMP, "lamp", &[ALICE])
        .with_device(METER, "meter", &[])
        .with_user(ALICE, "alice")
        .with_user(BOB, "bob")
}

fn message(flow: u16, control: Option<&Control<'_>>, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 700];
    let mut writer = Writer::new(&mut out);
    let is_control = control.is_some();
    let header = RoutingHeader { flow, is_control };
    header.encode(&mut writer).unwrap();
    match control {
        Some(control) => control.encode(&mut writer).unwrap(),
        None => writer.bytes(inner).unwrap(),
    }
    writer.written().to_vec()
}

fn inner(flow: u16, inner: &[u8]) -> Vec<u8> {
    message(flow, None, inner)
}

fn opening<'a>(name: &'a str, light: bool, message: &'a [u8]) -> Control<'a> {
    Control::Open(Open {
        wants_light_layer: light,
        name: name.as_bytes(),
        message,
    })
}

fn open(flow: u16, name: &str, hello: &[u8]) -> Vec<u8> {
    message(flow, Some(&opening(name, false, hello)), &[])
}

fn close(flow: u16, reason: CloseReason) -> Vec<u8> {
    message(flow, Some(&Control::Close(reason)), &[])
}

/// A gateway with what it has sent.
struct Gateway {
    forwarder: ItlsForwarder,
    now: Instant,
}

/// Where something went: session, and the message whole.
type Sent = (OuterSession, Vec<u8>);

impl Gateway {
    fn new(limits: ItlsLimits) -> Self {
        Self {
            forwarder: ItlsForwarder::new(policy(), limits),
            now: at(1),
        }
    }

    fn user(&mut self, user: usize) -> OuterSession {
        let party = ItlsParty::User(user);
        self.forwarder.begin_session(self.now, party, true)
    }

    fn device(&mut self, device: usize) -> OuterSession {
        let party = ItlsParty::Device(device);
        self.forwarder.begin_session(self.now, party, true)
    }

    /// Gives it a message and returns what comes of it.
    fn take(&mut self, from: OuterSession, message: &[u8]) -> Result<Vec<Sent>, DropReason> {
        let mut out = [0; 800];
        let outcome = self
            .forwarder
            .handle_message(self.now, from, message, false);
        let mut sent = match outcome {
            ItlsOutcome::Deliver(delivery) => {
                let len = delivery.encode(&mut out).unwrap();
                vec![(delivery.to, out[..len].to_vec())]
            }
            ItlsOutcome::Dropped(reason) => return Err(reason),
            ItlsOutcome::Await { .. } | ItlsOutcome::Closed => Vec::new(),
        };
        sent.extend(self.sent());
        Ok(sent)
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut out = [0; 800];
        let mut sent = Vec::new();
        while let Some((to, _, len)) = self.forwarder.poll_transmit(&mut out) {
            sent.push((to, out[..len].to_vec()));
        }
        sent
    }

    fn events(&mut self) -> Vec<ItlsEvent> {
        std::iter::from_fn(|| self.forwarder.poll_event()).collect()
    }

    /// Two ends that talk on flow 2 of the Internet end's and flow 1 of the device's.
    fn talking(limits: ItlsLimits) -> (Self, OuterSession, OuterSession) {
        let mut gateway = Self::new(limits);
        let (lamp, alice) = (gateway.device(LAMP), gateway.user(ALICE));
        let sent = gateway.take(alice, &open(2, "lamp", HELLO)).unwrap();
        assert_eq!(sent, [(lamp, open(1, "alice", HELLO))]);
        (gateway, alice, lamp)
    }
}

#[test]
fn internet_end_reaches_a_device_and_nothing_but_the_header_changes() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    let sent = gateway.take(lamp, &inner(1, ANSWER)).unwrap();
    assert_eq!(sent, [(alice, inner(2, ANSWER))]);
    for _ in 0..3 {
        let sent = gateway.take(alice, &inner(2, DATA)).unwrap();
        assert_eq!(sent, [(lamp, inner(1, DATA))]);
        let sent = gateway.take(lamp, &inner(1, DATA)).unwrap();
        assert_eq!(sent, [(alice, inner(2, DATA))]);
    }
    let sent = gateway.take(lamp, &close(1, CloseReason::Done)).unwrap();
    assert_eq!(sent, [(alice, close(2, CloseReason::Done))]);
    let statistics = gateway.forwarder.statistics();
    assert_eq!((statistics.to_devices, statistics.to_users), (4, 4));
    assert_eq!((statistics.opened, statistics.open), (1, 0));
    let [
        ItlsEvent::Opened(opened),
        ItlsEvent::Closed { record, end, .. },
    ] = gateway.events()[..]
    else {
        panic!("opened and closed");
    };
    assert_eq!((opened.device, opened.user), (LAMP, ALICE));
    assert!(!opened.is_of_device);
    assert_eq!(
        (record.to_device, record.to_user, record.dropped),
        (4, 4, 0)
    );
    let by = ItlsParty::Device(LAMP);
    assert_eq!(end, FlowEnd::ClosedBy(by, CloseReason::Done));
}

#[test]
fn device_reaches_a_user_that_it_may_call_where_that_one_takes_flows() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    let lamp = gateway.device(LAMP);
    let gone = gateway.take(lamp, &open(2, "alice", HELLO)).unwrap();
    assert_eq!(gone, [(lamp, close(2, CloseReason::Gone))]);
    // One that doesn't take flows isn't reached, however new it is.
    let first = gateway.user(ALICE);
    let second = gateway.user(ALICE);
    let party = ItlsParty::User(ALICE);
    gateway.forwarder.begin_session(gateway.now, party, false);
    let sent = gateway.take(lamp, &open(4, "alice", HELLO)).unwrap();
    assert_eq!(sent, [(second, open(1, "lamp", HELLO))]);
    let sent = gateway.take(second, &inner(1, ANSWER)).unwrap();
    assert_eq!(sent, [(lamp, inner(4, ANSWER))]);
    gateway.forwarder.end_session(gateway.now, second);
    assert_eq!(gateway.sent(), [(lamp, close(4, CloseReason::Gone))]);
    let sent = gateway.take(lamp, &open(6, "alice", HELLO)).unwrap();
    assert_eq!(sent, [(first, open(1, "lamp", HELLO))]);
}

#[test]
fn unknown_names_and_forbidden_ones_are_refused_alike() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    let (lamp, meter) = (gateway.device(LAMP), gateway.device(METER));
    let (alice, bob) = (gateway.user(ALICE), gateway.user(BOB));
    for (from, name) in [
        (alice, "nobody"),
        (alice, "Lamp"),
        (alice, ""),
        // Internet ends reach devices, and devices Internet ends.
        (alice, "bob"),
        (bob, "alice"),
        (lamp, "meter"),
        (lamp, "bob"),
        (lamp, "nobody"),
        (meter, "alice"),
        (meter, "nobody"),
    ] {
        let sent = gateway.take(from, &open(2, name, HELLO)).unwrap();
        assert_eq!(sent, [(from, close(2, CloseReason::Refused))], "{name}");
    }
    let statistics = gateway.forwarder.statistics();
    assert_eq!((statistics.refused, statistics.opened), (10, 0));
    let refused = |event: &ItlsEvent| matches!(event, ItlsEvent::Refused { .. });
    assert_eq!(gateway.events().iter().filter(|it| refused(it)).count(), 10);
}

#[test]
fn open_waits_for_the_device_and_only_its_last_message_is_kept() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    let alice = gateway.user(ALICE);
    let bob = gateway.user(BOB);
    for hello in [b"\x01first".as_slice(), b"\x01again"] {
        assert_eq!(gateway.take(alice, &open(2, "lamp", hello)), Ok(Vec::new()));
    }
    assert_eq!(gateway.take(bob, &open(30, "lamp", HELLO)), Ok(Vec::new()));
    let early = gateway.take(alice, &inner(2, DATA));
    assert_eq!(early, Err(DropReason::NotEstablished));
    let long = gateway.take(alice, &open(2, "lamp", &[1; 600]));
    assert_eq!(long, Err(DropReason::TooLong));
    // A session of another device's is none.
    gateway.device(METER);
    assert_eq!(gateway.sent(), []);
    let lamp = gateway.device(LAMP);
    let sent = gateway.sent();
    let expected = [
        (lamp, open(1, "alice", b"\x01again")),
        (lamp, open(3, "bob", HELLO)),
    ];
    assert_eq!(sent, expected);
    let sent = gateway.take(lamp, &inner(3, ANSWER)).unwrap();
    assert_eq!(sent, [(bob, inner(30, ANSWER))]);
}

#[test]
fn device_that_cannot_be_had_is_said_to_be_gone() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    let alice = gateway.user(ALICE);
    gateway.take(alice, &open(2, "lamp", HELLO)).unwrap();
    gateway.take(alice, &open(4, "meter", HELLO)).unwrap();
    gateway.forwarder.unreachable(gateway.now, LAMP);
    assert_eq!(gateway.sent(), [(alice, close(2, CloseReason::Gone))]);
    // The other one goes on waiting, until whoever wants it gives up.
    let closed = gateway.take(alice, &close(4, CloseReason::Done));
    assert_eq!(closed, Ok(Vec::new()));
    gateway.device(METER);
    assert_eq!(gateway.sent(), []);
    assert_eq!(gateway.forwarder.statistics().open, 0);
}

#[test]
fn second_open_counts_as_its_message_and_names_whoever_asks() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    // The device may not have the first one: the gateway's goes out again, byte for byte.
    let sent = gateway.take(alice, &open(2, "lamp", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, open(1, "alice", HELLO))]);
    // Whatever name stands in it now.
    let sent = gateway.take(alice, &open(2, "meter", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, open(1, "alice", HELLO))]);
    // From whom it was opened to, it is a message.
    let sent = gateway.take(lamp, &open(1, "bob", DATA)).unwrap();
    assert_eq!(sent, [(alice, inner(2, DATA))]);
    let empty = gateway.take(lamp, &open(1, "bob", b""));
    assert_eq!(empty, Err(DropReason::UnexpectedMessage));
    assert_eq!(gateway.forwarder.statistics().opened, 1);
}

#[test]
fn unknown_flow_is_answered_and_a_close_never_is() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    let sent = gateway.take(alice, &inner(4, DATA)).unwrap();
    assert_eq!(sent, [(alice, close(4, CloseReason::UnknownFlow))]);
    // The other hop's number is no number here.
    let sent = gateway.take(lamp, &inner(2, DATA)).unwrap();
    assert_eq!(sent, [(lamp, close(2, CloseReason::UnknownFlow))]);
    let closed = gateway.take(alice, &close(4, CloseReason::Done));
    assert_eq!(closed, Err(DropReason::UnknownFlow));
    let dropped = gateway.forwarder.statistics();
    assert_eq!(dropped.dropped(DropReason::UnknownFlow), 3);
    assert_eq!(dropped.open, 1);
}

#[test]
fn what_an_end_may_not_say_is_dropped() {
    let (mut gateway, alice, _) = Gateway::talking(ItlsLimits::default());
    for (message, reason) in [
        (open(0, "lamp", HELLO), DropReason::UnexpectedMessage),
        (open(7, "lamp", HELLO), DropReason::UnexpectedMessage),
        (
            message(2, Some(&Control::TooLong(9)), &[]),
            DropReason::UnexpectedMessage,
        ),
        (b"\xe2\x09".to_vec(), DropReason::Malformed),
        (b"\xc2".to_vec(), DropReason::Malformed),
        (b"\x42data".to_vec(), DropReason::Malformed),
        (b"\xdf\x00\x02data".to_vec(), DropReason::Malformed),
        (Vec::new(), DropReason::Malformed),
    ] {
        let taken = gateway.take(alice, &message);
        assert_eq!(taken, Err(reason), "{message:02x?}");
    }
    assert_eq!(gateway.forwarder.statistics().open, 1);
}

#[test]
fn flows_are_bounded_for_each_session_and_in_all() {
    let limits = ItlsLimits {
        openings: 1_000,
        flows_per_pair: 1_000,
        messages: 1_000,
        device_messages: 1_000,
        ..ItlsLimits::default()
    };
    let mut gateway = Gateway::new(limits);
    let mut opened = 0;
    let mut numbers = BTreeSet::new();
    for place in 0..40 {
        // The device has one session for every 16 flows, or it would be the first that is full.
        if place % 2 == 0 {
            gateway.device(LAMP);
        }
        let user = gateway.user(place % 2);
        for flow in 1..=9_u16 {
            let [(to, sent)] = &gateway.take(user, &open(flow * 2, "lamp", HELLO)).unwrap()[..]
            else {
                panic!("one message");
            };
            if *to != user {
                let (header, _) = RoutingHeader::decode(sent).unwrap();
                assert_eq!(header.flow % 2, 1);
                assert!(numbers.insert((*to, header.flow)), "given twice");
                opened += 1;
                continue;
            }
            assert_eq!(*sent, close(flow * 2, CloseReason::Busy));
        }
    }
    assert_eq!(opened, 256);
    let statistics = gateway.forwarder.statistics();
    assert_eq!((statistics.open, statistics.busy), (256, 360 - 256));
    // Sixteen flows on each of sixteen sessions, and one octet of header for the most of them.
    assert_eq!(numbers.len(), 256);
    assert!(numbers.iter().filter(|(_, number)| *number < 31).count() >= 15 * 16);
    assert!(numbers.iter().all(|(_, number)| *number <= 31));
}

#[test]
fn one_session_opens_ten_flows_and_one_more_in_ten_seconds() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    gateway.device(LAMP);
    let (alice, bob) = (gateway.user(ALICE), gateway.user(BOB));
    let asked = |gateway: &mut Gateway, from, name: &str| {
        let sent = gateway.take(from, &open(2, name, HELLO)).unwrap();
        gateway
            .take(from, &close(2, CloseReason::Done))
            .unwrap_or_default();
        sent[0].1.clone()
    };
    // Names that are refused count too.
    for place in 0..10 {
        let name = if place % 2 == 0 { "lamp" } else { "nobody" };
        assert_ne!(
            asked(&mut gateway, alice, name),
            close(2, CloseReason::Busy)
        );
    }
    for name in ["lamp", "nobody"] {
        assert_eq!(
            asked(&mut gateway, alice, name),
            close(2, CloseReason::Busy)
        );
    }
    assert_ne!(
        asked(&mut gateway, bob, "lamp"),
        close(2, CloseReason::Busy)
    );
    gateway.now = at(11);
    assert_ne!(
        asked(&mut gateway, alice, "lamp"),
        close(2, CloseReason::Busy)
    );
    assert_eq!(
        asked(&mut gateway, alice, "lamp"),
        close(2, CloseReason::Busy)
    );
}

/// A device has 16 flows in a session: one user doesn't get all of them, by whatever session, and the next one
/// isn't told that it is busy.
#[test]
fn user_has_a_share_of_a_devices_flows() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    let lamp = gateway.device(LAMP);
    let mut opened = 0;
    for session in 0..2 {
        let alice = gateway.user(ALICE);
        for flow in 1..=5 {
            let sent = gateway.take(alice, &open(flow * 2, "lamp", HELLO));
            let is_open = sent.unwrap()[0].0 == lamp;
            opened += usize::from(is_open);
            assert_eq!(is_open, session == 0 && flow <= 4);
        }
    }
    assert_eq!(opened, 4);
    let events = gateway.events();
    let reason = CloseReason::Busy;
    let from = ItlsParty::User(ALICE);
    assert_eq!(events.last(), Some(&ItlsEvent::Refused { from, reason }));
    let bob = gateway.user(BOB);
    let sent = gateway.take(bob, &open(2, "lamp", HELLO)).unwrap();
    assert_eq!(sent[0].0, lamp);
    // Another device is another share, and what a device opens is of the same one.
    gateway.device(METER);
    gateway.now = at(60);
    let alice = gateway.user(ALICE);
    let sent = gateway.take(alice, &open(2, "meter", HELLO)).unwrap();
    assert_ne!(sent[0].0, alice);
    let sent = gateway.take(lamp, &open(2, "alice", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, close(2, CloseReason::Busy))]);
}

/// Who comes again has what is left of its openings, and asking without end writes no trail.
#[test]
fn another_session_brings_no_more_openings() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    let mut refused = 0;
    for _ in 0..5 {
        let alice = gateway.user(ALICE);
        for _ in 0..10 {
            let sent = gateway.take(alice, &open(2, "nobody", HELLO)).unwrap();
            refused += usize::from(sent[0].1 == close(2, CloseReason::Refused));
        }
        gateway.forwarder.end_session(gateway.now, alice);
    }
    assert_eq!(refused, 10);
    let statistics = gateway.forwarder.statistics();
    assert_eq!((statistics.refused, statistics.busy), (10, 40));
    assert_eq!(gateway.events().len(), 10);
    gateway.now = at(11);
    let alice = gateway.user(ALICE);
    let sent = gateway.take(alice, &open(2, "nobody", HELLO)).unwrap();
    assert_eq!(sent[0].1, close(2, CloseReason::Refused));
}

/// Sends `count` messages to the lamp on each of four flows, and returns how many got there.
fn send_on_four_flows(gateway: &mut Gateway, from: OuterSession, count: usize) -> usize {
    let mut passed = 0;
    for flow in 1..=4 {
        let sent = (0..count).filter(|_| gateway.take(from, &inner(flow * 2, DATA)).is_ok());
        passed += sent.count();
    }
    passed
}

fn open_four_flows(gateway: &mut Gateway, from: OuterSession) -> usize {
    let opened = (1..=4).filter(|flow| gateway.take(from, &open(flow * 2, "lamp", HELLO)).is_ok());
    opened.count()
}

/// As many flows with a device as a user may have carry no more than one: others get theirs.
#[test]
fn user_with_four_flows_leaves_a_device_its_rate() {
    let mut gateway = Gateway::new(ItlsLimits::default());
    gateway.device(LAMP);
    let (alice, bob) = (gateway.user(ALICE), gateway.user(BOB));
    assert_eq!(open_four_flows(&mut gateway, alice), 4);
    assert_eq!(send_on_four_flows(&mut gateway, alice, 50), 46);
    assert_eq!(open_four_flows(&mut gateway, bob), 4);
    assert_eq!(send_on_four_flows(&mut gateway, bob, 50), 46);
    // And from then on each has half.
    for secs in 2..10 {
        gateway.now = at(secs);
        assert_eq!(send_on_four_flows(&mut gateway, alice, 50), 25, "{secs}");
        assert_eq!(send_on_four_flows(&mut gateway, bob, 50), 25, "{secs}");
    }
    // Flows that are opened again bring no more, in another session neither, and not even their OPENs.
    gateway.forwarder.end_session(gateway.now, alice);
    let again = gateway.user(ALICE);
    assert_eq!(open_four_flows(&mut gateway, again), 0);
    assert_eq!(send_on_four_flows(&mut gateway, again, 50), 0);
    // Another device has its own.
    gateway.device(METER);
    assert!(gateway.take(again, &open(10, "meter", HELLO)).is_ok());
}

/// However many flows there are: the device's network is a slow one.
#[test]
fn all_flows_to_a_device_share_a_rate() {
    let limits = ItlsLimits {
        messages: 80,
        messages_per_second: 40,
        ..ItlsLimits::default()
    };
    let mut gateway = Gateway::new(limits);
    let lamp = gateway.device(LAMP);
    let (alice, bob) = (gateway.user(ALICE), gateway.user(BOB));
    assert_eq!(open_four_flows(&mut gateway, alice), 4);
    assert_eq!(open_four_flows(&mut gateway, bob), 4);
    assert_eq!(send_on_four_flows(&mut gateway, alice, 50), 76);
    assert_eq!(send_on_four_flows(&mut gateway, bob, 50), 16);
    gateway.now = at(2);
    assert_eq!(send_on_four_flows(&mut gateway, alice, 50), 40);
    assert_eq!(send_on_four_flows(&mut gateway, bob, 50), 10);
    // What comes from it has none.
    let from = (0..200).filter(|_| gateway.take(lamp, &inner(1, DATA)).is_ok());
    assert_eq!(from.count(), 200);
}

#[test]
fn messages_to_a_device_have_a_rate_and_those_from_it_have_none() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    let pass = |gateway: &mut Gateway, from, flow, count: usize| {
        let passed = (0..count).filter(|_| gateway.take(from, &inner(flow, DATA)).is_ok());
        passed.count()
    };
    // The OPEN was one.
    assert_eq!(pass(&mut gateway, alice, 2, 100), 49);
    assert_eq!(pass(&mut gateway, lamp, 1, 100), 100);
    gateway.now = at(2);
    assert_eq!(pass(&mut gateway, alice, 2, 100), 25);
    let again = gateway.take(alice, &open(2, "lamp", HELLO));
    assert_eq!(again, Err(DropReason::RateLimited));
    // Another user has a rate of its own.
    let bob = gateway.user(BOB);
    gateway.take(bob, &open(2, "lamp", HELLO)).unwrap();
    assert_eq!(pass(&mut gateway, bob, 2, 100), 49);
    let dropped = gateway.forwarder.statistics();
    assert_eq!(dropped.dropped(DropReason::RateLimited), 51 + 75 + 1 + 51);
}

/// A flow's first message is one as any other: over the rate it isn't sent, and the opener's next one opens the flow.
#[test]
fn open_over_the_rate_of_messages_is_not_sent() {
    let limits = ItlsLimits {
        messages: 1,
        messages_per_second: 1,
        ..ItlsLimits::default()
    };
    let refused = Err(DropReason::RateLimited);
    let mut gateway = Gateway::new(limits);
    let lamp = gateway.device(LAMP);
    let alice = gateway.user(ALICE);
    let sent = gateway.take(alice, &open(2, "lamp", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, open(1, "alice", HELLO))]);
    assert_eq!(gateway.take(alice, &open(4, "lamp", HELLO)), refused);
    gateway.now = at(2);
    let sent = gateway.take(alice, &open(4, "lamp", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, open(3, "alice", HELLO))]);

    // Nor is what has waited for the device.
    let mut gateway = Gateway::new(limits);
    let alice = gateway.user(ALICE);
    for flow in [2, 4] {
        assert_eq!(
            gateway.take(alice, &open(flow, "lamp", HELLO)),
            Ok(Vec::new())
        );
    }
    let lamp = gateway.device(LAMP);
    assert_eq!(gateway.sent(), [(lamp, open(1, "alice", HELLO))]);
    let statistics = gateway.forwarder.statistics();
    assert_eq!((statistics.open, statistics.to_devices), (2, 1));
    assert_eq!(statistics.dropped(DropReason::RateLimited), 1);
    gateway.now = at(2);
    let sent = gateway.take(alice, &open(4, "lamp", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, open(3, "alice", HELLO))]);
}

#[test]
fn flow_without_a_message_ends_after_an_hour_and_both_are_told() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    gateway.now = at(3_000);
    gateway.take(lamp, &inner(1, DATA)).unwrap();
    let due = gateway.forwarder.poll_timeout().unwrap();
    assert_eq!(due, at(3_601));
    gateway.now = due;
    gateway.forwarder.handle_timeout(due);
    assert_eq!(gateway.sent(), []);
    let due = gateway.forwarder.poll_timeout().unwrap();
    assert_eq!(due, at(6_600));
    gateway.now = due;
    gateway.forwarder.handle_timeout(due);
    let expected = [
        (alice, close(2, CloseReason::Done)),
        (lamp, close(1, CloseReason::Done)),
    ];
    assert_eq!(gateway.sent(), expected);
    assert_eq!(gateway.forwarder.poll_timeout(), None);
    let ItlsEvent::Closed { end, lasted, .. } = gateway.events()[1] else {
        panic!("closed");
    };
    assert_eq!((end, lasted), (FlowEnd::Idle, Duration::from_secs(6_599)));
}

#[test]
fn end_of_an_outer_session_ends_its_flows_and_no_others() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    let (bob, meter) = (gateway.user(BOB), gateway.device(METER));
    gateway.take(alice, &open(4, "meter", HELLO)).unwrap();
    gateway.take(bob, &open(2, "lamp", HELLO)).unwrap();
    gateway.take(lamp, &open(2, "alice", HELLO)).unwrap();
    gateway.forwarder.end_session(gateway.now, lamp);
    let sent: BTreeSet<_> = gateway.sent().into_iter().collect();
    let gone = |session, flow| (session, close(flow, CloseReason::Gone));
    let expected = [gone(alice, 2), gone(alice, 1), gone(bob, 2)];
    assert_eq!(sent, BTreeSet::from(expected));
    let sent = gateway.take(meter, &inner(1, ANSWER)).unwrap();
    assert_eq!(sent, [(alice, inner(4, ANSWER))]);
    let late = gateway.take(lamp, &inner(1, DATA));
    assert_eq!(late, Err(DropReason::UnknownPeer));
    // A new session of the device's is another one: nothing goes on there by itself.
    let lamp = gateway.device(LAMP);
    let sent = gateway.take(lamp, &inner(1, DATA)).unwrap();
    assert_eq!(sent, [(lamp, close(1, CloseReason::UnknownFlow))]);
    // To whom is gone, nothing is sent.
    gateway.take(alice, &open(6, "lamp", HELLO)).unwrap();
    gateway.forwarder.end_session(gateway.now, alice);
    gateway.forwarder.end_session(gateway.now, lamp);
    let sent: Vec<_> = gateway.sent();
    assert_eq!(sent, [(meter, close(1, CloseReason::Gone))]);
}

#[test]
fn sender_is_told_of_what_did_not_fit_the_other_hop() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    let told = gateway.forwarder.too_long(lamp, 1, 1_400).unwrap();
    assert_eq!((told.to, told.flow), (alice, 2));
    assert_eq!(told.content, ItlsContent::Control(Control::TooLong(1_400)));
    let told = gateway.forwarder.too_long(alice, 2, 70_000).unwrap();
    assert_eq!((told.to, told.flow), (lamp, 1));
    assert_eq!(
        told.content,
        ItlsContent::Control(Control::TooLong(u16::MAX))
    );
    assert_eq!(gateway.forwarder.too_long(alice, 4, 9), None);
    // What waits for a peer that doesn't read is nobody's message any more.
    gateway.forwarder.count_undelivered(alice, 2);
    assert_eq!(gateway.forwarder.statistics().undelivered, 1);
    let dropped = gateway.forwarder.statistics();
    assert_eq!(dropped.dropped(DropReason::TooLong), 3);
}

#[test]
fn numbers_of_the_gateway_are_not_given_again_at_once() {
    let limits = ItlsLimits {
        openings: 100,
        ..ItlsLimits::default()
    };
    let mut gateway = Gateway::new(limits);
    let (_lamp, alice) = (gateway.device(LAMP), gateway.user(ALICE));
    let mut numbers = Vec::new();
    for _ in 0..16 {
        let [(_, sent)] = &gateway.take(alice, &open(2, "lamp", HELLO)).unwrap()[..] else {
            panic!("one message");
        };
        numbers.push(RoutingHeader::decode(sent).unwrap().0.flow);
        gateway.take(alice, &close(2, CloseReason::Done)).unwrap();
    }
    let expected: Vec<u16> = (1..30).step_by(2).chain([1]).collect();
    assert_eq!(numbers, expected);
}

/// Whoever is asked for the light layer agrees by using it; hellos and control stay in records.
#[test]
fn light_layer_is_agreed_on_for_each_flow_and_over_datagrams_alone() {
    let limits = ItlsLimits {
        light_layer: true,
        ..ItlsLimits::default()
    };
    let mut gateway = Gateway::new(limits);
    let (lamp, alice) = (gateway.device(LAMP), gateway.user(ALICE));
    let asks = |flow, name, hello| message(flow, Some(&opening(name, true, hello)), &[]);
    // The gateway asks by its own OPEN, whatever the Internet end says: that one has no datagrams.
    let sent = gateway.take(alice, &asks(2, "lamp", HELLO)).unwrap();
    assert_eq!(sent, [(lamp, asks(1, "alice", HELLO))]);
    let now = gateway.now;
    let mut light = |from, message: &[u8], is_light| match gateway
        .forwarder
        .handle_message(now, from, message, is_light)
    {
        ItlsOutcome::Deliver(delivery) => Ok(delivery.light_message().is_some()),
        ItlsOutcome::Dropped(reason) => Err(reason),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(light(alice, &inner(2, DATA), false), Ok(false));
    // The Internet end's hop has no such layer.
    let unexpected = Err(DropReason::UnexpectedMessage);
    assert_eq!(light(alice, &inner(2, DATA), true), unexpected);
    assert_eq!(light(lamp, &inner(1, DATA), true), Ok(false));
    assert_eq!(light(alice, &inner(2, DATA), false), Ok(true));
    assert_eq!(light(alice, &inner(2, HELLO), false), Ok(false));
    assert_eq!(light(alice, &inner(2, ANSWER), false), Ok(false));
    assert_eq!(light(lamp, &close(1, CloseReason::Done), true), unexpected);
    // One that the device opens and asks for it has it at once; one that it doesn't ask for has not.
    gateway.take(lamp, &asks(2, "alice", HELLO)).unwrap();
    gateway.take(lamp, &open(4, "alice", HELLO)).unwrap();
    let mut light = |from, message: &[u8], is_light| match gateway
        .forwarder
        .handle_message(now, from, message, is_light)
    {
        ItlsOutcome::Deliver(delivery) => Ok(delivery.light_message().is_some()),
        ItlsOutcome::Dropped(reason) => Err(reason),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(light(alice, &inner(1, DATA), false), Ok(true));
    assert_eq!(light(alice, &inner(3, DATA), false), Ok(false));
    assert_eq!(light(lamp, &inner(4, DATA), true), unexpected);
}

#[derive(Clone, Debug)]
enum Step {
    Begin(ItlsParty, bool),
    End(usize),
    Message(usize, Vec<u8>, bool),
    Unreachable(usize),
    TooLong(usize, u16),
    Wait(u64),
}

fn party() -> impl Strategy<Value = ItlsParty> {
    prop_oneof![
        Just(ItlsParty::Device(LAMP)),
        Just(ItlsParty::Device(METER)),
        Just(ItlsParty::User(ALICE)),
        Just(ItlsParty::User(BOB)),
    ]
}

fn some_message() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![Just("lamp"), Just("meter"), Just("alice"), Just("nobody")];
    prop_oneof![
        4 => (0..12_u16, name, vec(any::<u8>(), 0..12)).prop_map(|(flow, name, it)| open(flow, name, &it)),
        4 => (0..12_u16, vec(any::<u8>(), 1..12)).prop_map(|(flow, it)| inner(flow, &it)),
        1 => (0..12_u16).prop_map(|flow| close(flow, CloseReason::Done)),
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (party(), any::<bool>()).prop_map(|(party, takes)| Step::Begin(party, takes)),
        1 => (0..8_usize).prop_map(Step::End),
        16 => (0..8_usize, some_message(), any::<bool>()).prop_map(|(at, it, light)| Step::Message(at, it, light)),
        1 => prop_oneof![Just(LAMP), Just(METER)].prop_map(Step::Unreachable),
        1 => (0..8_usize, 0..12_u16).prop_map(|(at, flow)| Step::TooLong(at, flow)),
        1 => (1..4_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Whatever ends say and whenever sessions come and go: messages go to sessions that there are, an
    /// Internet end's to devices and a device's to Internet ends; what is said between the ends stays as it
    /// is; each flow opens once and ends once; the limits hold.
    #[test]
    fn forwarder_keeps_its_promises(steps in vec(step(), 1..120), light_layer: bool) {
        let limits = ItlsLimits {
            flows: 12,
            flows_per_session: 4,
            openings: 100,
            light_layer,
            ..ItlsLimits::default()
        };
        let mut gateway = Gateway::new(limits);
        let mut sessions: Vec<(OuterSession, ItlsParty)> = Vec::new();
        let (mut opened, mut closed) = (0_u64, 0_u64);
        for step in steps {
            let mut sent = Vec::new();
            match step {
                Step::Begin(party, takes) if sessions.len() < 8 => {
                    let begun = gateway.forwarder.begin_session(gateway.now, party, takes);
                    sessions.push((begun, party));
                }
                Step::Begin(..) => {}
                Step::End(place) if place < sessions.len() => {
                    let (session, _) = sessions.remove(place);
                    gateway.forwarder.end_session(gateway.now, session);
                }
                Step::End(_) => {}
                Step::Message(place, message, is_light) if place < sessions.len() => {
                    let (from, party) = sessions[place];
                    let now = gateway.now;
                    match gateway.forwarder.handle_message(now, from, &message, is_light) {
                        ItlsOutcome::Deliver(delivery) => {
                            let mut out = [0; 800];
                            let len = delivery.encode(&mut out).unwrap();
                            let to = sessions.iter().find(|(it, _)| *it == delivery.to);
                            let (_, to) = to.expect("a session that there is");
                            let is_answer = delivery.to == from;
                            let is_device = |party: &ItlsParty| matches!(party, ItlsParty::Device(_));
                            prop_assert!(is_answer || is_device(to) != is_device(&party));
                            if let ItlsContent::Inner(inner) = delivery.content {
                                prop_assert!(!is_answer);
                                prop_assert!(message.ends_with(inner));
                            }
                            prop_assert!(!is_light || !is_answer || len <= 5);
                            prop_assert!(delivery.light_message().is_none() || light_layer && is_device(to));
                        }
                        ItlsOutcome::Await { device } => {
                            prop_assert!(!is_light && (device == LAMP || device == METER));
                        }
                        ItlsOutcome::Closed | ItlsOutcome::Dropped(_) => {}
                    }
                }
                Step::Message(..) => {}
                Step::Unreachable(device) => gateway.forwarder.unreachable(gateway.now, device),
                Step::TooLong(place, flow) if place < sessions.len() => {
                    let (to, _) = sessions[place];
                    let told = gateway.forwarder.too_long(to, flow, 9);
                    prop_assert!(told.is_none_or(|told| told.to != to));
                }
                Step::TooLong(..) => {}
                Step::Wait(secs) => {
                    gateway.now = gateway.now + Duration::from_secs(secs);
                    gateway.forwarder.handle_timeout(gateway.now);
                }
            }
            sent.extend(gateway.sent());
            for (to, _) in &sent {
                prop_assert!(sessions.iter().any(|(it, _)| it == to));
            }
            for event in gateway.events() {
                match event {
                    ItlsEvent::Opened(_) => opened += 1,
                    ItlsEvent::Closed { record, .. } => {
                        closed += 1;
                        prop_assert!(record.device == LAMP || record.user == ALICE || !record.is_of_device);
                    }
                    ItlsEvent::Refused { .. } => {}
                }
            }
            let statistics = gateway.forwarder.statistics();
            prop_assert_eq!(statistics.open, opened - closed);
            prop_assert!(statistics.open <= 12);
        }
        // Once all sessions are over, nothing is left.
        for (session, _) in sessions {
            gateway.forwarder.end_session(gateway.now, session);
        }
        let statistics = gateway.forwarder.statistics();
        prop_assert_eq!((statistics.open, gateway.forwarder.poll_timeout()), (0, None));
        prop_assert_eq!(gateway.sent(), []);
    }
}

/// A table of every pair is no state of messages: its size follows from flows alone.
#[test]
fn messages_leave_nothing_behind() {
    let (mut gateway, alice, lamp) = Gateway::talking(ItlsLimits::default());
    let before = format!("{:?}", gateway.forwarder).len();
    let mut seen = BTreeMap::new();
    for turn in 0..2_000_u64 {
        gateway.now = at(10 + turn);
        gateway.take(alice, &inner(2, DATA)).unwrap();
        gateway.take(lamp, &inner(1, DATA)).unwrap();
        gateway.take(alice, &inner(8, DATA)).unwrap();
        *seen
            .entry(format!("{:?}", gateway.forwarder).len() / 64)
            .or_insert(0) += 1;
    }
    let after = format!("{:?}", gateway.forwarder).len();
    // Counters and times have grown by some digits.
    assert!(after < before + 64, "{before} to {after}: {seen:?}");
}
