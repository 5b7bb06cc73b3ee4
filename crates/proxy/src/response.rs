//! Mapping responses: RFC 8075 §7, RFC 7252 §10.2.

use std::borrow::Cow;

use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::media_type::map_content_format;
use crate::problem::{Problem, instance};
use crate::{Body, CoapRequest, CoapResponse, EntityTag, Failure, HcProxy, Target};

/// What is kept of a request until its response comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseContext {
    method: Method,
    path: String,
    target: Target,
    entity_tags: Vec<EntityTag>,
    has_critical_fields: bool,
}

impl ResponseContext {
    pub(crate) fn new(method: &Method, path: &str, request: &CoapRequest) -> Self {
        let has_conditions = request.if_none_match() || !request.if_match().is_empty();
        Self {
            method: method.clone(),
            path: path.to_owned(),
            target: request.target().clone(),
            entity_tags: request.entity_tags().to_vec(),
            has_critical_fields: has_conditions || request.accept().is_some(),
        }
    }

    /// Returns the resource that was asked for.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Makes the response that tells the client why no device answered.
    pub fn map_failure(&self, failure: Failure) -> Response<Body<'static>> {
        failure.to_response(&self.method, &self.path)
    }
}

/// The reason phrase that a status line is to have, among the extensions of a response. HTTP/2 has
/// none; a library for HTTP/1.1 needs it handed over in a type of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonPhrase(pub &'static str);

/// Freshness that is assumed where a response has no Max-Age, in seconds (RFC 7252 §5.10.5).
const DEFAULT_MAX_AGE: u32 = 60;

/// Numbers that are reserved for more Location-* options (RFC 7252 §5.10.7).
const RESERVED_LOCATION: [OptionNumber; 4] = [
    OptionNumber(128),
    OptionNumber(132),
    OptionNumber(136),
    OptionNumber(140),
];

impl HcProxy {
    /// Maps a response. One that can't be mapped becomes a 502 that says why.
    ///
    /// A 4.13 belongs here only once block-wise transfer was tried (RFC 8075 §7, note 11), and a
    /// 4.06 only once [`CoapRequest::next_accept`] has no more formats.
    pub fn map_response<'a>(
        &self,
        context: &ResponseContext,
        response: &CoapResponse<'a>,
    ) -> Response<Body<'a>> {
        self.try_map_response(context, response)
            .unwrap_or_else(|failure| context.map_failure(failure))
    }

    fn try_map_response<'a>(
        &self,
        context: &ResponseContext,
        response: &CoapResponse<'a>,
    ) -> Result<Response<Body<'a>>, Failure> {
        let max = self.limits.response_body;
        if response.payload().len() > max {
            return Err(Failure::ResponseBodyTooLarge { max });
        }
        response.check_options()?;
        let status = map_code(context, response)?;
        let mut mapped = if response.code().is_success() {
            let mut mapped = Response::new(Cow::Borrowed(response.payload()));
            if status != StatusCode::NO_CONTENT {
                map_representation(response, mapped.headers_mut());
            }
            mapped
        } else {
            map_error_body(context, response, status)
        };
        *mapped.status_mut() = status;
        let has_body = !mapped.body().is_empty();
        let headers = mapped.headers_mut();
        guard(headers);
        map_cache_control(context, response, headers);
        match response.code() {
            Code::CREATED => self.map_location(context, response, headers)?,
            // RFC 8075 §7, note 8; RFC 8516 §3 alike.
            Code::SERVICE_UNAVAILABLE | Code::TOO_MANY_REQUESTS => {
                let max_age = response.option(OptionNumber::MAX_AGE);
                if let Some(seconds) = max_age.and_then(|option| option.as_uint()) {
                    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
                }
            }
            // RFC 8075 §7, note 7.
            Code::METHOD_NOT_ALLOWED => {
                let phrase = ReasonPhrase("CoAP server returned 4.05");
                mapped.extensions_mut().insert(phrase);
            }
            _ => {}
        }
        let has_no_content = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if context.method == Method::HEAD || has_no_content {
            // RFC 7252 §10.2.3: the fields of a GET without its body.
            if has_body && !has_no_content {
                let len = HeaderValue::from(mapped.body().len());
                mapped.headers_mut().insert(CONTENT_LENGTH, len);
            }
            *mapped.body_mut() = Cow::Borrowed(&[]);
        }
        Ok(mapped)
    }

    /// Maps Location-Path and Location-Query (RFC 7252 §5.10.7) into the proxy's own URI space.
    /// What has no place there is left out: the resource exists, but not for this client.
    fn map_location(
        &self,
        context: &ResponseContext,
        response: &CoapResponse<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let (path, query) = (OptionNumber::LOCATION_PATH, OptionNumber::LOCATION_QUERY);
        if !response.contains(path) && !response.contains(query) {
            return Ok(());
        }
        // MUST (RFC 7252 §5.10.7): more Location-* options than are understood are an error, since
        // the rest alone would name another resource.
        if RESERVED_LOCATION.iter().any(|it| response.contains(*it)) {
            return Err(Failure::UnrecognisedOption);
        }
        let values = |number| {
            response
                .options(number)
                .map(|option| option.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .filter(|_| response.is_well_formed(number))
        };
        let path = values(path).map(|path| match path.as_slice() {
            // RFC 7252 §6.5: one empty segment is written like none at all.
            [only] if only.is_empty() => Vec::new(),
            _ => path,
        });
        let location = path
            .zip(values(query))
            .and_then(|(path, query)| self.hosting_uri(&context.target, &path, &query))
            .and_then(|location| HeaderValue::from_str(&location).ok());
        if let Some(location) = location {
            headers.insert(LOCATION, location);
        }
        Ok(())
    }
}

/// Maps a code (RFC 8075 §7, table 2).
fn map_code(context: &ResponseContext, response: &CoapResponse<'_>) -> Result<StatusCode, Failure> {
    let is_empty = response.payload().is_empty();
    Ok(match response.code() {
        Code::CREATED => StatusCode::CREATED,
        Code::CONTENT => StatusCode::OK,
        // MUST (RFC 8075 §7, note 2): a payload with 2.02 is handed on with a 200.
        Code::DELETED | Code::CHANGED if is_empty => StatusCode::NO_CONTENT,
        Code::DELETED | Code::CHANGED => StatusCode::OK,
        Code::VALID if confirms_tag(context, response) => StatusCode::NOT_MODIFIED,
        // Block-wise transfer is over when a response gets here (note 10). A 2.03 that names no
        // tag of the client's leaves nothing to show.
        Code::VALID | Code::CONTINUE | Code::REQUEST_ENTITY_INCOMPLETE => {
            return Err(Failure::InvalidResponse);
        }
        Code::UNAUTHORIZED | Code::FORBIDDEN => StatusCode::FORBIDDEN,
        // Note 6: blamed on the request only where a field of it became a critical option.
        Code::BAD_OPTION if context.has_critical_fields => StatusCode::BAD_REQUEST,
        Code::BAD_OPTION => StatusCode::INTERNAL_SERVER_ERROR,
        Code::NOT_FOUND => StatusCode::NOT_FOUND,
        // Note 7: 405 would have to list the methods that the device takes.
        Code::BAD_REQUEST | Code::METHOD_NOT_ALLOWED => StatusCode::BAD_REQUEST,
        Code::NOT_ACCEPTABLE => StatusCode::NOT_ACCEPTABLE,
        Code::CONFLICT => StatusCode::CONFLICT,
        Code::PRECONDITION_FAILED => StatusCode::PRECONDITION_FAILED,
        Code::REQUEST_ENTITY_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UNSUPPORTED_CONTENT_FORMAT => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::UNPROCESSABLE_ENTITY => StatusCode::UNPROCESSABLE_ENTITY,
        Code::TOO_MANY_REQUESTS => StatusCode::TOO_MANY_REQUESTS,
        Code::INTERNAL_SERVER_ERROR => StatusCode::INTERNAL_SERVER_ERROR,
        Code::NOT_IMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        Code::BAD_GATEWAY | Code::PROXYING_NOT_SUPPORTED => StatusCode::BAD_GATEWAY,
        Code::SERVICE_UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        Code::GATEWAY_TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
        // RFC 8768 §5.
        Code::HOP_LIMIT_REACHED => StatusCode::LOOP_DETECTED,
        // RFC 7252 §5.2: a code that isn't known counts as the generic one of its class; one of
        // class 2 says that the request succeeded and no more, which is no answer to a GET.
        other => match other.class() {
            2 if !is_get(context) => StatusCode::NO_CONTENT,
            4 => StatusCode::BAD_REQUEST,
            5 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => return Err(Failure::InvalidResponse),
        },
    })
}

fn is_get(context: &ResponseContext) -> bool {
    matches!(context.method, Method::GET | Method::HEAD)
}

/// Says whether a 2.03 names one of the tags that the client sent (RFC 7252 §5.9.1.3).
fn confirms_tag(context: &ResponseContext, response: &CoapResponse<'_>) -> bool {
    entity_tag(response).is_some_and(|tag| context.entity_tags.contains(&tag))
}

fn entity_tag(response: &CoapResponse<'_>) -> Option<EntityTag> {
    let option = response.option(OptionNumber::ETAG)?;
    EntityTag::new(option.value())
}

fn content_format(response: &CoapResponse<'_>) -> Option<ContentFormat> {
    let option = response.option(OptionNumber::CONTENT_FORMAT)?;
    ContentFormat::decode(option.value())
}

/// Writes what describes a payload with a format.
fn map_representation(response: &CoapResponse<'_>, headers: &mut HeaderMap) {
    if matches!(response.code(), Code::CONTENT | Code::VALID)
        && let Some(tag) = entity_tag(response).and_then(EntityTag::to_header)
    {
        headers.insert(ETAG, tag);
    }
    if response.payload().is_empty() || response.code() == Code::VALID {
        return;
    }
    // RFC 7252 §5.5.1 leaves the format open where none is named, and so would HTTP; to say
    // octets keeps browsers from guessing.
    let format = content_format(response).unwrap_or(ContentFormat::OCTET_STREAM);
    let (media_type, coding) = map_content_format(format);
    if let Ok(media_type) = HeaderValue::from_str(&media_type) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    if let Some(coding) = coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
}

/// Makes the body of an error: what the device says about it (RFC 8075 §6.6), or else a problem
/// that says who answered.
fn map_error_body<'a>(
    context: &ResponseContext,
    response: &CoapResponse<'a>,
    status: StatusCode,
) -> Response<Body<'a>> {
    if response.payload().is_empty() {
        let code = response.code();
        let name = code.name().map(|name| format!(" {name}"));
        let detail = format!("the device answered {code}{}", name.unwrap_or_default());
        return Problem {
            problem_type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status,
            detail: &detail,
            instance: instance(&context.path),
        }
        .into_response(&context.method);
    }
    if content_format(response).is_some() {
        let mut mapped = Response::new(Cow::Borrowed(response.payload()));
        map_representation(response, mapped.headers_mut());
        return mapped;
    }
    // A device that breaks the rule of RFC 7252 §5.5.2 must not make the charset a lie.
    let text = match String::from_utf8_lossy(response.payload()) {
        Cow::Borrowed(_) => Cow::Borrowed(response.payload()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let mut mapped = Response::new(text);
    let text_plain = HeaderValue::from_static("text/plain;charset=utf-8");
    mapped.headers_mut().insert(CONTENT_TYPE, text_plain);
    mapped
}

/// Maps Max-Age. There is no Age beside it, which caches would take off a second time.
fn map_cache_control(
    context: &ResponseContext,
    response: &CoapResponse<'_>,
    headers: &mut HeaderMap,
) {
    let is_get = is_get(context);
    let value = match response.code() {
        Code::CONTENT | Code::VALID if is_get => {
            let max_age = response.option(OptionNumber::MAX_AGE);
            let max_age = max_age.and_then(|option| option.as_uint());
            // MUST (RFC 7252 §10.2.2): the response to GET has a max-age no greater than the time for
            // which the representation is still fresh.
            match max_age
                .unwrap_or(DEFAULT_MAX_AGE)
                .saturating_sub(response.age_secs())
            {
                // RFC 7252 §5.6.1: zero prevents use without validation.
                0 => HeaderValue::from_static("no-cache, max-age=0"),
                seconds => match HeaderValue::from_str(&format!("max-age={seconds}")) {
                    Ok(value) => value,
                    Err(_) => HeaderValue::from_static("no-store"),
                },
            }
        }
        // The other codes aren't cacheable (RFC 7252 §5.9), or are errors that HTTP caches may
        // keep for a time of their own choice.
        _ => HeaderValue::from_static("no-store"),
    };
    headers.insert(CACHE_CONTROL, value);
    if is_get {
        // The format depends on what was accepted: without this, one client's format would be
        // another one's cache entry.
        headers.append(VARY, HeaderValue::from(ACCEPT));
        headers.append(VARY, HeaderValue::from(ACCEPT_ENCODING));
    }
}

/// Keeps a browser from taking what a device sends for a page of the gateway's.
pub(crate) fn guard(headers: &mut HeaderMap) {
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(CONTENT_SECURITY_POLICY, policy);
}
