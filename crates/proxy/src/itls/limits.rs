//! What flows may take.

use std::time::Duration;

/// What flows may take (docs/specs/itls.md, "The gateway's part").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItlsLimits {
    /// Flows at the same time.
    pub flows: usize,
    /// Flows of one outer session at the same time, whoever opened them.
    pub flows_per_session: usize,
    /// Flows of one user with one device at the same time, whoever opened them, over all sessions: nobody takes
    /// all of a device's.
    pub flows_per_pair: usize,
    /// Flows that one end may open at once, over all its sessions. What is refused counts too, so that names
    /// can't be tried out.
    pub openings: u32,
    /// After which time it may open one more.
    pub opening_interval: Duration,
    /// How long a flow without a message is kept.
    pub idle_timeout: Duration,
    /// Messages to a device that one user may send at once, on all flows of the two: nobody takes all of a device's.
    pub messages: u32,
    /// How many more a second.
    pub messages_per_second: u32,
    /// Messages to a device that all users together may send at once.
    pub device_messages: u32,
    /// How many more a second.
    pub device_messages_per_second: u32,
    /// Whether the light outer layer is asked for, and agreed to where it is asked for.
    pub light_layer: bool,
}

impl Default for ItlsLimits {
    /// 256 flows, 16 a session, 4 of a user with a device, 10 opened and 1 more in 10 s, an hour without a message, 50
    /// messages and 25 a second, 100 and 50 to a device, no light layer.
    fn default() -> Self {
        Self {
            flows: 256,
            flows_per_session: 16,
            flows_per_pair: 4,
            openings: 10,
            opening_interval: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3_600),
            messages: 50,
            messages_per_second: 25,
            device_messages: 100,
            device_messages_per_second: 50,
            light_layer: false,
        }
    }
}
