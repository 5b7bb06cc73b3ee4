//! The proxy's configuration: what may be reached, and within which bounds.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::destination::Destination;
use crate::target::{base_segments, split_absolute};
use crate::{Failure, LooseMapping, Methods, PatchMapping, TargetError};

/// An HTTP-to-CoAP proxy's decisions (RFC 8075). It knows no socket and no clock; every call is a
/// function of its arguments and of this configuration.
///
/// A new one reaches nothing: each destination has to be named.
#[derive(Clone, Debug)]
pub struct HcProxy {
    pub(crate) destinations: HashMap<Destination, Methods>,
    pub(crate) devices: BTreeMap<String, Device>,
    pub(crate) limits: Limits,
    pub(crate) patch: PatchMapping,
    pub(crate) loose: Option<LooseMapping>,
    pub(crate) passes_coap_payload: bool,
    pub(crate) passes_coaps_from_http: bool,
}

/// The bounds of what one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body, in bytes.
    pub request_body: usize,
    /// The longest response body, in bytes.
    pub response_body: usize,
    /// The most bytes that Uri-Path and Uri-Query come to, one being counted for each header.
    pub uri: usize,
}

impl Default for Limits {
    /// 1 MiB each way, and a URI that leaves a message of 1,152 bytes (RFC 7252 §4.6) half empty.
    fn default() -> Self {
        Self {
            request_body: 1 << 20,
            response_body: 1 << 20,
            uri: 512,
        }
    }
}

/// A destination with a name of its own.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) destination: Destination,
    /// Path that stands before every path asked for.
    pub(crate) base: Vec<String>,
    pub(crate) methods: Methods,
}

/// Why a destination or a device can't be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The name isn't 1 to 63 letters, digits, `-`, `_`, `.` and `~`, or is a dot segment.
    #[error("device names are 1 to 63 letters, digits, '-', '_', '.' or '~', and not '.' or '..'")]
    DeviceName,
    /// The name, or the destination, was configured before.
    #[error("configured twice")]
    Twice,
    /// The URI can't be a destination.
    #[error("URI can't be a destination: {0}")]
    Uri(TargetError),
    /// The URI of a destination has a path or a query, or that of a device a query.
    #[error("URI has a part that can't be used here: a query, or the path of a destination")]
    UnusedPart,
}

impl Default for HcProxy {
    fn default() -> Self {
        Self::new()
    }
}

impl HcProxy {
    /// Makes a proxy that reaches nothing, with default [`Limits`], strict media types, PATCH
    /// refused, and `coaps` to be asked for over HTTPS only.
    pub fn new() -> Self {
        Self {
            destinations: HashMap::new(),
            devices: BTreeMap::new(),
            limits: Limits::default(),
            patch: PatchMapping::default(),
            loose: None,
            passes_coap_payload: false,
            passes_coaps_from_http: false,
        }
    }

    /// Permits `methods` at the destination `uri` for requests that name it by URI: `coap://host`
    /// or `coaps://host:port`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Uri`], [`ConfigError::UnusedPart`], [`ConfigError::Twice`].
    pub fn with_destination(mut self, uri: &str, methods: Methods) -> Result<Self, ConfigError> {
        let parts = split_absolute(uri).map_err(ConfigError::Uri)?;
        if !matches!(parts.path, "" | "/") || parts.query.is_some() {
            return Err(ConfigError::UnusedPart);
        }
        let destination =
            Destination::parse(parts.scheme, parts.authority).map_err(ConfigError::Uri)?;
        match self.destinations.insert(destination, methods) {
            None => Ok(self),
            Some(_) => Err(ConfigError::Twice),
        }
    }

    /// Names a device: `/devices/NAME/path` then stands for `path` below `base_uri`, and for
    /// nothing else at that destination. Names differ by letter case.
    ///
    /// # Errors
    ///
    /// Each variant of [`ConfigError`].
    pub fn with_device(
        mut self,
        name: &str,
        base_uri: &str,
        methods: Methods,
    ) -> Result<Self, ConfigError> {
        if !is_device_name(name) {
            return Err(ConfigError::DeviceName);
        }
        let parts = split_absolute(base_uri).map_err(ConfigError::Uri)?;
        if parts.query.is_some() {
            return Err(ConfigError::UnusedPart);
        }
        let device = Device {
            destination: Destination::parse(parts.scheme, parts.authority)
                .map_err(ConfigError::Uri)?,
            base: base_segments(parts.path).map_err(ConfigError::Uri)?,
            methods,
        };
        match self.devices.insert(name.to_owned(), device) {
            None => Ok(self),
            Some(_) => Err(ConfigError::Twice),
        }
    }

    /// Sets the bounds.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what PATCH becomes.
    #[must_use]
    pub const fn with_patch(mut self, patch: PatchMapping) -> Self {
        self.patch = patch;
        self
    }

    /// Generalises media types that have no content format of their own (RFC 8075 §6.3).
    #[must_use]
    pub fn with_loose_mapping(mut self, loose: LooseMapping) -> Self {
        self.loose = Some(loose);
        self
    }

    /// Lets requests name a content format by number, as `application/coap-payload;cf=N`
    /// (RFC 8075 §6.2).
    #[must_use]
    pub const fn with_coap_payload(mut self, passes: bool) -> Self {
        self.passes_coap_payload = passes;
        self
    }

    /// Lets requests that came over plain HTTP reach `coaps` destinations, against the default
    /// that RFC 8075 §10.3 recommends.
    #[must_use]
    pub const fn with_coaps_from_http(mut self, passes: bool) -> Self {
        self.passes_coaps_from_http = passes;
        self
    }

    /// Returns the bounds.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Names every configured device, in the order of names.
    pub fn device_names(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// Returns where a configured device is.
    pub fn device_destination(&self, name: &str) -> Option<&Destination> {
        self.devices.get(name).map(|device| &device.destination)
    }

    /// Decides whether a request for `destination` may be sent to `address`. Call it with what the
    /// host's name resolved to, and send to that address: to resolve again would undo the check.
    ///
    /// A literal address permits itself alone. A name never leads to multicast, broadcast, IPv4
    /// link-local or unspecified addresses, whether plain or embedded in IPv6, and to loopback only
    /// if it is `localhost`.
    ///
    /// # Errors
    ///
    /// [`Failure::Target`] with [`TargetError::DestinationDenied`] or [`TargetError::Multicast`].
    pub fn check_address(&self, destination: &Destination, address: IpAddr) -> Result<(), Failure> {
        destination.may_be_at(address).map_err(Failure::Target)
    }
}

fn is_device_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !matches!(name, "." | "..")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
}
