//! What a UDP tunnel's stream carries, RFC 9298 §4 and §5.

use crate::capsule::{Capsule, CapsuleDecoder, CapsuleEncodeError, CapsuleType, to_u64};
use crate::carrier_message::CarrierMessage;
use crate::{capsule, varint};

/// The longest UDP payload, in bytes (RFC 9298 §5).
pub const MAX_UDP_PAYLOAD_LEN: usize = 65_527;

/// The most that a DATAGRAM capsule adds to a UDP payload, in bytes: type, length and context ID.
pub const MAX_UDP_CAPSULE_OVERHEAD: usize = 1 + 4 + 1;

/// Says what an HTTP Datagram of a tunnel means (RFC 9298 §4), at most 2^62 - 1.
///
/// Even ones are the client's to allocate, odd ones the proxy's. [`UDP_PAYLOAD`](Self::UDP_PAYLOAD)
/// has a meaning everywhere; answers of a group's members will want one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextId(pub u64);

impl ContextId {
    /// One UDP payload, as it is.
    pub const UDP_PAYLOAD: Self = Self(0);
    /// A probe of the mode `auto`, where its client has asked for one (`docs/specs/auto.md`).
    pub const PROBE: Self = Self(2);
    /// The answer to one.
    pub const ECHO: Self = Self(4);
}

/// What comes out of a tunnel's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEvent<'d> {
    /// A UDP payload, which may be empty.
    UdpPayload(&'d [u8]),
    /// A probe or an echo, from a decoder [`with_probes`](TunnelDecoder::with_probes) alone.
    Probing(CarrierMessage<'d>),
    /// Something that isn't passed on. The stream goes on behind it.
    Dropped(TunnelDrop),
}

/// Why something isn't passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TunnelDrop {
    /// A capsule of an unknown type.
    UnknownCapsule,
    /// A datagram in a context that nobody has registered.
    UnknownContext,
    /// A UDP payload that is longer than is kept, though it could be one.
    TooLong,
    /// A probe or an echo that is too short or too long to be one.
    MalformedProbe,
}

impl TunnelDrop {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::UnknownCapsule,
        Self::UnknownContext,
        Self::TooLong,
        Self::MalformedProbe,
    ];

    /// Returns the name that logs and counters have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownCapsule => "unknown_capsule",
            Self::UnknownContext => "unknown_context",
            Self::TooLong => "too_long",
            Self::MalformedProbe => "malformed_probe",
        }
    }
}

/// Why a tunnel's stream has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelFault {
    /// A datagram has no whole context ID (RFC 9297 §3.3).
    #[error("a datagram without a whole context ID")]
    ContextIdMissing,
    /// A UDP payload is longer than one can be (RFC 9298 §5).
    #[error("a UDP payload of more than 65527 bytes")]
    PayloadTooLong,
    /// The stream ended within a capsule (RFC 9297 §3.3).
    #[error("the stream ended within a capsule")]
    Truncated,
}

/// Reads the UDP payloads out of a tunnel's stream, however it is cut.
#[derive(Debug)]
pub struct TunnelDecoder {
    capsules: CapsuleDecoder,
    max_payload: usize,
    has_probes: bool,
}

impl TunnelDecoder {
    /// Keeps UDP payloads of at most `max_payload` bytes, and at most [`MAX_UDP_PAYLOAD_LEN`].
    pub fn new(max_payload: usize) -> Self {
        let max_payload = max_payload.min(MAX_UDP_PAYLOAD_LEN);
        // The context ID may be written in more bytes than it needs.
        let max_value = max_payload.saturating_add(varint::MAX_VARINT_LEN);
        Self {
            capsules: CapsuleDecoder::new(max_value),
            max_payload,
            has_probes: false,
        }
    }

    /// Takes probes and echoes too, as the client of a tunnel in mode `auto` has asked for them.
    #[must_use]
    pub const fn with_probes(mut self) -> Self {
        self.has_probes = true;
        self
    }

    /// Takes bytes from the front of `bytes` up to the next event, and returns it; `None` once all
    /// are taken. Call it again while it returns something. After an error the stream is over.
    ///
    /// # Errors
    ///
    /// [`TunnelFault::ContextIdMissing`] and [`TunnelFault::PayloadTooLong`].
    pub fn next_event(
        &mut self,
        bytes: &mut &[u8],
    ) -> Result<Option<TunnelEvent<'_>>, TunnelFault> {
        let Some(capsule) = self.capsules.next_capsule(bytes) else {
            return Ok(None);
        };
        let (value, len) = match capsule {
            Capsule::Unknown(_) => {
                return Ok(Some(TunnelEvent::Dropped(TunnelDrop::UnknownCapsule)));
            }
            Capsule::Datagram(value) => (value, to_u64(value.len())),
            Capsule::TooLong { len, start } => (start, len),
        };
        // MUST (RFC 9297 §3.3): a capsule that ends before its fields do makes the message malformed.
        let (context, payload) = varint::decode(value).ok_or(TunnelFault::ContextIdMissing)?;
        let id_len = to_u64(value.len().saturating_sub(payload.len()));
        let payload_len = len.saturating_sub(id_len);
        if self.has_probes
            && let Some(message) = probing(ContextId(context), payload)
        {
            // One that is longer than is kept is longer than a probe can be.
            let message = message.filter(|_| to_u64(payload.len()) == payload_len);
            let event = message.map(TunnelEvent::Probing);
            let dropped = TunnelEvent::Dropped(TunnelDrop::MalformedProbe);
            return Ok(Some(event.unwrap_or(dropped)));
        }
        // RFC 9298 §5: a datagram of an unknown context is dropped.
        if ContextId(context) != ContextId::UDP_PAYLOAD {
            return Ok(Some(TunnelEvent::Dropped(TunnelDrop::UnknownContext)));
        }
        // MUST (RFC 9298 §5): a UDP payload that can't be one ends the stream.
        if payload_len > to_u64(MAX_UDP_PAYLOAD_LEN) {
            return Err(TunnelFault::PayloadTooLong);
        }
        if payload_len > to_u64(self.max_payload) {
            return Ok(Some(TunnelEvent::Dropped(TunnelDrop::TooLong)));
        }
        Ok(Some(TunnelEvent::UdpPayload(payload)))
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`TunnelFault::Truncated`] if it ends within a capsule.
    pub fn finish(&self) -> Result<(), TunnelFault> {
        self.capsules.finish().map_err(|_| TunnelFault::Truncated)
    }

    /// Returns how many bytes it holds of a capsule that isn't whole.
    pub fn buffered_len(&self) -> usize {
        self.capsules.buffered_len()
    }
}

/// Writes a DATAGRAM capsule with a UDP payload (RFC 9298 §5) and returns its length, which is at most
/// the payload's and [`MAX_UDP_CAPSULE_OVERHEAD`].
///
/// # Errors
///
/// [`CapsuleEncodeError::PayloadTooLong`] and [`CapsuleEncodeError::NoRoom`].
pub fn encode_udp_capsule(payload: &[u8], out: &mut [u8]) -> Result<usize, CapsuleEncodeError> {
    // MUST (RFC 9298 §5): no UDP payload of more than 65,527 bytes is sent.
    if payload.len() > MAX_UDP_PAYLOAD_LEN {
        return Err(CapsuleEncodeError::PayloadTooLong(payload.len()));
    }
    encode_datagram_capsule(ContextId::UDP_PAYLOAD, payload, out)
}

/// Writes a DATAGRAM capsule in any context and returns its length.
///
/// # Errors
///
/// [`CapsuleEncodeError::ContextId`] and [`CapsuleEncodeError::NoRoom`].
pub fn encode_datagram_capsule(
    context: ContextId,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, CapsuleEncodeError> {
    let id_len = varint::encoded_len(context.0).ok_or(CapsuleEncodeError::ContextId)?;
    let value_len = to_u64(id_len.saturating_add(payload.len()));
    let len = out.len();
    write_datagram(context, value_len, payload, out).ok_or(CapsuleEncodeError::NoRoom {
        len,
        needed: needed(value_len),
    })
}

/// Reads a probe or an echo; `None` inside for one that is neither, and outside for other contexts.
fn probing(context: ContextId, payload: &[u8]) -> Option<Option<CarrierMessage<'_>>> {
    matches!(context, ContextId::PROBE | ContextId::ECHO)
        .then(|| CarrierMessage::of(context, payload).ok())
}

/// Writes a DATAGRAM capsule with a whole HTTP Datagram, context ID included, such as a message of a
/// carrier (`docs/specs/auto.md`), and returns its length; `None` without room.
pub fn encode_message_capsule(message: &[u8], out: &mut [u8]) -> Option<usize> {
    let head_len = capsule::encode_head(CapsuleType::DATAGRAM, to_u64(message.len()), out)?;
    let end = head_len.checked_add(message.len())?;
    out.get_mut(head_len..end)?.copy_from_slice(message);
    Some(end)
}

/// Writes a DATAGRAM capsule whose value has `value_len` bytes; `None` without room.
fn write_datagram(
    context: ContextId,
    value_len: u64,
    payload: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let head_len = capsule::encode_head(CapsuleType::DATAGRAM, value_len, out)?;
    let id_len = varint::encode(context.0, out.get_mut(head_len..)?)?;
    let start = head_len.checked_add(id_len)?;
    let end = start.checked_add(payload.len())?;
    out.get_mut(start..end)?.copy_from_slice(payload);
    Some(end)
}

/// Returns what a DATAGRAM capsule with a value of this length takes, in bytes.
fn needed(value_len: u64) -> usize {
    let head_len = 1 + varint::encoded_len(value_len).unwrap_or(varint::MAX_VARINT_LEN);
    usize::try_from(value_len).map_or(usize::MAX, |len| len.saturating_add(head_len))
}
