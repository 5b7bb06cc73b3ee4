//! From a request's URI to a target that may be asked, and back: RFC 8075 §5, RFC 7252 §6.4.

use std::fmt;

use http::Uri;

use crate::destination::{Destination, Host};
use crate::percent::{self, MAX_COMPONENT_LEN, is_query_char, is_segment_char};
use crate::{HcProxy, Methods, TargetError};

/// Where target URIs are appended verbatim (RFC 8075 §5.3).
pub const HC_PREFIX: &str = "/hc/";

/// Where configured devices are found by name.
pub const DEVICES_PREFIX: &str = "/devices/";

/// A resource that the configuration permits to ask for. Only [`HcProxy`] makes one.
///
/// Its `Debug` output leaves the query out.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    destination: Destination,
    form: Form,
    uri_path: Vec<String>,
    uri_query: Vec<String>,
    methods: Methods,
}

/// How the client named the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// By a configured name.
    Device(String),
    /// By the default mapping.
    Hosted,
    /// By a request target that is a CoAP URI itself (RFC 7252 §10.2).
    Absolute,
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Target")
            .field("destination", &self.destination)
            .field("uri_path", &self.uri_path)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Returns where the request goes.
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Returns the name of the device, if the client used one.
    pub fn device(&self) -> Option<&str> {
        match &self.form {
            Form::Device(name) => Some(name),
            Form::Hosted | Form::Absolute => None,
        }
    }

    /// Returns the values of the Uri-Path options.
    pub fn uri_path(&self) -> &[String] {
        &self.uri_path
    }

    /// Returns the values of the Uri-Query options.
    pub fn uri_query(&self) -> &[String] {
        &self.uri_query
    }

    /// Returns the value of the Uri-Host option: the host's name, if it has one.
    pub fn uri_host(&self) -> Option<&str> {
        match self.destination.host() {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        }
    }

    /// Returns the methods that the target takes.
    pub const fn methods(&self) -> Methods {
        self.methods
    }
}

impl HcProxy {
    /// Resolves the target of a request's URI, in origin form or absolute form.
    ///
    /// # Errors
    ///
    /// [`TargetError`], of which each says what is wrong. A target that isn't configured is an
    /// error like any other.
    pub fn resolve(&self, uri: &Uri) -> Result<Target, TargetError> {
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) if !is_http(scheme) => {
                let destination = Destination::parse(scheme, authority.as_str())?;
                self.permitted(destination, Form::Absolute, uri.path(), uri.query())
            }
            (Some(scheme), _) if !is_http(scheme) => Err(TargetError::UnknownScheme),
            _ => self.resolve_path(uri.path(), uri.query()),
        }
    }

    /// Resolves the target of a path and a query, both as they stand in the request.
    ///
    /// # Errors
    ///
    /// As [`Self::resolve`].
    pub fn resolve_path(&self, path: &str, query: Option<&str>) -> Result<Target, TargetError> {
        if let Some(target_uri) = path.strip_prefix(HC_PREFIX) {
            let parts = split_absolute(target_uri)?;
            // A path holds no question mark, so this one was never taken for a query's.
            if parts.query.is_some() {
                return Err(TargetError::Character);
            }
            let authority = restore_brackets(parts.authority)?;
            let destination = Destination::parse(parts.scheme, &authority)?;
            return self.permitted(destination, Form::Hosted, parts.path, query);
        }
        let rest = path
            .strip_prefix(DEVICES_PREFIX)
            .ok_or(TargetError::NotMapped)?;
        let (name, path) = split_at_slash(rest);
        let name = percent::decode(name, is_segment_char)?;
        let device = self
            .devices
            .get(&name)
            .ok_or(TargetError::DeviceNotConfigured)?;
        let mut uri_path = device.base.clone();
        uri_path.extend(decode_path(path)?);
        self.bounded(Target {
            destination: device.destination.clone(),
            form: Form::Device(name),
            uri_path,
            uri_query: decode_query(query)?,
            methods: device.methods,
        })
    }

    /// Writes the path and query, or for [`Form::Absolute`] the URI, under which a client reaches
    /// a resource beside `target` at the same destination; `None` if it can't.
    ///
    /// What is written is resolved again first: a link that leads elsewhere, or nowhere, or that
    /// shows an address which the client didn't use, isn't given out.
    pub(crate) fn hosting_uri(
        &self,
        target: &Target,
        uri_path: &[String],
        uri_query: &[String],
    ) -> Option<String> {
        let by_name = match &target.form {
            Form::Device(name) => {
                let base = &self.devices.get(name)?.base;
                let below = uri_path.strip_prefix(base.as_slice());
                below.map(|below| {
                    let text = format!("{DEVICES_PREFIX}{name}");
                    with_path_and_query(text, below, uri_query)
                })
            }
            Form::Hosted => {
                let authority = target.destination.to_string();
                let authority = authority.replace('[', "%5B").replace(']', "%5D");
                let text = format!("{HC_PREFIX}{authority}");
                Some(with_path_and_query(text, uri_path, uri_query))
            }
            Form::Absolute => {
                let text = target.destination.to_string();
                Some(with_path_and_query(text, uri_path, uri_query))
            }
        }?;
        let again = self.resolve(&by_name.parse().ok()?).ok()?;
        let is_same = again.destination == target.destination
            && again.uri_path == uri_path
            && again.uri_query == uri_query;
        is_same.then_some(by_name)
    }

    /// The gate: no target by URI is made elsewhere.
    fn permitted(
        &self,
        destination: Destination,
        form: Form,
        path: &str,
        query: Option<&str>,
    ) -> Result<Target, TargetError> {
        let uri_path = decode_path(path)?;
        let uri_query = decode_query(query)?;
        let methods = *self
            .destinations
            .get(&destination)
            .ok_or(TargetError::DestinationDenied)?;
        self.bounded(Target {
            destination,
            form,
            uri_path,
            uri_query,
            methods,
        })
    }

    fn bounded(&self, target: Target) -> Result<Target, TargetError> {
        let values = target.uri_path.iter().chain(&target.uri_query);
        let len = values.map(|value| value.len().saturating_add(1)).sum();
        let max = self.limits.uri;
        if len > max {
            return Err(TargetError::UriTooLong { len, max });
        }
        Ok(target)
    }
}

/// A target URI taken apart; the path begins with a slash or is empty.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

/// Splits an absolute URI with an authority.
pub(crate) fn split_absolute(text: &str) -> Result<Parts<'_>, TargetError> {
    // MUST (RFC 8075 §5.3.1): a target URI without a scheme elicits a 4xx.
    let (scheme, rest) = text.split_once(':').ok_or(TargetError::SchemeMissing)?;
    let rest = rest.strip_prefix("//").ok_or(match scheme {
        "coap" | "coaps" => TargetError::Authority(hedgerow_coap::UriError::MissingHost),
        _ => TargetError::SchemeMissing,
    })?;
    if rest.contains('#') {
        return Err(TargetError::Fragment);
    }
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (authority, path) = split_at_slash(rest);
    Ok(Parts {
        scheme,
        authority,
        path,
        query,
    })
}

/// Reads the path that a device's base URI has; a slash at its end adds nothing to it.
pub(crate) fn base_segments(path: &str) -> Result<Vec<String>, TargetError> {
    let mut segments = decode_path(path)?;
    if segments.last().is_some_and(String::is_empty) {
        segments.pop();
    }
    Ok(segments)
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

fn split_at_slash(text: &str) -> (&str, &str) {
    let at = text.find('/').unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Reverts the percent-encoded brackets of an IPv6 address (RFC 8075 §5.3.2). Plain ones don't
/// belong in a path (RFC 3986 §3.3).
fn restore_brackets(authority: &str) -> Result<String, TargetError> {
    if authority.contains(['[', ']']) {
        return Err(TargetError::Character);
    }
    let Some(("%5b" | "%5B", rest)) = authority.split_at_checked(3) else {
        return Ok(authority.to_owned());
    };
    let end = rest.find("%5D").or_else(|| rest.find("%5d"));
    let (address, rest) = end
        .and_then(|at| rest.split_at_checked(at))
        .ok_or(TargetError::Authority(hedgerow_coap::UriError::InvalidHost))?;
    let port = rest.get(3..).unwrap_or_default();
    Ok(format!("[{address}]{port}"))
}

/// Decodes a path into the values of Uri-Path options (RFC 7252 §6.4, step 8).
///
/// A slash at the end makes one empty option, since `/a/` and `/a` are two resources. Anything
/// else that two readers could resolve differently is refused rather than resolved.
fn decode_path(path: &str) -> Result<Vec<String>, TargetError> {
    let Some(inner) = path.strip_prefix('/').filter(|inner| !inner.is_empty()) else {
        return match path {
            "" | "/" => Ok(Vec::new()),
            _ => Err(TargetError::Character),
        };
    };
    let mut segments = inner.split('/').peekable();
    let mut uri_path = Vec::new();
    while let Some(segment) = segments.next() {
        let value = percent::decode(segment, is_segment_char)?;
        if value.is_empty() && (segments.peek().is_some() || uri_path.is_empty()) {
            return Err(TargetError::EmptySegment);
        }
        // MUST (RFC 7252 §5.10.1): a Uri-Path Option is neither "." nor "..".
        if matches!(value.as_str(), "." | "..") {
            return Err(TargetError::DotSegment);
        }
        if value.contains(['/', '\\']) {
            return Err(TargetError::EncodedSlash);
        }
        if value.len() > MAX_COMPONENT_LEN {
            return Err(TargetError::SegmentTooLong { len: value.len() });
        }
        uri_path.push(value);
    }
    Ok(uri_path)
}

/// Decodes a query into the values of Uri-Query options (RFC 7252 §6.4, step 9).
fn decode_query(query: Option<&str>) -> Result<Vec<String>, TargetError> {
    let arguments = query.into_iter().flat_map(|query| query.split('&'));
    arguments
        .map(|argument| {
            let value = percent::decode(argument, is_query_char)?;
            if value.len() > MAX_COMPONENT_LEN {
                return Err(TargetError::ArgumentTooLong { len: value.len() });
            }
            Ok(value)
        })
        .collect()
}

/// Appends a path and a query to what stands before them (RFC 7252 §6.5, steps 6 to 8).
fn with_path_and_query(mut text: String, uri_path: &[String], uri_query: &[String]) -> String {
    if uri_path.is_empty() {
        text.push('/');
    }
    for segment in uri_path {
        text.push('/');
        percent::encode(&mut text, segment, is_segment_char);
    }
    for (index, argument) in uri_query.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        percent::encode(&mut text, argument, |byte| {
            is_query_char(byte) && byte != b'&'
        });
    }
    text
}
