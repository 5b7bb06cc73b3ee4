//! The end that begins an inner session.
//!
//! ```text
//! initiator                       responder
//! initiator hello ------------------------>   again after 2, 4, 8, 16 s: the caller's timer
//!         <------------------------ responder hello
//! first message -------------------------->   confirms the keys
//! ```

use core::fmt;

use hedgerow_core::{
    AgreementKey, Credentials, CryptoError, CryptoProvider, DropReason, Env, KeyPurpose, Misuse,
    Peer, SHA256_LEN, Secret, Writer, ct_eq,
};

use crate::envelope::{Envelope, Terms};
use crate::hello::{
    IdentityKind, InitiatorHello, MAX_INITIATOR_HELLO_LEN, RANDOM_LEN, ResponderHello, Share,
    ShareField, first_common,
};
use crate::inner_message::Role;
use crate::key_schedule::{EarlySecret, hash};
use crate::outer_binding::OuterBinding;
use crate::resumption::Resumption;
use crate::settings::Settings;

/// How many messages that fail end an [`Initiator`] or a [`HalfOpen`](crate::HalfOpen).
pub const MAX_HANDSHAKE_FAILURES: u8 = 8;

/// What an initiator begins a session with.
#[derive(Clone, Copy, Debug)]
pub enum InitiatorKey<'a> {
    /// A key for two ends, under which this end is the initiator for good.
    EndToEnd(Credentials<'a>),
    /// An earlier session.
    Session(&'a Resumption),
}

/// An inner handshake that waits for the responder's hello.
///
/// It has no clock: its caller sends [`Self::hello`] again when due, and gives up.
pub struct Initiator<P: CryptoProvider> {
    provider: P,
    settings: Settings,
    early: EarlySecret,
    agreement: Option<P::AgreementKey>,
    binding: OuterBinding,
    peer: Peer,
    has_forward_secrecy: bool,
    failures: u8,
    hello: [u8; MAX_INITIATOR_HELLO_LEN],
    hello_len: usize,
}

/// What a message made of an [`Initiator`].
#[derive(Debug)]
pub enum InitiatorStep<P: CryptoProvider> {
    /// The responder has proved itself. The first message confirms the keys to it.
    Established(Envelope<P::Aead>),
    /// Nothing changed but a count.
    Waiting(Initiator<P>, DropReason),
    /// That was one failure too many.
    GivenUp(DropReason),
}

impl<P: CryptoProvider> Initiator<P> {
    /// Begins a session over the outer session that `binding` names.
    ///
    /// # Errors
    ///
    /// [`Misuse::KeyPurpose`] for a key that isn't one for two ends,
    /// [`Misuse::PskIdentityLength`], and [`Misuse::NotOffered`] if the provider lacks group or
    /// cipher, or if forward secrecy is required and the session to resume has none.
    pub fn new(
        provider: P,
        settings: Settings,
        key: InitiatorKey<'_>,
        binding: OuterBinding,
        env: &mut Env<'_>,
    ) -> Result<Self, Misuse> {
        let (identity_kind, identity, secret, peer): (_, &[u8], &[u8], _) = match key {
            InitiatorKey::EndToEnd(credentials) => {
                let psk = credentials.psk;
                let (given, wanted) = (psk.purpose(), KeyPurpose::EndToEnd);
                if given != wanted {
                    return Err(Misuse::KeyPurpose { given, wanted });
                }
                let peer = Peer::of_psk(psk, credentials.peer);
                (
                    IdentityKind::Key,
                    credentials.psk_identity,
                    psk.expose(),
                    peer,
                )
            }
            InitiatorKey::Session(session) => {
                if settings.requires_forward_secrecy() && !session.has_forward_secrecy {
                    return Err(Misuse::NotOffered);
                }
                let secret = session.own.expose();
                (IdentityKind::Session, &session.id.0, secret, session.peer)
            }
        };
        // A session resumed has the forward secrecy that it had, without another agreement.
        let group = match key {
            InitiatorKey::EndToEnd(_) => settings.group,
            InitiatorKey::Session(_) => None,
        };
        let agreement = group
            .map(|group| provider.generate_agreement_key(group, env.rng))
            .transpose()
            .map_err(|_| Misuse::NotOffered)?;
        let has_forward_secrecy = match key {
            InitiatorKey::EndToEnd(_) => agreement.is_some(),
            InitiatorKey::Session(session) => session.has_forward_secrecy,
        };
        let share = match &agreement {
            None => ShareField::None,
            Some(key) => ShareField::Share(Share::of(key).ok_or(Misuse::NotOffered)?),
        };
        let mut random = [0; RANDOM_LEN];
        env.rng.fill_bytes(&mut random);
        let suites = settings.suites.map(crate::Suite::code_point);
        let hello = InitiatorHello {
            end: settings.end,
            identity_kind,
            random: &random,
            binding,
            suites: suites.get(..settings.suite_count).unwrap_or_default(),
            share,
            identity,
        };
        let early = EarlySecret::new(&provider, secret);
        let mut bytes = [0; MAX_INITIATOR_HELLO_LEN];
        let mut out = Writer::new(&mut bytes);
        let too_long = Misuse::PskIdentityLength {
            len: identity.len(),
            max: hedgerow_core::MAX_PSK_IDENTITY_LEN,
        };
        if identity.len() > hedgerow_core::MAX_PSK_IDENTITY_LEN {
            return Err(too_long);
        }
        hello.encode(&mut out).map_err(|_| too_long)?;
        let mac = early
            .binder(&provider, identity_kind, &hash(&provider, &[out.written()]))
            .map_err(|_| Misuse::NotOffered)?;
        out.bytes(&mac).map_err(|_| too_long)?;
        let hello_len = out.len();
        Ok(Self {
            provider,
            settings,
            early,
            agreement,
            binding,
            peer,
            has_forward_secrecy,
            failures: 0,
            hello: bytes,
            hello_len,
        })
    }

    /// Lends the hello, to be sent over the outer session that it was made for, and again as long as
    /// no answer comes.
    pub fn hello(&self) -> &[u8] {
        self.hello.get(..self.hello_len).unwrap_or_default()
    }

    /// Takes a message that came over the outer session `over`.
    pub fn handle_message(mut self, over: &OuterBinding, message: &[u8]) -> InitiatorStep<P> {
        let reason = match self.establish(over, message) {
            Ok(envelope) => return InitiatorStep::Established(envelope),
            Err(reason) => reason,
        };
        // Only what costs a key agreement counts, so that what is merely out of place doesn't end it.
        if reason == DropReason::AuthenticationFailed {
            self.failures = self.failures.saturating_add(1);
        }
        match self.failures {
            0..MAX_HANDSHAKE_FAILURES => InitiatorStep::Waiting(self, reason),
            _ => InitiatorStep::GivenUp(reason),
        }
    }

    fn establish(
        &self,
        over: &OuterBinding,
        message: &[u8],
    ) -> Result<Envelope<P::Aead>, DropReason> {
        let provider = &self.provider;
        if !self.binding.is_same(over) {
            return Err(DropReason::BindingMismatch);
        }
        let decoded = ResponderHello::decode(message)?;
        let hello = decoded.hello;
        if hello.end == self.settings.end {
            return Err(DropReason::Reflected);
        }
        let suite = first_common(self.settings.suites(), &[hello.suite])
            .ok_or(DropReason::NotAcceptable)?;
        let shared = self.agree(&hello.share)?;
        let not_offered = |_: CryptoError| DropReason::NotAcceptable;
        let handshake = self
            .early
            .handshake(provider, shared.as_ref())
            .map_err(not_offered)?;
        let transcript = hash(provider, &[self.hello(), decoded.covered]);
        let mac = handshake
            .responder_mac(provider, &transcript)
            .map_err(not_offered)?;
        if !ct_eq(&mac, decoded.mac) {
            return Err(DropReason::AuthenticationFailed);
        }
        let transcript = hash(provider, &[self.hello(), message]);
        let secrets = handshake
            .session(provider, &transcript)
            .map_err(not_offered)?;
        secrets.log(provider, self.hello()).map_err(not_offered)?;
        let terms = Terms {
            suite,
            role: Role::Initiator,
            binding: self.binding,
            peer: self.peer,
            has_forward_secrecy: self.has_forward_secrecy,
        };
        Envelope::new(provider, secrets, &terms).map_err(not_offered)
    }

    fn agree(&self, share: &ShareField) -> Result<Option<Secret<SHA256_LEN>>, DropReason> {
        match (&self.agreement, share) {
            (None, ShareField::None) => Ok(None),
            (Some(key), ShareField::Share(share)) if key.group() == share.group => key
                .agree(share.as_bytes())
                .map(Some)
                .map_err(|_| DropReason::AuthenticationFailed),
            _ => Err(DropReason::NotAcceptable),
        }
    }
}

impl<P: CryptoProvider> fmt::Debug for Initiator<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator")
            .field("settings", &self.settings)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
