//! What has to hold between the parts of a configuration, wherever it came from.

use std::collections::HashMap;
use std::iter;
use std::time::Duration;

use hedgerow_coap::Scheme;
use hedgerow_core::{
    CertificateFault, CertificateOwner, KeyPurpose, MAX_PSK_IDENTITY_LEN, Psk, SecurityMode, ct_eq,
};
use hedgerow_net::AcceptedServer;
use hedgerow_proxy::{
    ConfigError as ProxyError, Destination, HcProxy, MAX_UDP_PAYLOAD_LEN, Methods,
};
use hedgerow_record::KeyExchange;

use super::bounds::{DURATIONS, MAX_DURATION, check_counts, check_durations};
use super::mistake::{ConfigError, Mistake};
use super::table::{Place, full_name};
use super::{Config, Device, DeviceAddress, Mode, Security, User, UserSecret};

impl Config {
    /// Checks a configuration that was made in code.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every mistake; none of them has a position.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mistakes: Vec<_> = self
            .faults(|_| None)
            .into_iter()
            .map(|((table, index, name), message)| {
                let device = self.devices.get(index).filter(|_| table == "device");
                let message = match device {
                    Some(device) => format!("device {:?}: {message}", device.name),
                    None => message,
                };
                Mistake {
                    position: None,
                    key: full_name(table, name),
                    message,
                }
            })
            .collect();
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(ConfigError {
            file: "configuration".to_owned(),
            mistakes,
        })
    }

    /// Returns what is wrong, each with the place of its key. The key of the device at an index
    /// stands at the line that `line_of_key` says.
    pub(super) fn faults(
        &self,
        line_of_key: impl Fn(usize) -> Option<usize>,
    ) -> Vec<(Place, String)> {
        let mut faults = Vec::new();
        let has_http = self.http.is_some() || self.https.is_some() || self.https_psk.is_some();
        let listens = self.translate.is_some() || self.leg.is_some() || self.itls.is_some();
        if !has_http && !listens && self.tls_listeners.is_empty() {
            let message = "nothing listens: expected [http] enabled, [https], [https_psk], [translate], [leg], \
                           [itls] or [[tls_listener]]";
            faults.push((("http", 0, "enabled"), message.to_owned()));
        }
        self.check_https_clients(&mut faults);
        self.check_numbers(&mut faults);
        self.check_devices(&mut faults);
        self.check_shared_keys(line_of_key, &mut faults);
        self.check_modes(&mut faults);
        self.check_tunnels(&mut faults);
        self.check_translate(&mut faults);
        self.check_leg(&mut faults);
        self.check_itls(&mut faults);
        self.check_tls_listeners(&mut faults);
        for (index, name) in self.hc_devices.iter().enumerate() {
            let is_known = self.devices.iter().any(|device| device.name == *name);
            let is_first = self.hc_devices.iter().position(|other| other == name) == Some(index);
            if !is_known || !is_first {
                let message = if is_known {
                    format!("{name:?} stands here twice")
                } else {
                    // What else stands there isn't repeated: it may be a key in the wrong line.
                    let place = index.saturating_add(1);
                    format!("entry {place} is another text, expected the name of a [[device]]")
                };
                faults.push((("hc", 0, "devices"), message));
            }
        }
        faults
    }

    fn check_https_clients(&self, faults: &mut Vec<(Place, String)>) {
        let Some(https) = &self.https_psk else {
            return;
        };
        if https.clients.is_empty() {
            let message = "nobody is let in: expected one client or more";
            faults.push((("https_psk", 0, "client"), message.to_owned()));
        }
        for (index, client) in https.clients.iter().enumerate() {
            let before = https.clients.get(..index).unwrap_or_default();
            let mut fault = |name, message: &str| {
                faults.push((("client", index, name), message.to_owned()));
            };
            let before = before
                .iter()
                .map(|other| (other.psk_identity.as_slice(), &other.psk));
            self.check_hop_client(
                (&client.psk_identity, &client.psk),
                before,
                iter::empty(),
                "another client or device has this key: expected one for each",
                &mut fault,
            );
        }
    }

    /// Checks identity and key of who comes to one of the gateway's own listeners: `before` are those of
    /// the same table that stand earlier, `elsewhere` the keys of other tables.
    pub(super) fn check_hop_client<'c>(
        &'c self,
        (psk_identity, psk): (&[u8], &Psk),
        before: impl Iterator<Item = (&'c [u8], &'c Psk)> + Clone,
        elsewhere: impl Iterator<Item = &'c Psk>,
        is_shared: &str,
        fault: &mut dyn FnMut(&'static str, &str),
    ) {
        if !(1..=MAX_PSK_IDENTITY_LEN).contains(&psk_identity.len()) {
            fault("psk_identity", "expected 1 to 128 bytes");
        }
        if before.clone().any(|(other, _)| other == psk_identity) {
            fault("psk_identity", "stands here twice");
        }
        if psk.purpose() == KeyPurpose::EndToEnd {
            fault("psk", super::END_TO_END);
        }
        // Whoever has it could be either, a device of the same key could play the client, and with one key
        // for both directions the gateway could be led to itself.
        let devices = self.devices.iter();
        let of_devices = devices.filter_map(|device| match &device.security {
            Security::Psk { key, .. } => Some(key),
            Security::None | Security::EndToEnd | Security::Certificate { .. } => None,
        });
        let mut others = before
            .map(|(_, other)| other)
            .chain(elsewhere)
            .chain(of_devices);
        if others.any(|other| same_key(other, psk)) {
            fault("psk", is_shared);
        }
    }

    fn check_numbers(&self, faults: &mut Vec<(Place, String)>) {
        let mut fault = |table, name, message: &str| {
            faults.push(((table, 0, name), message.to_owned()));
        };
        let limits = self.limits;
        let counts = [
            ("requests", limits.requests),
            ("requests_per_client", limits.requests_per_client),
            ("requests_per_device", limits.requests_per_device),
            ("connections", limits.connections),
            ("connections_per_client", limits.connections_per_client),
        ];
        check_counts(counts, |name, message| fault("limits", name, message));
        let (timeouts, timers) = (self.timeouts, self.dtls.timers);
        for (table, name, duration) in [
            ("timeouts", "request", timeouts.request),
            ("timeouts", "head", timeouts.head),
            ("timeouts", "body", timeouts.body),
            ("timeouts", "answer", timeouts.answer),
            ("dtls", "initial_timeout", timers.initial_timeout),
            ("dtls", "deadline", timers.deadline),
            ("dtls", "idle_timeout", self.dtls.idle_timeout),
            ("coap", "ack_timeout", self.coap.transmission.ack_timeout),
        ] {
            if !DURATIONS.contains(&duration) {
                fault(table, name, "expected 10ms to 24h");
            }
        }
        let pings = self.dtls.ping_idle_after;
        if pings.is_some_and(|after| !(MIN_PING_INTERVAL..=MAX_DURATION).contains(&after)) {
            fault("dtls", "ping_idle_after", "expected 10s to 24h");
        }
        let least = self.restart_bound().saturating_add(timers.initial_timeout);
        if timeouts.request <= least {
            let message = format!(
                "{:?} found, expected more than {least:?}: a device that was restarted is met \
                 again only after up to {:?} and a handshake",
                timeouts.request,
                self.restart_bound(),
            );
            fault("timeouts", "request", &message);
        }
        if timers.deadline < timers.initial_timeout || timers.max_transmissions == 0 {
            let message = "expected at least initial_timeout, and one transmission";
            fault("dtls", "deadline", message);
        }
        let is_offered = |suite: &hedgerow_record::CipherSuite| suite.aead().is_some();
        if self.dtls.suites.is_empty() || !self.dtls.suites.iter().all(is_offered) {
            fault("dtls", "suites", "expected one suite or more that there is");
        }
        let block_len = self.coap.block_len;
        if !block_len.is_power_of_two() || !(16..=1_024).contains(&block_len) {
            fault(
                "coap",
                "block_len",
                "expected 16, 32, 64, 128, 256, 512 or 1024",
            );
        }
    }

    fn check_devices(&self, faults: &mut Vec<(Place, String)>) {
        let mut proxy = HcProxy::new();
        let mut destinations: HashMap<Destination, &str> = HashMap::new();
        for (index, device) in self.devices.iter().enumerate() {
            let mut fault = |name, message: String| faults.push((("device", index, name), message));
            match proxy
                .clone()
                .with_device(&device.name, &device.uri, device.methods)
            {
                Ok(next) => {
                    proxy = next;
                    if let Some(destination) = proxy.device_destination(&device.name) {
                        check_scheme(device, destination, &mut fault);
                        let first = destinations.insert(destination.clone(), &device.name);
                        if let Some(first) = first {
                            fault("uri", format!("device {first:?} has the same destination"));
                        }
                    }
                }
                Err(ProxyError::DeviceName) => fault("name", ProxyError::DeviceName.to_string()),
                Err(ProxyError::Twice) => {
                    fault("name", "another device has the same name".to_owned());
                }
                Err(error) => fault("uri", format!("{error}; expected {EXPECTED_URI}")),
            }
            if !is_bare(&device.uri) {
                let message = format!("a path or query found, expected {EXPECTED_URI}");
                fault("uri", message);
            }
            if device.methods == Methods::NONE {
                fault("methods", "no method: expected one or more".to_owned());
            }
            if device.examples.iter().any(|path| !path.starts_with('/')) {
                fault(
                    "examples",
                    "expected paths that begin with a slash".to_owned(),
                );
            }
            if self.via.is_some() && !is_behind_gateway(device) {
                let message = "expected a device at coaps:// with a pre-shared key, in mode terminate \
                               alone, since a gateway is between";
                fault("security", message.to_owned());
            }
            check_identity(device, self.via.is_some(), &mut fault);
        }
    }

    /// What the modes of the devices ask for: the least one, the gateway's own certificate, suites.
    fn check_modes(&self, faults: &mut Vec<(Place, String)>) {
        for (index, device) in self.devices.iter().enumerate() {
            let mode = device.security.mode();
            if mode < self.minimum && device.has_hop() {
                let message = format!(
                    "mode {mode} found, expected {} or more as [security] minimum says",
                    self.minimum
                );
                faults.push((("device", index, "security"), message));
            }
            let Security::Certificate { device: accepted } = &device.security else {
                continue;
            };
            if self.certificate.is_none() {
                let message =
                    "no key of the gateway's own: expected [certificate] with private_key";
                faults.push((("device", index, "security"), message.to_owned()));
            }
            let before = self.devices.get(..index).unwrap_or_default();
            let same = before.iter().find(|other| {
                matches!(&other.security, Security::Certificate { device } if device == accepted)
            });
            if let Some(other) = same {
                let key = match accepted {
                    AcceptedServer::RawPublicKey(_) => "raw_public_key",
                    _ => "certificate_name",
                };
                let message = format!(
                    "device {:?} is known by the same, so that each can play the other: expected \
                     one of its own for each",
                    other.name
                );
                faults.push((("device", index, key), message));
            }
        }
        if let Some(identity) = &self.certificate
            && let Err(fault) = identity.check(CertificateOwner::Client)
        {
            let message = match fault {
                CertificateFault::Unsupported => {
                    "a certificate that isn't for TLS clients: expected one with clientAuth, or \
                     without extended key usage"
                        .to_owned()
                }
                fault => format!("{fault}: expected one that counts today"),
            };
            faults.push((("certificate", 0, "chain"), message));
        }
        let has_suite = |is_signed: bool| {
            let mut suites = self.dtls.suites.iter();
            suites.any(|suite| (suite.key_exchange() == Some(KeyExchange::EcdheEcdsa)) == is_signed)
        };
        for (is_signed, kind) in [(true, "ECDHE_ECDSA"), (false, "PSK")] {
            let is_wanted = self
                .devices
                .iter()
                .any(|device| match device.security.mode() {
                    SecurityMode::NoSec => false,
                    mode => (mode == SecurityMode::Certificate) == is_signed,
                });
            if is_wanted && !has_suite(is_signed) {
                let message = format!("no suite with {kind}, which a device needs: expected one");
                faults.push((("dtls", 0, "suites"), message));
            }
        }
    }

    /// What tunnels ask for: a device that has them, and somebody who may open them.
    fn check_tunnels(&self, faults: &mut Vec<(Place, String)>) {
        for (index, device) in self.devices.iter().enumerate() {
            let mut fault = |name, message: &str| {
                faults.push((("device", index, name), message.to_owned()));
            };
            let has_hop = device.has_hop();
            let is_end_to_end = matches!(device.security, Security::EndToEnd);
            if has_hop && is_end_to_end {
                fault(
                    "security",
                    "the gateway has no key for its own session with the device: expected one",
                );
            } else if !has_hop && !is_end_to_end {
                fault(
                    "security",
                    "not used without mode \"terminate\", \"itls\" or \"translate-device\": the gateway must \
                     not have the key",
                );
            }
            let modes = device.modes.iter().enumerate();
            let is_repeated = modes
                .skip(1)
                .any(|(place, mode)| device.modes.iter().take(place).any(|other| other == mode));
            if device.modes.is_empty() || is_repeated {
                fault(
                    "modes",
                    "expected \"terminate\", \"tunnel\", \"translate\", \"translate-device\", \"itls\" or \
                     several, each once",
                );
            }
            if !device.has(Mode::Tunnel) {
                continue;
            }
            // What is in clear inside isn't secured by a tunnel, and TCP isn't carried by one.
            if !device.uri.to_ascii_lowercase().starts_with("coaps://") {
                fault(
                    "modes",
                    "a tunnel without DTLS inside: expected a device at coaps://",
                );
            }
            if self.users.is_empty() {
                fault(
                    "modes",
                    "nobody may open a tunnel: expected one [[user]] or more",
                );
            }
        }
        for (index, user) in self.users.iter().enumerate() {
            let mut fault = |name, message: &str| {
                faults.push((("user", index, name), message.to_owned()));
            };
            if let Some((name, message)) = user.fault() {
                fault(name, message);
            }
            let before = self.users.get(..index).unwrap_or_default();
            if before.iter().any(|other| other.name == user.name) {
                fault("name", "stands here twice");
            }
            if let UserSecret::PskClient(identity) = &user.secret {
                let is_same = |other: &&User| matches!(&other.secret, UserSecret::PskClient(other) if other == identity);
                let mut clients = self.https_psk.iter().flat_map(|https| &https.clients);
                if !clients.any(|client| client.psk_identity == *identity) {
                    let message = "no such client: expected the psk_identity of one of [https_psk]";
                    fault("psk_identity", message);
                }
                if before.iter().any(|other| is_same(&other)) {
                    fault("psk_identity", "another user is this client: expected one");
                }
            }
            if let UserSecret::Token(token) = &user.secret {
                let is_shared = before.iter().any(|other| {
                    matches!(&other.secret, UserSecret::Token(other) if ct_eq(other, token))
                });
                if is_shared {
                    fault(
                        "token",
                        "another user has this token: expected one for each",
                    );
                }
            }
        }
        let limits = self.tunnel;
        let mut fault = |name, message: &str| {
            faults.push((("tunnel", 0, name), message.to_owned()));
        };
        let counts = [
            ("tunnels", limits.tunnels),
            ("tunnels_per_user", limits.tunnels_per_user),
            ("queue_datagrams", limits.queue_datagrams),
        ];
        check_counts(counts, &mut fault);
        if !(64..=MAX_UDP_PAYLOAD_LEN).contains(&limits.max_datagram) {
            fault("max_datagram", "expected 64 to 65527 bytes");
        }
        if !(1 << 10..=1 << 24).contains(&limits.queue_bytes) {
            fault("queue_bytes", "expected 1 KiB to 16 MiB");
        }
        check_durations([("idle_timeout", limits.idle_timeout)], &mut fault);
        if limits.device_address == DeviceAddress::Carrier && self.udp_carriers.is_none() {
            let message = "there is one carrier alone: expected \"udp\" with an address and a port";
            fault("device_address", message);
        }
    }

    /// What the mode `translate` asks for: a listener, and devices with DTLS.
    fn check_translate(&self, faults: &mut Vec<(Place, String)>) {
        for (index, device) in self.devices.iter().enumerate() {
            if !device.has(Mode::Translate) {
                continue;
            }
            let mut fault = |message: &str| {
                faults.push((("device", index, "modes"), message.to_owned()));
            };
            if !device.uri.to_ascii_lowercase().starts_with("coaps://") {
                fault("\"translate\" carries DTLS records: expected a device at coaps://");
            }
            if self.translate.is_none() {
                fault("nothing listens for \"translate\": expected [translate] with listen");
            }
        }
        let Some(translate) = self.translate else {
            return;
        };
        let mut fault = |name, message: &str| {
            faults.push((("translate", 0, name), message.to_owned()));
        };
        let counts = [
            ("connections", translate.connections),
            ("connections_per_client", translate.connections_per_client),
            ("connections_per_device", translate.connections_per_device),
        ];
        check_counts(counts, &mut fault);
        let durations = [
            ("preface_timeout", translate.preface_timeout),
            ("establish_timeout", translate.establish_timeout),
            ("idle_timeout", translate.idle_timeout),
        ];
        check_durations(durations, &mut fault);
        if !(64..=MAX_UDP_PAYLOAD_LEN).contains(&translate.max_datagram) {
            fault("max_datagram", "expected 64 to 65527 bytes");
        }
    }

    /// A device that knows another one's key can play that other one, whatever its own identity
    /// is. Both roles of a key can't meet in a gateway: it is a client to every device, and has no
    /// server's keys.
    ///
    /// Each key is reported once, at the first device that repeats it.
    fn check_shared_keys(
        &self,
        line_of_key: impl Fn(usize) -> Option<usize>,
        faults: &mut Vec<(Place, String)>,
    ) {
        let keys = self
            .devices
            .iter()
            .enumerate()
            .filter_map(|(index, device)| {
                let Security::Psk { key, is_shared, .. } = &device.security else {
                    return None;
                };
                Some((index, device, key, *is_shared))
            });
        let mut left: Vec<_> = keys.collect();
        while let Some((_, _, key, _)) = left.first().copied() {
            let (same, others): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|(_, _, other, _)| same_key(key, other));
            left = others;
            let Some((repeated, ..)) = same.get(1) else {
                continue;
            };
            if same.iter().all(|(_, _, _, is_shared)| *is_shared) {
                continue;
            }
            let named = same.iter().map(|(index, device, ..)| {
                let line = line_of_key(*index).map(|line| format!(" (line {line})"));
                format!("{:?}{}", device.name, line.unwrap_or_default())
            });
            let named = named.collect::<Vec<_>>().join(", ");
            let message = format!(
                "the same key in the devices {named}, so that each can play the others: expected \
                 a key of its own for each, or security = \"sharedkey\" in all of them"
            );
            faults.push((("device", *repeated, "psk"), message));
        }
    }
}

fn check_identity(device: &Device, is_via: bool, fault: &mut impl FnMut(&'static str, String)) {
    let Security::Psk { identity, key, .. } = &device.security else {
        return;
    };
    match (key.purpose(), is_via) {
        (KeyPurpose::EndToEnd, false) => fault("psk", super::END_TO_END.to_owned()),
        (KeyPurpose::Hop, true) => fault("psk", super::HOP.to_owned()),
        _ => {}
    }
    if !(1..=MAX_PSK_IDENTITY_LEN).contains(&identity.len()) {
        let len = identity.len();
        let message = format!("{len} bytes found, expected 1 to {MAX_PSK_IDENTITY_LEN}");
        fault("psk_identity", message);
    }
}

/// Says whether a device can be asked through another gateway.
fn is_behind_gateway(device: &Device) -> bool {
    matches!(device.security, Security::Psk { .. })
        && device.uri.starts_with("coaps://")
        && device.has(Mode::Terminate)
        && !device.has(Mode::Tunnel)
        && !device.has(Mode::Translate)
        && !device.has(Mode::Itls)
}

/// What is said of a key that is in two hands, or serves two directions.
pub(super) const ANOTHER_HAS_THIS_KEY: &str =
    "another device, client or direction has this key: expected one for each";

fn same_key(one: &Psk, other: &Psk) -> bool {
    ct_eq(one.expose(), other.expose())
}

fn check_scheme(
    device: &Device,
    destination: &Destination,
    fault: &mut impl FnMut(&'static str, String),
) {
    let message = match (destination.scheme(), &device.security) {
        (Scheme::Coap, Security::Psk { .. } | Security::Certificate { .. }) => {
            "a key for coap://, which has no security: expected coaps://, or security = \"none\""
        }
        (Scheme::Coaps, Security::None) => {
            "no security for coaps://: expected security = \"multikey\" or \"certificate\", or coap://"
        }
        (Scheme::CoapTcp, Security::Psk { .. } | Security::Certificate { .. }) => {
            "a key for coap+tcp://, which has no security: expected coaps+tcp://, or \
             security = \"none\""
        }
        (Scheme::CoapsTcp, Security::None) => {
            "no security for coaps+tcp://: expected security = \"multikey\" or \"certificate\", or coap+tcp://"
        }
        _ => return,
    };
    fault("security", message.to_owned());
}

/// Says whether a URI ends with its authority.
fn is_bare(uri: &str) -> bool {
    let authority = uri.split_once("://").map_or("", |(_, authority)| authority);
    !authority.contains(['/', '?'])
}

const EXPECTED_URI: &str =
    "coap://HOST:PORT or coaps://HOST:PORT, or with +tcp behind the scheme for TCP";

const MIN_PING_INTERVAL: Duration = Duration::from_secs(10);
