//! CoAP as bytes and text, without state and without an allocator: RFC 7252 (messages, options,
//! content formats, URIs), the frames and signaling messages of RFC 8323 (reliable transports), the
//! option values of RFC 7959 (block-wise transfer), the link format of RFC 6690, and by name the
//! options of RFC 7641, 7967, 8613, 8768, 9175 and 9177.
//!
//! Decoding borrows from the datagram or the stream, encoding appends to the caller's buffer. What
//! decodes is valid by construction; what doesn't says whether it may be answered with a Reset
//! ([`DecodeError::rejectable`]). Unknown codes, options and types survive a round trip.
//!
//! It leaves out whatever needs memory between two messages: retransmission, deduplication,
//! matching of responses, block-wise assembly, observation and caching.
//!
//! # Example
//!
//! ```
//! use hedgerow_coap::{CoapUri, Code, Message, MessageId, MessageType, MessageWriter, Token};
//!
//! let mut out = [0u8; 64];
//! let token = Token::from([0x71, 0x72]);
//! let id = MessageId(0x7d34);
//! let mut writer =
//!     MessageWriter::new(&mut out, MessageType::Confirmable, Code::GET, id, token)?;
//! let uri = CoapUri::parse("coap://192.0.2.1/temperature")?;
//! uri.write_options(None, &[], &mut writer)?;
//! let len = writer.finish();
//!
//! let message = Message::decode(&out[..len])?;
//! assert_eq!(message.code(), Code::GET);
//! assert_eq!(message.token(), token);
//! let mut options = message.options();
//! assert_eq!(options.next().map(|option| option.value()), Some(b"temperature".as_slice()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None. The crate never needs an allocator.
#![no_std]

#[cfg(test)]
extern crate std;

mod block;
mod code;
mod content_format;
mod error;
mod frame;
mod header;
mod link;
mod link_filter;
mod link_writer;
mod message;
mod option_number;
mod options;
mod path;
mod percent;
mod scheme;
mod signaling;
mod slice_text;
mod token;
mod uint;
mod uri;
mod uri_compose;
mod uri_error;
mod uri_host;
mod writer;

pub use block::{BlockError, BlockValue};
pub use code::Code;
pub use content_format::ContentFormat;
pub use error::{DecodeError, EncodeError, FormatError};
pub use frame::{Frame, FrameError, FrameHeader};
pub use header::{Header, MessageId, MessageType};
pub use link::{Attribute, AttributeValue, Attributes, Link, LinkError, Links};
pub use link_filter::LinkFilter;
pub use link_writer::LinkWriter;
pub use message::Message;
pub use option_number::{OptionDefinition, OptionFormat, OptionNumber};
pub use options::{MAX_OPTION_LEN, MessageOption, Options};
pub use scheme::Scheme;
pub use signaling::{
    Abort, AlternativeAddresses, Csm, Release, Signal, SignalingError, SignalingMessage,
};
pub use token::{MAX_TOKEN_LEN, Token};
pub use uint::{UintValue, decode_uint};
pub use uri::CoapUri;
pub use uri_error::UriError;
pub use uri_host::UriHost;
pub use writer::MessageWriter;
