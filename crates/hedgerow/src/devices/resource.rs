//! What a device consists of, and how a request finds it.

use hedgerow_coap::{Code, ContentFormat, OptionNumber, UintValue};
use hedgerow_core::Instant;
use hedgerow_net::{RequestMessage, ResponseMessage};

use super::conditions::{entity_tag, is_known_to_client, unmet_precondition};
use super::well_known_core;

/// One resource of a device, as its device declares it.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// The path without a leading slash.
    pub path: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// What it is, for programs: the link attribute `rt` (RFC 6690 §3.1).
    pub resource_type: &'static str,
    /// How to use it: the link attribute `if` (RFC 6690 §3.2).
    pub interface: &'static str,
    /// The methods it has.
    pub methods: &'static [Code],
    /// The formats it is read in, the one without an Accept option first.
    pub formats: &'static [ContentFormat],
    /// The formats it is written in, the one without a Content-Format option first.
    pub accepts: &'static [ContentFormat],
    /// How long a representation may be reused, in seconds (RFC 7252 §5.10.5).
    pub max_age: u32,
    /// About how long the representation is, in bytes, if it is long (RFC 6690 §3.3).
    pub size: Option<u32>,
}

/// A request that changes something, after every check but the one of its payload.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// PUT, POST or DELETE.
    pub method: Code,
    /// The format of the payload: one that the resource accepts.
    pub format: ContentFormat,
    /// The payload.
    pub payload: &'a [u8],
    /// The format in which the client wants to read an answer.
    pub accepted: ContentFormat,
}

/// A simulated device.
pub trait Device {
    /// Lists what the device has.
    fn resources(&self) -> &'static [Resource];

    /// Returns what `resource` looks like at `now` in one of its formats; `None` while there is
    /// nothing.
    fn represent(
        &self,
        now: Instant,
        resource: &Resource,
        format: ContentFormat,
    ) -> Option<Vec<u8>>;

    /// Does what `write` asks of `resource`, or refuses it.
    fn write(&mut self, now: Instant, resource: &Resource, write: &Write<'_>) -> ResponseMessage;

    /// Answers a whole request.
    fn handle(&mut self, now: Instant, request: &RequestMessage) -> ResponseMessage {
        let path: Vec<&[u8]> = request.values(OptionNumber::URI_PATH).collect();
        if path == [b".well-known".as_slice(), b"core"] {
            return well_known_core::answer(self.resources(), request);
        }
        let found = self.resources().iter().find(|resource| {
            let segments = resource.path.split('/').map(str::as_bytes);
            segments.eq(path.iter().copied())
        });
        let Some(resource) = found else {
            return refuse(Code::NOT_FOUND, "no such resource: see /.well-known/core");
        };
        if request.values(OptionNumber::URI_QUERY).next().is_some() {
            return refuse(Code::NOT_FOUND, "no such resource: it takes no query");
        }
        if !resource.methods.contains(&request.method) {
            return refuse(Code::METHOD_NOT_ALLOWED, "the resource has another method");
        }
        let tags: Vec<_> = resource
            .formats
            .iter()
            .filter_map(|&format| Some((format, self.represent(now, resource, format)?)))
            .map(|(format, body)| entity_tag(format, &body))
            .collect();
        if unmet_precondition(request, &tags) {
            return refuse(
                Code::PRECONDITION_FAILED,
                "the resource is in another state",
            );
        }
        let Some(accepted) = choose(request, OptionNumber::ACCEPT, resource.formats) else {
            return refuse(
                Code::NOT_ACCEPTABLE,
                &named("it is available as", resource.formats),
            );
        };
        if request.method == Code::GET {
            return match self.represent(now, resource, accepted) {
                Some(body) => content(request, resource, accepted, body),
                None => refuse(Code::NOT_FOUND, "nothing there yet"),
            };
        }
        let Some(format) = choose(request, OptionNumber::CONTENT_FORMAT, resource.accepts) else {
            let text = named("it is written as", resource.accepts);
            return refuse(Code::UNSUPPORTED_CONTENT_FORMAT, &text);
        };
        let write = Write {
            method: request.method,
            format,
            payload: &request.payload,
            accepted,
        };
        self.write(now, resource, &write)
    }
}

/// Makes an error response with a diagnostic payload (RFC 7252 §5.5.2).
pub(super) fn refuse(code: Code, diagnostic: &str) -> ResponseMessage {
    ResponseMessage::new(code).payload(diagnostic)
}

/// Makes the response that carries `body`, or says that the client has it already.
pub(super) fn content(
    request: &RequestMessage,
    resource: &Resource,
    format: ContentFormat,
    body: Vec<u8>,
) -> ResponseMessage {
    let tag = entity_tag(format, &body);
    let max_age = UintValue::new(resource.max_age);
    if is_known_to_client(request, &tag) {
        return ResponseMessage::new(Code::VALID)
            .option(OptionNumber::ETAG, tag)
            .option(OptionNumber::MAX_AGE, max_age.as_bytes());
    }
    ResponseMessage::new(Code::CONTENT)
        .option(OptionNumber::ETAG, tag)
        .option(OptionNumber::CONTENT_FORMAT, format.encode().as_bytes())
        .option(OptionNumber::MAX_AGE, max_age.as_bytes())
        .payload(body)
}

/// Chooses from `formats` what the option asks for, or the first where there is no option.
pub(super) fn choose(
    request: &RequestMessage,
    number: OptionNumber,
    formats: &[ContentFormat],
) -> Option<ContentFormat> {
    match request.values(number).next() {
        None => formats.first().copied(),
        Some(value) => {
            let asked = ContentFormat::decode(value)?;
            formats.contains(&asked).then_some(asked)
        }
    }
}

fn named(text: &str, formats: &[ContentFormat]) -> String {
    let names: Vec<_> = formats.iter().map(ToString::to_string).collect();
    format!("{text} {}", names.join(" or "))
}
