//! What a gateway between the proxy and the devices says no to.

use http::StatusCode;

/// Why a gateway that stands between this proxy and its devices carries nothing to one of them. It is the
/// gateway's word, or the network's on the way there, and none of the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayRefusal {
    /// It can't be reached, or its name has no address: 502.
    #[error("the gateway before the device can't be reached")]
    NotReached,
    /// It doesn't answer in time: 504.
    #[error("the gateway before the device doesn't answer")]
    NotAnswered,
    /// What answers in its place can't be trusted to be it: 502.
    #[error("what answers as the gateway before the device is not trusted to be it")]
    NotTrusted,
    /// What answers there doesn't do what a gateway of this mode does: 502.
    #[error("what answers as the gateway before the device doesn't carry this mode")]
    NotSpoken,
    /// It refuses the user: 502.
    #[error(
        "the gateway before the device refuses this user: its token, or its name and password, is \
         missing or wrong there"
    )]
    User,
    /// It has no such device, or doesn't let this user reach it in this mode: 502.
    #[error("the gateway before the device has no such device, or not in this mode")]
    Target,
    /// It has no room now: 503.
    #[error("the gateway before the device has no room now")]
    Busy {
        /// When to come again, in seconds from now.
        retry_after_secs: u32,
    },
    /// It found no way to the device: 502.
    #[error("the gateway before the device found no way to it")]
    NoWay,
    /// It refused in another way: 502.
    #[error("the gateway before the device refused: status {status}")]
    Other {
        /// The status of HTTP.
        status: u16,
    },
}

impl GatewayRefusal {
    /// Returns the status. A client's credentials are none of what the gateway asks for, so that its 401
    /// and 403 aren't handed on (RFC 9110 §15.6.3).
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotAnswered => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) const fn problem_type(self) -> (&'static str, &'static str) {
        match self {
            Self::NotReached => ("/problems/gateway-unreachable", "Gateway unreachable"),
            Self::NotAnswered => ("/problems/gateway-timeout", "Gateway timeout"),
            Self::NotTrusted => ("/problems/gateway-not-trusted", "Gateway not trusted"),
            Self::NotSpoken => ("/problems/gateway-mode", "No gateway of this mode"),
            Self::User => ("/problems/gateway-user", "User refused by the gateway"),
            Self::Target => ("/problems/gateway-target", "Device denied by the gateway"),
            Self::Busy { .. } => ("/problems/gateway-full", "Gateway before the device busy"),
            Self::NoWay => ("/problems/gateway-no-way", "No way from the gateway"),
            Self::Other { .. } => ("/problems/gateway-refused", "Refused by the gateway"),
        }
    }
}
