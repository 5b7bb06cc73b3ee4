//! What a leg is allowed and how it recovers.

use core::time::Duration;

/// Bounds and timers of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Streams at once, those that linger included. The storage's form may have room for fewer.
    pub max_streams: usize,
    /// Among them, streams that the other end opened.
    pub max_incoming: usize,
    /// Bytes of a stream that wait to be sent or acknowledged.
    pub send_buffer: u16,
    /// Bytes of a stream that wait to be read, at least [`MIN_RECEIVE_BUFFER`]. Nothing beyond is
    /// announced, nor kept.
    pub receive_buffer: u16,
    /// The longest segment in bytes, at least [`MIN_SEGMENT_LEN`]: what a datagram of the path holds, less
    /// the hop session's overhead (29 bytes with CCM_8).
    pub max_segment_len: usize,
    /// How losses are recovered.
    pub recovery: Recovery,
    /// How often a stream's timer may expire with no progress between.
    pub max_retransmit: u8,
    /// The longest time that the timer is set to.
    pub max_timeout: Duration,
    /// How long an acknowledgement waits for something to ride on.
    pub acknowledge_after: Duration,
    /// After what silence on an open stream the other end is asked whether it is still there; `None`
    /// leaves that to the application ([`Leg::ping`](crate::Leg::ping)).
    pub ping_after: Option<Duration>,
    /// How long an ended stream is remembered, from the last repetition on, to acknowledge what the other
    /// end repeats. It should outlast the other end's tries.
    pub linger: Duration,
}

/// How losses are recovered and how much may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Timers from measured round-trip times (RFC 6298) and a congestion window (RFC 5681).
    Measured {
        /// The timer before anything was measured.
        initial_timeout: Duration,
        /// The shortest timer.
        min_timeout: Duration,
        /// The congestion window to begin with, in segments.
        initial_window: u8,
    },
    /// One segment in flight and a timer that measures nothing (RFC 7252 §4.2, §4.7).
    Constrained {
        /// The timer, ACK_TIMEOUT; a random factor from 1 to 1.5 comes on top.
        timeout: Duration,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: 8,
            max_incoming: 8,
            send_buffer: 16_384,
            receive_buffer: 16_384,
            max_segment_len: 1_024,
            recovery: Recovery::Measured {
                initial_timeout: Duration::from_secs(2),
                min_timeout: Duration::from_secs(1),
                initial_window: 2,
            },
            max_retransmit: 8,
            max_timeout: Duration::from_secs(60),
            acknowledge_after: Duration::from_millis(200),
            ping_after: Some(Duration::from_secs(600)),
            linger: Duration::from_secs(247),
        }
    }
}

impl Recovery {
    /// The profile for networks of constrained nodes, with RFC 7252's ACK_TIMEOUT of 2 s.
    pub const CONSTRAINED: Self = Self::Constrained {
        timeout: Duration::from_secs(2),
    };
}

/// The shortest [`Config::max_segment_len`] in bytes: an OPEN of any kind fits.
pub const MIN_SEGMENT_LEN: usize = 48;

/// The smallest [`Config::receive_buffer`] in bytes, which an opener may count on before it has heard
/// anything.
pub const MIN_RECEIVE_BUFFER: u16 = 512;
