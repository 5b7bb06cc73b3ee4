//! [`SoftCrypto`](hedgerow_crypto_soft::SoftCrypto) passes the suite that every provider passes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[macro_use]
mod conformance;

conformance_tests!(hedgerow_crypto_soft::SoftCrypto);
