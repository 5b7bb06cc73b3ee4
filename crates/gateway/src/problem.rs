//! The answers of the gateway itself, in the form of RFC 7807.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};

use crate::failure::RETRY_AFTER_SECS;

/// A whole response.
pub(crate) type Answer = Response<Bytes>;

/// Why the gateway doesn't even ask what a request wants of a device. Everything that can be said
/// about a target or a device is the proxy crate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the Host field is missing, repeated or malformed")]
    InvalidHost,
    #[error(
        "this gateway isn't known by the name in the Host field; if it should be, add it to \
         http.host_names in the configuration"
    )]
    UnknownHost,
    #[error("a page of another site can't change devices through this gateway")]
    CrossSite,
    #[error("the device is configured for other paths only")]
    PathDenied,
    #[error("the device is reached end to end alone, and not asked by this gateway")]
    ModeDenied,
    #[error("only GET and HEAD have a meaning here")]
    OwnPageMethod,
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    #[error("the request body could not be read")]
    BodyBroken,
    #[error("the gateway has as many requests under way as it is configured for")]
    Busy,
    #[error("this client has as many requests under way as the gateway lets one client have")]
    ClientBusy,
}

impl Refusal {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::InvalidHost | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossSite | Self::PathDenied | Self::ModeDenied => StatusCode::FORBIDDEN,
            Self::OwnPageMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::ClientBusy => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    const fn problem_type(self) -> (&'static str, &'static str) {
        match self {
            Self::InvalidHost => ("/problems/invalid-host", "Invalid Host field"),
            Self::UnknownHost => ("/problems/unknown-host", "Unknown host name"),
            Self::CrossSite => ("/problems/cross-site", "Cross-site request denied"),
            Self::PathDenied => ("/problems/path-denied", "Path denied"),
            Self::ModeDenied => ("/problems/mode-denied", "Mode denied"),
            Self::OwnPageMethod => ("/problems/method-denied", "Method not permitted"),
            Self::BodyTimeout => ("/problems/body-timeout", "Request body too slow"),
            Self::BodyBroken => ("/problems/body-broken", "Request body broken"),
            Self::Busy => ("/problems/gateway-busy", "Gateway busy"),
            Self::ClientBusy => ("/problems/client-busy", "Too many requests of this client"),
        }
    }

    pub(crate) fn to_answer(self) -> Answer {
        let (problem_type, title) = self.problem_type();
        // Every text stands above and needs no escaping.
        let json = format!(
            "{{\"type\":\"{problem_type}\",\"title\":\"{title}\",\"status\":{},\
             \"detail\":\"{self}\"}}",
            self.status().as_u16()
        );
        let mut answer = own_answer(self.status(), "application/problem+json", json);
        let headers = answer.headers_mut();
        match self {
            Self::Busy | Self::ClientBusy => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
            }
            Self::OwnPageMethod => {
                headers.insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            _ => {}
        }
        answer
    }
}

/// Makes a response of the gateway's own, with nothing in it that a browser would run or keep.
pub(crate) fn own_answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Cow<'static, str>>,
) -> Answer {
    let body = match body.into() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, OWN_POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The page has a style of its own, and nothing else is loaded, run, framed or sent anywhere.
const OWN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                          form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_need_no_escaping() {
        for refusal in [
            Refusal::InvalidHost,
            Refusal::UnknownHost,
            Refusal::CrossSite,
            Refusal::PathDenied,
            Refusal::ModeDenied,
            Refusal::OwnPageMethod,
            Refusal::BodyTimeout,
            Refusal::BodyBroken,
            Refusal::Busy,
            Refusal::ClientBusy,
        ] {
            let text = refusal.to_string();
            assert!(!text.contains(['"', '\\']) && !text.contains(char::is_control));
        }
    }
}
