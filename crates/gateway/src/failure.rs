//! From what ended a request to a device to what the client is told.

use hedgerow_core::{ChannelError, PeerFault, WayRefusal};
use hedgerow_endpoint::TranslateError;
use hedgerow_exchange::RequestError;
use hedgerow_net::{CarrierFailure, RequestFailure};
use hedgerow_proxy::{Failure, GatewayRefusal};
use tracing::warn;

/// When to come again if there is no place now, in seconds.
pub(crate) const RETRY_AFTER_SECS: u32 = 2;

pub(crate) const TOO_MANY: Failure = Failure::TooManyRequests {
    retry_after_secs: RETRY_AFTER_SECS,
};

/// Maps what `hedgerow-net` says. `max_response` is the configured length of response bodies, in
/// bytes.
pub(crate) fn map_request_failure(failure: RequestFailure, max_response: usize) -> Failure {
    match failure {
        RequestFailure::Channel(ChannelError::Peer(PeerFault::WayRefused { reason })) => {
            map_way_refusal(reason).into()
        }
        RequestFailure::Channel(ChannelError::Peer(fault)) => fault.into(),
        RequestFailure::Closed => Failure::OutcomeUnknown,
        RequestFailure::Carrier(failure) if broke_off(failure) => Failure::OutcomeUnknown,
        RequestFailure::Carrier(failure) => {
            warn!(%failure, "no way through the gateway before the devices");
            map_carrier_failure(failure).into()
        }
        RequestFailure::Exchange(error) => map_request_error(error, max_response),
        RequestFailure::Refused(error) => map_refusal(error),
        RequestFailure::TooManyRequests { .. } | RequestFailure::TooManyConnections { .. } => {
            TOO_MANY
        }
        RequestFailure::HeldOff { seconds } => Failure::TooManyRequests {
            retry_after_secs: u32::try_from(seconds).unwrap_or(u32::MAX),
        },
        RequestFailure::UnusableAddress { .. } | RequestFailure::Connect { .. } => {
            Failure::Unreachable
        }
        RequestFailure::ConnectTimeout => Failure::DeviceTimeout,
        RequestFailure::NodeStopped => Failure::ShuttingDown,
        // The channel's limits and what this end did wrong: the client can't mend either.
        _ => Failure::ChannelFailed,
    }
}

/// Says whether a way to a device ended while something may have been under way on it.
pub(crate) const fn broke_off(failure: CarrierFailure) -> bool {
    matches!(
        failure,
        CarrierFailure::Closed
            | CarrierFailure::Truncated
            | CarrierFailure::Gone
            | CarrierFailure::Translate(TranslateError::Truncated { .. })
    )
}

/// Maps what a gateway says in mode `itls`.
const fn map_way_refusal(reason: WayRefusal) -> GatewayRefusal {
    match reason {
        WayRefusal::Refused => GatewayRefusal::Target,
        WayRefusal::Busy => GatewayRefusal::Busy {
            retry_after_secs: RETRY_AFTER_SECS,
        },
        // Gone, and what else may come.
        _ => GatewayRefusal::NoWay,
    }
}

fn map_carrier_failure(failure: CarrierFailure) -> GatewayRefusal {
    use CarrierFailure as Carrier;
    match failure {
        Carrier::GatewayName | Carrier::Connect { .. } => GatewayRefusal::NotReached,
        Carrier::ConnectTimeout => GatewayRefusal::NotAnswered,
        Carrier::GatewayCertificate { .. } | Carrier::InClear => GatewayRefusal::NotTrusted,
        Carrier::UserRefused { .. } | Carrier::UserUnknown => GatewayRefusal::User,
        Carrier::TargetDenied | Carrier::Translate(TranslateError::Refused) => {
            GatewayRefusal::Target
        }
        Carrier::Busy { .. } | Carrier::Translate(TranslateError::Busy) => GatewayRefusal::Busy {
            retry_after_secs: RETRY_AFTER_SECS,
        },
        Carrier::Unreachable { .. } => GatewayRefusal::NoWay,
        Carrier::Refused { status } => GatewayRefusal::Other { status },
        _ => GatewayRefusal::NotSpoken,
    }
}

fn map_request_error(error: RequestError, max_response: usize) -> Failure {
    match error {
        RequestError::AcknowledgementTimeout | RequestError::ResponseTimeout => {
            Failure::DeviceTimeout
        }
        RequestError::Reset => Failure::DeviceReset,
        RequestError::UnrecognisedCriticalOption => Failure::UnrecognisedOption,
        RequestError::ResponseTooLarge => Failure::ResponseBodyTooLarge { max: max_response },
        RequestError::NoRoomForBody => TOO_MANY,
        RequestError::RepresentationChanged | RequestError::UnexpectedBlock => {
            Failure::InvalidResponse
        }
        // RFC 7252 §9.1.1: a POST isn't sent again in a new epoch.
        RequestError::AssociationRestarted | RequestError::ConnectionAborted => {
            Failure::OutcomeUnknown
        }
        _ => Failure::ChannelFailed,
    }
}

fn map_refusal(error: hedgerow_endpoint::Error) -> Failure {
    use hedgerow_endpoint::Error as Endpoint;
    use hedgerow_exchange::Error as Exchange;
    match error {
        Endpoint::TooManyAssociations { .. }
        | Endpoint::TooManyHandshakes { .. }
        | Endpoint::Exchange(
            Exchange::TooManyRequests
            | Exchange::MessageIdsExhausted { .. }
            | Exchange::NoRoomForBody { .. },
        ) => TOO_MANY,
        Endpoint::Exchange(Exchange::BodyTooLong { max, .. }) => {
            Failure::RequestBodyTooLarge { max }
        }
        _ => Failure::ChannelFailed,
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::PeerFault;

    use super::*;

    #[test]
    fn causes_keep_their_status() {
        let fault = |fault| RequestFailure::Channel(ChannelError::Peer(fault));
        for (failure, status) in [
            (fault(PeerFault::CredentialsRefused), 502),
            (fault(PeerFault::HandshakeTimeout), 504),
            (fault(PeerFault::TooManyForgeries), 502),
            (RequestFailure::Closed, 504),
            (
                RequestFailure::Exchange(RequestError::AcknowledgementTimeout),
                504,
            ),
            (RequestFailure::Exchange(RequestError::ResponseTimeout), 504),
            (RequestFailure::Exchange(RequestError::Reset), 502),
            (
                RequestFailure::Exchange(RequestError::AssociationRestarted),
                504,
            ),
            (
                RequestFailure::Exchange(RequestError::ResponseTooLarge),
                502,
            ),
            (RequestFailure::Exchange(RequestError::NoRoomForBody), 503),
            (RequestFailure::TooManyRequests { max: 1 }, 503),
            (RequestFailure::TooManyConnections { max: 1 }, 503),
            (RequestFailure::ConnectTimeout, 504),
            (
                RequestFailure::Connect {
                    kind: std::io::ErrorKind::ConnectionRefused,
                },
                502,
            ),
            (
                RequestFailure::Exchange(RequestError::ConnectionAborted),
                504,
            ),
            (RequestFailure::NodeStopped, 503),
            (CarrierFailure::UserRefused { status: 401 }.into(), 502),
            (CarrierFailure::TargetDenied.into(), 502),
            (CarrierFailure::Busy { status: 429 }.into(), 503),
            (CarrierFailure::ConnectTimeout.into(), 504),
            (CarrierFailure::Truncated.into(), 504),
            (CarrierFailure::Translate(TranslateError::Busy).into(), 503),
            (
                RequestFailure::Refused(hedgerow_endpoint::Error::TooManyHandshakes { max: 1 }),
                503,
            ),
        ] {
            let mapped = map_request_failure(failure, 10);
            assert_eq!(mapped.status().as_u16(), status, "{failure}");
        }
    }

    #[test]
    fn unknown_outcome_names_no_cause_that_was_not_seen() {
        for failure in [
            RequestFailure::Closed,
            CarrierFailure::Closed.into(),
            RequestFailure::Exchange(RequestError::AssociationRestarted),
        ] {
            let text = map_request_failure(failure, 10).to_string();
            assert!(
                !text.contains("restart") && !text.contains("clos"),
                "{text}"
            );
            assert!(text.contains("broke off before it answered"), "{text}");
            assert!(text.contains("not known"), "{text}");
        }
    }
}
