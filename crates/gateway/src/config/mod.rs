//! What a gateway is configured with.

mod bounds;
mod check;
mod connections;
mod device;
mod device_address;
mod file;
mod files;
mod https;
mod https_psk;
mod itls;
mod leg;
mod mistake;
mod suggestion;
mod table;
mod tls_listener;
mod translate;
mod units;
mod user;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::SecurityMode;
use hedgerow_endpoint::ConnectionIds;
use hedgerow_exchange::TransmissionParameters;
use hedgerow_handshake::{ExtendedMasterSecret, Settings, Timers};
use hedgerow_net::Identity;
use hedgerow_proxy::HcProxy;
use hedgerow_record::CipherSuite;

use crate::Via;

pub use device::{Device, Mode, PathPattern, PathPatternError, Security};
pub use device_address::DeviceAddress;
pub use https::{Https, HttpsError};
pub use https_psk::{HttpsClient, HttpsPsk};
pub use itls::{Itls, ItlsCaller};
pub use leg::{Leg, LegPeer, LegService};
pub use mistake::{ConfigError, Mistake, Position};
pub use tls_listener::TlsListener;
pub use translate::Translate;
pub(crate) use user::UserSecret;
pub use user::{TunnelLimits, User};

/// The configuration of a gateway, from a file ([`Self::from_file`]), a text
/// ([`Self::from_toml`]) or made in code.
///
/// Whatever is made in code is checked by [`Gateway::start`](crate::Gateway::start) as strictly as
/// a file is.
#[derive(Debug)]
pub struct Config {
    /// The listener for plain HTTP; `None` if there is none.
    pub http: Option<Http>,
    /// The listener for HTTPS; `None` if there is none.
    pub https: Option<Https>,
    /// The listener for HTTPS with pre-shared keys; `None` if there is none.
    pub https_psk: Option<HttpsPsk>,
    /// What requests may take.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What handshakes with devices offer.
    pub dtls: Dtls,
    /// The least security mode that any device may have; NoSec, if nothing is said, leaves it to each
    /// device's own line.
    pub minimum: SecurityMode,
    /// The gateway's own key, and its certificates if it has any; for devices in certificate mode.
    pub certificate: Option<Arc<Identity>>,
    /// How CoAP is spoken with devices.
    pub coap: Coap,
    /// Who may open tunnels to the devices that have the mode; nobody if it is empty.
    pub users: Vec<User>,
    /// What tunnels may take.
    pub tunnel: TunnelLimits,
    /// Where UDP carriers are listened for, which tunnels' clients may ask for (mode `auto`,
    /// `docs/specs/auto.md`); `None` if tunnels have TCP alone.
    pub udp_carriers: Option<SocketAddr>,
    /// The listener for mode `translate`; `None` if there is none.
    pub translate: Option<Translate>,
    /// The listeners for mode `itls`; `None` if there are none.
    pub itls: Option<Itls>,
    /// The listener for devices that open streams; `None` if there is none.
    pub leg: Option<Leg>,
    /// Listeners for TLS clients whose devices adapt to them (`docs/specs/translate-device.md`).
    pub tls_listeners: Vec<TlsListener>,
    /// The names of the devices that may be asked by URI, under `/hc/`.
    pub hc_devices: Vec<String>,
    /// The devices. Nothing else is ever asked.
    pub devices: Vec<Device>,
    /// The gateway behind which all devices are; `None`, as for every gateway that a file configures,
    /// if they are asked straight. With it this one stands at the user's end: it maps HTTP to CoAP for
    /// the user, holds end-to-end keys and no others, and gives tunnels to nobody.
    pub via: Option<Via>,
}

impl Default for Config {
    /// HTTP on 127.0.0.1:8080, no HTTPS, nothing under `/hc/`, no devices, no users, no certificate.
    fn default() -> Self {
        Self {
            http: Some(Http::default()),
            https: None,
            https_psk: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            dtls: Dtls::default(),
            minimum: SecurityMode::NoSec,
            certificate: None,
            coap: Coap::default(),
            users: Vec::new(),
            tunnel: TunnelLimits::default(),
            udp_carriers: None,
            translate: None,
            itls: None,
            leg: None,
            tls_listeners: Vec::new(),
            hc_devices: Vec::new(),
            via: None,
            devices: Vec::new(),
        }
    }
}

impl Config {
    /// Adds a device.
    #[must_use]
    pub fn with_device(mut self, device: Device) -> Self {
        self.devices.push(device);
        self
    }

    /// Adds a user.
    #[must_use]
    pub fn with_user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    /// Listens for UDP carriers of tunnels; port 0 takes a free one.
    #[must_use]
    pub const fn with_udp_carriers(mut self, address: SocketAddr) -> Self {
        self.udp_carriers = Some(address);
        self
    }

    /// Adds a listener for TLS clients whose devices adapt to them; port 0 takes a free one.
    #[must_use]
    pub fn with_tls_listener(mut self, listener: TlsListener) -> Self {
        self.tls_listeners.push(listener);
        self
    }

    /// Listens for connections in mode `translate`; port 0 takes a free one.
    #[must_use]
    pub const fn with_translate(mut self, translate: Translate) -> Self {
        self.translate = Some(translate);
        self
    }

    /// Listens for plain HTTP at `address`; port 0 takes a free one.
    #[must_use]
    pub fn with_http(mut self, address: SocketAddr) -> Self {
        self.http = Some(Http {
            listen: address,
            ..self.http.unwrap_or_default()
        });
        self
    }

    /// Returns how long it takes at most until a device that was restarted is met again, its
    /// handshake left out: two transmissions go unanswered, the wait after the second is twice the
    /// first (RFC 7252 §4.2), and the new handshake waits once more for the third. With the RFC's parameters it is 8 to 12 s.
    pub fn restart_bound(&self) -> Duration {
        // Two transmissions without an answer, and the wait for the third one's before the new
        // handshake ends the old session.
        self.coap.transmission.longest_timeout().saturating_mul(4)
    }

    /// Returns the decisions that follow from a checked configuration.
    pub(crate) fn proxy(&self) -> Result<HcProxy, ConfigError> {
        let limits = hedgerow_proxy::Limits {
            request_body: self.limits.request_body,
            response_body: self.limits.response_body,
            ..hedgerow_proxy::Limits::default()
        };
        let mut proxy = HcProxy::new().with_limits(limits);
        for device in &self.devices {
            proxy = proxy
                .with_device(&device.name, &device.uri, device.methods)
                .map_err(unchecked)?;
            if self.hc_devices.contains(&device.name) {
                proxy = proxy
                    .with_destination(&device.uri, device.methods)
                    .map_err(unchecked)?;
            }
        }
        Ok(proxy)
    }
}

/// Says what [`Config::check`] says before.
pub(crate) fn unchecked(error: impl std::fmt::Display) -> ConfigError {
    ConfigError {
        file: "configuration".to_owned(),
        mistakes: vec![Mistake {
            position: None,
            key: "device".to_owned(),
            message: error.to_string(),
        }],
    }
}

/// The listener for plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Who may reach `coaps` devices over plain HTTP.
    pub coaps: CoapsOverHttp,
    /// Names under which browsers may know this gateway, besides `localhost` and addresses. A
    /// request for another name is refused, for a page of a stranger's could have sent it (DNS
    /// rebinding).
    pub host_names: Vec<String>,
}

impl Default for Http {
    /// 127.0.0.1:8080.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            coaps: CoapsOverHttp::default(),
            host_names: Vec::new(),
        }
    }
}

impl Http {
    /// Says whether `coaps` devices are reached over this listener when it is bound to `address`.
    pub(crate) fn passes_coaps(&self, address: SocketAddr) -> bool {
        match self.coaps {
            CoapsOverHttp::Loopback => address.ip().to_canonical().is_loopback(),
            CoapsOverHttp::Always => true,
            CoapsOverHttp::Never => false,
        }
    }
}

/// Whether `coaps` devices are reached over plain HTTP, where RFC 8075 §10.3 advises against it:
/// what DTLS protects on one side would lie open on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CoapsOverHttp {
    /// If the listener has a loopback address, so that nothing leaves the host in clear.
    #[default]
    Loopback,
    /// Whatever the listener's address is.
    Always,
    /// Over HTTPS only.
    Never,
}

/// What requests may take.
///
/// At most `requests` request bodies are being read, and besides them `requests` requests are under
/// way, each with one body of a request and one of a response, until the client has read its
/// answer. So the bodies take at most `requests` x (2 x `request_body` + `response_body`) bytes,
/// 384 MiB with the defaults. That counts each body once; while it is handed between HTTP and CoAP
/// there are up to two further copies of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body, in bytes.
    pub request_body: usize,
    /// The longest response body, in bytes.
    pub response_body: usize,
    /// Requests under way at the same time, and as many more whose bodies are being read; beyond
    /// that they are answered with 503.
    pub requests: usize,
    /// Requests of one client at the same time, from the head until the answer has been read; more
    /// are answered with 429. A client is an IPv4 address or an IPv6 network of 64 bits, so behind
    /// a reverse proxy all clients are one: set it to `requests` there.
    pub requests_per_client: usize,
    /// Requests under way at the same time for one device; more are answered with 503.
    pub requests_per_device: usize,
    /// Connections at the same time, over HTTP and HTTPS together; more are closed at once.
    pub connections: usize,
    /// Connections of one client at the same time, which is what it is for `requests_per_client`; more are
    /// closed at once. Behind a reverse proxy set it to `connections`.
    pub connections_per_client: usize,
}

impl Default for Limits {
    /// 1 MiB each way, 128 requests, 64 a client, 16 a device, 1,024 connections, 128 a client.
    fn default() -> Self {
        Self {
            request_body: 1 << 20,
            response_body: 1 << 20,
            requests: 128,
            requests_per_client: 64,
            requests_per_device: 16,
            connections: 1_024,
            connections_per_client: 128,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the head of a request until the device has answered. Longer than
    /// [`Config::restart_bound`] and a handshake.
    pub request: Duration,
    /// For the head of a request, or the next one on the same connection, and for a TLS handshake.
    /// Only requests keep a connection: bytes that ask for nothing, such as HTTP/2's PING, don't. A
    /// client that doesn't go when it is told so is cut off after as long again.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
    /// For the client to read an answer. After that its connection is cut.
    pub answer: Duration,
    /// For requests under way when the gateway shuts down.
    pub shutdown: Duration,
}

impl Default for Timeouts {
    /// 120 s, above the 93 s after which RFC 7252's parameters give a device up; 15 s for a head,
    /// 30 s for a body, 60 s to read an answer, 10 s to shut down.
    fn default() -> Self {
        Self {
            request: Duration::from_secs(120),
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            shutdown: Duration::from_secs(10),
        }
    }
}

/// What handshakes with devices offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dtls {
    /// Suites, best first.
    pub suites: Vec<CipherSuite>,
    /// Whether devices without the extended master secret are refused (RFC 7627).
    pub extended_master_secret: ExtendedMasterSecret,
    /// Timers of handshakes.
    pub timers: Timers,
    /// How long a session without a message is kept.
    pub idle_timeout: Duration,
    /// Whether sessions are resumed where a device takes part (RFC 5077, RFC 5246 §7.3).
    pub resumption: bool,
    /// How long a device may be silent before it is asked for a sign of life, over DTLS and over TLS;
    /// `None` for never, as it is where devices sleep.
    pub ping_idle_after: Option<Duration>,
    /// Whether records carry connection IDs (RFC 9146), where the device takes part.
    pub connection_ids: ConnectionIds,
}

impl Default for Dtls {
    /// Every suite that there is, the extended master secret required, an hour of idleness, sessions
    /// resumed, no pings, no connection IDs.
    fn default() -> Self {
        Self {
            suites: Settings::default().suites().to_vec(),
            extended_master_secret: ExtendedMasterSecret::Required,
            timers: Timers::default(),
            idle_timeout: Duration::from_secs(3_600),
            resumption: true,
            ping_idle_after: None,
            connection_ids: ConnectionIds::Off,
        }
    }
}

/// How CoAP is spoken with devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coap {
    /// RFC 7252's transmission parameters.
    pub transmission: TransmissionParameters,
    /// The longest block of a body, in bytes: a power of two from 16 to 1,024 (RFC 7959 §2.2).
    pub block_len: u16,
}

impl Default for Coap {
    /// RFC 7252's parameters, blocks of 1,024 bytes.
    fn default() -> Self {
        Self {
            transmission: TransmissionParameters::default(),
            block_len: 1_024,
        }
    }
}

impl Config {
    /// Returns what an endpoint of this gateway may use.
    pub(crate) fn endpoint(&self) -> EndpointSettings {
        let handshake = Settings::new(&self.dtls.suites)
            .with_extended_master_secret(self.dtls.extended_master_secret)
            .with_timers(self.dtls.timers);
        let max_body_len = self.limits.request_body.max(self.limits.response_body);
        let szx = self.coap.block_len.max(16).ilog2().saturating_sub(4);
        let exchange = hedgerow_exchange::Config {
            response_timeout: self.timeouts.request,
            max_block_szx: u8::try_from(szx).unwrap_or_default(),
            // RFC 7959 §2.4: a device is told the block size before it chooses one of its own.
            negotiate_block2: self.coap.block_len < 1_024,
            max_body_len,
            max_bodies_len: max_body_len
                .saturating_mul(self.limits.requests_per_device.saturating_mul(2)),
            max_outgoing: self.limits.requests_per_device,
            ..hedgerow_exchange::Config::new(self.coap.transmission)
        };
        EndpointSettings {
            handshake,
            exchange,
        }
    }
}

/// What an endpoint of a gateway may use.
pub(crate) struct EndpointSettings {
    pub(crate) handshake: Settings,
    pub(crate) exchange: hedgerow_exchange::Config,
}

/// What is said of another key, where one for end-to-end security is wanted.
const HOP: &str = "a key that a gateway may have: expected one for end-to-end security, since a gateway is \
                   between";

/// What is said of a key for end-to-end security that the gateway is given.
const END_TO_END: &str = "an end-to-end key, which the gateway must not have, since it could play either end with it: \
     it belongs to the device and to whoever calls that, and the gateway needs a key of its own";
