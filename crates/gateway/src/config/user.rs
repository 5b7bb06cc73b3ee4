//! Who may open tunnels.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::DeviceAddress;

/// A user, who proves to be it by a password or a token. It is zeroed on drop and never printed.
pub struct User {
    pub(crate) name: String,
    pub(crate) secret: UserSecret,
}

/// What a user proves to be it with.
pub(crate) enum UserSecret {
    /// By Basic (RFC 7617), with the name.
    Password(Zeroizing<Vec<u8>>),
    /// By Bearer (RFC 6750), alone.
    Token(Zeroizing<Vec<u8>>),
    /// By the pre-shared key of the HTTPS client with this identity, and nothing in the request.
    PskClient(Vec<u8>),
}

impl User {
    /// Describes a user who shows name and password, 8 to 256 bytes.
    pub fn with_password(name: impl Into<String>, password: &[u8]) -> Self {
        Self {
            name: name.into(),
            secret: UserSecret::Password(Zeroizing::new(password.to_vec())),
        }
    }

    /// Describes a user who shows a token: 16 to 256 characters as RFC 6750 §2.1 has them.
    pub fn with_token(name: impl Into<String>, token: &[u8]) -> Self {
        Self {
            name: name.into(),
            secret: UserSecret::Token(Zeroizing::new(token.to_vec())),
        }
    }

    /// Describes a user who is the client of [`HttpsPsk`](super::HttpsPsk) with this identity, and proves it by
    /// its TLS connection alone.
    pub fn with_psk_identity(name: impl Into<String>, identity: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            secret: UserSecret::PskClient(identity.into()),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what is wrong with the name, or with the secret, and which key it is.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        // RFC 7617 §2: the name ends at the first colon. It stands in logs.
        let is_name_char = |byte: u8| byte.is_ascii_graphic() && !b":\"\\".contains(&byte);
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(is_name_char) {
            return Some((
                "name",
                "expected 1 to 64 visible ASCII characters without a colon",
            ));
        }
        match &self.secret {
            UserSecret::Password(password) => {
                let is_control = |byte: &u8| byte.is_ascii_control();
                let is_long = (8..=256).contains(&password.len());
                (!is_long || password.iter().any(is_control)).then_some((
                    "password",
                    "expected 8 to 256 bytes without control characters",
                ))
            }
            // Compared with the clients that there are.
            UserSecret::PskClient(_) => None,
            UserSecret::Token(token) => {
                let is_token_char =
                    |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
                let is_long = (16..=256).contains(&token.len());
                (!is_long || !token.iter().all(is_token_char))
                    .then_some(("token", "expected 16 to 256 letters, digits and -._~+/="))
            }
        }
    }
}

/// The name, and no more.
impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut user = formatter.debug_struct("User");
        user.field("name", &self.name).finish_non_exhaustive()
    }
}

/// What tunnels may take (`docs/specs/tunnel.md`). A tunnel takes at most `max_datagram`,
/// `queue_bytes` and 130 KiB besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// Tunnels at the same time; more are answered with 503.
    pub tunnels: usize,
    /// Tunnels of one user at the same time; more are answered with 429.
    pub tunnels_per_user: usize,
    /// How long a tunnel without a datagram is kept. RFC 9298 §3.1 advises against less than 2 minutes.
    pub idle_timeout: Duration,
    /// Datagrams that wait for a client who doesn't read; more are dropped.
    pub queue_datagrams: usize,
    /// What they come to at most, in bytes.
    pub queue_bytes: usize,
    /// The longest UDP payload that is passed on to a device, in bytes.
    pub max_datagram: usize,
    /// Which addresses a tunnel with two carriers has towards its device.
    pub device_address: DeviceAddress,
}

impl Default for TunnelLimits {
    /// 64 tunnels, 8 a user, 5 minutes, 64 datagrams of 64 KiB in all, payloads of 4 KiB, one address each.
    fn default() -> Self {
        Self {
            tunnels: 64,
            tunnels_per_user: 8,
            idle_timeout: Duration::from_secs(300),
            queue_datagrams: 64,
            queue_bytes: 64 << 10,
            max_datagram: 4 << 10,
            device_address: DeviceAddress::Session,
        }
    }
}
