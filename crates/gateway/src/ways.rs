//! Ways to devices through another gateway, which can't read what goes there.

use std::fmt;
use std::sync::Arc;

use hedgerow_core::{ChannelError, PeerFault, SecurityMode};
use hedgerow_exchange::RequestError;
use hedgerow_net::{
    Credentials, ForwardSecrecy, NodeConfig, Passage, PassageNode, RequestFailure, RequestMessage,
    ResponseMessage, SecurityPolicy,
};
use hedgerow_proxy::GatewayRefusal;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// How all devices are reached, where it isn't straight: through another gateway, with end-to-end keys
/// that it hasn't ([`Config::via`](crate::Config::via)).
#[derive(Clone, Debug)]
pub struct Via {
    /// The gateway, and the mode in which it hands on what it can't read.
    pub passage: Passage,
    /// Whether devices without a suite with forward secrecy are spoken to.
    pub forward_secrecy: ForwardSecrecy,
}

/// The ways to devices, each opened when it is first needed, and anew when it has ended or led nowhere.
pub(crate) struct Ways {
    passage: Passage,
    node: NodeConfig,
    open: Vec<Mutex<Place>>,
}

/// What there is of a way to one device.
#[derive(Default)]
struct Place {
    node: Option<PassageNode>,
    /// How many were opened, which tells one from another.
    opened: u64,
}

impl Ways {
    /// Makes room for so many devices; a way has the node's configuration, but for its policy.
    pub(crate) fn new(via: Via, node: NodeConfig, devices: usize) -> Self {
        let policy = SecurityPolicy::new(SecurityMode::MultiKey);
        Self {
            passage: via.passage,
            node: node.with_security(policy.for_end_to_end(via.forward_secrecy)),
            open: (0..devices).map(|_| Mutex::default()).collect(),
        }
    }

    /// Asks the device at an index of the configuration. What isn't answered by the deadline ends in
    /// [`RequestError::ResponseTimeout`].
    pub(crate) async fn request(
        &self,
        index: usize,
        (host, port): (&str, u16),
        credentials: Option<&Arc<Credentials>>,
        request: RequestMessage,
        deadline: Instant,
    ) -> Result<ResponseMessage, RequestFailure> {
        let place = self.open.get(index).ok_or(RequestFailure::NodeStopped)?;
        let (node, opened) = {
            // Held while a way opens, so that one serves all who wait for it. Other devices have
            // places of their own.
            let mut place = place.lock().await;
            let node = match place.node.as_ref().filter(|node| !node.has_ended()) {
                Some(node) => node.clone(),
                None => {
                    let open = self.passage.open(host, port, self.node.clone()).await?;
                    place.opened = place.opened.wrapping_add(1);
                    place.node.insert(open.node).clone()
                }
            };
            (node, place.opened)
        };
        let asked = timeout_at(deadline, node.request(credentials, request)).await;
        let outcome = asked.unwrap_or(Err(RequestError::ResponseTimeout.into()));
        // Whoever opens another way just now has the place, and needs nothing of this one.
        if outcome.as_ref().is_err_and(|failure| is_silence(*failure))
            && let Ok(mut place) = place.try_lock()
            && place.opened == opened
        {
            // The gateway may be gone without a word: the next request goes another way. What waits on
            // this one keeps it until it is over, and then its session is closed.
            place.node = None;
        }
        outcome
    }

    /// Says whether a request ended in what a gateway says that hands TLS connections on, and what that means. It is
    /// in clear, as the device's own word before there is a session would be: neither is taken for the other's.
    pub(crate) const fn refusal(&self, failure: RequestFailure) -> Option<GatewayRefusal> {
        match (&self.passage, failure) {
            (
                Passage::Adapted(_),
                RequestFailure::Channel(ChannelError::Peer(PeerFault::AlertReceived {
                    description,
                    authenticated: false,
                })),
            ) => Some(GatewayRefusal::AlertInClear { description }),
            _ => None,
        }
    }

    /// Closes all sessions in order.
    pub(crate) async fn close(&self) {
        for place in &self.open {
            if let Some(node) = place.lock().await.node.take() {
                node.close().await;
            }
        }
    }
}

impl fmt::Debug for Ways {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways = formatter.debug_struct("Ways");
        ways.field("passage", &self.passage).finish_non_exhaustive()
    }
}

/// Says whether nobody answered, which may be the device's doing or the way's, or the way has ended. The gateway may be
/// elsewhere by now, so that its name is asked for again.
const fn is_silence(failure: RequestFailure) -> bool {
    matches!(
        failure,
        RequestFailure::Carrier(_)
            | RequestFailure::Exchange(
                RequestError::AcknowledgementTimeout | RequestError::ResponseTimeout
            )
            | RequestFailure::Channel(ChannelError::Peer(
                PeerFault::HandshakeTimeout | PeerFault::Unresponsive
            ))
    )
}
