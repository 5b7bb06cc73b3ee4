//! A link to a device through a gateway in mode `itls` (docs/specs/itls.md): the Internet end's outer session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::Writer;
use hedgerow_endpoint::OuterStream;
use hedgerow_itls::{
    Control, MAX_FLOW_NAME_LEN, MAX_USER_LEN, OUTER_BINDING_LABEL, OUTER_BINDING_LEN, OuterBinding,
    RoutingHeader, User,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, info};
use zeroize::Zeroizing;

use crate::connect::{end_of, find_gateway, try_in_turn};
use crate::keep_alive::{SILENCE_TIMEOUT, give_up_after};
use crate::link::{
    CarrierFailure, DatagramLink, LinkIncoming, LinkOutgoing, OuterLink, datagram_link,
};
use crate::link_stream::{carry_until_end, shut_down, write_messages};
use crate::tunnel::explain_tls;
use crate::{GatewayTls, GatewayUri, GatewayUser, ItlsSessions};

/// How a gateway is asked for devices in mode `itls`, and who asks.
#[derive(Clone, Debug)]
pub struct ItlsConfig {
    /// The gateway, over HTTPS's URI and the port that it has for this mode.
    pub gateway: GatewayUri,
    /// How the gateway is known.
    pub tls: GatewayTls,
    /// Who asks; `None` shows nothing, which gateways refuse unless they let everybody in.
    pub user: Option<GatewayUser>,
    /// Whether devices may begin sessions here, which a node made by
    /// [`LinkedNode::serving`](crate::LinkedNode::serving) answers.
    pub takes_flows: bool,
    /// What inner sessions are resumed by in the next outer session. Clones of a configuration have it in common.
    pub sessions: ItlsSessions,
    /// How long it may take until the outer session is there, the look-up of the gateway's name and all of its
    /// addresses included.
    pub connect_timeout: Duration,
    /// How long a gateway that gives no sign of life is taken for there, in whole seconds and as far as the
    /// system can notice.
    pub silence_timeout: Duration,
    /// Messages that wait in each direction.
    pub places: usize,
    /// The longest message that is carried, in bytes. What the device's hop takes is less, and the gateway
    /// says so.
    pub max_message_len: usize,
}

impl ItlsConfig {
    /// Asks as nobody within 10 s, with 128 places for messages of up to 1,452 bytes.
    pub fn new(gateway: GatewayUri, tls: GatewayTls) -> Self {
        Self {
            gateway,
            tls,
            user: None,
            takes_flows: false,
            sessions: ItlsSessions::new(),
            connect_timeout: Duration::from_secs(10),
            silence_timeout: SILENCE_TIMEOUT,
            places: 128,
            max_message_len: 1_452,
        }
    }
}

/// An outer session that is there.
#[derive(Debug)]
pub struct ItlsLink {
    /// What a [`LinkedNode`](crate::LinkedNode) asks the device by. The session ends when it is dropped.
    pub link: DatagramLink,
    /// Where the gateway was found.
    pub gateway: SocketAddr,
}

/// Opens the outer session with a gateway: TLS, the name of this mode, and who asks. What travels through it
/// is sealed once more between the node and the device, which the gateway has no key of, and which it knows
/// by the name `device`, of at most 63 bytes; an empty one is nobody, for an end that only takes what devices begin.
///
/// It must be called within a tokio runtime with I/O and time. The link ends with the session, and says
/// why; whoever isn't known to the gateway learns that so.
///
/// # Errors
///
/// [`CarrierFailure::GatewayName`], [`CarrierFailure::InClear`] for a gateway that isn't reached over TLS,
/// [`CarrierFailure::Connect`], [`CarrierFailure::ConnectTimeout`],
/// [`CarrierFailure::GatewayCertificate`], [`CarrierFailure::Tls`], [`CarrierFailure::NoItls`] and
/// [`CarrierFailure::TargetDenied`] for a name that no gateway has.
pub async fn itls_link(config: &ItlsConfig, device: &str) -> Result<ItlsLink, CarrierFailure> {
    if device.len() > MAX_FLOW_NAME_LEN {
        return Err(CarrierFailure::TargetDenied);
    }
    let (stream, gateway, binding) = open(config).await?;
    let max_len = config.max_message_len.min(usize::from(u16::MAX));
    let (link, carrier) = datagram_link(config.places, max_len);
    let link = link.inside(OuterLink {
        stream: OuterStream {
            binding,
            name: device.as_bytes().to_vec(),
            max_message_len: max_len,
        },
        gateway,
        sessions: config.sessions.clone(),
    });
    let (outgoing, incoming) = carrier.split();
    info!(%gateway, device, mode = "itls", "outer session established");
    tokio::spawn(async move {
        let failure = carry(stream, outgoing, &incoming, max_len).await;
        debug!(%failure, mode = "itls", "link ended");
        incoming.end(failure);
    });
    Ok(ItlsLink { link, gateway })
}

type Opened = (TlsStream<TcpStream>, SocketAddr, OuterBinding);

async fn open(config: &ItlsConfig) -> Result<Opened, CarrierFailure> {
    let gateway = &config.gateway;
    if !gateway.is_https() {
        return Err(CarrierFailure::InClear);
    }
    let end = end_of(config.connect_timeout);
    let addresses = find_gateway(gateway.host(), gateway.port(), end).await?;
    open_at(config, addresses, end).await
}

/// Opens the outer session at the first of some addresses that leads to a gateway.
async fn open_at(
    config: &ItlsConfig,
    addresses: Vec<SocketAddr>,
    end: Instant,
) -> Result<Opened, CarrierFailure> {
    try_in_turn(addresses, end, |address| secure(address, config)).await
}

async fn secure(address: SocketAddr, config: &ItlsConfig) -> Result<Opened, CarrierFailure> {
    let stream = TcpStream::connect(address).await.map_err(broken)?;
    // Messages that wait for others to fill a segment are late. What can't be set costs no more.
    let _ = stream.set_nodelay(true);
    give_up_after(&stream, config.silence_timeout);
    let mut tls = rustls::ClientConfig::clone(config.tls.config());
    tls.alpn_protocols = vec![ITLS_ALPN.to_vec()];
    // MUST (RFC 7627 §5.4): without the extended master secret TLS 1.2 exports nothing.
    tls.require_ems = true;
    let name = ServerName::try_from(config.gateway.host().to_owned())
        .map_err(|_| CarrierFailure::GatewayName)?;
    let connected = TlsConnector::from(Arc::new(tls)).connect(name, stream);
    let mut stream = connected.await.map_err(|error| explain(&error))?;
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(ITLS_ALPN) {
        return Err(CarrierFailure::NoItls);
    }
    let exported = connection
        .export_keying_material([0; OUTER_BINDING_LEN], OUTER_BINDING_LABEL, None)
        .map_err(|_| CarrierFailure::Tls)?;
    let shown = config.user.as_ref().map_or("", GatewayUser::shown);
    let first = user(shown, config.takes_flows).ok_or(CarrierFailure::Tls)?;
    let written = stream.write_all(&first).await;
    written.and(stream.flush().await).map_err(broken)?;
    Ok((stream, address, OuterBinding::new(exported)))
}

/// Writes who asks, as the first message of the stream.
fn user(shown: &str, takes_flows: bool) -> Option<Zeroizing<Vec<u8>>> {
    let mut message = Zeroizing::new([0; MAX_USER_LEN + 4]);
    let mut writer = Writer::new(message.as_mut_slice());
    let header = RoutingHeader {
        flow: 0,
        is_control: true,
    };
    header.encode(&mut writer).ok()?;
    let user = Control::User(User {
        takes_flows,
        shown: shown.as_bytes(),
    });
    user.encode(&mut writer).ok()?;
    let mut framed = Zeroizing::new(Vec::with_capacity(MAX_USER_LEN + 6));
    append(&mut framed, writer.written());
    Some(framed)
}

fn broken(error: io::Error) -> CarrierFailure {
    CarrierFailure::Connect { kind: error.kind() }
}

/// A gateway that doesn't have this mode ends TLS for want of a common protocol (RFC 7301 §3.2).
fn explain(error: &io::Error) -> CarrierFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let no_protocol = rustls::AlertDescription::NoApplicationProtocol;
    match inner {
        Some(rustls::Error::AlertReceived(alert)) if *alert == no_protocol => {
            CarrierFailure::NoItls
        }
        _ => explain_tls(error),
    }
}

/// Carries messages until either side ends, and says which did. Both directions go on by themselves.
async fn carry<S>(
    stream: S,
    mut outgoing: LinkOutgoing,
    incoming: &LinkIncoming,
    max_len: usize,
) -> CarrierFailure
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        let written = write_messages(&mut writer, &mut outgoing.0, BUFFER_LEN, append).await;
        written.inspect_err(|error| debug!(%error, mode = "itls", "stream can't be written to"))
    };
    let failure = carry_until_end(read(reader, incoming, max_len), writing, incoming.gone()).await;
    shut_down(&mut writer).await;
    failure
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    incoming: &LinkIncoming,
    max_len: usize,
) -> CarrierFailure {
    let mut message = Vec::new();
    loop {
        let len = match reader.read_u16().await {
            Ok(len) => usize::from(len),
            // An end between two messages: whether it was in order TLS says, and nobody inside believes.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return CarrierFailure::Closed;
            }
            Err(_) => return CarrierFailure::Truncated,
        };
        message.resize(len, 0);
        if reader.read_exact(&mut message).await.is_err() {
            return CarrierFailure::Truncated;
        }
        if is_refusal(&message) {
            return CarrierFailure::UserUnknown;
        }
        match len <= max_len {
            true => incoming.deliver(&message),
            false => incoming.count_too_long(),
        }
    }
}

/// Says whether the gateway closes the stream itself, which is all that it says to a user that it doesn't
/// know.
fn is_refusal(message: &[u8]) -> bool {
    let Ok((header, rest)) = RoutingHeader::decode(message) else {
        return false;
    };
    header.flow == 0 && header.is_control && matches!(Control::decode(rest), Ok(Control::Close(_)))
}

/// Appends a message behind its length. The link takes none that is longer than two octets say.
fn append(framed: &mut Vec<u8>, message: &[u8]) {
    if let Ok(len) = u16::try_from(message.len()) {
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(message);
    }
}

/// The application protocol of an outer session over TLS.
pub const ITLS_ALPN: &[u8] = b"hedgerow-itls";

/// What is written at once, in bytes, at least.
const BUFFER_LEN: usize = 4 * 1_024;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::TcpListener;

    use super::*;
    use crate::link::LinkInput;

    #[test]
    fn first_message_says_who_asks() {
        let framed = user("Bearer mF_9.B5f-4.1JqM", false).unwrap();
        // The specification's vector, behind its length.
        let expected = b"\x00\x19\xe0\x04\x00Bearer mF_9.B5f-4.1JqM";
        assert_eq!(framed.as_slice(), expected);
        let taking = user("Bearer mF_9.B5f-4.1JqM", true).unwrap();
        assert_eq!(&taking[..5], b"\x00\x19\xe0\x04\x01");
        assert_eq!(taking[5..], expected[5..]);
        assert!(user(&"a".repeat(MAX_USER_LEN), true).is_some());
        assert!(user(&"a".repeat(MAX_USER_LEN + 1), false).is_none());
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn addresses_share_the_time() {
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(listener().await);
        }
        let mut addresses: Vec<_> = silent.iter().map(|(_, address)| *address).collect();
        let tls = GatewayTls::nobody().unwrap();
        let config = ItlsConfig::new("https://localhost:1".parse().unwrap(), tls);
        let begun = Instant::now();
        let opened = open_at(
            &config,
            addresses.clone(),
            begun + Duration::from_millis(400),
        );
        assert_eq!(opened.await.unwrap_err(), CarrierFailure::ConnectTimeout);
        // Eight times as long would be 3.2 s.
        assert!(begun.elapsed() < Duration::from_millis(1_600));

        // Silent ones before it don't hide one that answers.
        let (there, address) = listener().await;
        addresses.push(address);
        let answer = async {
            // A fatal alert: no_application_protocol (RFC 7301 §3.2).
            let (mut stream, _) = there.accept().await.unwrap();
            stream
                .write_all(b"\x15\x03\x03\x00\x02\x02\x78")
                .await
                .unwrap();
            stream
        };
        let end = Instant::now() + Duration::from_secs(3);
        let (opened, _stream) = tokio::join!(open_at(&config, addresses, end), answer);
        assert_eq!(opened.unwrap_err(), CarrierFailure::NoItls);
    }

    /// Messages are told apart however the stream cuts them.
    #[tokio::test]
    async fn messages_go_both_ways_behind_their_lengths() {
        let (mut link, carrier) = datagram_link(4, 100);
        let (outgoing, incoming) = carrier.split();
        let (stream, mut gateway) = duplex(7);
        let carrying = tokio::spawn(async move {
            let failure = carry(stream, outgoing, &incoming, 4).await;
            incoming.end(failure);
        });
        gateway
            .write_all(b"\x00\x02ab\x00\x05too l\x00\x00\x00\x01c")
            .await
            .unwrap();
        for expected in [b"ab".as_slice(), b"", b"c"] {
            let expected = LinkInput::Datagram(expected.to_vec());
            assert_eq!(link.receive().await, Ok(expected));
        }
        assert_eq!(link.shared().drops().too_long, 1);
        assert_eq!(link.send(b"there"), Ok(()));
        let mut framed = [0; 7];
        gateway.read_exact(&mut framed).await.unwrap();
        assert_eq!(&framed, b"\x00\x05there");
        drop(gateway);
        assert_eq!(link.receive().await, Err(CarrierFailure::Closed));
        carrying.await.unwrap();
    }

    #[tokio::test]
    async fn ends_say_what_they_are() {
        for (sent, expected) in [
            (b"".as_slice(), CarrierFailure::Closed),
            (b"\x00\x05ab", CarrierFailure::Truncated),
            // CLOSE refused, of flow 0.
            (b"\x00\x03\xe0\x02\x02", CarrierFailure::UserUnknown),
        ] {
            let (_link, carrier) = datagram_link(4, 100);
            let (outgoing, incoming) = carrier.split();
            let (stream, mut gateway) = duplex(64);
            gateway.write_all(sent).await.unwrap();
            drop(gateway);
            assert_eq!(carry(stream, outgoing, &incoming, 100).await, expected);
        }
    }
}
