//! The stateless front of a server without security: who proves that it receives at its address,
//! RFC 9175 §2.3 and §2.4.
//!
//! ```text
//! client                                      server
//!   |---- CON GET, MID 7 ----------------------->|  nothing is kept
//!   |<--- ACK 4.01, MID 7, Echo: 7, digest ------|
//!   |---- CON GET, MID 8, Echo: 7, digest ------>|  an association begins; MID 7 counts as seen
//!   |<--- ACK 2.05, MID 8 -----------------------|
//! ```

use hedgerow_coap::{
    Code, Header, Message, MessageId, MessageType, MessageWriter, OptionNumber, Token,
};
use hedgerow_core::{
    AddressProofKey, CryptoProvider, DropReason, Env, Instant, ProofPeriod, SHA256_LEN, ct_eq,
};

/// Answers whoever has not proved its address, and remembers nothing of it.
///
/// It is to a server without security what the acceptor of DTLS is to one with it: a request is
/// answered by 4.01 (Unauthorized) with an Echo option, whose value only the receiver at that
/// address can send back. No answer is longer than three times what it answers.
#[derive(Debug)]
pub struct EchoAcceptor<P> {
    provider: P,
    key: AddressProofKey,
}

/// What became of a message whose sender is unknown.
#[derive(Debug)]
pub enum EchoAcceptance {
    /// So many bytes stand in `out`, to be sent back.
    Answer(usize),
    /// The sender has proved its address: an association may begin, and the message is for it.
    Accept(Echoed),
    /// Nothing is to be answered.
    Drop(DropReason),
}

/// Stands for an Echo value of this end that came back from where it went.
///
/// It names the request that the value had answered, for
/// [`Exchange::note_challenged`](crate::Exchange::note_challenged).
#[derive(Clone, Copy, Debug)]
pub struct Echoed {
    pub(crate) challenged: MessageId,
}

impl<P: CryptoProvider> EchoAcceptor<P> {
    /// Draws the key. Values are accepted for one to two minutes.
    pub fn new(provider: P, env: &mut Env<'_>) -> Self {
        Self {
            provider,
            key: AddressProofKey::draw(env.rng),
        }
    }

    /// Takes in one message, all of its datagram, from `peer`: the sender's address as opaque bytes,
    /// which the value is bound to. `out` needs room for 24 bytes.
    ///
    /// The same message gets the same answer, as long as the key of its minute is used.
    pub fn handle_message(
        &self,
        now: Instant,
        peer: &[u8],
        datagram: &[u8],
        out: &mut [u8],
    ) -> EchoAcceptance {
        let message = match Message::decode(datagram) {
            Ok(message) => message,
            Err(error) => {
                return match error.rejectable() {
                    Some(header) if header.message_type == MessageType::Confirmable => {
                        reset(header.message_id, out)
                    }
                    _ => EchoAcceptance::Drop(error.drop_reason()),
                };
            }
        };
        let code = message.code();
        let is_confirmable = message.message_type() == MessageType::Confirmable;
        if !code.is_request() {
            // MUST (RFC 7252 §4.2, §4.3): a Confirmable message that lacks context is rejected; a ping
            // is, by the same Reset. It is no longer than what it answers.
            return match is_confirmable {
                true => reset(message.message_id(), out),
                false => EchoAcceptance::Drop(DropReason::Unmatched),
            };
        }
        if !message.message_type().may_carry(code) {
            return EchoAcceptance::Drop(DropReason::UnexpectedMessage);
        }
        if let Some(echoed) = self.check(now, peer, &message) {
            return EchoAcceptance::Accept(echoed);
        }
        // MUST (RFC 9175 §2.3): what isn't proved isn't processed further.
        let max = datagram.len().saturating_mul(MAX_AMPLIFICATION);
        let room = out.len().min(max);
        let room = out.get_mut(..room).unwrap_or_default();
        match self.answer_with_challenge(now, peer, &message, room) {
            Some(len) => EchoAcceptance::Answer(len),
            None => EchoAcceptance::Drop(DropReason::AmplificationLimit),
        }
    }

    /// Says whether a message from `peer` has an Echo value that this end made for that address and
    /// still accepts.
    pub fn check(&self, now: Instant, peer: &[u8], message: &Message<'_>) -> Option<Echoed> {
        let value = message.option(OptionNumber::ECHO)?.value();
        // RFC 9175 §2.2.1: whatever has another length is none of ours.
        let (&id, tag) = value.split_first_chunk::<2>()?;
        let challenged = MessageId(u16::from_be_bytes(id));
        let is_ours = ProofPeriod::accepted(now).into_iter().any(|period| {
            let digest = self.digest(period, peer, challenged);
            ct_eq(tag_of(&digest), tag)
        });
        is_ours.then_some(Echoed { challenged })
    }

    /// Writes the challenge in the place of an answer that would be piggybacked on the Acknowledgement of
    /// the request with this message ID and token.
    ///
    /// It returns the length in bytes; `None` if `out` is too short.
    pub fn challenge(
        &self,
        now: Instant,
        peer: &[u8],
        request: MessageId,
        token: Token,
        out: &mut [u8],
    ) -> Option<usize> {
        let digest = self.digest(ProofPeriod::at(now), peer, request);
        let head = (MessageType::Acknowledgement, request, token);
        write_challenge(head, request, &digest, out)
    }

    fn answer_with_challenge(
        &self,
        now: Instant,
        peer: &[u8],
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let (challenged, token) = (message.message_id(), message.token());
        if message.message_type() == MessageType::Confirmable {
            return self.challenge(now, peer, challenged, token, out);
        }
        let digest = self.digest(ProofPeriod::at(now), peer, challenged);
        // The answer to a Non-confirmable request has a message ID of its own (RFC 7252 §5.2.3).
        // Nothing counts them here, so it is one that nobody else can tell, the same for duplicates.
        let id = hidden(challenged, &digest);
        let head = (MessageType::NonConfirmable, id, token);
        write_challenge(head, challenged, &digest, out)
    }

    fn digest(&self, period: ProofPeriod, peer: &[u8], challenged: MessageId) -> [u8; SHA256_LEN] {
        let parts: [&[u8]; 2] = [peer, &challenged.0.to_be_bytes()];
        self.key
            .digest(&self.provider, b"echo period", period, &parts)
    }
}

fn reset(message_id: MessageId, out: &mut [u8]) -> EchoAcceptance {
    let reset = Header::reset(message_id).encode();
    match out.get_mut(..reset.len()) {
        Some(place) => {
            place.copy_from_slice(&reset);
            EchoAcceptance::Answer(reset.len())
        }
        None => EchoAcceptance::Drop(DropReason::AmplificationLimit),
    }
}

fn write_challenge(
    (message_type, message_id, token): (MessageType, MessageId, Token),
    challenged: MessageId,
    digest: &[u8; SHA256_LEN],
    out: &mut [u8],
) -> Option<usize> {
    let mut value = [0; ECHO_LEN];
    let (id, tag) = value.split_at_mut(2);
    id.copy_from_slice(&challenged.0.to_be_bytes());
    tag.copy_from_slice(tag_of(digest));
    let code = Code::UNAUTHORIZED;
    let mut writer = MessageWriter::new(out, message_type, code, message_id, token).ok()?;
    writer.option(OptionNumber::ECHO, &value).ok()?;
    Some(writer.finish())
}

fn tag_of(digest: &[u8; SHA256_LEN]) -> &[u8] {
    digest.split_at(TAG_LEN).0
}

fn hidden(id: MessageId, digest: &[u8; SHA256_LEN]) -> MessageId {
    let [.., high, low] = *digest;
    MessageId(id.0 ^ u16::from_be_bytes([high, low]))
}

/// What an unproved address gets for each byte that came from it, in bytes: RFC 7252 §11.3 asks for a
/// bound, and DTLS's is three.
const MAX_AMPLIFICATION: usize = 3;

/// Bytes of the digest in an Echo value. Whoever spoofs an address has one guess in 2^48 a datagram, and
/// wins an association at that address for a while; a longer one wouldn't fit the bound for short
/// requests.
const TAG_LEN: usize = 6;

/// Length of an Echo value, in bytes: the message ID of the request that it answers, and the digest.
const ECHO_LEN: usize = 2 + TAG_LEN;
