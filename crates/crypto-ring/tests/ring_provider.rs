//! [`RingCrypto`](hedgerow_crypto_ring::RingCrypto) passes the suite that every provider passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[macro_use]
#[path = "../../crypto-soft/tests/conformance/mod.rs"]
mod conformance;

conformance_tests!(hedgerow_crypto_ring::RingCrypto);
