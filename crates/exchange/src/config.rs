//! What an exchange may use, and how it behaves.

use core::time::Duration;

use hedgerow_coap::{BlockValue, Message, MessageOption, OptionNumber};

use crate::{TokenKind, TransmissionParameters};

/// The configuration of an exchange. Many exchanges can share one: an
/// [`Exchange`](crate::Exchange) takes anything that borrows as a `Config`.
///
/// In the form of fixed capacity the smaller of a bound here and the array's size counts.
#[derive(Clone, Debug)]
pub struct Config {
    /// RFC 7252's transmission parameters.
    pub transmission: TransmissionParameters,
    /// How tokens are made: [`TokenKind::Sequential`] under a session.
    pub tokens: TokenKind,
    /// How long a Confirmable request waits for its answer to be piggybacked before an empty
    /// Acknowledgement goes out (RFC 7252 §5.2.2). Well below ACK_TIMEOUT, or peers retransmit.
    pub acknowledge_after: Duration,
    /// How long a response is waited for once its request needn't be retransmitted any more.
    pub response_timeout: Duration,
    /// After how many transmissions in a row without any sign of life from the peer
    /// [`Event::PeerUnresponsive`](crate::Event::PeerUnresponsive) comes. A Non-confirmable request
    /// counts once its `response_timeout` is over.
    pub unanswered_threshold: u8,
    /// The longest message sent, in bytes; [`poll_transmit`](crate::Exchange::poll_transmit) needs
    /// room for it.
    pub max_message_len: usize,
    /// The largest size exponent for blocks sent, 0 to 6 for 16 to 1,024 bytes (RFC 7959 §2.2).
    /// More counts as 6.
    pub max_block_szx: u8,
    /// Whether requests name the block size wanted in the response before the first one is seen
    /// (RFC 7959 §2.4).
    pub negotiate_block2: bool,
    /// Whether block-wise uploads carry a Request-Tag (RFC 9175 §3).
    pub send_request_tag: bool,
    /// The longest request or response body, sent or received, in bytes of payload.
    pub max_body_len: usize,
    /// All bodies together with their options, in bytes.
    pub max_bodies_len: usize,
    /// How often a block-wise transfer starts over when its body changed or its other end forgot
    /// it.
    pub max_block_restarts: u8,
    /// How long the state of a block-wise transfer is kept after its last block.
    pub block_lifetime: Duration,
    /// Requests of this end under way or waiting for NSTART.
    pub max_outgoing: usize,
    /// Requests of the peer under way, until their response is delivered.
    pub max_incoming: usize,
    /// Answers waiting to be fetched by [`poll_transmit`](crate::Exchange::poll_transmit).
    pub max_replies: usize,
    /// Request bodies being received block by block.
    pub max_reassemblies: usize,
    /// Responses kept for the blocks that the peer hasn't asked for yet. The oldest makes room.
    pub max_representations: usize,
    /// Message IDs of the peer remembered. A full table refuses new requests.
    pub max_seen: usize,
    /// Responses stored for duplicates, in bytes; each request under way reserves
    /// `max_message_len`.
    pub max_seen_bytes: usize,
    /// Whether the application is a proxy. If not, Proxy-Uri and Proxy-Scheme are answered with
    /// 5.05 (RFC 7252 §5.7.2).
    pub is_proxy: bool,
    /// How old a request of the peer with a method that isn't safe (RFC 7252 §5.1: all but GET and FETCH) may be;
    /// `None`, the default, for any age.
    ///
    /// A session's replay window doesn't show how long somebody on the way has held a message back. With this
    /// such a request is answered by 4.01 with an Echo option (RFC 9175 §2.3) unless it has the value of one
    /// that is younger, and the application gets it once it comes with it. It costs such requests a
    /// round trip; a client of this crate takes it by itself. Each block of an upload counts as a request.
    /// Below a second or so a loss on the way leaves no time, and a client gets 4.01 in the end.
    ///
    /// It is for an [`Exchange`](crate::Exchange) under a session whose peer is authentic: in clear a value
    /// shows nothing. A [`Connection`](crate::Connection) doesn't have it.
    pub fresh_within: Option<Duration>,
    /// Critical options that the application understands beyond RFC 7252's and RFC 7959's.
    pub understood_options: &'static [OptionNumber],
}

impl Config {
    /// Makes a configuration whose lifetimes follow from `transmission`.
    pub fn new(transmission: TransmissionParameters) -> Self {
        Self {
            transmission,
            tokens: TokenKind::Sequential,
            acknowledge_after: Duration::from_millis(500),
            response_timeout: transmission.exchange_lifetime(),
            unanswered_threshold: 2,
            // RFC 7252 §4.6: 1,152 bytes with 1,024 of payload where nothing is known of the path.
            max_message_len: 1_152,
            max_block_szx: BlockValue::MAX_SZX,
            negotiate_block2: false,
            send_request_tag: true,
            max_body_len: 128 * 1_024,
            max_bodies_len: 1_024 * 1_024,
            max_block_restarts: 2,
            block_lifetime: transmission.exchange_lifetime(),
            max_outgoing: 64,
            max_incoming: 64,
            max_replies: 64,
            max_reassemblies: 4,
            max_representations: 4,
            max_seen: 4_096,
            max_seen_bytes: 1_024 * 1_024,
            is_proxy: false,
            fresh_within: None,
            understood_options: &[],
        }
    }

    /// Returns the largest size exponent for blocks: one that the format has.
    pub(crate) fn block_szx(&self) -> u8 {
        self.max_block_szx.min(BlockValue::MAX_SZX)
    }

    /// Returns the first critical option of a message that isn't understood (RFC 7252 §5.4.1). Block
    /// options are understood here, others are the application's.
    pub(crate) fn unrecognised_critical<'m>(
        &self,
        message: &Message<'m>,
    ) -> Option<MessageOption<'m>> {
        message.unrecognised_critical(|number| self.understands(number) || !number.is_critical())
    }

    /// Says whether a request is for a proxy and the application is none.
    ///
    /// MUST (RFC 7252 §5.10.2): an endpoint that is no proxy answers it with 5.05.
    pub(crate) fn refuses_to_proxy(&self, message: &Message<'_>) -> bool {
        !self.is_proxy
            && [OptionNumber::PROXY_URI, OptionNumber::PROXY_SCHEME]
                .into_iter()
                .any(|number| message.option(number).is_some())
    }

    /// Says whether a critical option of a request is understood.
    pub(crate) fn understands(&self, number: OptionNumber) -> bool {
        matches!(
            number,
            OptionNumber::IF_MATCH
                | OptionNumber::URI_HOST
                | OptionNumber::IF_NONE_MATCH
                | OptionNumber::URI_PORT
                | OptionNumber::URI_PATH
                | OptionNumber::URI_QUERY
                | OptionNumber::ACCEPT
                | OptionNumber::BLOCK1
                | OptionNumber::BLOCK2
                | OptionNumber::PROXY_URI
                | OptionNumber::PROXY_SCHEME
        ) || self.understood_options.contains(&number)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(TransmissionParameters::default())
    }
}
