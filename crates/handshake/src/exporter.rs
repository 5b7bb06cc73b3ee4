//! Keying material for other protocols, bound to one connection (RFC 5705).

use core::fmt;

use hedgerow_core::{CryptoProvider, Misuse};
use hedgerow_record::Random;

use crate::prf::prf;

/// What TLS and DTLS use the PRF for themselves (RFC 5705 §4, RFC 7627 §4).
const RESERVED_LABELS: [&[u8]; 5] = [
    b"client finished",
    b"server finished",
    b"master secret",
    b"extended master secret",
    b"key expansion",
];

/// Exports keying material of one connection: both ends get the same bytes for the same label and
/// context, and no other connection does.
///
/// It comes with the session and holds the master secret, so it is to be dropped once the material
/// is had.
pub struct Exporter<P: CryptoProvider> {
    pub(crate) keyed: P::HmacSha256,
    pub(crate) client_random: Random,
    pub(crate) server_random: Random,
    pub(crate) has_extended_master_secret: bool,
}

impl<P: CryptoProvider> Exporter<P> {
    /// Fills `output` with keying material for `label`, by convention one that begins with
    /// `EXPORTER` or `EXPERIMENTAL` (RFC 5705 §4). No context and an empty one differ.
    ///
    /// # Errors
    ///
    /// [`Misuse::ExporterUnavailable`] if the master secret doesn't cover the handshake (RFC 7627
    /// §5.4), [`Misuse::ReservedLabel`] for a label of the protocol's own,
    /// [`Misuse::BufferTooSmall`] for a context longer than 65,535 bytes.
    pub fn export(
        &self,
        label: &[u8],
        context: Option<&[u8]>,
        output: &mut [u8],
    ) -> Result<(), Misuse> {
        // MUST (RFC 7627 §5.4): without the extended master secret the material isn't bound to this
        // connection.
        if !self.has_extended_master_secret {
            return Err(Misuse::ExporterUnavailable);
        }
        if RESERVED_LABELS.contains(&label) {
            return Err(Misuse::ReservedLabel);
        }
        let randoms: [&[u8]; 2] = [&self.client_random, &self.server_random];
        let [client_random, server_random] = randoms;
        match context {
            None => prf(&self.keyed, label, &randoms, output),
            Some(context) => {
                let len = u16::try_from(context.len()).map_err(|_| Misuse::BufferTooSmall {
                    needed: context.len(),
                    available: usize::from(u16::MAX),
                })?;
                let len = len.to_be_bytes();
                let seed = [client_random, server_random, &len, context];
                prf(&self.keyed, label, &seed, output);
            }
        }
        Ok(())
    }
}

/// Nothing of what it holds.
impl<P: CryptoProvider> fmt::Debug for Exporter<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(..)")
    }
}
