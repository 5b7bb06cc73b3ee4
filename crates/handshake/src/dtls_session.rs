//! An established DTLS association: what is left once the handshake is over.

use hedgerow_core::{
    Aead, AeadAlgorithm, ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Limit,
    Misuse, Peer, PeerFault, Reader, Received, SecureChannel,
};
use hedgerow_record::{
    Alert, AlertDescription, AlertLevel, CipherSuite, ConnectionId, ContentType, DtlsOpener,
    DtlsRecord, DtlsSealer, EpochNumber, HandshakeFragment, HandshakeType, Opened, UsageLimits,
};

use crate::final_flight::FinalFlight;
use crate::key_schedule::ConnectionEnd;
use crate::{CachedSession, ResumableSession, SentTicket};

/// How many records with tags of 8 bytes may fail to verify in a second, more than honest peers on a
/// bad path ever come to.
const MAX_FORGERIES_A_SECOND: u16 = 1_024;

/// Seals and opens application data under the keys of one handshake.
///
/// It holds two keyed ciphers, a replay window and a few numbers, and no buffer.
pub struct Session<A> {
    sealer: DtlsSealer<A>,
    opener: DtlsOpener<A>,
    next_plain_number: u64,
    final_flight: Option<FinalFlight>,
    alert: Option<Alert>,
    is_open: bool,
    peer: Peer,
    suite: CipherSuite,
    end: ConnectionEnd,
    guard: ForgeryGuard,
}

/// Slows down whoever guesses tags of 8 bytes: attempts in the current second.
///
/// Without it, a flood would use up a key's forgeries in a second, and with them the session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForgeryGuard {
    second: u32,
    failures: u16,
}

impl ForgeryGuard {
    pub(crate) const NEW: Self = Self {
        second: 0,
        failures: 0,
    };

    /// Says whether another record may be tried at `now`.
    pub(crate) fn may_try(&mut self, algorithm: AeadAlgorithm, now: Instant) -> bool {
        if algorithm != AeadAlgorithm::Aes128Ccm8 {
            return true;
        }
        let second = u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX);
        if second != self.second {
            *self = Self {
                second,
                failures: 0,
            };
        }
        self.failures < MAX_FORGERIES_A_SECOND
    }

    /// The last failure was none.
    pub(crate) const fn forgive(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    pub(crate) const fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}

/// The end of a handshake: the session, and the buffers to go back to their pool.
pub struct Established<P: CryptoProvider, B> {
    /// The session.
    pub session: Session<P::Aead>,
    /// What other protocols derive keying material with, bound to this session (RFC 5705).
    pub exporter: crate::Exporter<P>,
    /// The buffers that the handshake had borrowed.
    pub buffers: crate::Buffers<B>,
    /// The ticket in the last flight of a server, if it has issued one: the flight is sent, and sent
    /// again, by [`Session::poll_transmit_with`] alone, which is given it.
    pub ticket: Option<SentTicket>,
    /// Whether the handshake was an abbreviated one, of a session that there was before.
    pub is_resumed: bool,
    /// What a client can resume the session by, if it takes part and the server does.
    pub resumable: Option<ResumableSession>,
    /// What a server is to keep under the session's ID, if it has given one.
    pub cacheable: Option<CachedSession>,
    /// As a server, what the session has in place of an ID in the caller's table, new or resumed; empty for
    /// none. When the session ends in a fatal alert, the table forgets it (RFC 5246 §7.2.2).
    pub session_id: crate::SessionId,
    /// What this end's flights were packed into in the end, in bytes: as configured, or less where the
    /// path seems to carry no longer datagrams. Records of application data do well to keep to it.
    pub datagram_len: usize,
}

impl<A: Aead> Session<A> {
    pub(crate) const fn new(
        sealer: DtlsSealer<A>,
        opener: DtlsOpener<A>,
        next_plain_number: u64,
        final_flight: Option<FinalFlight>,
        peer: Peer,
        suite: CipherSuite,
        end: ConnectionEnd,
    ) -> Self {
        Self {
            sealer,
            opener,
            next_plain_number,
            final_flight,
            alert: None,
            is_open: true,
            peer,
            suite,
            end,
            guard: ForgeryGuard::NEW,
        }
    }

    /// Returns who is at the other end.
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the cipher suite that was negotiated.
    pub const fn suite(&self) -> CipherSuite {
        self.suite
    }

    /// Says whether application data can be sealed.
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns the connection ID that the peer's records carry, by which they are told apart from
    /// those of other sessions; empty where they are known by the peer's address.
    pub const fn receive_connection_id(&self) -> &ConnectionId {
        self.opener.connection_id()
    }

    /// Returns the connection ID that this end's records carry; empty for none.
    pub const fn send_connection_id(&self) -> &ConnectionId {
        self.sealer.connection_id()
    }

    /// Returns the most plaintext that one record of this end can have, in bytes: 2^14, or what the
    /// peer takes (RFC 8449 §4, RFC 6066 §4).
    pub fn max_plaintext_len(&self) -> usize {
        self.sealer.max_plaintext_len()
    }

    /// Returns how many records of this session did not verify.
    pub const fn forgeries(&self) -> u64 {
        self.opener.forgeries()
    }

    /// Says whether a new handshake should take this session's place: its keys come near the limits
    /// of their cipher (RFC 9147 §4.5.3), or somebody keeps guessing tags. The session goes on until
    /// the new one is verified, or the limits are reached.
    pub fn wants_new_keys(&self) -> bool {
        let limits = self.limits();
        self.is_open
            && (self.sealer.sealed() >= limits.rekey_records
                || self.forgeries() >= limits.rekey_forgeries)
    }

    fn limits(&self) -> UsageLimits {
        UsageLimits::of(self.sealer.algorithm())
    }

    /// Says until when the last flight of the handshake may have to be sent again, and with it its
    /// ticket; `None` where it was not this end's.
    pub fn keeps_last_flight(&self) -> Option<Instant> {
        self.final_flight.map(|flight| flight.until())
    }

    /// Takes note that the path carries no datagram above `len` bytes; what is below
    /// [`MIN_DATAGRAM_LEN`](crate::MIN_DATAGRAM_LEN) is taken as that. The last flight of the handshake
    /// keeps to it, and where it was sent in a longer datagram, it is there to be sent anew: once,
    /// however often this is said, for whoever says so proves nothing.
    ///
    /// Records of application data are their caller's to make shorter.
    pub fn limit_datagrams(&mut self, len: usize) {
        if let Some(flight) = &mut self.final_flight {
            flight.handle_refusal(len);
        }
    }

    /// Does what [`SecureChannel::poll_transmit`] does for a session whose handshake came with a
    /// ticket, which the last flight carries.
    ///
    /// The flight is split over several datagrams where it is longer than `out`, than what the handshake
    /// has found out about the path, or than what the peer takes in a record; and where it was lost
    /// repeatedly, since the path may drop what is long without a word (RFC 6347 §4.1.1.1).
    ///
    /// # Errors
    ///
    /// Those of [`SecureChannel::poll_transmit`]. [`MIN_DATAGRAM_LEN`](crate::MIN_DATAGRAM_LEN) bytes of
    /// `out` are always enough.
    pub fn poll_transmit_with(
        &mut self,
        ticket: Option<&SentTicket>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        if let Some(flight) = &mut self.final_flight
            && flight.is_due(ticket)
        {
            let (number, sealer) = (&mut self.next_plain_number, &mut self.sealer);
            return flight.write_datagram(ticket, number, sealer, out).map(Some);
        }
        let Some(alert) = self.alert else {
            return Ok(None);
        };
        let sealed = self.sealer.seal(ContentType::Alert, &alert.encode(), out);
        // A key without numbers can't say goodbye either; only a small buffer is worth a retry.
        if !matches!(sealed, Err(ChannelError::Misuse(_))) {
            self.alert = None;
        }
        sealed.map(Some)
    }

    fn handle_alert(&mut self, fragment: &[u8]) -> Result<Outcome, ChannelError> {
        let Ok(alert) = Alert::decode_exact(fragment) else {
            return Ok(Outcome::Dropped(DropReason::Malformed));
        };
        if alert.description == AlertDescription::CLOSE_NOTIFY {
            // MUST (RFC 5246 §7.2.1): the other side answers with a close_notify of its own.
            self.close();
            return Ok(Outcome::Closed);
        }
        if alert.level == AlertLevel::Warning {
            return Ok(Outcome::Dropped(DropReason::IgnoredAlert));
        }
        self.is_open = false;
        Err(PeerFault::AlertReceived {
            description: alert.description.0,
            authenticated: true,
        }
        .into())
    }

    /// Handles a handshake message under the session's keys: the peer's Finished once more, or an
    /// attempt at renegotiation.
    fn handle_handshake(&mut self, now: Instant, fragment: &[u8]) -> DropReason {
        let Ok(part) = HandshakeFragment::decode(&mut Reader::new(fragment)) else {
            return DropReason::Malformed;
        };
        match part.msg_type {
            HandshakeType::Finished => match &mut self.final_flight {
                Some(flight) => flight.handle_repeat(part.message_seq, now),
                None => DropReason::UnexpectedMessage,
            },
            // RFC 6347 §4.2.2: a handshake's first message has the number 0.
            request if request == self.end.renegotiation_request() && part.message_seq == 0 => {
                // RFC 5246 §7.2.2: renegotiation is refused and the session stays.
                self.alert = Some(Alert::warning(AlertDescription::NO_RENEGOTIATION));
                DropReason::UnexpectedMessage
            }
            _ => DropReason::UnexpectedMessage,
        }
    }
}

/// What a verified record that isn't application data came to.
enum Outcome {
    Closed,
    Dropped(DropReason),
}

impl<A: Aead> SecureChannel for Session<A> {
    fn handle_datagram<'d>(
        &mut self,
        env: &mut Env<'_>,
        datagram: &'d mut [u8],
    ) -> Result<Received<'d>, ChannelError> {
        let connection_id_len = self.opener.connection_id().len();
        let decoded = DtlsRecord::decode_with_connection_id(datagram, connection_id_len);
        let Ok((record, rest)) = decoded else {
            return Ok(Received::dropped(DropReason::Malformed, &mut []));
        };
        if !self.is_open {
            return Ok(Received::dropped(DropReason::AfterClose, rest));
        }
        if record.number.epoch() == EpochNumber(0) {
            // Nothing in clear means anything to an established session: neither data
            // (CVE-2019-20786) nor an alert that anybody could have sent.
            let reason = match record.content_type {
                ContentType::Alert => DropReason::IgnoredAlert,
                _ => DropReason::UnexpectedEpoch,
            };
            return Ok(Received::dropped(reason, rest));
        }
        if !self.guard.may_try(self.sealer.algorithm(), env.now) {
            return Ok(Received::dropped(DropReason::RateLimited, rest));
        }
        let Opened {
            content_type,
            plaintext,
            newest,
            ..
        } = match self.opener.open(record) {
            Ok(opened) => opened,
            Err(DropReason::AuthenticationFailed) => {
                self.guard.failed();
                // MUST (RFC 9147 §4.5.3): failures are counted, and at the limit the key is dropped.
                if self.forgeries() >= self.limits().max_forgeries {
                    self.is_open = false;
                    return Err(PeerFault::TooManyForgeries.into());
                }
                return Ok(Received::dropped(DropReason::AuthenticationFailed, rest));
            }
            Err(reason) => return Ok(Received::dropped(reason, rest)),
        };
        let event = match content_type {
            ContentType::ApplicationData => Event::Plaintext(plaintext),
            ContentType::Alert => match self.handle_alert(plaintext)? {
                Outcome::Closed => Event::Closed,
                Outcome::Dropped(reason) => Event::Dropped(reason),
            },
            ContentType::Handshake => Event::Dropped(self.handle_handshake(env.now, plaintext)),
            _ => Event::Dropped(DropReason::UnexpectedMessage),
        };
        Ok(Received {
            event: Some(event),
            newest,
            rest,
        })
    }

    fn handle_timeout(&mut self, _env: &mut Env<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, ChannelError> {
        if !self.is_open {
            return Err(Misuse::Closed.into());
        }
        // SHOULD NOT (RFC 9147 §4.5.3): no more is protected than the cipher is good for. Alerts still
        // are, which are few.
        let max = self.limits().max_records;
        if self.sealer.sealed() >= max {
            return Err(Limit::KeyUsedUp { max }.into());
        }
        self.sealer
            .seal(ContentType::ApplicationData, plaintext, out)
    }

    fn poll_transmit(
        &mut self,
        _env: &mut Env<'_>,
        out: &mut [u8],
    ) -> Result<Option<usize>, ChannelError> {
        self.poll_transmit_with(None, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn close(&mut self) {
        if self.is_open {
            self.is_open = false;
            self.alert = Some(Alert::warning(AlertDescription::CLOSE_NOTIFY));
        }
    }

    fn overhead(&self) -> usize {
        self.sealer.overhead()
    }
}

impl<A> core::fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer)
            .field("suite", &self.suite)
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}
