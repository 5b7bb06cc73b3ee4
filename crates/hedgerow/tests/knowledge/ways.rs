//! How one end is asked by the other in each mode.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use hedgerow::handshake::Settings;
use hedgerow::net::{
    AdaptedStream, DatagramLink, ForwardSecrecy, GatewayTls, GatewayUser, LinkedNode, Node,
    NodeConfig, SecurityPolicy, StreamClient, StreamOffer, Target, TlsStream, TranslateConfig,
    Tunnel, TunnelConfig, TunnelTarget, itls_link, translated_link,
};
use hedgerow::proxy::CarrierState;
use hedgerow::record::{LegForm, TranslateForm};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;

use super::scene::{self, DEVICE, Drawn, LIMIT, SERVICE, Scene};
use crate::support;

pub fn terminate(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let (address, drawn) = (scene.http.address, Arc::clone(&scene.drawn));
    scene.spawn(move |_| {
        let response = scene::post(address, &drawn);
        assert_eq!(response.status, 200, "{}", response.head);
        response.body
    })
}

pub fn tunnel(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let (config, target) = asked_tunnel(scene);
    let open = async move { Tunnel::open(&config, &target).await.unwrap().link };
    end_to_end(scene, open, |node| node)
}

/// A tunnel whose second carrier is in use.
pub fn auto(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let (mut config, target) = asked_tunnel(scene);
    config.wants_udp_carrier = true;
    let open = async move {
        let tunnel = Tunnel::open(&config, &target).await.unwrap();
        let mut carriers = tunnel.carriers.expect("an offer of the gateway's");
        let is_active = |state: &CarrierState| *state == CarrierState::UdpActive;
        let active = tokio::time::timeout(LIMIT, carriers.wait_for(is_active)).await;
        active.expect("UDP carries").unwrap();
        tunnel.link
    };
    end_to_end(scene, open, |node| node)
}

pub fn asked_tunnel(scene: &Scene) -> (TunnelConfig, TunnelTarget) {
    let uri = format!("http://{}", scene.http.address).parse().unwrap();
    let mut config = TunnelConfig::new(uri, GatewayTls::nobody().unwrap());
    config.user = Some(GatewayUser::with_token(&scene.drawn.token).unwrap());
    let target = TunnelTarget::new(DEVICE, scene.device.address.port()).unwrap();
    (config, target)
}

pub fn translate(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let config = TranslateConfig::new(scene.translate.address, DEVICE, TranslateForm::Short);
    let opened = config.clone();
    let open = async move { translated_link(&opened).await.unwrap() };
    end_to_end(scene, open, move |node| config.fit(node))
}

/// A client of CoAP over TLS that knows of no gateway asks the device.
pub fn translate_device(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    over_tls(scene, scene.tls[0].address)
}

pub fn over_tls(scene: &Scene, address: SocketAddr) -> mpsc::Receiver<Vec<u8>> {
    let (config, key, request) = scene.over_tls();
    let target = Target {
        address,
        credentials: Some(key),
    };
    scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            let client = StreamClient::new(config);
            let response = client.request(&target, request).await.unwrap();
            client.close().await;
            response.payload
        })
    })
}

pub fn itls(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let config = scene.outer();
    let open = async move { itls_link(&config, DEVICE).await.unwrap().link };
    end_to_end(scene, open, |node| node)
}

/// The device asks the server, over TLS in a stream inside its DTLS session with the gateway.
pub fn leg(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    over_leg(scene, LegForm::Tls)
}

/// The same, with records in this form up to the gateway.
pub fn over_leg(scene: &Scene, form: LegForm) -> mpsc::Receiver<Vec<u8>> {
    let (config, target, key) = scene.calling();
    let offer = StreamOffer {
        name: SERVICE.to_owned(),
        ..StreamOffer::default()
    };
    let settings = Settings::default().with_application_protocols(&[b"coap"]);
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let drawn = Arc::clone(&scene.drawn);
    scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            let node = Node::bind_client(support::loopback(), config)
                .await
                .unwrap();
            let stream = node.open_stream(&target, offer).await.unwrap();
            let stream = AdaptedStream::client(stream, form);
            let policy = Arc::new(policy);
            let tls = TlsStream::connect(stream, Arc::new(key), settings, &policy);
            let mut tls = tls.await.unwrap();
            tls.write_all(&posted(&drawn)).await.unwrap();
            tls.flush().await.unwrap();
            let body = drawn.response_body();
            let mut read = Vec::new();
            while !read.ends_with(&body) {
                let len = tls.read_buf(&mut read).await.unwrap();
                assert!(len > 0, "closed before the answer was whole");
            }
            node.close().await;
            body
        })
    })
}

/// What a client of CoAP over TLS says (RFC 8323 §3.2, §5.3): that it takes messages of 8,192 bytes, and a POST.
fn posted(drawn: &Drawn) -> Vec<u8> {
    let csm = [0x30, 0xe1, 0x22, 0x20, 0x00];
    // Uri-Path, whose length of 32 is 13 and 19.
    let options = [&[0xbd, 19], drawn.path.as_bytes(), &[0xff]].concat();
    let len = options.len() + drawn.request.len();
    let head = [0xd1, u8::try_from(len - 13).unwrap(), 0x02, 0x55];
    [&csm[..], &head, &options, &drawn.request].concat()
}

/// Asks the device over what carries datagrams.
pub fn end_to_end(
    scene: &Scene,
    open: impl Future<Output = DatagramLink> + Send + 'static,
    fit: impl FnOnce(NodeConfig) -> NodeConfig,
) -> mpsc::Receiver<Vec<u8>> {
    let (config, key, request) = scene.end_to_end();
    let config = fit(config);
    scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            let node = LinkedNode::new(open.await, config);
            let response = node.request(Some(&key), request).await.unwrap();
            node.close().await;
            response.payload
        })
    })
}
