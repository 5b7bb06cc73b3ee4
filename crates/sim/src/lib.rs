//! What Hedgerow's tests repeat a run with: [`for_each_seed`] names the seed of a failing run,
//! [`TestRng`] is the randomness of a seed, and [`Address`] stands for a socket address.
//!
//! It has no part in a product: everything in it can be foretold from the seed.
//!
//! # Example
//!
//! ```
//! use hedgerow_core::CryptoRng;
//! use hedgerow_sim::{TestRng, for_each_seed};
//!
//! fn draw(rng: &mut dyn CryptoRng) -> u64 {
//!     rng.next_u64()
//! }
//!
//! for_each_seed(0..10, |seed| {
//!     assert_eq!(draw(&mut TestRng::new(seed)), draw(&mut TestRng::new(seed)));
//! });
//! ```
//!
//! # Features
//!
//! None. The crate needs std.

mod address;
mod rng;
mod seeds;

pub use address::Address;
pub use rng::TestRng;
pub use seeds::for_each_seed;
