//! What happens to two carriers, and what an active gateway does.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{
    Credentials, DropReason, Instant, PeerId, Psk, PskEntry, PskRequest, PskStore,
};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_endpoint::{
    Address, Config, ConnectionIdFormat, ConnectionIds, Endpoint, Event, ForwardSecrecy,
    SecurityPolicy,
};
use hedgerow_exchange::TransmissionParameters;
use hedgerow_handshake::{Settings, Timers};
use hedgerow_proxy::CarrierKind;
use hedgerow_record::CipherSuite;
use hedgerow_sim::TestRng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(pub u8);

impl Address for Host {
    fn with_bytes<R>(&self, lend: impl FnOnce(&[u8]) -> R) -> R {
        lend(&[self.0])
    }
}

/// The device, as the client's link has it.
pub const DEVICE: Host = Host(1);
/// The gateway's address towards the device, and a second one where each carrier has its own.
pub const GATEWAY: Host = Host(2);
pub const GATEWAY_UDP: Host = Host(3);

/// The keys by which a device lets others in, in the order of their peers' numbers.
pub struct Store(pub Vec<(&'static [u8], Psk)>);

impl PskStore for Store {
    fn lookup(&self, request: &PskRequest<'_>) -> Option<PskEntry<'_>> {
        let index = self
            .0
            .iter()
            .position(|key| key.0 == request.psk_identity)?;
        Some(PskEntry {
            psk: &self.0[index].1,
            peer: PeerId(u32::try_from(index).unwrap()),
        })
    }
}

pub type Client<'k> = Endpoint<Host, SoftCrypto, &'k Store, &'k Credentials<'k>>;

/// What happens on the way.
#[derive(Clone)]
pub struct Scenario {
    /// Of a hundred messages, how many each carrier loses in each direction; TCP sends them again.
    pub loss: u32,
    /// Of a hundred datagrams, how many the device's leg loses in each direction.
    pub leg_loss: u32,
    /// Whether UDP delays each message for as long as it likes, so that they overtake each other.
    pub reorders: bool,
    /// Whether the device's leg does so too, and delivers a tenth of the datagrams twice.
    pub leg_reorders: bool,
    /// When UDP is blocked, in milliseconds.
    pub blocked: Range<u64>,
    /// Whether each carrier has a device-side address of its own, and the session a connection ID.
    pub by_connection_id: bool,
    /// How often a message is sent again, at most.
    pub max_retransmit: u8,
    /// Whether everything else is as the ends have it by default too: handshakes with five transmissions, and a new
    /// session beside one that is silent.
    pub by_default: bool,
    pub requests: u32,
    /// How old a request may be, if the device asks for that (RFC 9175 §2.3).
    pub fresh_within: Option<Duration>,
    /// How many are asked at a time (NSTART).
    pub at_once: u8,
    /// How long the body of each is, in bytes.
    pub body_len: usize,
    /// If each is a GET, how long the body of its answer is.
    pub asked_len: Option<usize>,
    /// When the first one is asked, in milliseconds.
    pub first: Range<u64>,
    /// From the beginning of one request, or the end if that is later, to the next, in milliseconds.
    pub spacing: Range<u64>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            loss: 0,
            leg_loss: 0,
            reorders: false,
            leg_reorders: false,
            blocked: 0..0,
            by_connection_id: false,
            max_retransmit: 15,
            by_default: false,
            requests: 12,
            fresh_within: None,
            at_once: 1,
            body_len: 4,
            asked_len: None,
            first: 100..101,
            spacing: 560..580,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
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
pub struct Fate {
    pub sent: u32,
    pub lost: u32,
    pub arrived: u32,
}

/// A record that came to an end, or whatever it was, and why it was dropped if it was.
pub struct Given {
    pub from: Host,
    pub record: Vec<u8>,
    pub dropped: Option<DropReason>,
}

impl Given {
    pub fn new(from: Host, record: &[u8], event: &Option<Event<'_, Host>>) -> Self {
        let dropped = match event {
            Some(Event::Dropped { reason, .. }) => Some(*reason),
            _ => None,
        };
        Self {
            from,
            record: record.to_vec(),
            dropped,
        }
    }
}

/// What an active gateway sees of the session.
pub struct Seen<'d> {
    pub way: Way,
    pub datagram: &'d [u8],
    pub at_ms: u64,
    /// How many requests were asked so far.
    pub asked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client, on a carrier.
    Up(CarrierKind),
    /// From the device.
    Down,
}

/// What it makes of it: what it sends, after how many milliseconds and where.
pub enum Act {
    /// Beside passing it on.
    Beside(Vec<(u64, To, Vec<u8>)>),
    /// In its place.
    Instead(Vec<(u64, To, Vec<u8>)>),
}

pub type Attack<'k> = Box<dyn FnMut(&Seen<'_>, &mut TestRng) -> Act + 'k>;

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn at(ms_since: u64) -> Instant {
    Instant::ZERO + ms(ms_since)
}

pub fn config(scenario: &Scenario, is_device: bool) -> Config {
    let transmission = TransmissionParameters {
        max_retransmit: scenario.max_retransmit,
        nstart: scenario.at_once,
        ..TransmissionParameters::default()
    };
    let timers = match scenario.by_default {
        true => Timers::default(),
        // All of them while the other end keeps its last flight (RFC 6347 §4.2.4: 240 s).
        false => Timers {
            max_transmissions: 15,
            max_timeout: Duration::from_secs(15),
            deadline: Duration::from_secs(100_000),
            ..Timers::default()
        },
    };
    let exchange = hedgerow_exchange::Config {
        fresh_within: scenario.fresh_within.filter(|_| is_device),
        ..hedgerow_exchange::Config::new(transmission)
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
        exchange: Arc::new(match scenario.by_default {
            true => exchange,
            // Nothing restarts here.
            false => hedgerow_exchange::Config {
                unanswered_threshold: u8::MAX,
                ..exchange
            },
        }),
        idle_timeout: Duration::from_secs(10_000_000),
        ..Config::default()
    }
}
