//! A UDP socket with one peer, for payloads that somebody else made.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::path::canonical;
use crate::socket::is_too_long;

/// A UDP socket that sends to one address and hears from that one alone. It fragments nothing: DF is
/// set in IPv4 where the system can. ECN bits are Not-ECT outwards and ignored inwards.
#[derive(Debug)]
pub struct ConnectedSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    remote: SocketAddr,
    /// How often receiving has failed since it last succeeded.
    failures: AtomicU32,
}

/// Why a datagram wasn't sent or none was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketFault {
    /// The datagram is longer than the path takes.
    #[error("the datagram is too long for the path")]
    TooLong,
    /// The system reports of an earlier datagram (ICMP, which anybody can forge), or of a passing state of
    /// its own. The socket goes on; what was to be sent was not.
    #[error("not this time: {0}")]
    Refused(io::Error),
    /// The socket is no longer usable.
    #[error(transparent)]
    Unusable(io::Error),
}

impl ConnectedSocket {
    /// Opens a socket towards `remote`, from a port that the system chooses. It must be called within a
    /// tokio runtime with I/O.
    ///
    /// # Errors
    ///
    /// What the system says, above all that it has no route.
    pub fn connect(remote: SocketAddr) -> io::Result<Self> {
        let remote = canonical(remote);
        let socket = Socket::new(
            Domain::for_address(remote),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        socket.set_nonblocking(true)?;
        let local = match remote {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        socket.bind(&local.into())?;
        socket.connect(&remote.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        // Sets DF, among others.
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            socket,
            state,
            remote,
            failures: AtomicU32::new(0),
        })
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Sends a datagram, once the system has room for it. An ICMP error for an earlier one is told in
    /// its place; the next attempt sends it.
    ///
    /// # Errors
    ///
    /// Each variant of [`SocketFault`].
    pub async fn send(&self, datagram: &[u8]) -> Result<(), SocketFault> {
        let transmit = Transmit {
            destination: self.remote,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: None,
        };
        let send = || async {
            let sent = self.socket.async_io(Interest::WRITABLE, || {
                self.state.try_send((&self.socket).into(), &transmit)
            });
            sent.await.map_err(SocketFault::of)
        };
        match send().await {
            // An ICMP message about an earlier datagram is told here too, in place of sending.
            Err(SocketFault::TooLong) => send().await,
            sent => sent,
        }
    }

    /// Waits for datagrams, at least one. [`ReceivedDatagrams::iter`] lends them.
    ///
    /// # Errors
    ///
    /// [`SocketFault::Refused`] and [`SocketFault::Unusable`].
    pub async fn receive(&self, received: &mut ReceivedDatagrams) -> Result<(), SocketFault> {
        let mut filled = self.fill(received).await;
        if filled.is_err() && self.failures.load(Ordering::Relaxed) >= FAILURES_BEFORE_PAUSE {
            // An ICMP message is told once: behind it stands what has come, however many there are. What
            // fails again doesn't pass, and must not keep a processor busy.
            filled = self.fill(received).await;
            if filled.is_err() {
                sleep(PAUSE).await;
            }
        }
        if let Err(error) = filled {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(SocketFault::of(error));
        }
        self.failures.store(0, Ordering::Relaxed);
        // MUST (RFC 9298 §3.1): packets from elsewhere are discarded. The system does it once the socket
        // is connected; one may have come before.
        received.is_foreign = canonical(received.meta.addr) != self.remote;
        Ok(())
    }

    async fn fill(&self, received: &mut ReceivedDatagrams) -> io::Result<()> {
        received.meta.len = 0;
        let ReceivedDatagrams { bytes, meta, .. } = received;
        let mut slices = [IoSliceMut::new(bytes)];
        // An ICMP error alone makes nothing readable.
        let interest = Interest::READABLE | Interest::ERROR;
        let filled = self.socket.async_io(interest, || {
            let metas = std::slice::from_mut(&mut *meta);
            self.state.recv((&self.socket).into(), &mut slices, metas)
        });
        filled.await.map(drop)
    }
}

impl SocketFault {
    /// ICMP comes as many errors, some of which have no kind of their own; a socket that this module
    /// has opened becomes unusable by none of them.
    fn of(error: io::Error) -> Self {
        match error.kind() {
            _ if is_too_long(&error) => Self::TooLong,
            io::ErrorKind::InvalidInput => Self::Unusable(error),
            _ => Self::Refused(error),
        }
    }
}

/// How often receiving may fail in a row before it is tried again at once, and then after a pause.
const FAILURES_BEFORE_PAUSE: u32 = 16;

const PAUSE: Duration = Duration::from_millis(50);

/// Room for what the system hands over at once: 64 KiB, for it may join datagrams.
#[derive(Debug)]
pub struct ReceivedDatagrams {
    bytes: Box<[u8]>,
    meta: RecvMeta,
    is_foreign: bool,
}

impl Default for ReceivedDatagrams {
    fn default() -> Self {
        Self {
            bytes: vec![0; MAX_RECEIVE_LEN].into_boxed_slice(),
            meta: RecvMeta::default(),
            is_foreign: false,
        }
    }
}

impl ReceivedDatagrams {
    /// Lends each datagram of the peer's.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let len = if self.is_foreign { 0 } else { self.meta.len };
        let bytes = self.bytes.get(..len).unwrap_or_default();
        // A datagram without content is one too.
        let is_empty = !self.is_foreign && self.meta.len == 0;
        let empty = is_empty.then_some([].as_slice());
        bytes.chunks(self.meta.stride.max(1)).chain(empty)
    }

    /// Says whether what was received came from elsewhere than the peer, and is left out.
    pub const fn is_foreign(&self) -> bool {
        self.is_foreign
    }
}

/// The longest run of datagrams that the system joins.
const MAX_RECEIVE_LEN: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(socket: &ConnectedSocket, received: &mut ReceivedDatagrams) -> Vec<Vec<u8>> {
        socket.receive(received).await.unwrap();
        received.iter().map(<[u8]>::to_vec).collect()
    }

    /// RFC 9298 §3.1: from the target alone, and nothing fragmented.
    #[tokio::test]
    async fn socket_hears_its_peer_alone_and_fragments_nothing() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let peer = UdpSocket::bind(local).await.unwrap();
            let stranger = UdpSocket::bind(local).await.unwrap();
            let socket = ConnectedSocket::connect(peer.local_addr().unwrap()).unwrap();
            let own = socket.local_addr().unwrap();
            stranger.send_to(b"not me", own).await.unwrap();
            peer.send_to(b"me", own).await.unwrap();
            let mut received = ReceivedDatagrams::default();
            assert_eq!(receive(&socket, &mut received).await, [b"me"]);
            peer.send_to(b"", own).await.unwrap();
            assert_eq!(receive(&socket, &mut received).await, [b""]);
            socket.send(b"you").await.unwrap();
            let mut buffer = [0; 10];
            let (len, from) = peer.recv_from(&mut buffer).await.unwrap();
            assert_eq!((&buffer[..len], from), (b"you".as_slice(), own));
            let too_long = socket.send(&[0; 65_530]).await;
            assert!(
                matches!(too_long, Err(SocketFault::TooLong)),
                "{too_long:?}"
            );
        }
    }

    /// What Linux makes of ICMP's messages, and of an interface that is down for a moment: EPROTO,
    /// ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EACCES, EOPNOTSUPP,
    /// ENETDOWN, ENOBUFS.
    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_that_others_cause_makes_a_socket_unusable() {
        for number in [71, 92, 112, 64, 113, 101, 111, 13, 95, 100, 105] {
            let fault = SocketFault::of(io::Error::from_raw_os_error(number));
            assert!(matches!(fault, SocketFault::Refused(_)), "{number}");
        }
        let fault = SocketFault::of(io::Error::from_raw_os_error(90));
        assert!(matches!(fault, SocketFault::TooLong));
    }

    #[tokio::test]
    async fn refusal_by_icmp_leaves_the_socket_usable() {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = peer.local_addr().unwrap();
        let socket = ConnectedSocket::connect(at).unwrap();
        drop(peer);
        socket.send(b"is anybody there?").await.unwrap();
        let mut received = ReceivedDatagrams::default();
        let refused = socket.receive(&mut received).await;
        assert!(
            matches!(refused, Err(SocketFault::Refused(_))),
            "{refused:?}"
        );
        let peer = UdpSocket::bind(at).await.unwrap();
        peer.send_to(b"here again", socket.local_addr().unwrap())
            .await
            .unwrap();
        assert_eq!(receive(&socket, &mut received).await, [b"here again"]);
    }
}
