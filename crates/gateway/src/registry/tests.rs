//! Where devices are, and where they no longer are.

use std::net::Ipv4Addr;

use hedgerow_coap::Code;
use hedgerow_core::Psk;
use hedgerow_net::{KeyStore, NodeConfig, ServerRequest};
use hedgerow_proxy::{HttpRequest, Methods};
use http::{HeaderMap, Method, Uri};
use tokio::net::UdpSocket;

use super::*;
use crate::config::Config;
use crate::gateway::{bind_node, node_config};

#[test]
fn name_leads_neither_inwards_nor_to_another_device() {
    let proxy = HcProxy::new()
        .with_device("lamp", "coaps://lamp.example", Methods::GET)
        .unwrap();
    let destination = proxy.device_destination("lamp").unwrap();
    let check = |address: &str, is_free| {
        check_place(&proxy, destination, address.parse().unwrap(), |_| is_free)
    };
    assert_eq!(check("192.0.2.7:5684", true), Ok(()));
    assert_eq!(
        check("192.0.2.7:5684", false),
        Err("another device's address")
    );
    for address in [
        "127.0.0.1:5684",
        "169.254.169.254:5684",
        "0.0.0.0:5684",
        "224.0.1.187:5684",
        "[::1]:5684",
        "[::ffff:127.0.0.1]:5684",
    ] {
        assert_eq!(
            check(address, true),
            Err("address not permitted"),
            "{address}"
        );
    }
}

const KEY: &[u8] = b"sixteen byte key";

/// What the resolver of a test answers, which counts how often it is asked.
#[derive(Clone, Default)]
struct Names(Arc<std::sync::Mutex<(Option<SocketAddr>, usize)>>);

impl Names {
    fn move_to(&self, address: SocketAddr) {
        self.0.lock().unwrap().0 = Some(address);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let mut names = self.0.lock().unwrap();
        names.1 += 1;
        Ok(names.0.into_iter().collect())
    }
}

struct Fixture {
    registry: Registry,
    names: Names,
    proxy: Arc<HcProxy>,
}

impl Fixture {
    /// A device at a name. Of names, `localhost` alone may lead to loopback.
    async fn new(scheme: &str, security: Security) -> Self {
        let lamp = Device::new("lamp", format!("{scheme}://localhost"), security);
        let mut config = Config::default().with_device(lamp.with_methods(Methods::ALL));
        config.coap.transmission.ack_timeout = Duration::from_millis(100);
        config.coap.transmission.max_retransmit = 3;
        config.dtls.timers.initial_timeout = Duration::from_millis(100);
        config.dtls.timers.max_transmissions = 4;
        let proxy = Arc::new(config.proxy().unwrap());
        let node = bind_node(node_config(&config)).await.unwrap();
        let mut registry =
            Registry::new(config.devices, Arc::clone(&proxy), node, 1, None).unwrap();
        let names = Names::default();
        let answers = names.clone();
        registry.look_up = Box::new(move |_, _| Box::pin(std::future::ready(answers.look_up())));
        Self {
            registry,
            names,
            proxy,
        }
    }

    async fn ask(&self, method: Method) -> Result<Vec<u8>, Failure> {
        let uri = Uri::from_static("/devices/lamp/temperature");
        let request = self.proxy.map_request(&HttpRequest {
            method: &method,
            uri: &uri,
            headers: &HeaderMap::new(),
            body_len: Some(0),
            is_https: true,
        });
        let request = request.unwrap().request;
        let entry = self.registry.entry(request.target()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let response = self
            .registry
            .request(entry, &request, true, deadline)
            .await?;
        Ok(response.payload)
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn device() -> Node {
    let keys = KeyStore::new();
    let psk = Psk::new(KEY).unwrap();
    keys.insert("gateway", psk, PeerId(1)).unwrap();
    let answer = |_: ServerRequest| async { ResponseMessage::new(Code::CONTENT).payload("21.5") };
    let node = Node::bind_server(loopback(), NodeConfig::default(), keys, answer);
    node.await.unwrap()
}

#[tokio::test]
async fn name_is_looked_up_again_once_nobody_answers_there() {
    let fixture = Fixture::new("coaps", Security::psk("gateway", KEY).unwrap()).await;
    let (before, after) = (device().await, device().await);
    fixture.names.move_to(before.local_addr());
    for _ in 0..2 {
        assert_eq!(fixture.ask(Method::GET).await.unwrap(), b"21.5");
    }
    assert_eq!(fixture.names.asked(), 1);
    // The device gets another address, and there is nobody at the old one.
    before.close().await;
    let _silent = UdpSocket::bind(before.local_addr()).await.unwrap();
    fixture.names.move_to(after.local_addr());
    let failure = fixture.ask(Method::GET).await.unwrap_err();
    assert_eq!(failure, Failure::HandshakeTimeout);
    assert_eq!(fixture.ask(Method::GET).await.unwrap(), b"21.5");
    assert_eq!(fixture.names.asked(), 2);
}

#[tokio::test]
async fn name_is_looked_up_again_once_a_stranger_answers_there() {
    let fixture = Fixture::new("coap", Security::None).await;
    let (stranger, lamp) = (
        UdpSocket::bind(loopback()).await.unwrap(),
        UdpSocket::bind(loopback()).await.unwrap(),
    );
    fixture.names.move_to(stranger.local_addr().unwrap());
    // A Reset, and a 2.05 piggybacked on its acknowledgement with the token's eight bytes.
    for (socket, start, answer) in [
        (&stranger, [0x70, 0], Err(Failure::DeviceReset)),
        (&lamp, [0x68, 0x45], Ok(Vec::new())),
    ] {
        let device = async {
            let mut datagram = [0; 1_152];
            let (_, gateway) = socket.recv_from(&mut datagram).await.unwrap();
            datagram[..2].copy_from_slice(&start);
            let len = if start[1] == 0 { 4 } else { 12 };
            socket.send_to(&datagram[..len], gateway).await.unwrap();
        };
        let device = tokio::time::timeout(Duration::from_secs(60), device);
        let (asked, device) = tokio::join!(fixture.ask(Method::GET), device);
        assert_eq!((asked, device), (answer, Ok(())));
        fixture.names.move_to(lamp.local_addr().unwrap());
    }
    assert_eq!(fixture.names.asked(), 2);
}
