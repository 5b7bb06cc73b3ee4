//! Datagrams in and out of a tunnel's stream.

use hedgerow_proxy::{CarrierMessage, MAX_UDP_CAPSULE_OVERHEAD, TunnelDecoder, encode_udp_capsule};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::capsules::read_capsules;
use crate::link::LinkCarrier;
use crate::link_stream::{carry_until_end, shut_down, write_messages};

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
    let reading = read_capsules(reader, &mut decoder, &incoming, |message| match message {
        CarrierMessage::UdpPayload(payload) => incoming.deliver(payload),
        // What wasn't asked for.
        _ => incoming.count_not_passed_on(),
    });
    let writing = async {
        let written = write_messages(&mut writer, &mut outgoing.0, BUFFER_LEN, append).await;
        written.inspect_err(|error| debug!(%error, "tunnel can't be written to"))
    };
    let failure = carry_until_end(reading, writing, incoming.gone()).await;
    debug!(%failure, "tunnel ended");
    shut_down(&mut writer).await;
    incoming.end(failure);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::link::{CarrierFailure, LinkInput, LinkRefusal, datagram_link};

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

    /// A gateway that is there and reads nothing keeps no tunnel that nobody has any more.
    #[tokio::test(start_paused = true)]
    async fn tunnel_ends_with_its_node_whatever_waits_for_the_gateway() {
        let (link, carrier) = datagram_link(2, 100);
        let (stream, mut gateway) = duplex(64);
        let pumping = tokio::spawn(pump(stream, carrier, TunnelDecoder::new(100)));
        while link.send(&[7; 50]) != Err(LinkRefusal::Full) {
            tokio::task::yield_now().await;
        }
        drop(link);
        let ended = timeout(Duration::from_secs(60), pumping).await;
        ended.expect("it is kept").unwrap();
        let mut read = Vec::new();
        gateway.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 64);
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
