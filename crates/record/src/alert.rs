//! Alerts (RFC 5246 §7.2).

use hedgerow_core::{DecodeError, Reader};

/// How grave an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertLevel {
    /// 1
    Warning,
    /// 2: the association ends.
    Fatal,
    /// Any other code point.
    Unknown(u8),
}

impl From<u8> for AlertLevel {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::Warning,
            2 => Self::Fatal,
            other => Self::Unknown(other),
        }
    }
}

impl From<AlertLevel> for u8 {
    fn from(level: AlertLevel) -> Self {
        match level {
            AlertLevel::Warning => 1,
            AlertLevel::Fatal => 2,
            AlertLevel::Unknown(other) => other,
        }
    }
}

/// What an alert says, by its code point (RFC 5246 §7.2; unknown_psk_identity: RFC 4279 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertDescription(pub u8);

impl AlertDescription {
    /// The sender won't send any more.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A message that has no place here.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record that did not verify.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record longer than agreed.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// Nothing in the offer is acceptable.
    pub const HANDSHAKE_FAILURE: Self = Self(40);
    /// A certificate that is malformed, or a signature in it that doesn't fit.
    pub const BAD_CERTIFICATE: Self = Self(42);
    /// A kind of certificate that isn't taken.
    pub const UNSUPPORTED_CERTIFICATE: Self = Self(43);
    /// A certificate that isn't valid at this time.
    pub const CERTIFICATE_EXPIRED: Self = Self(45);
    /// A certificate that isn't acceptable for another reason.
    pub const CERTIFICATE_UNKNOWN: Self = Self(46);
    /// A field out of range or inconsistent with others.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A certificate whose authority isn't known or isn't trusted.
    pub const UNKNOWN_CA: Self = Self(48);
    /// A certificate in order, whose owner isn't let in.
    pub const ACCESS_DENIED: Self = Self(49);
    /// A message that doesn't decode.
    pub const DECODE_ERROR: Self = Self(50);
    /// A Finished or a signature that doesn't fit.
    pub const DECRYPT_ERROR: Self = Self(51);
    /// A version that the sender doesn't speak.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// An error of the sender's own.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The answer to an attempt at renegotiation (RFC 5246 §7.2.2).
    pub const NO_RENEGOTIATION: Self = Self(100);
    /// An extension that was not offered (RFC 5246 §7.4.1.4).
    pub const UNSUPPORTED_EXTENSION: Self = Self(110);
    /// A name that the server doesn't have (RFC 6066 §9).
    pub const UNRECOGNIZED_NAME: Self = Self(112);
    /// A PSK identity that the server doesn't know (RFC 4279 §6).
    pub const UNKNOWN_PSK_IDENTITY: Self = Self(115);
    /// None of the application protocols offered is spoken here (RFC 7301 §3.2).
    pub const NO_APPLICATION_PROTOCOL: Self = Self(120);
}

/// One alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert {
    /// How grave it is.
    pub level: AlertLevel,
    /// What it says.
    pub description: AlertDescription,
}

impl Alert {
    /// A fatal alert.
    pub const fn fatal(description: AlertDescription) -> Self {
        Self {
            level: AlertLevel::Fatal,
            description,
        }
    }

    /// A warning.
    pub const fn warning(description: AlertDescription) -> Self {
        Self {
            level: AlertLevel::Warning,
            description,
        }
    }

    /// Decodes an alert that fills `fragment`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] unless `fragment` is exactly two bytes.
    pub fn decode_exact(fragment: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(fragment);
        let level = AlertLevel::from(reader.u8()?);
        let description = AlertDescription(reader.u8()?);
        reader.finish()?;
        Ok(Self { level, description })
    }

    /// Encodes the alert's two bytes.
    pub fn encode(self) -> [u8; 2] {
        [self.level.into(), self.description.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alert_is_two_bytes_and_survives_the_round_trip() {
        for level in 0..=255 {
            for description in [0, 40, 115, 255] {
                let alert = Alert::decode_exact(&[level, description]).unwrap();
                assert_eq!(alert.encode(), [level, description]);
            }
        }
        assert!(Alert::decode_exact(&[2]).is_err());
        assert!(Alert::decode_exact(&[2, 40, 0]).is_err());
    }
}
