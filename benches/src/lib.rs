//! What is measured, once for criterion (`benches/`) and once for the table of ratios
//! (`src/bin/ratios.rs`): each job of ours, and the same job by the libraries that it is compared
//! with.
//!
//! Nothing here is part of the product, and a failure panics.

pub mod aead;
pub mod child;
pub mod codec;
pub mod devices;
pub mod endpoint;
pub mod ends;
pub mod forwarding;
pub mod handshake;
pub mod load;
pub mod matrix;
pub mod openssl_dtls;
pub mod record;
pub mod resumed;
pub mod rounds;
pub mod suites;
pub mod versions;
pub mod ways;
