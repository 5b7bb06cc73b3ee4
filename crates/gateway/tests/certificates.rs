//! A gateway and devices in certificate mode, and those of other modes beside them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../../net/tests/support/authority.rs"]
mod authority;
mod support;

use std::sync::Arc;

use authority::{Authority, Owner, Purpose, Time};
use hedgerow_core::{CertificatesOnly, PeerId};
use hedgerow_gateway::{Config, Device, Security};
use hedgerow_net::{
    AcceptedServer, Authorities, CertificateStore, Identity, Node, NodeConfig, RawPublicKey,
    ServerCertificates, StreamConfig, StreamServer,
};
use support::{Resources, device, get, loopback, psk_device, short_config, start};

fn identity(owner: &Owner) -> Arc<Identity> {
    let identity = Identity::new(owner.key.as_bytes()).unwrap();
    let certificates = owner.certificate.as_bytes();
    Arc::new(identity.with_certificates(certificates).unwrap())
}

fn raw_key(owner: &Owner) -> RawPublicKey {
    RawPublicKey::new(owner.public_key.as_bytes()).unwrap()
}

struct Site {
    authority: Authority,
    gateway: Owner,
}

impl Site {
    fn new() -> Self {
        let authority = Authority::new("site");
        Self {
            gateway: authority.owner("gateway.example", Purpose::Client),
            authority,
        }
    }

    fn trusted(&self) -> Authorities {
        Authorities::new(self.authority.pem.as_bytes()).unwrap()
    }

    /// What a device has that lets the gateway in.
    fn store(&self, owner: &Owner) -> CertificatesOnly<CertificateStore> {
        let certificates = ServerCertificates::new(identity(owner))
            .with_names(&self.trusted(), [("gateway.example", PeerId(1))])
            .unwrap();
        CertificatesOnly(CertificateStore::new(certificates))
    }

    fn named(&self, name: &str) -> Security {
        Security::Certificate {
            device: AcceptedServer::Certificate {
                authorities: self.trusted(),
                name: name.to_owned(),
            },
        }
    }

    fn config(&self) -> Config {
        Config {
            certificate: Some(identity(&self.gateway)),
            ..short_config()
        }
    }
}

#[tokio::test]
async fn devices_with_certificates_are_asked_over_udp_and_tcp() {
    let site = Site::new();
    let lamp = site.authority.owner("lamp.example", Purpose::Server);
    let (resources, _told) = Resources::new();
    let udp = Node::bind_server(
        loopback(),
        NodeConfig::default(),
        site.store(&lamp),
        resources.clone(),
    );
    let udp = udp.await.unwrap();
    let tcp = StreamServer::bind(
        loopback(),
        StreamConfig::default(),
        site.store(&lamp),
        resources.clone(),
    );
    let tcp = tcp.await.unwrap();
    // One of the paper's other modes beside them, in the same gateway.
    let keyed = device(loopback(), resources).await;
    let uri = |at: std::net::SocketAddr| format!("coaps://{at}");
    let by_key = Security::Certificate {
        device: AcceptedServer::RawPublicKey(raw_key(&lamp)),
    };
    let config = site
        .config()
        .with_device(Device::new(
            "named",
            uri(udp.local_addr()),
            site.named("lamp.example"),
        ))
        .with_device(Device::new(
            "stream",
            format!("coaps+tcp://{}", tcp.local_addr()),
            by_key,
        ))
        .with_device(psk_device("keyed", keyed.local_addr()));
    let gateway = start(config).await;
    for name in ["named", "stream", "keyed"] {
        let response = get(&gateway, &format!("/devices/{name}/temperature")).await;
        assert_eq!(response.status, 200, "{name}");
        assert_eq!(response.body, b"21.5", "{name}");
    }
    let page = get(&gateway, "/").await.body;
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("security <b>certificate</b> (Certificate)"),
        "{page}"
    );
    assert!(
        page.contains("security <b>raw public key</b> (Certificate)"),
        "{page}"
    );
    assert!(page.contains("security <b>psk</b> (MultiKey)"), "{page}");
    gateway.shutdown().await;
}

#[tokio::test]
async fn device_with_another_name_or_authority_is_not_asked() {
    let site = Site::new();
    let stranger = Authority::new("stranger");
    for (lamp, name) in [
        (
            site.authority.owner("lamp.example", Purpose::Server),
            "other.example",
        ),
        (
            stranger.owner("lamp.example", Purpose::Server),
            "lamp.example",
        ),
        (
            site.authority
                .owner_in("lamp.example", Purpose::Server, Time::Over),
            "lamp.example",
        ),
    ] {
        let (resources, _told) = Resources::new();
        let store = site.store(&lamp);
        let node = Node::bind_server(loopback(), NodeConfig::default(), store, resources);
        let node = node.await.unwrap();
        let uri = format!("coaps://{}", node.local_addr());
        let config = site
            .config()
            .with_device(Device::new("lamp", uri, site.named(name)));
        let gateway = start(config).await;
        let response = get(&gateway, "/devices/lamp/temperature").await;
        assert_eq!(response.status, 502);
        assert_eq!(node.statistics().established, 0);
        gateway.shutdown().await;
    }
}
