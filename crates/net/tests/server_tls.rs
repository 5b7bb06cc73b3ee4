//! TLS with servers that have certificates, RSA's among them: another library is the server.
#![allow(
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    unreachable_pub
)]

#[path = "support/authority.rs"]
mod authority;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use authority::{Authority, Owner, Purpose, Time};
use hedgerow_net::{Authorities, CertificateReason, ServerTls, ServerTlsFailure, ServerTlsStream};
use rcgen::KeyPair;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ALL_VERSIONS, ServerConfig, SignatureAlgorithm, SupportedCipherSuite};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio_rustls::TlsAcceptor;

const NAME: &str = "backend.example";

fn rsa() -> KeyPair {
    KeyPair::from_pem(include_str!("support/rsa.key")).unwrap()
}

/// A server with what it shows, and one suite or all.
fn acceptor(owner: &Owner, suite: Option<SupportedCipherSuite>) -> TlsAcceptor {
    let all = ring::default_provider();
    let provider = CryptoProvider {
        cipher_suites: suite.map_or(all.cipher_suites.clone(), |suite| vec![suite]),
        ..all
    };
    let versions: Vec<_> = match suite {
        Some(suite) => vec![suite.version()],
        None => ALL_VERSIONS.to_vec(),
    };
    let chain = vec![CertificateDer::from_pem_slice(owner.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(owner.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn client(authority: &Authority) -> ServerTls {
    let authorities = Authorities::new(authority.pem.as_bytes()).unwrap();
    ServerTls::new(&authorities, &[b"http/1.1"]).unwrap()
}

type Client = ServerTlsStream<Cut>;
type Server = tokio_rustls::server::TlsStream<DuplexStream>;

async fn pair(client: &ServerTls, acceptor: &TlsAcceptor) -> (io::Result<Client>, Option<Server>) {
    let (a, b) = duplex(1_000);
    let a = Cut {
        inner: a,
        is_cut: false,
    };
    let (client, server) = tokio::join!(client.connect(NAME, a), acceptor.accept(b));
    (client, server.ok())
}

fn failure(error: &io::Error) -> Option<ServerTlsFailure> {
    error.get_ref()?.downcast_ref().copied()
}

/// The stream below, which fails when it is told to as a leg's stream does.
#[derive(Debug)]
struct Cut {
    inner: DuplexStream,
    is_cut: bool,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.is_cut {
            true => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            false => Pin::new(&mut self.inner).poll_read(context, out),
        }
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn servers_with_rsa_and_ecdsa_are_reached_by_each_suite_and_both_close_in_order() {
    let authority = Authority::with_key("rsa", rsa());
    let client = client(&authority);
    let with_rsa = authority.owner_with_key(rsa(), NAME, Purpose::Server, Time::Now);
    let with_ecdsa = authority.owner(NAME, Purpose::Server);
    let mut tried = Vec::new();
    for suite in ring::ALL_CIPHER_SUITES {
        for (owner, algorithm) in [
            (&with_rsa, SignatureAlgorithm::RSA),
            (&with_ecdsa, SignatureAlgorithm::ECDSA),
        ] {
            if !suite.usable_for_signature_algorithm(algorithm) {
                continue;
            }
            let (connected, server) = pair(&client, &acceptor(owner, Some(*suite))).await;
            let (mut connected, mut server) = (connected.unwrap(), server.unwrap());
            let name = suite.suite().as_str().unwrap();
            let version = suite.version().version.as_str().unwrap();
            assert_eq!(connected.suite(), Some((version, name)));
            let body = b"what nobody between reads. ".repeat(2_000);
            let asking = async {
                connected.write_all(&body).await.unwrap();
                connected.flush().await.unwrap();
                let mut answer = Vec::new();
                connected.read_to_end(&mut answer).await.unwrap();
                connected.shutdown().await.unwrap();
                answer
            };
            let answering = async {
                let mut question = vec![0; body.len()];
                server.read_exact(&mut question).await.unwrap();
                server.write_all(&question).await.unwrap();
                server.shutdown().await.unwrap();
                assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
            };
            let (answer, ()) = tokio::join!(asking, answering);
            assert!(answer == body, "{name}");
            tried.push((version, name));
        }
    }
    for rsa in [
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ] {
        assert!(tried.contains(&("TLSv1_2", rsa)), "{tried:?}");
    }
    assert!(tried.iter().any(|(version, _)| *version == "TLSv1_3"));
}

#[tokio::test]
async fn certificate_that_is_not_accepted_says_why() {
    let authority = Authority::new("ca");
    let other = Authority::new("other");
    let client = client(&authority);
    for (owner, reason) in [
        (
            authority.owner("elsewhere.example", Purpose::Server),
            CertificateReason::Name,
        ),
        (
            other.owner(NAME, Purpose::Server),
            CertificateReason::Authority,
        ),
        (
            authority.owner_in(NAME, Purpose::Server, Time::Over),
            CertificateReason::Time,
        ),
        (
            authority.owner(NAME, Purpose::Client),
            CertificateReason::Other,
        ),
    ] {
        let (connected, _) = pair(&client, &acceptor(&owner, None)).await;
        let error = connected.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let expected = ServerTlsFailure::Certificate { reason };
        assert_eq!(failure(&error), Some(expected));
    }
    let (a, _b) = duplex(1_000);
    let error = client.connect("two words", a).await.unwrap_err();
    assert_eq!(failure(&error), Some(ServerTlsFailure::Name));
}

#[tokio::test]
async fn server_without_a_suite_or_version_in_common_is_named_as_such() {
    let client = client(&Authority::new("ca"));
    for (alert, expected) in [
        (40, ServerTlsFailure::NoCommonSuite),
        (71, ServerTlsFailure::NoCommonSuite),
        (70, ServerTlsFailure::NoCommonVersion),
        (80, ServerTlsFailure::AlertReceived { description: 80 }),
    ] {
        let (a, mut b) = duplex(10_000);
        let answering = async {
            // RFC 5246 §7.2: a fatal alert.
            b.write_all(&[0x15, 3, 3, 0, 2, 2, alert]).await.unwrap();
            b
        };
        let (connected, _b) = tokio::join!(client.connect(NAME, a), answering);
        assert_eq!(failure(&connected.unwrap_err()), Some(expected), "{alert}");
    }
    // What isn't TLS at all.
    let (a, mut b) = duplex(10_000);
    let (connected, _) = tokio::join!(
        client.connect(NAME, a),
        b.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    );
    let expected = Some(ServerTlsFailure::Protocol);
    assert_eq!(failure(&connected.unwrap_err()), expected);
}

/// RFC 5246 §7.2.1, RFC 8446 §6.1. The library calls everything behind a failure of some kinds the end.
#[tokio::test]
async fn whatever_cuts_a_connection_off_is_never_its_end() {
    let authority = Authority::new("ca");
    let client = client(&authority);
    let owner = authority.owner(NAME, Purpose::Server);
    for suite in [
        ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    ] {
        let acceptor = acceptor(&owner, Some(suite));
        let begun = async || {
            let (connected, server) = pair(&client, &acceptor).await;
            let (mut connected, mut server) = (connected.unwrap(), server.unwrap());
            server.write_all(b"half of i").await.unwrap();
            server.flush().await.unwrap();
            connected.read_exact(&mut [0; 9]).await.unwrap();
            (connected, server)
        };
        // TCP's and the leg's orderly end.
        let (mut connected, server) = begun().await;
        drop(server);
        let error = connected.read(&mut [0]).await.unwrap_err();
        assert_eq!(failure(&error), Some(ServerTlsFailure::Truncated));
        let again = connected.read(&mut [0]).await.unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::UnexpectedEof);

        // A failure of the stream below.
        let (mut connected, _server) = begun().await;
        connected.get_mut().is_cut = true;
        for _ in 0..3 {
            let error = connected.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        }

        // A byte that somebody adds.
        let (mut connected, server) = begun().await;
        let (mut below, _) = server.into_inner();
        below
            .write_all(&[0x17, 3, 3, 0, 20, 1, 2, 3])
            .await
            .unwrap();
        below.write_all(&[4; 17]).await.unwrap();
        let error = connected.read(&mut [0]).await.unwrap_err();
        assert_eq!(failure(&error), Some(ServerTlsFailure::Protocol));
        assert!(connected.read(&mut [0]).await.is_err());
    }
}
