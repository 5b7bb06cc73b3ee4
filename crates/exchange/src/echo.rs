//! What a client does with the Echo values of a server, RFC 9175 §2.3.

use hedgerow_coap::{Message, OptionNumber};

use crate::freshness::VALUE_LEN;

/// The value of an Echo option: up to 40 bytes, opaque to a client (RFC 9175 §2.2.1).
#[derive(Clone, Copy)]
pub(crate) struct EchoValue {
    bytes: [u8; MAX_ECHO_LEN],
    len: u8,
}

impl EchoValue {
    /// Takes the value out of a message; `None` if it has none, or one of a wrong length.
    pub(crate) fn of(message: &Message<'_>) -> Option<Self> {
        let value = message.option(OptionNumber::ECHO)?.value();
        let mut bytes = [0; MAX_ECHO_LEN];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        let len = u8::try_from(value.len()).ok().filter(|len| *len > 0)?;
        Some(Self { bytes, len })
    }

    /// Takes what this end has made up as a server.
    pub(crate) fn own(value: [u8; VALUE_LEN]) -> Self {
        let mut bytes = [0; MAX_ECHO_LEN];
        bytes
            .iter_mut()
            .zip(value)
            .for_each(|(place, byte)| *place = byte);
        Self {
            bytes,
            len: u8::try_from(VALUE_LEN).unwrap_or_default(),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl core::fmt::Debug for EchoValue {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "EchoValue({} bytes)", self.len)
    }
}

/// How far a request has come with challenges.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Echoing {
    /// They are the application's.
    HandedOut,
    /// There was none.
    Unchallenged,
    /// The current message carries the value, and another challenge would be in vain.
    Current(EchoValue),
    /// A message before the current one had to carry the value. The current one carries it too, and
    /// may be told that it has become stale.
    Earlier(EchoValue),
}

impl Echoing {
    pub(crate) const fn new(hands_out: bool) -> Self {
        match hands_out {
            true => Self::HandedOut,
            false => Self::Unchallenged,
        }
    }

    /// Says whether a challenge is answered here. No message is sent anew twice, so that a server
    /// that is never content ends the request.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Unchallenged | Self::Earlier(_))
    }

    pub(crate) const fn value(&self) -> Option<EchoValue> {
        match self {
            Self::Current(value) | Self::Earlier(value) => Some(*value),
            Self::HandedOut | Self::Unchallenged => None,
        }
    }

    /// Goes from one message of a transfer to the next.
    pub(crate) const fn go_on(&mut self) {
        if let Self::Current(value) = *self {
            *self = Self::Earlier(value);
        }
    }

    /// Forgets the value, which was another endpoint's.
    pub(crate) const fn forget(&mut self) {
        if let Self::Current(_) | Self::Earlier(_) = self {
            *self = Self::Unchallenged;
        }
    }

    /// Returns the most that the option takes in a message, in bytes.
    pub(crate) fn option_len(&self) -> usize {
        const MAX_HEADER_LEN: usize = 5;
        self.value()
            .map_or(0, |value| MAX_HEADER_LEN.saturating_add(value.len.into()))
    }
}

/// The longest Echo value, in bytes (RFC 9175 §2.2.1).
const MAX_ECHO_LEN: usize = 40;
