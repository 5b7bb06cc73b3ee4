//! The connection to a gateway: TCP, and TLS over it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::Error;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{TunnelConfig, TunnelHttp};
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

/// Connects to the first address of the gateway that takes a connection.
pub(super) async fn connect(config: &TunnelConfig) -> Result<Connection, CarrierFailure> {
    let gateway = &config.gateway;
    let addresses = crate::resolve(gateway.host(), gateway.port())
        .await
        .map_err(|_| CarrierFailure::GatewayName)?;
    let mut failure = CarrierFailure::GatewayName;
    for address in addresses {
        if !gateway.is_https() && !config.allows_clear && !address.ip().is_loopback() {
            return Err(CarrierFailure::InClear);
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return secure(stream, address, config).await,
            Err(error) => failure = CarrierFailure::Connect { kind: error.kind() },
        }
    }
    Err(failure)
}

async fn secure(
    stream: TcpStream,
    address: SocketAddr,
    config: &TunnelConfig,
) -> Result<Connection, CarrierFailure> {
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
