//! The connection to a gateway: TCP, and TLS over it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::Error;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{TunnelConfig, TunnelHttp};
use crate::connect::{end_of, find_gateway, try_in_turn};
use crate::keep_alive::give_up_after;
use crate::link::CarrierFailure;
use crate::server_tls::certificate_reason;

/// A connection to a gateway.
pub(super) struct Connection {
    pub(super) address: SocketAddr,
    pub(super) stream: Box<dyn Stream>,
    /// Whether HTTP/2 is spoken.
    pub(super) is_http2: bool,
}

/// Bytes in both directions, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the first address of the gateway that leads there.
pub(super) async fn connect(config: &TunnelConfig) -> Result<Connection, CarrierFailure> {
    let end = end_of(config.connect_timeout);
    let gateway = &config.gateway;
    let addresses = find_gateway(gateway.host(), gateway.port(), end).await?;
    connect_at(config, addresses, end).await
}

async fn connect_at(
    config: &TunnelConfig,
    addresses: Vec<SocketAddr>,
    end: Instant,
) -> Result<Connection, CarrierFailure> {
    try_in_turn(addresses, end, |address| secure(address, config)).await
}

async fn secure(address: SocketAddr, config: &TunnelConfig) -> Result<Connection, CarrierFailure> {
    if !config.gateway.is_https() && !config.allows_clear && !address.ip().is_loopback() {
        return Err(CarrierFailure::InClear);
    }
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| CarrierFailure::Connect { kind: error.kind() })?;
    // Datagrams that wait for others to fill a segment are late. What can't be set costs no more.
    let _ = stream.set_nodelay(true);
    give_up_after(&stream, config.silence_timeout);
    if !config.gateway.is_https() {
        return Ok(Connection {
            address,
            stream: Box::new(stream),
            is_http2: config.http == TunnelHttp::Http2,
        });
    }
    let mut tls = rustls::ClientConfig::clone(&config.tls.0);
    let offered: &[&[u8]] = match config.http {
        TunnelHttp::Any => &[b"h2", b"http/1.1"],
        TunnelHttp::Http1 => &[b"http/1.1"],
        TunnelHttp::Http2 => &[b"h2"],
    };
    tls.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(config.gateway.host().to_owned())
        .map_err(|_| CarrierFailure::GatewayName)?;
    let stream = TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .map_err(|error| explain(&error))?;
    let is_http2 = match stream.get_ref().1.alpn_protocol() {
        Some(name) => name == b"h2",
        // Who names nothing speaks what was there before names.
        None => config.http == TunnelHttp::Http2,
    };
    Ok(Connection {
        address,
        stream: Box::new(stream),
        is_http2,
    })
}

/// Says what became of TLS.
pub(crate) fn explain(error: &io::Error) -> CarrierFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(Error::InvalidCertificate(fault)) = inner else {
        return CarrierFailure::Tls;
    };
    let reason = certificate_reason(fault);
    CarrierFailure::GatewayCertificate { reason }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::GatewayTls;

    #[tokio::test]
    async fn addresses_are_tried_in_turn_until_one_decides() {
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = gateway.local_addr().unwrap();
        // Nobody listens at the port of another loopback address.
        let refusing = SocketAddr::from(([127, 0, 0, 3], there.port()));
        let uri = format!("http://{there}").parse().unwrap();
        let config = TunnelConfig::new(uri, GatewayTls::nobody().unwrap());
        let end = end_of(config.connect_timeout);
        let connected = connect_at(&config, vec![refusing, there], end).await;
        assert_eq!(connected.map(|found| found.address), Ok(there));
        let refused = connect_at(&config, vec![refusing], end).await;
        let kind = io::ErrorKind::ConnectionRefused;
        let failure = CarrierFailure::Connect { kind };
        assert_eq!(refused.map(|found| found.address), Err(failure));
        // What may not be said in clear isn't said to those behind it either.
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], there.port()));
        let refused = connect_at(&config, vec![elsewhere, there], end).await;
        let failure = CarrierFailure::InClear;
        assert_eq!(refused.map(|found| found.address), Err(failure));
    }
}
