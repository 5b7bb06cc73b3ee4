//! The algorithms of a node: those of `hedgerow-crypto-ring`, and a key log where there is one.

use hedgerow_core::KeyLogging;
use hedgerow_crypto_ring::RingCrypto;

use crate::KeyLogFile;

/// `RingCrypto`, with the node's key log.
pub(crate) type NodeCrypto = KeyLogging<RingCrypto, KeyLogFile>;

/// Returns the algorithms with a log, or without.
pub(crate) const fn with_key_log(log: Option<KeyLogFile>) -> NodeCrypto {
    KeyLogging::new(RingCrypto, log)
}
