//! Datagrams in and out of a tunnel's stream.

use std::time::Duration;

use hedgerow_proxy::{CarrierMessage, MAX_UDP_CAPSULE_OVERHEAD, TunnelDecoder, encode_udp_capsule};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::capsules::read_capsules;
use crate::link::{CarrierFailure, LinkCarrier, LinkOutgoing};

/// Carries datagrams until either side ends, and says which did.
///
/// Both directions go on by themselves: a gateway that reads slowly fills the node's queue, whose
/// datagrams are then dropped, and stops nothing that comes the other way.
pub(super) async fn pump<S>(stream: S, carrier: LinkCarrier, mut decoder: TunnelDecoder)
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, mut writer) = tokio::io::split(stream);
    let (mut outgoing, incoming) = carrier.split();
    let failure = {
        let reading = read_capsules(reader, &mut decoder, &incoming, |message| match message {
            CarrierMessage::UdpPayload(payload) => incoming.deliver(payload),
            // What wasn't asked for.
            _ => incoming.count_not_passed_on(),
        });
        tokio::pin!(reading);
        tokio::select! {
            failure = &mut reading => failure,
            is_gone = write(&mut writer, &mut outgoing) => match is_gone {
                true => CarrierFailure::Gone,
                // A gateway that has closed takes nothing more: what it said before is still to be
                // read.
                false => timeout(SHUTDOWN_TIMEOUT, reading)
                    .await
                    .unwrap_or(CarrierFailure::Truncated),
            },
        }
    };
    debug!(%failure, "tunnel ended");
    // What waits for room isn't waited for.
    let _ = timeout(SHUTDOWN_TIMEOUT, writer.shutdown()).await;
    incoming.end(failure);
}

/// Writes until the node is gone, which is said, or nothing can be written any more.
async fn write(writer: &mut (impl AsyncWrite + Unpin), outgoing: &mut LinkOutgoing) -> bool {
    let mut capsules = Vec::with_capacity(BUFFER_LEN);
    while let Some(first) = outgoing.next().await {
        capsules.clear();
        append(&mut capsules, &first);
        // Datagrams that wait already leave together, such as the messages of one flight.
        while capsules.len() < BUFFER_LEN
            && let Some(next) = outgoing.next_now()
        {
            append(&mut capsules, &next);
        }
        let written = writer.write_all(&capsules).await;
        if let Err(error) = written.and(writer.flush().await) {
            debug!(%error, "tunnel can't be written to");
            return false;
        }
    }
    true
}

fn append(capsules: &mut Vec<u8>, datagram: &[u8]) {
    let start = capsules.len();
    let room = datagram.len().saturating_add(MAX_UDP_CAPSULE_OVERHEAD);
    capsules.resize(start.saturating_add(room), 0);
    let out = capsules.get_mut(start..).unwrap_or_default();
    // The link takes no datagram that is too long for a capsule.
    let len = encode_udp_capsule(datagram, out).unwrap_or_default();
    capsules.truncate(start.saturating_add(len));
}

/// What is written at once, in bytes, at least.
const BUFFER_LEN: usize = 16 * 1_024;

/// How long an orderly end may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::link::{LinkInput, LinkRefusal, datagram_link};

    /// What a gateway doesn't read is dropped in the end, and what it sends gets through meanwhile.
    #[tokio::test]
    async fn gateway_that_does_not_read_delays_nothing() {
        let (mut link, carrier) = datagram_link(2, 100);
        let (stream, mut gateway) = duplex(64);
        let pumping = tokio::spawn(pump(stream, carrier, TunnelDecoder::new(100)));
        while link.send(&[7; 50]) != Err(LinkRefusal::Full) {
            tokio::task::yield_now().await;
        }
        gateway.write_all(&[0, 3, 0, 8, 9]).await.unwrap();
        assert_eq!(link.receive().await, Ok(LinkInput::Datagram(vec![8, 9])));
        assert!(link.shared().drops().full_outwards > 0);
        // Each that found room is there once the gateway reads.
        let mut capsules = [0; 2 * 53];
        gateway.read_exact(&mut capsules).await.unwrap();
        assert_eq!(capsules[..3], [0, 51, 0]);
        assert_eq!(capsules[53..57], [0, 51, 0, 7]);
        drop(link);
        gateway.read_to_end(&mut Vec::new()).await.unwrap();
        pumping.await.unwrap();
    }

    /// A gateway that has said why it ends isn't forgotten because nothing can be written any more.
    #[tokio::test]
    async fn what_a_gateway_said_before_its_end_is_read() {
        let (mut link, carrier) = datagram_link(2, 100);
        let (stream, mut gateway) = duplex(64);
        gateway.write_all(&[0, 3, 0, 8, 9]).await.unwrap();
        drop(gateway);
        assert_eq!(link.send(&[7; 50]), Ok(()));
        pump(stream, carrier, TunnelDecoder::new(100)).await;
        assert_eq!(link.receive().await, Ok(LinkInput::Datagram(vec![8, 9])));
        assert_eq!(link.receive().await, Err(CarrierFailure::Closed));
    }
}
