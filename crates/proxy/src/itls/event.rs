//! What comes out of a forwarder.

use std::time::Duration;

use hedgerow_core::DropReason;
use hedgerow_itls::CloseReason;

use super::delivery::ItlsDelivery;
use super::policy::ItlsParty;

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum ItlsOutcome<'m> {
    /// It goes on, or is answered.
    Deliver(ItlsDelivery<'m>),
    /// The flow is open and waits for a session with this device, which is to be begun:
    /// [`begin_session`](super::ItlsForwarder::begin_session) or
    /// [`unreachable`](super::ItlsForwarder::unreachable) is to follow.
    Await {
        /// The device.
        device: usize,
    },
    /// The flow it closed is gone, and there is nobody to tell.
    Closed,
    /// It was dropped.
    Dropped(DropReason),
}

/// Something for the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItlsEvent {
    /// A flow was opened.
    Opened(FlowRecord),
    /// A flow has ended.
    Closed {
        /// What it was, and carried.
        record: FlowRecord,
        /// Why it ended.
        end: FlowEnd,
        /// How long it was there.
        lasted: Duration,
    },
    /// A flow was not opened.
    Refused {
        /// Who wanted it.
        from: ItlsParty,
        /// What it was told.
        reason: CloseReason,
    },
}

/// Who talks on a flow, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// The device.
    pub device: usize,
    /// The Internet end's user.
    pub user: usize,
    /// Whether the device opened it.
    pub is_of_device: bool,
    /// Messages passed on to the device.
    pub to_device: u64,
    /// Messages passed on to the Internet end.
    pub to_user: u64,
    /// Of all these, messages that came from the device in datagrams of the light outer layer.
    pub light: u64,
    /// Messages that were not passed on.
    pub dropped: u64,
}

/// Why a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// This end closed it.
    ClosedBy(ItlsParty, CloseReason),
    /// The outer session of this end is over.
    SessionOver(ItlsParty),
    /// No message came for too long.
    Idle,
    /// The device can't be had, or has no place for one more flow.
    Unreachable,
}
