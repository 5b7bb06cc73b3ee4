//! Uses of what this crate must do without, each behind its feature.

#[cfg(feature = "plant-alloc")]
extern crate alloc;
#[cfg(feature = "plant-std")]
extern crate std;

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    #[cfg(feature = "plant-alloc")]
    let bytes = alloc::vec::Vec::from(bytes);
    #[cfg(feature = "plant-std")]
    std::io::Write::flush(&mut std::io::stdout()).unwrap_or_default();
    bytes.len()
}
