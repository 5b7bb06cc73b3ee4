//! The stateless front of a server (RFC 6347 §4.2.1).

use hedgerow_core::{
    CryptoProvider, DropReason, Env, Reader, ServerCredentials, ServerName, Writer,
};
use hedgerow_record::{
    Alert, AlertDescription, CipherSuite, ClientHello, ContentType, DTLS_1_0, DTLS_1_2, DtlsRecord,
    EpochNumber, HandshakeFragment, HandshakeType, HelloVerifyRequest, MAX_SEQUENCE_NUMBER,
    Protocol, Random, RecordNumber, encode_record,
};

use crate::certificates::needed_buffer_len;
use crate::cookie::CookieKey;
use crate::dtls_outgoing::encode_whole_message;
use crate::negotiation::{Modes, Negotiated, negotiate};
use crate::server_resumption::ResumptionOffer;
use crate::transcript::Transcript;
use crate::{SessionId, Settings};

/// Bytes out for bytes in before an address has proved itself.
const MAX_AMPLIFICATION: usize = 3;

/// Answers ClientHellos without remembering any, until one carries a cookie that proves that its
/// sender receives at its address.
pub struct Acceptor<P> {
    provider: P,
    settings: Settings,
    cookie_key: CookieKey,
}

/// What an acceptor makes of a datagram.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator to box it with, and it is taken apart at once"
)]
pub enum Acceptance<P: CryptoProvider> {
    /// A HelloVerifyRequest of this many bytes stands in `out`; the address has proved nothing.
    Answer(usize),
    /// The address has proved itself and the offer is acceptable: a handshake may begin.
    Accept(AcceptedHello<P>),
    /// The address has proved itself but the offer isn't acceptable: an alert of `len` bytes
    /// stands in `out`.
    Refuse {
        /// Length of the alert's datagram, in bytes.
        len: usize,
        /// The alert's code point (RFC 5246 §7.2).
        description: u8,
    },
    /// Nothing is sent.
    Drop(DropReason),
}

/// A ClientHello whose sender has proved its address.
pub struct AcceptedHello<P: CryptoProvider> {
    pub(crate) transcript: Transcript<P>,
    pub(crate) client_random: Random,
    pub(crate) negotiated: Negotiated,
    pub(crate) message_seq: u16,
    pub(crate) record_number: RecordNumber,
    pub(crate) server_name: NameBuffer,
    pub(crate) offer: ResumptionOffer,
}

/// The name under which a client looks for a server, beyond the hello that said it.
pub(crate) struct NameBuffer {
    bytes: [u8; ServerName::MAX_LEN],
    len: usize,
}

impl NameBuffer {
    fn new(name: Option<ServerName<'_>>) -> Self {
        let mut bytes = [0; ServerName::MAX_LEN];
        let name = name.map_or(&[][..], |name| name.as_str().as_bytes());
        for (place, byte) in bytes.iter_mut().zip(name) {
            *place = *byte;
        }
        Self {
            bytes,
            len: name.len(),
        }
    }

    pub(crate) fn as_name(&self) -> Option<ServerName<'_>> {
        let bytes = self.bytes.get(..self.len)?;
        ServerName::new(core::str::from_utf8(bytes).ok()?).ok()
    }
}

impl<P: CryptoProvider> AcceptedHello<P> {
    /// Returns the client's random bytes, which tell a repeated hello from a new one.
    pub const fn client_random(&self) -> &Random {
        &self.client_random
    }

    /// Returns the length of each buffer that this handshake needs with these credentials, in bytes:
    /// more than [`Buffers::MIN_LEN`](crate::Buffers::MIN_LEN) only if certificates are in use.
    pub fn buffer_len<S: ServerCredentials>(&self, settings: &Settings, credentials: &S) -> usize {
        let certificates = credentials
            .certificates()
            .filter(|_| self.negotiated.certificates.is_some());
        needed_buffer_len(settings, certificates, self.server_name.as_name())
    }

    /// Returns the ID of the session that the client wants to resume; empty for none. A server that
    /// keeps sessions looks it up in its [`SessionTable`](crate::SessionTable).
    pub const fn session_id(&self) -> &SessionId {
        &self.offer.session_id
    }

    /// Returns the suite chosen.
    pub const fn suite(&self) -> CipherSuite {
        self.negotiated.suite
    }
}

impl<P: CryptoProvider> Acceptor<P> {
    /// Draws the key that cookies are made with.
    pub fn new(provider: P, settings: Settings, env: &mut Env<'_>) -> Self {
        Self {
            settings: settings.within(&provider),
            provider,
            cookie_key: CookieKey::draw(env.rng),
        }
    }

    /// Returns the settings that handshakes of this acceptor go by.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes in a datagram from an address that has no association, or that begins with a
    /// ClientHello, for a server that has pre-shared keys and no certificate.
    ///
    /// `peer` is the sender's address as bytes; it is bound into the cookie. `out` needs room for
    /// 44 bytes.
    pub fn handle_datagram(
        &self,
        env: &mut Env<'_>,
        peer: &[u8],
        datagram: &mut [u8],
        out: &mut [u8],
    ) -> Acceptance<P> {
        let modes = Modes {
            has_psk: true,
            certificates: None,
            permits_anonymous: false,
        };
        self.accept(&modes, env, peer, datagram, out)
    }

    /// Does the same for a server with any credentials: those that its handshakes then have.
    pub fn handle_datagram_with<S: ServerCredentials>(
        &self,
        credentials: &S,
        env: &mut Env<'_>,
        peer: &[u8],
        datagram: &mut [u8],
        out: &mut [u8],
    ) -> Acceptance<P> {
        self.accept(&Modes::of(credentials), env, peer, datagram, out)
    }

    fn accept(
        &self,
        modes: &Modes<'_>,
        env: &mut Env<'_>,
        peer: &[u8],
        datagram: &mut [u8],
        out: &mut [u8],
    ) -> Acceptance<P> {
        let datagram_len = datagram.len();
        let (record, message_seq, body) = match first_client_hello(datagram) {
            Ok(found) => found,
            Err(reason) => return Acceptance::Drop(reason),
        };
        let Ok(hello) = ClientHello::decode_exact(Protocol::Dtls, body) else {
            return Acceptance::Drop(DropReason::Malformed);
        };
        if hello.cookie.is_none_or(<[u8]>::is_empty) {
            let cookie = self.cookie_key.make(&self.provider, env.now, peer, &hello);
            return verify_address(record, message_seq, &cookie, datagram_len, out);
        }
        if !self.cookie_key.check(&self.provider, env.now, peer, &hello) {
            // RFC 6347 §4.2.1: a hello with an invalid cookie is treated like one without; its
            // cookie may have been made before the key changed.
            let cookie = self.cookie_key.make(&self.provider, env.now, peer, &hello);
            return verify_address(record, message_seq, &cookie, datagram_len, out);
        }
        match negotiate(&self.settings, Protocol::Dtls, modes, &hello) {
            Ok(negotiated) => {
                let mut transcript = Transcript::new(&self.provider, Protocol::Dtls);
                transcript.add(HandshakeType::ClientHello, message_seq, body);
                Acceptance::Accept(AcceptedHello {
                    transcript,
                    client_random: *hello.random,
                    message_seq,
                    record_number: record,
                    negotiated,
                    server_name: NameBuffer::new(negotiated.server_name(&hello)),
                    // Only now: nothing is looked up or opened for an address without proof.
                    offer: ResumptionOffer::of(&self.provider, &hello),
                })
            }
            Err(description) => refuse(record, description, out),
        }
    }
}

/// Returns the random bytes of the ClientHello that `datagram` begins with, if it does.
///
/// A driver needs this before it knows which machine a datagram is for: a hello with the random
/// bytes of the handshake under way repeats it, another one starts anew.
pub fn peek_client_random(datagram: &[u8]) -> Option<Random> {
    let mut header = Reader::new(datagram);
    let content_type = ContentType::from(header.u8().ok()?);
    let _version = header.u16().ok()?;
    let number = RecordNumber::from_be_bytes(*header.array().ok()?);
    let fragment = header.vector16().ok()?;
    if content_type != ContentType::Handshake || number.epoch() != EpochNumber(0) {
        return None;
    }
    let part = HandshakeFragment::decode(&mut Reader::new(fragment)).ok()?;
    if part.msg_type != HandshakeType::ClientHello {
        return None;
    }
    ClientHello::decode_exact(Protocol::Dtls, part.whole()?)
        .ok()
        .map(|hello| *hello.random)
}

/// Finds the ClientHello at the front of a datagram: whole, in one record, in clear.
fn first_client_hello(datagram: &mut [u8]) -> Result<(RecordNumber, u16, &[u8]), DropReason> {
    let (record, _) = DtlsRecord::decode(datagram).map_err(|_| DropReason::Malformed)?;
    if record.number.epoch() != EpochNumber(0) {
        return Err(DropReason::UnknownPeer);
    }
    if record.version != DTLS_1_0 && record.version != DTLS_1_2 {
        return Err(DropReason::UnsupportedVersion);
    }
    if record.content_type != ContentType::Handshake {
        return Err(DropReason::UnknownPeer);
    }
    let number = record.number;
    // This end's records go on from the hello's number (RFC 6347 §4.2.1). Nobody authenticates it:
    // near the end, it would leave a session without numbers for its last flight.
    if number.sequence_number() > MAX_SEQUENCE_NUMBER / 2 {
        return Err(DropReason::Malformed);
    }
    let fragment: &[u8] = record.fragment;
    let mut reader = Reader::new(fragment);
    let part = HandshakeFragment::decode(&mut reader).map_err(|_| DropReason::Malformed)?;
    if part.msg_type != HandshakeType::ClientHello {
        return Err(DropReason::UnknownPeer);
    }
    let body = part.whole().ok_or(DropReason::FragmentedHello)?;
    if !reader.is_empty() {
        return Err(DropReason::Malformed);
    }
    Ok((number, part.message_seq, body))
}

/// Writes a HelloVerifyRequest in answer to the ClientHello in record `number`.
fn verify_address<P: CryptoProvider>(
    number: RecordNumber,
    message_seq: u16,
    cookie: &[u8],
    datagram_len: usize,
    out: &mut [u8],
) -> Acceptance<P> {
    let mut body = [0; 3 + crate::cookie::COOKIE_LEN];
    let mut message = [0; 12 + 3 + crate::cookie::COOKIE_LEN];
    let mut datagram = Writer::new(out);
    let written = (|| {
        let mut writer = Writer::new(&mut body);
        let request = HelloVerifyRequest {
            // DEVIATES (RFC 6347 §4.2.1): DTLS 1.0, as a SHOULD there has it and as OpenSSL sends
            // it, although a MUST beside it asks for the ServerHello's version.
            server_version: DTLS_1_0,
            cookie,
        };
        request.encode(&mut writer).ok()?;
        let mut whole = Writer::new(&mut message);
        // MUST (RFC 6347 §4.2.1): the record number is the ClientHello's. Without state, the record number and the message number can
        // only be the ClientHello's own.
        encode_whole_message(
            HandshakeType::HelloVerifyRequest,
            message_seq,
            writer.written(),
            &mut whole,
        )
        .ok()?;
        encode_record(
            ContentType::Handshake,
            DTLS_1_0,
            number,
            whole.written(),
            &mut datagram,
        )
        .ok()
    })();
    let len = datagram.len();
    if written.is_none() || len > datagram_len.saturating_mul(MAX_AMPLIFICATION) {
        return Acceptance::Drop(DropReason::AmplificationLimit);
    }
    Acceptance::Answer(len)
}

/// Writes an alert to an address that has proved itself.
fn refuse<P: CryptoProvider>(
    number: RecordNumber,
    description: AlertDescription,
    out: &mut [u8],
) -> Acceptance<P> {
    let mut datagram = Writer::new(out);
    let alert = Alert::fatal(description).encode();
    match encode_record(ContentType::Alert, DTLS_1_2, number, &alert, &mut datagram) {
        Ok(()) => Acceptance::Refuse {
            len: datagram.len(),
            description: description.0,
        },
        Err(_) => Acceptance::Drop(DropReason::NotAcceptable),
    }
}
