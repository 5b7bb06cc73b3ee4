//! Bytes that must not outlive their use.

use core::fmt;

use zeroize::Zeroize;

/// `N` secret bytes: zeroed on drop, printed as `Secret(..)`, neither cloned nor compared.
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Makes `N` zero bytes, for [`Self::expose_mut`] to fill in place.
    pub const fn zeroed() -> Self {
        Self([0; N])
    }

    /// Runs `fill` over `N` zero bytes, so that the secret never stands anywhere else.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self::zeroed();
        fill(&mut secret.0);
        secret
    }

    /// Lends the bytes.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Lends the bytes for writing.
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::Secret;

    #[test]
    fn secret_prints_no_byte_of_itself() {
        let secret = Secret::<4>::fill_with(|bytes| bytes.copy_from_slice(&[0xde, 0xad, 1, 2]));
        assert_eq!(secret.expose(), &[0xde, 0xad, 1, 2]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
