//! Mode `itls` at the gateway (docs/specs/itls.md): which message goes on which flow of which outer session.
//! It has no key and keeps nothing of a message.

mod delivery;
mod event;
mod flow;
mod forwarder;
mod limits;
mod opening;
mod policy;
mod rate;
mod statistics;

pub use delivery::{ItlsContent, ItlsDelivery};
pub use event::{FlowEnd, FlowRecord, ItlsEvent, ItlsOutcome};
pub use forwarder::{ItlsForwarder, OuterSession};
pub use limits::ItlsLimits;
pub use policy::{ItlsParty, ItlsPolicy};
pub use statistics::ItlsStatistics;
