//! A device that begins in its own DTLS session with the gateway (mode `itls`): the Internet end has come there by TLS.

use std::sync::Arc;

use hedgerow::coap::Code;
use hedgerow::core::{ChannelError, PeerFault, PeerId, Psk, WayRefusal};
use hedgerow::endpoint::InnerConfig;
use hedgerow::gateway::{Config, Device, Gateway, Itls, ItlsCaller, Mode, Security, User};
use hedgerow::itls::{End, Settings};
use hedgerow::net::{
    Authorities, Credentials, GatewayTls, GatewayUser, InnerTarget, ItlsConfig, KeyStore,
    LinkedNode, Node, RequestFailure, RequestMessage, Target, itls_link,
};
use hedgerow::presets;
use tokio::runtime::Runtime;

use crate::relay::{TcpRelay, UdpRelay};
use crate::support::{IDENTITY, loopback};
use crate::{
    Cell, END_TO_END, GATEWAY_KEY, LIMIT, NAME, Stands, TOKEN, client, end_to_end, telling,
};

/// What the device asks is answered by an Internet end that the gateway knows as its user.
pub fn serves_a_device_that_calls(cell: &Cell) {
    let runtime = Runtime::new().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let itls = Itls::from_pem(loopback(), certificate.as_bytes(), key.as_bytes());
    let caller = ItlsCaller {
        device: NAME.to_owned(),
        psk_identity: NAME.into(),
        psk: Psk::new(GATEWAY_KEY.as_bytes()).unwrap(),
    };
    let security = Security::psk("gateway", b"for a way that isn't used").unwrap();
    let modes = [Mode::Terminate, Mode::Itls];
    let device = Device::new(NAME, "coaps://127.0.0.1:9", security);
    let config = Config::default()
        .with_http(loopback())
        .with_device(device.with_modes(&modes).with_call("user"))
        .with_user(User::with_token("user", TOKEN.as_bytes()))
        .with_itls(itls.unwrap().with_caller(loopback(), caller));
    let gateway = runtime.block_on(Gateway::start(config)).unwrap();
    // The border of the device's network is between the two that talk.
    let (mut tls, mut dtls) = (
        gateway.itls_addr().unwrap(),
        gateway.itls_devices_addr().unwrap(),
    );
    match cell.stands {
        Stands::Inside => tls = TcpRelay::start(&runtime, tls).address,
        Stands::Outside => dtls = UdpRelay::start(&runtime, dtls).address,
    }
    let authorities = Authorities::new(certificate.as_bytes()).unwrap();
    let trust = GatewayTls::authorities(&authorities).unwrap();
    let uri = format!("https://localhost:{}", tls.port());
    let mut way = ItlsConfig::new(uri.parse().unwrap(), trust);
    way.user = Some(GatewayUser::with_token(TOKEN).unwrap());
    way.takes_flows = true;
    let keys = KeyStore::new();
    keys.insert(IDENTITY, end_to_end(), PeerId(2)).unwrap();
    let _answering = runtime.block_on(async {
        let opened = itls_link(&way, "").await.unwrap();
        LinkedNode::serving(opened.link, client(), keys, telling(cell.is_trusted))
    });
    let mut config = presets::client(LIMIT);
    config.endpoint.inner = Some(InnerConfig::new(Settings::new(End::Device)));
    let device = runtime.block_on(Node::bind_client(loopback(), config));
    let device = device.unwrap();
    let hop = Psk::new(GATEWAY_KEY.as_bytes()).unwrap();
    let hop = Credentials::new(NAME, hop, PeerId(1)).unwrap();
    let end = Credentials::new(IDENTITY, end_to_end(), PeerId(1)).unwrap();
    let target = InnerTarget {
        gateway: Target {
            address: dtls,
            credentials: Some(Arc::new(hop)),
        },
        name: "user".to_owned(),
        credentials: Arc::new(end),
    };
    let gone = RequestFailure::Channel(ChannelError::Peer(PeerFault::WayRefused {
        reason: WayRefusal::Gone,
    }));
    // Whoever has come is there once the gateway has read its first message.
    let answered = (0..6).find_map(|turn| {
        let get = RequestMessage::new(Code::GET).path("/x");
        let asked = runtime.block_on(device.request_inside(&target, get));
        if asked.as_ref().is_err_and(|failure| *failure == gone) {
            std::thread::sleep(std::time::Duration::from_millis(100) * 3_u32.pow(turn));
            return None;
        }
        Some(asked.unwrap())
    });
    let told = String::from_utf8(answered.unwrap().payload).unwrap();
    assert!(told.starts_with(&format!("{END_TO_END} at ")), "{told}");
    runtime.block_on(gateway.shutdown());
}
