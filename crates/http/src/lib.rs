//! A minimal HTTP/1.1 server for a device (RFC 9110, RFC 9112): it turns each request into one for the device's own
//! CoAP resources, and the response back, by the mapping of RFC 8075 seen from the other side.
//!
//! [`HttpServer`] takes the bytes of one connection and is asked for requests; whoever has resources answers
//! them. GET, HEAD, PUT, POST and DELETE, one request after the other, whole bodies with Content-Length,
//! connections that stay open. What two readers could take differently ends the connection: bare line
//! feeds, spaces before a colon, folded fields, two lengths, any transfer coding, dot segments and encoded slashes.
//!
//! It leaves out chunked bodies, ranges, content codings, upgrades, caching, and preconditions, which count as
//! not fulfilled. Sockets, clocks and TLS belong to its caller.
//!
//! # Example
//!
//! ```
//! use hedgerow_coap::{Code, ContentFormat, OptionNumber};
//! use hedgerow_http::{HttpServer, Limits, ResourceResponse};
//!
//! let mut server = HttpServer::new(Limits::default());
//! server.push(b"GET /temperature?unit=C HTTP/1.1\r\nHost: thermometer.example\r\n\r\n");
//! let request = server.poll().expect("it is whole");
//! assert_eq!(request.method, Code::GET);
//! assert_eq!(request.options, [
//!     (OptionNumber::URI_PATH, b"temperature".to_vec()),
//!     (OptionNumber::URI_QUERY, b"unit=C".to_vec()),
//! ]);
//!
//! let format = ContentFormat::TEXT_PLAIN.encode();
//! server.respond(&ResourceResponse {
//!     code: Code::CONTENT,
//!     options: &[(OptionNumber::CONTENT_FORMAT, format.as_bytes())],
//!     payload: b"21.5",
//! });
//! let answer = String::from_utf8(server.take_output()).expect("text");
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
//! assert!(answer.ends_with("\r\n\r\n21.5"));
//! ```
//!
//! # Features
//!
//! None. It is `no_std` and needs an allocator.
#![no_std]
#![cfg_attr(
    test,
    allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod head;
mod limits;
mod media_type;
mod refusal;
mod request;
mod response;
mod server;
mod target;

pub use limits::Limits;
pub use request::ResourceRequest;
pub use response::ResourceResponse;
pub use server::HttpServer;
