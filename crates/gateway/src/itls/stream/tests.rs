//! Connections in memory and in paused time: who doesn't say who it is keeps no place.

use std::net::Ipv4Addr;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::duplex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{Config, Itls as ItlsSettings};
use crate::registry::Registry;
use crate::tunnels::Tunnels;

/// A gateway's side of one connection, and a client that trusts it.
async fn ends() -> (Stream, TlsConnector) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = ItlsSettings::from_pem(local, certificate.as_bytes(), key.as_bytes()).unwrap();
    let config = Config::default();
    let proxy = Arc::new(config.proxy().unwrap());
    let node = hedgerow_net::Node::bind_client(local, hedgerow_net::NodeConfig::default());
    let node = node.await.unwrap();
    let registry = Registry::new(config.devices, proxy, node, 16, None).unwrap();
    let tunnels = Tunnels::new(config.users, config.tunnel, None, None);
    let stream = Stream {
        itls: Itls::new(&settings, Arc::new(registry), tunnels, Vec::new()),
        tls: TlsAcceptor::from(settings.tls),
        from: local,
    };
    let mut roots = RootCertStore::empty();
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes());
    roots.add(certificate.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![ITLS_ALPN.to_vec()];
    (stream, TlsConnector::from(Arc::new(client)))
}

#[tokio::test(start_paused = true)]
async fn who_does_not_begin_tls_is_cut_off_after_10_s() {
    let (gateway, _) = ends().await;
    let (_near, far) = duplex(10_000);
    let begun = Instant::now();
    let error = gateway.begin(far).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

/// Nothing of it, or all but the last byte.
#[tokio::test(start_paused = true)]
async fn who_does_not_say_who_it_is_is_cut_off_after_10_s() {
    for said in [&b""[..], &[0, 4, 0, 1, 2]] {
        let (gateway, client) = ends().await;
        let (near, far) = duplex(10_000);
        let name = ServerName::try_from("localhost").unwrap();
        let begun = Instant::now();
        let saying = async {
            let mut stream = client.connect(name, near).await.unwrap();
            stream.write_all(said).await.unwrap();
            stream.flush().await.unwrap();
            // Whatever comes first is the end.
            stream.read_u8().await.unwrap_err()
        };
        let serving = async {
            let outcome = gateway.begin(far).await;
            (outcome.map(|_| ()).unwrap_err(), begun.elapsed())
        };
        let ((error, took), _) = tokio::join!(serving, saying);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(took.as_secs(), 10);
    }
}
