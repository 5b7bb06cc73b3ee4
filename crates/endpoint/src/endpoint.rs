//! The driver: which machine a datagram is for, and which one speaks next.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use hedgerow_core::{
    ClientCredentials, CryptoProvider, DropReason, Env, Instant, Peer, ServerCredentials,
};
use hedgerow_exchange::{
    EchoAcceptor, IncomingRequest, OutgoingRequest, Request, Response, TokenKind,
};
use hedgerow_handshake::{Acceptor, peek_client_random, smaller_datagram_len};
use hedgerow_record::{ConnectionId, peek_connection_id};

use crate::association::{Association, Channel, Role, Standing};
use crate::handshaking::{Entry, Handshaking};
use crate::inner::{InnerTables, Outer};
use crate::moving::Owner;
use crate::peek::{first_epoch, first_record_len};
use crate::resumption::{ClientSessions, ServerSessions};
use crate::security_policy::check_roles;
use crate::{Address, AssociationId, Config, Error, Event, Source};

/// A CoAP node: every peer, every handshake, every exchange, and no socket.
///
/// `A` is where peers are, `P` the algorithms, `S` knows clients and what to show them, `K` is what
/// this end has for one server.
///
/// Its caller gives it datagrams and the time, fetches datagrams with [`Self::poll_transmit`] and
/// events with [`Self::poll_event`] after every call, and comes back when [`Self::poll_timeout`]
/// says.
pub struct Endpoint<A: Address, P: CryptoProvider, S, K> {
    pub(crate) config: Config,
    /// The exchange's configuration where nothing protects it: RFC 9175 §4.2 binds sequential
    /// tokens to a secure session.
    pub(crate) clear_exchange: Arc<hedgerow_exchange::Config>,
    pub(crate) provider: P,
    pub(crate) store: S,
    pub(crate) acceptor: Option<Acceptor<P>>,
    /// The front for peers in clear, where they are served.
    pub(crate) echo_acceptor: Option<EchoAcceptor<P>>,
    /// Boxed: a table whose keys only ever grow keeps its nodes half full, which would cost each
    /// association its own size once more.
    pub(crate) associations: BTreeMap<AssociationId, Box<Association<A, P::Aead, K>>>,
    pub(crate) by_address: BTreeMap<A, AssociationId>,
    /// Those that this end has named; no more than associations and handshakes.
    pub(crate) by_connection_id: BTreeMap<ConnectionId, Owner<A>>,
    pub(crate) handshakes: BTreeMap<A, Entry<P, S, K>>,
    /// What this end can resume as a client.
    pub(crate) client_sessions: ClientSessions<A, K>,
    /// What it resumes as a server, if it does.
    pub(crate) server_sessions: Option<ServerSessions>,
    pub(crate) timers: BTreeSet<(Instant, Timer<A>)>,
    pub(crate) queue: VecDeque<Speaker<A>>,
    pub(crate) partings: VecDeque<(A, Vec<u8>)>,
    pub(crate) events: VecDeque<Event<'static, A>>,
    pub(crate) lost_events: u64,
    pub(crate) drops: Vec<u64>,
    pub(crate) touched: VecDeque<AssociationId>,
    pub(crate) last_association: u64,
    /// How many associations each source has begun.
    pub(crate) by_source: BTreeMap<Source, usize>,
    /// The associations that have a leg.
    pub(crate) legs: BTreeSet<AssociationId>,
    /// How many sessions there have been.
    pub(crate) last_session: u64,
    /// Inner sessions, and what they travel in.
    pub(crate) inner: InnerTables<A, P, K>,
    /// How many associations are with addresses that have proved nothing.
    pub(crate) unproved: usize,
    pub(crate) scratch: Vec<u8>,
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer<A> {
    Association(AssociationId),
    Handshake(A),
    /// A flow of an outer session, which leads to a handshake.
    Inner(Outer<A>, u16),
    /// What inner sessions can be resumed by.
    Resumptions,
}

/// What may have something to send.
#[derive(Clone, Copy)]
pub(crate) enum Speaker<A> {
    Association(AssociationId),
    Handshake(A),
}

/// What became of a part of a datagram.
#[derive(Debug)]
pub struct Handled<'a, A> {
    /// How many bytes were taken. While fewer than the datagram has, call again with the rest.
    pub consumed: usize,
    /// How many bytes stand in `out`, to be sent back to where the datagram came from: at most
    /// three times as many as came in where the address has proved nothing.
    pub answer: usize,
    /// What happened, if it concerns the application.
    pub event: Option<Event<'a, A>>,
}

impl<A, P, S, K> Endpoint<A, P, S, K>
where
    A: Address,
    P: CryptoProvider + Clone,
    S: ServerCredentials + Clone,
    K: ClientCredentials + Clone,
{
    /// Makes an endpoint that begins associations and accepts none.
    pub fn client(provider: P, store: S, config: Config) -> Self {
        let scratch = vec![0; config.exchange.max_message_len];
        let clear_exchange = Arc::new(hedgerow_exchange::Config {
            tokens: TokenKind::Unpredictable,
            // Nothing in clear is authentic, the time neither.
            fresh_within: None,
            ..hedgerow_exchange::Config::clone(&config.exchange)
        });
        let max_client_sessions = config.resumption.max_client_sessions;
        Self {
            config,
            clear_exchange,
            provider,
            store,
            acceptor: None,
            echo_acceptor: None,
            associations: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_connection_id: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            client_sessions: ClientSessions::new(max_client_sessions),
            server_sessions: None,
            timers: BTreeSet::new(),
            queue: VecDeque::new(),
            partings: VecDeque::new(),
            events: VecDeque::new(),
            lost_events: 0,
            drops: vec![0; DropReason::ALL.len()],
            touched: VecDeque::new(),
            last_association: 0,
            by_source: BTreeMap::new(),
            legs: BTreeSet::new(),
            last_session: 0,
            inner: InnerTables::new(),
            unproved: 0,
            scratch,
        }
    }

    /// Makes an endpoint that accepts peers that `store` knows, as far as policy permits them, and begins associations too.
    pub fn server(provider: P, store: S, config: Config, env: &mut Env<'_>) -> Self {
        let acceptor = Acceptor::new(provider.clone(), config.handshake, env);
        let server_sessions = ServerSessions::draw(&config.resumption, env);
        Self {
            acceptor: Some(acceptor),
            server_sessions,
            ..Self::client(provider, store, config)
        }
    }

    /// Returns the association with the server at `address`, begun now if there is none: over DTLS
    /// with `credentials`, or in clear without.
    ///
    /// Requests may be given at once. They leave when the handshake is over.
    ///
    /// # Errors
    ///
    /// [`Error::AddressInUse`] if the association there is of another kind or stands on other
    /// credentials: whoever can't show the key doesn't ride on the session of somebody who can,
    /// [`Error::TooManyAssociations`], [`Error::TooManyHandshakes`], [`Error::NoConnectionId`], or
    /// [`Error::Channel`] if the credentials can't be used, or are of a security mode or for a purpose
    /// that [`Config::security`] forbids: nothing is sent then.
    pub fn connect(
        &mut self,
        env: &mut Env<'_>,
        address: A,
        credentials: Option<&K>,
    ) -> Result<AssociationId, Error> {
        self.settle();
        self.config.security.check_credentials(credentials)?;
        check_roles(&self.store, credentials)?;
        if let Some(name) = self.outer_stream_name(address) {
            // What goes there in clear the gateway could read.
            let credentials = credentials.ok_or(Error::AddressInUse)?;
            return self.connect_inner(env, address, &name, credentials);
        }
        if let Some(&id) = self.by_address.get(&address) {
            let found = self.associations.get(&id);
            match (
                found.map(|found| (&found.role, &found.channel)),
                credentials,
            ) {
                (Some((Role::Client(Some(known)), _)), Some(credentials))
                    if known.is_same(credentials) =>
                {
                    return Ok(id);
                }
                (Some((Role::Client(None), _)), None)
                | (Some((Role::Server, Channel::NoSec(Standing::Proved { .. }))), None) => {
                    return Ok(id);
                }
                // Whoever came in clear has no claim on the address.
                (Some((Role::Server, Channel::NoSec(_))), _) => {
                    self.forget(id);
                    self.push_event(Event::Closed { association: id });
                }
                _ => return Err(Error::AddressInUse),
            }
        }
        if self.proved_associations() >= self.config.max_associations {
            return Err(Error::TooManyAssociations {
                max: self.config.max_associations,
            });
        }
        let id = AssociationId(self.last_association.saturating_add(1));
        let channel = match credentials {
            // What this end asks needs no proof; what is asked of it does.
            None => Channel::NoSec(Standing::Proved { until: env.now }),
            Some(credentials) => {
                self.start_handshake(env, address, id, credentials)?;
                Channel::Expected
            }
        };
        self.last_association = id.0;
        let role = Role::Client(credentials.cloned());
        self.add_association(env, id, address, role, channel, Peer::Anonymous);
        Ok(id)
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`], or [`Error::Exchange`] if the request can't be sent.
    pub fn request(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        request: &Request<'_>,
    ) -> Result<OutgoingRequest, Error> {
        self.settle();
        let found = self.use_association(env.now, association)?;
        let name = found.exchange.request(env, request)?;
        self.touch(association);
        Ok(name)
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    ///
    /// As [`Self::request`].
    pub fn ping(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
    ) -> Result<OutgoingRequest, Error> {
        self.settle();
        let found = self.use_association(env.now, association)?;
        let name = found.exchange.ping(env)?;
        self.touch(association);
        Ok(name)
    }

    /// Gives a request up; it ends with [`Event::RequestFailed`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`], or [`Error::Exchange`] if it has ended.
    pub fn cancel(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        request: OutgoingRequest,
    ) -> Result<(), Error> {
        self.settle();
        let found = self.use_association(env.now, association)?;
        found.exchange.cancel(request)?;
        self.touch(association);
        Ok(())
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`], or [`Error::Exchange`] if the response can't be sent.
    pub fn respond(
        &mut self,
        env: &mut Env<'_>,
        association: AssociationId,
        request: IncomingRequest,
        response: &Response<'_>,
    ) -> Result<(), Error> {
        self.settle();
        let found = self.use_association(env.now, association)?;
        found.exchange.respond(env, request, response)?;
        self.touch(association);
        Ok(())
    }

    /// Closes an association in order. Its requests have ended with that.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAssociation`].
    pub fn close(&mut self, env: &mut Env<'_>, association: AssociationId) -> Result<(), Error> {
        self.settle();
        self.use_association(env.now, association)?;
        self.remove(association);
        Ok(())
    }

    /// Takes in the first part of a datagram: one record, or one message in clear.
    ///
    /// `out` needs room for 64 bytes.
    pub fn handle_datagram<'a>(
        &'a mut self,
        env: &mut Env<'_>,
        from: A,
        datagram: &'a mut [u8],
        out: &mut [u8],
    ) -> Handled<'a, A> {
        self.settle();
        if self.has_outer_stream(from) {
            return self.drive_outer_stream(env, from, datagram);
        }
        if let Some(id) = self.light_hop(from, datagram) {
            return self.drive_light(env, id, from, datagram);
        }
        let connection_id_len = self.config.connection_ids.receive_len();
        // MUST (RFC 9146 §3): a record with a connection ID belongs to whom the ID names, wherever
        // it comes from.
        if let Some(id) = peek_connection_id(datagram, connection_id_len) {
            return match self.by_connection_id.get(&id) {
                Some(&Owner::Association(id)) => self.drive_session(env, id, from, datagram),
                Some(&Owner::Handshake(address)) if address == from => {
                    self.drive_handshake(env, from, datagram)
                }
                Some(Owner::Handshake(_)) | None => {
                    self.drop_all(from, datagram.len(), DropReason::UnknownPeer)
                }
            };
        }
        let association = self.by_address.get(&from).copied();
        let is_clear = association
            .and_then(|id| self.associations.get(&id))
            .is_some_and(|found| matches!(found.channel, Channel::NoSec(_)));
        if let (true, Some(id)) = (is_clear, association) {
            return self.drive_clear(env, id, from, datagram, out);
        }
        let is_unknown = association.is_none() && !self.handshakes.contains_key(&from);
        if is_unknown && self.echo_acceptor.is_some() {
            return self.accept_clear(env, from, datagram, out);
        }
        let hello = match &self.acceptor {
            Some(_) => peek_client_random(datagram),
            None => None,
        };
        let is_known = match self.handshakes.get(&from).map(|entry| &entry.handshake) {
            Some(Handshaking::Server(machine)) => hello == Some(*machine.client_random()),
            Some(Handshaking::Client { .. }) => true,
            None => false,
        };
        if let (Some(random), false) = (hello, is_known) {
            let begun = association.and_then(|id| self.associations.get(&id)?.hello);
            if begun.is_some_and(|begun| begun.may_have_copy(&random, env.now)) {
                return self.drop_all(from, datagram.len(), DropReason::Duplicate);
            }
            return self.accept(env, from, datagram, out);
        }
        match (self.handshakes.contains_key(&from), association) {
            (true, None) => self.drive_handshake(env, from, datagram),
            (false, Some(id)) => self.drive_session(env, id, from, datagram),
            (true, Some(id)) => self.drive_both(env, from, id, datagram),
            (false, None) => {
                // Nothing is known of this address, so nothing is answered.
                let reason = match first_epoch(datagram) {
                    Some(_) => DropReason::UnknownPeer,
                    None => DropReason::Malformed,
                };
                // A peer that has moved may send its last flight again, whose Finished behind the
                // records in clear has a connection ID.
                let consumed = first_record_len(datagram).filter(|_| connection_id_len > 0);
                self.drop_all(from, consumed.unwrap_or(datagram.len()), reason)
            }
        }
    }

    /// Takes note that a datagram of `len` bytes to `address` was refused because it is longer than the
    /// path carries, as the system's send call has it.
    ///
    /// A handshake's flight is packed anew, and leaves again at once. CoAP's messages to the peer get
    /// shorter; GET, PUT and DELETE under way are sent anew in smaller blocks. Nothing is made
    /// smaller than [`MIN_DATAGRAM_LEN`](hedgerow_handshake::MIN_DATAGRAM_LEN) asks, whoever says so
    /// and however often.
    pub fn datagram_refused(&mut self, address: A, len: usize) {
        self.settle();
        let smaller = smaller_datagram_len(len);
        if let Some(entry) = self.handshakes.get_mut(&address) {
            entry.handshake.limit_datagrams(smaller);
            self.arm_handshake(address);
        }
        if let Some(&id) = self.by_address.get(&address)
            && let Some(found) = self.associations.get_mut(&id)
        {
            let before = found.path_len.unwrap_or(usize::MAX);
            found.path_len = Some(before.min(smaller));
            found.limit_messages();
            self.touch(id);
            self.settle();
            self.limit_inner(id);
        }
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        self.settle();
        // What is over is forgotten, also where nobody comes to ask for it.
        self.client_sessions.handle_timeout(env.now);
        if let Some(sessions) = &mut self.server_sessions
            && env.now >= sessions.poll_timeout()
        {
            sessions.handle_timeout(env);
        }
        // Each timer at most once a call: one that is due again at once waits for the next.
        for _ in 0..self.timers.len() {
            let Some(&(at, timer)) = self.timers.first().filter(|&&(at, _)| at <= env.now) else {
                return;
            };
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Association(id) => self.expire_association(env, id),
                Timer::Handshake(address) => self.expire_handshake(env, address),
                Timer::Inner(outer, flow) => self.expire_inner(env, outer, flow),
                Timer::Resumptions => self.expire_kept(env.now),
            }
        }
    }

    /// Returns when [`Self::handle_timeout`] is due, if ever.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.settle();
        let server_sessions = self.server_sessions.as_ref();
        [
            self.timers.first().map(|&(at, _)| at),
            self.client_sessions.poll_timeout(),
            server_sessions.map(ServerSessions::poll_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Writes the next datagram and returns where it goes and its length.
    ///
    /// `out` needs room for the longest datagram that is configured.
    pub fn poll_transmit(&mut self, env: &mut Env<'_>, out: &mut [u8]) -> Option<(A, usize)> {
        self.settle();
        if let Some((address, datagram)) = self.partings.pop_front() {
            let len = datagram.len().min(out.len());
            let place = out.get_mut(..len)?;
            place.copy_from_slice(datagram.get(..len)?);
            return Some((address, len));
        }
        while let Some(speaker) = self.queue.pop_front() {
            let sent = match speaker {
                Speaker::Association(id) => self.transmit_association(env, id, out),
                Speaker::Handshake(address) => self.transmit_handshake(env, address, out),
            };
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    /// Returns the next thing to know that came without a message.
    pub fn poll_event(&mut self) -> Option<Event<'static, A>> {
        self.settle();
        self.events.pop_front()
    }

    /// Returns how often something was dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or_default()
    }

    /// Returns how many events were lost because nobody fetched them.
    pub const fn lost_events(&self) -> u64 {
        self.lost_events
    }

    /// Returns the number of associations.
    pub fn associations(&self) -> usize {
        self.associations.len()
    }

    /// Returns the number of sessions that this end can resume as a client.
    pub fn resumable_sessions(&self) -> usize {
        self.client_sessions.len()
    }

    /// Returns the length of the ticket of each of them, in bytes; 0 where the server keeps the session
    /// under an ID.
    pub fn resumable_tickets(&self) -> impl Iterator<Item = usize> {
        self.client_sessions.tickets()
    }

    /// Returns the number of sessions that this end keeps as a server, for clients that ask by an ID.
    pub fn cached_sessions(&self) -> usize {
        self.server_sessions.as_ref().map_or(0, ServerSessions::len)
    }

    /// Returns the number of handshakes under way.
    pub fn handshakes(&self) -> usize {
        self.handshakes.len()
    }
}
