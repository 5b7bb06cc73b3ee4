//! Mode `auto` end to end in virtual time: a client and a device with a DTLS session of their own, a gateway
//! between them, and two carriers that lose, delay and are blocked (`docs/specs/auto.md`).
//!
//! The UDP carrier's own DTLS session has tests of its own; here it is what it carries.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_core::{Credentials, DropReason, Env, Instant, PeerId, Psk};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    Address, AssociationId, Config, ConnectionIdFormat, ConnectionIds, Endpoint, Event,
    ForwardSecrecy, SecurityPolicy,
};
use hedgerow_exchange::{Request, Response, TransmissionParameters};
use hedgerow_handshake::{Settings, Timers};
use hedgerow_proxy::{
    CarrierChoice, CarrierKind, CarrierMessage, CarrierRole, CarrierState, TunnelCarriers,
    udp_payload_message,
};
use hedgerow_record::CipherSuite;
use hedgerow_sim::{TestRng, for_each_seed};
use rand_core::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Host(u8);

impl Address for Host {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&[self.0])
    }
}

/// The device, as the client's link has it.
const DEVICE: Host = Host(1);
/// The gateway's address towards the device, and a second one where each carrier has its own.
const GATEWAY: Host = Host(2);
const GATEWAY_UDP: Host = Host(3);

type Store = (&'static [u8], Psk, PeerId);
type Client<'k> = Endpoint<Host, SoftCrypto, &'k Store, &'k Credentials<'k>>;

/// What happens on the way.
#[derive(Clone)]
struct Scenario {
    /// Of a hundred messages, how many each carrier loses in each direction; TCP sends them again.
    loss: u32,
    /// Of a hundred datagrams, how many the device's leg loses in each direction.
    leg_loss: u32,
    /// Whether UDP delays each message for as long as it likes, so that they overtake each other.
    reorders: bool,
    /// When UDP is blocked, in milliseconds.
    blocked: Range<u64>,
    /// Whether each carrier has a device-side address of its own, and the session a connection ID.
    by_connection_id: bool,
    /// Whether the gateway sends each datagram again later, and a changed copy of it before.
    is_active: bool,
    requests: u32,
    /// From the beginning of one request, or the end if that is later, to the next, in milliseconds.
    spacing: Range<u64>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            loss: 0,
            leg_loss: 0,
            reorders: false,
            blocked: 0..0,
            by_connection_id: false,
            is_active: false,
            requests: 12,
            spacing: 560..580,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Client(CarrierKind),
    Gateway(CarrierKind),
    /// The device, from an address of the gateway's.
    Device(Host),
    /// The gateway's address, from the device.
    FromDevice(Host),
    /// The UDP carrier is there, or isn't after all.
    Opened(bool),
}

/// What became of a datagram of the inner session's: each has bytes of its own.
#[derive(Default)]
struct Fate {
    sent: u32,
    lost: u32,
    arrived: u32,
}

struct Net<'k> {
    scenario: Scenario,
    now: Instant,
    rng: TestRng,
    client: Client<'k>,
    device: Client<'k>,
    near: TunnelCarriers,
    far: TunnelCarriers,
    association: AssociationId,
    due: BTreeMap<(Instant, u64), (To, Vec<u8>)>,
    sequence: u64,
    /// When the last message on TCP arrives, to the gateway and to the client: TCP keeps order.
    tcp: [Instant; 2],
    fates: BTreeMap<Vec<u8>, Fate>,
    /// Losses by the network, and when.
    losses: Vec<Instant>,
    executed: BTreeMap<Vec<u8>, u32>,
    /// Each request's beginning and end.
    answered: Vec<(Instant, Instant)>,
    /// What the client's end chose, and when.
    states: Vec<(Instant, CarrierState)>,
    by_udp: u32,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms_since: u64) -> Instant {
    Instant::ZERO + ms(ms_since)
}

fn config(scenario: &Scenario, is_device: bool) -> Config {
    let transmission = TransmissionParameters {
        max_retransmit: 15,
        ..TransmissionParameters::default()
    };
    let timers = Timers {
        max_transmissions: 15,
        deadline: Duration::from_secs(100_000),
        ..Timers::default()
    };
    let suites = [CipherSuite::TLS_PSK_WITH_AES_128_CCM_8];
    let ids = ConnectionIds::Both(ConnectionIdFormat::new(0x0102));
    Config {
        security: match is_device {
            true => Arc::default(),
            false => Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional)),
        },
        handshake: Settings::new(&suites).with_timers(timers),
        connection_ids: match (scenario.by_connection_id, is_device) {
            (false, _) => ConnectionIds::Off,
            (true, true) => ids,
            (true, false) => ConnectionIds::SendOnly,
        },
        exchange: Arc::new(hedgerow_exchange::Config {
            // Nothing restarts here.
            unanswered_threshold: u8::MAX,
            ..hedgerow_exchange::Config::new(transmission)
        }),
        idle_timeout: Duration::from_secs(10_000_000),
        ..Config::default()
    }
}

impl<'k> Net<'k> {
    fn new(
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
            states: vec![(Instant::ZERO, CarrierState::TcpOnly)],
            by_udp: 0,
            rng,
        }
    }

    fn asked(&self) -> u32 {
        u32::try_from(self.answered.len()).unwrap()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    fn is_blocked(&self) -> bool {
        let since = self.now.saturating_since(Instant::ZERO);
        (ms(self.scenario.blocked.start)..ms(self.scenario.blocked.end)).contains(&since)
    }

    fn put(&mut self, at: Instant, to: To, bytes: Vec<u8>) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), (to, bytes));
    }

    /// Puts a message on a carrier, and says whether the network loses it.
    fn carry(&mut self, carrier: CarrierKind, is_up: bool, message: Vec<u8>) -> bool {
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
    fn send(&mut self, is_up: bool, datagram: &[u8]) {
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

    fn send_on(&mut self, carrier: CarrierKind, is_up: bool, datagram: &[u8]) {
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
    fn transmit(&mut self) {
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

    fn leg(&mut self, to: To, datagram: &[u8]) {
        if self.chance(self.scenario.leg_loss) {
            self.losses.push(self.now);
            return;
        }
        let at = self.now + ms(10);
        self.put(at, to, datagram.to_vec());
    }

    fn receive(&mut self, to: To, bytes: &[u8]) {
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
                let from = match (self.scenario.by_connection_id, carrier) {
                    (true, CarrierKind::Udp) => GATEWAY_UDP,
                    _ => GATEWAY,
                };
                // A handshake that is changed fails; here it is the session that has to hold.
                if self.scenario.is_active && self.answered.len() > 1 {
                    let mut changed = payload.to_vec();
                    let at = usize::try_from(self.rng.next_u32()).unwrap() % changed.len();
                    changed[at] ^= 1 << (self.rng.next_u32() % 8);
                    self.leg(To::Device(from), &changed);
                    self.put(now + ms(700), To::Device(from), payload.to_vec());
                }
                self.leg(To::Device(from), payload);
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

    fn give_client(&mut self, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = datagram.as_mut_slice();
        while !rest.is_empty() {
            let awaited = self.asked().saturating_sub(1);
            let env = &mut Env::new(self.now, &mut self.rng);
            let handled = self.client.handle_datagram(env, DEVICE, rest, &mut [0; 64]);
            let consumed = handled.consumed;
            if let Some(Event::Response { message, .. }) = handled.event {
                assert_eq!(message.payload(), awaited.to_be_bytes());
                self.answered.last_mut().unwrap().1 = self.now;
            }
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }

    fn give_device(&mut self, from: Host, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let mut rest = datagram.as_mut_slice();
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let env = &mut Env::new(self.now, &mut self.rng);
            let handled = self.device.handle_datagram(env, from, rest, &mut answer);
            let (consumed, answer_len) = (handled.consumed, handled.answer);
            if let Some(Event::Request {
                association,
                request,
                message,
                ..
            }) = handled.event
            {
                let what = message.payload().to_vec();
                *self.executed.entry(what.clone()).or_default() += 1;
                let response = Response::new(Code::CHANGED).payload(&what);
                self.device
                    .respond(env, association, request, &response)
                    .unwrap();
            }
            if answer_len > 0 {
                self.leg(To::FromDevice(from), &answer[..answer_len]);
            }
            rest = rest.get_mut(consumed..).unwrap_or_default();
        }
    }

    /// Runs until every request is answered.
    fn run(&mut self) {
        let mut next = at(100);
        loop {
            let is_waiting = self
                .answered
                .last()
                .is_some_and(|last| last.1 == Instant::ZERO);
            if !is_waiting && self.asked() == self.scenario.requests {
                return;
            }
            if !is_waiting && next <= self.now {
                let number = (self.asked()).to_be_bytes();
                let request = Request::new(Code::POST).payload(&number);
                let env = &mut Env::new(self.now, &mut self.rng);
                self.client
                    .request(env, self.association, &request)
                    .unwrap();
                self.answered.push((self.now, Instant::ZERO));
                // Not every beat falls on the same place of the probes'.
                let Range { start, end } = self.scenario.spacing;
                next = self.now + ms(start + u64::from(self.rng.next_u32()) % (end - start));
            }
            self.transmit();
            let is_waiting = self
                .answered
                .last()
                .is_some_and(|last| last.1 == Instant::ZERO);
            let queued = self.due.first_key_value().map(|(key, _)| key.0);
            let all = [
                queued,
                self.client.poll_timeout(),
                self.device.poll_timeout(),
                self.near.poll_timeout(),
                self.far.poll_timeout(),
                (!is_waiting).then_some(next),
            ];
            let due = all.into_iter().flatten().min().unwrap();
            assert!(due < at(1_000_000_000), "nothing goes on");
            self.now = self.now.max(due);
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, bytes) = entry.remove();
                self.receive(to, &bytes);
            }
            let env = &mut Env::new(self.now, &mut self.rng);
            self.client.handle_timeout(env);
            self.device.handle_timeout(env);
            while let Some(event) = self.client.poll_event() {
                assert!(!matches!(event, Event::RequestFailed { .. }), "{event:?}");
            }
            while self.device.poll_event().is_some() {}
        }
    }

    /// What has to hold whatever happened on the way.
    fn check(&self) {
        assert_eq!(
            self.executed.len(),
            usize::try_from(self.scenario.requests).unwrap()
        );
        assert!(
            self.executed.values().all(|&times| times == 1),
            "executed twice"
        );
        for fate in self.fates.values() {
            // Under way still, or lost by the network: nothing else takes it.
            assert!(fate.arrived + fate.lost <= fate.sent);
        }
        for end in [&self.client, &self.device] {
            assert_eq!(end.dropped(DropReason::TooOld), 0, "overtaken too far");
        }
    }

    fn was_active(&self, times: Range<u64>) -> bool {
        let mut states = self
            .states
            .iter()
            .zip(self.states.iter().skip(1).map(|it| it.0).chain([self.now]));
        states.any(|((from, state), to)| {
            *state == CarrierState::UdpActive && *from < at(times.end) && to > at(times.start)
        })
    }
}

const IDENTITY: &[u8] = b"reader";
const KEY: &[u8] = b"an end's own key";

fn run(seed: u64, scenario: &Scenario, look: impl FnOnce(&Net<'_>)) {
    let key = || Psk::new(KEY).unwrap().into_end_to_end().unwrap();
    let store: Store = (IDENTITY, key(), PeerId(7));
    let nobody: Store = (b"nobody", Psk::new(b"another key of 1").unwrap(), PeerId(8));
    let psk = key();
    let credentials = Credentials {
        psk_identity: IDENTITY,
        psk: &psk,
        peer: PeerId(1),
    };
    let mut net = Net::new(seed, scenario, &store, &nobody, &credentials);
    net.run();
    net.check();
    look(&net);
}

/// The slowest that a request is where nothing is lost, on either carrier: two ways and the device's leg.
const NO_RETRANSMISSION: Duration = Duration::from_millis(2 * (40 + 10));

/// Where the network loses nothing, a change of carrier makes nothing slower, and nothing is sent again.
fn nothing_waits_without_loss(net: &Net<'_>) {
    for (begin, end) in net.answered.iter().skip(1) {
        let is_lossless = !net.losses.iter().any(|loss| (*begin..=*end).contains(loss));
        let took = end.saturating_since(*begin);
        assert!(
            !is_lossless || took <= NO_RETRANSMISSION,
            "{took:?} from {begin:?}"
        );
    }
}

#[test]
fn change_to_udp_loses_and_delays_nothing() {
    for_each_seed(0..1_000, |seed| {
        run(seed, &Scenario::default(), |net| {
            assert!(net.losses.is_empty());
            nothing_waits_without_loss(net);
            assert_eq!(net.near.state(), CarrierState::UdpActive);
            assert!(net.by_udp > 10);
            // Nothing was sent twice either.
            assert!(net.fates.values().all(|fate| fate.sent == 1));
        });
    });
}

#[test]
fn udp_that_is_blocked_from_the_start_is_as_if_it_were_not_there() {
    let blocked = Scenario {
        blocked: 0..1_000_000,
        ..Scenario::default()
    };
    for_each_seed(0..1_000, |seed| {
        run(seed, &blocked, |net| {
            nothing_waits_without_loss(net);
            assert_eq!((net.by_udp, net.losses.len()), (0, 0));
        });
    });
}

#[test]
fn udp_that_is_blocked_in_mid_transfer_is_left_and_taken_again() {
    let scenario = Scenario {
        blocked: 4_000..6_500,
        requests: 14,
        spacing: 300..2_600,
        ..Scenario::default()
    };
    for_each_seed(0..1_000, |seed| {
        run(seed, &scenario, |net| {
            nothing_waits_without_loss(net);
            assert!(net.was_active(2_500..4_000) && !net.was_active(6_400..6_500));
            assert!(net.was_active(6_500..1_000_000), "{:?}", net.states);
            // From the first overdue probe on TCP has a copy: whatever is lost later is no loss.
            for fate in net.fates.values().filter(|fate| fate.lost == fate.sent) {
                assert_eq!(fate.sent, 1);
            }
            let in_doubt = at(4_000 + 1_000 + 500 + 200);
            let late = net.answered.iter().filter(|it| it.0 > in_doubt);
            assert!(late.clone().count() > 2);
            for (begin, end) in late {
                assert!(end.saturating_since(*begin) <= NO_RETRANSMISSION);
            }
        });
    });
}

#[test]
fn loss_and_reordering_on_both_carriers() {
    for (loss, reorders) in [(5, false), (5, true), (20, true)] {
        let scenario = Scenario {
            loss,
            reorders,
            ..Scenario::default()
        };
        let mut active = 0;
        for_each_seed(0..1_000, |seed| {
            run(seed, &scenario, |net| {
                active += u32::from(net.was_active(0..1_000_000))
            });
        });
        // A fifth lost each way is too much to be taken by more than a few.
        match loss {
            5 => assert!(active > 600, "{active}"),
            _ => assert!(active < 300, "{active}"),
        }
    }
}

#[test]
fn loss_on_the_devices_leg_while_carriers_change() {
    for leg_loss in [5, 20] {
        let scenario = Scenario {
            leg_loss,
            reorders: true,
            blocked: 4_000..6_000,
            ..Scenario::default()
        };
        for_each_seed(0..1_000, |seed| run(seed, &scenario, |_| {}));
    }
}

/// Each carrier with a device-side address of its own: the session goes on by its connection ID.
#[test]
fn session_with_a_connection_id_goes_on_from_another_address() {
    for loss in [0, 5] {
        let scenario = Scenario {
            loss,
            blocked: 5_000..8_000,
            by_connection_id: true,
            requests: 20,
            ..Scenario::default()
        };
        for_each_seed(0..1_000, |seed| {
            run(seed, &scenario, |net| {
                assert_eq!(net.device.associations(), 1);
                assert!(loss > 0 || net.was_active(2_500..5_000));
            });
        });
    }
}

/// The gateway sends each datagram again, and a changed copy of each.
#[test]
fn active_gateway_gets_nothing_executed_twice_or_changed() {
    let scenario = Scenario {
        is_active: true,
        reorders: true,
        blocked: 4_000..6_000,
        ..Scenario::default()
    };
    for_each_seed(0..200, |seed| {
        run(seed, &scenario, |net| {
            assert!(net.device.dropped(DropReason::Replayed) > 0);
            assert!(net.device.dropped(DropReason::AuthenticationFailed) > 0);
        });
    });
}
