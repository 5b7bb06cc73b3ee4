//! A device behind a gateway that translates, in a simulated network: the client's datagrams go into
//! the adapter, through two pipes of bytes in order, out of the gateway's translator and over a lossy
//! leg to an ordinary server.

#![allow(dead_code, unreachable_pub)]

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use hedgerow_core::{
    DropReason, Env, Instant, P256_PUBLIC_KEY_LEN, PeerId, PskAndCertificates, RawPublicKeys,
    SignatureScheme, Signatures, SigningKey,
};
use hedgerow_crypto_soft::{SoftCrypto, SoftSigningKey};
use hedgerow_endpoint::{Config, Endpoint, TranslateError, TranslatedEvent, TranslatedStream};
use hedgerow_handshake::Settings;
use hedgerow_proxy::{NotPermitted, Opening, ToDevice, Translator};
use hedgerow_record::{CipherSuite, Error, TranslateForm, TranslateStatus, encode_p256_spki};
use hedgerow_sim::{Address, Conditions, Node, NodeId, NonceLedger, Outbox, World};

use super::common::{CLIENT, Host, IDENTITY, Known, PSK, SERVER, Shown};

/// The gateway's address towards the device.
pub const GATEWAY: Address = Address::new(3, 50_000);
/// The device.
pub const DEVICE: Address = Address::new(4, 5684);
/// The key by which the gateway reaches the same device in mode `terminate`.
pub const TERMINATE: &[u8] = b"the gateway's own";
/// Another device, which has other keys.
pub const OTHER: Address = Address::new(5, 5684);

pub type Keys = RawPublicKeys<'static, SoftSigningKey>;
pub type Stores = PskAndCertificates<Known, &'static Keys>;
pub type Credentials = PskAndCertificates<Shown, &'static Keys>;
pub type End = Host<SoftCrypto, Stores, Credentials>;
pub type Net = World<Actor>;

pub const SHORT: [CipherSuite; 4] = [
    CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
    CipherSuite::TLS_PSK_WITH_AES_128_CCM,
    CipherSuite::TLS_ECDHE_PSK_WITH_AES_128_CCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
];

pub const LONG: [CipherSuite; 4] = [
    CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];

/// Every suite of the two lists with its form.
pub fn suites() -> impl Iterator<Item = (CipherSuite, TranslateForm)> + Clone {
    let short = SHORT.map(|suite| (suite, TranslateForm::Short));
    let long = LONG.map(|suite| (suite, TranslateForm::Long));
    short.into_iter().chain(long)
}

#[expect(clippy::large_enum_variant, reason = "there are three of them")]
pub enum Actor {
    End(End),
    Between(Between),
}

/// Which way something goes that the gateway has translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A datagram to the device.
    ToDevice,
    /// Bytes of the stream to the Internet end.
    ToInternetEnd,
}

/// What an active gateway makes of each datagram or run of bytes.
pub type Attack = Box<dyn FnMut(Way, Vec<u8>) -> Vec<Vec<u8>>>;

/// The adapter of the Internet end, the TCP connection and the gateway.
pub struct Between {
    adapter: TranslatedStream,
    translator: Option<Translator>,
    device_name: &'static str,
    permitted: Result<(), NotPermitted>,
    to_device: Address,
    to_gateway: Pipe,
    to_end: Pipe,
    received: Vec<u8>,
    datagram: Vec<u8>,
    pub attack: Option<Attack>,
    /// What the adapter dropped, and the gateway.
    pub dropped: Vec<DropReason>,
    pub dropped_by_gateway: Vec<DropReason>,
    /// How the connection ended for the Internet end.
    pub failed: Option<TranslateError>,
    pub framing: Option<Error>,
    pub status: Option<TranslateStatus>,
    /// Datagrams that were too long for the device's leg, as the gateway tells.
    pub refused: Vec<usize>,
    pub is_accepted: bool,
}

#[derive(Default)]
struct Pipe(VecDeque<(Instant, Vec<u8>)>);

impl Pipe {
    fn push(&mut self, now: Instant, bytes: Vec<u8>) {
        let at = now.saturating_add(PIPE_DELAY);
        if !bytes.is_empty() {
            self.0.push_back((at, bytes));
        }
    }

    fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        let is_due = self.0.front().is_some_and(|(at, _)| *at <= now);
        is_due.then(|| self.0.pop_front())?.map(|(_, bytes)| bytes)
    }
}

impl Between {
    pub fn new(form: TranslateForm, asked: &str, name: &'static str) -> Self {
        let mut preface = Vec::new();
        let adapter = TranslatedStream::open(asked, form, &mut preface).unwrap();
        let mut to_gateway = Pipe::default();
        to_gateway.push(Instant::ZERO, preface);
        Self {
            adapter,
            translator: None,
            device_name: name,
            permitted: Ok(()),
            to_device: DEVICE,
            to_gateway,
            to_end: Pipe::default(),
            received: Vec::new(),
            datagram: vec![0; 1_452],
            attack: None,
            dropped: Vec::new(),
            dropped_by_gateway: Vec::new(),
            failed: None,
            framing: None,
            status: None,
            refused: Vec::new(),
            is_accepted: false,
        }
    }

    #[must_use]
    pub fn leading_to(mut self, device: Address) -> Self {
        self.to_device = device;
        self
    }

    /// The longest datagram that the gateway takes for the device.
    #[must_use]
    pub fn with_room(mut self, len: usize) -> Self {
        self.datagram = vec![0; len];
        self
    }

    #[must_use]
    pub const fn refusing(mut self, why: NotPermitted) -> Self {
        self.permitted = Err(why);
        self
    }

    /// Puts bytes on the way to the Internet end, as only the gateway or somebody on the stream can.
    pub fn inject(&mut self, now: Instant, bytes: &[u8]) {
        self.to_end.push(now, bytes.to_vec());
    }

    /// Ends the TCP connection.
    pub fn cut(&mut self) {
        self.to_end = Pipe::default();
        self.failed.get_or_insert(self.adapter.handle_end());
    }

    fn attacked(&mut self, way: Way, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        match &mut self.attack {
            Some(attack) => attack(way, bytes),
            None => vec![bytes],
        }
    }

    fn at_gateway(&mut self, now: Instant, out: &mut Outbox) {
        if self.status.is_none() {
            let (name, permitted) = (self.device_name, self.permitted);
            let opening = Translator::open(&self.received, |asked| match asked == name {
                true => permitted,
                false => Err(NotPermitted::Refused),
            });
            match opening.unwrap() {
                Opening::Incomplete => return,
                Opening::Refused { answer, status } => {
                    self.status = Some(status);
                    self.to_end.push(now, answer.to_vec());
                    return;
                }
                Opening::Accepted {
                    translator,
                    answer,
                    consumed,
                    ..
                } => {
                    self.status = Some(TranslateStatus::Accepted);
                    self.translator = Some(translator);
                    for answer in self.attacked(Way::ToInternetEnd, answer.to_vec()) {
                        self.to_end.push(now, answer);
                    }
                    self.received.drain(..consumed);
                }
            }
        }
        let received = std::mem::take(&mut self.received);
        let mut rest = received.as_slice();
        while let Some(translator) = &mut self.translator {
            let found = match translator.read_stream(rest, &mut self.datagram) {
                Err(error) => {
                    self.framing = Some(error);
                    self.translator = None;
                    return;
                }
                Ok((_, None)) => return,
                Ok((len, Some(found))) => {
                    rest = &rest[len..];
                    found
                }
            };
            match found {
                ToDevice::Datagram(len) => {
                    let datagram = self.datagram[..len].to_vec();
                    for datagram in self.attacked(Way::ToDevice, datagram) {
                        out.send(GATEWAY, self.to_device, &datagram);
                    }
                }
                ToDevice::Dropped { reason, len } => {
                    self.dropped_by_gateway.push(reason);
                    if reason == DropReason::TooLong {
                        let notice = translator.too_long(len);
                        self.to_end.push(now, notice);
                    }
                }
            }
        }
    }

    fn at_end(&mut self, bytes: &[u8], out: &mut Outbox) {
        let mut rest = bytes;
        while self.failed.is_none() {
            match self.adapter.stream_to_datagrams(rest) {
                Err(error) => self.failed = Some(error),
                Ok((_, None)) => return,
                Ok((len, Some(event))) => {
                    match event {
                        TranslatedEvent::Accepted => self.is_accepted = true,
                        TranslatedEvent::Datagram(datagram) => out.send(SERVER, CLIENT, datagram),
                        TranslatedEvent::DatagramRefused { len } => self.refused.push(len),
                        TranslatedEvent::Dropped(reason) => self.dropped.push(reason),
                        _ => {}
                    }
                    rest = &rest[len..];
                }
            }
        }
    }
}

impl Node for Actor {
    type Provider = NonceLedger<SoftCrypto>;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        match self {
            Self::End(end) => end.handle_datagram(env, from, to, datagram, out),
            Self::Between(between) if to == SERVER => {
                let mut bytes = Vec::new();
                let missing = between.adapter.datagram_to_stream(datagram, &mut bytes);
                assert_eq!(missing, None, "of our own");
                between.to_gateway.push(env.now, bytes);
            }
            // The gateway's socket is connected to the device.
            Self::Between(between) if from == between.to_device => {
                let mut bytes = datagram.to_vec();
                if let Some(translator) = &mut between.translator {
                    let dropped = &mut between.dropped_by_gateway;
                    translator.translate_datagram(&mut bytes, |reason| dropped.push(reason));
                    for bytes in between.attacked(Way::ToInternetEnd, bytes) {
                        between.to_end.push(env.now, bytes);
                    }
                }
            }
            Self::Between(_) => {}
        }
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        match self {
            Self::End(end) => end.handle_timeout(env, out),
            Self::Between(between) => {
                // TCP cuts where it likes.
                while let Some(bytes) = between.to_gateway.pop(env.now) {
                    let part = part(env);
                    for part in bytes.chunks(part) {
                        between.received.extend(part);
                        between.at_gateway(env.now, out);
                    }
                }
                while let Some(bytes) = between.to_end.pop(env.now) {
                    let part = part(env);
                    for part in bytes.chunks(part) {
                        between.at_end(part, out);
                    }
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::End(end) => end.poll_timeout(),
            Self::Between(between) => {
                let pipes = [&between.to_gateway, &between.to_end];
                pipes
                    .iter()
                    .filter_map(|pipe| pipe.0.front())
                    .map(|(at, _)| *at)
                    .min()
            }
        }
    }
}

fn part(env: &mut Env<'_>) -> usize {
    usize::try_from(env.rng.next_u32() % 600).unwrap() + 1
}

/// A client, a device and what is between them.
#[derive(Clone, Copy)]
pub struct Trio {
    pub client: NodeId,
    pub between: NodeId,
    pub device: NodeId,
}

impl Trio {
    pub fn client<'w>(&self, world: &'w Net) -> &'w End {
        end(world, self.client)
    }

    pub fn device<'w>(&self, world: &'w Net) -> &'w End {
        end(world, self.device)
    }

    pub fn between<'w>(&self, world: &'w Net) -> &'w Between {
        match world.node(self.between) {
            Actor::Between(between) => between,
            Actor::End(_) => panic!("an end"),
        }
    }

    /// Lends what is between the ends.
    pub fn act<R>(&self, world: &mut Net, act: impl FnOnce(&mut Between, Instant) -> R) -> R {
        world.act(self.between, |actor, env, _| match actor {
            Actor::Between(between) => act(between, env.now),
            Actor::End(_) => panic!("an end"),
        })
    }
}

pub fn end(world: &Net, id: NodeId) -> &End {
    match world.node(id) {
        Actor::End(end) => end,
        Actor::Between(_) => panic!("not an end"),
    }
}

/// Lends an end and its way out.
pub fn at<R>(
    world: &mut Net,
    id: NodeId,
    act: impl FnOnce(&mut End, &mut Env<'_>, &mut Outbox) -> R,
) -> R {
    world.act(id, |actor, env, out| match actor {
        Actor::End(end) => act(end, env, out),
        Actor::Between(_) => panic!("not an end"),
    })
}

/// One suite alone, RFC 7252's parameters, handshakes with five transmissions.
pub fn defaults(suite: CipherSuite) -> Config {
    Config {
        handshake: Settings::new(&[suite]),
        ..Config::default()
    }
}

/// One suite alone, MAX_RETRANSMIT and handshake tries at 15.
pub fn patient(suite: CipherSuite) -> Config {
    Config {
        handshake: Settings::new(&[suite]).with_timers(super::common::patient_timers()),
        ..super::common::patient()
    }
}

/// Puts the three into a world whose conditions are those of the leg to the device.
pub fn trio(world: &mut Net, between: Between, config: &Config) -> Trio {
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        world.direction(from, to).set_conditions(Conditions {
            delay: Duration::ZERO..=Duration::ZERO,
            ..Conditions::default()
        });
    }
    let device = device(
        world,
        DEVICE,
        &[(IDENTITY, PSK), (b"terminate", TERMINATE)],
        config,
    );
    let at_client = world.provider(SoftCrypto, "client");
    let store = PskAndCertificates {
        psk: Known::new(&[]),
        certificates: keys(1),
    };
    let client = Endpoint::client(at_client.clone(), store, config.clone());
    let client = Host::new(CLIENT, at_client, client);
    Trio {
        client: world.add(Actor::End(client), &[CLIENT]),
        between: world.add(Actor::Between(between), &[SERVER, GATEWAY]),
        device,
    }
}

/// Puts an ordinary server into a world.
pub fn device(
    world: &mut Net,
    address: Address,
    psks: &[(&[u8], &[u8])],
    config: &Config,
) -> NodeId {
    let mut rng = hedgerow_sim::TestRng::stream(world.seed(), 77);
    let env = &mut Env::new(world.now(), &mut rng);
    let at_device = world.provider(SoftCrypto, "device");
    let store = PskAndCertificates {
        psk: Known::new(psks),
        certificates: keys(2),
    };
    let server = Endpoint::server(at_device.clone(), store, config.clone(), env);
    let server = Host::new(address, at_device, server);
    world.add(Actor::End(server), &[address])
}

/// What a client shows that wants security end to end.
pub fn end_to_end() -> Credentials {
    PskAndCertificates {
        psk: Shown::end_to_end(IDENTITY, PSK),
        certificates: keys(1),
    }
}

pub fn shown() -> Credentials {
    PskAndCertificates {
        psk: super::common::shown(),
        certificates: keys(1),
    }
}

/// Key 1 is the client's, key 2 the device's.
fn keys(number: usize) -> &'static Keys {
    static SPKI: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [spki(1), spki(2)]);
    static CLIENTS: LazyLock<[(&[u8], PeerId); 1]> = LazyLock::new(|| [(&SPKI[0], PeerId(8))]);
    static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(|| {
        [
            RawPublicKeys {
                key: signing_key(1),
                server: Some((&SPKI[1], PeerId(9))),
                clients: &[],
            },
            RawPublicKeys {
                key: signing_key(2),
                server: None,
                clients: &*CLIENTS,
            },
        ]
    });
    &KEYS[number - 1]
}

fn signing_key(number: u8) -> SoftSigningKey {
    let scheme = SignatureScheme::EcdsaSecp256r1Sha256;
    SoftCrypto.signing_key(scheme, &[number; 32]).unwrap()
}

fn spki(number: u8) -> Vec<u8> {
    let mut public_key = [0; P256_PUBLIC_KEY_LEN];
    let key = signing_key(number);
    key.write_public_key(&mut public_key).unwrap();
    encode_p256_spki(&public_key).to_vec()
}

/// Of each way of the TCP connection.
const PIPE_DELAY: Duration = Duration::from_millis(15);
