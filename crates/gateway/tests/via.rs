//! A gateway on the user's own machine, which reaches devices through another one, in each mode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_core::{PeerId, Psk};
use hedgerow_gateway::{Config, Device, Mode, Running, Security, Translate, User, Via};
use hedgerow_net::{
    AdaptedGateway, ForwardSecrecy, GatewayTls, GatewayUser, KeyStore, Node, NodeConfig, Passage,
    TranslateGateway, TunnelConfig,
};
use hedgerow_proxy::Methods;
use hedgerow_record::TranslateForm;
use support::{Resources, get, loopback, request, short_config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;

const TOKEN: &str = "0123456789abcdef";
const END_TO_END: &[u8] = b"the ends' own 16";

fn end_to_end() -> Psk {
    Psk::new(END_TO_END).unwrap().into_end_to_end().unwrap()
}

async fn device(resources: Resources) -> Node {
    let keys = KeyStore::new();
    keys.insert("end", end_to_end(), PeerId(2)).unwrap();
    Node::bind_server(loopback(), NodeConfig::default(), keys, resources)
        .await
        .unwrap()
}

/// The gateway that isn't trusted.
async fn gateway(device: SocketAddr) -> Running {
    let lamp = Device::new("lamp", format!("coaps://{device}"), Security::EndToEnd);
    let config = short_config()
        .with_user(User::with_token("robot", TOKEN.as_bytes()))
        .with_translate(Translate::new(loopback()))
        .with_device(lamp.with_modes(&[Mode::Tunnel, Mode::Translate]));
    start(config).await
}

/// How the gateway is reached in each mode, if something stands before it.
fn passages(gateway: &Running, at: Option<SocketAddr>) -> [Passage; 2] {
    let http = at.unwrap_or(gateway.http_addr().unwrap());
    let tls = GatewayTls::nobody().unwrap();
    let mut tunnel = TunnelConfig::new(format!("http://{http}").parse().unwrap(), tls);
    tunnel.user = Some(GatewayUser::with_token(TOKEN).unwrap());
    let translate = at.unwrap_or(gateway.translate_addr().unwrap());
    let (host, form) = (translate.ip().to_string(), TranslateForm::Short);
    let translate = TranslateGateway::new(host, translate.port(), form);
    [Passage::Tunnel(tunnel), Passage::Translate(translate)]
}

/// The one that is.
async fn facade(passage: Passage, device: SocketAddr) -> Running {
    let security = Security::Psk {
        identity: b"end".to_vec(),
        key: end_to_end(),
        is_shared: false,
    };
    let uri = format!("coaps://lamp:{}", device.port());
    let lamp = Device::new("lamp", uri, security).with_methods(Methods::ALL);
    let mut config: Config = short_config().with_device(lamp);
    config.via = Some(Via {
        passage,
        forward_secrecy: ForwardSecrecy::Required,
    });
    start(config).await
}

#[tokio::test]
async fn requests_go_end_to_end_in_each_mode() {
    let (resources, _told) = Resources::new();
    let device = device(resources).await;
    let at = device.local_addr();
    let gateway = gateway(at).await;
    for passage in passages(&gateway, None) {
        let facade = facade(passage, at).await;
        let reply = get(&facade, "/devices/lamp/temperature").await;
        assert_eq!(
            (reply.status, reply.body.as_slice()),
            (200, b"21.5".as_slice())
        );
        let http = facade.http_addr().unwrap();
        let put = request(http, "PUT /devices/lamp/a", &[7; 3_000]).await;
        assert_eq!(put.status, 204, "{put:?}");
        assert_eq!(get(&facade, "/devices/lamp/a").await.body, [7; 3_000]);
        facade.shutdown().await;
    }
    // One way served all.
    assert_eq!(gateway.tunnel_statistics().opened, 1);
    assert_eq!(gateway.translate_statistics().accepted, 1);
    assert_eq!(gateway.statistics().established, 0);
    gateway.shutdown().await;
}

/// Nobody knows whether it is the device or the way that is silent.
#[tokio::test]
async fn silence_has_the_next_request_go_another_way() {
    let asleep = UdpSocket::bind(loopback()).await.unwrap();
    let at = asleep.local_addr().unwrap();
    let gateway = gateway(at).await;
    for passage in passages(&gateway, None) {
        let facade = facade(passage, at).await;
        for _ in 0..2 {
            let reply = get(&facade, "/devices/lamp/temperature").await;
            assert_eq!(reply.status, 504, "{reply:?}");
        }
        facade.shutdown().await;
    }
    assert_eq!(gateway.tunnel_statistics().opened, 2);
    assert_eq!(gateway.translate_statistics().accepted, 2);
    gateway.shutdown().await;
}

/// Relays connections to an address, and cuts the one of now whenever it is told to.
async fn relay(to: SocketAddr, cut: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(to).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = cut.notified() => {}
            }
        }
    });
    address
}

/// What may be repeated is, once, where the way ends before the answer.
#[tokio::test]
async fn way_that_ends_in_the_middle_costs_a_get_nothing() {
    let (resources, mut told) = Resources::new();
    let go_on = Arc::clone(&resources.go_on);
    let posts = Arc::clone(&resources.posts);
    let device = device(resources).await;
    let at = device.local_addr();
    let gateway = gateway(at).await;
    for mode in 0..2 {
        let cut = Arc::new(Notify::new());
        let to = match mode {
            0 => gateway.http_addr().unwrap(),
            _ => gateway.translate_addr().unwrap(),
        };
        let before = relay(to, Arc::clone(&cut)).await;
        let [tunnel, translate] = passages(&gateway, Some(before));
        let passage = if mode == 0 { tunnel } else { translate };
        let facade = facade(passage, at).await;
        let asked = get(&facade, "/devices/lamp/slow");
        let ends = async {
            told.recv().await.unwrap();
            cut.notify_one();
            told.recv().await.unwrap();
            go_on.add_permits(2);
        };
        let (reply, ()) = tokio::join!(asked, ends);
        assert_eq!(
            (reply.status, reply.body.as_slice()),
            (200, b"at last".as_slice())
        );
        facade.shutdown().await;
    }
    assert_eq!(posts.load(std::sync::atomic::Ordering::SeqCst), 0);
    gateway.shutdown().await;
}

/// RFC 9110 §15.6.3: it is the gateway's no, neither the device's nor one to this client.
#[tokio::test]
async fn what_the_gateway_refuses_is_told_as_its_word() {
    let (resources, _told) = Resources::new();
    let device = device(resources).await;
    let at = device.local_addr();
    let gateway = gateway(at).await;
    let told = async |passage: Passage, at: SocketAddr, status: u16, problem: &str| {
        let facade = facade(passage, at).await;
        let reply = get(&facade, "/devices/lamp/temperature").await;
        assert_eq!(reply.status, status, "{reply:?}");
        let found = reply.problem();
        assert!(
            found.contains(problem) && found.contains("the gateway before the device"),
            "{found}"
        );
        facade.shutdown().await;
    };
    let [mut tunnel, _] = passages(&gateway, None);
    let Passage::Tunnel(config) = &mut tunnel else {
        panic!();
    };
    config.user = Some(GatewayUser::with_token("fedcba9876543210").unwrap());
    told(tunnel, at, 502, "/problems/gateway-user").await;
    // Another port than the gateway has for the device.
    let [tunnel, _] = passages(&gateway, None);
    let elsewhere = SocketAddr::new(at.ip(), 1);
    told(tunnel, elsewhere, 502, "/problems/gateway-target").await;
    // Nobody listens.
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    for passage in passages(&gateway, Some(nobody)) {
        told(passage, at, 502, "/problems/gateway-unreachable").await;
    }
    // It speaks something else.
    let other = TcpListener::bind(loopback()).await.unwrap();
    let elsewhere = Some(other.local_addr().unwrap());
    tokio::spawn(async move {
        for answer in [&b"SSH-2.0-x\r\n"[..], b""] {
            let (mut stream, _) = other.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    // It says something else, or nothing, or is the gateway's own HTTP.
    for to in [elsewhere, elsewhere, gateway.http_addr()] {
        let [_, translate] = passages(&gateway, to);
        told(translate, at, 502, "/problems/gateway-mode").await;
    }
    gateway.shutdown().await;
}

/// Mode `translate-device`: what a gateway says that hands no connection on comes in clear, and isn't the device's word.
#[tokio::test]
async fn alert_in_clear_is_not_told_as_the_device_s() {
    for (description, meaning) in [
        (112, "hands on to no device of this name"),
        (80, "doesn't reach the device, or has no room"),
        (40, "the device, or somebody on the way"),
    ] {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.read_u8().await.unwrap();
                let alert = [21, 3, 3, 0, 2, 2, description];
                stream.write_all(&alert).await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            }
        });
        let gateway = AdaptedGateway::new(at.ip().to_string(), at.port());
        let facade = facade(Passage::Adapted(gateway), at).await;
        let reply = get(&facade, "/devices/lamp/temperature").await;
        assert_eq!(reply.status, 502, "{reply:?}");
        for part in [
            "/problems/gateway-alert",
            "by whom nobody can tell",
            meaning,
        ] {
            assert!(reply.text().contains(part), "{part}: {reply:?}");
        }
        facade.shutdown().await;
    }
}
