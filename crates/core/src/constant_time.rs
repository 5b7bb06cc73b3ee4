//! Comparison whose time does not depend on where two values differ.

use subtle::ConstantTimeEq;

/// Compares two byte strings in a time that depends on their lengths alone.
///
/// Tags, cookies and verify data are compared with this function, never with `==`.
#[must_use]
pub fn ct_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::ct_eq;

    #[test]
    fn equal_bytes_are_equal_and_others_are_not() {
        assert!(ct_eq(b"", b""));
        assert!(ct_eq(b"cookie", b"cookie"));
        assert!(!ct_eq(b"cookie", b"cookiE"));
        assert!(!ct_eq(b"cookie", b"cookies"));
    }
}
