//! What is known of an inner session (mode `itls`).

use hedgerow_core::Peer;
use hedgerow_itls::Suite;

/// An inner session that is established with the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InnerSession {
    /// Its suite.
    pub suite: Suite,
    /// Who the far end is.
    pub peer: Peer,
    /// Whether a key that becomes known later leaves recordings shut.
    pub has_forward_secrecy: bool,
}
