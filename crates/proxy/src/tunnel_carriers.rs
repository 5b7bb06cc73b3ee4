//! One end of a tunnel with two carriers: what goes on which, and what comes on either
//! (`docs/specs/auto.md`).

use std::collections::VecDeque;

use hedgerow_core::Instant;

use crate::carrier_message::{
    CarrierMessage, MAX_UDP_CARRIER_MESSAGE_LEN, MIN_PROBE_LEN, encode_echo, encode_probe,
    encode_udp_payload,
};
use crate::carrier_selector::{
    CarrierChoice, CarrierKind, CarrierRole, CarrierSelector, CarrierState,
};

/// The same at both ends. Its owner moves messages: in capsules on the TCP carrier, in records on the
/// UDP carrier.
#[derive(Debug)]
pub struct TunnelCarriers {
    selector: CarrierSelector,
    /// Echoes that wait to be fetched.
    echoes: VecDeque<(CarrierKind, Box<[u8]>)>,
}

impl TunnelCarriers {
    /// Begins with the TCP carrier alone.
    pub fn new(role: CarrierRole, now: Instant) -> Self {
        Self {
            selector: CarrierSelector::new(role, now),
            echoes: VecDeque::new(),
        }
    }

    /// Returns what is thought of the carriers.
    pub const fn state(&self) -> CarrierState {
        self.selector.state()
    }

    /// Says where a UDP payload goes that is sent now. [`encode_udp_payload`] makes the message.
    pub fn choose(&mut self, now: Instant, payload: &[u8]) -> CarrierChoice {
        self.selector.choose(now, payload.len())
    }

    /// Takes in what came on a carrier, and returns the UDP payload if it was one.
    pub fn handle_message<'d>(
        &mut self,
        now: Instant,
        carrier: CarrierKind,
        message: CarrierMessage<'d>,
    ) -> Option<&'d [u8]> {
        match message {
            CarrierMessage::UdpPayload(payload) => {
                self.selector.received(now);
                Some(payload)
            }
            CarrierMessage::Probe(probe) => {
                // Whoever asks faster than is answered gets fewer answers.
                if self.echoes.len() < MAX_ECHOES {
                    let mut echo = [0; MAX_UDP_CARRIER_MESSAGE_LEN];
                    let len = encode_echo(probe, &mut echo).unwrap_or_default();
                    let echo = echo.get(..len).unwrap_or_default();
                    self.echoes.push_back((carrier, echo.into()));
                }
                None
            }
            CarrierMessage::Echo(number) => {
                self.selector.handle_echo(now, carrier, number);
                None
            }
        }
    }

    /// Returns the next probe or echo to send, if any, and on which carrier.
    pub fn poll_message(&mut self, now: Instant) -> Option<(CarrierKind, Box<[u8]>)> {
        if let Some(echo) = self.echoes.pop_front() {
            return Some(echo);
        }
        let (carrier, number) = self.selector.poll_probe(now)?;
        let len = match carrier {
            CarrierKind::Tcp => MIN_PROBE_LEN,
            // What comes back says that the path carries everything that is sent there.
            CarrierKind::Udp => MAX_UDP_CARRIER_MESSAGE_LEN,
        };
        let mut probe = vec![0; len].into_boxed_slice();
        encode_probe(number, len, &mut probe)?;
        Some((carrier, probe))
    }

    /// Says, once, that a client is to open a UDP carrier now.
    pub fn poll_open(&mut self, now: Instant) -> bool {
        self.selector.poll_open(now)
    }

    /// There is a UDP carrier, another one than before.
    pub fn udp_opened(&mut self, now: Instant) {
        self.selector.udp_opened(now);
    }

    /// There is no UDP carrier any more, or none came about.
    pub fn udp_closed(&mut self, now: Instant) {
        self.selector.udp_closed(now);
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.selector.handle_timeout(now);
    }

    /// Returns when [`Self::handle_timeout`], [`Self::poll_message`] or [`Self::poll_open`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.selector.poll_timeout()
    }
}

/// Makes the message of a UDP payload.
pub fn udp_payload_message(payload: &[u8]) -> Box<[u8]> {
    let mut message = vec![0; payload.len().saturating_add(1)].into_boxed_slice();
    // There is room for the payload and its context ID of one byte.
    let len = encode_udp_payload(payload, &mut message);
    debug_assert_eq!(len, Some(message.len()));
    message
}

/// Echoes that wait, more than the other end has probes under way.
const MAX_ECHOES: usize = 32;
