//! The CoAP request that an HTTP request becomes.

use std::fmt;

use hedgerow_coap::{
    Code, ContentFormat, EncodeError, MessageOption, MessageWriter, OptionNumber, UintValue,
};

use crate::{EntityTag, Failure, Target};

/// A CoAP request without what only the message layer knows: type, message ID, token and blocks.
///
/// Its `Debug` output has the length of the body and not the body.
#[derive(Clone, PartialEq, Eq)]
pub struct CoapRequest {
    pub(crate) method: Code,
    pub(crate) target: Target,
    pub(crate) if_match: Vec<IfMatch>,
    pub(crate) entity_tags: Vec<EntityTag>,
    pub(crate) if_none_match: bool,
    pub(crate) content_format: Option<ContentFormat>,
    pub(crate) hop_limit: Option<u8>,
    /// What to ask for, the next one first; never empty before the last is taken.
    pub(crate) accept: Vec<Option<ContentFormat>>,
    pub(crate) body: Vec<u8>,
    pub(crate) max_body: usize,
}

/// The value of an If-Match option (RFC 7252 §5.10.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// The resource exists.
    Exists,
    /// The resource has this entity tag.
    Tag(EntityTag),
}

impl fmt::Debug for CoapRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CoapRequest")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("content_format", &self.content_format)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl CoapRequest {
    /// Returns the method.
    pub const fn method(&self) -> Code {
        self.method
    }

    /// Returns the resource asked for, and with it where the request goes.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the conditions of which one has to hold; none if the list is empty.
    pub fn if_match(&self) -> &[IfMatch] {
        &self.if_match
    }

    /// Says whether the request is to succeed only if the resource doesn't exist yet.
    pub const fn if_none_match(&self) -> bool {
        self.if_none_match
    }

    /// Returns the entity tags of the representations that the client has.
    pub fn entity_tags(&self) -> &[EntityTag] {
        &self.entity_tags
    }

    /// Returns the body's format.
    pub const fn content_format(&self) -> Option<ContentFormat> {
        self.content_format
    }

    /// Returns the format asked for.
    pub fn accept(&self) -> Option<ContentFormat> {
        self.accept.first().copied().flatten()
    }

    /// Returns the body, which the block layer cuts where it has to.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Says whether the request may be sent anew after an unknown outcome: GET, PUT, DELETE and
    /// iPATCH change nothing the second time (RFC 7252 §5.8, RFC 8132 §3), unless a condition
    /// could see the first time.
    pub fn is_repeatable(&self) -> bool {
        let is_conditional = self.if_none_match || !self.if_match.is_empty();
        match self.method {
            Code::GET => true,
            Code::PUT | Code::DELETE | Code::IPATCH => !is_conditional,
            _ => false,
        }
    }

    /// Gives the request its body, once it has been read.
    ///
    /// # Errors
    ///
    /// [`Failure::RequestBodyTooLarge`]; [`Failure::UnexpectedBody`] for a body with GET or DELETE;
    /// [`Failure::UnsupportedMediaType`] if text that would be called UTF-8 isn't.
    pub fn set_body(&mut self, body: Vec<u8>) -> Result<(), Failure> {
        let max = self.max_body;
        if body.len() > max {
            return Err(Failure::RequestBodyTooLarge { max });
        }
        if body.is_empty() {
            self.content_format = None;
        } else if matches!(self.method, Code::GET | Code::DELETE) {
            return Err(Failure::UnexpectedBody);
        } else if self.content_format == Some(ContentFormat::TEXT_PLAIN)
            && std::str::from_utf8(&body).is_err()
        {
            return Err(Failure::UnsupportedMediaType);
        }
        self.body = body;
        Ok(())
    }

    /// Goes on to the next format that the client accepts, and says whether there is one. Call it
    /// when a GET was answered with 4.06, and send the request again with a new message ID and
    /// token (RFC 8075 §6.1).
    pub fn next_accept(&mut self) -> bool {
        if self.method != Code::GET || self.accept.len() < 2 {
            return false;
        }
        self.accept.remove(0);
        true
    }

    /// Hands every option to `visit`, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// Those of `visit`, at which the walk ends.
    pub fn try_for_each_option<E>(
        &self,
        mut visit: impl FnMut(MessageOption<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut give = |number, value: &[u8]| visit(MessageOption::new(number, value));
        for condition in &self.if_match {
            match condition {
                IfMatch::Exists => give(OptionNumber::IF_MATCH, &[])?,
                IfMatch::Tag(tag) => give(OptionNumber::IF_MATCH, tag.as_bytes())?,
            }
        }
        if let Some(host) = self.target.uri_host() {
            give(OptionNumber::URI_HOST, host.as_bytes())?;
        }
        for tag in &self.entity_tags {
            give(OptionNumber::ETAG, tag.as_bytes())?;
        }
        if self.if_none_match {
            give(OptionNumber::IF_NONE_MATCH, &[])?;
        }
        for segment in self.target.uri_path() {
            give(OptionNumber::URI_PATH, segment.as_bytes())?;
        }
        if let Some(format) = self.content_format {
            give(OptionNumber::CONTENT_FORMAT, format.encode().as_bytes())?;
        }
        for argument in self.target.uri_query() {
            give(OptionNumber::URI_QUERY, argument.as_bytes())?;
        }
        if let Some(hops) = self.hop_limit {
            let value = UintValue::new(u32::from(hops));
            give(OptionNumber::HOP_LIMIT, value.as_bytes())?;
        }
        if let Some(format) = self.accept() {
            give(OptionNumber::ACCEPT, format.encode().as_bytes())?;
        }
        Ok(())
    }

    /// Appends every option to a message, and between them, in their places, `others`: what the
    /// layers below add, such as Block1 or Request-Tag, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// Those of [`MessageWriter::option`].
    pub fn write_options(
        &self,
        others: &[MessageOption<'_>],
        writer: &mut MessageWriter<'_>,
    ) -> Result<(), EncodeError> {
        let mut others = others.iter().copied().peekable();
        self.try_for_each_option(|option| {
            while let Some(other) = others.next_if(|other| other.number() < option.number()) {
                writer.copy_option(other)?;
            }
            writer.copy_option(option)
        })?;
        others.try_for_each(|other| writer.copy_option(other))
    }
}
