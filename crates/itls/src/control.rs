//! What an end and the gateway tell each other about a flow. Nothing between the ends rests on it.

use core::fmt;

use hedgerow_core::{DropReason, EncodeError, Reader, Writer, ct_eq};

/// The longest name in an [`Open`], in bytes.
pub const MAX_FLOW_NAME_LEN: usize = 63;

/// The longest [`User::shown`], in bytes.
pub const MAX_USER_LEN: usize = 1_024;

/// A message between an end and the gateway, behind a
/// [`RoutingHeader`](crate::RoutingHeader) with `is_control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Opens the flow.
    Open(Open<'a>),
    /// Ends the flow: for what is inside a truncation, never an orderly close.
    Close(CloseReason),
    /// A message of this many bytes didn't fit the other hop.
    TooLong(u16),
    /// Who an Internet end is to the gateway: the first message of a stream, of flow 0.
    User(User<'a>),
}

/// What an Internet end begins its stream with.
#[derive(Clone, Copy)]
pub struct User<'a> {
    /// Whether it takes flows that devices open.
    pub takes_flows: bool,
    /// The value of an Authorization field of HTTP (RFC 7617, RFC 6750), at most [`MAX_USER_LEN`] bytes. It
    /// is a secret, and protects the devices' network alone.
    pub shown: &'a [u8],
}

/// What is shown is compared in constant time.
impl PartialEq for User<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.takes_flows == other.takes_flows && ct_eq(self.shown, other.shown)
    }
}

impl Eq for User<'_> {}

/// Nothing of what is shown.
impl fmt::Debug for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("takes_flows", &self.takes_flows)
            .finish_non_exhaustive()
    }
}

/// The opening of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// Whether the [light outer layer](crate::LightLayer) is asked for on this hop.
    pub wants_light_layer: bool,
    /// From an end whom it wants, by the gateway's name for it; from the gateway who asks, or
    /// nobody. At most [`MAX_FLOW_NAME_LEN`] bytes. It proves nothing.
    pub name: &'a [u8],
    /// The flow's first inner message, which may be empty.
    pub message: &'a [u8],
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Nobody needs it any more.
    Done,
    /// There is no such flow.
    UnknownFlow,
    /// The name isn't known, or isn't allowed: the gateway doesn't say which.
    Refused,
    /// A limit of the gateway.
    Busy,
    /// The other side's outer session ended, or can't be had. So count reasons that aren't known.
    Gone,
}

impl<'a> Control<'a> {
    /// Decodes what follows the routing header.
    ///
    /// # Errors
    ///
    /// [`DropReason::Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DropReason> {
        Self::read(bytes).ok_or(DropReason::Malformed)
    }

    /// Writes what follows the routing header.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] for a name above [`MAX_FLOW_NAME_LEN`] and for more than
    /// [`MAX_USER_LEN`], and [`EncodeError::BufferTooSmall`].
    pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Self::Open(open) => {
                if open.name.len() > MAX_FLOW_NAME_LEN {
                    return Err(EncodeError::TooLong {
                        len: open.name.len(),
                        max: MAX_FLOW_NAME_LEN,
                    });
                }
                out.bytes(&[OPEN, u8::from(open.wants_light_layer)])?;
                out.vector8(open.name)?;
                out.bytes(open.message)
            }
            Self::Close(reason) => out.bytes(&[CLOSE, reason.code()]),
            Self::TooLong(len) => {
                out.u8(TOO_LONG)?;
                out.u16(*len)
            }
            Self::User(user) => {
                let (len, max) = (user.shown.len(), MAX_USER_LEN);
                if len > max {
                    return Err(EncodeError::TooLong { len, max });
                }
                out.bytes(&[USER, u8::from(user.takes_flows)])?;
                out.bytes(user.shown)
            }
        }
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let control = match reader.u8().ok()? {
            OPEN => {
                let options = reader.u8().ok()?;
                let name = reader.vector8().ok()?;
                let message = reader.rest();
                reader = Reader::new(&[]);
                (name.len() <= MAX_FLOW_NAME_LEN).then_some(Self::Open(Open {
                    wants_light_layer: options & LIGHT != 0,
                    name,
                    message,
                }))?
            }
            CLOSE => Self::Close(CloseReason::of(reader.u8().ok()?)),
            TOO_LONG => Self::TooLong(reader.u16().ok()?),
            USER => {
                let options = reader.u8().ok()?;
                let shown = reader.rest();
                reader = Reader::new(&[]);
                (shown.len() <= MAX_USER_LEN).then_some(Self::User(User {
                    takes_flows: options & TAKES_FLOWS != 0,
                    shown,
                }))?
            }
            _ => return None,
        };
        reader.finish().ok()?;
        Some(control)
    }
}

impl CloseReason {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::UnknownFlow => 1,
            Self::Refused => 2,
            Self::Busy => 3,
            Self::Gone => 4,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::UnknownFlow,
            2 => Self::Refused,
            3 => Self::Busy,
            _ => Self::Gone,
        }
    }
}

const OPEN: u8 = 0x01;
const CLOSE: u8 = 0x02;
const TOO_LONG: u8 = 0x03;
const USER: u8 = 0x04;
const LIGHT: u8 = 0x01;
const TAKES_FLOWS: u8 = 0x01;
