//! The demonstration's device that asks an HTTPS server through the gateway (docs/specs/leg.md), and that server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hedgerow::presets;
use hedgerow_core::{Misuse, PeerId, Psk};
use hedgerow_gateway::{Leg, LegPeer, LegService};
use hedgerow_handshake::Settings;
use hedgerow_leg::Role;
use hedgerow_net::{
    Credentials, ForwardSecrecy, KeyStore, LegConfig, Node, SecurityPolicy, StreamOffer, Target,
    TlsStream,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::demo_keys::{self, END_TO_END_IDENTITY, IDENTITY, KeyText};
use crate::demo_modes::{CONTENT_TYPES, Exchange, Line, counted, local, told};
use crate::exit::{Class, Failure};

/// An HTTPS server with a pre-shared key, and what a device shows on the way there. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Tariff {
    address: SocketAddr,
    /// What a device shows the gateway.
    pub(crate) hop_key: KeyText,
    /// What a device shows the server. The gateway hasn't got it.
    pub(crate) key: KeyText,
    task: JoinHandle<()>,
}

impl Tariff {
    /// Starts it at a free port of the loopback interface.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let draw = || demo_keys::draw().map_err(|error| local(&error.to_string()));
        let (hop_key, key) = (draw()?, draw()?);
        let keys = KeyStore::new();
        let psk = Psk::new(key.as_bytes()).and_then(Psk::into_end_to_end);
        let psk = psk.map_err(|error| local(&error.to_string()))?;
        keys.insert(END_TO_END_IDENTITY, psk, PeerId(1))
            .map_err(|error| local(&error.to_string()))?;
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| local(&error.to_string()))?;
        Ok(Self {
            address,
            hop_key,
            key,
            task: tokio::spawn(serve(listener, keys)),
        })
    }

    /// Says whom the gateway lets in, and where to.
    pub(crate) fn leg(&self) -> Result<Leg, Misuse> {
        let mut leg = Leg::new((Ipv4Addr::LOCALHOST, 0).into());
        leg.peers.push(LegPeer {
            name: DEVICE.to_owned(),
            psk_identity: IDENTITY.as_bytes().to_vec(),
            psk: Psk::new(self.hop_key.as_bytes())?,
            services: vec![SERVICE.to_owned()],
        });
        leg.services.push(LegService {
            name: SERVICE.to_owned(),
            host: self.address.ip().to_string(),
            port: self.address.port(),
        });
        Ok(leg)
    }

    /// Asks it as the device does, in a stream of a session with the gateway, and looks into the stream as the
    /// gateway can.
    pub(crate) async fn fetch(
        &self,
        gateway: SocketAddr,
        limit: Duration,
    ) -> Result<Line, Failure> {
        let failed = |what: &dyn std::fmt::Display| local(&format!("{MODE}: {what}"));
        let mut config = presets::client(limit);
        config.endpoint.legs = Some(LegConfig::new(Role::Device));
        let node = Node::bind_client((Ipv4Addr::LOCALHOST, 0).into(), config).await;
        let node = node.map_err(|error| failed(&error))?;
        let hop = Psk::new(self.hop_key.as_bytes())
            .and_then(|psk| Credentials::new(IDENTITY, psk, PeerId(0)))
            .map_err(|error| failed(&error))?;
        let target = Target {
            address: gateway,
            credentials: Some(Arc::new(hop)),
        };
        let offer = StreamOffer {
            name: SERVICE.to_owned(),
            ..StreamOffer::default()
        };
        let stream = node.open_stream(&target, offer).await;
        let stream = Observed::new(stream.map_err(|error| failed(&error))?);
        let key = Psk::new(self.key.as_bytes())
            .and_then(Psk::into_end_to_end)
            .and_then(|psk| Credentials::new(END_TO_END_IDENTITY, psk, PeerId(1)))
            .map_err(|error| failed(&error))?;
        let asked = async {
            let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
            let (key, policy) = (Arc::new(key), Arc::new(policy));
            let mut tls = TlsStream::connect(stream, key, settings(), &policy).await?;
            tls.write_all(REQUEST).await?;
            let mut response = Vec::new();
            tls.read_to_end(&mut response).await?;
            tls.shutdown().await?;
            let stream = tls.into_inner();
            // The response is there as a whole: whether the server hears of the end changes nothing.
            let _ = timeout(CLOSE_LIMIT, stream.inner.close()).await;
            Ok::<_, io::Error>((vec![stream.sent, stream.received], response))
        };
        let asked = asked.await;
        node.close().await;
        let (carried, response) = asked.map_err(|error| failed(&error))?;
        let payload = response
            .strip_prefix(OK)
            .and_then(|rest| rest.windows(4).position(|it| it == b"\r\n\r\n"))
            .and_then(|at| response.get(OK.len().saturating_add(at).saturating_add(4)..))
            .ok_or_else(|| Failure::new(Class::Protocol, format!("{MODE}: no tariff")))?
            .to_vec();
        Ok(describe(&Exchange { carried, payload }))
    }
}

impl Drop for Tariff {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says what is in the two directions of a stream: by the records' headers, and by a search for what was said in
/// them.
fn describe(exchange: &Exchange) -> Line {
    let carried = &exchange.carried;
    let bytes: usize = carried.iter().map(Vec::len).sum();
    let types = exchange.tls_records();
    let secrets = [exchange.payload.as_slice(), TARIFF.as_bytes()];
    Line {
        mode: MODE,
        saw: vec![
            format!("1 stream of {DEVICE} to {SERVICE}, {bytes} bytes"),
            format!("records: {}", counted(&CONTENT_TYPES, types)),
        ],
        plaintext: told(carried, secrets, END_TO_END_IDENTITY),
    }
}

/// Answers one client after the other.
async fn serve(listener: TcpListener, keys: KeyStore) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => match timeout(ANSWER_LIMIT, answer(tcp, &keys)).await {
                Ok(Ok(())) => tracing::debug!("tariff told"),
                Ok(Err(error)) => tracing::debug!(%error, "tariff not told"),
                Err(_) => tracing::debug!("tariff not asked for in time"),
            },
            // It may be out of descriptors, and asking at once again would keep the processor busy.
            Err(_) => tokio::time::sleep(CLOSE_LIMIT).await,
        }
    }
}

async fn answer(tcp: TcpStream, keys: &KeyStore) -> io::Result<()> {
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let mut tls = TlsStream::accept(tcp, keys, settings(), &Arc::new(policy)).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD_LEN {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(tls.read_u8().await?);
    }
    let (status, body) = match head.starts_with(format!("GET /{TARIFF} HTTP/1.1\r\n").as_bytes()) {
        true => ("200 OK", "0.31 EUR/kWh\n"),
        false => ("404 Not Found", "there is /tariff alone\n"),
    };
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    tls.write_all(response.as_bytes()).await?;
    tls.shutdown().await?;
    // The client ends its direction too.
    let _ = tls.read(&mut [0]).await?;
    Ok(())
}

fn settings() -> Settings {
    Settings::default().with_application_protocols(&[b"http/1.1"])
}

/// A stream, and what has passed in each direction.
pub(crate) struct Observed<S> {
    inner: S,
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
}

impl<S> Observed<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self {
            inner,
            sent: Vec::new(),
            received: Vec::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.received.extend_from_slice(read);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(len)) = polled {
            self.sent
                .extend_from_slice(bytes.get(..len).unwrap_or(bytes));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// How the table calls it.
const MODE: &str = "TLS inside DTLS";

/// What the gateway calls the device, and the server.
const DEVICE: &str = "meter";
pub(crate) const SERVICE: &str = "utility";

/// What the server has.
pub(crate) const TARIFF: &str = "tariff";

const REQUEST: &[u8] =
    b"GET /tariff HTTP/1.1\r\nHost: utility.example\r\nConnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 ";

/// The longest head of a request, in bytes.
const MAX_HEAD_LEN: usize = 4_096;

/// How long one client may take, since the others wait.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long an orderly end may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_both_directions_are_counted_and_searched() {
        // A record of handshake and one of application_data in clear; and another one behind it, cut off.
        let sent = b"\x16\x03\x03\0\x02me\x17\x03\x03\0\x07/tariff\x17\x03\x03\0\x09cut".to_vec();
        let received = b"\x17\x03\x03\0\x02no".to_vec();
        let exchange = |carried: &[&Vec<u8>]| Exchange {
            carried: carried.iter().map(|it| (*it).clone()).collect(),
            payload: b"0.31".to_vec(),
        };
        let line = describe(&exchange(&[&sent, &received]));
        assert_eq!(
            line.saw,
            [
                "1 stream of meter to utility, 34 bytes",
                "records: 1 handshake, 2 application_data"
            ]
        );
        assert_eq!(line.plaintext, "FOUND");
        let line = describe(&exchange(&[&received]));
        assert_eq!(line.plaintext, "none of it found");
    }
}
