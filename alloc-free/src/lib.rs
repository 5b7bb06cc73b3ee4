//! Calls the main entry points of the crates that promise to run without an allocator.
//!
//! It builds only if none of them needs `std` (the panic handler would be there twice) or `alloc`
//! (there is no global allocator). Nothing runs: what counts is that all of it is compiled to code.
//!
//! To add a crate: its dependency with `default-features = false`, a module of its name with one
//! function that takes untrusted bytes through its entry points, and a line in [`ENTRY_POINTS`].
#![no_std]

mod coap;
mod core;
mod counting_rng;
mod crypto_soft;
mod exchange;
mod handshake;
mod itls;
mod leg;
mod plants;
mod record;

use ::core::panic::PanicInfo;

/// One function a crate. A static that is kept makes the compiler generate all that it reaches;
/// exporting the functions by name would need an unsafe attribute.
#[used]
static ENTRY_POINTS: &[fn(&mut [u8]) -> usize] = &[
    coap::enter,
    core::enter,
    crypto_soft::enter,
    exchange::enter,
    handshake::enter,
    itls::enter,
    leg::enter,
    plants::enter,
    record::enter,
];

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
