//! The listeners for mode `itls`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::Psk;
use hedgerow_itls::MAX_FLOW_NAME_LEN;
use hedgerow_net::ITLS_ALPN;
use rustls::ServerConfig;

use super::bounds::{DURATIONS, check_counts, check_durations};
use super::check::ANOTHER_HAS_THIS_KEY;
use super::device::{Mode, Security};
use super::file::{NOWHERE, Reader, set};
use super::table::{Place, Table};
use super::{Config, Https, HttpsError};

/// The listeners for mode `itls` and what its flows may take (docs/specs/itls.md). Internet ends come over TLS and
/// show who they are; the gateway calls devices, and those that are among `callers` come by themselves.
///
/// A connection of an Internet end takes at most 64 KiB that wait for it, as much that is read, and what
/// TLS needs.
pub struct Itls {
    /// Address and TCP port for Internet ends.
    pub listen: SocketAddr,
    pub(crate) tls: Arc<ServerConfig>,
    /// Connections of Internet ends at the same time; more are closed at once.
    pub connections: usize,
    /// Connections of one client at the same time: of an IPv4 address or an IPv6 network of 64 bits.
    pub connections_per_client: usize,
    /// Connections of one user at the same time; more are told that the gateway is busy.
    pub connections_per_user: usize,
    /// Flows at the same time.
    pub flows: usize,
    /// Flows of one user with one device at the same time, over all their sessions: 1 to 16.
    pub flows_per_pair: usize,
    /// Messages to a device a second from one user, on all flows of the two, and twice as many at once: fewer
    /// than [`Self::device_messages_per_second`], so that nobody takes all of a device's.
    pub messages_per_second: u32,
    /// Messages to a device a second from all users, and twice as many at once: 2 to 10,000.
    pub device_messages_per_second: u32,
    /// How long a flow without a message is kept.
    pub idle_timeout: Duration,
    /// Whether devices may have the light outer layer: their messages then travel beside the records of their
    /// session, authentic and not encrypted a second time. Each device that doesn't take part has records.
    pub light: bool,
    /// Address and UDP port for devices that begin their session themselves, if any may.
    pub listen_devices: Option<SocketAddr>,
    /// Those devices.
    pub callers: Vec<ItlsCaller>,
}

/// A device that begins its session with the gateway.
pub struct ItlsCaller {
    /// The name of a [`Device`](super::Device) in this mode.
    pub device: String,
    /// The identity that it shows, at most 128 bytes.
    pub psk_identity: Vec<u8>,
    /// Its key for this direction: another one than that with which the gateway calls it.
    pub psk: Psk,
}

/// The name and the identity, and no more.
impl fmt::Debug for ItlsCaller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.psk_identity.escape_ascii().to_string();
        formatter
            .debug_struct("ItlsCaller")
            .field("device", &self.device)
            .field("psk_identity", &identity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Itls {
    /// Leaves out what TLS holds, the private key with it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Itls")
            .field("listen", &self.listen)
            .field("listen_devices", &self.listen_devices)
            .field("callers", &self.callers)
            .finish_non_exhaustive()
    }
}

impl Itls {
    /// Listens for Internet ends at `listen` with a certificate chain, the gateway's own first, and its private
    /// key, both as PEM: 256 connections, 16 a client, 8 a user, 256 flows, 4 of a user with a device, 25 messages a
    /// second from a user to a device and 50 from all, an hour without a message, no light outer layer, no devices that
    /// come by themselves.
    ///
    /// # Errors
    ///
    /// Each variant of [`HttpsError`].
    pub fn from_pem(
        listen: SocketAddr,
        certificates: &[u8],
        private_key: &[u8],
    ) -> Result<Self, HttpsError> {
        let https = Https::from_pem(listen, certificates, private_key)?;
        let mut tls = ServerConfig::clone(&https.tls);
        tls.alpn_protocols = vec![ITLS_ALPN.to_vec()];
        // MUST (RFC 7627 §5.4): without it nothing is exported, and the ends bind themselves to what is.
        tls.require_ems = true;
        // What the two ends bind themselves to is a session, and each connection is one.
        tls.send_tls13_tickets = 0;
        Ok(Self {
            listen,
            tls: Arc::new(tls),
            connections: CONNECTIONS,
            connections_per_client: CONNECTIONS_PER_CLIENT,
            connections_per_user: 8,
            flows: 256,
            flows_per_pair: 4,
            messages_per_second: 25,
            device_messages_per_second: 50,
            idle_timeout: Duration::from_secs(3_600),
            light: false,
            listen_devices: None,
            callers: Vec::new(),
        })
    }

    /// Lets a device begin its session itself, at `listen`.
    #[must_use]
    pub fn with_caller(mut self, listen: SocketAddr, caller: ItlsCaller) -> Self {
        self.listen_devices = Some(listen);
        self.callers.push(caller);
        self
    }
}

impl Reader<'_, '_> {
    pub(super) fn itls(&mut self, mut table: Table<'_>) -> Option<Itls> {
        let listen = table.address(self.findings, "listen");
        if !table.is_present("listen") {
            table.missing(self.findings, "listen", "an address and a port");
        }
        let certificate = self.file(&mut table, "certificate", "a file with certificates", false);
        let private_key = self.file(&mut table, "private_key", "a file with a key", true);
        let mut itls = None;
        if let (Some(certificate), Some(private_key)) = (certificate, private_key) {
            match Itls::from_pem(listen.unwrap_or(NOWHERE), &certificate, &private_key) {
                Ok(found) => itls = Some(found),
                Err(error) => {
                    let key = match error {
                        HttpsError::Certificate => "certificate",
                        _ => "private_key",
                    };
                    table.wrong(self.findings, key, error.to_string());
                }
            }
        }
        let findings = &mut *self.findings;
        let (mut all, mut of_client) = (CONNECTIONS, CONNECTIONS_PER_CLIENT);
        table.connections(findings, &mut all, &mut of_client);
        let counts = ["connections_per_user", "flows"].map(|name| table.count(findings, name));
        let most = u64::try_from(FLOWS_PER_SESSION).unwrap_or(u64::MAX);
        let flows_per_pair = table.integer(findings, "flows_per_pair", 1..=most);
        let rates = ["messages_per_second", "device_messages_per_second"]
            .map(|name| table.integer(findings, name, 1..=u64::from(MAX_RATE)));
        let idle_timeout = table.duration(findings, "idle_timeout", DURATIONS);
        let light = table.boolean(findings, "light");
        let listen_devices = table.address(findings, "listen_devices");
        let mut callers = Vec::new();
        for caller in table.tables(self.findings, "caller") {
            callers.extend(self.itls_caller(caller));
        }
        table.finish(self.findings);
        let mut itls = itls.filter(|_| listen.is_some())?;
        (itls.connections, itls.connections_per_client) = (all, of_client);
        for (place, count) in [&mut itls.connections_per_user, &mut itls.flows]
            .into_iter()
            .zip(counts)
        {
            set(place, count);
        }
        let flows_per_pair = flows_per_pair.and_then(|count| usize::try_from(count).ok());
        set(&mut itls.flows_per_pair, flows_per_pair);
        for (place, rate) in [
            &mut itls.messages_per_second,
            &mut itls.device_messages_per_second,
        ]
        .into_iter()
        .zip(rates)
        {
            set(place, rate.and_then(|rate| u32::try_from(rate).ok()));
        }
        set(&mut itls.idle_timeout, idle_timeout);
        set(&mut itls.light, light);
        itls.listen_devices = listen_devices;
        itls.callers = callers;
        Some(itls)
    }

    fn itls_caller(&mut self, mut table: Table<'_>) -> Option<ItlsCaller> {
        let device = self.required(&mut table, "device", "the name of a [[device]]");
        let identity = self.required(&mut table, "psk_identity", "the identity of the device");
        let texts = self.key_texts(&mut table);
        let key = self.key(&mut table, texts);
        table.finish(self.findings);
        Some(ItlsCaller {
            device: device?,
            psk_identity: identity?.into_bytes(),
            psk: key?,
        })
    }
}

impl Config {
    /// Listens for Internet ends in mode `itls`; port 0 takes a free one.
    #[must_use]
    pub fn with_itls(mut self, itls: Itls) -> Self {
        self.itls = Some(itls);
        self
    }

    /// What the mode `itls` asks for: listeners, users, and devices with a key for the hop.
    pub(super) fn check_itls(&self, faults: &mut Vec<(Place, String)>) {
        for (index, device) in self.devices.iter().enumerate() {
            let mut fault = |name, message: &str| {
                faults.push((("device", index, name), message.to_owned()));
            };
            if !device.has(Mode::Itls) {
                if !device.calls.is_empty() {
                    fault("calls", "not used without mode \"itls\"");
                }
                continue;
            }
            if !device.uri.to_ascii_lowercase().starts_with("coaps://") {
                fault(
                    "modes",
                    "\"itls\" has a DTLS session as its hop: expected a device at coaps://",
                );
            }
            if let Security::Psk {
                is_shared: true, ..
            } = &device.security
            {
                let message = "a key that other devices have: each could take another's flows, expected one of \
                               its own for mode \"itls\"";
                fault("security", message);
            }
            if device.name.len() > MAX_FLOW_NAME_LEN {
                fault("name", "expected at most 63 bytes for mode \"itls\"");
            }
            if self.itls.is_none() {
                fault(
                    "modes",
                    "nothing listens for \"itls\": expected [itls] with listen",
                );
            }
            if self.users.is_empty() {
                fault(
                    "modes",
                    "nobody may open a flow: expected one [[user]] or more",
                );
            }
            for name in &device.calls {
                let user = self.users.iter().find(|user| user.name == *name);
                if user.is_none_or(|user| user.name.len() > MAX_FLOW_NAME_LEN) {
                    // What stands there isn't repeated: it may be a key in the wrong line.
                    fault(
                        "calls",
                        "no such user: expected names of [[user]], at most 63 bytes long",
                    );
                }
            }
        }
        let Some(itls) = &self.itls else {
            return;
        };
        let mut fault = |name, message: &str| {
            faults.push((("itls", 0, name), message.to_owned()));
        };
        let counts = [
            ("connections", itls.connections),
            ("connections_per_client", itls.connections_per_client),
            ("connections_per_user", itls.connections_per_user),
            ("flows", itls.flows),
        ];
        check_counts(counts, &mut fault);
        if !(1..=FLOWS_PER_SESSION).contains(&itls.flows_per_pair) {
            fault("flows_per_pair", "expected 1 to 16");
        }
        if !(2..=MAX_RATE).contains(&itls.device_messages_per_second) {
            fault("device_messages_per_second", "expected 2 to 10000");
        }
        if !(1..itls.device_messages_per_second).contains(&itls.messages_per_second) {
            fault(
                "messages_per_second",
                "one user could take all of a device's: expected 1 or more, and fewer than \
                 device_messages_per_second",
            );
        }
        check_durations([("idle_timeout", itls.idle_timeout)], &mut fault);
        if itls.listen_devices.is_none() != itls.callers.is_empty() {
            fault(
                "listen_devices",
                "expected this with one [[itls.caller]] or more, or neither",
            );
        }
        for (index, caller) in itls.callers.iter().enumerate() {
            let before = itls.callers.get(..index).unwrap_or_default();
            self.check_caller(caller, before, &mut |name, message| {
                faults.push((("caller", index, name), message.to_owned()));
            });
        }
    }

    fn check_caller(
        &self,
        caller: &ItlsCaller,
        before: &[ItlsCaller],
        fault: &mut dyn FnMut(&'static str, &str),
    ) {
        let mut devices = self.devices.iter();
        if !devices.any(|device| device.name == caller.device && device.has(Mode::Itls)) {
            fault(
                "device",
                "no such device: expected the name of one in mode \"itls\"",
            );
        }
        if before.iter().any(|other| other.device == caller.device) {
            fault("device", "stands here twice");
        }
        let before = before
            .iter()
            .map(|other| (other.psk_identity.as_slice(), &other.psk));
        let of_clients = self.https_psk.iter().flat_map(|https| &https.clients);
        let of_legs = self.leg.iter().flat_map(|leg| &leg.peers);
        let elsewhere = of_clients.map(|client| &client.psk);
        self.check_hop_client(
            (&caller.psk_identity, &caller.psk),
            before,
            elsewhere.chain(of_legs.map(|peer| &peer.psk)),
            ANOTHER_HAS_THIS_KEY,
            fault,
        );
    }
}

/// Flows of one outer session, which a user may have several of and a device has one or two of.
const FLOWS_PER_SESSION: usize = 16;

/// The most messages a second that can be said.
const MAX_RATE: u32 = 10_000;

/// Connections of Internet ends, and of one client, if nothing is said.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_CLIENT: usize = 16;
