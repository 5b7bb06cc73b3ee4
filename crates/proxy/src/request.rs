//! Mapping requests: RFC 8075 §6, RFC 7252 §10.2.

use std::fmt;

use hedgerow_coap::{Code, ContentFormat};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, VIA,
};
use http::{HeaderMap, HeaderName, Method, Uri};

use crate::accept::map_accept;
use crate::coap_request::{CoapRequest, IfMatch};
use crate::entity_tag::{Condition, EntityTag, Weakness};
use crate::fields::{check_framing, invalid, list, only};
use crate::media_type::{MediaType, OWS};
use crate::methods::map_method;
use crate::{Failure, HcProxy, Methods, ResponseContext};

/// The head of an HTTP request, as an HTTP library gives it.
///
/// Its `Debug` output has neither the query nor the fields, which hold tokens and cookies.
#[derive(Clone, Copy)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target.
    pub uri: &'a Uri,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// The body's length in bytes, if the library knows it: `Some(0)` if there is none.
    pub body_len: Option<u64>,
    /// Whether the request came over HTTPS.
    pub is_https: bool,
}

impl fmt::Debug for HttpRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .finish_non_exhaustive()
    }
}

/// A request that may be sent, and what its response needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedRequest {
    /// The request, whose body is still to be set.
    pub request: CoapRequest,
    /// What [`HcProxy::map_response`] needs to know.
    pub context: ResponseContext,
}

/// The most tags in one condition.
const MAX_ENTITY_TAGS: usize = 8;

/// The initial value of Hop-Limit (RFC 8768 §3).
const HOP_LIMIT: u8 = 16;

impl HcProxy {
    /// Maps the head of a request. The limit on bodies is checked here, before a body is read, by
    /// the length that is announced; [`CoapRequest::set_body`] checks what came.
    ///
    /// Of the fields only Accept, Accept-Encoding, Content-Type, Content-Encoding, If-Match and
    /// If-None-Match become options; nothing else of a request reaches a device but method, path,
    /// query and body.
    ///
    /// # Errors
    ///
    /// The variants of [`Failure`] up to [`Failure::PreconditionNotMapped`].
    pub fn map_request(&self, http: &HttpRequest<'_>) -> Result<MappedRequest, Failure> {
        let method = map_method(http.method, self.patch)?;
        let content_length = check_framing(http.headers)?;
        let target = self.resolve(http.uri)?;
        let allowed = match self.patch {
            crate::PatchMapping::Refused => target.methods().without(Methods::PATCH),
            _ => target.methods(),
        };
        if !Methods::of(http.method).is_some_and(|method| allowed.contains(method)) {
            return Err(Failure::MethodNotAllowed { allowed });
        }
        if target.destination().scheme().is_secure()
            && !http.is_https
            && !self.passes_coaps_from_http
        {
            return Err(Failure::HttpsNeeded);
        }
        let len = content_length.max(http.body_len);
        self.check_len(method, len)?;
        let mut request = CoapRequest {
            method,
            target,
            if_match: Vec::new(),
            entity_tags: Vec::new(),
            if_none_match: false,
            content_format: None,
            hop_limit: None,
            accept: self.accept(method, http.headers)?,
            body: Vec::new(),
            max_body: self.limits.request_body,
        };
        if !matches!(method, Code::GET | Code::DELETE) && len != Some(0) {
            request.content_format = self.content_format(http.headers)?;
        }
        map_conditions(http.headers, &mut request)?;
        // RFC 8768 §5 lets a policy insert it only where a loop is possible: the request has
        // passed another intermediary.
        let cdn_loop = HeaderName::from_static("cdn-loop");
        if http.headers.contains_key(VIA) || http.headers.contains_key(cdn_loop) {
            request.hop_limit = Some(HOP_LIMIT);
        }
        let context = ResponseContext::new(http.method, http.uri.path(), &request);
        Ok(MappedRequest { request, context })
    }

    fn check_len(&self, method: Code, len: Option<u64>) -> Result<(), Failure> {
        let len = len.unwrap_or(0);
        if len > 0 && matches!(method, Code::GET | Code::DELETE) {
            return Err(Failure::UnexpectedBody);
        }
        let max = self.limits.request_body;
        match usize::try_from(len) {
            Ok(len) if len <= max => Ok(()),
            _ => Err(Failure::RequestBodyTooLarge { max }),
        }
    }

    fn accept(
        &self,
        method: Code,
        headers: &HeaderMap,
    ) -> Result<Vec<Option<ContentFormat>>, Failure> {
        // RFC 8075 §6.1: what can't be mapped is ignored silently, and so is what can't be read.
        let accept = list(headers, &ACCEPT, "Accept").unwrap_or_default();
        let encoding = list(headers, &ACCEPT_ENCODING, "Accept-Encoding").unwrap_or_default();
        let (accept, encoding) = (accept.as_deref(), encoding.as_deref());
        let alternatives = map_accept(accept, encoding, self.passes_coap_payload)?;
        // Only a GET can be tried again with the next format, so any other method asks for one
        // only if the client takes nothing else.
        match (method, alternatives.as_slice()) {
            (Code::GET, _) | (_, [_]) => Ok(alternatives),
            _ => Ok(vec![None]),
        }
    }

    /// Maps Content-Type and Content-Encoding.
    fn content_format(&self, headers: &HeaderMap) -> Result<Option<ContentFormat>, Failure> {
        let coding = list(headers, &CONTENT_ENCODING, "Content-Encoding")?;
        let mut codings = coding
            .iter()
            .flat_map(|codings| codings.split(','))
            .map(|coding| coding.trim_matches(OWS))
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        let coding = codings.next();
        if codings.next().is_some() {
            return Err(Failure::UnsupportedMediaType);
        }
        let Some(content_type) = only(headers, &CONTENT_TYPE, "Content-Type")? else {
            return match coding {
                None => Ok(None),
                Some(_) => Err(Failure::UnsupportedMediaType),
            };
        };
        let media_type = MediaType::parse(content_type)
            .filter(|media_type| !media_type.is_range())
            .ok_or(Failure::UnsupportedMediaType)?;
        let format = if media_type.is_coap_payload() {
            // The number says the coding too, and the loose table must not pass what
            // configuration refuses.
            let passes = self.passes_coap_payload && coding.is_none();
            passes.then(|| media_type.coap_payload()).flatten()
        } else {
            media_type.content_format(coding, self.loose.as_ref())
        };
        // MUST (RFC 8075 §6.1): a combination without a content format elicits 415.
        format.map(Some).ok_or(Failure::UnsupportedMediaType)
    }
}

/// Maps If-Match and If-None-Match (RFC 7252 §10.2.2). The conditions on dates have nothing to look
/// at, since CoAP's resources have no dates, and are then ignored (RFC 9110 §13.1.3 and §13.1.4).
fn map_conditions(headers: &HeaderMap, request: &mut CoapRequest) -> Result<(), Failure> {
    if let Some(text) = list(headers, &IF_MATCH, "If-Match")? {
        request.if_match = match Condition::parse(&text).ok_or(invalid("If-Match"))? {
            Condition::Any => vec![IfMatch::Exists],
            Condition::Tags(tags) => {
                // RFC 9110 §13.1.1: the comparison is strong, a weak tag equals none.
                let tags = tags.into_iter();
                tags.filter(|(_, weakness)| *weakness == Weakness::Strong)
                    .map(|(tag, _)| IfMatch::Tag(tag))
                    .collect()
            }
        };
        match request.if_match.len() {
            // All tags were of another make, so the condition is false at every resource.
            0 => return Err(Failure::PreconditionFailed),
            1..=MAX_ENTITY_TAGS => {}
            _ => return Err(invalid("If-Match")),
        }
    }
    let Some(text) = list(headers, &IF_NONE_MATCH, "If-None-Match")? else {
        return Ok(());
    };
    let condition = Condition::parse(&text).ok_or(invalid("If-None-Match"))?;
    match (condition, request.method) {
        // Nothing is lost where more than needed is sent, so what CoAP can't express and what
        // doesn't fit is left out.
        (Condition::Any, Code::GET) => {}
        (Condition::Tags(tags), Code::GET) => {
            let tags = tags.into_iter().map(|(tag, _): (EntityTag, _)| tag);
            request.entity_tags = tags.take(MAX_ENTITY_TAGS).collect();
        }
        (Condition::Any, _) => request.if_none_match = true,
        // To drop it would change a resource that the client wanted left as it was.
        (Condition::Tags(_), _) => return Err(Failure::PreconditionNotMapped),
    }
    Ok(())
}
