//! What a session's plaintext is: several protocols share one session and are told apart by its first
//! octet, as RFC 7983 tells those of one port.

/// A protocol in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// A CoAP message of version 1 (RFC 7252 §3).
    Coap,
    /// A leg's segment (docs/specs/leg.md).
    Leg,
    /// A message of mode `itls` (docs/specs/itls.md).
    Itls,
    /// Nothing that is spoken here. CoAP's layer ignores it silently, as RFC 7252 §3 wants of versions
    /// that aren't known.
    Unknown,
}

impl Protocol {
    /// Tells what a plaintext is.
    pub(crate) fn of(plaintext: &[u8]) -> Self {
        match plaintext.first().map(|first| first >> 6) {
            Some(0b01) => Self::Coap,
            Some(0b10) => Self::Leg,
            Some(0b11) => Self::Itls,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_two_bits_tell() {
        for first in 0..=u8::MAX {
            let expected = match first {
                0x40..=0x7f => Protocol::Coap,
                0x80..=0xbf => Protocol::Leg,
                0xc0..=0xff => Protocol::Itls,
                _ => Protocol::Unknown,
            };
            assert_eq!(Protocol::of(&[first, 0]), expected, "{first:#04x}");
        }
        assert_eq!(Protocol::of(&[]), Protocol::Unknown);
    }
}
