//! Transmission parameters and the times derived from them, RFC 7252 §4.8.

use core::time::Duration;

use hedgerow_core::CryptoRng;

/// The transmission parameters of an association (RFC 7252 §4.8), with the RFC's values as default.
///
/// Both ends must use the same values, or at least no smaller lifetimes on the receiving side: a
/// receiver that forgets a message ID before its sender stops retransmitting runs a handler twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransmissionParameters {
    /// ACK_TIMEOUT: the shortest first wait for an Acknowledgement.
    pub ack_timeout: Duration,
    /// ACK_RANDOM_FACTOR in hundredths: 150 stands for 1.5. Below 100 it counts as 100.
    pub ack_random_percent: u16,
    /// MAX_RETRANSMIT: how often a Confirmable message is sent again after the first time.
    pub max_retransmit: u8,
    /// NSTART: how many interactions may be outstanding at once. Zero counts as one.
    pub nstart: u8,
    /// PROBING_RATE: bytes per second to a peer that doesn't respond. Zero counts as one.
    pub probing_rate: u32,
    /// MAX_LATENCY: the longest time that a datagram takes.
    pub max_latency: Duration,
    /// PROCESSING_DELAY: how long a node takes to acknowledge.
    pub processing_delay: Duration,
}

impl Default for TransmissionParameters {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(2),
            ack_random_percent: 150,
            max_retransmit: 4,
            nstart: 1,
            probing_rate: 1,
            max_latency: Duration::from_secs(100),
            processing_delay: Duration::from_secs(2),
        }
    }
}

impl TransmissionParameters {
    /// Returns MAX_TRANSMIT_SPAN: the longest time from the first to the last transmission of a
    /// Confirmable message (RFC 7252 §4.8.2).
    pub fn max_transmit_span(&self) -> Duration {
        self.longest_timeout()
            .saturating_mul(doubled(self.max_retransmit).saturating_sub(1))
    }

    /// Returns MAX_TRANSMIT_WAIT: the longest time from the first transmission until the sender
    /// gives up (RFC 7252 §4.8.2).
    pub fn max_transmit_wait(&self) -> Duration {
        let transmissions = self.max_retransmit.saturating_add(1);
        self.longest_timeout()
            .saturating_mul(doubled(transmissions).saturating_sub(1))
    }

    /// Returns MAX_RTT: the longest round trip (RFC 7252 §4.8.2).
    pub fn max_rtt(&self) -> Duration {
        self.max_latency
            .saturating_mul(2)
            .saturating_add(self.processing_delay)
    }

    /// Returns EXCHANGE_LIFETIME: how long a Confirmable message's ID is in use (RFC 7252 §4.8.2).
    ///
    /// Where the last wait for an Acknowledgement is longer than a round trip, the sender's
    /// [`Self::max_transmit_wait`] decides, which the RFC's short formula leaves out.
    pub fn exchange_lifetime(&self) -> Duration {
        self.max_transmit_span()
            .saturating_add(self.max_rtt())
            .max(self.max_transmit_wait())
    }

    /// Returns NON_LIFETIME: how long a Non-confirmable message's ID is in use (RFC 7252 §4.8.2).
    pub fn non_lifetime(&self) -> Duration {
        self.max_transmit_span().saturating_add(self.max_latency)
    }

    /// Draws the first wait of a Confirmable message: ACK_TIMEOUT to ACK_TIMEOUT times
    /// ACK_RANDOM_FACTOR (RFC 7252 §4.2).
    pub fn initial_timeout(&self, rng: &mut dyn CryptoRng) -> Duration {
        let range = self.longest_timeout().saturating_sub(self.ack_timeout);
        let range = u64::try_from(range.as_micros()).unwrap_or(u64::MAX);
        // The bias of the remainder is below 2^-40 for any wait of days.
        let extra = rng.next_u64() % range.saturating_add(1).max(1);
        self.ack_timeout
            .saturating_add(Duration::from_micros(extra))
    }

    /// Returns how long `len` bytes use up the rate to a peer that doesn't respond.
    pub(crate) fn probing_time(&self, len: usize) -> Duration {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Duration::from_secs(1).saturating_mul(len) / self.probing_rate.max(1)
    }

    /// Returns ACK_TIMEOUT times ACK_RANDOM_FACTOR: the longest first wait for an Acknowledgement
    /// (RFC 7252 §4.2).
    pub fn longest_timeout(&self) -> Duration {
        self.ack_timeout
            .saturating_mul(u32::from(self.ack_random_percent.max(100)))
            / 100
    }
}

/// Returns 2 to the power of `exponent`, or the largest number.
fn doubled(exponent: u8) -> u32 {
    1_u32.checked_shl(u32::from(exponent)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rng::TestRng;

    #[test]
    fn derived_times_are_those_of_table_3() {
        let parameters = TransmissionParameters::default();
        let seconds = Duration::from_secs;
        assert_eq!(parameters.max_transmit_span(), seconds(45));
        assert_eq!(parameters.max_transmit_wait(), seconds(93));
        assert_eq!(parameters.max_rtt(), seconds(202));
        assert_eq!(parameters.exchange_lifetime(), seconds(247));
        assert_eq!(parameters.non_lifetime(), seconds(145));
    }

    #[test]
    fn long_last_wait_lengthens_the_exchange_lifetime() {
        let parameters = TransmissionParameters {
            max_retransmit: 15,
            ..TransmissionParameters::default()
        };
        assert_eq!(parameters.max_transmit_span().as_secs(), 3 * 32_767);
        assert_eq!(parameters.max_transmit_wait().as_secs(), 3 * 65_535);
        assert_eq!(parameters.exchange_lifetime().as_secs(), 3 * 65_535);
    }

    #[test]
    fn first_wait_lies_between_ack_timeout_and_its_random_factor() {
        let parameters = TransmissionParameters::default();
        let mut rng = TestRng::new(7);
        let waits: std::vec::Vec<_> = (0..1_000)
            .map(|_| parameters.initial_timeout(&mut rng).as_millis())
            .collect();
        assert!(waits.iter().all(|wait| (2_000..=3_000).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 2_100));
        assert!(waits.iter().any(|wait| *wait > 2_900));
    }

    #[test]
    fn extreme_values_saturate() {
        let parameters = TransmissionParameters {
            ack_timeout: Duration::MAX,
            ack_random_percent: u16::MAX,
            max_retransmit: u8::MAX,
            probing_rate: 0,
            ..TransmissionParameters::default()
        };
        assert_eq!(parameters.exchange_lifetime(), Duration::MAX);
        assert_eq!(parameters.probing_time(60), Duration::from_secs(60));
        parameters.initial_timeout(&mut TestRng::new(1));
    }
}
