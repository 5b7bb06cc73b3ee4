//! The request for a tunnel and what comes of it (RFC 9298 §3, RFC 8441).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hedgerow_proxy::{CAPSULE_PROTOCOL, CONNECT_UDP, TunnelForm, UDP_CARRIER, UdpCarrierOffer};
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};

use super::connect::Connection;
use super::{TunnelConfig, TunnelTarget};
use crate::link::CarrierFailure;

/// The bytes of a tunnel that was granted.
pub(super) type TunnelStream = TokioIo<Upgraded>;

/// Asks for a tunnel.
pub(super) async fn open(
    connection: Connection,
    config: &TunnelConfig,
    target: &TunnelTarget,
) -> Result<(TunnelForm, TunnelStream, Option<UdpCarrierOffer>), CarrierFailure> {
    // What wasn't asked for is no offer.
    let offer = |response: &Response<Incoming>| {
        let headers = config.wants_udp_carrier.then_some(response.headers());
        headers.and_then(UdpCarrierOffer::of)
    };
    match connection.is_http2 {
        false => {
            let response = ask_http1(connection, config, target).await?;
            // MUST (RFC 9298 §3.3): 101, and nothing else, is a tunnel.
            let is_granted = response.status() == StatusCode::SWITCHING_PROTOCOLS
                && response.headers().get(UPGRADE).is_some_and(|value| {
                    value
                        .as_bytes()
                        .eq_ignore_ascii_case(CONNECT_UDP.as_bytes())
                });
            let offer = offer(&response);
            let stream = upgraded(response, is_granted).await?;
            Ok((TunnelForm::Upgrade, stream, offer))
        }
        true => {
            let response = ask_http2(connection, config, target).await?;
            let is_granted = response.status() == StatusCode::OK;
            let offer = offer(&response);
            let stream = upgraded(response, is_granted).await?;
            Ok((TunnelForm::ExtendedConnect, stream, offer))
        }
    }
}

async fn ask_http1(
    connection: Connection,
    config: &TunnelConfig,
    target: &TunnelTarget,
) -> Result<Response<Incoming>, CarrierFailure> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = target.path().parse().map_err(|_| CarrierFailure::Http)?;
    let host = HeaderValue::from_str(config.gateway.authority().as_str());
    let headers = request.headers_mut();
    headers.insert(HOST, host.map_err(|_| CarrierFailure::Http)?);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(CONNECT_UDP));
    add_fields(headers, config);
    let io = TokioIo::new(connection.stream);
    let (mut sender, driver) = http1::handshake(io).await.map_err(broken)?;
    tokio::spawn(driver.with_upgrades());
    sender.send_request(request).await.map_err(broken)
}

async fn ask_http2(
    connection: Connection,
    config: &TunnelConfig,
    target: &TunnelTarget,
) -> Result<Response<Incoming>, CarrierFailure> {
    let gateway = &config.gateway;
    let (scheme, authority) = (gateway.scheme(), gateway.authority());
    let uri = format!("{scheme}://{authority}{}", target.path());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = uri.parse().map_err(|_| CarrierFailure::Http)?;
    request
        .extensions_mut()
        .insert(Protocol::from_static(CONNECT_UDP));
    add_fields(request.headers_mut(), config);
    let io = TokioIo::new(connection.stream);
    // A PING each half of the time, and the other half for its answer (RFC 9113 §6.7).
    let half = config.silence_timeout / 2;
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(half)
        .keep_alive_timeout(half)
        .keep_alive_while_idle(true)
        .handshake(io);
    let (mut sender, mut driver) = handshake.await.map_err(broken)?;
    // MUST (RFC 8441 §3): `:protocol` isn't sent before the peer has said that it knows it, which it does
    // in its first frame.
    let is_known = async {
        // Nobody is woken by that frame, so that it is looked for now and then.
        loop {
            let driven = poll_fn(|cx| Poll::Ready(Pin::new(&mut driver).poll(cx))).await;
            if driven.is_ready() {
                return Err(CarrierFailure::Http);
            }
            if driver.is_extended_connect_protocol_enabled() {
                return Ok(());
            }
            sleep(SETTINGS_INTERVAL).await;
        }
    };
    timeout(SETTINGS_TIMEOUT, is_known)
        .await
        .unwrap_or(Err(CarrierFailure::NoExtendedConnect))?;
    tokio::spawn(driver);
    sender.send_request(request).await.map_err(broken)
}

fn add_fields(headers: &mut HeaderMap, config: &TunnelConfig) {
    headers.insert(CAPSULE_PROTOCOL, HeaderValue::from_static("?1"));
    if config.wants_udp_carrier {
        headers.insert(UDP_CARRIER, HeaderValue::from_static("?1"));
    }
    if let Some(value) = config.user.as_ref().and_then(super::GatewayUser::field) {
        headers.insert(AUTHORIZATION, value);
    }
}

async fn upgraded(
    response: Response<Incoming>,
    is_granted: bool,
) -> Result<TunnelStream, CarrierFailure> {
    if !is_granted {
        return Err(refusal(response.status(), response.headers()));
    }
    let upgraded = hyper::upgrade::on(response).await;
    upgraded.map(TokioIo::new).map_err(broken)
}

/// Says what a response means that grants no tunnel.
fn refusal(status: StatusCode, headers: &HeaderMap) -> CarrierFailure {
    let is_prohibited = headers
        .get_all(PROXY_STATUS)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.contains(PROHIBITED)));
    let code = status.as_u16();
    match code {
        401 | 407 => CarrierFailure::UserRefused { status: code },
        403 if is_prohibited => CarrierFailure::TargetDenied,
        429 | 503 => CarrierFailure::Busy { status: code },
        502 | 504 => CarrierFailure::Unreachable { status: code },
        101..=399 | 404 | 405 | 421 | 426 | 501 => CarrierFailure::NoTunnels { status: code },
        _ => CarrierFailure::Refused { status: code },
    }
}

fn broken(error: hyper::Error) -> CarrierFailure {
    tracing::debug!(%error, "no tunnel");
    CarrierFailure::Http
}

/// RFC 9209 §2.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// RFC 9209 §2.3.5: what a gateway says of a target that it doesn't reach for anybody, or not for this
/// user.
const PROHIBITED: &str = "destination_ip_prohibited";

/// How long an HTTP/2 server's first frame is waited for.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is looked for.
const SETTINGS_INTERVAL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_meaning() {
        let told = |status: u16, field: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(field) = field {
                headers.insert(PROXY_STATUS, HeaderValue::from_static(field));
            }
            refusal(StatusCode::from_u16(status).unwrap(), &headers)
        };
        let prohibited = Some("gateway; error=destination_ip_prohibited");
        for (status, field, failure) in [
            (400, None, CarrierFailure::Refused { status: 400 }),
            (401, None, CarrierFailure::UserRefused { status: 401 }),
            (403, None, CarrierFailure::Refused { status: 403 }),
            (403, prohibited, CarrierFailure::TargetDenied),
            (404, None, CarrierFailure::NoTunnels { status: 404 }),
            (200, None, CarrierFailure::NoTunnels { status: 200 }),
            (301, None, CarrierFailure::NoTunnels { status: 301 }),
            (429, None, CarrierFailure::Busy { status: 429 }),
            (502, None, CarrierFailure::Unreachable { status: 502 }),
            (503, None, CarrierFailure::Busy { status: 503 }),
            (500, None, CarrierFailure::Refused { status: 500 }),
        ] {
            assert_eq!(told(status, field), failure, "{status}");
        }
    }
}
