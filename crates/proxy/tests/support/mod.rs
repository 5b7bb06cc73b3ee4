//! What the tests of this crate share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]

use hedgerow_coap::{
    Message, MessageId, MessageOption, MessageType, MessageWriter, OptionNumber, Token,
};
use hedgerow_proxy::{CoapRequest, Failure, HcProxy, HttpRequest, MappedRequest, Methods};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// A proxy that knows two devices by name and four destinations by URI.
pub fn proxy() -> HcProxy {
    HcProxy::new()
        .with_device("lamp", "coaps://[2001:db8::7]", Methods::ALL)
        .unwrap()
        .with_device("meter", "coap://192.0.2.9:61616/v1/meter/", Methods::GET)
        .unwrap()
        .with_destination("coap://s.example.com", Methods::ALL)
        .unwrap()
        .with_destination("coaps://s.example.com:1234", Methods::GET)
        .unwrap()
        .with_destination("coap://[2001:db8::1]", Methods::ALL)
        .unwrap()
        .with_destination("coap://192.0.2.1", Methods::ALL)
        .unwrap()
}

/// A request's head, for tests to change.
#[derive(Clone)]
pub struct Head {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body_len: Option<u64>,
    pub is_https: bool,
}

pub fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Head {
    let headers = headers.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let mut map = HeaderMap::new();
    headers.for_each(|(name, value)| {
        map.append(name, value);
    });
    Head {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        uri: uri.parse().unwrap(),
        headers: map,
        body_len: None,
        is_https: true,
    }
}

impl Head {
    pub fn map(&self, proxy: &HcProxy) -> Result<MappedRequest, Failure> {
        proxy.map_request(&HttpRequest {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
            body_len: self.body_len,
            is_https: self.is_https,
        })
    }
}

pub fn map(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<MappedRequest, Failure> {
    head(method, uri, headers).map(&proxy())
}

/// The options of a request, as they come out of a message that it was written to.
pub fn options(
    request: &CoapRequest,
    others: &[MessageOption<'_>],
) -> Vec<(OptionNumber, Vec<u8>)> {
    let mut out = vec![0; 4096];
    let (kind, id) = (MessageType::Confirmable, MessageId(1));
    let mut writer =
        MessageWriter::new(&mut out, kind, request.method(), id, Token::EMPTY).unwrap();
    request.write_options(others, &mut writer).unwrap();
    let len = writer.payload(request.body()).unwrap();
    let message = Message::decode(&out[..len]).unwrap();
    message
        .options()
        .map(|option| (option.number(), option.value().to_vec()))
        .collect()
}
