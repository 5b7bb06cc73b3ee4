//! Which device a TLS connection is for, of a client that knows of no gateway: mode `translate`, the device
//! adapts (docs/specs/translate-device.md).

use std::collections::BTreeMap;

use hedgerow_core::ServerName;
use hedgerow_record::{
    Alert, AlertDescription, ContentType, Error, MAX_HELLO_RECORDS, MAX_PLAINTEXT_LEN, TLS_1_2,
    TLS_RECORD_HEADER_LEN, client_hello_len, peek_client_hello,
};

/// The longest ClientHello that a connection is routed by, in bytes.
pub const MAX_ROUTED_HELLO_LEN: usize = 16 * 1_024;

/// The most bytes of a connection that are ever asked for to route it: the longest ClientHello with the headers of its
/// records, and one record more that hasn't come whole.
pub const MAX_ROUTED_LEN: usize = MAX_ROUTED_HELLO_LEN
    .saturating_add(MAX_HELLO_RECORDS.saturating_mul(TLS_RECORD_HEADER_LEN))
    .saturating_add(MAX_PLAINTEXT_LEN);

/// The devices behind one listener, by the names that clients ask for. `D` is what a device is known by.
#[derive(Clone, Debug)]
pub struct StreamRoutes<D> {
    /// In lower case.
    names: BTreeMap<String, D>,
    default: Option<D>,
}

/// Where a connection goes, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRoute<'r, D> {
    /// More has to arrive.
    Incomplete,
    /// To this device.
    Device(&'r D),
    /// Nowhere.
    Refused(StreamRefusal),
}

/// Why a connection isn't carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamRefusal {
    /// The client asks for a name that no device has, or for none where none is the default.
    #[error("no device for the name that the client asks for")]
    UnrecognizedName,
    /// What comes isn't TLS, or doesn't begin with a ClientHello.
    #[error(transparent)]
    NotClientHello(Error),
    /// The device can't be reached now.
    #[error("device can't be reached")]
    Unreachable,
    /// A limit is reached.
    #[error("as many connections as configured")]
    Busy,
}

impl<D> StreamRoutes<D> {
    /// Routes nothing; see [`Self::with_name`] and [`Self::with_default`].
    pub const fn new() -> Self {
        Self {
            names: BTreeMap::new(),
            default: None,
        }
    }

    /// Routes clients that ask for `name`, and returns the device that had it before.
    pub fn with_name(&mut self, name: ServerName<'_>, device: D) -> Option<D> {
        self.names
            .insert(name.as_str().to_ascii_lowercase(), device)
    }

    /// Routes clients that ask for no name; with no other name configured, all.
    pub fn with_default(&mut self, device: D) {
        self.default = Some(device);
    }

    /// Says where a connection goes that begins with `bytes`. It may be asked whenever some have come, and says
    /// [`StreamRoute::Incomplete`] for no more than [`MAX_ROUTED_LEN`] of them.
    ///
    /// A listener with a default and no names routes by its port alone, though not before the ClientHello is whole:
    /// nobody has a device asked by connecting. Otherwise a name that isn't known is
    /// refused and not given to the default: who asks for one device must not get another. An IP address counts as no
    /// name (RFC 6066 §3; libcoap sends one).
    pub fn route(&self, bytes: &[u8]) -> StreamRoute<'_, D> {
        // Nothing is copied before it is whole: bytes may come one by one.
        let len = match client_hello_len(bytes, MAX_ROUTED_HELLO_LEN) {
            Ok(Some(len)) => len,
            Ok(None) => return StreamRoute::Incomplete,
            Err(error) => return StreamRoute::Refused(StreamRefusal::NotClientHello(error)),
        };
        if let (true, Some(device)) = (self.names.is_empty(), &self.default) {
            return StreamRoute::Device(device);
        }
        let mut hello = vec![0; len];
        let hello = match peek_client_hello(bytes, &mut hello) {
            Ok(Some(hello)) => hello,
            Ok(None) => return StreamRoute::Incomplete,
            Err(error) => return StreamRoute::Refused(StreamRefusal::NotClientHello(error)),
        };
        let name = match hello.server_name() {
            Ok(name) => name,
            Err(error) => return StreamRoute::Refused(StreamRefusal::NotClientHello(error)),
        };
        let device = match name {
            Some(name) => self.names.get(&name.as_str().to_ascii_lowercase()),
            None => self.default.as_ref(),
        };
        device.map_or(
            StreamRoute::Refused(StreamRefusal::UnrecognizedName),
            StreamRoute::Device,
        )
    }
}

impl<D> Default for StreamRoutes<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamRefusal {
    /// Returns what a client gets to read before its connection is closed: an alert in clear, which proves nothing,
    /// or nothing where it doesn't speak TLS.
    pub fn to_record(self) -> Vec<u8> {
        let description = match self {
            Self::UnrecognizedName => AlertDescription::UNRECOGNIZED_NAME,
            Self::Unreachable | Self::Busy => AlertDescription::INTERNAL_ERROR,
            Self::NotClientHello(_) => return Vec::new(),
        };
        let alert = Alert::fatal(description).encode();
        let mut record = Vec::with_capacity(TLS_RECORD_HEADER_LEN.saturating_add(alert.len()));
        record.push(ContentType::Alert.into());
        record.extend(TLS_1_2.0.to_be_bytes());
        record.extend([0, 2]);
        record.extend(alert);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello of a host's name, or of none.
    fn hello(name: &str) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0xc0, 0xa8, 1, 0]);
        if !name.is_empty() {
            let len = u8::try_from(name.len()).unwrap();
            body.extend([0, len + 9, 0, 0, 0, len + 5, 0, len + 3, 0, 0, len]);
            body.extend(name.as_bytes());
        }
        let len = u8::try_from(body.len()).unwrap();
        let mut record = vec![22, 3, 1, 0, len + 4, 1, 0, 0, len];
        record.extend(body);
        record
    }

    fn routes() -> StreamRoutes<&'static str> {
        let mut routes = StreamRoutes::new();
        let name = ServerName::new("Lamp.example").unwrap();
        assert_eq!(routes.with_name(name, "lamp"), None);
        routes.with_default("meter");
        routes
    }

    #[test]
    fn name_decides_and_the_default_is_for_who_names_none() {
        let routes = routes();
        assert_eq!(
            routes.route(&hello("lAMP.example")),
            StreamRoute::Device(&"lamp")
        );
        for none in ["", "192.0.2.1"] {
            assert_eq!(routes.route(&hello(none)), StreamRoute::Device(&"meter"));
        }
        assert_eq!(
            routes.route(&hello("other.example")),
            StreamRoute::Refused(StreamRefusal::UnrecognizedName)
        );
        let mut without = routes;
        without.default = None;
        assert_eq!(
            without.route(&hello("")),
            StreamRoute::Refused(StreamRefusal::UnrecognizedName)
        );
    }

    #[test]
    fn port_alone_decides_without_names_once_the_hello_is_whole() {
        let mut routes = StreamRoutes::new();
        routes.with_default("meter");
        // Whoever only connects, or says a part, must not cost the device anything.
        let bytes = hello("other.example");
        for len in 0..bytes.len() {
            assert_eq!(
                routes.route(&bytes[..len]),
                StreamRoute::Incomplete,
                "{len}"
            );
        }
        assert_eq!(routes.route(&bytes), StreamRoute::Device(&"meter"));
        let refused = StreamRefusal::NotClientHello(Error::NotTls { version: 0x4554 });
        assert_eq!(routes.route(b"GET /"), StreamRoute::Refused(refused));
    }

    #[test]
    fn nothing_is_decided_before_the_hello_is_whole() {
        let routes = routes();
        let bytes = hello("lamp.example");
        for len in 0..bytes.len() {
            assert_eq!(
                routes.route(&bytes[..len]),
                StreamRoute::Incomplete,
                "{len}"
            );
        }
        let longest = u16::try_from(MAX_ROUTED_HELLO_LEN - 4).unwrap();
        for (len, is_taken) in [(longest, true), (longest + 1, false)] {
            let [a, b] = len.to_be_bytes();
            let begun = routes.route(&[22, 3, 1, 0, 4, 1, 0, a, b]);
            assert_eq!(begun == StreamRoute::Incomplete, is_taken);
        }
        let refused = StreamRefusal::NotClientHello(Error::NotTls { version: 0x4554 });
        assert_eq!(routes.route(b"GET /"), StreamRoute::Refused(refused));
        assert!(refused.to_record().is_empty());
        let alert = StreamRefusal::UnrecognizedName.to_record();
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112]);
    }

    /// As long as nothing is decided, what has come is bounded, headers included.
    #[test]
    fn undecided_bytes_are_bounded() {
        let routes = routes();
        let mut message = vec![1, 0, 0x3f, 0xfc];
        message.resize(MAX_ROUTED_HELLO_LEN, 7);
        let (last, front) = message.split_last().unwrap();
        let _ = last;
        for part in [1, 10, 130, MAX_ROUTED_HELLO_LEN] {
            let mut bytes = Vec::new();
            for part in front.chunks(part) {
                bytes.extend([22, 3, 1]);
                bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part);
            }
            bytes.extend([22, 3, 1, 0x40, 0]);
            bytes.resize(bytes.len() + 0x3fff, 7);
            let longest = (0..=bytes.len())
                .rev()
                .step_by(7)
                .find(|&len| routes.route(&bytes[..len]) == StreamRoute::Incomplete);
            let longest = longest.unwrap();
            assert!(longest <= MAX_ROUTED_LEN, "{part}: {longest}");
            assert_eq!(longest < 6 * MAX_HELLO_RECORDS, part == 1);
        }
    }
}
