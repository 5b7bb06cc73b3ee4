//! The listener for devices that open streams to configured services.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hedgerow_core::Psk;
use hedgerow_leg::Name;

use super::bounds::{check_counts, check_durations};
use super::check::ANOTHER_HAS_THIS_KEY;
use super::file::{NOWHERE, Reader};
use super::table::{Place, Table};
use super::{Config, Mode};

/// The listener for devices that open TLS connections to servers: each in a stream of its hop's DTLS session
/// (docs/specs/leg.md). The gateway copies bytes between the stream and a TCP connection, and has no
/// key of what is inside.
#[derive(Debug)]
pub struct Leg {
    /// Address and UDP port.
    pub listen: SocketAddr,
    /// Streams at the same time; more are given up.
    pub streams: usize,
    /// Streams of one device at the same time; more are given up.
    pub streams_per_device: usize,
    /// How long a TCP connection may take until it stands.
    pub connect_timeout: Duration,
    /// How long a stream is kept on which nothing is carried.
    pub idle_timeout: Duration,
    /// How long a device may take for what is left for it on a stream that both sides have ended in order, 10 ms to
    /// 24 h. While it takes something it has as long again, 20 times at most.
    pub stream_patience: Duration,
    /// The devices that are let in, each with a hop key of its own.
    pub peers: Vec<LegPeer>,
    /// What can be reached. Nothing else is.
    pub services: Vec<LegService>,
}

/// A device that is let in by [`Leg`].
pub struct LegPeer {
    /// Its name in the log, 1 to 64 visible ASCII characters. A [`Device`](super::Device) of this name in mode
    /// [`TranslateDevice`](super::Mode::TranslateDevice) is this one, and reached in the session that it has begun.
    pub name: String,
    /// The identity that it shows, at most 128 bytes.
    pub psk_identity: Vec<u8>,
    /// Its key for the hop to the gateway: the gateway is the server here, so that it is another one than
    /// that of a [`Device`](super::Device), which the gateway calls.
    pub psk: Psk,
    /// The names of the services that it may reach; nobody else may.
    pub services: Vec<String>,
}

/// A TCP server that devices may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegService {
    /// What devices call it: 1 to 15 visible ASCII characters.
    pub name: String,
    /// Its host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The name, the identity and the services, and no more.
impl fmt::Debug for LegPeer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.psk_identity.escape_ascii().to_string();
        formatter
            .debug_struct("LegPeer")
            .field("name", &self.name)
            .field("psk_identity", &identity)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl Leg {
    /// Listens at an address, with 64 streams, 4 a device, 10 s to connect, 10 minutes of silence, half a minute to take
    /// the rest, and nobody and nothing yet.
    pub const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            streams: 64,
            streams_per_device: 4,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            stream_patience: Duration::from_secs(30),
            peers: Vec::new(),
            services: Vec::new(),
        }
    }
}

impl Reader<'_, '_> {
    pub(super) fn leg(&mut self, mut table: Table<'_>) -> Option<Leg> {
        let listen = table.address(self.findings, "listen");
        if !table.is_present("listen") {
            table.missing(self.findings, "listen", "an address and a port");
        }
        // A placeholder where there is none, and then there is no configuration.
        let mut leg = Leg::new(listen.unwrap_or(NOWHERE));
        let counts = [
            ("streams", &mut leg.streams),
            ("streams_per_device", &mut leg.streams_per_device),
        ];
        table.counts(self.findings, counts);
        let durations = [
            ("connect_timeout", &mut leg.connect_timeout),
            ("idle_timeout", &mut leg.idle_timeout),
            ("stream_patience", &mut leg.stream_patience),
        ];
        table.durations(self.findings, durations);
        for peer in table.tables(self.findings, "peer") {
            leg.peers.extend(self.leg_peer(peer));
        }
        for service in table.tables(self.findings, "service") {
            leg.services.extend(self.leg_service(service));
        }
        if !table.is_present("peer") {
            table.missing(self.findings, "peer", "one [[leg.peer]] or more");
        }
        table.finish(self.findings);
        listen.map(|_| leg)
    }

    fn leg_peer(&mut self, mut table: Table<'_>) -> Option<LegPeer> {
        let name = self.required(&mut table, "name", "the name of a device");
        let identity = self.required(&mut table, "psk_identity", "the identity of a device");
        let texts = self.key_texts(&mut table);
        let key = self.key(&mut table, texts);
        let services = table.texts(self.findings, "services", "a list of names of services");
        if !table.is_present("services") {
            table.missing(self.findings, "services", "a list of names of services");
        }
        table.finish(self.findings);
        let services = services?.into_iter();
        Some(LegPeer {
            name: name?,
            psk_identity: identity?.into_bytes(),
            psk: key?,
            services: services.map(|name| (*name.get_ref()).to_owned()).collect(),
        })
    }

    fn leg_service(&mut self, mut table: Table<'_>) -> Option<LegService> {
        let name = self.required(&mut table, "name", "the name of a service");
        let host = self.required(&mut table, "host", "a host's name or address");
        let port = table.integer(self.findings, "port", 1..=65_535);
        if !table.is_present("port") {
            table.missing(self.findings, "port", "a TCP port");
        }
        table.finish(self.findings);
        Some(LegService {
            name: name?,
            host: host?,
            port: u16::try_from(port?).ok()?,
        })
    }
}

impl Config {
    /// Lets devices open streams to services.
    #[must_use]
    pub fn with_leg(mut self, leg: Leg) -> Self {
        self.leg = Some(leg);
        self
    }

    /// What the listener for streams asks for.
    pub(super) fn check_leg(&self, faults: &mut Vec<(Place, String)>) {
        let Some(leg) = &self.leg else {
            return;
        };
        let mut fault = |name, message: &str| {
            faults.push((("leg", 0, name), message.to_owned()));
        };
        let counts = [
            ("streams", leg.streams),
            ("streams_per_device", leg.streams_per_device),
        ];
        check_counts(counts, &mut fault);
        let durations = [
            ("connect_timeout", leg.connect_timeout),
            ("idle_timeout", leg.idle_timeout),
            ("stream_patience", leg.stream_patience),
        ];
        check_durations(durations, &mut fault);
        if leg.peers.is_empty() {
            fault("peer", "nobody is let in: expected one device or more");
        }
        // Devices may come to be reached, and reach nothing themselves.
        let is_reached = leg.peers.iter().any(|peer| {
            let mut devices = self.devices.iter();
            devices.any(|device| device.name == peer.name && device.has(Mode::TranslateDevice))
        });
        if leg.services.is_empty() && !is_reached {
            fault(
                "service",
                "nothing is reached: expected one service or more",
            );
        }
        for (index, service) in leg.services.iter().enumerate() {
            let mut fault = |name, message: &str| {
                faults.push((("service", index, name), message.to_owned()));
            };
            if service.name.is_empty() || Name::new(service.name.as_bytes()).is_err() {
                fault("name", "expected 1 to 15 visible ASCII characters");
            }
            let before = leg.services.get(..index).unwrap_or_default();
            if before.iter().any(|other| other.name == service.name) {
                fault("name", "stands here twice");
            }
            if !(1..=253).contains(&service.host.len()) {
                fault("host", "expected a host's name or address");
            }
            if service.port == 0 {
                fault("port", "expected 1 to 65535");
            }
        }
        for (index, peer) in leg.peers.iter().enumerate() {
            let before = leg.peers.get(..index).unwrap_or_default();
            self.check_leg_peer(leg, peer, before, &mut |name, message| {
                faults.push((("peer", index, name), message.to_owned()));
            });
        }
    }

    fn check_leg_peer(
        &self,
        leg: &Leg,
        peer: &LegPeer,
        before: &[LegPeer],
        fault: &mut dyn FnMut(&'static str, &str),
    ) {
        let is_name = peer.name.bytes().all(|byte| byte.is_ascii_graphic());
        if !(1..=64).contains(&peer.name.len()) || !is_name {
            fault("name", "expected 1 to 64 visible ASCII characters");
        }
        if before.iter().any(|other| other.name == peer.name) {
            fault("name", "stands here twice");
        }
        let before = before
            .iter()
            .map(|other| (other.psk_identity.as_slice(), &other.psk));
        let of_clients = self.https_psk.iter().flat_map(|https| &https.clients);
        self.check_hop_client(
            (&peer.psk_identity, &peer.psk),
            before,
            of_clients.map(|client| &client.psk),
            ANOTHER_HAS_THIS_KEY,
            fault,
        );
        for name in &peer.services {
            if !leg.services.iter().any(|service| service.name == *name) {
                // What stands there isn't repeated: it may be a key in the wrong line.
                fault(
                    "services",
                    "no such service: expected names of [[leg.service]]",
                );
            }
        }
    }
}
