//! Bodies and the state of block-wise transfer in both roles, RFC 7959, whatever carries the
//! messages.
//!
//! The message layers ask here what to do with a request or a response and do it: nothing in here
//! sends a message or knows a timer of theirs.

use hedgerow_coap::{BlockValue, Message, MessageOption};
use hedgerow_core::{CryptoRng, Instant};

use crate::block_message::{AddedOptions, Head, write_message};
use crate::keyed_hash::HashKey;
use crate::message_content::Content;
use crate::reassembly::Reassembly;
use crate::representation::Representation;
use crate::storage::{Bodies, BodyId, List, MessageBuffer, Storage};
use crate::{Config, Error};

/// The bodies of one association, and the block-wise transfers that they belong to.
pub(crate) struct Blocks<S: Storage> {
    pub(crate) bodies: S::Bodies,
    pub(crate) reassemblies: S::List<Reassembly>,
    pub(crate) representations: S::List<Representation>,
    pub(crate) hash_key: HashKey,
    pub(crate) last_request_tag: u32,
    /// The body that the last call lent to its caller.
    lent: Option<BodyId>,
}

/// How long the messages and how large the blocks of an association may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'c> {
    pub(crate) config: &'c Config,
    /// The longest message sent, in bytes.
    pub(crate) send_len: usize,
    /// The largest size exponent of blocks sent.
    pub(crate) send_szx: u8,
    /// The largest size exponent of blocks asked for.
    pub(crate) receive_szx: u8,
    pub(crate) carrier: Carrier,
}

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Datagrams,
    /// A reliable transport, over which size exponent 7 stands for BERT (RFC 8323 §6), and a message
    /// without a block option may be as long as both ends allow.
    Stream,
}

impl<'c> Bounds<'c> {
    /// Makes the bounds over datagrams, in which no message is longer than `limit` bytes.
    pub(crate) fn datagrams<S: Storage>(config: &'c Config, limit: u16) -> Self {
        Self {
            config,
            send_len: config.sent_len::<S>(limit),
            send_szx: config.block_szx(),
            receive_szx: config.block_szx(),
            carrier: Carrier::Datagrams,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.carrier == Carrier::Stream
    }

    /// Makes the value that asks for the size preferred from the first block on.
    pub(crate) fn preferred_block2(&self) -> Option<BlockValue> {
        BlockValue::new_reliable(0, false, self.receive_szx)
            .filter(|_| self.config.negotiate_block2)
    }
}

impl Config {
    /// Returns the longest message that is sent, in bytes: what the configuration says, or less
    /// where the form can't hold it or what lies below can't carry it.
    pub(crate) fn sent_len<S: Storage>(&self, limit: u16) -> usize {
        self.max_message_len
            .min(S::Message::CAPACITY)
            .min(usize::from(limit))
            .max(hedgerow_coap::Header::LEN)
    }
}

impl<S: Storage> Blocks<S> {
    pub(crate) fn new(rng: &mut dyn CryptoRng) -> Self {
        Self {
            bodies: S::Bodies::default(),
            reassemblies: S::List::default(),
            representations: S::List::default(),
            hash_key: HashKey::new(rng),
            last_request_tag: 0,
            lent: None,
        }
    }

    /// Leaves a body to the caller until [`Self::release_lent`] and decodes it.
    pub(crate) fn lend(&mut self, body: BodyId) -> Option<Message<'_>> {
        self.lent = Some(body);
        Message::decode(self.bodies.bytes(body)).ok()
    }

    pub(crate) fn release_lent(&mut self) {
        if let Some(body) = self.lent.take() {
            self.bodies.release(body);
        }
    }

    /// Says whether no transfer in the server's role is remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.reassemblies.as_slice().is_empty() && self.representations.as_slice().is_empty()
    }

    /// Frees the state of transfers that nobody went on with.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.expire_reassemblies(now);
        self.expire_representations(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let reassemblies = self.reassemblies.as_slice().iter();
        let representations = self.representations.as_slice().iter();
        reassemblies
            .filter_map(Reassembly::expires)
            .chain(representations.map(Representation::expires))
            .min()
    }

    /// Frees the state of every transfer in the server's role.
    pub(crate) fn clear(&mut self) {
        while !self.reassemblies.as_slice().is_empty() {
            self.remove_reassembly(0);
        }
        while !self.representations.as_slice().is_empty() {
            self.remove_representation(0);
        }
    }

    /// Stores a whole request or response as one message.
    pub(crate) fn keep(
        &mut self,
        config: &Config,
        content: &Content<'_>,
        added: &AddedOptions,
        options_len: usize,
    ) -> Result<BodyId, Error> {
        let max = config.max_body_len;
        let payload_len = content.payload.len();
        if payload_len > max {
            return Err(Error::BodyTooLong {
                len: payload_len,
                max,
            });
        }
        let len = options_len
            .saturating_add(KEPT_OVERHEAD)
            .saturating_add(payload_len);
        let body = self
            .bodies
            .allocate(len, config.max_bodies_len)
            .ok_or(Error::NoRoomForBody { len })?;
        let written = write_message(
            self.bodies.bytes_mut(body),
            Head::kept(content.code),
            content.options.iter().copied(),
            added,
            content.payload,
        );
        match written {
            Ok(len) => {
                self.bodies.truncate(body, len);
                Ok(body)
            }
            Err(error) => {
                self.bodies.release(body);
                Err(error.into())
            }
        }
    }

    /// Stores a message with `options` instead of its own, as the beginning of a body.
    pub(crate) fn keep_message<'o>(
        &mut self,
        config: &Config,
        message: &Message<'_>,
        options: impl Iterator<Item = MessageOption<'o>> + Clone,
    ) -> Option<BodyId> {
        // Leaving an option out can lengthen the next one's header by two bytes.
        let options_len = options.clone().fold(0_usize, |len, option| {
            len.saturating_add(5).saturating_add(option.value().len())
        });
        let len = options_len
            .saturating_add(5)
            .saturating_add(message.payload().len());
        let body = self.bodies.allocate(len, config.max_bodies_len)?;
        let head = Head::kept(message.code());
        let out = self.bodies.bytes_mut(body);
        let added = AddedOptions::default();
        match write_message(out, head, options, &added, message.payload()) {
            Ok(len) => {
                self.bodies.truncate(body, len);
                Some(body)
            }
            Err(_) => {
                self.bodies.release(body);
                None
            }
        }
    }

    /// Returns the lengths of the options and of the payload of a message that is kept, in bytes.
    pub(crate) fn kept_lens(&self, body: BodyId) -> (usize, usize) {
        let bytes = self.bodies.bytes(body);
        let payload_len = Message::decode(bytes).map_or(0, |message| message.payload().len());
        (bytes.len().saturating_sub(payload_len), payload_len)
    }
}

/// Header, payload marker and an ETag of this end.
const KEPT_OVERHEAD: usize = 4 + 1 + 10;
