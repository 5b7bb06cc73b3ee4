//! Why a request wasn't answered by a device, and what the client is told.

use std::borrow::Cow;

use hedgerow_core::PeerFault;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::problem::{Problem, instance};
use crate::{GatewayRefusal, Methods, TargetError, guard};

/// The body of an HTTP response: borrowed where it is a device's payload.
pub type Body<'a> = Cow<'a, [u8]>;

/// Why the proxy answers itself. What each becomes is in [`Self::status`] and [`Self::problem_type`];
/// no text of it names an address, a key or an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The URI names no target that may be asked: 400, 403, 404 or 414.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// CoAP has no such method, or PATCH isn't configured: 501.
    #[error("CoAP has no equivalent of this method, or it is not configured")]
    MethodNotImplemented,
    /// The target takes other methods only: 405.
    #[error("this target is configured for other methods, which the Allow field lists")]
    MethodNotAllowed {
        /// The methods that it takes.
        allowed: Methods,
    },
    /// A `coaps` or `coaps+tcp` target was asked for over plain HTTP: 403.
    #[error("targets with the scheme coaps or coaps+tcp are reached over HTTPS only")]
    HttpsNeeded,
    /// A field that decides what the request means is malformed, repeated or contradicts another
    /// one: 400.
    #[error("the field {name} is malformed, repeated, or contradicts another field")]
    InvalidField {
        /// The field's name.
        name: &'static str,
    },
    /// A body where the method has none in CoAP: 400.
    #[error("a request with this method has no body in CoAP")]
    UnexpectedBody,
    /// The request's body is over the limit: 413.
    #[error("the request body is longer than {max} bytes")]
    RequestBodyTooLarge {
        /// The most, in bytes.
        max: usize,
    },
    /// The request body's media type and coding have no content format: 415.
    #[error("the body's media type and content coding have no CoAP Content-Format here")]
    UnsupportedMediaType,
    /// Only `application/coap-payload` is accepted, and it isn't configured: 406.
    #[error("application/coap-payload is not configured for requests")]
    CoapPayloadNotAcceptable,
    /// If-Match names tags of which none can be one of the target's: 412.
    #[error("If-Match names no entity tag that the target can have")]
    PreconditionFailed,
    /// A precondition that CoAP can't express: 501.
    #[error("CoAP can't express this precondition")]
    PreconditionNotMapped,
    /// The name of a permitted host doesn't resolve: 502.
    #[error("the device's name does not resolve to an address")]
    NameNotResolved,
    /// No key is configured for the destination: 502.
    #[error("no credentials are configured for the device")]
    CredentialsMissing,
    /// The network says that the destination can't be reached: 502.
    #[error("the device can't be reached")]
    Unreachable,
    /// A gateway between the proxy and the device says no: 502, 503 or 504.
    #[error(transparent)]
    Gateway(#[from] GatewayRefusal),
    /// The destination doesn't answer the handshake: 504.
    #[error("the device does not answer the handshake")]
    HandshakeTimeout,
    /// The destination refused the credentials or fell silent over them: 502.
    #[error("the device refused the gateway's credentials, or did not answer them")]
    CredentialsRefused,
    /// The secure channel ended: 502.
    #[error("the secure channel to the device ended")]
    ChannelFailed,
    /// The device answered with a Reset: 502.
    #[error("the device rejected the message with a Reset")]
    DeviceReset,
    /// The device didn't answer in time: 504.
    #[error("the device did not answer in time")]
    DeviceTimeout,
    /// The device restarted, or its session was closed, before it answered, and nobody can tell
    /// whether it had carried out a request that must not be repeated: 504.
    #[error(
        "contact with the device broke off before it answered; whether it carried out the request \
         is not known"
    )]
    OutcomeUnknown,
    /// Too many requests wait for the device or its network (RFC 8075 §8.1): 503.
    #[error("too many requests are waiting for this device")]
    TooManyRequests {
        /// When to come again, in seconds from now.
        retry_after_secs: u32,
    },
    /// The device wants to know that the request is fresh, and the proxy can't vouch for it
    /// (RFC 9175 §2.3): 503, to be asked again at once over a connection of its own.
    #[error(
        "the device asks whether this request is fresh; send it again over a new connection, which \
         shows that it is"
    )]
    FreshnessUnknown,
    /// The proxy is going down: 503.
    #[error("the gateway is shutting down")]
    ShuttingDown,
    /// The device's response is over the limit: 502.
    #[error("the device's response is longer than {max} bytes")]
    ResponseBodyTooLarge {
        /// The most, in bytes.
        max: usize,
    },
    /// The response has a critical or unsafe option that isn't recognised (RFC 7252 §5.7.1): 502.
    #[error("the device's response has an option that this proxy does not understand")]
    UnrecognisedOption,
    /// The response's code can't answer the request: 502.
    #[error("the device's response does not fit the request")]
    InvalidResponse,
}

impl Failure {
    /// Returns the status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Target(error) => target_status(error),
            Self::Gateway(refusal) => refusal.status(),
            Self::InvalidField { .. } | Self::UnexpectedBody => StatusCode::BAD_REQUEST,
            Self::HttpsNeeded => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::CoapPayloadNotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RequestBodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MethodNotImplemented | Self::PreconditionNotMapped => StatusCode::NOT_IMPLEMENTED,
            Self::NameNotResolved
            | Self::CredentialsMissing
            | Self::Unreachable
            | Self::CredentialsRefused
            | Self::ChannelFailed
            | Self::DeviceReset
            | Self::ResponseBodyTooLarge { .. }
            | Self::UnrecognisedOption
            | Self::InvalidResponse => StatusCode::BAD_GATEWAY,
            Self::TooManyRequests { .. } | Self::FreshnessUnknown | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::HandshakeTimeout | Self::DeviceTimeout | Self::OutcomeUnknown => {
                StatusCode::GATEWAY_TIMEOUT
            }
        }
    }

    /// Returns the type and the title of the problem (RFC 7807 §3.1). The type is a reference
    /// relative to the gateway, where a page about it may stand.
    pub const fn problem_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Target(error) => target_problem(error),
            Self::Gateway(refusal) => refusal.problem_type(),
            Self::MethodNotImplemented => ("/problems/method-not-mapped", "Method not mapped"),
            Self::MethodNotAllowed { .. } => ("/problems/method-denied", "Method not permitted"),
            Self::HttpsNeeded => ("/problems/https-needed", "HTTPS needed"),
            Self::InvalidField { .. } => ("/problems/invalid-field", "Invalid header field"),
            Self::UnexpectedBody => ("/problems/unexpected-body", "Unexpected request body"),
            Self::RequestBodyTooLarge { .. } => {
                ("/problems/request-too-large", "Request body too large")
            }
            Self::UnsupportedMediaType => ("/problems/media-type", "Media type not mapped"),
            Self::CoapPayloadNotAcceptable => ("/problems/not-acceptable", "Not acceptable"),
            Self::PreconditionFailed => ("/problems/precondition-failed", "Precondition failed"),
            Self::PreconditionNotMapped => (
                "/problems/precondition-not-mapped",
                "Precondition not mapped",
            ),
            Self::NameNotResolved => ("/problems/name-not-resolved", "Device name not resolved"),
            Self::CredentialsMissing => ("/problems/credentials-missing", "No credentials"),
            Self::Unreachable => ("/problems/device-unreachable", "Device unreachable"),
            Self::HandshakeTimeout => ("/problems/handshake-timeout", "No answer to handshake"),
            Self::CredentialsRefused => ("/problems/credentials-refused", "Credentials refused"),
            Self::ChannelFailed => ("/problems/channel-failed", "Secure channel failed"),
            Self::DeviceReset => ("/problems/device-reset", "Message rejected by the device"),
            Self::DeviceTimeout => ("/problems/device-timeout", "Device timeout"),
            Self::OutcomeUnknown => ("/problems/outcome-unknown", "Outcome unknown"),
            Self::TooManyRequests { .. } => ("/problems/too-many-requests", "Device busy"),
            Self::FreshnessUnknown => ("/problems/freshness-unknown", "Freshness unknown"),
            Self::ShuttingDown => ("/problems/shutting-down", "Gateway shutting down"),
            Self::ResponseBodyTooLarge { .. } => {
                ("/problems/response-too-large", "Response too large")
            }
            Self::UnrecognisedOption => ("/problems/unrecognised-option", "Unrecognised option"),
            Self::InvalidResponse => ("/problems/invalid-response", "Invalid response"),
        }
    }

    /// Makes the response to a request with `method` for `path`, the query left out.
    pub fn to_response(self, method: &Method, path: &str) -> Response<Body<'static>> {
        let (problem_type, title) = self.problem_type();
        let detail = self.to_string();
        let shows_path = !matches!(
            self,
            Self::Target(TargetError::Authority(
                hedgerow_coap::UriError::UserInformation
            ))
        );
        let problem = Problem {
            problem_type,
            title,
            status: self.status(),
            detail: &detail,
            // Passwords belong in no URI, but where one stands it isn't repeated.
            instance: shows_path.then(|| instance(path)).flatten(),
        };
        let mut response = problem.into_response(method);
        let headers = response.headers_mut();
        match self {
            Self::MethodNotAllowed { allowed } => {
                headers.insert(ALLOW, allowed.allow());
            }
            Self::TooManyRequests { retry_after_secs }
            | Self::Gateway(GatewayRefusal::Busy { retry_after_secs }) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after_secs));
            }
            Self::FreshnessUnknown => {
                headers.insert(RETRY_AFTER, HeaderValue::from(0));
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl From<PeerFault> for Failure {
    fn from(fault: PeerFault) -> Self {
        match fault {
            PeerFault::HandshakeTimeout => Self::HandshakeTimeout,
            PeerFault::CredentialsRefused => Self::CredentialsRefused,
            PeerFault::Unresponsive => Self::DeviceTimeout,
            _ => Self::ChannelFailed,
        }
    }
}

impl Problem<'_> {
    /// Makes a response of the problem, without its body if `method` is HEAD.
    pub(crate) fn into_response(self, method: &Method) -> Response<Body<'static>> {
        let body = self.to_json().into_bytes();
        let mut response = Response::new(Cow::Borrowed([].as_slice()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        guard(headers);
        if method != Method::HEAD {
            *response.body_mut() = Cow::Owned(body);
        }
        response
    }
}

const fn target_status(error: TargetError) -> StatusCode {
    match error {
        TargetError::NotMapped | TargetError::DeviceNotConfigured => StatusCode::NOT_FOUND,
        // RFC 8075 §8.4: 403 for a target that is a group.
        TargetError::DestinationDenied | TargetError::Multicast => StatusCode::FORBIDDEN,
        TargetError::SegmentTooLong { .. }
        | TargetError::ArgumentTooLong { .. }
        | TargetError::UriTooLong { .. } => StatusCode::URI_TOO_LONG,
        _ => StatusCode::BAD_REQUEST,
    }
}

const fn target_problem(error: TargetError) -> (&'static str, &'static str) {
    match error {
        TargetError::NotMapped => ("/problems/not-mapped", "Not found"),
        TargetError::DeviceNotConfigured => {
            ("/problems/device-not-configured", "Device not configured")
        }
        TargetError::DestinationDenied => ("/problems/destination-denied", "Destination denied"),
        TargetError::Multicast => ("/problems/multicast-denied", "Multicast denied"),
        TargetError::SegmentTooLong { .. }
        | TargetError::ArgumentTooLong { .. }
        | TargetError::UriTooLong { .. } => ("/problems/uri-too-long", "URI too long"),
        _ => ("/problems/invalid-target", "Invalid target URI"),
    }
}
