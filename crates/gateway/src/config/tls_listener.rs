//! A listener for TLS clients that know of no gateway: mode `translate`, the device adapts.

use std::net::SocketAddr;
use std::time::Duration;

use hedgerow_core::ServerName;
use hedgerow_record::{LegForm, StreamApplication};

use super::bounds::{check_counts, check_durations};
use super::table::Place;
use super::{Config, Mode, Security};

/// A listener whose TLS connections go on to devices that adapt to their clients (docs/specs/translate-device.md).
/// The gateway has no key of what is inside. Anybody may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsListener {
    /// Address and port.
    pub listen: SocketAddr,
    /// What is spoken where the client names no protocol.
    pub application: StreamApplication,
    /// The form of records to the devices.
    pub form: LegForm,
    /// The device of clients that ask for no name; of all, if there are no names.
    pub device: Option<String>,
    /// Names that clients ask for (RFC 6066 §3), each with a device.
    pub names: Vec<(String, String)>,
    /// Connections at the same time; more are closed at once.
    pub connections: usize,
    /// Connections of one client at the same time: of an IPv4 address or an IPv6 network of 64 bits.
    pub connections_per_client: usize,
    /// Connections to one device at the same time, those of all listeners counted: from here one more goes to it only
    /// while it has fewer, and while fewer than half of them, rounded up, are of that client.
    pub connections_per_device: usize,
    /// How long the ClientHello may take.
    pub hello_timeout: Duration,
    /// How long a connection is kept on which nothing is carried.
    pub idle_timeout: Duration,
    /// How long the client may take to end its direction once the device has ended its own.
    pub closing_timeout: Duration,
}

impl TlsListener {
    /// Listens at an address, with 256 connections, 16 a client, 4 a device, 10 s for the ClientHello, an hour of silence,
    /// 30 s to close, and records under DTLS's headers to the devices.
    pub const fn new(listen: SocketAddr, application: StreamApplication) -> Self {
        Self {
            listen,
            application,
            form: LegForm::Dtls,
            device: None,
            names: Vec::new(),
            connections: 256,
            connections_per_client: 16,
            connections_per_device: 4,
            hello_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            closing_timeout: Duration::from_secs(30),
        }
    }
}

const UNKNOWN: &str = "expected a device with \"translate-device\" among its modes";

impl Config {
    /// What listeners for TLS clients ask for: devices with the mode, and with a key for the leg.
    pub(super) fn check_tls_listeners(&self, faults: &mut Vec<(Place, String)>) {
        for (index, device) in self.devices.iter().enumerate() {
            if !device.has(Mode::TranslateDevice) {
                continue;
            }
            let mut fault = |name, message: &str| {
                faults.push((("device", index, name), message.to_owned()));
            };
            if !device.uri.to_ascii_lowercase().starts_with("coaps://") {
                fault(
                    "modes",
                    "\"translate-device\" needs a leg: expected a device at coaps://",
                );
            }
            if matches!(device.security, Security::None) {
                fault(
                    "modes",
                    "\"translate-device\" needs a leg: expected a key for this hop",
                );
            }
        }
        for (index, listener) in self.tls_listeners.iter().enumerate() {
            let mut fault = |name, message: &str| {
                faults.push((("tls_listener", index, name), message.to_owned()));
            };
            let is_there = |name: &str| {
                let mut devices = self.devices.iter();
                devices.any(|device| device.name == name && device.has(Mode::TranslateDevice))
            };
            if listener
                .device
                .as_deref()
                .is_some_and(|name| !is_there(name))
            {
                fault("device", UNKNOWN);
            }
            if listener.device.is_none() && listener.names.is_empty() {
                fault("device", "leads nowhere: expected device, names or both");
            }
            for (at, (name, device)) in listener.names.iter().enumerate() {
                if ServerName::new(name).is_err() {
                    fault(
                        "names",
                        "expected a DNS name before the \"=\", and no address",
                    );
                }
                if !is_there(device) {
                    fault("names", UNKNOWN);
                }
                let mut others = listener.names.iter().take(at);
                if others.any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                    fault("names", "has a name twice");
                }
            }
            let counts = [
                ("connections", listener.connections),
                ("connections_per_client", listener.connections_per_client),
                ("connections_per_device", listener.connections_per_device),
            ];
            check_counts(counts, &mut fault);
            let durations = [
                ("hello_timeout", listener.hello_timeout),
                ("idle_timeout", listener.idle_timeout),
                ("closing_timeout", listener.closing_timeout),
            ];
            check_durations(durations, &mut fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_program_are_checked() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let names = ["hello_timeout", "idle_timeout", "closing_timeout"];
        for name in names {
            let mut listener = TlsListener::new(listen, StreamApplication::Coap);
            *match name {
                "hello_timeout" => &mut listener.hello_timeout,
                "idle_timeout" => &mut listener.idle_timeout,
                _ => &mut listener.closing_timeout,
            } = Duration::ZERO;
            let mut faults = Vec::new();
            let config = Config::default().with_tls_listener(listener);
            config.check_tls_listeners(&mut faults);
            let expected = "expected 10ms to 24h".to_owned();
            assert!(faults.contains(&(("tls_listener", 0, name), expected)));
            let others = names.into_iter().filter(|other| *other != name);
            for other in others {
                assert!(faults.iter().all(|((_, _, found), _)| *found != other));
            }
        }
    }
}
