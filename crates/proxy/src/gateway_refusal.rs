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
    /// A TLS connection that it hands on was refused by an alert in clear, which proves nobody: what the gateway says so the
    /// device, or whoever is on the way there, could say too: 502.
    #[error(
        "the connection was refused in clear, by whom nobody can tell: {}",
        meaning_of_alert(*.description)
    )]
    AlertInClear {
        /// The alert's code point (RFC 5246 §7.2).
        description: u8,
    },
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
            Self::AlertInClear { .. } => ("/problems/gateway-alert", "Refused in clear"),
            Self::Other { .. } => ("/problems/gateway-refused", "Refused by the gateway"),
        }
    }
}

/// Says what an alert in clear most likely means, on a connection that a gateway hands on to a device
/// (docs/specs/translate-device.md).
const fn meaning_of_alert(description: u8) -> &'static str {
    match description {
        UNRECOGNIZED_NAME => {
            "a gateway says so that hands on to no device of this name at this port, and a device that has \
             another name"
        }
        INTERNAL_ERROR => {
            "a gateway says so that doesn't reach the device, or has no room for one more connection"
        }
        _ => {
            "gateways don't say so, but the device, or somebody on the way to it, for instance where there is no \
             cipher suite in common"
        }
    }
}

/// RFC 6066 §3.
const UNRECOGNIZED_NAME: u8 = 112;

/// RFC 5246 §7.2.
const INTERNAL_ERROR: u8 = 80;
