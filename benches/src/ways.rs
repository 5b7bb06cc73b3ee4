//! How a gateway's devices are reached in each mode.

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_net::{
    Authorities, GatewayTls, GatewayUser, ItlsConfig, Passage, TranslateGateway, TunnelConfig,
    TunnelHttp,
};
use hedgerow_record::TranslateForm;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::devices;
use crate::ends::Way;
use crate::forwarding::{LANES, device_name, stream_device_name, token};

/// Returns how a gateway is reached that [`start_gateway`](crate::forwarding::start_gateway) started, each way
/// with its name in the table.
pub async fn of_gateway(lines: &[String]) -> Vec<(&'static str, Way)> {
    let (certificate, addresses) = read(lines);
    let [http, https, translate, _, leg] = addresses[..5].try_into().unwrap();
    let (dtls_form, tls_form) = addresses[5..].split_at(LANES);
    let authority = Authorities::new(certificate.as_bytes()).unwrap();
    let tls = || GatewayTls::authorities(&authority).unwrap();
    let tunnel = |uri: String, version, wants_udp_carrier| {
        let mut config = TunnelConfig::new(uri.parse().unwrap(), tls());
        config.user = Some(GatewayUser::with_token(&token(0)).unwrap());
        config.http = version;
        config.wants_udp_carrier = wants_udp_carrier;
        Way::Tunnel(config)
    };
    let translate = TranslateGateway::new(
        translate.ip().to_string(),
        translate.port(),
        TranslateForm::Short,
    );
    let mut callers = Vec::new();
    for number in 0..LANES {
        callers.push(devices::caller(number, leg).await);
    }
    vec![
        (TERMINATE, Way::Http(http, device_name)),
        (
            "terminate, HTTP/1.1 over TLS",
            Way::Https(https, connector(&certificate)),
        ),
        (
            "terminate, HTTP/1.1 in clear, devices over TLS",
            Way::Http(http, stream_device_name),
        ),
        (
            "tunnel, HTTP/1.1 in clear",
            tunnel(format!("http://{http}"), TunnelHttp::Http1, false),
        ),
        (
            "tunnel, HTTP/1.1 over TLS",
            tunnel(format!("https://{https}"), TunnelHttp::Http1, false),
        ),
        (
            "tunnel, HTTP/2 over TLS",
            tunnel(format!("https://{https}"), TunnelHttp::Http2, false),
        ),
        (
            "auto, on UDP, opened by HTTP/1.1 over TLS",
            tunnel(format!("https://{https}"), TunnelHttp::Http1, true),
        ),
        (
            "translate, short form",
            Way::Passages(vec![Passage::Translate(translate)]),
        ),
        (
            "translate, device adapts, DTLS form",
            Way::Tls(dtls_form.to_vec()),
        ),
        (
            "translate, device adapts, TLS form",
            Way::Tls(tls_form.to_vec()),
        ),
        (ITLS, itls(lines)),
        ("tunnel the other way, TLS inside DTLS", Way::Leg(callers)),
    ]
}

/// Returns how [`of_gateway`]'s is reached in mode `itls`, with whichever outer layer it has.
pub fn itls(lines: &[String]) -> Way {
    let (certificate, addresses) = read(lines);
    let authority = Authorities::new(certificate.as_bytes()).unwrap();
    let uri = format!("https://{}", addresses[3]);
    let passages = (0..LANES).map(|number| {
        let tls = GatewayTls::authorities(&authority).unwrap();
        let mut config = ItlsConfig::new(uri.parse().unwrap(), tls);
        // A user may begin ten flows at once.
        config.user = Some(GatewayUser::with_token(&token(number)).unwrap());
        Passage::Itls(Box::new(config))
    });
    Way::Passages(passages.collect())
}

/// A gateway's certificate as PEM, and where it is reached.
fn read(lines: &[String]) -> (String, Vec<SocketAddr>) {
    let (certificate, addresses) = lines.split_first().unwrap();
    let addresses = addresses.iter().map(|line| line.parse().unwrap());
    (certificate.replace('|', "\n"), addresses.collect())
}

/// Beside this one stands that with the light outer layer, which is another gateway's.
pub const ITLS: &str = "itls";

/// The way that others are compared with.
pub const TERMINATE: &str = "terminate, HTTP/1.1 in clear";

/// TLS 1.3 alone, to an HTTPS server with this certificate, as PEM.
fn connector(certificate: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_rustls::rustls::CipherSuite;
    use tokio_rustls::rustls::pki_types::ServerName;

    use super::*;
    use crate::devices::Neighbours;
    use crate::forwarding::start_gateway;

    /// What the documents say of the rows with TLS.
    #[tokio::test]
    async fn gateway_speaks_tls_1_3_over_https_and_in_mode_itls() {
        let neighbours = Neighbours::start().await;
        let (gateway, lines) = start_gateway(&neighbours.surroundings(), false).await;
        let connector = connector(&lines[0].replace('|', "\n"));
        for at in [gateway.https_addr(), gateway.itls_addr()] {
            let at = at.unwrap();
            let stream = TcpStream::connect(at).await.unwrap();
            // It offers nothing else.
            let stream = connector.connect(ServerName::from(at.ip()), stream).await;
            let suite = stream.unwrap().get_ref().1.negotiated_cipher_suite();
            assert_eq!(
                suite.unwrap().suite(),
                CipherSuite::TLS13_AES_256_GCM_SHA384
            );
        }
        gateway.shutdown().await;
    }

    /// Every way leads to the same answer, again and again, and each by what it is named after.
    #[tokio::test]
    async fn each_way_leads_to_the_device() {
        let neighbours = Neighbours::start().await;
        let (gateway, lines) = start_gateway(&neighbours.surroundings(), false).await;
        let devices = neighbours.surroundings().devices;
        for (name, way) in of_gateway(&lines).await {
            for number in [1, LANES - 1] {
                for _ in 0..2 {
                    eprintln!("{name}: device {number}");
                    let mut lane = way.open(number, devices[number]).await;
                    lane.ask().await;
                    lane.ready().await;
                    lane.ask().await;
                    assert!(lane.is_ready());
                    lane.close().await;
                }
            }
        }
        assert_eq!(gateway.udp_carrier_statistics().opened, 4);
        assert!(gateway.tunnel_statistics().traffic.udp_datagrams_up >= 4);
        assert_eq!(gateway.adapt_statistics().accepted, 8);
        let itls = gateway.itls_statistics();
        assert_eq!((itls.opened, itls.light), (4, 0));
        assert_eq!(gateway.leg_statistics().connected, 4);
        gateway.shutdown().await;
    }

    /// What is measured as the light outer layer is that.
    #[tokio::test]
    async fn light_gateway_forwards_answers_that_came_beside_the_records() {
        let neighbours = Neighbours::start().await;
        let surroundings = neighbours.surroundings();
        let (gateway, lines) = start_gateway(&surroundings, true).await;
        let mut lane = itls(&lines).open(1, surroundings.devices[1]).await;
        // The device learns from the first datagram of the gateway's that both agree.
        lane.ask().await;
        let before = gateway.itls_statistics();
        for _ in 0..10 {
            lane.ask().await;
        }
        let after = gateway.itls_statistics();
        assert_eq!(after.to_devices - before.to_devices, 10);
        assert_eq!(after.to_users - before.to_users, 10);
        assert_eq!(after.light - before.light, 10);
        lane.close().await;
        gateway.shutdown().await;
    }
}
