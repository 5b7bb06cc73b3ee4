//! The gateway's end of all UDP carriers.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use hedgerow_core::{
    ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Misuse, Peer, PeerId, Psk,
    SecureChannel,
};
use hedgerow_handshake::{
    Acceptance, Acceptor, ServerHandshake, Session, Settings, peek_client_random,
};
use hedgerow_record::EpochNumber;

use super::keys::OfferedKeys;
use super::settings;
use crate::Address;
use crate::association::Hello;
use crate::handshaking::{Buffer, buffers};
use crate::peek::first_epoch;
use crate::routing::may_be_for_another_session;

/// Which offer a carrier belongs to, by the application's own count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpCarrierId(pub u32);

/// All carriers behind one socket: acceptor, handshakes and one session for each offer.
///
/// A session is found by its address. It is replaced by another one of its offer once that one's
/// handshake is verified, and by nothing else. There are no more sessions than offers.
pub struct UdpCarrierServer<A, P: CryptoProvider> {
    provider: P,
    settings: Settings,
    acceptor: Acceptor<P>,
    keys: OfferedKeys,
    handshakes: BTreeMap<A, Box<ServerHandshake<P, OfferedKeys, Buffer>>>,
    sessions: BTreeMap<UdpCarrierId, Open<A, P>>,
    by_address: BTreeMap<A, UdpCarrierId>,
    /// Who may have something to send.
    speakers: VecDeque<A>,
    /// Last words of what is gone already.
    partings: VecDeque<(A, Vec<u8>)>,
}

struct Open<A, P: CryptoProvider> {
    address: A,
    session: Box<Session<P::Aead>>,
    /// The ClientHello that began it.
    hello: Hello,
}

/// What a handshake made of a record.
struct Attempt {
    consumed: usize,
    event: Option<UdpCarrierServerEvent<'static>>,
}

/// What became of a record.
#[derive(Debug)]
pub struct UdpCarrierHandled<'d> {
    /// What happened, if anything.
    pub event: Option<UdpCarrierServerEvent<'d>>,
    /// How many bytes stand in `out` and are to go back to where the datagram came from.
    pub answer: usize,
    /// What is left of the datagram.
    pub rest: &'d mut [u8],
}

/// What a record meant.
#[derive(Debug, PartialEq, Eq)]
pub enum UdpCarrierServerEvent<'d> {
    /// An offer has a carrier, or another one in place of the one before.
    Opened {
        /// Which offer.
        id: UdpCarrierId,
        /// Another offer, whose carrier was at the same address and has ended. It stands.
        replaced: Option<UdpCarrierId>,
    },
    /// A message of an offer's client.
    Message(UdpCarrierId, &'d mut [u8]),
    /// A carrier has ended. The offer stands.
    Closed(UdpCarrierId),
    /// Noise.
    Dropped(DropReason),
}

impl<A: Address, P: CryptoProvider + Clone> UdpCarrierServer<A, P> {
    /// Has no offers yet: nobody gets in.
    pub fn new(provider: P, env: &mut Env<'_>) -> Self {
        let settings = settings();
        Self {
            acceptor: Acceptor::new(provider.clone(), settings, env),
            provider,
            settings,
            keys: OfferedKeys::default(),
            handshakes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_address: BTreeMap::new(),
            speakers: VecDeque::new(),
            partings: VecDeque::new(),
        }
    }

    /// Lets whoever has this key in, as the client of `id`, which is no other offer's.
    pub fn offer(&mut self, id: UdpCarrierId, identity: &[u8], psk: Psk) {
        self.keys.insert(identity, id, psk);
    }

    /// Takes an offer back, and ends its carrier.
    pub fn withdraw(&mut self, env: &mut Env<'_>, id: UdpCarrierId) {
        self.keys.remove(id);
        if let Some(mut open) = self.remove(id) {
            open.session.close();
            let mut out = [0; PARTING_ROOM];
            if let Ok(Some(len)) = open.session.poll_transmit(env, &mut out) {
                self.part(open.address, out.get(..len).unwrap_or_default());
            }
        }
    }

    /// Says whether an offer has a carrier.
    pub fn is_open(&self, id: UdpCarrierId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Returns how many carriers there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Returns how many handshakes are under way.
    pub fn handshakes(&self) -> usize {
        self.handshakes.len()
    }

    /// Takes in the first record of `datagram`. Call it again while something is left, and
    /// [`Self::poll_transmit`] after each call. `out` needs room for 64 bytes.
    pub fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'d mut [u8],
        out: &mut [u8],
    ) -> UdpCarrierHandled<'d> {
        if let Some(random) = peek_client_random(datagram) {
            // A copy of the hello that a handshake answers: the flight comes again by its timer.
            let known = self.handshakes.get(&from);
            if known.is_some_and(|machine| *machine.client_random() == random) {
                return UdpCarrierHandled::dropped(DropReason::Replayed);
            }
            let open = self.by_address.get(&from);
            let open = open.and_then(|id| self.sessions.get(id));
            if open.is_some_and(|open| open.hello.may_have_copy(&random, env.now)) {
                return UdpCarrierHandled::dropped(DropReason::Duplicate);
            }
            return self.accept(env, from, datagram, out);
        }
        let has_session = self.by_address.contains_key(&from);
        match self.handshakes.contains_key(&from) {
            true if has_session => self.drive_both(env, from, datagram),
            true => self.drive_handshake(env, from, datagram),
            false => self.drive_session(env, from, datagram),
        }
    }

    fn accept<'d>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'d mut [u8],
        out: &mut [u8],
    ) -> UdpCarrierHandled<'d> {
        let acceptance =
            from.with_bytes(|address| self.acceptor.handle_datagram(env, address, datagram, out));
        let hello = match acceptance {
            Acceptance::Answer(answer) | Acceptance::Refuse { len: answer, .. } => {
                return UdpCarrierHandled {
                    event: None,
                    answer,
                    rest: &mut [],
                };
            }
            Acceptance::Drop(reason) => return UdpCarrierHandled::dropped(reason),
            Acceptance::Accept(hello) => hello,
        };
        if !self.handshakes.contains_key(&from) {
            if self.handshakes.len() >= MAX_HANDSHAKES {
                return UdpCarrierHandled::dropped(DropReason::HandshakePoolFull);
            }
            let is_neighbour =
                |other: &&A| from.source().is_some() && other.source() == from.source();
            let from_there = self.handshakes.keys().filter(is_neighbour).count();
            if from_there >= MAX_HANDSHAKES_PER_SOURCE {
                return UdpCarrierHandled::dropped(DropReason::RateLimited);
            }
        }
        let keys = self.keys.clone();
        let len = hello.buffer_len(&self.settings, &keys);
        let (provider, settings) = (self.provider.clone(), self.settings);
        let machine = ServerHandshake::new(provider, keys, settings, hello, buffers(len), env);
        let Ok(machine) = machine else {
            return UdpCarrierHandled::dropped(DropReason::NotAcceptable);
        };
        self.handshakes.insert(from, Box::new(machine));
        self.speakers.push_back(from);
        UdpCarrierHandled {
            event: None,
            answer: 0,
            rest: &mut [],
        }
    }

    /// A handshake runs beside a session: a record under keys may belong to either.
    fn drive_both<'d>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'d mut [u8],
    ) -> UdpCarrierHandled<'d> {
        if first_epoch(datagram) == Some(EpochNumber(0)) {
            return self.drive_handshake(env, from, datagram);
        }
        // An attempt to open destroys the record, so the session's copy is taken before.
        let mut copy = datagram.to_vec();
        let attempt = self.give_handshake(env, from, &mut copy);
        let is_forgery = match attempt.event {
            Some(UdpCarrierServerEvent::Dropped(reason)) if may_be_for_another_session(reason) => {
                reason == DropReason::AuthenticationFailed
            }
            _ => return attempt.conclude(datagram),
        };
        let handled = self.drive_session(env, from, datagram);
        let is_verified = matches!(
            handled.event,
            Some(UdpCarrierServerEvent::Message(..) | UdpCarrierServerEvent::Closed(_))
        );
        if is_forgery
            && is_verified
            && let Some(machine) = self.handshakes.get_mut(&from)
        {
            // It was the session's, and no forgery.
            machine.forgive();
        }
        handled
    }

    fn drive_handshake<'d>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'d mut [u8],
    ) -> UdpCarrierHandled<'d> {
        let attempt = self.give_handshake(env, from, datagram);
        attempt.conclude(datagram)
    }

    /// Gives a record to the handshake under way with `from`.
    fn give_handshake(&mut self, env: &mut Env<'_>, from: A, datagram: &mut [u8]) -> Attempt {
        let mut attempt = Attempt {
            consumed: datagram.len(),
            event: None,
        };
        let Some(machine) = self.handshakes.get_mut(&from) else {
            return attempt;
        };
        let received = machine.handle_datagram(env, datagram);
        self.speakers.push_back(from);
        match received {
            Ok(received) => {
                attempt.consumed = attempt.consumed.saturating_sub(received.rest.len());
                attempt.event = match received.event {
                    Some(Event::Established(peer)) => self.establish(env.now, from, peer),
                    Some(Event::Dropped(reason)) => Some(UdpCarrierServerEvent::Dropped(reason)),
                    _ => None,
                };
            }
            Err(_) => {
                self.give_up(env, from);
                let reason = DropReason::AuthenticationFailed;
                attempt.event = Some(UdpCarrierServerEvent::Dropped(reason));
            }
        }
        attempt
    }

    /// Turns a handshake that is over into its offer's session, if the offer still stands.
    fn establish(
        &mut self,
        now: Instant,
        from: A,
        peer: Peer,
    ) -> Option<UdpCarrierServerEvent<'static>> {
        let machine = self.handshakes.remove(&from)?;
        let hello = Hello::new(machine.client_random(), now);
        let established = machine.into_session()?;
        let Peer::Psk(PeerId(number)) = peer else {
            return None;
        };
        let id = UdpCarrierId(number);
        if !self.keys.has(id) {
            return Some(UdpCarrierServerEvent::Dropped(DropReason::NotAcceptable));
        }
        self.remove(id);
        // Whoever was at this address has proved to be somebody else now.
        let replaced = self.by_address.insert(from, id);
        if let Some(before) = replaced {
            self.sessions.remove(&before);
        }
        let open = Open {
            address: from,
            session: Box::new(established.session),
            hello,
        };
        self.sessions.insert(id, open);
        Some(UdpCarrierServerEvent::Opened { id, replaced })
    }

    fn drive_session<'d>(
        &mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'d mut [u8],
    ) -> UdpCarrierHandled<'d> {
        let found = self.by_address.get(&from).copied();
        let open = found.and_then(|id| self.sessions.get_mut(&id).map(|open| (id, open)));
        let Some((id, open)) = open else {
            return UdpCarrierHandled::dropped(DropReason::UnknownPeer);
        };
        let received = open.session.handle_datagram(env, datagram);
        self.speakers.push_back(from);
        let Ok(received) = received else {
            self.remove(id);
            return UdpCarrierHandled {
                event: Some(UdpCarrierServerEvent::Closed(id)),
                answer: 0,
                rest: &mut [],
            };
        };
        let event = match received.event {
            Some(Event::Plaintext(message)) => Some(UdpCarrierServerEvent::Message(id, message)),
            Some(Event::Closed) => {
                self.remove(id);
                Some(UdpCarrierServerEvent::Closed(id))
            }
            Some(Event::Dropped(reason)) => Some(UdpCarrierServerEvent::Dropped(reason)),
            _ => None,
        };
        UdpCarrierHandled {
            event,
            answer: 0,
            rest: received.rest,
        }
    }

    /// Sends flights again, and gives up what has lasted too long.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        let due = |machine: &ServerHandshake<P, OfferedKeys, Buffer>| {
            machine.poll_timeout().is_some_and(|at| at <= env.now)
        };
        let due: Vec<A> = self
            .handshakes
            .iter()
            .filter(|(_, machine)| due(machine))
            .map(|(address, _)| *address)
            .collect();
        for address in due {
            let machine = self.handshakes.get_mut(&address);
            match machine.map(|machine| machine.handle_timeout(env)) {
                Some(Ok(())) => self.speakers.push_back(address),
                _ => self.give_up(env, address),
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let machines = self.handshakes.values();
        machines.filter_map(|machine| machine.poll_timeout()).min()
    }

    /// Writes the next datagram that isn't a message, and returns where it goes and its length: 1,200
    /// bytes are enough.
    pub fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<(A, usize)> {
        if let Some((address, parting)) = self.partings.pop_front() {
            let room = out.get_mut(..parting.len())?;
            room.copy_from_slice(&parting);
            return Some((address, parting.len()));
        }
        while let Some(&address) = self.speakers.front() {
            let machine = self.handshakes.get_mut(&address);
            let written = machine.map(|machine| machine.poll_transmit(env, out));
            if let Some(Ok(Some(len))) = written {
                return Some((address, len));
            }
            let id = self.by_address.get(&address);
            let open = id.and_then(|id| self.sessions.get_mut(id));
            let written = open.map(|open| open.session.poll_transmit(env, out));
            if let Some(Ok(Some(len))) = written {
                return Some((address, len));
            }
            self.speakers.pop_front();
        }
        None
    }

    /// Seals a message for an offer's client into `out`, and returns where it goes and its length. A
    /// key that is used up ends the carrier.
    ///
    /// # Errors
    ///
    /// [`Misuse::Closed`] if there is no carrier; the others of [`SecureChannel::seal`].
    pub fn seal(
        &mut self,
        id: UdpCarrierId,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(A, usize), ChannelError> {
        let open = self.sessions.get_mut(&id).ok_or(Misuse::Closed)?;
        let address = open.address;
        let sealed = open.session.seal(message, out);
        if matches!(sealed, Err(ChannelError::Limit(_))) {
            self.remove(id);
        }
        Ok((address, sealed?))
    }

    fn remove(&mut self, id: UdpCarrierId) -> Option<Open<A, P>> {
        let open = self.sessions.remove(&id)?;
        if self.by_address.get(&open.address) == Some(&id) {
            self.by_address.remove(&open.address);
        }
        Some(open)
    }

    /// Ends a handshake with what it still has to say.
    fn give_up(&mut self, env: &mut Env<'_>, address: A) {
        let Some(mut machine) = self.handshakes.remove(&address) else {
            return;
        };
        let mut out = [0; PARTING_ROOM];
        if let Ok(Some(len)) = machine.poll_transmit(env, &mut out) {
            self.part(address, out.get(..len).unwrap_or_default());
        }
    }

    fn part(&mut self, address: A, parting: &[u8]) {
        if self.partings.len() < MAX_PARTINGS {
            self.partings.push_back((address, parting.to_vec()));
        }
    }
}

impl Attempt {
    fn conclude(self, datagram: &mut [u8]) -> UdpCarrierHandled<'_> {
        UdpCarrierHandled {
            event: self.event,
            answer: 0,
            rest: datagram.get_mut(self.consumed..).unwrap_or_default(),
        }
    }
}

impl UdpCarrierHandled<'_> {
    const fn dropped(reason: DropReason) -> Self {
        Self {
            event: Some(UdpCarrierServerEvent::Dropped(reason)),
            answer: 0,
            rest: &mut [],
        }
    }
}

/// Handshakes under way, in all and of one source.
const MAX_HANDSHAKES: usize = 64;
const MAX_HANDSHAKES_PER_SOURCE: usize = 8;

/// Last words that wait to be sent.
const MAX_PARTINGS: usize = 256;

/// Room for an alert, in bytes: what a machine asks for, which is more than any suite makes of one.
const PARTING_ROOM: usize = 1_200;
