//! Why a tunnel isn't opened, and what the client is told.

use http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::ConnectUdpError;
use crate::failure::Body;
use crate::problem::{Problem, instance};

/// Why a tunnel isn't opened. No text of it names an address or a user, nor does it say whether a
/// target exists that may not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelRefusal {
    /// The request is malformed: 400.
    #[error(transparent)]
    Malformed(#[from] ConnectUdpError),
    /// Credentials would go over plain HTTP: 403.
    #[error("tunnels are opened over HTTPS only")]
    HttpsNeeded,
    /// A page of another site asks: 403.
    #[error("a page of another site can't open tunnels through this gateway")]
    CrossSite,
    /// Too many wrong credentials came from the same place, so that these aren't looked at: 429.
    #[error("too many wrong credentials have come from this address or its network")]
    TooManyGuesses {
        /// When to come again, in seconds from now.
        retry_after_secs: u32,
    },
    /// No credentials, or wrong ones: 401.
    #[error("a user and a password, or a token, is needed")]
    Unauthorized,
    /// The target isn't a configured device, or not one with this mode: 403.
    #[error("the target is not one that this gateway opens tunnels to")]
    TargetDenied,
    /// The user has as many tunnels as one may have: 429.
    #[error("this user has as many tunnels as the gateway lets one user have")]
    TooManyOfUser {
        /// When to come again, in seconds from now.
        retry_after_secs: u32,
    },
    /// There are as many tunnels as configured: 503.
    #[error("the gateway has as many tunnels as it is configured for")]
    TooMany {
        /// When to come again, in seconds from now.
        retry_after_secs: u32,
    },
    /// The name that the device is configured with doesn't resolve: 502.
    #[error("the device's name does not resolve to an address")]
    NameNotResolved,
    /// There is no socket towards the device: 502.
    #[error("no socket can be opened towards the device")]
    Unroutable,
}

impl TunnelRefusal {
    /// Returns the status.
    pub const fn status(self) -> StatusCode {
        match self {
            // RFC 9298 §3.2 asks for 400.
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::HttpsNeeded | Self::CrossSite | Self::TargetDenied => StatusCode::FORBIDDEN,
            // RFC 6585 §4.
            Self::TooManyGuesses { .. } | Self::TooManyOfUser { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::TooMany { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NameNotResolved | Self::Unroutable => StatusCode::BAD_GATEWAY,
        }
    }

    const fn problem_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(_) => ("/problems/invalid-tunnel-request", "Invalid tunnel request"),
            Self::HttpsNeeded => ("/problems/https-needed", "HTTPS needed"),
            Self::CrossSite => ("/problems/cross-site", "Cross-site request denied"),
            Self::TooManyGuesses { .. } => {
                ("/problems/too-many-guesses", "Too many wrong credentials")
            }
            Self::Unauthorized => ("/problems/unauthorized", "Credentials needed"),
            Self::TargetDenied => ("/problems/target-denied", "Target denied"),
            Self::TooManyOfUser { .. } => ("/problems/user-busy", "Too many tunnels of this user"),
            Self::TooMany { .. } => ("/problems/gateway-busy", "Gateway busy"),
            Self::NameNotResolved => ("/problems/name-not-resolved", "Device name not resolved"),
            Self::Unroutable => ("/problems/device-unreachable", "Device unreachable"),
        }
    }

    /// Returns the proxy error type for Proxy-Status, which RFC 9298 §3.1 and §7 ask for.
    const fn proxy_status(self) -> Option<&'static str> {
        match self {
            Self::TargetDenied => Some("hedgerow; error=destination_ip_prohibited"),
            Self::NameNotResolved => Some("hedgerow; error=dns_error"),
            Self::Unroutable => Some("hedgerow; error=destination_ip_unroutable"),
            _ => None,
        }
    }

    /// Makes the response to a request with `method` for `path`, the query left out.
    pub fn to_response(self, method: &Method, path: &str) -> Response<Body<'static>> {
        let (problem_type, title) = self.problem_type();
        let detail = self.to_string();
        let problem = Problem {
            problem_type,
            title,
            status: self.status(),
            detail: &detail,
            instance: instance(path),
        };
        let mut response = problem.into_response(method);
        let headers = response.headers_mut();
        if let Some(status) = self.proxy_status() {
            headers.insert(PROXY_STATUS, HeaderValue::from_static(status));
        }
        match self {
            // MUST (RFC 9110 §15.5.2): a challenge goes with 401.
            Self::Unauthorized => {
                for challenge in CHALLENGES {
                    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            Self::TooManyGuesses { retry_after_secs }
            | Self::TooManyOfUser { retry_after_secs }
            | Self::TooMany { retry_after_secs } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_secs));
            }
            _ => {}
        }
        response
    }
}

/// RFC 7617 §2 and RFC 6750 §3.
const CHALLENGES: [&str; 2] = [
    "Basic realm=\"hedgerow\", charset=\"UTF-8\"",
    "Bearer realm=\"hedgerow\"",
];

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
