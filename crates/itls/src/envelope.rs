//! A session between the two ends: what seals and opens inner messages.

use core::fmt;

use hedgerow_core::{
    Aead, ChannelError, CryptoError, CryptoProvider, DropReason, Event, Misuse, Peer, PeerFault,
    Received,
};

use crate::inner_message::{Kind, MAX_PLAINTEXT_LEN, Opener, Role, Sealer, SessionId};
use crate::key_schedule::SessionSecrets;
use crate::outer_binding::OuterBinding;
use crate::resumption::Resumption;
use crate::suite::{REKEY_MESSAGES, Suite};

/// The inner layer of one session: seals for the far end, and opens what it sealed.
///
/// It belongs to one outer session of this end, and opens nothing that came over another one.
pub struct Envelope<A> {
    sealer: Sealer<A>,
    opener: Opener<A>,
    binding: OuterBinding,
    resumption: Resumption,
    is_open: bool,
}

/// What an [`Envelope`] is made of, beside keys.
pub(crate) struct Terms {
    pub(crate) suite: Suite,
    pub(crate) role: Role,
    pub(crate) binding: OuterBinding,
    pub(crate) peer: Peer,
    pub(crate) has_forward_secrecy: bool,
}

impl<A: Aead> Envelope<A> {
    pub(crate) fn new<P: CryptoProvider<Aead = A>>(
        provider: &P,
        secrets: SessionSecrets,
        terms: &Terms,
    ) -> Result<Self, CryptoError> {
        let &Terms { suite, role, .. } = terms;
        let sealer = secrets.sealer(provider, suite, role)?;
        let opener = secrets.opener(provider, suite, role.other())?;
        let (own, peers) = match role {
            Role::Initiator => (secrets.initiator_resumption, secrets.responder_resumption),
            Role::Responder => (secrets.responder_resumption, secrets.initiator_resumption),
        };
        Ok(Self {
            sealer,
            opener,
            binding: terms.binding,
            resumption: Resumption {
                id: secrets.id,
                own,
                peers,
                peer: terms.peer,
                has_forward_secrecy: terms.has_forward_secrecy,
            },
            is_open: true,
        })
    }

    /// Seals `plaintext`, of at most [`MAX_PLAINTEXT_LEN`](crate::MAX_PLAINTEXT_LEN) bytes, as one
    /// inner message at the front of `out`, and returns its length.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`] after either end closed, [`Misuse::BufferTooSmall`],
    /// [`Limit::PlaintextTooLong`](hedgerow_core::Limit::PlaintextTooLong) and
    /// [`Limit::KeyUsedUp`](hedgerow_core::Limit::KeyUsedUp). Nothing is sealed then.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, ChannelError> {
        self.seal_kind(Kind::Data, plaintext, out)
    }

    /// Seals a message without content: an initiator that has nothing to say confirms the keys with
    /// it, since the responder sends nothing before.
    ///
    /// # Errors
    ///
    /// As for [`Self::seal`].
    pub fn seal_confirmation(&mut self, out: &mut [u8]) -> Result<usize, ChannelError> {
        self.seal_kind(Kind::Confirmation, &[], out)
    }

    /// Ends the session: seals a close_notify, after which nothing is sealed or opened.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`] if it has ended, [`Misuse::BufferTooSmall`] if `out` can't hold it; it is then as it was.
    pub fn close(&mut self, out: &mut [u8]) -> Result<usize, ChannelError> {
        self.close_with_alert(CLOSE_NOTIFY, out)
    }

    /// Ends the session with an alert of TLS's (RFC 5246 §7.2.2), which isn't an orderly close unless it
    /// is 0.
    ///
    /// # Errors
    ///
    /// As for [`Self::close`].
    pub fn close_with_alert(
        &mut self,
        description: u8,
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let len = self.seal_kind(Kind::Alert, &[description], out)?;
        self.is_open = false;
        Ok(len)
    }

    /// Opens in place one inner message that came over the outer session `over`.
    ///
    /// The event is `None` for a confirmation. `rest` is always empty.
    ///
    /// # Errors
    ///
    /// [`PeerFault::AlertReceived`] for an alert of the far end, and
    /// [`PeerFault::TooManyForgeries`] at the key's limit: the session has then ended.
    pub fn open<'d>(
        &mut self,
        over: &OuterBinding,
        message: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError> {
        if !self.is_open {
            return Ok(dropped(DropReason::AfterClose));
        }
        if !self.binding.is_same(over) {
            return Ok(dropped(DropReason::BindingMismatch));
        }
        let opened = match self.opener.open(message) {
            Ok(opened) => opened,
            Err(reason) => {
                if self.opener.forgeries() >= self.suite().max_forgeries() {
                    self.is_open = false;
                    return Err(PeerFault::TooManyForgeries.into());
                }
                return Ok(dropped(reason));
            }
        };
        let event = match opened.kind {
            Kind::Data => Some(Event::Plaintext(opened.plaintext)),
            Kind::Confirmation => None,
            Kind::Alert => {
                self.is_open = false;
                match *opened.plaintext {
                    [CLOSE_NOTIFY] => Some(Event::Closed),
                    ref other => {
                        let description = other.first().copied().unwrap_or(DECODE_ERROR);
                        let authenticated = true;
                        let fault = PeerFault::AlertReceived {
                            description,
                            authenticated,
                        };
                        return Err(fault.into());
                    }
                }
            }
        };
        Ok(Received {
            event,
            newest: opened.newest,
            rest: &mut [],
        })
    }

    /// Returns by how many bytes the next message will be longer than its plaintext.
    pub fn overhead(&self) -> usize {
        self.sealer.overhead()
    }

    /// Returns the longest plaintext, in bytes, of which the message fits `len` bytes.
    pub fn max_plaintext_len(&self, len: usize) -> usize {
        len.saturating_sub(self.overhead()).min(MAX_PLAINTEXT_LEN)
    }

    /// Says whether a handshake should make new keys (RFC 9147 §4.5.3).
    pub fn wants_new_keys(&self) -> bool {
        self.is_open
            && (self.sealer.sealed() >= REKEY_MESSAGES
                || self.opener.forgeries() >= self.suite().rekey_forgeries())
    }

    /// Returns how many messages didn't verify.
    pub const fn forgeries(&self) -> u64 {
        self.opener.forgeries()
    }

    /// Says whether neither end has closed.
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns the suite.
    pub const fn suite(&self) -> Suite {
        self.opener.suite()
    }

    /// Returns who the far end is.
    pub const fn peer(&self) -> Peer {
        self.resumption.peer
    }

    /// Returns the session's ID.
    pub const fn session_id(&self) -> SessionId {
        self.resumption.id
    }

    /// Says whether a key that becomes known later leaves recordings shut.
    pub const fn has_forward_secrecy(&self) -> bool {
        self.resumption.has_forward_secrecy
    }

    /// Lends what the next session over another outer session is begun with.
    pub const fn resumption(&self) -> &Resumption {
        &self.resumption
    }

    /// Drops the keys and keeps what the next session is begun with.
    pub fn into_resumption(self) -> Resumption {
        self.resumption
    }

    fn seal_kind(
        &mut self,
        kind: Kind,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        if !self.is_open {
            return Err(Misuse::Closed.into());
        }
        self.sealer.seal(kind, plaintext, out)
    }
}

/// Nothing of its keys.
impl<A> fmt::Debug for Envelope<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("resumption", &self.resumption)
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}

const fn dropped<'d>(reason: DropReason) -> Received<'d> {
    Received::dropped(reason, &mut [])
}

const CLOSE_NOTIFY: u8 = 0;
/// An alert without exactly one octet (RFC 5246 §7.2.2).
const DECODE_ERROR: u8 = 50;
