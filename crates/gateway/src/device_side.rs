//! A tunnel's sockets towards its device: one, or one for each carrier (`docs/specs/auto.md`).

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use hedgerow_core::Reader;
use hedgerow_net::ConnectedSocket;
use hedgerow_proxy::CarrierKind;
use hedgerow_record::{ContentType, EpochNumber, RecordNumber};

/// Whence a tunnel's datagrams leave for its device, and where the device's come to.
pub(crate) struct DeviceSide {
    own: ConnectedSocket,
    udp: Option<UdpSide>,
}

/// The UDP carrier's own address.
struct UdpSide {
    socket: ConnectedSocket,
    /// Whether the session can be followed to it: its handshake is over at the device too.
    is_settled: AtomicBool,
}

/// What a datagram's first record says in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstRecord {
    /// One without keys: of a handshake, for the most part.
    Clear,
    /// One under keys, which names its session.
    WithConnectionId,
    /// One under keys, which is its session's by its address.
    WithoutConnectionId,
    /// None of DTLS 1.2.
    Unknown,
}

impl DeviceSide {
    /// Opens one socket towards the device, and for a UDP carrier with its own address another one.
    ///
    /// # Errors
    ///
    /// What the system says, above all that it has no route.
    pub(crate) fn connect(device: SocketAddr, has_udp_side: bool) -> io::Result<Self> {
        let own = ConnectedSocket::connect(device)?;
        let udp = has_udp_side.then(|| ConnectedSocket::connect(device));
        let udp = udp.transpose()?.map(|socket| UdpSide {
            socket,
            is_settled: AtomicBool::new(false),
        });
        Ok(Self { own, udp })
    }

    /// Returns the socket of everything that has no other one.
    pub(crate) const fn own(&self) -> &ConnectedSocket {
        &self.own
    }

    /// Returns the UDP carrier's own socket, if it has one.
    pub(crate) fn udp(&self) -> Option<&ConnectedSocket> {
        self.udp.as_ref().map(|udp| &udp.socket)
    }

    /// Chooses the socket for a datagram of the client's, and says whether it is the UDP carrier's own.
    pub(crate) fn choose(&self, carrier: CarrierKind, datagram: &[u8]) -> (&ConnectedSocket, bool) {
        let Some(udp) = &self.udp else {
            return (&self.own, false);
        };
        let first = FirstRecord::of(datagram);
        udp.note(first, false);
        let is_settled = udp.is_settled.load(Ordering::Relaxed);
        // A device finds a session by its address where nothing else names it, and a handshake always.
        match (carrier, first) {
            (CarrierKind::Udp, FirstRecord::WithConnectionId) if is_settled => (&udp.socket, true),
            _ => (&self.own, false),
        }
    }

    /// Looks at a datagram of the device's.
    pub(crate) fn received(&self, datagram: &[u8]) {
        if let Some(udp) = &self.udp {
            udp.note(FirstRecord::of(datagram), true);
        }
    }
}

impl UdpSide {
    /// A handshake is under way from its first record on until the device answers under keys. Where the
    /// device's Finished is the first of both (RFC 5246 §7.3, resumption), the client's ChangeCipherSpec
    /// is behind it, and the device's next answer counts.
    fn note(&self, first: FirstRecord, is_from_device: bool) {
        match first {
            FirstRecord::Clear => self.is_settled.store(false, Ordering::Relaxed),
            FirstRecord::WithConnectionId | FirstRecord::WithoutConnectionId if is_from_device => {
                self.is_settled.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl FirstRecord {
    fn of(datagram: &[u8]) -> Self {
        Self::read(datagram).unwrap_or(Self::Unknown)
    }

    /// The epoch stands at the same place with and without a connection ID (RFC 9146 §4).
    fn read(datagram: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let content_type = ContentType::from(reader.u8().ok()?);
        let _version = reader.u16().ok()?;
        let number = RecordNumber::from_be_bytes(*reader.array().ok()?);
        Some(match content_type {
            ContentType::Unknown(_) => Self::Unknown,
            _ if number.epoch() == EpochNumber(0) => Self::Clear,
            ContentType::Tls12Cid => Self::WithConnectionId,
            _ => Self::WithoutConnectionId,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8) -> Vec<u8> {
        vec![content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, 0]
    }

    #[test]
    fn records_are_told_apart_by_what_is_in_clear() {
        for (datagram, expected) in [
            (record(22, 0), FirstRecord::Clear),
            (record(20, 0), FirstRecord::Clear),
            (record(25, 1), FirstRecord::WithConnectionId),
            (record(23, 1), FirstRecord::WithoutConnectionId),
            (record(22, 1), FirstRecord::WithoutConnectionId),
            (record(99, 1), FirstRecord::Unknown),
            (record(25, 1)[..10].to_vec(), FirstRecord::Unknown),
            (Vec::new(), FirstRecord::Unknown),
        ] {
            assert_eq!(FirstRecord::of(&datagram), expected, "{datagram:?}");
        }
    }

    /// Which way each datagram goes in the order in which they pass: from the client on the UDP carrier, or
    /// from the device.
    fn ways(has_udp_side: bool, datagrams: &[(bool, Vec<u8>)]) -> Vec<bool> {
        let device = SocketAddr::from(([127, 0, 0, 1], 9));
        let side = DeviceSide::connect(device, has_udp_side).unwrap();
        let mut ways = Vec::new();
        for (is_from_device, datagram) in datagrams {
            match is_from_device {
                true => side.received(datagram),
                false => ways.push(side.choose(CarrierKind::Udp, datagram).1),
            }
            // What comes by TCP never changes its address.
            assert!(!side.choose(CarrierKind::Tcp, &record(25, 1)).1);
        }
        ways
    }

    #[tokio::test]
    async fn own_address_is_for_records_that_name_a_session_that_is_settled() {
        let (client, device) = (false, true);
        let whole = [
            (client, record(22, 0)),
            (device, record(22, 0)),
            (client, record(20, 0)),
            // The client's Finished, in a datagram of its own.
            (client, record(25, 1)),
            (device, record(20, 0)),
            (device, record(22, 1)),
            (client, record(25, 1)),
            (client, record(23, 1)),
        ];
        assert_eq!(ways(true, &whole), [false, false, false, true, false]);
        assert_eq!(ways(false, &whole), [false; 5]);
        let resumed = [
            (client, record(22, 0)),
            (device, record(22, 0)),
            (device, record(20, 0)),
            (device, record(25, 1)),
            (client, record(20, 0)),
            (client, record(25, 1)),
            (device, record(25, 1)),
            (client, record(25, 1)),
        ];
        assert_eq!(ways(true, &resumed), [false, false, false, true]);
    }
}
