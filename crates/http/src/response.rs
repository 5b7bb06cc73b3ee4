//! From a resource's response to HTTP's (RFC 8075 §7).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use hedgerow_coap::{Code, ContentFormat, OptionNumber, decode_uint};

use crate::refusal::Refusal;

/// A resource's response, as CoAP has it.
#[derive(Clone, Copy)]
pub struct ResourceResponse<'a> {
    /// The response code.
    pub code: Code,
    /// The options; Content-Format, Max-Age, ETag, Location-Path and Location-Query count.
    pub options: &'a [(OptionNumber, &'a [u8])],
    /// The body, or a diagnostic text for people.
    pub payload: &'a [u8],
}

impl fmt::Debug for ResourceResponse<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As of a request: options and payload are for the client alone.
        formatter
            .debug_struct("ResourceResponse")
            .field("code", &self.code)
            .field("options", &self.options.len())
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

impl<'a> ResourceResponse<'a> {
    fn values(&self, number: OptionNumber) -> impl Iterator<Item = &'a [u8]> {
        let options = self.options.iter();
        options.filter_map(move |(found, value)| (*found == number).then_some(*value))
    }
}

/// What of the request the response depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) is_get: bool,
    pub(crate) keeps_alive: bool,
}

/// Writes a resource's response.
pub(crate) fn write_response(response: &ResourceResponse<'_>, asked: Asked, out: &mut Vec<u8>) {
    let (status, reason) = status(response, asked);
    let mut head = begin(status, reason, asked.keeps_alive);
    if let Some(tag) = response.values(OptionNumber::ETAG).next() {
        let _ = head.write_str("ETag: \"");
        for byte in tag {
            let _ = write!(head, "{byte:02x}");
        }
        let _ = head.write_str("\"\r\n");
    }
    let max_age = response.values(OptionNumber::MAX_AGE).next();
    if let Some(seconds) = max_age.and_then(decode_uint) {
        let _ = write!(head, "Cache-Control: max-age={seconds}\r\n");
    }
    if response.code == Code::CREATED {
        write_location(response, &mut head);
    }
    let mut body = response.payload;
    if status == 204 {
        // MUST (RFC 9110 §8.6): no length either.
        body = &[];
    } else {
        if !body.is_empty() {
            let _ = write!(head, "Content-Type: {}\r\n", media_type(response));
        }
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    out.extend_from_slice(head.as_bytes());
    if !asked.is_head {
        out.extend_from_slice(body);
    }
}

/// Writes the server's own answer.
pub(crate) fn write_refusal(refusal: Refusal, asked: Asked, out: &mut Vec<u8>) {
    let (status, reason) = refusal.status();
    let mut head = begin(status, reason, asked.keeps_alive);
    head.push_str("Content-Length: 0\r\n\r\n");
    out.extend_from_slice(head.as_bytes());
}

fn begin(status: u16, reason: &str, keeps_alive: bool) -> String {
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    if !keeps_alive {
        head.push_str("Connection: close\r\n");
    }
    head
}

/// RFC 8075 §7, table 2. A class that the table lacks is what its x.00 is.
fn status(response: &ResourceResponse<'_>, asked: Asked) -> (u16, &'static str) {
    match response.code {
        Code::CREATED => (201, "Created"),
        Code::DELETED | Code::CHANGED if response.payload.is_empty() => (204, "No Content"),
        Code::DELETED | Code::CHANGED | Code::CONTENT => (200, "OK"),
        Code::UNAUTHORIZED | Code::FORBIDDEN => (403, "Forbidden"),
        Code::NOT_FOUND => (404, "Not Found"),
        Code::NOT_ACCEPTABLE => (406, "Not Acceptable"),
        Code::PRECONDITION_FAILED => (412, "Precondition Failed"),
        Code::REQUEST_ENTITY_TOO_LARGE => (413, "Content Too Large"),
        Code::UNSUPPORTED_CONTENT_FORMAT => (415, "Unsupported Media Type"),
        Code::NOT_IMPLEMENTED => (501, "Not Implemented"),
        Code::BAD_GATEWAY | Code::PROXYING_NOT_SUPPORTED => (502, "Bad Gateway"),
        Code::SERVICE_UNAVAILABLE => (503, "Service Unavailable"),
        Code::GATEWAY_TIMEOUT => (504, "Gateway Timeout"),
        code => match code.class() {
            2 if asked.is_get => (200, "OK"),
            2 if response.payload.is_empty() => (204, "No Content"),
            2 => (200, "OK"),
            // 4.05 too: HTTP's own wants to know which methods there are.
            4 => (400, "Bad Request"),
            _ => (500, "Internal Server Error"),
        },
    }
}

/// RFC 8075 §6.2; a number that isn't known has a type of its own. Without one a body is octets, and with an error a text
/// (RFC 7252 §5.5.2).
fn media_type(response: &ResourceResponse<'_>) -> String {
    let format = response.values(OptionNumber::CONTENT_FORMAT).next();
    match format.and_then(ContentFormat::decode) {
        Some(format) => match (format.media_type(), format.content_coding()) {
            (Some(media_type), None) => media_type.into(),
            _ => format!("application/coap-payload;cf={}", format.0),
        },
        None if response.code.class() == 2 => "application/octet-stream".into(),
        None => "text/plain;charset=utf-8".into(),
    }
}

fn write_location(response: &ResourceResponse<'_>, head: &mut String) {
    let mut location = String::new();
    for segment in response.values(OptionNumber::LOCATION_PATH) {
        location.push('/');
        write_percent(segment, &mut location);
    }
    let mut sign = '?';
    for argument in response.values(OptionNumber::LOCATION_QUERY) {
        location.push(sign);
        write_percent(argument, &mut location);
        sign = '&';
    }
    if !location.is_empty() {
        let _ = write!(head, "Location: {location}\r\n");
    }
}

/// Only what can't be taken for anything else stands as it is (RFC 3986 §2.3).
fn write_percent(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'=' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}
