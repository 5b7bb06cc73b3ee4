//! The two hellos of the inner handshake.

use hedgerow_core::{
    AgreementKey, DropReason, EncodeError, MAX_PSK_IDENTITY_LEN, MAX_PUBLIC_KEY_LEN, NamedGroup,
    Reader, Writer,
};

use crate::inner_message::SessionId;
use crate::outer_binding::{OUTER_BINDING_LEN, OuterBinding};
use crate::suite::Suite;

/// The longest initiator hello, in bytes.
pub const MAX_INITIATOR_HELLO_LEN: usize =
    FIXED_LEN + 1 + MAX_SUITES + 3 + MAX_PUBLIC_KEY_LEN + 1 + MAX_PSK_IDENTITY_LEN + HELLO_MAC_LEN;

/// The longest responder hello, in bytes.
pub const MAX_RESPONDER_HELLO_LEN: usize = FIXED_LEN + 3 + MAX_PUBLIC_KEY_LEN + HELLO_MAC_LEN;

pub(crate) const HELLO_MAC_LEN: usize = 16;
pub(crate) const RANDOM_LEN: usize = 32;

/// type(1) version(1) end(1) and one more octet, random(32), outer binding(32)
const FIXED_LEN: usize = 4 + RANDOM_LEN + OUTER_BINDING_LEN;
const MAX_SUITES: usize = 8;

/// Which end of the path a party is, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The end on the Internet's side of the gateway.
    Internet,
    /// The device.
    Device,
}

impl End {
    const fn code(self) -> u8 {
        match self {
            Self::Internet => 0x01,
            Self::Device => 0x02,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            0x01 => Some(Self::Internet),
            0x02 => Some(Self::Device),
            _ => None,
        }
    }
}

/// What the identity in an initiator hello names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityKind {
    Key,
    Session,
}

/// An ephemeral public key of its group's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) group: NamedGroup,
    bytes: [u8; MAX_PUBLIC_KEY_LEN],
}

impl Share {
    pub(crate) fn of(key: &impl AgreementKey) -> Option<Self> {
        let mut bytes = [0; MAX_PUBLIC_KEY_LEN];
        let len = key.write_public_key(&mut bytes).ok()?;
        let group = key.group();
        (len == group.public_key_len()).then_some(Self { group, bytes })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        let len = self.group.public_key_len();
        self.bytes.get(..len).unwrap_or_default()
    }
}

/// What a share field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareField {
    /// No forward secrecy.
    None,
    Share(Share),
    /// A group that this code doesn't know.
    UnknownGroup,
}

impl ShareField {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let code_point = reader.u16().ok()?;
        let public_key = reader.vector8().ok()?;
        if code_point == NO_GROUP {
            return public_key.is_empty().then_some(Self::None);
        }
        let Some(group) = NamedGroup::from_code_point(code_point) else {
            return Some(Self::UnknownGroup);
        };
        if public_key.len() != group.public_key_len() {
            return None;
        }
        let mut bytes = [0; MAX_PUBLIC_KEY_LEN];
        bytes
            .get_mut(..public_key.len())?
            .copy_from_slice(public_key);
        Some(Self::Share(Share { group, bytes }))
    }

    fn write(share: Option<&Share>, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        match share {
            None => {
                out.u16(NO_GROUP)?;
                out.vector8(&[])
            }
            Some(share) => {
                out.u16(share.group.code_point())?;
                out.vector8(share.as_bytes())
            }
        }
    }
}

/// An initiator hello, whose MAC has not been looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitiatorHello<'a> {
    pub(crate) end: End,
    pub(crate) identity_kind: IdentityKind,
    pub(crate) random: &'a [u8; RANDOM_LEN],
    pub(crate) binding: OuterBinding,
    /// Numbers, some of which may be unknown.
    pub(crate) suites: &'a [u8],
    pub(crate) share: ShareField,
    pub(crate) identity: &'a [u8],
}

impl<'a> InitiatorHello<'a> {
    /// Takes a hello apart into its fields, the bytes that its MAC covers, and the MAC.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Decoded<'a, Self>, DropReason> {
        let (covered, mac) = split_mac(bytes)?;
        let mut reader = begin(covered, INITIATOR_HELLO)?;
        let read = (|| {
            let end = End::of(reader.u8().ok()?)?;
            let identity_kind = match reader.u8().ok()? {
                0x01 => IdentityKind::Key,
                0x02 => IdentityKind::Session,
                _ => return None,
            };
            let random = reader.array().ok()?;
            let binding = OuterBinding::new(*reader.array().ok()?);
            let suites = reader.vector8().ok()?;
            let share = ShareField::read(&mut reader)?;
            let identity = reader.vector8().ok()?;
            reader.finish().ok()?;
            let fits = !suites.is_empty()
                && suites.len() <= MAX_SUITES
                && identity.len() <= MAX_PSK_IDENTITY_LEN;
            fits.then_some(Self {
                end,
                identity_kind,
                random,
                binding,
                suites,
                share,
                identity,
            })
        })();
        let hello = read.ok_or(DropReason::Malformed)?;
        Ok(Decoded {
            hello,
            covered,
            mac,
        })
    }

    /// Writes what the MAC covers.
    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let identity_kind = match self.identity_kind {
            IdentityKind::Key => 0x01,
            IdentityKind::Session => 0x02,
        };
        let share = match &self.share {
            ShareField::Share(share) => Some(share),
            ShareField::None | ShareField::UnknownGroup => None,
        };
        out.bytes(&[INITIATOR_HELLO, VERSION, self.end.code(), identity_kind])?;
        out.bytes(self.random)?;
        out.bytes(self.binding.as_bytes())?;
        out.vector8(self.suites)?;
        ShareField::write(share, out)?;
        out.vector8(self.identity)
    }
}

/// A responder hello, whose MAC has not been looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponderHello<'a> {
    pub(crate) end: End,
    /// A number, which may be unknown.
    pub(crate) suite: u8,
    pub(crate) random: &'a [u8; RANDOM_LEN],
    pub(crate) binding: OuterBinding,
    pub(crate) share: ShareField,
}

impl<'a> ResponderHello<'a> {
    /// As [`InitiatorHello::decode`].
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Decoded<'a, Self>, DropReason> {
        let (covered, mac) = split_mac(bytes)?;
        let mut reader = begin(covered, RESPONDER_HELLO)?;
        let read = (|| {
            let end = End::of(reader.u8().ok()?)?;
            let suite = reader.u8().ok()?;
            let random = reader.array().ok()?;
            let binding = OuterBinding::new(*reader.array().ok()?);
            let share = ShareField::read(&mut reader)?;
            reader.finish().ok()?;
            Some(Self {
                end,
                suite,
                random,
                binding,
                share,
            })
        })();
        let hello = read.ok_or(DropReason::Malformed)?;
        Ok(Decoded {
            hello,
            covered,
            mac,
        })
    }

    /// Writes what the MAC covers.
    pub(crate) fn encode(&self, out: &mut Writer<'_>) -> Result<(), EncodeError> {
        let share = match &self.share {
            ShareField::Share(share) => Some(share),
            ShareField::None | ShareField::UnknownGroup => None,
        };
        out.bytes(&[RESPONDER_HELLO, VERSION, self.end.code(), self.suite])?;
        out.bytes(self.random)?;
        out.bytes(self.binding.as_bytes())?;
        ShareField::write(share, out)
    }
}

/// A hello taken apart.
pub(crate) struct Decoded<'a, H> {
    pub(crate) hello: H,
    pub(crate) covered: &'a [u8],
    pub(crate) mac: &'a [u8],
}

/// Returns the first of `ours` whose number stands among `theirs`.
pub(crate) fn first_common(ours: &[Suite], theirs: &[u8]) -> Option<Suite> {
    ours.iter()
        .copied()
        .find(|suite| theirs.contains(&suite.code_point()))
}

/// Says whether an inner message is a hello of an initiator, so that it may begin a session.
#[must_use]
pub fn is_initiator_hello(message: &[u8]) -> bool {
    message.first() == Some(&INITIATOR_HELLO)
}

/// Returns the session that an initiator's hello wants to resume. Nothing of it has been verified.
pub fn resumed_session(message: &[u8]) -> Option<SessionId> {
    let hello = InitiatorHello::decode(message).ok()?.hello;
    match hello.identity_kind {
        IdentityKind::Session => hello.identity.try_into().ok().map(SessionId),
        IdentityKind::Key => None,
    }
}

/// Returns the random bytes of an initiator's hello, which begin behind type, version, end and kind of identity.
pub(crate) fn initiator_random(hello: &[u8]) -> Option<&[u8; RANDOM_LEN]> {
    hello.get(4..)?.first_chunk()
}

/// Says whether an inner message is a hello of a responder.
#[must_use]
pub fn is_responder_hello(message: &[u8]) -> bool {
    message.first() == Some(&RESPONDER_HELLO)
}

fn split_mac(bytes: &[u8]) -> Result<(&[u8], &[u8]), DropReason> {
    let covered_len = bytes.len().checked_sub(HELLO_MAC_LEN);
    covered_len
        .and_then(|len| bytes.split_at_checked(len))
        .ok_or(DropReason::Malformed)
}

/// Checks type and version.
fn begin(covered: &[u8], hello: u8) -> Result<Reader<'_>, DropReason> {
    let mut reader = Reader::new(covered);
    match reader.array() {
        Ok(&[first, _]) if first != hello => Err(DropReason::UnexpectedMessage),
        Ok(&[_, VERSION]) => Ok(reader),
        Ok(_) => Err(DropReason::UnsupportedVersion),
        Err(_) => Err(DropReason::Malformed),
    }
}

const INITIATOR_HELLO: u8 = 0x01;
const RESPONDER_HELLO: u8 = 0x02;
const VERSION: u8 = 0x01;
const NO_GROUP: u16 = 0x0000;
