//! The UDP socket of a node.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::path::{Path, Remote, canonical, mapped};

/// A UDP socket that knows to which of its addresses a datagram came, and can answer from there.
#[derive(Debug)]
pub(crate) struct NodeSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    is_wildcard: bool,
}

impl NodeSocket {
    /// Binds a socket. The wildcard address of IPv6 stands for IPv4 too.
    pub(crate) fn bind(local: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        let is_wildcard = local.ip().is_unspecified();
        if local.is_ipv6() {
            socket.set_only_v6(!is_wildcard)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&local.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            state,
            local,
            is_wildcard,
        })
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Says whether a datagram can be sent to `remote`, which is canonical.
    pub(crate) fn can_reach(&self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        let is_of_family = match (self.local, ip) {
            (SocketAddr::V4(_), IpAddr::V4(_)) | (SocketAddr::V6(_), IpAddr::V6(_)) => true,
            (SocketAddr::V6(_), IpAddr::V4(_)) => self.is_wildcard,
            (SocketAddr::V4(_), IpAddr::V6(_)) => false,
        };
        is_of_family && remote.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
    }

    /// Waits for datagrams, at least one.
    pub(crate) async fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<()> {
        buffers.filled = 0;
        let ReceiveBuffers { bytes, metas, .. } = buffers;
        let mut buffers_left = bytes.chunks_mut(MAX_RECEIVE_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH] = core::array::from_fn(|_| {
            // As many chunks as slices: an empty one would only receive nothing.
            IoSliceMut::new(buffers_left.next().unwrap_or_default())
        });
        let filled = self
            .socket
            .async_io(Interest::READABLE, || {
                self.state
                    .recv((&self.socket).into(), &mut slices, metas.as_mut_slice())
            })
            .await?;
        buffers.filled = filled;
        Ok(())
    }

    /// Returns the sender of a datagram and the address it was sent to, if the answer has to leave
    /// from there.
    pub(crate) fn origin(&self, meta: &RecvMeta) -> (SocketAddr, Option<IpAddr>) {
        let local = meta.dst_ip.filter(|_| self.is_wildcard);
        let local = local.map(|ip| ip.to_canonical());
        // An answer can't leave from a group's address (RFC 7252 §8.2).
        let local = local.filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_multicast(),
        });
        (canonical(meta.addr), local)
    }

    /// Sends a datagram, once the system has room for it.
    pub(crate) async fn send(&self, path: &Path, datagram: &[u8]) -> io::Result<()> {
        let is_ipv6 = self.local.is_ipv6();
        let on_socket = |ip: IpAddr| if is_ipv6 { mapped(ip) } else { ip };
        let destination = match path.remote {
            Remote::At(SocketAddr::V4(remote)) => {
                SocketAddr::new(on_socket(IpAddr::V4(*remote.ip())), remote.port())
            }
            Remote::At(remote @ SocketAddr::V6(_)) => remote,
            Remote::Linked => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: datagram,
            segment_size: None,
            // MUST (RFC 7252 §5.3.2): a response's source is the destination of its request. The
            // system would choose by its routes.
            src_ip: path.local.map(on_socket),
        };
        self.socket
            .async_io(Interest::WRITABLE, || {
                self.state.try_send((&self.socket).into(), &transmit)
            })
            .await
    }
}

/// Says whether a datagram wasn't sent because it is too long.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(MESSAGE_TOO_LONG)
}

/// EMSGSIZE, for which the standard library has no kind.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MESSAGE_TOO_LONG: i32 = 90;
/// EMSGSIZE of the BSDs and their kin.
#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
const MESSAGE_TOO_LONG: i32 = 40;
/// WSAEMSGSIZE.
#[cfg(windows)]
const MESSAGE_TOO_LONG: i32 = 10_040;

/// Room for what the system hands over in one call.
pub(crate) struct ReceiveBuffers {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH],
    filled: usize,
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * MAX_RECEIVE_LEN].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH],
            filled: 0,
        }
    }

    /// Lends each datagram that was received, with where it came from. The system may have put
    /// several of one sender into one buffer.
    pub(crate) fn datagrams(&mut self) -> impl Iterator<Item = (&RecvMeta, &mut [u8])> {
        let buffers = self.bytes.chunks_mut(MAX_RECEIVE_LEN);
        let filled = self.metas.iter().zip(buffers).take(self.filled);
        filled.flat_map(|(meta, buffer)| {
            let len = meta.len.min(buffer.len());
            let (bytes, _) = buffer.split_at_mut(len);
            bytes
                .chunks_mut(meta.stride.max(1))
                .map(move |datagram| (meta, datagram))
        })
    }
}

/// How many buffers are received into at once.
const BATCH: usize = 8;

/// The longest run of datagrams that the system joins: what an IPv4 length field can say.
const MAX_RECEIVE_LEN: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    /// More than the length field of IPv4 can say is refused on every interface.
    #[tokio::test]
    async fn system_says_when_a_datagram_is_too_long() {
        let socket = NodeSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let path = Path::to(Remote::At(socket.local_addr()));
        let error = socket.send(&path, &[0; 65_508]).await.unwrap_err();
        assert!(is_too_long(&error), "{error:?}");
        socket.send(&path, &[0; 1_200]).await.unwrap();
        assert!(!is_too_long(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn joined_datagrams_come_apart_again() {
        let mut buffers = ReceiveBuffers::new();
        buffers.bytes[..5].copy_from_slice(b"abcde");
        buffers.bytes[MAX_RECEIVE_LEN..][..3].copy_from_slice(b"fgh");
        for (meta, (len, stride)) in buffers
            .metas
            .iter_mut()
            .zip([(5, 2), (3, 3), (0, 0), (9, 9)])
        {
            (meta.len, meta.stride) = (len, stride);
        }
        // The last one is a leftover of an earlier call.
        buffers.filled = 3;
        let datagrams: Vec<_> = buffers
            .datagrams()
            .map(|(_, bytes)| bytes.to_vec())
            .collect();
        assert_eq!(
            datagrams,
            [
                b"ab".to_vec(),
                b"cd".to_vec(),
                b"e".to_vec(),
                b"fgh".to_vec()
            ]
        );
    }
}
