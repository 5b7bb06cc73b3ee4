//! What the demonstration shows of each mode: one request, and what the gateway saw of it.

use std::fmt::Write as _;
use std::io::{Error, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow::presets;
use hedgerow_coap::Code;
use hedgerow_core::{PeerId, Psk};
use hedgerow_net::{
    Credentials, DatagramLink, ForwardSecrecy, GatewayTls, GatewayUser, LinkedNode, NodeConfig,
    RequestMessage, SecurityPolicy, TranslateConfig, Tunnel, TunnelConfig, TunnelTarget,
    translated_link,
};
use hedgerow_proxy::CarrierState;
use hedgerow_record::{ContentType, DtlsRecord, TlsRecord, TranslateForm};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use crate::demo_adapt::{Listeners, adapted};
use crate::demo_itls::itls;
use crate::demo_leg::Tariff;
use crate::exit::{Class, Failure};

/// One row of the table: a mode, and what the gateway saw in it, in lines of their own.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) mode: &'static str,
    pub(crate) saw: Vec<String>,
    pub(crate) plaintext: String,
}

/// What was carried of one request, in both directions, and what it was answered by.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) carried: Vec<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
}

impl Exchange {
    /// Returns what nobody on the way is to find.
    pub(crate) fn secrets(&self) -> [&[u8]; 2] {
        [&self.payload, PATH.trim_matches('/').as_bytes()]
    }

    /// Returns the types of the TLS records that each of what was carried has, one direction of a stream.
    pub(crate) fn tls_records(&self) -> Vec<ContentType> {
        let mut types = Vec::new();
        for direction in &self.carried {
            let mut direction = direction.clone();
            let mut rest = direction.as_mut_slice();
            while let Ok(Some((record, behind))) = TlsRecord::decode(rest) {
                types.push(record.content_type);
                rest = behind;
            }
        }
        types
    }
}

/// What the modes are shown with.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// Where the gateway listens for HTTP.
    pub(crate) http: SocketAddr,
    /// Where it listens for those who have records translated.
    pub(crate) translate: SocketAddr,
    /// Where it listens for TLS clients that know of no gateway.
    pub(crate) tls: Listeners,
    /// Where it listens for those whose messages it forwards, and its certificate there as PEM.
    pub(crate) itls: SocketAddr,
    pub(crate) certificate: &'a str,
    /// Where it listens for devices that ask servers, and the server that one asks.
    pub(crate) leg: SocketAddr,
    pub(crate) tariff: &'a Tariff,
    pub(crate) token: &'a str,
    /// The device's name at the gateway, and its port there.
    pub(crate) device: &'a str,
    pub(crate) port: u16,
    /// What is shown end to end.
    pub(crate) identity: &'a str,
    pub(crate) key: &'a str,
}

/// Asks for the same resource in each mode.
pub(crate) async fn show(stage: &Stage<'_>) -> Result<String, Failure> {
    let shown = async {
        Ok([
            terminate(stage).await?,
            tunnel(stage).await?,
            translate(stage).await?,
            adapted(stage).await?,
            auto(stage).await?,
            itls(stage).await?,
            stage.tariff.fetch(stage.leg, LIMIT).await?,
        ])
    };
    let lines = timeout(LIMIT, shown).await.unwrap_or_else(|_| {
        let message = "the demonstration's own request wasn't answered";
        Err(Failure::new(Class::Timeout, message))
    })?;
    Ok(table(&lines))
}

/// Lines up the columns: the mode, and beside it what was seen and whether plaintext was in it.
fn table(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.mode.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Line {
        mode,
        saw,
        plaintext,
    } in lines
    {
        let plaintext = format!("plaintext: {plaintext}");
        let mut first = *mode;
        for shown in saw.iter().chain([&plaintext]) {
            // Writing to a String doesn't fail.
            let _ = writeln!(text, "  {first:<width$}  {shown}");
            first = "";
        }
    }
    text
}

/// HTTP ends at the gateway, which asks the device with a key of its own.
async fn terminate(stage: &Stage<'_>) -> Result<Line, Failure> {
    let exchange = async {
        let mut stream = TcpStream::connect(stage.http).await?;
        let head = format!(
            "GET /devices/{}{PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            stage.device
        );
        stream.write_all(head.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        let (head, body) = response
            .split_once("\r\n\r\n")
            .ok_or(Error::from(ErrorKind::UnexpectedEof))?;
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok::<_, Error>((status, body.to_owned()))
    };
    let (status, body) = exchange.await.map_err(|error| local(&error.to_string()))?;
    Ok(Line {
        mode: "terminate",
        saw: vec![format!("GET {PATH}, status {status}, {body:?}")],
        plaintext: "all of it".to_owned(),
    })
}

/// The device's DTLS session is the client's, and the gateway carries its datagrams.
async fn tunnel(stage: &Stage<'_>) -> Result<Line, Failure> {
    let (tunnel, place) = open(stage, "tunnel", false).await?;
    end_to_end(stage, "tunnel", &place, tunnel.link, |node| node).await
}

/// The same, with a second carrier over UDP, which is taken once it has shown to be the better one.
async fn auto(stage: &Stage<'_>) -> Result<Line, Failure> {
    let (mut tunnel, place) = open(stage, "auto", true).await?;
    let carriers = tunnel.carriers.as_mut();
    let carriers = carriers.ok_or_else(|| local("mode auto: no UDP carrier offered"))?;
    let is_active = carriers.wait_for(|state| *state == CarrierState::UdpActive);
    let is_active = matches!(timeout(UDP_LIMIT, is_active).await, Ok(Ok(_)));
    let mut line = end_to_end(stage, "auto", &place, tunnel.link, |node| node).await?;
    line.saw.push(match is_active {
        true => "all of it over UDP, with the tunnel over TCP in reserve".to_owned(),
        false => "all of it over TCP, for UDP has not shown to be better".to_owned(),
    });
    Ok(line)
}

/// Opens a tunnel, and says what the gateway calls where it leads.
async fn open(
    stage: &Stage<'_>,
    mode: &'static str,
    wants_udp_carrier: bool,
) -> Result<(Tunnel, String), Failure> {
    let failed = |what: &dyn std::fmt::Display| local(&format!("mode {mode}: {what}"));
    let uri = format!("http://{}", stage.http).parse();
    let uri = uri.map_err(|error| failed(&error))?;
    let tls = GatewayTls::nobody().map_err(|error| failed(&error))?;
    let user = GatewayUser::with_token(stage.token).map_err(|error| failed(&error))?;
    let config = TunnelConfig {
        user: Some(user),
        wants_udp_carrier,
        ..TunnelConfig::new(uri, tls)
    };
    let target = TunnelTarget::new(stage.device, stage.port).map_err(|error| failed(&error))?;
    let tunnel = Tunnel::open(&config, &target).await;
    let tunnel = tunnel.map_err(|error| failed(&error))?;
    Ok((tunnel, target.to_string()))
}

/// The same session, its records under other headers over TCP to the gateway.
async fn translate(stage: &Stage<'_>) -> Result<Line, Failure> {
    let config = TranslateConfig::new(stage.translate, stage.device, TranslateForm::Short);
    let link = translated_link(&config).await;
    let link = link.map_err(|error| local(&format!("mode translate: {error}")))?;
    let fit = |node| config.fit(node);
    end_to_end(stage, "translate", stage.device, link, fit).await
}

/// Asks the device over what carries datagrams, and looks into them as the gateway can.
async fn end_to_end(
    stage: &Stage<'_>,
    mode: &'static str,
    place: &str,
    link: DatagramLink,
    fit: impl FnOnce(NodeConfig) -> NodeConfig,
) -> Result<Line, Failure> {
    let exchange = ask(stage, mode, link, fit).await?;
    Ok(describe(mode, &exchange, place, stage.identity))
}

/// Asks the device over a link, and keeps what that carries.
pub(crate) async fn ask(
    stage: &Stage<'_>,
    mode: &'static str,
    link: DatagramLink,
    fit: impl FnOnce(NodeConfig) -> NodeConfig,
) -> Result<Exchange, Failure> {
    let failed = |what: &dyn std::fmt::Display| local(&format!("mode {mode}: {what}"));
    let carried: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&carried);
    let link = link.observed(move |datagram| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(datagram.to_vec());
    });
    let policy = SecurityPolicy::default().for_end_to_end(ForwardSecrecy::Required);
    let node = LinkedNode::new(link, fit(presets::client(LIMIT).with_security(policy)));
    let credentials = Psk::new(stage.key.as_bytes())
        .and_then(Psk::into_end_to_end)
        .and_then(|psk| Credentials::new(stage.identity, psk, PeerId(0)))
        .map_err(|error| failed(&error))?;
    let get = RequestMessage::new(Code::GET).path(PATH);
    let response = node.request(Some(&Arc::new(credentials)), get).await;
    node.close().await;
    let response = response.map_err(|error| failed(&error))?;

    let mut carried = carried.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Exchange {
        carried: mem::take(&mut carried),
        payload: response.payload,
    })
}

/// Says what is in datagrams: by their records' headers, and by a search for what was said in them.
fn describe(mode: &'static str, exchange: &Exchange, device: &str, identity: &str) -> Line {
    let carried = &exchange.carried;
    let bytes: usize = carried.iter().map(Vec::len).sum();
    let mut types = Vec::new();
    for datagram in carried {
        let mut datagram = datagram.clone();
        let mut rest = datagram.as_mut_slice();
        while let Ok((record, behind)) = DtlsRecord::decode(rest) {
            types.push(record.content_type);
            rest = behind;
        }
    }
    Line {
        mode,
        saw: vec![
            format!("{} datagrams with {device}, {bytes} bytes", carried.len()),
            format!("records: {}", counted(&CONTENT_TYPES, types)),
        ],
        plaintext: told(carried, exchange.secrets(), identity),
    }
}

/// Counts what there is of each kind, in the order of `kinds`.
pub(crate) fn counted<T: PartialEq>(
    kinds: &[(T, &str)],
    found: impl IntoIterator<Item = T>,
) -> String {
    let mut counts = vec![0_usize; kinds.len()];
    for it in found {
        for (count, (kind, _)) in counts.iter_mut().zip(kinds) {
            if *kind == it {
                *count = count.saturating_add(1);
            }
        }
    }
    let counts = counts.iter().zip(kinds).filter(|(count, _)| **count > 0);
    let counts: Vec<_> = counts
        .map(|(count, (_, name))| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}

/// Says whether something of `secrets` is in what was carried, and whether the PSK identity is.
pub(crate) fn told(carried: &[Vec<u8>], secrets: [&[u8]; 2], identity: &str) -> String {
    let has = |wanted: &[u8]| carried.iter().any(|part| contains(part, wanted));
    let told = match secrets.into_iter().any(has) {
        false => "none of it found",
        true => "FOUND",
    };
    let identity = match has(identity.as_bytes()) {
        true => "; the PSK identity was",
        false => "",
    };
    format!("{told}{identity}")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Makes failures of a mode.
pub(crate) fn failure_of(mode: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Failure {
    move |what| local(&format!("mode {mode}: {what}"))
}

pub(crate) fn local(message: &str) -> Failure {
    Failure::new(Class::Local, message)
}

/// What records carry (RFC 5246 §6.2.1, RFC 6347 §4.1).
pub(crate) const CONTENT_TYPES: [(ContentType, &str); 4] = [
    (ContentType::Handshake, "handshake"),
    (ContentType::ChangeCipherSpec, "change_cipher_spec"),
    (ContentType::Alert, "alert"),
    (ContentType::ApplicationData, "application_data"),
];

/// What is asked for.
pub(crate) const PATH: &str = "/temperature";

/// How long the UDP carrier is waited for: ten probes, and a handshake.
const UDP_LIMIT: Duration = Duration::from_secs(5);

/// How long all modes together may take.
const LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_that_is_there_is_found() {
        // A record of application_data in clear, and one of handshake.
        let clear = b"\x17\xfe\xfd\0\0\0\0\0\0\0\0\0\x0421.5".to_vec();
        let handshake = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x02me".to_vec();
        let exchange = |carried| Exchange {
            carried,
            payload: b"21.5".to_vec(),
        };
        let both = exchange(vec![clear, handshake.clone()]);
        let line = describe("tunnel", &both, "it:1", "me");
        assert_eq!(
            line.saw,
            [
                "2 datagrams with it:1, 32 bytes",
                "records: 1 handshake, 1 application_data"
            ]
        );
        assert_eq!(line.plaintext, "FOUND; the PSK identity was");
        let line = describe("tunnel", &exchange(vec![handshake]), "it:1", "you");
        assert_eq!(line.plaintext, "none of it found");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let line = |mode, saw: &[&str]| Line {
            mode,
            saw: saw.iter().map(ToString::to_string).collect(),
            plaintext: "x".to_owned(),
        };
        let text = table(&[line("terminate", &["a"]), line("tunnel", &["b", "c"])]);
        let expected = "  terminate  a\n             plaintext: x\n  tunnel     b\n             c\n             \
                        plaintext: x\n";
        assert_eq!(text, expected);
    }
}
