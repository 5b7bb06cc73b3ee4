//! A device behind the gateway.

use hedgerow_core::{Misuse, Psk, SecurityMode};
use hedgerow_net::AcceptedServer;
use hedgerow_proxy::Methods;

/// A device: its name, where it is, and what may be asked of it.
#[derive(Debug)]
pub struct Device {
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) modes: Vec<Mode>,
    pub(crate) security: Security,
    /// What the page shows, also once the key is where sessions use it.
    pub(crate) security_name: &'static str,
    pub(crate) security_mode: SecurityMode,
    pub(crate) methods: Methods,
    pub(crate) paths: Vec<PathPattern>,
    pub(crate) examples: Vec<String>,
    /// The users that it may open flows to.
    pub(crate) calls: Vec<String>,
}

impl Device {
    /// Describes the device that is reached as `/devices/NAME/path` and is at `uri`: `coap`, `coaps`,
    /// `coap+tcp` or `coaps+tcp`, host and port. GET is permitted, at every path.
    pub fn new(name: impl Into<String>, uri: impl Into<String>, security: Security) -> Self {
        Self {
            name: name.into(),
            uri: uri.into(),
            modes: vec![Mode::Terminate],
            security_name: security.name(),
            security_mode: security.mode(),
            security,
            methods: Methods::GET,
            paths: Vec::new(),
            examples: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Permits these modes and no others. Without [`Mode::Terminate`], [`Mode::Itls`] and [`Mode::TranslateDevice`]
    /// the gateway has no key for the device, whose security is [`Security::EndToEnd`].
    #[must_use]
    pub fn with_modes(mut self, modes: &[Mode]) -> Self {
        self.modes = modes.to_vec();
        self
    }

    /// Permits these methods and no others.
    #[must_use]
    pub const fn with_methods(mut self, methods: Methods) -> Self {
        self.methods = methods;
        self
    }

    /// Permits the paths of this pattern, and of those permitted before, and no others.
    #[must_use]
    pub fn with_path(mut self, pattern: PathPattern) -> Self {
        self.paths.push(pattern);
        self
    }

    /// Shows a path on the gateway's page, as something to try.
    #[must_use]
    pub fn with_example(mut self, path: impl Into<String>) -> Self {
        self.examples.push(path.into());
        self
    }

    /// Lets the device open flows in mode [`Itls`](Mode::Itls) to the Internet ends of a user, and of those named
    /// before. Without any it opens none.
    #[must_use]
    pub fn with_call(mut self, user: impl Into<String>) -> Self {
        self.calls.push(user.into());
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of the security mode that the gateway has with the device.
    pub(crate) fn security_mode_name(&self) -> &'static str {
        match self.has_hop() {
            true => self.security_mode.name(),
            false => "-",
        }
    }

    /// Says whether the device has a mode.
    pub(crate) fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// Says whether the gateway has a session of its own with the device.
    pub(crate) fn has_hop(&self) -> bool {
        self.modes.iter().any(|mode| mode.has_hop())
    }

    /// Returns the names of the modes, as logs and the page show them.
    pub(crate) fn mode_names(&self) -> String {
        let names: Vec<_> = self.modes.iter().map(|mode| mode.name()).collect();
        names.join(", ")
    }

    /// Says whether a path may be asked for.
    pub(crate) fn permits(&self, uri_path: &[String]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(uri_path))
    }
}

/// How an HTTP client and a device are put together: the modes of the design's table that this
/// gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// HTTP ends at the gateway, which reads everything, and CoAP begins there (RFC 8075).
    Terminate,
    /// The client's DTLS datagrams pass through HTTP to the gateway, and as UDP to the device
    /// (`docs/specs/tunnel.md`). The gateway has no key of what is inside.
    Tunnel,
    /// The client's DTLS records come over TCP under other headers, and go on as UDP to the device
    /// (`docs/specs/translate.md`). The gateway has no key of what is inside.
    Translate,
    /// Messages sealed end to end travel inside a session of each end with the gateway, which takes one off
    /// and puts the other on (`docs/specs/itls.md`). It has a key for the hop, and none of what is inside.
    Itls,
    /// An unmodified TLS client's records go on over a leg to the device, which adapts to it
    /// (`docs/specs/translate-device.md`). The gateway has no key of what is inside; it has one for the leg.
    TranslateDevice,
}

impl Mode {
    /// Every mode with its name.
    pub(super) const NAMED: [(&'static str, Self); 5] = [
        ("terminate", Self::Terminate),
        ("tunnel", Self::Tunnel),
        ("translate", Self::Translate),
        ("itls", Self::Itls),
        ("translate-device", Self::TranslateDevice),
    ];

    /// Says whether the gateway has a session of its own with a device for it.
    pub(crate) const fn has_hop(self) -> bool {
        match self {
            Self::Terminate | Self::Itls | Self::TranslateDevice => true,
            Self::Tunnel | Self::Translate => false,
        }
    }

    /// Returns the mode's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Tunnel => "tunnel",
            Self::Translate => "translate",
            Self::Itls => "itls",
            Self::TranslateDevice => "translate-device",
        }
    }
}

/// What protects the messages between the gateway and a device. There is no default, and never a
/// fallback from one to another.
#[derive(Debug)]
#[non_exhaustive]
pub enum Security {
    /// Nothing does (NoSec, RFC 7252 §9): whoever is on the path reads and changes everything.
    None,
    /// Nothing of the gateway's: the device is reached end to end alone, with a key that the gateway
    /// must not have.
    EndToEnd,
    /// DTLS or TLS with a pre-shared key.
    Psk {
        /// The identity that the gateway names.
        identity: Vec<u8>,
        /// The key.
        key: Psk,
        /// Whether other devices may have the same key (SharedKey). Each of them can then play any
        /// other.
        is_shared: bool,
    },
    /// DTLS or TLS with the gateway's own certificate or raw public key,
    /// [`Config::certificate`](super::Config::certificate), and the device's.
    Certificate {
        /// How the device is known.
        device: AcceptedServer,
    },
}

impl Security {
    /// Makes security with a pre-shared key that no other device has.
    ///
    /// # Errors
    ///
    /// [`Misuse::PskLength`] if `key` hasn't 1 to 64 bytes.
    pub fn psk(identity: impl Into<Vec<u8>>, key: &[u8]) -> Result<Self, Misuse> {
        Ok(Self::Psk {
            identity: identity.into(),
            key: Psk::new(key)?,
            is_shared: false,
        })
    }

    /// Returns the security mode of what the gateway itself exchanges with the device (RFC 7252 §9),
    /// which is nothing with [`Self::EndToEnd`].
    pub const fn mode(&self) -> SecurityMode {
        match self {
            Self::None | Self::EndToEnd => SecurityMode::NoSec,
            Self::Psk {
                is_shared: true, ..
            } => SecurityMode::SharedKey,
            Self::Psk { .. } => SecurityMode::MultiKey,
            Self::Certificate { .. } => SecurityMode::Certificate,
        }
    }

    /// Returns the name that logs and the page show.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EndToEnd => "end to end",
            Self::Psk {
                is_shared: true, ..
            } => "psk (shared)",
            Self::Psk { .. } => "psk",
            Self::Certificate {
                device: AcceptedServer::RawPublicKey(_),
            } => "raw public key",
            Self::Certificate { .. } => "certificate",
        }
    }
}

/// A path that may be asked for, or every path below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<String>,
    is_prefix: bool,
}

/// Why a text is no [`PathPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a path such as \"/temperature\", or \"/sensors/*\" for all below /sensors")]
#[non_exhaustive]
pub struct PathPatternError;

impl PathPattern {
    /// Reads `/a/b`, which is that path alone, or `/a/*`, which is every path below `/a`. Segments
    /// stand as themselves, without percent-encoding; `*` stands at the end only.
    ///
    /// # Errors
    ///
    /// [`PathPatternError`] if the text is something else.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        let inner = text.strip_prefix('/').ok_or(PathPatternError)?;
        let (inner, is_prefix) = match inner.strip_suffix('*') {
            Some(inner) if inner.is_empty() || inner.ends_with('/') => {
                (inner.strip_suffix('/').unwrap_or(inner), true)
            }
            Some(_) => return Err(PathPatternError),
            None => (inner, false),
        };
        let segments: Vec<_> = match inner {
            "" => Vec::new(),
            inner => inner.split('/').map(str::to_owned).collect(),
        };
        let is_last = |index: usize| index.saturating_add(1) == segments.len();
        let is_plain = segments.iter().enumerate().all(|(index, segment)| {
            let may_be_empty = !is_prefix && index > 0 && is_last(index);
            (may_be_empty || !segment.is_empty())
                && !matches!(segment.as_str(), "." | "..")
                && !segment.contains(['*', '%', '?', '#', '\\'])
                && !segment.contains(char::is_control)
        });
        is_plain
            .then_some(Self {
                segments,
                is_prefix,
            })
            .ok_or(PathPatternError)
    }

    fn matches(&self, uri_path: &[String]) -> bool {
        match uri_path.strip_prefix(self.segments.as_slice()) {
            // Below /a isn't /a itself.
            Some(rest) => {
                rest.is_empty() != self.is_prefix || (self.segments.is_empty() && self.is_prefix)
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &[&str]) -> bool {
        let path: Vec<_> = path.iter().map(|segment| (*segment).to_owned()).collect();
        PathPattern::parse(pattern).unwrap().matches(&path)
    }

    #[test]
    fn pattern_is_one_path_or_all_below_one() {
        assert!(matches("/temperature", &["temperature"]));
        assert!(!matches("/temperature", &["temperature", "x"]));
        assert!(!matches("/temperature", &["temperatures"]));
        assert!(!matches("/temperature", &["temperature", ""]));
        assert!(matches("/sensors/*", &["sensors", "1"]));
        assert!(matches("/sensors/*", &["sensors", "1", "unit"]));
        assert!(!matches("/sensors/*", &["sensors"]));
        assert!(!matches("/sensors/*", &["sensorsx", "1"]));
        assert!(matches("/", &[]));
        assert!(!matches("/", &["a"]));
        assert!(matches("/*", &[]));
        assert!(matches("/*", &["a", "b"]));
        assert!(matches("/a/", &["a", ""]));
        assert!(!matches("/a/", &["a"]));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "a", "//", "/a//b", "/a*", "/*/a", "/../a", "/a%20b", "/a?b", "/a\n",
        ] {
            assert_eq!(PathPattern::parse(text), Err(PathPatternError), "{text}");
        }
    }

    #[test]
    fn debug_output_has_no_key() {
        let security = Security::psk("lamp", b"very secret key").unwrap();
        let device = Device::new("lamp", "coaps://[::1]", security);
        assert!(!format!("{device:?}").contains("very"));
    }
}
