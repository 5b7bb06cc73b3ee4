//! Why a stream is given up.

/// Declares the reasons once, with number and text.
macro_rules! reset_reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a stream was given up. None of them is an orderly end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        #[non_exhaustive]
        pub enum ResetReason {
            $($(#[$doc])* #[error($text)] $name,)*
            /// A number that isn't known here, and not one of the above.
            #[error("reason {0}")]
            Unknown(u8),
        }

        impl ResetReason {
            /// Reads the number on the wire.
            pub const fn from_number(number: u8) -> Self {
                match number {
                    $($number => Self::$name,)*
                    _ => Self::Unknown(number),
                }
            }

            /// Returns the number on the wire.
            pub const fn number(self) -> u8 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Unknown(number) => number,
                }
            }
        }
    };
}

reset_reasons! {
    /// Answers a RESET, and is never answered.
    Acknowledged = 0, "acknowledged";
    /// The application gave the stream up.
    Application = 1, "given up by the application";
    /// No such service, or not allowed.
    Refused = 2, "refused";
    /// No room for another stream.
    Limit = 3, "no room for another stream";
    /// The other end doesn't know the stream, or no longer.
    UnknownStream = 4, "unknown stream";
    /// Nothing was acknowledged for too long.
    Timeout = 5, "not acknowledged";
    /// Bytes beyond the limit that was announced.
    FlowControl = 6, "bytes beyond the limit";
    /// Bytes behind a FIN, a FIN before bytes, or two that differ.
    FinalSize = 7, "contradicting ends";
    /// An acknowledgement of what was never sent.
    BadAcknowledgement = 8, "acknowledgement of what was not sent";
    /// Other bytes than before at the same offset.
    Inconsistent = 9, "other bytes at the same offset";
    /// The gateway's TCP connection wasn't made.
    ConnectFailed = 10, "connection failed";
    /// The TCP connection ended without a FIN.
    ConnectionLost = 11, "connection lost";
    /// No position is left.
    Exhausted = 12, "no position left";
    /// A record longer than the end takes.
    RecordOverflow = 13, "record too long";
}

#[cfg(test)]
mod tests {
    use super::ResetReason;

    #[test]
    fn every_number_survives() {
        for number in 0..=u8::MAX {
            let reason = ResetReason::from_number(number);
            assert_eq!(reason.number(), number);
            assert_eq!(matches!(reason, ResetReason::Unknown(_)), number > 13);
        }
    }
}
