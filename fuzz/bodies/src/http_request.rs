//! The target `http_request`.

use hedgerow_proxy::{HcProxy, HttpRequest, Methods};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// An HTTP request whose first line is path and query, and whose further lines are header fields.
///
/// Whatever it says, the proxy doesn't panic and reaches nothing but what is configured, with
/// nothing but the methods that are permitted there.
pub fn http_request(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.lines();
    let Ok(uri) = lines.next().unwrap_or_default().parse::<Uri>() else {
        return;
    };
    let headers: HeaderMap = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = name.parse::<HeaderName>().ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        })
        .collect();
    let proxy = proxy();
    for (method, body_len) in [
        (Method::GET, Some(0)),
        (Method::PUT, Some(3)),
        (Method::POST, None),
        (Method::DELETE, Some(0)),
    ] {
        let request = HttpRequest {
            method: &method,
            uri: &uri,
            headers: &headers,
            body_len,
            is_https: false,
        };
        let Ok(mapped) = proxy.map_request(&request) else {
            continue;
        };
        let reached = mapped.request.target().destination().to_string();
        let is_permitted = match reached.as_str() {
            "coap://lamp.example" | "coap://lamp.example:5683" => true,
            "coap://192.0.2.7:61616" => method == Method::GET,
            _ => false,
        };
        assert!(is_permitted, "{method} {reached} for {uri}");
    }
}

fn proxy() -> HcProxy {
    HcProxy::new()
        .with_device("lamp", "coap://lamp.example/base", Methods::ALL)
        .and_then(|proxy| proxy.with_destination("coap://192.0.2.7:61616", Methods::GET))
        .expect("a valid configuration")
}
