//! Mode `translate` with peers as the device that know nothing of it: libcoap, OpenSSL, GnuTLS.
//!
//! Between our client and the peer stand the Internet end's framing, a TCP connection over loopback
//! and the gateway's translator.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hedgerow_coap::Code;
use hedgerow_endpoint::{TranslateError, TranslatedEvent, TranslatedStream};
use hedgerow_net::{Node, RequestMessage};
use hedgerow_proxy::{NotPermitted, Opening, ToDevice, Translator};
use hedgerow_record::{CipherSuite, TranslateForm};

use super::cell::enter;
use super::coap::{self, Build, ask, expect_code, target};
use super::dtls_end::{Losses, Report, run_client};
use super::handshakes::{
    FROM_US, IDENTITY, LIMIT, check_success, dialogue_with, expect_output, settings,
};
use super::peers::{Peer, Transport};
use crate::table::Table;

/// The suites whose nonce is the record's number, and the others.
const CELLS: [(TranslateForm, CipherSuite); 4] = [
    (
        TranslateForm::Short,
        CipherSuite::TLS_PSK_WITH_AES_128_CCM_8,
    ),
    (TranslateForm::Short, CipherSuite::TLS_PSK_WITH_AES_128_CCM),
    (
        TranslateForm::Long,
        CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256,
    ),
    (
        TranslateForm::Long,
        CipherSuite::TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    for (form, suite) in CELLS {
        for peer in Peer::ALL {
            let name = format!("{} {suite}, {}", peer.name(), form_name(form));
            enter(table, &name, || with_peer(peer, form, suite));
        }
        for build in Build::SECURE {
            let name = format!("libcoap/{} {suite}, {}", build.suffix(), form_name(form));
            enter(table, &name, || with_libcoap(build, form, suite));
        }
    }
    let suite = CipherSuite::TLS_PSK_WITH_AES_128_GCM_SHA256;
    enter(table, "OpenSSL's GCM in the short form is named", || {
        let (report, end) = converse(Peer::OpenSsl, TranslateForm::Short, suite)?;
        match (report.outcome, end) {
            (Err(_), Some(TranslateError::NonceNotRecordNumber)) => {
                Ok(TranslateError::NonceNotRecordNumber.to_string())
            }
            (outcome, end) => Err(format!("{outcome:?}, {end:?}")),
        }
    });
}

const fn form_name(form: TranslateForm) -> &'static str {
    match form {
        TranslateForm::Short => "short form",
        TranslateForm::Long => "long form",
    }
}

/// Has a dialogue with a peer through the way, as with one that is reached directly.
fn converse(
    peer: Peer,
    form: TranslateForm,
    suite: CipherSuite,
) -> Result<(Report, Option<TranslateError>), String> {
    let (mut server, address) = peer.start_server(Transport::Dtls, suite, IDENTITY)?;
    let dialogue = dialogue_with(peer, &mut server)?;
    let way = Way::start(form, address)?;
    let (settings, losses) = (settings(suite), Losses::default());
    let report = run_client(way.address, IDENTITY, settings, &dialogue, losses, LIMIT)?;
    if report.outcome.is_ok() && peer == Peer::OpenSsl {
        expect_output(&mut server, FROM_US)?;
    }
    server.kill();
    Ok((report, way.end()))
}

fn with_peer(peer: Peer, form: TranslateForm, suite: CipherSuite) -> Result<String, String> {
    let (report, end) = converse(peer, form, suite)?;
    let said = check_success(&report, suite)?;
    match end {
        None => Ok(said),
        Some(error) => Err(error.to_string()),
    }
}

fn with_libcoap(build: Build, form: TranslateForm, suite: CipherSuite) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let (_server, _, secure) = coap::start_server(build)?;
        let way = Way::start(form, secure)?;
        let target = target(way.address, Some(coap::PSK))?;
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let node = Node::bind_client(local, coap::config(Some(suite)))
            .await
            .map_err(|error| error.to_string())?;
        let time = ask(&node, &target, RequestMessage::new(Code::GET).path("/time")).await?;
        expect_code(&time, Code::CONTENT)?;
        let body = vec![b'x'; coap::BODY_LEN];
        let request = RequestMessage::new(Code::PUT).path("/example_data");
        let written = ask(&node, &target, request.payload(body.clone())).await?;
        if !matches!(written.code, Code::CHANGED | Code::CREATED) {
            return Err(format!("PUT in blocks: {}", written.code));
        }
        let request = RequestMessage::new(Code::GET).path("/example_data");
        let read = ask(&node, &target, request).await?;
        if read.payload != body {
            return Err(format!("{} bytes came back changed", read.payload.len()));
        }
        node.close().await;
        match way.end() {
            None => Ok(format!(
                "GET, {} bytes written and read in blocks",
                coap::BODY_LEN
            )),
            Some(error) => Err(error.to_string()),
        }
    })
}

/// A way to a device through a translating gateway, which looks like the device's own address.
struct Way {
    address: SocketAddr,
    failed: Arc<Mutex<Option<TranslateError>>>,
    stream: TcpStream,
}

impl Way {
    fn start(form: TranslateForm, device: SocketAddr) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
        let gateway = listener.local_addr().map_err(text)?;
        thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                let _ = translate(stream, device);
            }
        });
        let own = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
        let stream = TcpStream::connect(gateway).map_err(text)?;
        let way = Self {
            address: own.local_addr().map_err(text)?,
            failed: Arc::default(),
            stream: stream.try_clone().map_err(text)?,
        };
        let failed = Arc::clone(&way.failed);
        thread::spawn(move || frame(form, own, stream, &failed));
        Ok(way)
    }

    /// Returns why the connection ended before its time, if it did.
    fn end(self) -> Option<TranslateError> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// The Internet end's framing, between datagrams of the client and the stream.
fn frame(
    form: TranslateForm,
    socket: UdpSocket,
    mut stream: TcpStream,
    failed: &Mutex<Option<TranslateError>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let mut framing = TranslatedStream::open("device", form, &mut bytes).ok()?;
    stream.write_all(&bytes).ok()?;
    let _ = stream.set_nodelay(true);
    stream.set_read_timeout(Some(TURN)).ok()?;
    socket.set_read_timeout(Some(TURN)).ok()?;
    let mut client = None;
    let mut part = [0; 4_096];
    loop {
        if let Ok((len, from)) = socket.recv_from(&mut part) {
            client = Some(from);
            bytes.clear();
            framing.datagram_to_stream(part.get(..len)?, &mut bytes);
            stream.write_all(&bytes).ok()?;
        }
        let len = match stream.read(&mut part) {
            Ok(0) => return None,
            Ok(len) => len,
            Err(_) => continue,
        };
        let mut rest = part.get(..len)?;
        loop {
            match framing.stream_to_datagrams(rest) {
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return None;
                }
                Ok((_, None)) => break,
                Ok((len, Some(event))) => {
                    if let (TranslatedEvent::Datagram(datagram), Some(client)) = (event, client) {
                        socket.send_to(datagram, client).ok()?;
                    }
                    rest = rest.get(len..)?;
                }
            }
        }
    }
}

/// The gateway.
fn translate(mut stream: TcpStream, device: SocketAddr) -> Option<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.connect(device).ok()?;
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    let mut part = [0; 4_096];
    let mut translator = loop {
        let len = stream.read(&mut part).ok().filter(|&len| len > 0)?;
        read.extend_from_slice(part.get(..len)?);
        let opening = Translator::open(&read, |name| match name {
            "device" => Ok(()),
            _ => Err(NotPermitted::Refused),
        });
        match opening.ok()? {
            Opening::Incomplete => {}
            Opening::Refused { .. } => return None,
            Opening::Accepted {
                translator,
                answer,
                consumed,
                ..
            } => {
                stream.write_all(&answer).ok()?;
                read.drain(..consumed);
                break translator;
            }
        }
    };
    stream.set_read_timeout(Some(TURN)).ok()?;
    socket.set_read_timeout(Some(TURN)).ok()?;
    let mut datagram = vec![0; 1_452];
    loop {
        let mut rest = read.as_slice();
        while let (len, Some(found)) = translator.read_stream(rest, &mut datagram).ok()? {
            if let ToDevice::Datagram(len) = found {
                let _ = socket.send(datagram.get(..len)?);
            }
            rest = rest.get(len..)?;
        }
        read.clear();
        if let Ok(len) = socket.recv(&mut part) {
            let mut bytes = part.get(..len)?.to_vec();
            translator.translate_datagram(&mut bytes, |_| {});
            stream.write_all(&bytes).ok()?;
        }
        match stream.read(&mut part) {
            Ok(0) => return None,
            Ok(len) => read.extend_from_slice(part.get(..len)?),
            Err(_) => {}
        }
    }
}

/// How long each side is listened to in turn.
const TURN: Duration = Duration::from_millis(2);
