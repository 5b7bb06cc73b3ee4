//! The modes in their other forms.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};

use hedgerow::core::{Env, Instant, KeyLogging, PeerId, Psk};
use hedgerow::crypto_soft::SoftCrypto;
use hedgerow::endpoint::{TlsConnection, TlsEvent};
use hedgerow::handshake::Settings;
use hedgerow::net::{
    Credentials, KeyLogFile, KeyStore, LinkedNode, TranslateConfig, Tunnel, translated_link,
};
use hedgerow::proxy::CarrierState;
use hedgerow::record::TranslateForm;
use hedgerow_sim::TestRng;
use tokio::runtime::Handle;

use super::scene::{DEVICE, Drawn, IDENTITY, LIMIT, Scene, policy};
use super::ways::{asked_tunnel, end_to_end, over_tls};

/// Records keep their whole header.
pub fn translate_long(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let config = TranslateConfig::new(scene.translate.address, DEVICE, TranslateForm::Long);
    let opened = config.clone();
    let open = async move { translated_link(&opened).await.unwrap() };
    end_to_end(scene, open, move |node| config.fit(node))
}

/// The stream to the device has the client's records as they are.
pub fn translate_device_tls(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    over_tls(scene, scene.tls[1].address)
}

/// A client of HTTP over TLS, which knows of no gateway and of no CoAP.
pub fn translate_device_http(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    let (address, drawn) = (scene.tls[2].address, Arc::clone(&scene.drawn));
    let log = KeyLogFile::open(&scene.client_log).unwrap();
    scene.spawn(move |_| posted_over_https(address, &drawn, log))
}

/// Both ends know each other by raw public keys.
pub fn tunnel_raw_public_keys(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    tunnel_with(scene, scene.by_raw_public_key())
}

/// Both ends know each other by certificates.
pub fn tunnel_certificates(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    tunnel_with(scene, scene.by_certificate())
}

fn tunnel_with(scene: &Scene, key: Arc<Credentials>) -> mpsc::Receiver<Vec<u8>> {
    let (config, target) = asked_tunnel(scene);
    let (node, _, request) = scene.end_to_end();
    scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            let link = Tunnel::open(&config, &target).await.unwrap().link;
            let node = LinkedNode::new(link, node);
            let response = node.request(Some(&key), request).await.unwrap();
            node.close().await;
            response.payload
        })
    })
}

/// A tunnel with a second carrier, over which nothing comes back.
pub fn auto_over_tcp(scene: &Scene) -> mpsc::Receiver<Vec<u8>> {
    scene.carriers.let_pass(0);
    let (mut config, target) = asked_tunnel(scene);
    config.wants_udp_carrier = true;
    let (node, key, request) = scene.end_to_end();
    scene.spawn(move |runtime: &Handle| {
        runtime.block_on(async {
            let tunnel = Tunnel::open(&config, &target).await.unwrap();
            let carriers = tunnel.carriers.expect("an offer of the gateway's");
            let node = LinkedNode::new(tunnel.link, node);
            let response = node.request(Some(&key), request).await.unwrap();
            assert_eq!(*carriers.borrow(), CarrierState::TcpOnly);
            node.close().await;
            response.payload
        })
    })
}

/// Posts what was drawn over HTTP/1.1 in TLS, and returns the body of the answer.
fn posted_over_https(address: SocketAddr, drawn: &Drawn, log: KeyLogFile) -> Vec<u8> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    let mut rng = TestRng::stream(u64::from_be_bytes(seed), 0);
    let env = &mut Env::new(Instant::ZERO, &mut rng);
    let psk = Psk::new(&drawn.end_to_end_key).unwrap();
    let psk = psk.into_end_to_end().unwrap();
    let credentials = hedgerow::core::Credentials {
        psk_identity: IDENTITY.as_bytes(),
        psk: &psk,
        peer: PeerId(0),
    };
    let provider = KeyLogging::new(SoftCrypto, Some(log));
    let settings = Settings::default();
    let mut tls = TlsConnection::<_, KeyStore, _>::client(
        provider,
        credentials,
        settings,
        &Arc::new(policy()),
        env,
    )
    .unwrap();
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!(
        "POST /{} HTTP/1.1\r\nHost: {DEVICE}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {}\r\n\r\n",
        drawn.path,
        drawn.request.len()
    );
    let request = [head.as_bytes(), &drawn.request].concat();
    let body = drawn.response_body();
    let mut read = Vec::new();
    let mut is_asked = false;
    let mut part = [0; 4_096];
    while !read.ends_with(&body) {
        if tls.is_open() && !is_asked {
            is_asked = true;
            let mut record = vec![0; request.len() + tls.overhead()];
            let len = tls.seal(&request, &mut record).unwrap();
            tcp.write_all(&record[..len]).unwrap();
        }
        while let Some(len) = tls.poll_transmit(env, &mut part).unwrap() {
            tcp.write_all(&part[..len]).unwrap();
        }
        let len = tcp.read(&mut part).unwrap();
        assert!(len > 0, "closed before the answer was whole");
        let mut arrived = &part[..len];
        while !arrived.is_empty() {
            arrived = &arrived[tls.push(arrived)..];
            while let Some(event) = tls.poll(env).unwrap() {
                if let TlsEvent::Plaintext(text) = event {
                    read.extend_from_slice(text);
                }
            }
        }
    }
    assert!(read.starts_with(b"HTTP/1.1 2"), "another status");
    body
}
