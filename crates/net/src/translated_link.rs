//! A link through a gateway that translates records (docs/specs/translate.md).

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hedgerow_endpoint::{ConnectionIds, TranslateError, TranslatedEvent, TranslatedStream};
use hedgerow_record::TranslateForm;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;
use tracing::debug;

use crate::NodeConfig;
use crate::keep_alive::{SILENCE_TIMEOUT, give_up_after};
use crate::link::{CarrierFailure, DatagramLink, LinkIncoming, LinkOutgoing, datagram_link};

/// How a gateway is asked for a device in mode `translate`.
#[derive(Clone, Debug)]
pub struct TranslateConfig {
    /// Where the gateway listens for this mode.
    pub gateway: SocketAddr,
    /// The device, by the name that the gateway has for it.
    pub device: String,
    /// How records stand on the stream: a node has to [`fit`](Self::fit) it.
    pub form: TranslateForm,
    /// How long it may take until the gateway has accepted.
    pub connect_timeout: Duration,
    /// How long a gateway that gives no sign of life is taken for there, in whole seconds.
    pub silence_timeout: Duration,
    /// Datagrams that wait in each direction.
    pub places: usize,
    /// The longest datagram that is carried, in bytes.
    pub max_datagram_len: usize,
}

impl TranslateConfig {
    /// Asks within 10 s, with 128 places for datagrams of up to 1,452 bytes, which is what an Ethernet
    /// leaves of IPv6 and UDP.
    pub fn new(gateway: SocketAddr, device: impl Into<String>, form: TranslateForm) -> Self {
        Self {
            gateway,
            device: device.into(),
            form,
            connect_timeout: Duration::from_secs(10),
            silence_timeout: SILENCE_TIMEOUT,
            places: 128,
            max_datagram_len: 1_452,
        }
    }

    /// Has a node offer what this form carries: no connection IDs, and in the short form suites with CCM
    /// and CCM_8 alone.
    #[must_use]
    pub fn fit(&self, mut node: NodeConfig) -> NodeConfig {
        node.endpoint.connection_ids = ConnectionIds::Off;
        if self.form == TranslateForm::Short {
            let handshake = node.endpoint.handshake;
            node.endpoint.handshake = handshake.with_record_numbers_as_nonces();
        }
        node
    }
}

/// Opens a link to a device through a gateway that translates. What travels through it is DTLS between
/// this node and the device, which the gateway has no key of; the gateway itself proves nothing.
///
/// It must be called within a tokio runtime with I/O and time. The link ends with the connection, and
/// says why.
///
/// # Errors
///
/// [`CarrierFailure::Connect`], [`CarrierFailure::ConnectTimeout`], and [`CarrierFailure::Translate`] for
/// what the gateway answers.
pub async fn translated_link(config: &TranslateConfig) -> Result<DatagramLink, CarrierFailure> {
    let opened = timeout(config.connect_timeout, open(config)).await;
    let (socket, stream, early) = opened.map_err(|_| CarrierFailure::ConnectTimeout)??;
    let (link, carrier) = datagram_link(config.places, config.max_datagram_len);
    let (outgoing, incoming) = carrier.split();
    tokio::spawn(async move {
        let failure = carry(socket, stream, &early, outgoing, &incoming).await;
        debug!(%failure, mode = "translate", "link ended");
        incoming.end(failure);
    });
    Ok(link)
}

async fn open(
    config: &TranslateConfig,
) -> Result<(TcpStream, TranslatedStream, Vec<u8>), CarrierFailure> {
    let mut preface = Vec::new();
    let opened = TranslatedStream::open(&config.device, config.form, &mut preface);
    // A name that can't be asked for is none that a gateway has.
    let mut stream = opened.map_err(|_| TranslateError::Refused)?;
    let mut socket = TcpStream::connect(config.gateway).await.map_err(broken)?;
    socket.set_nodelay(true).map_err(broken)?;
    give_up_after(&socket, config.silence_timeout);
    socket.write_all(&preface).await.map_err(broken)?;
    let mut read = Vec::new();
    let mut part = [0; 512];
    loop {
        let len = socket.read(&mut part).await.map_err(broken)?;
        if len == 0 {
            return Err(stream.handle_end().into());
        }
        read.extend_from_slice(part.get(..len).unwrap_or_default());
        let (len, event) = stream.stream_to_datagrams(&read)?;
        let is_accepted = event.is_some();
        read.drain(..len);
        if is_accepted {
            return Ok((socket, stream, read));
        }
    }
}

fn broken(error: io::Error) -> CarrierFailure {
    CarrierFailure::Connect { kind: error.kind() }
}

/// Carries datagrams until either side ends.
///
/// Both directions go on by themselves: a gateway that waits until this end reads may be one that this
/// end waits for.
async fn carry(
    mut socket: TcpStream,
    stream: TranslatedStream,
    early: &[u8],
    outgoing: LinkOutgoing,
    incoming: &LinkIncoming,
) -> CarrierFailure {
    let (reader, writer) = socket.split();
    let stream = Mutex::new(stream);
    tokio::select! {
        failure = read(reader, &stream, early, incoming) => failure,
        failure = write(writer, &stream, outgoing, incoming) => failure,
    }
}

async fn read(
    mut reader: ReadHalf<'_>,
    stream: &Mutex<TranslatedStream>,
    early: &[u8],
    incoming: &LinkIncoming,
) -> CarrierFailure {
    if let Err(error) = deliver(&mut lock(stream), early, incoming) {
        return error.into();
    }
    let mut part = vec![0; READ_LEN];
    loop {
        let len = match reader.read(&mut part).await {
            Ok(0) | Err(_) => return lock(stream).handle_end().into(),
            Ok(len) => len,
        };
        let part = part.get(..len).unwrap_or_default();
        if let Err(error) = deliver(&mut lock(stream), part, incoming) {
            return error.into();
        }
    }
}

async fn write(
    mut writer: WriteHalf<'_>,
    stream: &Mutex<TranslatedStream>,
    mut outgoing: LinkOutgoing,
    incoming: &LinkIncoming,
) -> CarrierFailure {
    let mut bytes = Vec::new();
    while let Some(datagram) = outgoing.next().await {
        bytes.clear();
        let missing = lock(stream).datagram_to_stream(&datagram, &mut bytes);
        if let Some(reason) = missing {
            debug!(reason = reason.label(), mode = "translate", "not carried");
            incoming.count_not_passed_on();
        }
        let written = timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            return lock(stream).handle_end().into();
        }
    }
    // In order for TCP; for DTLS it is nothing.
    let _ = timeout(WRITE_TIMEOUT, writer.shutdown()).await;
    CarrierFailure::Gone
}

fn lock(stream: &Mutex<TranslatedStream>) -> MutexGuard<'_, TranslatedStream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

fn deliver(
    stream: &mut TranslatedStream,
    bytes: &[u8],
    incoming: &LinkIncoming,
) -> Result<(), TranslateError> {
    let mut rest = bytes;
    loop {
        let (len, event) = stream.stream_to_datagrams(rest)?;
        match event {
            None => return Ok(()),
            Some(TranslatedEvent::Datagram(datagram)) => incoming.deliver(datagram),
            Some(TranslatedEvent::DatagramRefused { len }) => incoming.refused_too_long(len),
            Some(_) => incoming.count_not_passed_on(),
        }
        rest = rest.get(len..).unwrap_or_default();
    }
}

/// How much is read at once, in bytes.
const READ_LEN: usize = 4_096;

/// How long the gateway may take to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::link::{LinkInput, LinkRefusal};

    /// A gateway that doesn't read delays nothing that it sends.
    #[tokio::test]
    async fn directions_do_not_wait_for_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = TranslateConfig::new(address, "lamp", TranslateForm::Short);
        let gateway = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.read_exact(&mut [0; 11]).await.unwrap();
            socket.write_all(b"HGTR\x01\x01\x00").await.unwrap();
            socket
        };
        let (link, mut gateway) = tokio::join!(translated_link(&config), gateway);
        let mut link = link.unwrap();
        let datagram = [
            b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\x04\x00".as_slice(),
            &[7; 1_024],
        ]
        .concat();
        // Until the system takes no more either.
        let mut refused_in_a_row = 0;
        while refused_in_a_row < 20_000 {
            match link.send(&datagram) {
                Ok(()) => refused_in_a_row = 0,
                Err(refusal) => {
                    assert_eq!(refusal, LinkRefusal::Full);
                    refused_in_a_row += 1;
                }
            }
            tokio::task::yield_now().await;
        }
        gateway.write_all(b"\x16\xfe\xfd\x00\x01a").await.unwrap();
        let received = timeout(Duration::from_secs(10), link.receive()).await;
        let expected = b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\x00\x01a".to_vec();
        assert_eq!(received, Ok(Ok(LinkInput::Datagram(expected))));
    }
}
