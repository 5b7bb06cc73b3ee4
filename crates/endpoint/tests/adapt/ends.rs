//! An unmodified TLS client, a gateway that carries its records over a leg, and a device, in virtual time. The
//! gateway does to them what it is told.

#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use hedgerow_coap::{Code, OptionNumber};
use hedgerow_core::{ChannelError, Env, Instant, PeerFault};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    AdaptedConfig, AdaptedConnection, AdaptedEvent, AdaptedFault, AdaptedFraming, AssociationId,
    Config, Endpoint, Event, ForwardSecrecy, SecurityPolicy, StreamConfig, StreamConnection,
    StreamEvent, TlsConnection, TlsEvent,
};
use hedgerow_exchange::{ConnectionConfig, Received, Request, Response};
use hedgerow_handshake::Settings;
use hedgerow_http::ResourceResponse;
use hedgerow_leg::{Offer, Read, ResetReason, Role, StreamId};
use hedgerow_record::{CipherSuite, LegForm, StreamApplication};
use hedgerow_sim::{Address, Conditions, Fault, Node, NodeId, Outbox, TestRng, World};

use crate::common::legs::{Provider, config};
use crate::common::{CLIENT, Driver, IDENTITY, Known, PSK, Place, SERVER, Shown, shown};
use crate::tampering::{Tamperer, Tampering, Way};

/// The two ends' key, which the gateway hasn't. The hop has another one.
pub const END_TO_END: &[u8] = b"nobody between has it";
pub const USER: &[u8] = b"user";
pub const READING: &[u8] = b"21.5 degrees, which is nobody else's business";

/// What the device tells the gateway.
pub const UPTIME: &[u8] = b"up for 3 days";

/// What speaks over the client's connection.
pub enum Client {
    Coap(Box<StreamConnection<Provider, Known, Shown>>),
    Http(Box<TlsConnection<Provider, Known, Shown>>),
}

/// What has become of the client.
#[derive(Default)]
pub struct ClientState {
    pub is_established: bool,
    pub answers: Vec<Vec<u8>>,
    pub text: Vec<u8>,
    pub is_closed: bool,
    pub failure: Option<ChannelError>,
    asked: bool,
    /// CoAP's layer has given the connection up.
    pub is_aborted: bool,
    pub has_released: bool,
}

pub struct GatewayEnd {
    pub client: Client,
    pub state: ClientState,
    framing: AdaptedFraming,
    other_framing: AdaptedFraming,
    tamperer: Tamperer,
    /// All that went by, in clear for whoever is the gateway.
    pub seen: Vec<u8>,
    pub port: u16,
    posted: Option<Vec<u8>>,
    answer: Vec<u8>,
    /// What it read itself, in mode `terminate`.
    pub read: Vec<Vec<u8>>,
}

pub struct DeviceEnd {
    config: Arc<AdaptedConfig>,
    known: Known,
    provider: Provider,
    pub connection: Option<AdaptedConnection<Provider, Known, Shown>>,
    pub application: Option<StreamApplication>,
    pub form: Option<LegForm>,
    pub requests: Vec<Vec<u8>>,
    /// The requests' bodies.
    pub bodies: Vec<Vec<u8>>,
    pub fault: Option<AdaptedFault>,
    answer: Vec<u8>,
    /// It has ended the session itself: a record of type alert, with nothing wrong.
    has_closed: bool,
}

pub enum Work {
    Gateway(Box<GatewayEnd>),
    Device(Box<DeviceEnd>),
}

/// One end of the leg.
pub struct Side {
    address: Address,
    endpoint: Driver<Provider>,
    pub work: Work,
    pub stream: Option<(AssociationId, StreamId)>,
    to_leg: Vec<u8>,
    is_finished: bool,
    has_ended: bool,
    pub reset: Option<ResetReason>,
    due: Option<Instant>,
}

impl Side {
    fn flush(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        loop {
            let mut has_news = false;
            while let Some(event) = self.endpoint.poll_event() {
                has_news = true;
                match event {
                    Event::Stream { association, event } => self.note(env, association, event),
                    // The hop is gone, and the stream with it.
                    Event::Failed { .. } => {
                        self.end(env);
                        self.stream = None;
                    }
                    _ => {}
                }
            }
            if let Some((association, stream)) = self.stream {
                self.copy(env, association, stream);
            }
            let mut datagram = [0; 1_500];
            while let Some((to, len)) = self.endpoint.poll_transmit(env, &mut datagram) {
                out.send(self.address, to.0, &datagram[..len]);
            }
            if !has_news {
                break;
            }
        }
        let own = match &self.work {
            Work::Gateway(gateway) => match &gateway.client {
                Client::Coap(coap) => coap.poll_timeout(),
                Client::Http(tls) => tls.poll_timeout(),
            }
            .filter(|_| gateway.state.failure.is_none()),
            Work::Device(device) => {
                let connection = device.connection.as_ref();
                connection.and_then(AdaptedConnection::poll_timeout)
            }
        };
        let own = own.filter(|_| self.stream.is_some());
        let released = match &self.work {
            Work::Gateway(gateway) => gateway.tamperer.ways.each_ref().map(|it| it.released_at),
            Work::Device(_) => [None; 2],
        };
        let [one, two] = released;
        self.due = [own, one, two, self.endpoint.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
    }

    fn note(&mut self, env: &mut Env<'_>, association: AssociationId, event: hedgerow_leg::Event) {
        match event {
            hedgerow_leg::Event::Opened(stream) => {
                let offer = self.endpoint.stream_offer(association, stream).unwrap();
                let port = offer.port;
                self.stream = Some((association, stream));
                if let Work::Device(device) = &mut self.work {
                    let connection = AdaptedConnection::new(
                        device.provider.clone(),
                        device.known.clone(),
                        Arc::clone(&device.config),
                        port,
                        env,
                    );
                    device.connection = Some(connection.unwrap());
                }
            }
            hedgerow_leg::Event::Reset { reason, .. } => {
                self.reset = Some(reason);
                self.end(env);
                self.stream = None;
            }
            _ => {}
        }
    }

    /// Moves bytes between the leg and what works above it, as long as there are any.
    fn copy(&mut self, env: &mut Env<'_>, association: AssociationId, stream: StreamId) {
        loop {
            let mut moved = false;
            let mut part = [0; 700];
            while !self.has_ended {
                match self.endpoint.read_stream(association, stream, &mut part) {
                    Ok(Read::Bytes(len)) => {
                        moved = true;
                        self.take_in(env, &part[..len]);
                    }
                    Ok(Read::End) => {
                        moved = true;
                        self.has_ended = true;
                        self.end(env);
                    }
                    Ok(Read::Blocked) | Err(_) => break,
                }
            }
            self.give_out(env);
            if let Ok(len) = self
                .endpoint
                .write_stream(association, stream, &self.to_leg)
            {
                moved |= len > 0;
                self.to_leg.drain(..len);
            }
            if self.to_leg.is_empty() && self.wants_end() && !self.is_finished {
                self.is_finished = self.endpoint.finish_stream(association, stream).is_ok();
            }
            if !moved {
                return;
            }
        }
    }

    fn wants_end(&self) -> bool {
        match &self.work {
            Work::Gateway(gateway) => {
                let state = &gateway.state;
                let is_over = state.is_closed || state.failure.is_some();
                gateway.tamperer.ways[0].has_ended
                    || is_over && gateway.tamperer.ways[0].released_at.is_none()
            }
            Work::Device(device) => {
                device.fault.is_some()
                    || device
                        .connection
                        .as_ref()
                        .is_some_and(AdaptedConnection::is_over)
            }
        }
    }

    fn take_in(&mut self, env: &mut Env<'_>, bytes: &[u8]) {
        match &mut self.work {
            Work::Gateway(gateway) => gateway.take_from_leg(env, bytes),
            Work::Device(device) => device.take_in(env, bytes),
        }
    }

    fn give_out(&mut self, env: &mut Env<'_>) {
        match &mut self.work {
            Work::Gateway(gateway) => gateway.give_to_leg(env, &mut self.to_leg),
            Work::Device(device) => device.give_out(env, &mut self.to_leg),
        }
    }

    fn end(&mut self, env: &mut Env<'_>) {
        match &mut self.work {
            Work::Gateway(gateway) if gateway.tamperer.ways[1].released_at.is_some() => {
                gateway.tamperer.ways[1].ends_later = true;
            }
            Work::Gateway(gateway) => gateway.end_client(),
            Work::Device(device) => {
                device.step(env);
                let connection = device.connection.as_mut();
                let ended = connection.map_or(Ok(()), AdaptedConnection::handle_end);
                device.fault = device.fault.or(ended.err());
            }
        }
    }

    fn handle_own_timeout(&mut self, env: &mut Env<'_>) {
        match &mut self.work {
            Work::Gateway(gateway) => {
                let ended = match &mut gateway.client {
                    Client::Coap(coap) => coap.handle_timeout(env),
                    Client::Http(tls) => tls.handle_timeout(env),
                };
                gateway.state.failure = gateway.state.failure.or(ended.err());
                gateway.take_from_leg(env, &[]);
            }
            Work::Device(device) => {
                let connection = device.connection.as_mut();
                let ended = connection.map_or(Ok(()), |it| it.handle_timeout(env));
                device.fault = device.fault.or(ended.err());
            }
        }
    }
}

impl DeviceEnd {
    fn take_in(&mut self, env: &mut Env<'_>, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(connection) = &mut self.connection
            && !rest.is_empty()
            && self.fault.is_none()
        {
            match connection.push(rest) {
                Ok(0) => return,
                Ok(len) => rest = &rest[len..],
                Err(fault) => self.fault = Some(fault),
            }
            self.step(env);
        }
    }

    fn step(&mut self, env: &mut Env<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        while self.fault.is_none() {
            match connection.poll(env) {
                Ok(None) => break,
                Ok(Some(AdaptedEvent::Established { application, .. })) => {
                    self.application = Some(application);
                    self.form = connection.form();
                }
                Ok(Some(AdaptedEvent::Request {
                    request,
                    options,
                    payload,
                    ..
                })) => {
                    let path = options
                        .iter()
                        .find(|(number, _)| *number == OptionNumber::URI_PATH);
                    self.requests
                        .push(path.map(|(_, path)| path.clone()).unwrap_or_default());
                    self.bodies.push(payload);
                    let response = ResourceResponse {
                        code: Code::CONTENT,
                        options: &[],
                        payload: &self.answer,
                    };
                    connection.respond(env, request, &response).unwrap();
                }
                Ok(Some(_)) => {}
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    fn give_out(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        loop {
            self.step(env);
            let Some(connection) = &mut self.connection else {
                return;
            };
            let before = out.len();
            if !connection.poll_transmit(env, out).unwrap() {
                return;
            }
            let is_alert = out.get(before) == Some(&ALERT);
            self.has_closed |= is_alert && self.application.is_some() && self.fault.is_none();
        }
    }
}

impl GatewayEnd {
    /// Gives the client what came over the leg.
    fn take_from_leg(&mut self, env: &mut Env<'_>, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.tamperer.flip(Way::ToClient, &mut bytes);
        let mut tls = Vec::new();
        let framing = match self.tamperer.tampering {
            Tampering::OtherForm(Way::ToClient) => &mut self.other_framing,
            _ => &mut self.framing,
        };
        if framing.from_leg(&bytes, &mut tls).is_err() {
            return self.end_client();
        }
        self.seen.extend_from_slice(&tls);
        let tls = self.tamperer.tamper(env.now, Way::ToClient, &tls);
        let mut rest = &tls[..];
        while !rest.is_empty() && self.state.failure.is_none() {
            let len = match &mut self.client {
                Client::Coap(coap) => coap.push(rest),
                Client::Http(tls) => tls.push(rest),
            };
            rest = &rest[len..];
            self.step(env);
            if len == 0 {
                break;
            }
        }
        let records = &mut self.tamperer.ways[1];
        let ends_now = records.released_at.is_none() && std::mem::take(&mut records.ends_later);
        if records.has_ended || ends_now {
            self.end_client();
        }
    }

    /// Takes what the client sends.
    fn give_to_leg(&mut self, env: &mut Env<'_>, out: &mut Vec<u8>) {
        self.step(env);
        let mut sent = Vec::new();
        match &mut self.client {
            Client::Coap(coap) => {
                let mut message = Vec::new();
                while coap.poll_transmit(env, &mut message, &mut sent).unwrap() {}
            }
            Client::Http(tls) => {
                let mut bytes = [0; 2_048];
                while let Some(len) = tls.poll_transmit(env, &mut bytes).unwrap() {
                    sent.extend_from_slice(&bytes[..len]);
                }
                if tls.is_open() && !self.state.asked {
                    self.state.asked = true;
                    let text = self.posted.as_ref().map_or_else(
                        || b"GET /reading HTTP/1.1\r\nHost: device\r\nConnection: close\r\n\r\n".to_vec(),
                        |body| {
                            let head = format!(
                                "POST /reading HTTP/1.1\r\nHost: device\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                                body.len()
                            );
                            [head.as_bytes(), body].concat()
                        },
                    );
                    for part in text.chunks(1_024) {
                        let len = tls.seal(part, &mut bytes).unwrap();
                        sent.extend_from_slice(&bytes[..len]);
                    }
                }
            }
        }
        self.seen.extend_from_slice(&sent);
        let is_behind_first = self.tamperer.ways[0].count > 0;
        let sent = self.tamperer.tamper(env.now, Way::ToDevice, &sent);
        let before = out.len();
        let framing = match self.tamperer.tampering {
            Tampering::OtherForm(Way::ToDevice) if is_behind_first => &mut self.other_framing,
            _ => &mut self.framing,
        };
        if framing.to_leg(&sent, out).is_err() {
            // What can't be followed isn't carried.
            self.tamperer.ways[0].has_ended = true;
            self.end_client();
        }
        let mut mapped = out.split_off(before);
        self.tamperer.flip(Way::ToDevice, &mut mapped);
        out.extend(mapped);
    }

    fn step(&mut self, env: &mut Env<'_>) {
        let state = &mut self.state;
        while state.failure.is_none() {
            match &mut self.client {
                Client::Coap(coap) => match coap.poll(env) {
                    Ok(None) => break,
                    Ok(Some(StreamEvent::Established(_))) => state.is_established = true,
                    Ok(Some(StreamEvent::Closed)) => state.is_closed = true,
                    Ok(Some(StreamEvent::Received(Received::Abort { .. }))) => {
                        state.is_aborted = true;
                    }
                    Ok(Some(StreamEvent::Received(Received::Response { message, .. }))) => {
                        state.answers.push(message.payload().to_vec());
                    }
                    Ok(Some(_)) => {}
                    Err(error) => state.failure = Some(error),
                },
                Client::Http(tls) => match tls.poll(env) {
                    Ok(None) => break,
                    Ok(Some(TlsEvent::Established(_))) => state.is_established = true,
                    Ok(Some(TlsEvent::Closed)) => {
                        state.is_closed = true;
                        break;
                    }
                    Ok(Some(TlsEvent::Plaintext(bytes))) => state.text.extend_from_slice(bytes),
                    Ok(Some(_)) => {}
                    Err(error) => state.failure = Some(error),
                },
            }
        }
        if let Client::Coap(coap) = &mut self.client {
            while coap.poll_event().is_some() {}
            if !state.answers.is_empty() && !state.has_released {
                state.has_released = coap.release().is_ok();
            }
            // It ended before there was an answer, whoever lost patience.
            state.is_aborted |= coap.is_closed() && state.answers.is_empty();
            if coap.is_closed() && !state.is_closed {
                coap.close();
            }
        }
        if let Client::Http(_) = &self.client
            && state.answers.is_empty()
            && state.text.ends_with(&self.answer)
        {
            state.answers.push(self.answer.clone());
        }
    }

    fn end_client(&mut self) {
        if self.state.failure.is_some() {
            return;
        }
        let ended = match &mut self.client {
            Client::Coap(coap) => coap.handle_end(),
            Client::Http(tls) => tls.handle_end(),
        };
        self.state.failure = ended.err();
    }
}

impl Node for Side {
    type Provider = Provider;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        _to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let mut answer = [0; 64];
            let handled = self
                .endpoint
                .handle_datagram(env, Place(from), rest, &mut answer);
            let (consumed, len) = (handled.consumed, handled.answer);
            let event = handled.event;
            match (event, &mut self.work) {
                // The device's own CoAP, for whoever has the hop's key.
                (
                    Some(Event::Request {
                        association,
                        request,
                        ..
                    }),
                    Work::Device(_),
                ) => {
                    let response = Response::new(Code::CONTENT).payload(UPTIME);
                    let answered = self.endpoint.respond(env, association, request, &response);
                    answered.unwrap();
                }
                (Some(Event::Response { message, .. }), Work::Gateway(gateway)) => {
                    gateway.read.push(message.payload().to_vec());
                }
                _ => {}
            }
            if len > 0 {
                out.send(self.address, from, &answer[..len]);
            }
            rest = &mut rest[consumed..];
            self.flush(env, out);
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        self.endpoint.handle_timeout(env);
        self.handle_own_timeout(env);
        self.flush(env, out);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

/// What differs from one run to the next.
#[derive(Clone)]
pub struct Setup {
    pub seed: u64,
    pub conditions: Conditions,
    pub application: StreamApplication,
    pub form: LegForm,
    pub tampering: Tampering,
    pub port: u16,
    pub client_key: Shown,
    pub device_keys: Known,
    /// In the order in which either end likes them.
    pub suites: Vec<CipherSuite>,
    /// Whether the client names its protocol.
    pub has_alpn: bool,
    /// The records of another connection, one direction after the other.
    pub other: [Vec<Vec<u8>>; 2],
    /// The device's own names.
    pub names: Vec<String>,
    /// What is posted; without it the client asks by GET.
    pub posted: Option<Vec<u8>>,
    pub answer: Vec<u8>,
    /// A datagram of a direction of the leg that is lost.
    pub lost: Option<(Address, Address, u64)>,
    /// Of the hop: the gateway's endpoint and the device's.
    pub hop: fn(Role) -> Config,
    /// Whether the gateway asks the device first, in mode `terminate`.
    pub terminates: bool,
}

impl Setup {
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            seed,
            conditions,
            application: StreamApplication::Coap,
            form: LegForm::Dtls,
            tampering: Tampering::None,
            port: StreamApplication::Coap.port_tag(),
            client_key: Shown::end_to_end(USER, END_TO_END),
            device_keys: Known::end_to_end(&[(USER, END_TO_END)]),
            suites: vec![CipherSuite::TLS_PSK_WITH_AES_128_CCM_8],
            has_alpn: false,
            other: Default::default(),
            names: Vec::new(),
            posted: None,
            answer: READING.to_vec(),
            lost: None,
            hop: config,
            terminates: false,
        }
    }

    pub fn http(self) -> Self {
        Self {
            application: StreamApplication::Http,
            port: StreamApplication::Http.port_tag(),
            ..self
        }
    }

    fn settings(&self) -> Settings {
        let names: &'static [&'static [u8]] = match (self.has_alpn, self.application) {
            (false, _) => &[],
            (true, StreamApplication::Coap) => &[b"coap"],
            (true, StreamApplication::Http) => &[b"http/1.1"],
        };
        Settings::new(&self.suites)
            .with_timers(crate::common::patient_timers())
            .with_application_protocols(names)
    }

    fn client(&self, provider: Provider, env: &mut Env<'_>) -> Client {
        let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Optional);
        let policy = Arc::new(policy);
        let key = self.client_key.clone();
        match self.application {
            StreamApplication::Coap => {
                let config = StreamConfig {
                    security: policy,
                    handshake: self.settings(),
                    connection: patient(),
                    ..StreamConfig::default()
                };
                let client = StreamConnection::client(provider, Some(key), &config, env);
                let mut client = client.unwrap();
                let path = [hedgerow_coap::MessageOption::new(
                    OptionNumber::URI_PATH,
                    b"reading",
                )];
                let request = match &self.posted {
                    None => Request::new(Code::GET),
                    Some(body) => Request::new(Code::POST).payload(body),
                };
                client.request(&request.options(&path)).unwrap();
                Client::Coap(Box::new(client))
            }
            StreamApplication::Http => {
                let client = TlsConnection::client(provider, key, self.settings(), &policy, env);
                Client::Http(Box::new(client.unwrap()))
            }
        }
    }

    /// What the device's connections may use.
    pub fn config(&self) -> Arc<AdaptedConfig> {
        let mut config = AdaptedConfig {
            names: self.names.clone().into(),
            ..AdaptedConfig::default()
        };
        config.stream.connection = patient();
        config.stream.handshake = Settings::new(&self.suites)
            .with_timers(crate::common::patient_timers())
            .with_application_protocols(&[b"coap", b"http/1.1"]);
        Arc::new(config)
    }

    fn device(&self, provider: Provider) -> DeviceEnd {
        DeviceEnd {
            config: self.config(),
            known: self.device_keys.clone(),
            provider,
            connection: None,
            application: None,
            form: None,
            requests: Vec::new(),
            bodies: Vec::new(),
            fault: None,
            answer: self.answer.clone(),
            has_closed: false,
        }
    }

    /// Runs a connection to its end.
    pub fn run(&self) -> Outcome {
        let mut world = World::new(self.seed);
        world.set_conditions(self.conditions.clone());
        if let Some((from, to, n)) = self.lost {
            world.direction(from, to).fault(n, Fault::Drop);
        }
        let mut rng = TestRng::stream(self.seed, 78);
        let env = &mut Env::new(world.now(), &mut rng);
        let [at_device, at_gateway, at_client] =
            ["device", "gateway", "client"].map(|name| world.provider(SoftCrypto, name));
        let hop_keys = Known::new(&[(IDENTITY, PSK)]);
        let server = Endpoint::server(at_device.clone(), hop_keys, (self.hop)(Role::Device), env);
        let caller = Endpoint::client(at_gateway, Known::new(&[]), (self.hop)(Role::Gateway));
        let side = |address, endpoint, work| Side {
            address,
            endpoint,
            work,
            stream: None,
            to_leg: Vec::new(),
            is_finished: false,
            has_ended: false,
            reset: None,
            due: None,
        };
        let client = self.client(at_client, env);
        let gateway = Work::Gateway(Box::new(GatewayEnd {
            client,
            state: ClientState::default(),
            framing: AdaptedFraming::gateway(self.form),
            other_framing: AdaptedFraming::gateway(match self.form {
                LegForm::Tls => LegForm::Dtls,
                LegForm::Dtls => LegForm::Tls,
            }),
            tamperer: Tamperer::new(self.tampering, self.other.clone()),
            seen: Vec::new(),
            port: self.port,
            posted: self.posted.clone(),
            answer: self.answer.clone(),
            read: Vec::new(),
        }));
        let device = Work::Device(Box::new(self.device(at_device)));
        let device = world.add(side(SERVER, server, device), &[SERVER]);
        let gateway = world.add(side(CLIENT, caller, gateway), &[CLIENT]);
        world.act(gateway, |side, env, out| {
            let begun = side.endpoint.connect(env, Place(SERVER), Some(&shown()));
            let association = begun.unwrap();
            if self.terminates {
                let asked = side
                    .endpoint
                    .request(env, association, &Request::new(Code::GET));
                asked.unwrap();
            }
            let Work::Gateway(end) = &side.work else {
                panic!("not the gateway");
            };
            let offer = Offer {
                port: end.port,
                ..Offer::default()
            };
            let stream = side.endpoint.open_stream(env, association, &offer).unwrap();
            side.stream = Some((association, stream));
            side.flush(env, out);
        });
        world.run_for(Duration::from_secs(6_000)).unwrap();
        // Who still waits now is waiting for what somebody has taken away. The gateway goes.
        let mut has_hung = false;
        world.act(gateway, |side, _, _| {
            if let Work::Gateway(end) = &mut side.work
                && !end.state.is_closed
            {
                has_hung = end.state.failure.is_none();
                end.end_client();
            }
        });
        Outcome {
            has_hung,
            world,
            gateway,
            device,
        }
    }
}

/// Time enough for a leg on which every other datagram is lost.
fn patient() -> Arc<ConnectionConfig> {
    const LONG: Duration = Duration::from_secs(2_000);
    let mut config = ConnectionConfig {
        csm_timeout: LONG,
        pong_timeout: LONG,
        release_timeout: LONG,
        ..ConnectionConfig::default()
    };
    config.exchange.response_timeout = LONG;
    Arc::new(config)
}

/// A run that is over.
pub struct Outcome {
    has_hung: bool,
    pub world: World<Side>,
    gateway: NodeId,
    device: NodeId,
}

impl Outcome {
    pub fn gateway(&self) -> &GatewayEnd {
        match &self.world.node(self.gateway).work {
            Work::Gateway(gateway) => gateway,
            Work::Device(_) => panic!("the other one"),
        }
    }

    pub fn device(&self) -> &DeviceEnd {
        match &self.world.node(self.device).work {
            Work::Device(device) => device,
            Work::Gateway(_) => panic!("the other one"),
        }
    }

    pub fn client(&self) -> &ClientState {
        &self.gateway().state
    }

    /// Whether the gateway came to do what it was told to.
    pub fn has_fired(&self) -> bool {
        self.gateway().tamperer.ways.iter().any(|way| way.has_fired)
    }

    /// Whether a direction's close_notify reached who it was for.
    fn has_passed_end(&self, way: Way) -> bool {
        self.gateway().tamperer.ways[usize::from(way == Way::ToClient)].has_passed_end
    }

    /// The TLS records that went by, one direction after the other.
    pub fn records(&self) -> [Vec<Vec<u8>>; 2] {
        self.gateway()
            .tamperer
            .ways
            .each_ref()
            .map(|way| way.all.clone())
    }

    /// All went as it should, and the gateway read nothing of it.
    pub fn assert_whole(&self) {
        let (client, device) = (self.client(), self.device());
        assert_eq!(client.failure, None);
        assert_eq!(device.fault, None);
        assert_eq!(device.requests, [b"reading".to_vec()]);
        assert!(client.answers == [self.gateway().answer.clone()]);
        let posted = self.gateway().posted.clone().unwrap_or_default();
        assert!(device.bodies == [posted]);
        assert!(client.is_closed, "not in order");
        let seen = &self.gateway().seen;
        assert!(contains(seen, USER), "the control of the search");
        for secret in [READING, b"reading", END_TO_END] {
            assert!(!contains(seen, &secret[..7]), "the gateway reads it");
        }
    }

    /// Nothing that was not said was taken for said, and no cut for an end in order.
    pub fn assert_nothing_wrong(&self) {
        let (client, device) = (self.client(), self.device());
        assert!(device.requests.iter().all(|path| path == b"reading"));
        assert!(device.requests.len() <= 1);
        assert!(
            client
                .answers
                .iter()
                .all(|answer| *answer == self.gateway().answer)
        );
        assert!(client.answers.len() <= 1);
        assert!(
            !client.is_closed || self.has_passed_end(Way::ToClient),
            "the client takes a cut for the end"
        );
        // A device that closes first has had all that it waits for (RFC 5246 §7.2.1).
        assert!(
            !self.has_device_ended_in_order()
                || device.has_closed
                || self.has_passed_end(Way::ToDevice),
            "the device takes a cut for the end"
        );
    }

    /// Whether the stream ended for the device without a fault.
    pub fn has_device_ended_in_order(&self) -> bool {
        let side = self.world.node(self.device);
        side.has_ended && self.device().fault.is_none() && side.reset.is_none()
    }

    /// One of the ends noticed.
    pub fn is_detected(&self) -> bool {
        let client = self.client();
        client.failure.is_some() || client.is_aborted || self.device().fault.is_some()
    }

    /// What the end that a direction leads to has found wrong.
    pub fn fault(&self, way: Way) -> Option<PeerFault> {
        let found = match way {
            Way::ToClient => self.client().failure,
            Way::ToDevice => match self.device().fault? {
                AdaptedFault::Channel(error) => Some(error),
                _ => None,
            },
        };
        match found? {
            ChannelError::Peer(fault) => Some(fault),
            _ => None,
        }
    }

    /// Where each record of a direction ended on the leg, in form `dtls`.
    pub fn leg_ends(&self, way: Way) -> &[usize] {
        self.gateway().tamperer.ways[usize::from(way == Way::ToClient)].leg_ends()
    }

    /// Whether the client had neither an answer nor an error when the time was over.
    pub const fn has_hung(&self) -> bool {
        self.has_hung
    }

    pub fn is_truncated(&self, way: Way) -> bool {
        let truncated = ChannelError::Peer(PeerFault::Truncated);
        match way {
            Way::ToClient => self.client().failure == Some(truncated),
            Way::ToDevice => self.device().fault == Some(AdaptedFault::Channel(truncated)),
        }
    }
}

pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// RFC 5246 §6.2.1.
const ALERT: u8 = 21;
