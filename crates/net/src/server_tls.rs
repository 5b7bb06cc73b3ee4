//! TLS with servers of the Web, which have certificates of any common kind.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, PeerIncompatible};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Authorities, CertificateReason, GatewayTls, IdentityError};

/// How a device on a host speaks TLS with servers that have certificates, RSA's included: TLS 1.2 and 1.3, by a
/// library of the host's. [`TlsStream`](crate::TlsStream) is what this project has of its own: TLS 1.2 with
/// pre-shared keys and ECDSA on P-256.
///
/// A certificate is verified by the host's clock. No session is resumed, and nobody is told a name but the server's.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ClientConfig>,
}

/// A TLS connection with a server, over a stream such as a [`LegStream`](crate::LegStream).
///
/// Reading ends only where the server closed in order; a stream that was cut off is an error of the kind
/// [`io::ErrorKind::UnexpectedEof`]. Shutting down tells the server. Dropping it tells it nothing, and the server
/// takes that for a truncation.
#[derive(Debug)]
pub struct ServerTlsStream<IO> {
    stream: TlsStream<IO>,
    /// Of what kind the error was that ended reading. The library calls what follows it the end.
    failure: Option<io::ErrorKind>,
}

/// Why there is no connection with a server, or no longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTlsFailure {
    /// The server's certificate isn't accepted.
    #[error("the server's certificate isn't accepted: {reason}")]
    Certificate {
        /// Why.
        reason: CertificateReason,
    },
    /// There is no suite, group or signature algorithm that both ends have, or the server says so.
    #[error(
        "no suite in common, as the server says or shows: expected ECDHE with AES-GCM or ChaCha20-Poly1305, \
         and a certificate for RSA or ECDSA"
    )]
    NoCommonSuite,
    /// There is no version of TLS that both ends have, or the server says so.
    #[error("no version of TLS in common: expected TLS 1.2 or 1.3")]
    NoCommonVersion,
    /// The connection ended without the server's close_notify (RFC 5246 §7.2.1, RFC 8446 §6.1).
    #[error("cut off: the connection ended without the server's word")]
    Truncated,
    /// The server has ended the connection by another alert.
    #[error("ended by the server's alert {description}")]
    AlertReceived {
        /// Its number.
        description: u8,
    },
    /// What came isn't what TLS has there, or was changed on its way.
    #[error("what came isn't TLS, or was changed on its way")]
    Protocol,
    /// The name isn't one that a certificate can have.
    #[error("neither a DNS name nor an address")]
    Name,
}

impl From<ServerTlsFailure> for io::Error {
    fn from(failure: ServerTlsFailure) -> Self {
        let kind = match failure {
            ServerTlsFailure::Truncated => io::ErrorKind::UnexpectedEof,
            ServerTlsFailure::Certificate { .. } => io::ErrorKind::PermissionDenied,
            ServerTlsFailure::Name => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, failure)
    }
}

impl ServerTls {
    /// Trusts these authorities and no others, and offers application protocols by name (RFC 7301), the one that
    /// is liked best first.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Certificate`] if one of the authorities can't be used.
    pub fn new(
        authorities: &Authorities,
        application_protocols: &[&[u8]],
    ) -> Result<Self, IdentityError> {
        let trusting = GatewayTls::authorities(authorities);
        let trusting = trusting.map_err(|_| IdentityError::Certificate)?;
        let mut config = ClientConfig::clone(trusting.config());
        let names = application_protocols.iter();
        config.alpn_protocols = names.map(|name| name.to_vec()).collect();
        // Secrets that nobody uses again aren't kept, and no ticket links two connections.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Shakes hands with the server at the other end of `io`, whose certificate has to be for `name`: a DNS name,
    /// which the server is told too (SNI), or an address. It waits as long as `io` does; wrap it in
    /// [`tokio::time::timeout`] for less.
    ///
    /// # Errors
    ///
    /// Those of `io`, or with a [`ServerTlsFailure`] inside.
    pub async fn connect<IO>(&self, name: &str, io: IO) -> io::Result<ServerTlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| ServerTlsFailure::Name)?;
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, io);
        Ok(ServerTlsStream {
            stream: connecting.await.map_err(explained)?,
            failure: None,
        })
    }
}

impl<IO> ServerTlsStream<IO> {
    /// Gives back the stream below, after [`AsyncWrite::poll_shutdown`] for instance. What was read from it and not
    /// from here is gone.
    pub fn into_inner(self) -> IO {
        self.stream.into_inner().0
    }

    /// Lends the stream below. What is read from it or written to it is missing in TLS.
    pub fn get_mut(&mut self) -> &mut IO {
        self.stream.get_mut().0
    }

    /// Returns version and suite that were negotiated, as the library names them.
    pub fn suite(&self) -> Option<(&'static str, &'static str)> {
        let (_, connection) = self.stream.get_ref();
        let version = connection.protocol_version()?.as_str()?;
        let suite = connection.negotiated_cipher_suite()?.suite().as_str()?;
        Some((version, suite))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerTlsStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(kind) = this.failure {
            return Poll::Ready(Err(kind.into()));
        }
        let read = ready!(Pin::new(&mut this.stream).poll_read(context, out));
        Poll::Ready(read.map_err(|error| {
            let error = explained(error);
            this.failure = Some(error.kind());
            error
        }))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerTlsStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        written.map_err(explained)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        flushed.map_err(explained)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        shut.map_err(explained)
    }
}

/// Says what TLS failed by. Failures of the stream below stay what they are.
fn explained(error: io::Error) -> io::Error {
    let Some(inner) = error.get_ref() else {
        return error;
    };
    if let Some(fault) = inner.downcast_ref::<Error>() {
        return explain(fault).into();
    }
    // The library's own word for it is a text.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ServerTlsFailure::Truncated.into();
    }
    error
}

fn explain(fault: &Error) -> ServerTlsFailure {
    match fault {
        Error::InvalidCertificate(fault) => ServerTlsFailure::Certificate {
            reason: certificate_reason(fault),
        },
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => ServerTlsFailure::NoCommonVersion,
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | Error::PeerIncompatible(_) => ServerTlsFailure::NoCommonSuite,
        Error::AlertReceived(alert) => ServerTlsFailure::AlertReceived {
            description: u8::from(*alert),
        },
        _ => ServerTlsFailure::Protocol,
    }
}

/// Says in what way a certificate isn't accepted.
pub(crate) const fn certificate_reason(fault: &CertificateError) -> CertificateReason {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CertificateReason::Authority
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateReason::Name
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => CertificateReason::Time,
        _ => CertificateReason::Other,
    }
}
