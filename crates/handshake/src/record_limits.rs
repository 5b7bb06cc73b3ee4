//! How much plaintext records may carry in each direction (RFC 8449, RFC 6066 §4).

use hedgerow_core::{EncodeError, Writer};
use hedgerow_record::{
    AlertDescription, ClientHello, Error, ExtensionType, MaxFragmentLength, RecordSizeLimit,
};

use crate::Settings;

/// What both ends have agreed on; without an agreement 2^14 bytes everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordLimits {
    /// Protected records that this end receives.
    pub(crate) read: RecordSizeLimit,
    /// Records in clear that this end receives: RFC 8449 §4 doesn't limit them.
    pub(crate) read_in_clear: RecordSizeLimit,
    /// Records that this end sends. Those in clear keep to it too, where they can: who has room for
    /// no more in a protected record is thankful for it.
    pub(crate) write: RecordSizeLimit,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self {
            read: RecordSizeLimit::MAX,
            read_in_clear: RecordSizeLimit::MAX,
            write: RecordSizeLimit::MAX,
        }
    }
}

impl From<MaxFragmentLength> for RecordLimits {
    /// MUST (RFC 6066 §4): once agreed on, the length holds for both directions and every message.
    fn from(length: MaxFragmentLength) -> Self {
        let limit = RecordSizeLimit::new(length.as_u16()).unwrap_or(RecordSizeLimit::MAX);
        Self {
            read: limit,
            read_in_clear: limit,
            write: limit,
        }
    }
}

/// What a client asks for, as far as the server answers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LimitOffer {
    #[default]
    None,
    RecordSizeLimit(RecordSizeLimit),
    MaxFragmentLength(MaxFragmentLength),
}

impl LimitOffer {
    /// Reads a ClientHello.
    pub(crate) fn of(hello: &ClientHello<'_>) -> Result<Self, AlertDescription> {
        // MUST (RFC 8449 §5): a max_fragment_length beside a record_size_limit is ignored.
        if let Some(data) = hello.extensions.find(ExtensionType::RECORD_SIZE_LIMIT) {
            let limit = RecordSizeLimit::decode_exact(data).map_err(refusal)?;
            return Ok(Self::RecordSizeLimit(limit));
        }
        match hello.extensions.find(ExtensionType::MAX_FRAGMENT_LENGTH) {
            Some(data) => {
                let length = MaxFragmentLength::decode_exact(data).map_err(refusal)?;
                Ok(Self::MaxFragmentLength(length))
            }
            None => Ok(Self::None),
        }
    }

    /// Returns what comes of it at a server with these settings.
    pub(crate) fn agree(self, settings: &Settings) -> RecordLimits {
        match self {
            Self::None => RecordLimits::default(),
            Self::RecordSizeLimit(write) => RecordLimits {
                read: settings.record_size_limit().unwrap_or(RecordSizeLimit::MAX),
                read_in_clear: RecordSizeLimit::MAX,
                write,
            },
            Self::MaxFragmentLength(length) => length.into(),
        }
    }

    /// Writes the server's answer, which a client that asks always gets.
    pub(crate) fn encode_answer(
        self,
        limits: &RecordLimits,
        out: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        match self {
            Self::None => Ok(()),
            Self::RecordSizeLimit(_) => encode_record_size_limit(limits.read, out),
            Self::MaxFragmentLength(length) => encode_max_fragment_length(length, out),
        }
    }
}

/// Writes what a client asks for.
pub(crate) fn encode_offer(settings: &Settings, out: &mut Writer<'_>) -> Result<(), EncodeError> {
    if let Some(length) = settings.max_fragment_length() {
        encode_max_fragment_length(length, out)?;
    }
    match settings.record_size_limit() {
        Some(limit) => encode_record_size_limit(limit, out),
        None => Ok(()),
    }
}

/// What a server has answered so far.
#[derive(Default)]
pub(crate) struct LimitAnswer(Option<RecordLimits>);

impl LimitAnswer {
    /// Takes in an extension of a ServerHello; `false` if it is none of those asked for.
    pub(crate) fn takes(
        &mut self,
        settings: &Settings,
        extension_type: ExtensionType,
        data: &[u8],
    ) -> Result<bool, AlertDescription> {
        let limits = match extension_type {
            ExtensionType::RECORD_SIZE_LIMIT => {
                let Some(read) = settings.record_size_limit() else {
                    return Ok(false);
                };
                RecordLimits {
                    read,
                    read_in_clear: RecordSizeLimit::MAX,
                    write: RecordSizeLimit::decode_exact(data).map_err(refusal)?,
                }
            }
            ExtensionType::MAX_FRAGMENT_LENGTH => {
                let Some(asked) = settings.max_fragment_length() else {
                    return Ok(false);
                };
                let length = MaxFragmentLength::decode_exact(data).map_err(refusal)?;
                // MUST (RFC 6066 §4): a server takes the length asked for, or none.
                if length != asked {
                    return Err(AlertDescription::ILLEGAL_PARAMETER);
                }
                length.into()
            }
            _ => return Ok(false),
        };
        // MUST (RFC 8449 §5): both in one ServerHello are an error.
        match self.0.replace(limits) {
            None => Ok(true),
            Some(_) => Err(AlertDescription::ILLEGAL_PARAMETER),
        }
    }

    /// Returns what has been agreed on.
    pub(crate) fn into_limits(self) -> RecordLimits {
        self.0.unwrap_or_default()
    }
}

fn encode_record_size_limit(
    limit: RecordSizeLimit,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.u16(ExtensionType::RECORD_SIZE_LIMIT.0)?;
    out.nested16(|out| limit.encode(out))
}

fn encode_max_fragment_length(
    length: MaxFragmentLength,
    out: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    out.u16(ExtensionType::MAX_FRAGMENT_LENGTH.0)?;
    out.nested16(|out| length.encode(out))
}

/// Returns the alert for an extension that doesn't decode.
const fn refusal(error: Error) -> AlertDescription {
    match error {
        // MUST (RFC 8449 §4): a limit below 64 is an illegal_parameter.
        // MUST (RFC 6066 §4): a length other than the four is one too.
        Error::RecordSizeLimitTooSmall { .. } | Error::UnknownMaxFragmentLength { .. } => {
            AlertDescription::ILLEGAL_PARAMETER
        }
        _ => AlertDescription::DECODE_ERROR,
    }
}
