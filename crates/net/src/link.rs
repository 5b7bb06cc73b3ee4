//! A link: datagrams to and from one peer, by whatever carries them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hedgerow_endpoint::{OuterStream, TranslateError};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::ItlsSessions;
use crate::statistics::count;

/// The node's end of a link, as [`LinkedNode::new`](crate::LinkedNode::new) takes it.
///
/// It promises no more than UDP does: what doesn't find room is dropped and counted, nothing waits
/// for another datagram, and order is the carrier's affair.
#[derive(Debug)]
pub struct DatagramLink {
    outgoing: mpsc::Sender<Vec<u8>>,
    incoming: mpsc::Receiver<LinkInput>,
    max_datagram_len: usize,
    shared: Arc<LinkShared>,
    observer: Option<Observer>,
    /// What it carries is an outer session's, which has this.
    outer: Option<OuterLink>,
}

/// What carries the messages of an outer session of mode `itls`.
#[derive(Debug)]
pub(crate) struct OuterLink {
    pub(crate) stream: OuterStream,
    /// Where it ends.
    pub(crate) gateway: SocketAddr,
    /// Where sessions are that are resumed in it.
    pub(crate) sessions: ItlsSessions,
}

/// Whoever looks on.
struct Observer(Box<Look>);

type Look = dyn Fn(&[u8]) + Send + Sync;

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Observer(..)")
    }
}

/// The carrier's end of a link. Dropping it ends the link, as [`CarrierFailure::Gone`] if nothing else
/// was said by [`Self::end`].
#[derive(Debug)]
pub struct LinkCarrier {
    outgoing: LinkOutgoing,
    incoming: LinkIncoming,
}

/// Where a carrier gets the node's datagrams.
#[derive(Debug)]
pub struct LinkOutgoing(pub(crate) mpsc::Receiver<Vec<u8>>);

/// Where a carrier puts the peer's datagrams. Dropping it ends the link.
#[derive(Debug)]
pub struct LinkIncoming {
    incoming: mpsc::Sender<LinkInput>,
    shared: Arc<LinkShared>,
}

/// What a carrier has for the node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkInput {
    /// A datagram of the peer.
    Datagram(Vec<u8>),
    /// A datagram of so many bytes, on its way to the peer, was longer than goes.
    Refused(usize),
}

/// What either end of a link counts, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct LinkShared {
    ended: OnceLock<CarrierFailure>,
    /// Whether the node has drawn its conclusions from that, or is gone itself.
    is_left: AtomicBool,
    was_left: Notify,
    pub(crate) full_outwards: AtomicU64,
    pub(crate) full_inwards: AtomicU64,
    pub(crate) too_long: AtomicU64,
    pub(crate) not_passed_on: AtomicU64,
}

/// What a link has dropped since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkDrops {
    /// Datagrams for which the carrier had no room.
    pub full_outwards: u64,
    /// Datagrams for which the node had no room.
    pub full_inwards: u64,
    /// Datagrams, in either direction, that are longer than the carrier takes.
    pub too_long: u64,
    /// Other things that the carrier brought and that are no datagrams of the peer.
    pub not_passed_on: u64,
}

/// Makes a link that holds so many datagrams in each direction, of at most `max_datagram_len` bytes.
pub fn datagram_link(places: usize, max_datagram_len: usize) -> (DatagramLink, LinkCarrier) {
    let places = places.clamp(1, MAX_PLACES);
    let (to_carrier, outgoing) = mpsc::channel(places);
    let (to_node, incoming) = mpsc::channel(places);
    let shared = Arc::new(LinkShared::default());
    let link = DatagramLink {
        outgoing: to_carrier,
        incoming,
        max_datagram_len,
        shared: Arc::clone(&shared),
        observer: None,
        outer: None,
    };
    let carrier = LinkCarrier {
        outgoing: LinkOutgoing(outgoing),
        incoming: LinkIncoming {
            incoming: to_node,
            shared,
        },
    };
    (link, carrier)
}

impl DatagramLink {
    /// Returns the longest datagram that is carried, in bytes.
    pub const fn max_datagram_len(&self) -> usize {
        self.max_datagram_len
    }

    /// Shows each datagram, in both directions, to `observer`: what whoever carries them sees. It has to
    /// return at once.
    #[must_use]
    pub fn observed(mut self, observer: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer(Box::new(observer)));
        self
    }

    /// Has it carry the messages of an outer session of mode `itls`.
    #[must_use]
    pub(crate) fn inside(mut self, outer: OuterLink) -> Self {
        self.outer = Some(outer);
        self
    }

    /// Returns what the outer session is that it carries, if it does.
    pub(crate) const fn outer(&self) -> Option<&OuterLink> {
        self.outer.as_ref()
    }

    /// Notes that the node has done with the link.
    pub(crate) fn leave(&self) {
        self.shared.is_left.store(true, Ordering::Release);
        self.shared.was_left.notify_waiters();
    }

    fn show(&self, datagram: &[u8]) {
        if let Some(Observer(observer)) = &self.observer {
            observer(datagram);
        }
    }

    pub(crate) fn shared(&self) -> Arc<LinkShared> {
        Arc::clone(&self.shared)
    }

    /// Says whether the link is still there.
    pub(crate) fn check(&self) -> Result<(), CarrierFailure> {
        // The end is known before what carried is gone.
        match self.shared.has_ended() || self.outgoing.is_closed() {
            true => Err(self.shared.failure()),
            false => Ok(()),
        }
    }

    /// Waits for what the carrier has; what came before the end is there before it.
    pub(crate) async fn receive(&mut self) -> Result<LinkInput, CarrierFailure> {
        let received = self.incoming.recv().await;
        let input = received.ok_or_else(|| self.shared.failure())?;
        if let LinkInput::Datagram(datagram) = &input {
            self.show(datagram);
        }
        Ok(input)
    }

    /// Hands a datagram to the carrier, which never waits.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), LinkRefusal> {
        let (len, max) = (datagram.len(), self.max_datagram_len);
        if len > max {
            count(&self.shared.too_long);
            return Err(LinkRefusal::TooLong { len, max });
        }
        let sent = self.outgoing.try_send(datagram.to_vec());
        if sent.is_ok() {
            self.show(datagram);
        }
        sent.map_err(|error| match error {
            TrySendError::Full(_) => {
                count(&self.shared.full_outwards);
                LinkRefusal::Full
            }
            TrySendError::Closed(_) => LinkRefusal::Ended,
        })
    }
}

impl Drop for DatagramLink {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Why a link doesn't take a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkRefusal {
    #[error("datagram of {len} bytes: the carrier takes {max}")]
    TooLong { len: usize, max: usize },
    #[error("the carrier has no room")]
    Full,
    #[error("the carrier has ended")]
    Ended,
}

impl LinkCarrier {
    /// Takes the two directions apart.
    pub fn split(self) -> (LinkOutgoing, LinkIncoming) {
        (self.outgoing, self.incoming)
    }

    /// Waits for a datagram of the node; `None` once the node is gone. Cancelling loses none.
    pub async fn outgoing(&mut self) -> Option<Vec<u8>> {
        self.outgoing.next().await
    }

    /// Hands a datagram of the peer to the node, or drops and counts it where there is no room.
    pub fn deliver(&self, datagram: &[u8]) {
        self.incoming.deliver(datagram);
    }

    /// Ends the link and says why. The first reason counts.
    pub fn end(self, failure: CarrierFailure) {
        self.incoming.end(failure);
    }
}

impl LinkOutgoing {
    /// Waits for a datagram; `None` once the node is gone. Cancelling loses none.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.0.recv().await
    }

    /// Returns a datagram that waits already.
    pub fn next_now(&mut self) -> Option<Vec<u8>> {
        self.0.try_recv().ok()
    }
}

impl LinkIncoming {
    /// Hands a datagram of the peer to the node, or drops and counts it where there is no room.
    pub fn deliver(&self, datagram: &[u8]) {
        self.put(LinkInput::Datagram(datagram.to_vec()));
    }

    /// Tells the node that a datagram of its own, of `len` bytes, was longer than goes further on, and
    /// counts it. The node makes later ones shorter, within the bounds that it has for whoever says so.
    pub fn refused_too_long(&self, len: usize) {
        self.count_too_long();
        self.put(LinkInput::Refused(len));
    }

    fn put(&self, input: LinkInput) {
        if let Err(TrySendError::Full(_)) = self.incoming.try_send(input) {
            count(&self.shared.full_inwards);
        }
    }

    /// Waits until the node is gone.
    pub(crate) async fn gone(&self) {
        self.incoming.closed().await;
    }

    /// Counts a datagram of the node's for which the carrier had no room.
    pub(crate) fn count_full_outwards(&self) {
        count(&self.shared.full_outwards);
    }

    /// Counts a datagram of the peer that is longer than the carrier takes.
    pub fn count_too_long(&self) {
        count(&self.shared.too_long);
    }

    /// Counts something that is no datagram of the peer.
    pub fn count_not_passed_on(&self) {
        count(&self.shared.not_passed_on);
    }

    /// Ends the link and says why. The first reason counts.
    pub fn end(self, failure: CarrierFailure) {
        // Before the queue closes, so that whoever sees it closed sees the reason.
        self.shared.end(failure);
    }
}

impl Drop for LinkIncoming {
    fn drop(&mut self) {
        // Unless a reason was given.
        self.shared.end(CarrierFailure::Gone);
    }
}

impl LinkShared {
    /// Notes why the link has ended, unless it is known.
    fn end(&self, failure: CarrierFailure) {
        let _ = self.ended.set(failure);
    }

    /// Waits until the link has ended and the node has done with it.
    pub(crate) async fn left(&self) -> CarrierFailure {
        let left = self.was_left.notified();
        tokio::pin!(left);
        // Whoever leaves it from now on wakes this.
        left.as_mut().enable();
        if !self.is_left.load(Ordering::Acquire) {
            left.await;
        }
        self.failure()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    fn failure(&self) -> CarrierFailure {
        self.ended.get().copied().unwrap_or(CarrierFailure::Gone)
    }

    pub(crate) fn drops(&self) -> LinkDrops {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkDrops {
            full_outwards: number(&self.full_outwards),
            full_inwards: number(&self.full_inwards),
            too_long: number(&self.too_long),
            not_passed_on: number(&self.not_passed_on),
        }
    }
}

/// Why a carrier of datagrams didn't come about, or ended. None of it is the peer's word: that
/// is only what its own session says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CarrierFailure {
    /// The gateway's name has no address.
    #[error("the gateway's name has no address")]
    GatewayName,
    /// The gateway is elsewhere, and plain HTTP would show the user's credentials to whoever is on the way.
    #[error("plain HTTP would show the user's credentials on the way to the gateway")]
    InClear,
    /// The system couldn't connect to the gateway.
    #[error("can't connect to the gateway: {kind}")]
    Connect {
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// The gateway didn't answer within the configured time.
    #[error("the gateway didn't answer in time")]
    ConnectTimeout,
    /// The gateway's certificate isn't trusted, for this name and at this time.
    #[error("the gateway's certificate is not trusted: {reason}")]
    GatewayCertificate {
        /// What is wrong with it.
        reason: CertificateReason,
    },
    /// TLS with the gateway failed in another way: perhaps there is none at this port.
    #[error("no TLS with the gateway came about")]
    Tls,
    /// What answers there doesn't speak HTTP, or broke off.
    #[error("what answers there speaks no HTTP that a gateway does")]
    Http,
    /// What answers there has no tunnels: it isn't a gateway with this mode.
    #[error("what answers there is no gateway with tunnels: status {status}")]
    NoTunnels {
        /// The status of HTTP.
        status: u16,
    },
    /// What answers there speaks HTTP/2 without extended CONNECT (RFC 8441), which tunnels want.
    #[error("what answers there speaks HTTP/2 without extended CONNECT")]
    NoExtendedConnect,
    /// The gateway refused the user's credentials, or wants some.
    #[error("the gateway refused the user: status {status}")]
    UserRefused {
        /// The status of HTTP: 401, or 407 of a proxy before the gateway.
        status: u16,
    },
    /// The gateway doesn't let this user reach this target: no device by that name and port, or none
    /// with this mode, which it doesn't tell apart.
    #[error("the gateway denies the target: no such device there, or not in this mode")]
    TargetDenied,
    /// The gateway refused the request in another way.
    #[error("the gateway refused the tunnel: status {status}")]
    Refused {
        /// The status of HTTP.
        status: u16,
    },
    /// The gateway has as many tunnels as it may, for this user or for all, is going down, or has seen too
    /// many wrong credentials from here.
    #[error("the gateway opens no further tunnel now: status {status}")]
    Busy {
        /// The status of HTTP.
        status: u16,
    },
    /// The gateway can't reach the device's network.
    #[error("the gateway found no way to the device: status {status}")]
    Unreachable {
        /// The status of HTTP.
        status: u16,
    },
    /// The gateway ended the tunnel in order. It says nothing about the session inside.
    #[error("the gateway closed the tunnel")]
    Closed,
    /// The tunnel was cut off: within a capsule, or with its connection.
    #[error("the tunnel was cut off")]
    Truncated,
    /// The gateway sent what can't be in a tunnel.
    #[error("the gateway broke the tunnel's format")]
    Malformed,
    /// The connection in mode `translate` didn't come about or ended, and why.
    #[error("mode translate: {0}")]
    Translate(#[from] TranslateError),
    /// What answers there doesn't speak mode `itls`.
    #[error("what answers there doesn't speak mode itls")]
    NoItls,
    /// The gateway doesn't know this user in mode `itls`, or wants to know one.
    #[error("the gateway doesn't know this user")]
    UserUnknown,
    /// The carrier is gone without a word.
    #[error("the carrier is gone")]
    Gone,
}

/// What is wrong with a gateway's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateReason {
    /// No authority that is trusted vouches for it.
    #[error("no authority that is trusted here vouches for it")]
    Authority,
    /// It is for another name.
    #[error("it is for another name")]
    Name,
    /// It isn't valid now.
    #[error("it is not valid at this time")]
    Time,
    /// Something else.
    #[error("it is malformed, revoked, or for another purpose")]
    Other,
}

const MAX_PLACES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_or_is_too_long_is_dropped_and_counted() {
        let (link, carrier) = datagram_link(2, 4);
        let (mut outgoing, carrier) = carrier.split();
        assert_eq!(
            link.send(b"12345"),
            Err(LinkRefusal::TooLong { len: 5, max: 4 })
        );
        assert_eq!((link.send(b"1"), link.send(b"2")), (Ok(()), Ok(())));
        assert_eq!(link.send(b"3"), Err(LinkRefusal::Full));
        assert_eq!(outgoing.next_now().as_deref(), Some(b"1".as_slice()));
        assert_eq!(link.send(b"4"), Ok(()));
        for datagram in [b"a", b"b", b"c"] {
            carrier.deliver(datagram);
        }
        carrier.count_not_passed_on();
        let expected = LinkDrops {
            full_outwards: 1,
            full_inwards: 1,
            too_long: 1,
            not_passed_on: 1,
        };
        assert_eq!(link.shared().drops(), expected);
    }

    #[tokio::test]
    async fn end_is_told_with_its_reason_behind_what_came_before() {
        let (mut link, carrier) = datagram_link(2, 4);
        assert_eq!(link.check(), Ok(()));
        carrier.deliver(b"last");
        carrier.end(CarrierFailure::Truncated);
        assert_eq!(link.check(), Err(CarrierFailure::Truncated));
        assert_eq!(link.send(b"1"), Err(LinkRefusal::Ended));
        let last = LinkInput::Datagram(b"last".to_vec());
        assert_eq!(link.receive().await, Ok(last));
        assert_eq!(link.receive().await, Err(CarrierFailure::Truncated));
        let (mut link, carrier) = datagram_link(2, 4);
        drop(carrier);
        assert_eq!(link.receive().await, Err(CarrierFailure::Gone));
    }
}
