//! Mode `auto` end to end in virtual time: a client and a device with a DTLS session of their own, a gateway
//! between them, and two carriers that lose, delay and are blocked (`docs/specs/auto.md`). The gateway also has
//! a `terminate` key for the same device.
//!
//! The UDP carrier's own DTLS session has tests of its own; here it is what it carries.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod asking;
mod scenario;

use std::collections::BTreeMap;
use std::ops::Range;

use hedgerow_core::{ChannelError, Credentials, DropReason, Env, Instant, PeerId, Psk};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::AssociationId;
use hedgerow_exchange::{OutgoingRequest, RequestError};
use hedgerow_proxy::{
    CarrierChoice, CarrierKind, CarrierMessage, CarrierRole, CarrierState, TunnelCarriers,
    udp_payload_message,
};
use hedgerow_sim::TestRng;
use rand_core::Rng;
pub use scenario::*;

pub struct Net<'k> {
    pub scenario: Scenario,
    pub now: Instant,
    pub rng: TestRng,
    pub client: Client<'k>,
    pub device: Client<'k>,
    pub near: TunnelCarriers,
    pub far: TunnelCarriers,
    pub association: AssociationId,
    pub due: BTreeMap<(Instant, u64), (To, Vec<u8>)>,
    pub sequence: u64,
    /// When the last message on TCP arrives, to the gateway and to the client: TCP keeps order.
    pub tcp: [Instant; 2],
    pub fates: BTreeMap<Vec<u8>, Fate>,
    /// Losses by the network, and when.
    pub losses: Vec<Instant>,
    pub executed: BTreeMap<Vec<u8>, u32>,
    /// Each request's beginning and end, and its name.
    pub answered: Vec<(Instant, Instant)>,
    pub requests: Vec<OutgoingRequest>,
    /// What the client's end chose, and when.
    pub states: Vec<(Instant, CarrierState)>,
    pub by_udp: u32,
    pub attack: Option<Attack<'k>>,
    /// All that came to the device, and all that came to the client, in order.
    pub given: [Vec<Given>; 2],
    /// Requests that failed, and whatever ended the session.
    pub failed: u32,
    /// Requests that were refused because they were too old.
    pub unauthorized: u32,
    /// Records of a handshake that was over and whose session had moved on, which TCP delivered late: there is
    /// nobody at their address any more.
    pub late: u64,
    pub failure: Option<RequestError>,
    pub refused: Option<ChannelError>,
    pub closed: u32,
    pub established: u32,
}

impl<'k> Net<'k> {
    pub fn new(
        seed: u64,
        scenario: &Scenario,
        store: &'k Store,
        nobody: &'k Store,
        credentials: &'k Credentials<'k>,
    ) -> Self {
        let mut rng = TestRng::new(seed);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let mut client = Client::client(SoftCrypto, nobody, config(scenario, false));
        let device = Client::server(SoftCrypto, store, config(scenario, true), env);
        let association = client.connect(env, DEVICE, Some(&credentials)).unwrap();
        Self {
            scenario: scenario.clone(),
            now: Instant::ZERO,
            client,
            device,
            near: TunnelCarriers::new(CarrierRole::Client, Instant::ZERO),
            far: TunnelCarriers::new(CarrierRole::Gateway, Instant::ZERO),
            association,
            due: BTreeMap::new(),
            sequence: 0,
            tcp: [Instant::ZERO; 2],
            fates: BTreeMap::new(),
            losses: Vec::new(),
            executed: BTreeMap::new(),
            answered: Vec::new(),
            requests: Vec::new(),
            late: 0,
            failure: None,
            states: vec![(Instant::ZERO, CarrierState::TcpOnly)],
            by_udp: 0,
            attack: None,
            given: [Vec::new(), Vec::new()],
            failed: 0,
            unauthorized: 0,
            refused: None,
            closed: 0,
            established: 0,
            rng,
        }
    }

    pub fn asked(&self) -> u32 {
        u32::try_from(self.answered.len()).unwrap()
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    pub fn is_blocked(&self) -> bool {
        let since = self.now.saturating_since(Instant::ZERO);
        (ms(self.scenario.blocked.start)..ms(self.scenario.blocked.end)).contains(&since)
    }

    pub fn put(&mut self, at: Instant, to: To, bytes: Vec<u8>) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), (to, bytes));
    }

    /// Puts a message on a carrier, and says whether the network loses it.
    pub fn carry(&mut self, carrier: CarrierKind, is_up: bool, message: Vec<u8>) -> bool {
        let to = match is_up {
            true => To::Gateway(carrier),
            false => To::Client(carrier),
        };
        let loss = self.scenario.loss;
        match carrier {
            CarrierKind::Tcp => {
                // What is lost is sent again, and whatever is behind it waits.
                let (mut delay, mut again) = (ms(40), ms(300));
                while self.chance(loss) {
                    delay += again;
                    again *= 2;
                }
                let last = &mut self.tcp[usize::from(is_up)];
                *last = (*last).max(self.now + delay);
                let at = *last;
                self.put(at, to, message);
                false
            }
            CarrierKind::Udp => {
                if self.is_blocked() || self.chance(loss) {
                    return true;
                }
                let jitter = match self.scenario.reorders {
                    true => u64::from(self.rng.next_u32() % 60),
                    false => 0,
                };
                let at = self.now + ms(15 + jitter);
                self.put(at, to, message);
                false
            }
        }
    }

    /// Sends a datagram of the inner session's where its end chooses.
    pub fn send(&mut self, is_up: bool, datagram: &[u8]) {
        let end = if is_up { &mut self.near } else { &mut self.far };
        let carriers: &[CarrierKind] = match end.choose(self.now, datagram) {
            CarrierChoice::Tcp => &[CarrierKind::Tcp],
            CarrierChoice::Udp => &[CarrierKind::Udp],
            CarrierChoice::Both => &[CarrierKind::Tcp, CarrierKind::Udp],
        };
        for &carrier in carriers {
            self.send_on(carrier, is_up, datagram);
        }
    }

    pub fn send_on(&mut self, carrier: CarrierKind, is_up: bool, datagram: &[u8]) {
        let message = udp_payload_message(datagram).into_vec();
        self.by_udp += u32::from(carrier == CarrierKind::Udp);
        let is_lost = self.carry(carrier, is_up, message);
        let fate = self.fates.entry(datagram.to_vec()).or_default();
        fate.sent += 1;
        fate.lost += u32::from(is_lost);
        if is_lost {
            self.losses.push(self.now);
        }
    }

    /// Sends what all have to send, and asks the next request when it is time.
    pub fn transmit(&mut self) {
        let mut out = [0; 1_500];
        loop {
            let env = &mut Env::new(self.now, &mut self.rng);
            let Some((_, len)) = self.client.poll_transmit(env, &mut out) else {
                break;
            };
            self.send(true, &out[..len]);
        }
        loop {
            let env = &mut Env::new(self.now, &mut self.rng);
            let Some((to, len)) = self.device.poll_transmit(env, &mut out) else {
                break;
            };
            self.leg(To::FromDevice(to), &out[..len]);
        }
        let now = self.now;
        if self.near.poll_open(now) {
            let end = Instant::ZERO + ms(self.scenario.blocked.end);
            let (after, opens) = match self.is_blocked() {
                false => (ms(60), true),
                true if end.saturating_since(now) < ms(9_000) => {
                    (end.saturating_since(now) + ms(900), true)
                }
                true => (ms(10_000), false),
            };
            self.put(now + after, To::Opened(opens), Vec::new());
        }
        for is_up in [true, false] {
            let end = if is_up { &mut self.near } else { &mut self.far };
            end.handle_timeout(now);
            let mut messages = Vec::new();
            while let Some((carrier, message)) = end.poll_message(now) {
                messages.push((carrier, message.into_vec()));
            }
            for (carrier, message) in messages {
                self.carry(carrier, is_up, message);
            }
        }
        let state = self.near.state();
        if self.states.last().unwrap().1 != state {
            self.states.push((now, state));
        }
    }

    pub fn leg(&mut self, to: To, datagram: &[u8]) {
        if self.chance(self.scenario.leg_loss) {
            self.losses.push(self.now);
            return;
        }
        let copies = match self.scenario.leg_reorders {
            true => 1 + u32::from(self.chance(10)),
            false => 1,
        };
        for _ in 0..copies {
            let jitter = match self.scenario.leg_reorders {
                true => u64::from(self.rng.next_u32() % 60),
                false => 0,
            };
            let at = self.now + ms(10 + jitter);
            self.put(at, to, datagram.to_vec());
        }
    }

    pub fn receive(&mut self, to: To, bytes: &[u8]) {
        let now = self.now;
        match to {
            To::Opened(true) => {
                self.near.udp_opened(now);
                self.far.udp_opened(now);
            }
            To::Opened(false) => self.near.udp_closed(now),
            To::Gateway(carrier) => {
                let message = CarrierMessage::decode_exact(bytes).unwrap();
                let Some(payload) = self.far.handle_message(now, carrier, message) else {
                    return;
                };
                self.fates.get_mut(payload).unwrap().arrived += 1;
                // A handshake belongs to its address until it is over, and so does a record without a
                // connection ID (content type 25 has one; RFC 9146 §4).
                let may_move = self.scenario.by_connection_id
                    && self.established > 0
                    && payload.first() == Some(&25);
                let from = match carrier {
                    CarrierKind::Udp if may_move => GATEWAY_UDP,
                    _ => GATEWAY,
                };
                if self.is_honest(Way::Up(carrier), payload) {
                    self.leg(To::Device(from), payload);
                }
            }
            To::Client(carrier) => {
                let message = CarrierMessage::decode_exact(bytes).unwrap();
                let Some(payload) = self.near.handle_message(now, carrier, message) else {
                    return;
                };
                self.fates.get_mut(payload).unwrap().arrived += 1;
                let payload = payload.to_vec();
                self.give_client(&payload);
            }
            To::Device(from) => self.give_device(from, bytes),
            To::FromDevice(_) if !self.is_honest(Way::Down, bytes) => {}
            To::FromDevice(to) if self.scenario.by_connection_id => {
                let carrier = match to {
                    GATEWAY_UDP => CarrierKind::Udp,
                    _ => CarrierKind::Tcp,
                };
                self.send_on(carrier, false, bytes);
            }
            To::FromDevice(_) => self.send(false, bytes),
        }
    }

    /// Has the gateway do with a datagram what it likes, and says whether it goes on as it should.
    pub fn is_honest(&mut self, way: Way, datagram: &[u8]) -> bool {
        let seen = Seen {
            way,
            datagram,
            at_ms: u64::try_from(self.now.saturating_since(Instant::ZERO).as_millis()).unwrap(),
            asked: self.asked(),
        };
        let Some(attack) = &mut self.attack else {
            return true;
        };
        let act = attack(&seen, &mut self.rng);
        let is_honest = matches!(act, Act::Beside(_));
        let (Act::Beside(sent) | Act::Instead(sent)) = act;
        for (after_ms, to, datagram) in sent {
            let bytes = match to {
                To::Client(_) => {
                    let fate = self.fates.entry(datagram.clone()).or_default();
                    fate.sent += 1;
                    udp_payload_message(&datagram).into_vec()
                }
                _ => datagram,
            };
            self.put(self.now + ms(after_ms), to, bytes);
        }
        is_honest
    }

    /// Delivers what is on its way still.
    pub fn drain(&mut self) {
        while let Some(entry) = self.due.first_entry() {
            self.now = self.now.max(entry.key().0);
            let (to, bytes) = entry.remove();
            self.receive(to, &bytes);
        }
    }

    /// What has to hold whatever happened on the way.
    pub fn check(&self) {
        assert_eq!((self.failed, self.refused, self.closed), (0, None, 0));
        assert_eq!(
            self.executed.len(),
            usize::try_from(self.scenario.requests).unwrap()
        );
        assert!(
            self.executed.values().all(|&times| times == 1),
            "executed twice"
        );
        for end in [&self.client, &self.device] {
            assert_eq!(end.dropped(DropReason::TooOld), 0, "overtaken too far");
        }
    }

    /// What has to hold in addition where the gateway does as it should: what the network didn't lose has
    /// arrived, and no end dropped a record of the session but as a second copy.
    pub fn check_nothing_else_was_lost(&self) {
        for fate in self.fates.values() {
            assert_eq!(fate.arrived + fate.lost, fate.sent);
        }
        for end in [&self.client, &self.device] {
            for reason in [
                DropReason::Malformed,
                DropReason::UnsupportedVersion,
                DropReason::TooOld,
                DropReason::AuthenticationFailed,
                DropReason::ConnectionIdMismatch,
            ] {
                assert_eq!(end.dropped(reason), 0, "{reason:?}");
            }
        }
        assert_eq!(self.client.dropped(DropReason::UnknownPeer), 0);
        assert_eq!(self.device.dropped(DropReason::UnknownPeer), self.late);
    }

    pub fn was_active(&self, times: Range<u64>) -> bool {
        let mut states = self
            .states
            .iter()
            .zip(self.states.iter().skip(1).map(|it| it.0).chain([self.now]));
        states.any(|((from, state), to)| {
            *state == CarrierState::UdpActive && *from < at(times.end) && to > at(times.start)
        })
    }
}

pub const IDENTITY: &[u8] = b"reader";
pub const KEY: &[u8] = b"an end's own key";
/// By which the gateway asks the same device in mode `terminate`.
pub const TERMINATE: &[u8] = b"the gateway's own";

pub fn end_to_end(key: &[u8]) -> Psk {
    Psk::new(key).unwrap().into_end_to_end().unwrap()
}

pub fn run(seed: u64, scenario: &Scenario, look: impl FnOnce(&Net<'_>)) {
    run_with(seed, scenario, end_to_end(KEY), None, |net| {
        net.drain();
        net.check();
        net.check_nothing_else_was_lost();
        look(net);
    });
}

/// Runs with an attack, and with a device that has another key than the client.
pub fn run_with(
    seed: u64,
    scenario: &Scenario,
    of_device: Psk,
    attack: Option<Attack<'_>>,
    look: impl FnOnce(&mut Net<'_>),
) {
    let gateways = Psk::new(TERMINATE).unwrap();
    let store = Store(vec![(IDENTITY, of_device), (b"gateway", gateways)]);
    let nobody = Store(Vec::new());
    let psk = end_to_end(KEY);
    let credentials = Credentials {
        psk_identity: IDENTITY,
        psk: &psk,
        peer: PeerId(1),
    };
    let mut net = Net::new(seed, scenario, &store, &nobody, &credentials);
    net.attack = attack;
    net.run();
    look(&mut net);
}
