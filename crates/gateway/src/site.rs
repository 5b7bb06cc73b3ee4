//! Who may ask: what a browser says about the page behind a request.
//!
//! A gateway on 127.0.0.1 or in a house's network is reached by every page that its user opens. Two
//! ways lead through a browser, and both are closed here: a page whose own name is pointed at the
//! gateway's address (DNS rebinding), and a form or script that sends a request and needs no answer.

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Version};

use crate::problem::Refusal;

/// The names under which a listener is asked.
#[derive(Clone, Debug)]
pub(crate) enum HostNames {
    /// Any: over HTTPS a browser has compared the name with the certificate.
    Any,
    /// `localhost`, addresses and these, in lower case.
    Only(Vec<String>),
}

/// Returns whom the request asks, and refuses what a stranger's page could have sent.
pub(crate) fn check_site<B>(
    request: &Request<B>,
    names: &HostNames,
) -> Result<Option<Authority>, Refusal> {
    let host = host(request)?;
    if let (Some(host), HostNames::Only(names)) = (&host, names) {
        let name = host.host().to_ascii_lowercase();
        let is_address = name.parse::<std::net::Ipv4Addr>().is_ok() || name.starts_with('[');
        // RFC 6761 §6.3: nobody else can own these.
        let is_localhost = name == "localhost" || name.ends_with(".localhost");
        if !is_address && !is_localhost && !names.contains(&name) {
            return Err(Refusal::UnknownHost);
        }
    }
    let is_safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !is_safe && is_cross_site(request.headers(), host.as_ref()) {
        return Err(Refusal::CrossSite);
    }
    Ok(host)
}

fn host<B>(request: &Request<B>) -> Result<Option<Authority>, Refusal> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    // MUST (RFC 9112 §3.2): 400 for a request with more than one Host field, with an invalid one,
    // or in HTTP/1.1 with none.
    if fields.next().is_some() {
        return Err(Refusal::InvalidHost);
    }
    let field = match field {
        None if request.version() == Version::HTTP_11 => return Err(Refusal::InvalidHost),
        None => None,
        Some(value) => {
            let authority = value.to_str().ok().and_then(|text| text.parse().ok());
            let authority = authority.filter(is_host_and_port);
            Some(authority.ok_or(Refusal::InvalidHost)?)
        }
    };
    // RFC 9112 §3.2.2: the authority of an absolute request target replaces the field. One of
    // coap:// names a device and not this gateway.
    let is_own = |scheme: &str| matches!(scheme, "http" | "https");
    let uri = request.uri();
    match uri
        .authority()
        .filter(|_| uri.scheme_str().is_some_and(is_own))
    {
        Some(authority) if is_host_and_port(authority) => Ok(Some(authority.clone())),
        Some(_) => Err(Refusal::InvalidHost),
        None => Ok(field),
    }
}

fn is_host_and_port(authority: &Authority) -> bool {
    !authority.host().is_empty() && !authority.as_str().contains('@')
}

/// Says whether a page of another site is behind a request.
pub(crate) fn is_cross_site(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    // What a page can't set itself. `none` is the user's own doing.
    let fetch = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if !matches!(fetch, None | Some(b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().ok();
    let authority = origin.and_then(|origin| origin.split_once("://"));
    match (authority, host) {
        (Some((_, origin)), Some(host)) => !origin.eq_ignore_ascii_case(host.as_str()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let names = HostNames::Only(vec!["gateway.example".to_owned()]);
        check_site(&request.body(()).unwrap(), &names).map(|_| ())
    }

    #[test]
    fn only_own_names_and_addresses_are_answered() {
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost:8080",
            "LOCALHOST",
            "gateway.example",
            "Gateway.Example:8080",
        ] {
            assert_eq!(check("GET", "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            let refused = Err(Refusal::UnknownHost);
            assert_eq!(check("GET", "/", &[("host", host)]), refused, "{host}");
        }
        for fields in [
            [].as_slice(),
            &[("host", "localhost"), ("host", "localhost")],
            &[("host", "a@localhost")],
            &[("host", "")],
            &[("host", "local host")],
        ] {
            assert_eq!(
                check("GET", "/", fields),
                Err(Refusal::InvalidHost),
                "{fields:?}"
            );
        }
        // The absolute form counts, and not the field beside it.
        let local = ("host", "localhost");
        let evil = "http://evil.example/";
        assert_eq!(check("GET", evil, &[local]), Err(Refusal::UnknownHost));
        assert_eq!(check("GET", "coap://device.example/", &[local]), Ok(()));
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let host = ("host", "localhost:8080");
        let post = |fields: &[(&str, &str)]| check("POST", "/devices/lamp/on", fields);
        assert_eq!(post(&[host]), Ok(()));
        assert_eq!(post(&[host, ("origin", "http://localhost:8080")]), Ok(()));
        assert_eq!(post(&[host, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(post(&[host, ("sec-fetch-site", "none")]), Ok(()));
        for fields in [
            [host, ("origin", "http://evil.example")],
            [host, ("origin", "http://localhost:9090")],
            [host, ("origin", "null")],
            [host, ("sec-fetch-site", "cross-site")],
            [host, ("sec-fetch-site", "same-site")],
        ] {
            assert_eq!(post(&fields), Err(Refusal::CrossSite), "{fields:?}");
            assert_eq!(check("GET", "/", &fields), Ok(()));
        }
    }
}
