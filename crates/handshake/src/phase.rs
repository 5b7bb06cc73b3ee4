//! What the handshakes of both ends and both framings have in common: the order of the phases from
//! the keys on, Finished, and what alerts mean.

use hedgerow_core::{CryptoProvider, DropReason, Env, Peer, PeerFault, ct_eq};
use hedgerow_record::{Alert, AlertDescription, AlertLevel, CipherSuite};

use crate::exporter::Exporter;
use crate::key_schedule::{ConnectionEnd, MasterSecret, SecurityParameters, VERIFY_DATA_LEN};
use crate::message::Message;
use crate::outgoing::Outgoing;
use crate::transcript::Transcript;

/// How far a handshake has come, and what is valid then. `E` are the states before the keys, `O`
/// opens the peer's records.
pub(crate) enum Phase<P: CryptoProvider, E, O> {
    /// The messages before the keys, which differ between the ends.
    Early(E),
    ExpectChangeCipherSpec(Keyed<P, O>),
    ExpectFinished(Keyed<P, O>),
    Established(Done<P, O>),
    Failed,
}

impl<P: CryptoProvider, E, O> Phase<P, E, O> {
    pub(crate) const fn is_established(&self) -> bool {
        matches!(self, Self::Established(_))
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(self, Self::Established(_) | Self::Failed)
    }

    pub(crate) const fn is_keyed(&self) -> bool {
        matches!(
            self,
            Self::ExpectChangeCipherSpec(_) | Self::ExpectFinished(_)
        )
    }
}

/// What there is once the keys are derived, beside the sealer, which the flights have.
pub(crate) struct Keyed<P: CryptoProvider, O> {
    /// Who the peer is, once its Finished has verified. `None` where the key is the dummy.
    pub(crate) peer: Option<Peer>,
    pub(crate) parameters: SecurityParameters,
    /// All messages before the peer's Finished.
    pub(crate) transcript: Transcript<P>,
    pub(crate) master: MasterSecret<P>,
    pub(crate) opener: O,
}

/// What makes the session once the peer's Finished has verified.
pub(crate) struct Done<P: CryptoProvider, O> {
    pub(crate) peer: Peer,
    pub(crate) suite: CipherSuite,
    pub(crate) application_protocol: Option<&'static [u8]>,
    pub(crate) opener: O,
    pub(crate) exporter: Exporter<P>,
    /// The body of the Finished that this end still has to send, if its peer's came first.
    pub(crate) verify_data: Option<[u8; VERIFY_DATA_LEN]>,
}

/// One end up to the keys. From there on the ends differ by [`Self::END`] alone.
pub(crate) trait Role<P: CryptoProvider, E> {
    const END: ConnectionEnd;

    /// Handles the message whose turn it is and returns the next phase.
    fn handle_message<O: Outgoing<P>>(
        &mut self,
        state: E,
        env: &mut Env<'_>,
        outgoing: &mut O,
        message: &Message<'_>,
    ) -> Result<Phase<P, E, O::Opener>, AlertDescription>;
}

impl<P: CryptoProvider, O> Keyed<P, O> {
    /// Ends the handshake of `end` with its peer's Finished.
    pub(crate) fn handle_finished(
        mut self,
        end: ConnectionEnd,
        message: &Message<'_>,
    ) -> Result<Done<P, O>, AlertDescription> {
        if message.body.len() != VERIFY_DATA_LEN {
            return Err(AlertDescription::DECODE_ERROR);
        }
        let expected = self
            .master
            .derive_verify_data(end.peer(), &self.transcript.hash());
        // MUST (RFC 5246 §7.4.9): a Finished that doesn't fit ends the handshake.
        if !ct_eq(message.body, &expected) {
            return Err(AlertDescription::DECRYPT_ERROR);
        }
        let peer = self.peer.ok_or(AlertDescription::DECRYPT_ERROR)?;
        let verify_data = match end {
            ConnectionEnd::Client => None,
            ConnectionEnd::Server => {
                self.transcript.add_message(message);
                Some(self.master.derive_verify_data(end, &self.transcript.hash()))
            }
        };
        Ok(Done {
            peer,
            suite: self.parameters.suite,
            application_protocol: self.parameters.application_protocol,
            opener: self.opener,
            exporter: self.master.into_exporter(&self.parameters),
            verify_data,
        })
    }
}

/// Says what an alert during the handshake of `end` means: the reason to drop it, or how it ends
/// the handshake.
///
/// A server's alert is under the client's keys, so the client can only have sent it after its
/// Finished. `is_keyed` says whether this end has derived its keys.
pub(crate) fn handle_alert(
    alert: Alert,
    end: ConnectionEnd,
    is_keyed: bool,
    authenticated: bool,
) -> Result<DropReason, PeerFault> {
    let description = alert.description;
    if alert.level == AlertLevel::Warning && description != AlertDescription::CLOSE_NOTIFY {
        return Ok(DropReason::IgnoredAlert);
    }
    let refuses_credentials = matches!(
        description,
        AlertDescription::BAD_RECORD_MAC
            | AlertDescription::DECRYPT_ERROR
            | AlertDescription::UNKNOWN_PSK_IDENTITY
    );
    let has_used_credentials = end == ConnectionEnd::Client && is_keyed;
    Err(if refuses_credentials && has_used_credentials {
        PeerFault::CredentialsRefused
    } else {
        PeerFault::AlertReceived {
            description: description.0,
            authenticated,
        }
    })
}
