//! A device and a gateway with a DTLS session between them and a leg in it.

use hedgerow_core::{ClientCredentials, Env, Event as ChannelEvent, Instant, ServerCredentials};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::AdaptedFraming;
use hedgerow_leg::{Config, Event, HeapLeg, Name, Offer, Read, ResetReason, Role, StreamId};
use hedgerow_record::Error as FramingError;
use hedgerow_sim::{Address, Node, Outbox, TestRng, World};

use crate::ends::{Provider, TlsEnd};
use crate::session::HopSession;
use crate::setup::Setup;
use crate::tampering::{Copier, Way};
use crate::terminate::{Beside, DEVICE_COAPS, GATEWAY_COAPS};

pub const DEVICE: Address = Address::new(1, 20_000);
pub const GATEWAY: Address = Address::new(2, 20_000);

/// The device with its TLS client, or the gateway with the TLS server at the other end of its stream.
pub struct Side {
    role: Role,
    pub session: HopSession,
    leg: HeapLeg,
    pub tls: TlsEnd,
    framing: AdaptedFraming,
    /// Records that this side couldn't follow any further, of the other one or of TLS.
    pub framing_fault: Option<FramingError>,
    stream: Option<StreamId>,
    /// In the leg's form, and not yet taken by the leg.
    to_leg: Vec<u8>,
    is_finished: bool,
    /// The name of the service in the OPEN.
    pub wanted: &'static [u8],
    /// Whether the stream is to be opened once there is a session.
    opens: bool,
    pub copier: Copier,
    pub reset: Option<ResetReason>,
    /// What it has beside the hop, in mode `terminate`.
    pub beside: Option<Beside>,
}

impl Side {
    /// Returns the device and the gateway, which have the hop's own key.
    pub fn pair<C, S>(world: &mut World<Self>, client: C, server: S, setup: &Setup) -> (Self, Self)
    where
        C: ClientCredentials + 'static,
        S: ServerCredentials + 'static,
    {
        let mut rng = TestRng::stream(world.seed(), 1_000);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let device = world.provider(SoftCrypto, "device");
        let gateway = world.provider(SoftCrypto, "gateway");
        let gateway_session = HopSession::gateway(gateway, setup.hop, env);
        let device_session = HopSession::device(device.clone(), setup.hop, env);
        let far = world.provider(SoftCrypto, "server");
        let beside = setup.terminates.then(|| {
            let of_gateway = world.provider(SoftCrypto, "gateway beside the hop");
            let of_device = world.provider(SoftCrypto, "device beside the hop");
            (Beside::device(of_device, env), Beside::gateway(of_gateway))
        });
        let (beside_device, beside_gateway) = beside.unzip();
        let mut side = |role, session, tls, framing| Self {
            role,
            session,
            leg: HeapLeg::new(role, setup.leg, env).unwrap(),
            tls,
            framing,
            framing_fault: None,
            stream: None,
            to_leg: Vec::new(),
            is_finished: false,
            wanted: b"",
            opens: false,
            copier: setup.copier(),
            reset: None,
            beside: None,
        };
        let mut rng = TestRng::stream(world.seed(), 1_001);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let client = TlsEnd::client(device, client, env);
        let server = TlsEnd::server(far, server, env);
        let framing = AdaptedFraming::device_client(setup.form);
        let device = Self {
            beside: beside_device,
            ..side(Role::Device, device_session, client, framing)
        };
        let framing = AdaptedFraming::gateway(setup.gateway_form);
        let gateway = Self {
            beside: beside_gateway,
            ..side(Role::Gateway, gateway_session, server, framing)
        };
        (device, gateway)
    }

    /// Opens the stream to the wanted service, once there is a session.
    pub fn open(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.opens = true;
        self.drive(env, out);
    }

    fn drive(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let (own, peer) = match self.role {
            Role::Device => (DEVICE, GATEWAY),
            Role::Gateway => (GATEWAY, DEVICE),
        };
        let (mut segment, mut record) = ([0; 1_024], [0; 1_200]);
        while let Some(len) = self.session.poll_transmit(env, &mut record) {
            out.send(own, peer, &record[..len]);
        }
        if self.session.failure.is_some() {
            self.end_tls();
        }
        if !self.session.is_established() {
            return;
        }
        if std::mem::take(&mut self.opens) {
            let offer = Offer {
                name: Name::new(self.wanted).unwrap(),
                ..Offer::default()
            };
            self.stream = Some(self.leg.open(env.now, &offer).unwrap());
        }
        self.take_events(env.now);
        if let Some(stream) = self.stream {
            match self.copier.release(env.now) {
                Some((Way::ToServer, bytes)) => self.tls.receive(env, &bytes),
                Some((Way::ToClient, bytes)) => self.to_leg.extend(bytes),
                None => {}
            }
            self.take_in(stream, env);
            self.give_out(stream, env);
            if self.copier.has_given_up || self.framing_fault.is_some() {
                self.give_up(env.now, stream);
            }
            self.take_events(env.now);
        }
        while let Some(len) = self.leg.poll_transmit(env, &mut segment).unwrap() {
            let len = self.session.seal(&segment[..len], &mut record);
            out.send(own, peer, &record[..len]);
        }
        while let Some(len) = self.session.poll_transmit(env, &mut record) {
            out.send(own, peer, &record[..len]);
        }
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.leg.poll_event() {
            match event {
                // The gateway's whole configuration is one service.
                Event::Opened(stream) => match self.leg.offer(stream).unwrap().name.as_bytes() {
                    b"upstream" => self.stream = Some(stream),
                    _ => self.leg.reset(now, stream, ResetReason::Refused).unwrap(),
                },
                // TCP's reset, behind the gateway.
                Event::Reset { reason, .. } => {
                    self.reset = Some(reason);
                    self.stream = None;
                    self.end_tls();
                }
                _ => {}
            }
        }
    }

    /// From the leg to TLS.
    fn take_in(&mut self, stream: StreamId, env: &mut Env<'_>) {
        let mut bytes = [0; 300];
        while !self.copier.is_holding(Way::ToServer) && self.framing_fault.is_none() {
            match self.leg.read(stream, &mut bytes) {
                Ok(Read::Bytes(len)) => {
                    let mut tls = Vec::new();
                    let mapped = self.framing.from_leg(&bytes[..len], &mut tls);
                    self.framing_fault = mapped.err();
                    self.copy(env.now, Way::ToServer, &mut tls);
                    self.tls.receive(env, &tls);
                }
                Ok(Read::End) => {
                    self.copier.end(Way::ToServer);
                    return self.end_tls();
                }
                Ok(Read::Blocked) | Err(_) => break,
            }
        }
        if self.copier.has_ended_early {
            self.end_tls();
        }
    }

    /// From TLS to the leg.
    fn give_out(&mut self, stream: StreamId, env: &mut Env<'_>) {
        let mut bytes = Vec::new();
        let mapped = self.framing.to_leg(&self.tls.transmit(env), &mut bytes);
        self.framing_fault = self.framing_fault.or(mapped.err());
        self.copy(env.now, Way::ToClient, &mut bytes);
        self.to_leg.extend(bytes);
        if let Ok(len) = self.leg.write(stream, &self.to_leg) {
            self.to_leg.drain(..len);
        }
        let has_ended = self.tls.has_ended() || self.copier.has_ended_early;
        let is_empty = self.to_leg.is_empty() && !self.copier.is_holding(Way::ToClient);
        if has_ended && is_empty && !self.is_finished {
            self.is_finished = self.leg.finish(stream).is_ok();
            self.copier.end(Way::ToClient);
        }
    }

    /// What the gateway does with bytes on their way.
    fn copy(&mut self, now: Instant, way: Way, bytes: &mut Vec<u8>) {
        if self.role == Role::Gateway {
            self.copier.copy(now, way, bytes);
        }
    }

    /// Gives the stream up, and with it the gateway its TCP connection.
    fn give_up(&mut self, now: Instant, stream: StreamId) {
        let _ = self.leg.reset(now, stream, ResetReason::ConnectionLost);
        self.stream = None;
        self.end_tls();
    }

    fn end_tls(&mut self) {
        if self.tls.failure.is_none() {
            self.tls.handle_end();
        }
    }
}

impl Node for Side {
    type Provider = Provider;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        _from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        if let (Some(beside), DEVICE_COAPS | GATEWAY_COAPS) = (&mut self.beside, to) {
            return beside.handle_datagram(env, datagram, out);
        }
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = Vec::new();
            let received = self.session.handle_datagram(env, rest, &mut answer);
            if !answer.is_empty() {
                out.send(GATEWAY, DEVICE, &answer);
            }
            if let Some(ChannelEvent::Plaintext(segment)) = received.event {
                self.leg.handle_segment(env.now, segment);
            }
            rest = received.rest;
        }
        self.drive(env, out);
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        if self.session.poll_timeout().is_some_and(|at| at <= env.now) {
            self.session.handle_timeout(env);
        }
        self.leg.handle_timeout(env.now);
        if let Some(beside) = &mut self.beside {
            beside.handle_timeout(env, out);
        }
        if self.tls.poll_timeout().is_some_and(|at| at <= env.now) {
            self.tls.handle_timeout(env);
        }
        self.drive(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // A server that nobody has called yet has no clock running.
        let tls = self.tls.poll_timeout().filter(|_| self.stream.is_some());
        let held = self.copier.poll_timeout();
        [
            self.session.poll_timeout(),
            self.leg.poll_timeout(),
            tls,
            held,
            self.beside.as_ref().and_then(Beside::poll_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Small segments and buffers, and 15 tries.
pub const PATIENT: Config = Config {
    max_streams: 2,
    max_incoming: 2,
    send_buffer: 2_048,
    receive_buffer: 2_048,
    max_segment_len: 200,
    recovery: hedgerow_leg::Recovery::Measured {
        initial_timeout: std::time::Duration::from_secs(2),
        min_timeout: std::time::Duration::from_secs(1),
        initial_window: 2,
    },
    max_retransmit: 15,
    max_timeout: std::time::Duration::from_secs(60),
    acknowledge_after: std::time::Duration::from_millis(200),
    ping_after: Some(std::time::Duration::from_secs(600)),
    linger: std::time::Duration::from_secs(960),
};
