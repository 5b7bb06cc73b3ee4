//! The end that answers, and what it keeps until the initiator has confirmed.

use core::fmt;

use hedgerow_core::{
    AgreementKey, ChannelError, CryptoError, CryptoProvider, DropReason, Env, Event, KeyPurpose,
    MAX_PSK_LEN, Peer, PskRequest, PskStore, Received, SHA256_LEN, Secret, Writer, ct_eq,
};

use crate::envelope::{Envelope, Terms};
use crate::hello::{
    IdentityKind, InitiatorHello, MAX_RESPONDER_HELLO_LEN, RANDOM_LEN, ResponderHello, Share,
    ShareField, first_common,
};
use crate::initiator::MAX_HANDSHAKE_FAILURES;
use crate::inner_message::Role;
use crate::key_schedule::{EarlySecret, Hash, hash};
use crate::outer_binding::OuterBinding;
use crate::resumption::Resumption;
use crate::settings::Settings;

/// Answers initiator hellos, and keeps nothing of them itself.
#[derive(Clone, Copy, Debug)]
pub struct Responder<P> {
    provider: P,
    settings: Settings,
}

/// A key that a hello named, and what is known of it.
struct Found<'a> {
    secret: &'a [u8],
    peer: Peer,
    /// Of the session that is resumed; a key has none by itself.
    has_forward_secrecy: bool,
}

impl<P: CryptoProvider> Responder<P> {
    /// Makes a responder.
    pub const fn new(provider: P, settings: Settings) -> Self {
        Self { provider, settings }
    }

    /// Answers a hello that came over the outer session which `binding` names.
    ///
    /// `store` has the keys under which this end is the responder for good, and `sessions` what may be
    /// resumed. The answer stands in [`HalfOpen::answer`]; how many half-open sessions there may be, and
    /// for how long (62 s), is the caller's to hold.
    ///
    /// # Errors
    ///
    /// [`DropReason::AuthenticationFailed`] for an unknown identity, a wrong key and a forbidden one
    /// alike; [`DropReason::NotAcceptable`] without a common suite or group, or where forward
    /// secrecy is wanted and not offered; [`DropReason::Reflected`] for a hello of this side of the
    /// gateway; and what doesn't decode. Nothing is to be sent then.
    pub fn handle_hello<S: PskStore>(
        &self,
        env: &mut Env<'_>,
        store: &S,
        sessions: &[&Resumption],
        binding: OuterBinding,
        message: &[u8],
    ) -> Result<HalfOpen<P::Aead>, DropReason> {
        let provider = &self.provider;
        let not_offered = |_: CryptoError| DropReason::NotAcceptable;
        let decoded = InitiatorHello::decode(message)?;
        let hello = decoded.hello;
        if hello.end == self.settings.end {
            return Err(DropReason::Reflected);
        }
        let suite =
            first_common(self.settings.suites(), hello.suites).ok_or(DropReason::NotAcceptable)?;
        self.check_group(&hello)?;

        let usual_len = match hello.identity_kind {
            IdentityKind::Key => store.usual_psk_len(),
            IdentityKind::Session => SHA256_LEN,
        };
        let dummy = Dummy::draw(env, usual_len);
        let request = PskRequest::new(hello.identity, suite.algorithm());
        let found = match hello.identity_kind {
            IdentityKind::Key => key_of(store, &request),
            IdentityKind::Session => self.session_of(sessions, hello.identity),
        };
        let secret = found.as_ref().map_or(dummy.expose(), |found| found.secret);
        let early = EarlySecret::new(provider, secret);
        let covered = hash(provider, &[decoded.covered]);
        let mac = early
            .binder(provider, hello.identity_kind, &covered)
            .map_err(not_offered)?;
        let is_verified = ct_eq(&mac, decoded.mac);
        // Nobody knows the dummy key; if a hello verifies all the same, it proves nothing.
        let found = found
            .filter(|_| is_verified)
            .ok_or(DropReason::AuthenticationFailed)?;

        let (share, shared) = self.agree(env, &hello.share)?;
        let has_forward_secrecy = shared.is_some() || found.has_forward_secrecy;
        let mut random = [0; RANDOM_LEN];
        env.rng.fill_bytes(&mut random);
        let answer = ResponderHello {
            end: self.settings.end,
            suite: suite.code_point(),
            random: &random,
            binding,
            share,
        };
        let mut bytes = [0; MAX_RESPONDER_HELLO_LEN];
        let mut out = Writer::new(&mut bytes);
        let too_long = |_| DropReason::TooLong;
        answer.encode(&mut out).map_err(too_long)?;
        let handshake = early
            .handshake(provider, shared.as_ref())
            .map_err(not_offered)?;
        let transcript = hash(provider, &[message, out.written()]);
        let mac = handshake
            .responder_mac(provider, &transcript)
            .map_err(not_offered)?;
        out.bytes(&mac).map_err(too_long)?;
        let transcript = hash(provider, &[message, out.written()]);
        let secrets = handshake
            .session(provider, &transcript)
            .map_err(not_offered)?;
        secrets.log(provider, message).map_err(not_offered)?;
        let answer_len = out.len();
        let terms = Terms {
            suite,
            role: Role::Responder,
            binding,
            peer: found.peer,
            has_forward_secrecy,
        };
        Ok(HalfOpen {
            envelope: Envelope::new(provider, secrets, &terms).map_err(not_offered)?,
            hello: hash(provider, &[message]),
            answer: bytes,
            answer_len,
            failures: 0,
        })
    }

    /// Says whether a message is once more the hello that a half-open session answered: the same
    /// answer is then due again.
    pub fn is_answered_by(&self, half_open: &HalfOpen<P::Aead>, message: &[u8]) -> bool {
        ct_eq(&hash(&self.provider, &[message]), &half_open.hello)
    }

    /// What depends on no identity is refused before one is looked at.
    fn check_group(&self, hello: &InitiatorHello<'_>) -> Result<(), DropReason> {
        let is_acceptable = match (&hello.share, hello.identity_kind) {
            (ShareField::Share(share), _) => self.provider.offers_group(share.group),
            (ShareField::UnknownGroup, _) => false,
            (ShareField::None, IdentityKind::Session) => true,
            (ShareField::None, IdentityKind::Key) => !self.settings.requires_forward_secrecy(),
        };
        is_acceptable.then_some(()).ok_or(DropReason::NotAcceptable)
    }

    fn session_of<'s>(&self, sessions: &[&'s Resumption], identity: &[u8]) -> Option<Found<'s>> {
        let session = sessions
            .iter()
            .find(|session| session.id.0.as_slice() == identity)?;
        let is_enough = session.has_forward_secrecy || !self.settings.requires_forward_secrecy();
        is_enough.then_some(Found {
            secret: session.peers.expose(),
            peer: session.peer,
            has_forward_secrecy: session.has_forward_secrecy,
        })
    }

    fn agree(
        &self,
        env: &mut Env<'_>,
        share: &ShareField,
    ) -> Result<(ShareField, Option<Secret<SHA256_LEN>>), DropReason> {
        let ShareField::Share(theirs) = share else {
            return Ok((ShareField::None, None));
        };
        let refused = |_: CryptoError| DropReason::NotAcceptable;
        let key = self
            .provider
            .generate_agreement_key(theirs.group, env.rng)
            .map_err(refused)?;
        let shared = key.agree(theirs.as_bytes()).map_err(refused)?;
        let ours = Share::of(&key).ok_or(DropReason::NotAcceptable)?;
        Ok((ShareField::Share(ours), Some(shared)))
    }
}

/// A key for two ends and no other: what a gateway has must not open this.
fn key_of<'s, S: PskStore>(store: &'s S, request: &PskRequest<'_>) -> Option<Found<'s>> {
    let entry = store.lookup(request)?;
    (entry.psk.purpose() == KeyPurpose::EndToEnd).then_some(Found {
        secret: entry.psk.expose(),
        peer: Peer::of_psk(entry.psk, entry.peer),
        has_forward_secrecy: false,
    })
}

/// A session that was answered and isn't confirmed: it delivers nothing and seals nothing.
pub struct HalfOpen<A> {
    envelope: Envelope<A>,
    /// Of the initiator's hello.
    hello: Hash,
    answer: [u8; MAX_RESPONDER_HELLO_LEN],
    answer_len: usize,
    failures: u8,
}

/// What a message made of a [`HalfOpen`].
#[derive(Debug)]
pub enum ResponderStep<'d, A> {
    /// The initiator has proved itself by this message, which may have ended the session at once.
    Established(Envelope<A>, Result<Received<'d>, ChannelError>),
    /// Nothing changed but a count.
    Waiting(HalfOpen<A>, DropReason),
    /// That was one failure too many.
    GivenUp(DropReason),
}

impl<A: hedgerow_core::Aead> HalfOpen<A> {
    /// Lends the responder's hello.
    pub fn answer(&self) -> &[u8] {
        self.answer.get(..self.answer_len).unwrap_or_default()
    }

    /// Takes a message that came over the outer session `over`: the first that verifies confirms.
    pub fn handle_message<'d>(
        mut self,
        over: &OuterBinding,
        message: &'d mut [u8],
    ) -> ResponderStep<'d, A> {
        let reason = match self.envelope.open(over, message) {
            Ok(Received {
                event: Some(Event::Dropped(reason)),
                ..
            }) => reason,
            outcome => return ResponderStep::Established(self.envelope, outcome),
        };
        if reason == DropReason::AuthenticationFailed {
            self.failures = self.failures.saturating_add(1);
        }
        match self.failures {
            0..MAX_HANDSHAKE_FAILURES => ResponderStep::Waiting(self, reason),
            _ => ResponderStep::GivenUp(reason),
        }
    }
}

impl<A> fmt::Debug for HalfOpen<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HalfOpen")
            .field("envelope", &self.envelope)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// What stands in for a key that there isn't, drawn anew for each hello.
struct Dummy {
    bytes: Secret<MAX_PSK_LEN>,
    len: usize,
}

impl Dummy {
    fn draw(env: &mut Env<'_>, usual_len: usize) -> Self {
        Self {
            bytes: Secret::fill_with(|bytes| env.rng.fill_bytes(bytes)),
            len: usual_len.clamp(1, MAX_PSK_LEN),
        }
    }

    fn expose(&self) -> &[u8] {
        self.bytes.expose().get(..self.len).unwrap_or_default()
    }
}
