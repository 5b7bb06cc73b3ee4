//! A device as client of an unmodified TLS server, with records in form `dtls` on the leg
//! (docs/specs/translate-device.md).
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow_core::{KeyPurpose, PeerId, Psk};
use hedgerow_gateway::{Leg, LegPeer, LegService, Running};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    AdaptedStream, Credentials, ForwardSecrecy, KeyStore, LegConfig, LegStream, Node, NodeConfig,
    ResetReason, SecurityPolicy, StreamFailure, StreamOffer, Target, TlsStream,
};
use hedgerow_record::LegForm;
use support::{loopback, psk_device, short_config, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};

const HOP_KEY: &[u8] = b"a hop's own key.";
const END_TO_END: &[u8] = b"end-to-end bytes";

fn leg(at: SocketAddr) -> Leg {
    let mut leg = Leg::new(loopback());
    leg.peers.push(LegPeer {
        name: "meter".to_owned(),
        psk_identity: b"meter".to_vec(),
        psk: Psk::new(HOP_KEY).unwrap(),
        services: vec!["backend".to_owned()],
    });
    leg.services.push(LegService {
        name: "backend".to_owned(),
        host: at.ip().to_string(),
        port: at.port(),
    });
    leg
}

/// A gateway, which has a key for `terminate` too, a device and a server behind the gateway.
struct Scene {
    gateway: Running,
    node: Node,
    target: Target,
    server: TcpListener,
}

impl Scene {
    async fn start() -> Self {
        let server = TcpListener::bind(loopback()).await.unwrap();
        let device = psk_device("meter", "127.0.0.1:5684".parse().unwrap());
        let config = short_config().with_device(device);
        let gateway = start(config.with_leg(leg(server.local_addr().unwrap()))).await;
        let mut config = NodeConfig::default();
        config.endpoint.legs = Some(LegConfig::new(Role::Device));
        let node = Node::bind_client(loopback(), config).await.unwrap();
        let key = Psk::new(HOP_KEY).unwrap();
        let target = Target {
            address: gateway.leg_addr().unwrap(),
            credentials: Some(Arc::new(Credentials::new("meter", key, PeerId(1)).unwrap())),
        };
        Self {
            gateway,
            node,
            target,
            server,
        }
    }

    async fn open(&self) -> LegStream {
        let offer = StreamOffer {
            name: "backend".to_owned(),
            ..StreamOffer::default()
        };
        self.node.open_stream(&self.target, offer).await.unwrap()
    }

    /// A stream with its TCP connection, which have carried nothing.
    async fn carried(&self) -> (LegStream, TcpStream) {
        let stream = self.open().await;
        let (tcp, _) = self.server.accept().await.unwrap();
        (stream, tcp)
    }

    async fn end(self) {
        self.node.close().await;
        self.gateway.shutdown().await;
    }
}

fn policy() -> Arc<SecurityPolicy> {
    Arc::new(SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required))
}

fn end_to_end(bytes: &[u8]) -> Psk {
    Psk::new(bytes).unwrap().into_end_to_end().unwrap()
}

fn shown(bytes: &[u8]) -> Arc<Credentials> {
    Arc::new(Credentials::new("meter", end_to_end(bytes), PeerId(6)).unwrap())
}

/// Serves one client of the library's TLS, which knows nothing of forms.
async fn serve(server: &TcpListener) -> io::Result<()> {
    let (tcp, _) = server.accept().await?;
    let store = KeyStore::new();
    store
        .insert("meter", end_to_end(END_TO_END), PeerId(5))
        .unwrap();
    let mut tls = TlsStream::accept(tcp, &store, Settings::default(), &policy()).await?;
    let mut question = [0; 8];
    tls.read_exact(&mut question).await?;
    assert_eq!(&question, b"question");
    tls.write_all(&b"answer ".repeat(10_000)).await?;
    tls.shutdown().await?;
    Ok(())
}

#[tokio::test]
async fn device_with_records_in_either_form_speaks_tls_with_a_server() {
    for form in [LegForm::Dtls, LegForm::Tls] {
        let scene = Scene::start().await;
        let stream = AdaptedStream::client(scene.open().await, form);
        let asked = async {
            let settings = Settings::default();
            let tls = TlsStream::connect(stream, shown(END_TO_END), settings, &policy()).await;
            let mut tls = tls.unwrap();
            assert_eq!(tls.peer().key_purpose(), Some(KeyPurpose::EndToEnd));
            // Both halves at once, from tasks of their own.
            let (mut reader, mut writer) = split(tls);
            let writing = tokio::spawn(async move {
                writer.write_all(b"question").await.unwrap();
                writer.flush().await.unwrap();
                writer
            });
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.unwrap();
            tls = reader.unsplit(writing.await.unwrap());
            tls.shutdown().await.unwrap();
            tls.into_inner().into_inner().close().await.unwrap();
            answer
        };
        let (answer, served) = tokio::join!(asked, serve(&scene.server));
        served.unwrap();
        assert!(answer == b"answer ".repeat(10_000), "{form:?}");
        scene.end().await;
    }
}

#[tokio::test]
async fn another_key_is_refused_in_form_dtls_too() {
    let scene = Scene::start().await;
    let stream = AdaptedStream::client(scene.open().await, LegForm::Dtls);
    let (key, policy) = (shown(b"another sixteen!"), policy());
    let asked = TlsStream::connect(stream, key, Settings::default(), &policy);
    let (asked, served) = tokio::join!(asked, serve(&scene.server));
    assert!(asked.is_err() && served.is_err());
    scene.end().await;
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(octet).collect()
}

/// The vectors of the mapping: TLS's octets, those of form `dtls`, and TLS's again.
fn vectors() -> Vec<[Vec<u8>; 3]> {
    let text = include_str!("../../../docs/specs/vectors/translate_device.txt");
    let mut found = Vec::new();
    for block in text.split("\nmap ").skip(1) {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            unhex(line.unwrap().strip_prefix(" = ").unwrap())
        };
        found.push(["tls", "dtls", "back"].map(field));
    }
    assert!(found.len() > 5);
    found
}

#[tokio::test]
async fn server_sees_tls_alone_and_device_form_dtls_alone() {
    let scene = Scene::start().await;
    for [tls, dtls, back] in vectors() {
        let (mut stream, mut tcp) = scene.carried().await;
        stream.write_all(&dtls).await.unwrap();
        let mut read = vec![0; back.len()];
        tcp.read_exact(&mut read).await.unwrap();
        assert_eq!(read, back);
        // The same records the other way, which have numbers of their own.
        tcp.write_all(&tls).await.unwrap();
        let mut read = vec![0; dtls.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, dtls);
    }
    scene.end().await;
}

#[tokio::test]
async fn framing_that_breaks_ends_both_sides_and_neither_in_order() {
    let scene = Scene::start().await;
    let [tls, dtls, _] = vectors().swap_remove(0);
    // A number twice, from the device; no TLS, from the server.
    for (from_device, from_server) in [(dtls.repeat(2), Vec::new()), (dtls, b"HTTP/1.1".to_vec())] {
        let (mut stream, mut tcp) = scene.carried().await;
        stream.write_all(&from_device).await.unwrap();
        let mut read = vec![0; tls.len()];
        if !from_server.is_empty() {
            tcp.read_exact(&mut read).await.unwrap();
            tcp.write_all(&from_server).await.unwrap();
        }
        let error = tcp.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = stream.read_to_end(&mut read).await.unwrap_err();
        let failure = error.get_ref().unwrap().downcast_ref();
        let Some(StreamFailure::Reset { reason, .. }) = failure else {
            panic!("{error:?}");
        };
        assert_eq!(*reason, ResetReason::ConnectionLost);
    }
    assert_eq!(scene.gateway.leg_statistics().closed, 0);
    scene.end().await;
}
