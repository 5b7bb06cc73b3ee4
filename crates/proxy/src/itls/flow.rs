//! One flow: what the gateway keeps of it.

use hedgerow_core::Instant;
use hedgerow_itls::{Control, Open};

use super::delivery::{ItlsContent, ItlsDelivery};
use super::event::FlowRecord;
use super::forwarder::OuterSession;
use super::policy::{ItlsParty, ItlsPolicy};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) opener: Side,
    pub(super) other: Other,
    pub(super) record: FlowRecord,
    pub(super) opened_at: Instant,
    pub(super) used_at: Instant,
    /// The time under which `idle` has it.
    pub(super) armed: Instant,
}

/// One of the two flows that belong together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) session: OuterSession,
    pub(super) number: u16,
    pub(super) light: Light,
}

#[derive(Debug)]
pub(super) enum Other {
    /// The device has no session yet. What its OPEN will carry waits.
    Awaited { device: usize, message: Vec<u8> },
    /// The flow there.
    Open(Side),
}

/// Whether a hop's light outer layer is used for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Light {
    /// Nobody asked for it, or this gateway doesn't agree.
    Off,
    /// This gateway asked, and the end has not shown yet that it agrees.
    Asked,
    /// Both agree.
    Agreed,
}

impl Flow {
    /// Returns its sides, the opener's first.
    pub(super) fn sides(&self) -> impl Iterator<Item = Side> + use<> {
        let other = match &self.other {
            Other::Open(side) => Some(*side),
            Other::Awaited { .. } => None,
        };
        std::iter::once(self.opener).chain(other)
    }

    /// Returns the flow's side that isn't at a session, if it has one yet.
    pub(super) fn side_opposite(&self, session: OuterSession) -> Option<Side> {
        match &self.other {
            _ if self.opener.session != session => Some(self.opener),
            Other::Open(side) => Some(*side),
            Other::Awaited { .. } => None,
        }
    }

    pub(super) fn side_mut(&mut self, session: OuterSession) -> Option<&mut Side> {
        match &mut self.other {
            _ if self.opener.session == session => Some(&mut self.opener),
            Other::Open(side) => Some(side),
            Other::Awaited { .. } => None,
        }
    }

    /// Returns the OPEN to the end that didn't open it, with the name of the one that did.
    pub(super) fn open_delivery<'m>(
        &self,
        policy: &'m ItlsPolicy,
        message: &'m [u8],
    ) -> Option<ItlsDelivery<'m>> {
        let Other::Open(to) = &self.other else {
            return None;
        };
        let asks = match self.record.is_of_device {
            true => ItlsParty::Device(self.record.device),
            false => ItlsParty::User(self.record.user),
        };
        Some(ItlsDelivery {
            to: to.session,
            flow: to.number,
            content: ItlsContent::Control(Control::Open(Open {
                wants_light_layer: to.light != Light::Off,
                name: policy.name(asks).as_bytes(),
                message,
            })),
            has_light_layer: false,
        })
    }
}
