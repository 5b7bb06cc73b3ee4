//! The gateway between two ends of mode `itls`: the endpoint that keeps its hop and the forwarder that says
//! which message goes where, put together as the product does it.

use hedgerow_core::{Env, Instant};
use hedgerow_endpoint::{AssociationId, Config, Endpoint, Event};
use hedgerow_itls::{CloseReason, Control, RoutingHeader};
use hedgerow_proxy::{
    ItlsContent, ItlsForwarder, ItlsLimits, ItlsOutcome, ItlsParty, ItlsPolicy, OuterSession,
};
use hedgerow_sim::{Address, Outbox};

use super::super::common::{CLIENT, Driver, Known, Place, SERVER, Shown};
use super::{Attack, DEVICE, GATEWAY, HOP_KEY, NAME, Provider, Side, USER, control};

pub struct Gateway {
    provider: Provider,
    config: Config,
    endpoint: Driver<Provider>,
    forwarder: ItlsForwarder,
    user: OuterSession,
    hop: Option<(AssociationId, OuterSession)>,
    /// Flows on the Internet end's side and on the device's.
    flows: Vec<(u16, u16)>,
    /// Flows of the Internet end's that wait for the device.
    awaited: Vec<u16>,
    pub attack: Option<Attack>,
    /// What went to each side, without its outer layer.
    pub seen: Vec<(Side, Vec<u8>)>,
    /// The longest message that the device's hop takes.
    pub max_len: usize,
    pub hops: u32,
    due: Option<Instant>,
}

impl Gateway {
    pub fn new(provider: Provider, config: &Config) -> Self {
        let config = Config {
            forwards: true,
            inner: None,
            ..config.clone()
        };
        let policy = ItlsPolicy::new()
            .with_device(0, str::from_utf8(NAME).unwrap(), &[0])
            .with_user(0, str::from_utf8(USER).unwrap());
        let limits = ItlsLimits {
            light_layer: config.light_layer,
            idle_timeout: config.idle_timeout,
            ..ItlsLimits::default()
        };
        let mut forwarder = ItlsForwarder::new(policy, limits);
        let user = forwarder.begin_session(Instant::ZERO, ItlsParty::User(0), true);
        let endpoint = Endpoint::client(provider.clone(), Known::new(&[]), config.clone());
        Self {
            provider,
            config,
            endpoint,
            forwarder,
            user,
            hop: None,
            flows: Vec::new(),
            awaited: Vec::new(),
            attack: None,
            seen: Vec::new(),
            max_len: usize::MAX,
            hops: 0,
            due: None,
        }
    }

    /// Returns the flows that it forwards between, on the Internet end's side and on the device's.
    pub fn flows(&self) -> &[(u16, u16)] {
        &self.flows
    }

    /// Returns the endpoint with the hop.
    pub fn endpoint(&self) -> &Driver<Provider> {
        &self.endpoint
    }

    /// Begins a new session with the device, as a gateway that has restarted.
    pub fn open_hop(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        if let Some((_, session)) = self.hop.take() {
            self.forwarder.end_session(env.now, session);
            let store = Known::new(&[]);
            self.endpoint = Endpoint::client(self.provider.clone(), store, self.config.clone());
        }
        let shown = Shown::new(b"gateway", HOP_KEY);
        let connected = self.endpoint.connect(env, Place(DEVICE), Some(&shown));
        connected.unwrap();
        self.hops += 1;
        self.flush(env, out);
    }

    /// Says goodbye to the device in order.
    pub fn close_hop(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        if let Some((association, session)) = self.hop.take() {
            self.endpoint.close(env, association).unwrap();
            self.forwarder.end_session(env.now, session);
        }
        self.flush(env, out);
    }

    /// Puts a message on its way as the gateway itself can.
    pub fn inject(&mut self, env: &mut Env<'_>, side: Side, message: &[u8], out: &mut Outbox) {
        self.send_as_it_is(env, side, message, self.config.light_layer, out);
    }

    /// Forgets the flows and tells one side, as when the other's session has ended.
    pub fn close_flows(
        &mut self,
        env: &mut Env<'_>,
        side: Side,
        reason: CloseReason,
        out: &mut Outbox,
    ) {
        for (internet, device) in std::mem::take(&mut self.flows) {
            let flow = match side {
                Side::Internet => internet,
                Side::Device => device,
            };
            let close = control(flow, &Control::Close(reason));
            self.send_as_it_is(env, side, &close, false, out);
        }
    }

    /// Takes a message of an outer session.
    pub fn take(
        &mut self,
        env: &mut Env<'_>,
        from: Side,
        message: &[u8],
        is_light: bool,
        out: &mut Outbox,
    ) {
        let session = match from {
            Side::Internet => self.user,
            Side::Device => self.hop.unwrap().1,
        };
        let (header, _) = RoutingHeader::decode(message).unwrap();
        let outcome = self
            .forwarder
            .handle_message(env.now, session, message, is_light);
        match outcome {
            ItlsOutcome::Deliver(delivery) => {
                let (to, flow) = (delivery.to, delivery.flow);
                let (len, lightly) = (delivery.inner_len(), delivery.light_message().is_some());
                let is_open = matches!(delivery.content, ItlsContent::Control(Control::Open(_)));
                let mut bytes = [0; 2_000];
                let written = delivery.encode(&mut bytes).unwrap();
                if is_open {
                    self.pair(from, header.flow, flow);
                }
                self.deliver(env, (to, flow, len), &bytes[..written], lightly, out);
            }
            ItlsOutcome::Await { .. } => {
                if !self.awaited.contains(&header.flow) {
                    self.awaited.push(header.flow);
                }
                if self.endpoint.associations() == 0 {
                    self.open_hop(env, out);
                }
            }
            ItlsOutcome::Closed | ItlsOutcome::Dropped(_) => {}
        }
        self.settle(env, out);
    }

    fn pair(&mut self, from: Side, here: u16, there: u16) {
        let both = match from {
            Side::Internet => (here, there),
            Side::Device => (there, here),
        };
        if !self.flows.contains(&both) {
            self.flows.push(both);
        }
    }

    fn deliver(
        &mut self,
        env: &mut Env<'_>,
        (to, flow, len): (OuterSession, u16, usize),
        message: &[u8],
        lightly: bool,
        out: &mut Outbox,
    ) {
        let side = if to == self.user {
            Side::Internet
        } else {
            Side::Device
        };
        if side == Side::Device && len > self.max_len {
            let mut bytes = [0; 16];
            let told = self.forwarder.too_long(to, flow, len).unwrap();
            let len = told.encode(&mut bytes).unwrap();
            return self.send(env, Side::Internet, bytes[..len].to_vec(), false, out);
        }
        self.send(env, side, message.to_vec(), lightly, out);
    }

    fn settle(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let mut bytes = [0; 1_500];
        while let Some((to, flow, len)) = self.forwarder.poll_transmit(&mut bytes) {
            let (header, rest) = RoutingHeader::decode(&bytes[..len]).unwrap();
            if header.is_control && matches!(Control::decode(rest), Ok(Control::Open(_))) {
                let opened = self.awaited.remove(0);
                self.pair(Side::Internet, opened, flow);
            }
            let message = bytes[..len].to_vec();
            self.deliver(env, (to, flow, 0), &message, false, out);
        }
        while self.forwarder.poll_event().is_some() {}
    }

    fn send(
        &mut self,
        env: &mut Env<'_>,
        side: Side,
        message: Vec<u8>,
        lightly: bool,
        out: &mut Outbox,
    ) {
        let (sent, is_attacked) = match &mut self.attack {
            None => (vec![(side, message)], false),
            Some(attack) => (attack(side, message), true),
        };
        for (side, message) in sent {
            let lightly = lightly || is_attacked && self.config.light_layer;
            self.send_as_it_is(env, side, &message, lightly, out);
        }
    }

    fn send_as_it_is(
        &mut self,
        env: &mut Env<'_>,
        side: Side,
        message: &[u8],
        lightly: bool,
        out: &mut Outbox,
    ) {
        self.seen.push((side, message.to_vec()));
        if side == Side::Internet {
            return out.send(SERVER, CLIENT, message);
        }
        let Some((association, _)) = self.hop else {
            return;
        };
        let mut datagram = [0; 2_100];
        let sealed = match lightly {
            true => self
                .endpoint
                .seal_lightly(env, association, message, &mut datagram),
            false => self
                .endpoint
                .seal_forwarded(env, association, message, &mut datagram),
        };
        let (to, len) = sealed.unwrap();
        out.send(GATEWAY, to.0, &datagram[..len]);
        self.due = self.endpoint.poll_timeout();
    }

    pub fn take_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let handled = self
                .endpoint
                .handle_datagram(env, Place(from), rest, &mut answer);
            let consumed = handled.consumed;
            let mut message = None;
            match handled.event {
                Some(Event::Established { association, .. }) => self.begin(env, association),
                Some(Event::Forwarded {
                    message: forwarded,
                    is_light,
                    ..
                }) => message = Some((forwarded.to_vec(), is_light)),
                _ => {}
            }
            rest = &mut rest[consumed..];
            if let Some((message, is_light)) = message {
                self.take(env, Side::Device, &message, is_light, out);
            }
        }
        self.flush(env, out);
    }

    /// Every session is another outer one.
    fn begin(&mut self, env: &Env<'_>, association: AssociationId) {
        if let Some((_, session)) = self.hop.take() {
            self.forwarder.end_session(env.now, session);
        }
        let party = ItlsParty::Device(0);
        let session = self.forwarder.begin_session(env.now, party, true);
        self.hop = Some((association, session));
    }

    pub fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.endpoint.handle_timeout(env);
        self.forwarder.handle_timeout(env.now);
        self.flush(env, out);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.due, self.forwarder.poll_timeout()];
        due.into_iter().flatten().min()
    }

    fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.settle(env, out);
        let mut datagram = [0; 1_500];
        while let Some((to, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
            out.send(GATEWAY, to.0, &datagram[..len]);
        }
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Failed { .. } | Event::Closed { .. } = event {
                match self.hop.take() {
                    Some((_, session)) => self.forwarder.end_session(env.now, session),
                    None => self.forwarder.unreachable(env.now, 0),
                }
            }
        }
        self.settle(env, out);
        self.due = self.endpoint.poll_timeout();
    }
}
