//! An established TLS connection: what is left once the handshake is over.

use hedgerow_core::{
    Aead, ChannelError, CryptoProvider, DropReason, Env, Event, Instant, Limit, Misuse, Peer,
    PeerFault, SecureStream, StreamReceived, Writer,
};
use hedgerow_record::{
    Alert, AlertDescription, AlertLevel, CipherSuite, ContentType, HandshakeType,
    TLS_RECORD_HEADER_LEN, TlsHandshakeMessage, TlsOpener, TlsRecord, TlsSealer, UsageLimits,
};

use crate::flight_buffer::CHANGE_CIPHER_SPEC_BODY;
use crate::key_schedule::{ConnectionEnd, VERIFY_DATA_LEN};
use crate::tls_machine::MAX_USELESS_RECORDS;
use crate::tls_outgoing::{encode_plain, seal_message};
use crate::{CachedSession, ResumableSession};

/// Seals and opens application data under the keys of one handshake.
///
/// It holds two keyed ciphers and a few numbers, and no buffer.
pub struct TlsSession<A> {
    sealer: TlsSealer<A>,
    opener: TlsOpener<A>,
    /// The body of the Finished that ends the handshake of a server, until it is sent.
    verify_data: Option<[u8; VERIFY_DATA_LEN]>,
    alert: Option<Alert>,
    sending: Direction,
    receiving: Direction,
    useless_records: u8,
    peer: Peer,
    suite: CipherSuite,
    application_protocol: Option<&'static [u8]>,
    end: ConnectionEnd,
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Open,
    /// Ended by close_notify.
    Closed,
    /// Ended by a fatal alert, or by what had to be answered with one.
    Failed,
}

/// The end of a handshake: the session, and the buffers to go back to their pool.
pub struct TlsEstablished<P: CryptoProvider, B> {
    /// The session.
    pub session: TlsSession<P::Aead>,
    /// What other protocols derive keying material with, bound to this session (RFC 5705).
    pub exporter: crate::Exporter<P>,
    /// The buffers that the handshake had borrowed.
    pub buffers: crate::Buffers<B>,
    /// Whether the handshake was an abbreviated one, of a session that there was before.
    pub is_resumed: bool,
    /// What a client can resume the session by, if it takes part and the server does.
    pub resumable: Option<ResumableSession>,
    /// What a server is to keep under the session's ID, if it has given one.
    pub cacheable: Option<CachedSession>,
    /// As a server, what the session has in place of an ID in the caller's table, new or resumed; empty for
    /// none. When the session ends in a fatal alert, the table forgets it (RFC 5246 §7.2.2).
    pub session_id: crate::SessionId,
}

impl<A: Aead> TlsSession<A> {
    pub(crate) const fn new(
        sealer: TlsSealer<A>,
        opener: TlsOpener<A>,
        verify_data: Option<[u8; VERIFY_DATA_LEN]>,
        peer: Peer,
        suite: CipherSuite,
        application_protocol: Option<&'static [u8]>,
        end: ConnectionEnd,
    ) -> Self {
        Self {
            sealer,
            opener,
            verify_data,
            alert: None,
            sending: Direction::Open,
            receiving: Direction::Open,
            useless_records: 0,
            peer,
            suite,
            application_protocol,
            end,
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

    /// Returns the application protocol that was agreed on by name, if any (RFC 7301).
    pub const fn application_protocol(&self) -> Option<&'static [u8]> {
        self.application_protocol
    }

    /// Returns how many records the key has protected that was used more: this end's or the peer's.
    pub fn records(&self) -> u64 {
        self.sealer.sealed().max(self.opener.opened())
    }

    /// Says whether another connection should take this one's place, since a key comes near the limits of
    /// its cipher (RFC 9147 §4.5.3, RFC 8446 §5.5). TLS 1.2 has no new keys without a new handshake.
    pub fn wants_new_keys(&self) -> bool {
        self.records() >= UsageLimits::of(self.sealer.algorithm()).rekey_records
    }

    /// Says whether application data can be sealed, now or once the last flight is sent.
    pub fn is_open(&self) -> bool {
        self.sending == Direction::Open
    }

    fn handle_alert(&mut self, fragment: &[u8]) -> Result<Event<'static>, ChannelError> {
        let Ok(alert) = Alert::decode_exact(fragment) else {
            return Err(self.fail(AlertDescription::DECODE_ERROR));
        };
        if alert.description == AlertDescription::CLOSE_NOTIFY {
            self.receiving = Direction::Closed;
            // MUST (RFC 5246 §7.2.1): the other side answers with a close_notify of its own.
            self.close();
            return Ok(Event::Closed);
        }
        if alert.level == AlertLevel::Warning {
            return Ok(Event::Dropped(DropReason::IgnoredAlert));
        }
        self.sending = Direction::Failed;
        self.receiving = Direction::Failed;
        self.alert = None;
        Err(PeerFault::AlertReceived {
            description: alert.description.0,
            authenticated: true,
        }
        .into())
    }

    /// Handles a handshake message under the session's keys, which can only be an attempt at
    /// renegotiation.
    fn handle_handshake(&mut self, fragment: &[u8]) -> Result<Event<'static>, ChannelError> {
        let message = TlsHandshakeMessage::decode(fragment)
            .map(|(message, rest)| (message.msg_type, rest.is_empty()));
        match message {
            Some((request, true)) if request == self.end.renegotiation_request() => {
                // RFC 5246 §7.2.2: renegotiation is refused and the session stays.
                if self.sending == Direction::Open {
                    self.alert = Some(Alert::warning(AlertDescription::NO_RENEGOTIATION));
                }
                Ok(Event::Dropped(DropReason::UnexpectedMessage))
            }
            _ => Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE)),
        }
    }

    /// Ends the connection with an alert to the peer.
    fn fail(&mut self, description: AlertDescription) -> ChannelError {
        if self.sending == Direction::Open {
            self.alert = Some(Alert::fatal(description));
        }
        self.sending = Direction::Failed;
        self.receiving = Direction::Failed;
        PeerFault::AlertSent {
            description: description.0,
        }
        .into()
    }

    fn write_final_flight(
        &mut self,
        verify_data: [u8; VERIFY_DATA_LEN],
        out: &mut [u8],
    ) -> Result<usize, ChannelError> {
        let needed = TLS_RECORD_HEADER_LEN
            .saturating_add(CHANGE_CIPHER_SPEC_BODY.len())
            .saturating_add(hedgerow_record::TLS_HANDSHAKE_HEADER_LEN)
            .saturating_add(VERIFY_DATA_LEN)
            .saturating_add(self.sealer.overhead());
        let available = out.len();
        let mut writer = Writer::new(out);
        if available < needed {
            return Err(Misuse::BufferTooSmall { needed, available }.into());
        }
        let body = &CHANGE_CIPHER_SPEC_BODY;
        encode_plain(ContentType::ChangeCipherSpec, body, &mut writer)?;
        seal_message(
            &mut self.sealer,
            HandshakeType::Finished,
            &verify_data,
            &mut writer,
        )?;
        Ok(writer.len())
    }
}

impl<A: Aead> SecureStream for TlsSession<A> {
    fn handle_bytes<'d>(
        &mut self,
        _env: &mut Env<'_>,
        bytes: &'d mut [u8],
    ) -> Result<Option<StreamReceived<'d>>, ChannelError> {
        match self.receiving {
            Direction::Open => {}
            // RFC 5246 §7.2.1: data after a close_notify is ignored.
            Direction::Closed if bytes.is_empty() => return Ok(None),
            Direction::Closed => {
                return Ok(Some(StreamReceived {
                    event: Some(Event::Dropped(DropReason::AfterClose)),
                    rest: &mut [],
                }));
            }
            Direction::Failed => return Err(Misuse::Closed.into()),
        }
        let (record, rest) = match TlsRecord::decode(bytes) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return Ok(None),
            Err(hedgerow_record::Error::RecordTooLong { .. }) => {
                return Err(self.fail(AlertDescription::RECORD_OVERFLOW));
            }
            Err(_) => return Err(self.fail(AlertDescription::PROTOCOL_VERSION)),
        };
        let content_type = record.content_type;
        let plaintext = match self.opener.open(record) {
            Ok(plaintext) => plaintext,
            Err(description) => return Err(self.fail(description)),
        };
        let is_data = content_type == ContentType::ApplicationData && !plaintext.is_empty();
        self.useless_records = match is_data {
            true => 0,
            false => self.useless_records.saturating_add(1),
        };
        // Empty records, warnings and requests for renegotiation cost their sender next to nothing.
        if self.useless_records > MAX_USELESS_RECORDS {
            return Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE));
        }
        let event = match content_type {
            ContentType::ApplicationData if self.sending == Direction::Open => {
                Event::Plaintext(plaintext)
            }
            // This end has closed and wants no more.
            ContentType::ApplicationData => Event::Dropped(DropReason::AfterClose),
            ContentType::Alert => self.handle_alert(plaintext)?,
            ContentType::Handshake => self.handle_handshake(plaintext)?,
            _ => return Err(self.fail(AlertDescription::UNEXPECTED_MESSAGE)),
        };
        Ok(Some(StreamReceived {
            event: Some(event),
            rest,
        }))
    }

    fn handle_end(&mut self) -> Result<(), ChannelError> {
        let was_open = self.receiving == Direction::Open && self.sending == Direction::Open;
        self.receiving = Direction::Closed;
        if was_open {
            // MUST (RFC 5246 §7.2.1): the end of the stream is no orderly close.
            self.sending = Direction::Failed;
            return Err(PeerFault::Truncated.into());
        }
        Ok(())
    }

    fn handle_timeout(&mut self, _env: &mut Env<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    fn seal(&mut self, plaintext: &[u8], out: &mut [u8]) -> Result<usize, ChannelError> {
        if self.sending != Direction::Open {
            return Err(Misuse::Closed.into());
        }
        // A server's Finished goes first, or the peer takes the data for it.
        if self.verify_data.is_some() {
            return Err(Misuse::NotEstablished.into());
        }
        // SHOULD NOT (RFC 9147 §4.5.3, RFC 8446 §5.5): no more is protected than the cipher is good for.
        let max = UsageLimits::of(self.sealer.algorithm()).max_records;
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
        if let Some(verify_data) = self.verify_data {
            let len = self.write_final_flight(verify_data, out)?;
            self.verify_data = None;
            return Ok(Some(len));
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

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn close(&mut self) {
        if self.sending == Direction::Open {
            self.sending = Direction::Closed;
            self.alert = Some(Alert::warning(AlertDescription::CLOSE_NOTIFY));
        }
    }

    fn overhead(&self) -> usize {
        self.sealer.overhead()
    }

    fn max_plaintext_len(&self) -> usize {
        self.sealer.max_plaintext_len()
    }
}

impl<A> core::fmt::Debug for TlsSession<A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TlsSession")
            .field("peer", &self.peer)
            .field("suite", &self.suite)
            .field("sending", &self.sending)
            .field("receiving", &self.receiving)
            .finish_non_exhaustive()
    }
}
