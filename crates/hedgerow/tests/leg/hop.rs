//! A device and a gateway with a DTLS session between them and a leg in it.

use hedgerow_core::{
    ClientCredentials, Credentials, Env, Event as ChannelEvent, Instant, PeerId, Psk,
    SecureChannel, ServerCredentials,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_handshake::{
    Acceptance, Acceptor, ClientHandshake, ServerHandshake, Session, Settings,
};
use hedgerow_leg::{Config, Event, HeapLeg, Name, Offer, Read, ResetReason, Role, StreamId};
use hedgerow_sim::{Address, Node, Outbox, TestRng, World};

use crate::ends::{Aead, Provider, TlsEnd, buffers};

pub const DEVICE: Address = Address::new(1, 20_000);
pub const GATEWAY: Address = Address::new(2, 20_000);

/// What a gateway does with the bytes that it copies, counted in both directions together.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    None,
    /// It changes a bit of the byte with this number.
    Flip(usize),
    /// It ends both directions in order before the byte with this number.
    End(usize),
    /// It leaves that byte out.
    Drop(usize),
    /// It hands on twice what came with that byte, from there on.
    Repeat(usize),
    /// It hands that byte on behind what came with it.
    Reorder(usize),
    /// From that byte on it hands on what it copied for another connection, which has these bytes.
    Splice(usize, &'static [u8]),
    /// It gives the stream up before that byte.
    Reset(usize),
}

/// The device with its TLS client, or the gateway with the TLS server at the other end of its stream.
pub struct Side {
    role: Role,
    session: Session<Aead>,
    leg: HeapLeg,
    pub tls: TlsEnd,
    stream: Option<StreamId>,
    /// Written by TLS and not yet taken by the leg.
    to_leg: Vec<u8>,
    is_finished: bool,
    /// The name of the service in the OPEN.
    pub wanted: &'static [u8],
    tampering: Tampering,
    /// Everything that the gateway copied, in either direction.
    pub copied: Vec<u8>,
    has_ended_early: bool,
    /// Whether anything was handed on that isn't what came.
    pub has_tampered: bool,
    has_given_up: bool,
    pub reset: Option<ResetReason>,
}

impl Side {
    /// Returns the device and the gateway, once they have shaken hands with the hop's own key.
    pub fn pair<C, S>(
        world: &mut World<Self>,
        client: C,
        server: S,
        tampering: Tampering,
    ) -> (Self, Self)
    where
        C: ClientCredentials + 'static,
        S: ServerCredentials + 'static,
    {
        let mut rng = TestRng::stream(world.seed(), 1_000);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let device = world.provider(SoftCrypto, "device");
        let gateway = world.provider(SoftCrypto, "gateway");
        let (device_session, gateway_session) = hop_sessions(env, &device, &gateway);
        let far = world.provider(SoftCrypto, "server");
        let mut side = |role, session, tls, tampering| Self {
            role,
            session,
            leg: HeapLeg::new(role, CONFIG, env).unwrap(),
            tls,
            stream: None,
            to_leg: Vec::new(),
            is_finished: false,
            wanted: b"",
            tampering,
            copied: Vec::new(),
            has_ended_early: false,
            has_tampered: false,
            has_given_up: false,
            reset: None,
        };
        let mut rng = TestRng::stream(world.seed(), 1_001);
        let env = &mut Env::new(Instant::ZERO, &mut rng);
        let client = TlsEnd::client(device, client, env);
        let server = TlsEnd::server(far, server, env);
        (
            side(Role::Device, device_session, client, Tampering::None),
            side(Role::Gateway, gateway_session, server, tampering),
        )
    }

    /// Opens the stream to the wanted service.
    pub fn open(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        let offer = Offer {
            name: Name::new(self.wanted).unwrap(),
            ..Offer::default()
        };
        self.stream = Some(self.leg.open(env.now, &offer).unwrap());
        self.drive(env, out);
    }

    fn drive(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.take_events(env.now);
        if let Some(stream) = self.stream {
            self.take_in(stream, env);
            self.give_out(stream, env);
            if self.has_given_up {
                let lost = ResetReason::ConnectionLost;
                let _ = self.leg.reset(env.now, stream, lost);
                self.stream = None;
            }
            self.take_events(env.now);
        }
        let (own, peer) = match self.role {
            Role::Device => (DEVICE, GATEWAY),
            Role::Gateway => (GATEWAY, DEVICE),
        };
        let (mut segment, mut record) = ([0; 1_024], [0; 1_200]);
        while let Some(len) = self.leg.poll_transmit(env, &mut segment).unwrap() {
            let len = self.session.seal(&segment[..len], &mut record).unwrap();
            out.send(own, peer, &record[..len]);
        }
        while let Some(len) = self.session.poll_transmit(env, &mut record).unwrap() {
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
                Event::Reset { reason, .. } => {
                    self.reset = Some(reason);
                    self.stream = None;
                }
                _ => {}
            }
        }
    }

    /// From the leg to TLS.
    fn take_in(&mut self, stream: StreamId, env: &mut Env<'_>) {
        let mut bytes = [0; 300];
        loop {
            match self.leg.read(stream, &mut bytes) {
                Ok(Read::Bytes(len)) => {
                    let mut bytes = bytes[..len].to_vec();
                    self.copy(&mut bytes);
                    self.tls.receive(env, &bytes);
                }
                Ok(Read::End) => return self.end_tls(),
                Ok(Read::Blocked) | Err(_) => break,
            }
        }
        if self.has_ended_early {
            self.end_tls();
        }
    }

    /// From TLS to the leg.
    fn give_out(&mut self, stream: StreamId, env: &mut Env<'_>) {
        let mut bytes = self.tls.transmit(env);
        self.copy(&mut bytes);
        self.to_leg.extend(bytes);
        if let Ok(len) = self.leg.write(stream, &self.to_leg) {
            self.to_leg.drain(..len);
        }
        let has_ended = self.tls.has_ended() || self.has_ended_early;
        if has_ended && self.to_leg.is_empty() && !self.is_finished {
            self.is_finished = self.leg.finish(stream).is_ok();
        }
    }

    /// What the gateway does with bytes on their way.
    fn copy(&mut self, bytes: &mut Vec<u8>) {
        if self.role == Role::Device {
            return;
        }
        let before = self.copied.len();
        match self.tampering {
            Tampering::Flip(at) => {
                if let Some(byte) = at.checked_sub(before).and_then(|at| bytes.get_mut(at)) {
                    *byte ^= 0x10;
                }
            }
            Tampering::End(at) if before + bytes.len() > at => {
                bytes.truncate(at.saturating_sub(before));
                self.has_ended_early = true;
            }
            Tampering::Drop(at) => {
                if let Some(at) = at.checked_sub(before).filter(|at| *at < bytes.len()) {
                    bytes.remove(at);
                    self.has_tampered = true;
                }
            }
            Tampering::Repeat(at) => {
                let tail = at.checked_sub(before).and_then(|at| bytes.get(at..));
                if let Some(tail) = tail.map(<[u8]>::to_vec).filter(|tail| !tail.is_empty()) {
                    bytes.extend(tail);
                    self.has_tampered = true;
                }
            }
            Tampering::Reorder(at) => {
                let tail = at.checked_sub(before).and_then(|at| bytes.get_mut(at..));
                if let Some(tail) = tail.filter(|tail| !tail.is_empty()) {
                    let came = tail.to_vec();
                    tail.rotate_left(1);
                    self.has_tampered |= came != tail;
                }
            }
            Tampering::Splice(at, foreign) => {
                for (byte, foreign) in bytes
                    .iter_mut()
                    .zip(foreign.iter().skip(before))
                    .skip(at.saturating_sub(before))
                {
                    self.has_tampered |= byte != foreign;
                    *byte = *foreign;
                }
            }
            Tampering::Reset(at) if before + bytes.len() > at => {
                bytes.clear();
                self.has_given_up = true;
                self.has_tampered = true;
            }
            Tampering::None | Tampering::End(_) | Tampering::Reset(_) => {}
        }
        self.copied.extend_from_slice(bytes);
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
        _to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let received = self.session.handle_datagram(env, rest).unwrap();
            if let Some(ChannelEvent::Plaintext(segment)) = received.event {
                self.leg.handle_segment(env.now, segment);
            }
            rest = received.rest;
        }
        self.drive(env, out);
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        if self.session.poll_timeout().is_some_and(|at| at <= env.now) {
            self.session.handle_timeout(env).unwrap();
        }
        self.leg.handle_timeout(env.now);
        if self.tls.poll_timeout().is_some_and(|at| at <= env.now) {
            self.tls.handle_timeout(env);
        }
        self.drive(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // A server that nobody has called yet has no clock running.
        let tls = self.tls.poll_timeout().filter(|_| self.stream.is_some());
        [self.session.poll_timeout(), self.leg.poll_timeout(), tls]
            .into_iter()
            .flatten()
            .min()
    }
}

/// A session made with the hop's key, which has nothing to do with the end-to-end key.
fn hop_sessions(
    env: &mut Env<'_>,
    device: &Provider,
    gateway: &Provider,
) -> (Session<Aead>, Session<Aead>) {
    let psk = Psk::new(HOP_KEY).unwrap();
    let credentials = Credentials {
        psk_identity: b"meter",
        psk: &psk,
        peer: PeerId(1),
    };
    let store = (b"meter".as_slice(), Psk::new(HOP_KEY).unwrap(), PeerId(2));
    let settings = Settings::default();
    let acceptor = Acceptor::new(gateway.clone(), settings, env);
    let mut client =
        ClientHandshake::new(device.clone(), credentials, settings, buffers(), env).unwrap();
    let (mut up, mut down) = ([0; 1_200], [0; 1_200]);

    let len = client.poll_transmit(env, &mut up).unwrap().unwrap();
    let answer = acceptor.handle_datagram(env, b"device", &mut up[..len], &mut down);
    let Acceptance::Answer(len) = answer else {
        panic!("no cookie");
    };
    client.handle_datagram(env, &mut down[..len]).unwrap();
    let len = client.poll_transmit(env, &mut up).unwrap().unwrap();
    let accepted = acceptor.handle_datagram(env, b"device", &mut up[..len], &mut down);
    let Acceptance::Accept(hello) = accepted else {
        panic!("not accepted");
    };
    let mut server =
        ServerHandshake::new(gateway.clone(), &store, settings, hello, buffers(), env).unwrap();
    let len = server.poll_transmit(env, &mut down).unwrap().unwrap();
    let mut rest = &mut down[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    let len = client.poll_transmit(env, &mut up).unwrap().unwrap();
    let mut rest = &mut up[..len];
    while !rest.is_empty() {
        rest = server.handle_datagram(env, rest).unwrap().rest;
    }
    let mut server = server.into_session().unwrap().session;
    let len = server.poll_transmit(env, &mut down).unwrap().unwrap();
    let mut rest = &mut down[..len];
    while !rest.is_empty() {
        rest = client.handle_datagram(env, rest).unwrap().rest;
    }
    (client.into_session().unwrap().session, server)
}

const HOP_KEY: &[u8] = b"this hop's bytes";

const CONFIG: Config = Config {
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
