//! What a client is told when no device answered, by cause.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;

use hedgerow_coap::UriError;
use hedgerow_core::PeerFault;
use hedgerow_proxy::{Failure, GatewayRefusal, Methods, TargetError};
use http::Method;

/// Every cause with its status and the last part of its problem type.
const CAUSES: [(Failure, u16, &str); 35] = [
    (Failure::Target(TargetError::NotMapped), 404, "not-mapped"),
    (
        Failure::Target(TargetError::DeviceNotConfigured),
        404,
        "device-not-configured",
    ),
    (
        Failure::Target(TargetError::DestinationDenied),
        403,
        "destination-denied",
    ),
    (
        Failure::Target(TargetError::Multicast),
        403,
        "multicast-denied",
    ),
    (
        Failure::Target(TargetError::DotSegment),
        400,
        "invalid-target",
    ),
    (
        Failure::Target(TargetError::NumericHost),
        400,
        "invalid-target",
    ),
    (
        Failure::Target(TargetError::SegmentTooLong { len: 256 }),
        414,
        "uri-too-long",
    ),
    (
        Failure::Target(TargetError::ArgumentTooLong { len: 256 }),
        414,
        "uri-too-long",
    ),
    (
        Failure::Target(TargetError::UriTooLong { len: 9, max: 8 }),
        414,
        "uri-too-long",
    ),
    (Failure::MethodNotImplemented, 501, "method-not-mapped"),
    (
        Failure::MethodNotAllowed {
            allowed: Methods::GET,
        },
        405,
        "method-denied",
    ),
    (Failure::HttpsNeeded, 403, "https-needed"),
    (
        Failure::InvalidField { name: "If-Match" },
        400,
        "invalid-field",
    ),
    (Failure::UnexpectedBody, 400, "unexpected-body"),
    (
        Failure::RequestBodyTooLarge { max: 7 },
        413,
        "request-too-large",
    ),
    (Failure::UnsupportedMediaType, 415, "media-type"),
    (Failure::CoapPayloadNotAcceptable, 406, "not-acceptable"),
    (Failure::PreconditionFailed, 412, "precondition-failed"),
    (
        Failure::PreconditionNotMapped,
        501,
        "precondition-not-mapped",
    ),
    (Failure::NameNotResolved, 502, "name-not-resolved"),
    (Failure::CredentialsMissing, 502, "credentials-missing"),
    (Failure::Unreachable, 502, "device-unreachable"),
    (Failure::HandshakeTimeout, 504, "handshake-timeout"),
    (Failure::CredentialsRefused, 502, "credentials-refused"),
    (Failure::ChannelFailed, 502, "channel-failed"),
    (
        Failure::Gateway(GatewayRefusal::AlertInClear { description: 112 }),
        502,
        "gateway-alert",
    ),
    (Failure::DeviceReset, 502, "device-reset"),
    (Failure::DeviceTimeout, 504, "device-timeout"),
    (Failure::OutcomeUnknown, 504, "outcome-unknown"),
    (
        Failure::TooManyRequests {
            retry_after_secs: 3,
        },
        503,
        "too-many-requests",
    ),
    (Failure::FreshnessUnknown, 503, "freshness-unknown"),
    (Failure::ShuttingDown, 503, "shutting-down"),
    (
        Failure::ResponseBodyTooLarge { max: 7 },
        502,
        "response-too-large",
    ),
    (Failure::UnrecognisedOption, 502, "unrecognised-option"),
    (Failure::InvalidResponse, 502, "invalid-response"),
];

#[test]
fn each_cause_has_its_status_and_its_problem_type() {
    for (failure, status, slug) in CAUSES {
        let response = failure.to_response(&Method::GET, "/devices/lamp?token=secret");
        assert_eq!(response.status(), status, "{failure:?}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        let json = std::str::from_utf8(response.body()).unwrap();
        let start = format!("{{\"type\":\"/problems/{slug}\",\"title\":\"");
        assert!(json.starts_with(&start), "{json}");
        let end = format!(",\"detail\":\"{failure}\",\"instance\":\"/devices/lamp\"}}");
        assert!(json.ends_with(&end), "{json}");
        assert!(json.contains(&format!(",\"status\":{status},")), "{json}");
        let len = response.headers()["content-length"].to_str().unwrap();
        assert_eq!(len, json.len().to_string());
        let head = failure.to_response(&Method::HEAD, "/devices/lamp");
        assert!(head.body().is_empty());
    }
    // Server-side causes are told apart by their type.
    let slugs: BTreeSet<_> = CAUSES.iter().skip(9).map(|(_, _, slug)| slug).collect();
    assert_eq!(slugs.len(), CAUSES.len() - 9);
}

#[test]
fn busy_says_when_to_come_again_and_method_which_are_taken() {
    let busy = Failure::TooManyRequests {
        retry_after_secs: 3,
    };
    let response = busy.to_response(&Method::GET, "/");
    assert_eq!(response.headers()["retry-after"], "3");
    let stale = Failure::FreshnessUnknown.to_response(&Method::POST, "/");
    assert_eq!(stale.headers()["retry-after"], "0");
    assert_eq!(stale.headers()["connection"], "close");
    let allowed = Methods::GET | Methods::PUT;
    let response = Failure::MethodNotAllowed { allowed }.to_response(&Method::POST, "/");
    assert_eq!(response.headers()["allow"], "GET, HEAD, PUT");
}

#[test]
fn texts_name_no_address_and_repeat_no_password() {
    let path = "/hc/coap://user:password@192.0.2.1/";
    let failure = support::map("GET", path, &[]).unwrap_err();
    let user_information = TargetError::Authority(UriError::UserInformation);
    assert_eq!(failure, Failure::Target(user_information));
    let response = failure.to_response(&Method::GET, path);
    let json = std::str::from_utf8(response.body()).unwrap();
    assert!(!json.contains("password"), "{json}");

    // The lamp's address is the gateway's own business.
    let mapped = support::map("GET", "/devices/lamp/x?key=secret", &[]).unwrap();
    for (failure, _, _) in CAUSES {
        let response = mapped.context.map_failure(failure);
        let json = std::str::from_utf8(response.body()).unwrap();
        assert!(
            !json.contains("2001:db8") && !json.contains("secret"),
            "{json}"
        );
        assert!(json.contains("\"instance\":\"/devices/lamp/x\""), "{json}");
    }
}

#[test]
fn faults_of_a_channel_are_causes() {
    for (fault, failure) in [
        (PeerFault::HandshakeTimeout, Failure::HandshakeTimeout),
        (PeerFault::CredentialsRefused, Failure::CredentialsRefused),
        (PeerFault::TooManyForgeries, Failure::ChannelFailed),
        (PeerFault::Unresponsive, Failure::DeviceTimeout),
        (
            PeerFault::AlertSent { description: 40 },
            Failure::ChannelFailed,
        ),
    ] {
        assert_eq!(Failure::from(fault), failure);
    }
}
