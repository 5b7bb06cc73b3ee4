//! CoAP exchanges.
#![no_std]
#![expect(
    dead_code,
    reason = "the machine over these parts follows in the next commit"
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod deduplication;
mod keyed_hash;
mod message_ids;
mod storage;
#[cfg(test)]
mod test_rng;
mod tokens;
mod transmission_parameters;

pub use storage::Storage;
pub use storage::fixed::Fixed;
#[cfg(feature = "alloc")]
pub use storage::heap::Heap;
pub use tokens::TokenKind;
pub use transmission_parameters::TransmissionParameters;
