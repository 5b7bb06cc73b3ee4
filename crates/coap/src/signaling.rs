//! Signaling messages of reliable transports, RFC 8323 §5.

use core::fmt;

use crate::message::{split_options, split_token};
use crate::{
    Code, EncodeError, FormatError, MessageOption, MessageWriter, OptionNumber, Options, Token,
};

/// A signaling message as it lies in the stream. Its option numbers are its code's own
/// (RFC 8323 §5.2): they mean nothing that [`OptionNumber`] has a name for.
#[derive(Clone, Copy)]
pub struct SignalingMessage<'a> {
    code: Code,
    token: Token,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> SignalingMessage<'a> {
    pub(crate) fn decode_framed(
        code: Code,
        token_len: u8,
        body: &'a [u8],
    ) -> Result<Self, FormatError> {
        let (token, body) = split_token(token_len, body)?;
        let (options, payload) = split_options(body)?;
        Ok(Self {
            code,
            token,
            options,
            payload,
        })
    }

    /// Returns the message's code, known or not.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns the message's token.
    pub const fn token(&self) -> Token {
        self.token
    }

    /// Iterates over the options as they stand in the message.
    pub const fn options(&self) -> Options<'a> {
        Options::new(self.options)
    }

    /// Returns the payload, empty if there is none: a diagnostic text unless an option says
    /// otherwise (RFC 8323 §5.1).
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Reads what the message says.
    ///
    /// Elective options that aren't understood are left out, and so are those of undefined length
    /// and repetitions of what may not be repeated (RFC 7252 §5.4.3, §5.4.5).
    ///
    /// # Errors
    ///
    /// [`SignalingError::UnrecognisedCriticalOption`], whatever the code;
    /// [`SignalingError::InvalidCsmOption`]; [`SignalingError::UnknownCode`].
    pub fn signal(&self) -> Result<Signal<'a>, SignalingError> {
        // MUST (RFC 8323 §5.2): a critical option that isn't understood aborts the connection. None
        // of those that are defined is critical.
        let critical = self.options().find(|option| option.number().is_critical());
        if let Some(option) = critical {
            return Err(SignalingError::UnrecognisedCriticalOption {
                code: self.code,
                number: option.number().0,
            });
        }
        Ok(match self.code {
            Code::CSM => Signal::Csm(self.csm()?),
            Code::PING => Signal::Ping {
                custody: self.has_custody(),
            },
            Code::PONG => Signal::Pong {
                custody: self.has_custody(),
            },
            Code::RELEASE => Signal::Release(Release {
                addresses: Addresses::Received(self.options()),
                hold_off: self
                    .first(HOLD_OFF)
                    .filter(|option| option.value().len() <= 3)
                    .and_then(|option| option.as_uint()),
                diagnostic: self.payload,
            }),
            Code::ABORT => Signal::Abort(Abort {
                bad_csm_option: self
                    .first(BAD_CSM_OPTION)
                    .filter(|option| option.value().len() <= 2)
                    .and_then(|option| option.as_uint())
                    .and_then(|number| u16::try_from(number).ok()),
                diagnostic: self.payload,
            }),
            code => return Err(SignalingError::UnknownCode { code }),
        })
    }

    fn csm(&self) -> Result<Csm, SignalingError> {
        let invalid = |option: MessageOption<'_>| SignalingError::InvalidCsmOption {
            number: option.number().0,
        };
        let max_message_size = match self.first(MAX_MESSAGE_SIZE) {
            Some(option) if option.value().len() > 4 => return Err(invalid(option)),
            option => option.and_then(|option| option.as_uint()),
        };
        let block_wise_transfer = match self.first(BLOCK_WISE_TRANSFER) {
            Some(option) if !option.value().is_empty() => return Err(invalid(option)),
            option => option.is_some(),
        };
        Ok(Csm {
            max_message_size,
            block_wise_transfer,
        })
    }

    fn has_custody(&self) -> bool {
        self.first(CUSTODY)
            .is_some_and(|option| option.value().is_empty())
    }

    fn first(&self, number: OptionNumber) -> Option<MessageOption<'a>> {
        self.options().find(|option| option.number() == number)
    }
}

/// Code, token, option numbers and the payload's length; no option's value and no payload.
impl fmt::Debug for SignalingMessage<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SignalingMessage")
            .field("code", &self.code)
            .field("token", &self.token)
            .field("options", &self.options().count())
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// What a signaling message says.
#[derive(Clone, Copy, Debug)]
pub enum Signal<'a> {
    /// What the sender can do, and how it is set (RFC 8323 §5.3).
    Csm(Csm),
    /// The sender wants a Pong with the same token (RFC 8323 §5.4).
    Ping {
        /// Whether the Pong is to wait until what came before is processed (RFC 8323 §5.4.1).
        custody: bool,
    },
    /// The answer to a Ping (RFC 8323 §5.4).
    Pong {
        /// Whether what came before the Ping is processed (RFC 8323 §5.4.1).
        custody: bool,
    },
    /// The sender wants the connection to end in order (RFC 8323 §5.5).
    Release(Release<'a>),
    /// The sender ends the connection at once (RFC 8323 §5.6).
    Abort(Abort<'a>),
}

impl Signal<'_> {
    /// Returns the code of the message that says this.
    pub const fn code(&self) -> Code {
        match self {
            Self::Csm(_) => Code::CSM,
            Self::Ping { .. } => Code::PING,
            Self::Pong { .. } => Code::PONG,
            Self::Release(_) => Code::RELEASE,
            Self::Abort(_) => Code::ABORT,
        }
    }

    /// Writes the message to the front of `out` and returns its length in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, token: Token, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = MessageWriter::new_framed(out, self.code(), token)?;
        match self {
            Self::Csm(csm) => {
                if let Some(size) = csm.max_message_size {
                    writer.option_uint(MAX_MESSAGE_SIZE, size)?;
                }
                if csm.block_wise_transfer {
                    writer.option(BLOCK_WISE_TRANSFER, &[])?;
                }
                Ok(writer.finish())
            }
            Self::Ping { custody } | Self::Pong { custody } => {
                if *custody {
                    writer.option(CUSTODY, &[])?;
                }
                Ok(writer.finish())
            }
            Self::Release(release) => {
                for address in release.alternative_addresses() {
                    writer.option(ALTERNATIVE_ADDRESS, address.as_bytes())?;
                }
                if let Some(seconds) = release.hold_off {
                    writer.option_uint(HOLD_OFF, seconds)?;
                }
                writer.payload(release.diagnostic)
            }
            Self::Abort(abort) => {
                if let Some(number) = abort.bad_csm_option {
                    writer.option_uint(BAD_CSM_OPTION, u32::from(number))?;
                }
                writer.payload(abort.diagnostic)
            }
        }
    }
}

/// The capabilities and settings of one CSM. What it doesn't name stays as it was before
/// (RFC 8323 §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Csm {
    /// The longest message that the sender can receive, in bytes (RFC 8323 §5.3.1).
    pub max_message_size: Option<u32>,
    /// The sender supports block-wise transfer, and BERT if its Max-Message-Size is over
    /// [`Self::BASE_MAX_MESSAGE_SIZE`] (RFC 8323 §5.3.2).
    pub block_wise_transfer: bool,
}

impl Csm {
    /// The Max-Message-Size before any CSM names one, in bytes (RFC 8323 §5.3.1).
    pub const BASE_MAX_MESSAGE_SIZE: u32 = 1_152;
}

/// The content of a Release message (RFC 8323 §5.5).
#[derive(Clone, Copy, Debug, Default)]
pub struct Release<'a> {
    addresses: Addresses<'a>,
    hold_off: Option<u32>,
    diagnostic: &'a [u8],
}

impl<'a> Release<'a> {
    /// The longest Hold-Off, in seconds.
    pub const MAX_HOLD_OFF: u32 = 0xff_ffff;

    /// Makes a Release that gives no reason.
    pub const fn new() -> Self {
        Self {
            addresses: Addresses::Given(&[]),
            hold_off: None,
            diagnostic: &[],
        }
    }

    /// Sets where the peer may connect instead, each in the form `host[:port]`. Those that are empty
    /// or longer than 255 bytes are left out.
    #[must_use]
    pub const fn with_alternative_addresses(mut self, addresses: &'a [&'a str]) -> Self {
        self.addresses = Addresses::Given(addresses);
        self
    }

    /// Sets how long the peer is asked not to connect again, in seconds, at most
    /// [`Self::MAX_HOLD_OFF`].
    #[must_use]
    pub const fn with_hold_off(mut self, seconds: u32) -> Self {
        self.hold_off = Some(if seconds < Self::MAX_HOLD_OFF {
            seconds
        } else {
            Self::MAX_HOLD_OFF
        });
        self
    }

    /// Sets a text for whoever looks into it.
    #[must_use]
    pub const fn with_diagnostic(mut self, diagnostic: &'a str) -> Self {
        self.diagnostic = diagnostic.as_bytes();
        self
    }

    /// Iterates over the addresses to connect to instead, of which the receiver chooses any. They
    /// are text of the peer's: not checked to be addresses, and no better secured than any other
    /// (RFC 8323 §10.1).
    pub fn alternative_addresses(&self) -> AlternativeAddresses<'a> {
        AlternativeAddresses(self.addresses)
    }

    /// Returns how long not to connect again, in seconds.
    pub const fn hold_off(&self) -> Option<u32> {
        self.hold_off
    }

    /// Returns the diagnostic payload, which should be UTF-8.
    pub const fn diagnostic(&self) -> &'a [u8] {
        self.diagnostic
    }
}

#[derive(Clone, Copy, Debug)]
enum Addresses<'a> {
    Given(&'a [&'a str]),
    Received(Options<'a>),
}

impl Default for Addresses<'_> {
    fn default() -> Self {
        Self::Given(&[])
    }
}

/// The addresses of a [`Release`].
#[derive(Clone, Debug)]
pub struct AlternativeAddresses<'a>(Addresses<'a>);

impl<'a> Iterator for AlternativeAddresses<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let address = match &mut self.0 {
                Addresses::Given(rest) => {
                    let (first, after) = rest.split_first()?;
                    *rest = after;
                    Some(*first)
                }
                Addresses::Received(options) => options
                    .find(|option| option.number() == ALTERNATIVE_ADDRESS)?
                    .as_str(),
            };
            if let Some(address) = address.filter(|address| (1..=255).contains(&address.len())) {
                return Some(address);
            }
        }
    }
}

/// The content of an Abort message (RFC 8323 §5.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abort<'a> {
    bad_csm_option: Option<u16>,
    diagnostic: &'a [u8],
}

impl<'a> Abort<'a> {
    /// Makes an Abort with a text for whoever looks into it.
    pub const fn new(diagnostic: &'a str) -> Self {
        Self {
            bad_csm_option: None,
            diagnostic: diagnostic.as_bytes(),
        }
    }

    /// Names the CSM option that couldn't be processed.
    #[must_use]
    pub const fn with_bad_csm_option(mut self, number: u16) -> Self {
        self.bad_csm_option = Some(number);
        self
    }

    /// Returns the number of the CSM option that the sender couldn't process.
    pub const fn bad_csm_option(&self) -> Option<u16> {
        self.bad_csm_option
    }

    /// Returns the diagnostic payload, which should be UTF-8.
    pub const fn diagnostic(&self) -> &'a [u8] {
        self.diagnostic
    }
}

/// Why a signaling message can't be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalingError {
    /// A critical option that isn't understood: the connection is to be aborted (RFC 8323 §5.2).
    #[error("critical option {number} of a {code} message not understood")]
    UnrecognisedCriticalOption {
        /// The message's code.
        code: Code,
        /// The option's number.
        number: u16,
    },
    /// A CSM option with a length that it isn't defined for: the connection is to be aborted with
    /// Bad-CSM-Option (RFC 8323 §5.6).
    #[error("value of the CSM option {number} is invalid")]
    InvalidCsmOption {
        /// The option's number.
        number: u16,
    },
    /// A code that isn't assigned. Nothing critical is in it, so it can be ignored.
    #[error("unknown signaling code {code}")]
    UnknownCode {
        /// The code.
        code: Code,
    },
}

impl SignalingError {
    /// Returns the number for Bad-CSM-Option if it was a CSM that can't be acted on.
    pub fn bad_csm_option(self) -> Option<u16> {
        match self {
            Self::UnrecognisedCriticalOption { code, number } => {
                (code == Code::CSM).then_some(number)
            }
            Self::InvalidCsmOption { number } => Some(number),
            Self::UnknownCode { .. } => None,
        }
    }
}

/// RFC 8323 §5.3.1.
const MAX_MESSAGE_SIZE: OptionNumber = OptionNumber(2);
/// RFC 8323 §5.3.2.
const BLOCK_WISE_TRANSFER: OptionNumber = OptionNumber(4);
/// RFC 8323 §5.4.1.
const CUSTODY: OptionNumber = OptionNumber(2);
/// RFC 8323 §5.5.
const ALTERNATIVE_ADDRESS: OptionNumber = OptionNumber(2);
/// RFC 8323 §5.5.
const HOLD_OFF: OptionNumber = OptionNumber(4);
/// RFC 8323 §5.6.
const BAD_CSM_OPTION: OptionNumber = OptionNumber(2);
