//! From an HTTP request to one for the device's resources.

use alloc::vec::Vec;
use core::fmt;

use hedgerow_coap::{Code, ContentFormat, OptionNumber};

use crate::Limits;
use crate::head::Head;
use crate::media_type::{accepted_format, body_format};
use crate::refusal::Refusal;
use crate::target::{OwnedOption, map_target};

/// A request for a resource, as CoAP has it.
#[derive(Clone, PartialEq, Eq)]
pub struct ResourceRequest {
    /// GET, POST, PUT or DELETE; HEAD is GET.
    pub method: Code,
    /// Uri-Path, Uri-Query, Content-Format and Accept, as far as there are any.
    pub options: Vec<OwnedOption>,
    /// The body.
    pub payload: Vec<u8>,
}

impl fmt::Debug for ResourceRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Path and body are the client's secret.
        formatter
            .debug_struct("ResourceRequest")
            .field("method", &self.method)
            .field("options", &self.options.len())
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

/// Maps a whole request.
pub(crate) fn map_request(
    head: &Head<'_>,
    body: &[u8],
    limits: &Limits,
) -> Result<ResourceRequest, Refusal> {
    let method = match head.method {
        "GET" | "HEAD" => Code::GET,
        "POST" => Code::POST,
        "PUT" => Code::PUT,
        "DELETE" => Code::DELETE,
        // RFC 9110 §9.1: methods are in capitals, and others aren't implemented.
        _ => return Err(Refusal::NotImplemented),
    };
    check_preconditions(head, method)?;
    let mut options = Vec::new();
    map_target(head.target, limits.max_options, &mut options)?;
    let mut put = |number, format: Option<ContentFormat>| {
        if let Some(format) = format {
            options.push((number, format.encode().as_bytes().to_vec()));
        }
    };
    put(OptionNumber::CONTENT_FORMAT, body_format(head)?);
    put(OptionNumber::ACCEPT, accepted_format(head)?);
    if method == Code::GET && !body.is_empty() {
        // RFC 9110 §9.3.1: it has no meaning there.
        return Err(Refusal::BadRequest);
    }
    Ok(ResourceRequest {
        method,
        options,
        payload: body.to_vec(),
    })
}

/// A precondition that can't be checked counts as not fulfilled (RFC 9110 §13.1): nothing is changed. A client that
/// asks whether its copy is still good gets a whole answer.
fn check_preconditions(head: &Head<'_>, method: Code) -> Result<(), Refusal> {
    let has = |name| head.values(name).next().is_some();
    let is_unmet = has("if-match")
        || has("if-unmodified-since")
        || (method != Code::GET && has("if-none-match"));
    match is_unmet {
        true => Err(Refusal::PreconditionFailed),
        false => Ok(()),
    }
}
