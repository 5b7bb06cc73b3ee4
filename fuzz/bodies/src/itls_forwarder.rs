//! The flows of a gateway in mode `itls`, `hedgerow-proxy`.

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::Instant;
use hedgerow_itls::{Control, RoutingHeader};
use hedgerow_proxy::{
    ItlsContent, ItlsEvent, ItlsForwarder, ItlsLimits, ItlsOutcome, ItlsParty, ItlsPolicy,
    OuterSession,
};

/// Runs a forwarder by a script of steps, each an operation, a length and so many bytes, and asserts that
/// it stays within its bounds: messages go to the other kind of end and unchanged, an answer is shorter
/// than six bytes, flows are bounded, and each ends once.
///
/// Operations, by their low three bits: 0 to 3 the bytes arrive on one of eight sessions, which the next three
/// bits say, by the light layer if the highest one is set; 4 a session of a party begins in the place that
/// they say; 5 the one there ends; 6 a device can't be had; 7 time passes.
pub fn itls_forwarder(input: &[u8]) {
    let mut gateway = Gateway::new();
    let mut rest = input;
    while let Some((&[operation, len], after)) = rest.split_first_chunk() {
        let (bytes, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        gateway.step(operation, bytes);
        gateway.drain();
    }
    for place in 0..8 {
        gateway.end(place);
    }
    gateway.drain();
    assert_eq!(gateway.open, 0, "no flow without a session");
    assert_eq!(gateway.forwarder.poll_timeout(), None);
}

struct Gateway {
    forwarder: ItlsForwarder,
    sessions: BTreeMap<u8, (OuterSession, ItlsParty)>,
    now: Instant,
    open: u64,
}

impl Gateway {
    fn new() -> Self {
        let policy = ItlsPolicy::new()
            .with_device(0, "lamp", &[0])
            .with_device(1, "meter", &[])
            .with_user(0, "alice")
            .with_user(1, "bob");
        let limits = ItlsLimits {
            flows: 6,
            flows_per_session: 3,
            openings: 20,
            messages: 8,
            light_layer: true,
            ..ItlsLimits::default()
        };
        Self {
            forwarder: ItlsForwarder::new(policy, limits),
            sessions: BTreeMap::new(),
            now: Instant::ZERO,
            open: 0,
        }
    }

    fn step(&mut self, operation: u8, bytes: &[u8]) {
        let place = operation >> 3 & 7;
        let number = usize::from(operation >> 6 & 1);
        match operation & 7 {
            0..=3 => self.arrive(place, bytes, operation & 0x80 != 0),
            4 => {
                self.end(place);
                let party = match operation & 0x80 {
                    0 => ItlsParty::Device(number),
                    _ => ItlsParty::User(number),
                };
                let takes_flows = bytes.is_empty();
                let session = self.forwarder.begin_session(self.now, party, takes_flows);
                self.sessions.insert(place, (session, party));
            }
            5 => self.end(place),
            6 => self.forwarder.unreachable(self.now, number),
            _ => {
                self.now = self.now + Duration::from_secs(u64::from(place) * 700);
                self.forwarder.handle_timeout(self.now);
            }
        }
    }

    fn end(&mut self, place: u8) {
        if let Some((session, _)) = self.sessions.remove(&place) {
            self.forwarder.end_session(self.now, session);
        }
    }

    fn arrive(&mut self, place: u8, bytes: &[u8], is_light: bool) {
        let Some(&(from, party)) = self.sessions.get(&place) else {
            return;
        };
        let outcome = self
            .forwarder
            .handle_message(self.now, from, bytes, is_light);
        let ItlsOutcome::Deliver(delivery) = outcome else {
            return;
        };
        let mut out = [0; 400];
        let len = delivery.encode(&mut out).expect("there is room");
        let (header, _) = RoutingHeader::decode(&out[..len]).expect("a message");
        assert_eq!(header.flow, delivery.flow);
        if delivery.to == from {
            assert!(len < 6, "an answer is short");
            return;
        }
        let mut others = self.sessions.values();
        let (_, to) = others.find(|(it, _)| *it == delivery.to).expect("is there");
        let is_device = |party: &ItlsParty| matches!(party, ItlsParty::Device(_));
        assert_ne!(is_device(to), is_device(&party));
        match delivery.content {
            ItlsContent::Inner(inner) => assert!(bytes.ends_with(inner)),
            ItlsContent::Control(Control::Open(open)) => {
                assert!(bytes.ends_with(open.message));
                assert_eq!(
                    open.name,
                    name(party),
                    "whoever asks is named by the gateway"
                );
            }
            ItlsContent::Control(_) => {}
        }
    }

    fn drain(&mut self) {
        let mut out = [0; 800];
        while let Some((to, _, len)) = self.forwarder.poll_transmit(&mut out) {
            RoutingHeader::decode(&out[..len]).expect("a message");
            assert!(self.sessions.values().any(|(it, _)| *it == to));
        }
        while let Some(event) = self.forwarder.poll_event() {
            match event {
                ItlsEvent::Opened(_) => self.open += 1,
                ItlsEvent::Closed { .. } => self.open -= 1,
                ItlsEvent::Refused { .. } => {}
            }
        }
        assert_eq!(self.forwarder.statistics().open, self.open);
        assert!(self.open <= FLOWS, "more flows than allowed");
    }
}

/// The policy's name for a party.
const fn name(party: ItlsParty) -> &'static [u8] {
    match party {
        ItlsParty::Device(0) => b"lamp",
        ItlsParty::Device(_) => b"meter",
        ItlsParty::User(0) => b"alice",
        ItlsParty::User(_) => b"bob",
    }
}

const FLOWS: u64 = 6;
