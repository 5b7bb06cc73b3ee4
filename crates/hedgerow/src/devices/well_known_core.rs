//! `/.well-known/core`, RFC 6690 §4.

use hedgerow_coap::{Code, ContentFormat, LinkError, LinkFilter, LinkWriter, Links, OptionNumber};
use hedgerow_net::{RequestMessage, ResponseMessage};

use super::resource::{Resource, choose, content, refuse};

/// Answers a request for the list of resources, filtered as its query asks (RFC 6690 §4.1).
pub(super) fn answer(resources: &[Resource], request: &RequestMessage) -> ResponseMessage {
    if request.method != Code::GET {
        return refuse(Code::METHOD_NOT_ALLOWED, "the list of resources is read");
    }
    let Some(format) = choose(request, OptionNumber::ACCEPT, DIRECTORY.formats) else {
        let text = "the list of resources is available as application/link-format";
        return refuse(Code::NOT_ACCEPTABLE, text);
    };
    let arguments: Vec<&[u8]> = request.values(OptionNumber::URI_QUERY).collect();
    let filter = match arguments.as_slice() {
        [] => None,
        [argument] => match LinkFilter::decode(argument) {
            Some(filter) => Some(filter),
            None => return refuse(Code::BAD_REQUEST, "a filter is NAME=VALUE"),
        },
        _ => return refuse(Code::BAD_REQUEST, "one filter at a time"),
    };
    match list(resources, filter.as_ref()) {
        Ok(document) => content(request, &DIRECTORY, format, document),
        Err(_) => refuse(Code::INTERNAL_SERVER_ERROR, "the list is too long"),
    }
}

fn list(resources: &[Resource], filter: Option<&LinkFilter<'_>>) -> Result<Vec<u8>, LinkError> {
    let mut all = [0; MAX_DOCUMENT_LEN];
    let mut writer = LinkWriter::new(&mut all);
    for resource in resources {
        write_link(resource, &mut writer)?;
    }
    let len = writer.finish();
    let all = all.get(..len).unwrap_or_default();
    let Some(filter) = filter else {
        return Ok(all.to_vec());
    };
    let mut some = [0; MAX_DOCUMENT_LEN];
    let mut writer = LinkWriter::new(&mut some);
    let text = str::from_utf8(all).unwrap_or_default();
    for link in Links::new(text) {
        let link = link?;
        if filter.matches(&link) {
            writer.copy_link(&link)?;
        }
    }
    let len = writer.finish();
    Ok(some.get(..len).unwrap_or_default().to_vec())
}

fn write_link(resource: &Resource, writer: &mut LinkWriter<'_>) -> Result<(), LinkError> {
    writer.link(&format!("/{}", resource.path))?;
    writer.quoted("rt", resource.resource_type)?;
    writer.quoted("if", resource.interface)?;
    let formats: Vec<_> = resource
        .formats
        .iter()
        .map(|format| format.0.to_string())
        .collect();
    match formats.as_slice() {
        [one] => writer.token("ct", one)?,
        several => writer.quoted("ct", &several.join(" "))?,
    }
    if let Some(size) = resource.size {
        writer.number("sz", size)?;
    }
    writer.quoted("title", resource.title)
}

/// The list itself, which isn't in the list.
const DIRECTORY: Resource = Resource {
    path: ".well-known/core",
    title: "resources",
    resource_type: "",
    interface: "",
    methods: &[Code::GET],
    formats: &[ContentFormat::LINK_FORMAT],
    accepts: &[],
    max_age: 3_600,
    size: None,
};

const MAX_DOCUMENT_LEN: usize = 1_024;
