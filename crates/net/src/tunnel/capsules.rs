//! What a tunnel's stream brings.

use hedgerow_proxy::{CarrierMessage, TunnelDecoder, TunnelDrop, TunnelEvent};
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::{debug, trace};

use crate::link::{CarrierFailure, LinkIncoming};

/// Reads capsules until the stream ends, and says how it did. `handle` gets what they carry; what is dropped is
/// counted in `incoming`.
pub(crate) async fn read_capsules(
    mut reader: impl AsyncRead + Unpin,
    decoder: &mut TunnelDecoder,
    incoming: &LinkIncoming,
    mut handle: impl FnMut(CarrierMessage<'_>),
) -> CarrierFailure {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let mut bytes = match reader.read(&mut buffer).await {
            Ok(0) => {
                // MUST (RFC 9297 §3.3): an end within a capsule is no orderly one.
                return match decoder.finish() {
                    Ok(()) => CarrierFailure::Closed,
                    Err(_) => CarrierFailure::Truncated,
                };
            }
            Ok(len) => buffer.get(..len).unwrap_or_default(),
            Err(error) => {
                debug!(%error, "tunnel can't be read");
                return CarrierFailure::Truncated;
            }
        };
        loop {
            match decoder.next_event(&mut bytes) {
                Ok(Some(TunnelEvent::UdpPayload(payload))) => {
                    handle(CarrierMessage::UdpPayload(payload));
                }
                Ok(Some(TunnelEvent::Probing(message))) => handle(message),
                Ok(Some(TunnelEvent::Dropped(reason))) => {
                    trace!(reason = reason.name(), "dropped from the tunnel");
                    match reason {
                        TunnelDrop::TooLong => incoming.count_too_long(),
                        _ => incoming.count_not_passed_on(),
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(%error, "tunnel is malformed");
                    return CarrierFailure::Malformed;
                }
            }
        }
    }
}

/// What is read at once, in bytes.
const BUFFER_LEN: usize = 16 * 1_024;
