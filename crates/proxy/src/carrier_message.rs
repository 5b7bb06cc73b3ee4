//! What either carrier of the mode `auto` carries (`docs/specs/auto.md`).

use crate::udp_tunnel::{ContextId, MAX_UDP_PAYLOAD_LEN};
use crate::varint;

/// The longest message on a UDP carrier, and the length of every probe there, in bytes: with what DTLS,
/// UDP and IPv6 add it stays below the 1,280 that each path takes (RFC 8200 §5).
pub const MAX_UDP_CARRIER_MESSAGE_LEN: usize = 1_152;

/// The longest UDP payload that goes on a UDP carrier, in bytes. A longer one goes over TCP.
pub const MAX_UDP_CARRIER_PAYLOAD_LEN: usize = MAX_UDP_CARRIER_MESSAGE_LEN - 1;

/// The shortest probe, in bytes: the context and the number. It is how long a probe over TCP is.
pub const MIN_PROBE_LEN: usize = 1 + NUMBER_LEN;

/// Which probe it is, counted by the end that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ProbeNumber(pub u64);

/// One message: the payload of an HTTP Datagram (RFC 9297 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarrierMessage<'d> {
    /// A UDP payload from or to the device.
    UdpPayload(&'d [u8]),
    /// What the other end wants back unchanged, on the same carrier, as [`encode_echo`] writes it.
    Probe(&'d [u8]),
    /// The other end has received a probe of this end's.
    Echo(ProbeNumber),
}

/// Why a message isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierMessageError {
    /// It has no whole context ID, or a probe's number isn't whole, or a probe is longer than one can
    /// be, or a UDP payload than RFC 9298 §5 allows.
    #[error("malformed carrier message")]
    Malformed,
    /// Nobody has registered its context.
    #[error("context {0} is not registered")]
    UnknownContext(u64),
}

impl<'d> CarrierMessage<'d> {
    /// Reads a message that is all of `bytes`.
    ///
    /// # Errors
    ///
    /// Each variant of [`CarrierMessageError`].
    pub fn decode_exact(bytes: &'d [u8]) -> Result<Self, CarrierMessageError> {
        let (context, payload) = varint::decode(bytes).ok_or(CarrierMessageError::Malformed)?;
        Self::of(ContextId(context), payload)
    }

    /// Reads what stands behind a context ID.
    pub(crate) fn of(context: ContextId, payload: &'d [u8]) -> Result<Self, CarrierMessageError> {
        let is_probe_len = (NUMBER_LEN..=MAX_UDP_CARRIER_PAYLOAD_LEN).contains(&payload.len());
        match context {
            ContextId::UDP_PAYLOAD if payload.len() <= MAX_UDP_PAYLOAD_LEN => {
                Ok(Self::UdpPayload(payload))
            }
            ContextId::PROBE if is_probe_len => Ok(Self::Probe(payload)),
            ContextId::ECHO if is_probe_len => {
                let number = payload.first_chunk().copied();
                let number = number.ok_or(CarrierMessageError::Malformed)?;
                Ok(Self::Echo(ProbeNumber(u64::from_be_bytes(number))))
            }
            ContextId::UDP_PAYLOAD | ContextId::PROBE | ContextId::ECHO => {
                Err(CarrierMessageError::Malformed)
            }
            ContextId(unknown) => Err(CarrierMessageError::UnknownContext(unknown)),
        }
    }
}

/// Writes a UDP payload and returns the message's length; `None` without room.
pub fn encode_udp_payload(payload: &[u8], out: &mut [u8]) -> Option<usize> {
    encode(ContextId::UDP_PAYLOAD, payload, out)
}

/// Writes a probe that is `len` bytes long, [`MIN_PROBE_LEN`] to [`MAX_UDP_CARRIER_MESSAGE_LEN`], and
/// returns that; `None` beyond them or without room.
pub fn encode_probe(number: ProbeNumber, len: usize, out: &mut [u8]) -> Option<usize> {
    if !(MIN_PROBE_LEN..=MAX_UDP_CARRIER_MESSAGE_LEN).contains(&len) {
        return None;
    }
    let out = out.get_mut(..len)?;
    out.fill(0);
    encode(ContextId::PROBE, &number.0.to_be_bytes(), out)?;
    Some(len)
}

/// Writes the answer to a [`CarrierMessage::Probe`] and returns the message's length; `None` without
/// room.
pub fn encode_echo(probe: &[u8], out: &mut [u8]) -> Option<usize> {
    encode(ContextId::ECHO, probe, out)
}

fn encode(context: ContextId, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let id_len = varint::encode(context.0, out)?;
    let end = id_len.checked_add(payload.len())?;
    out.get_mut(id_len..end)?.copy_from_slice(payload);
    Some(end)
}

/// Length of a probe's number, in bytes.
const NUMBER_LEN: usize = 8;
