//! What names an outer session.

use core::fmt;

use hedgerow_core::ct_eq;

/// The exporter's label for [`OuterBinding`], without context (RFC 5705 §4).
pub const OUTER_BINDING_LABEL: &[u8] = b"EXPORTER-hedgerow-itls";

/// Length of an [`OuterBinding`], in bytes.
pub const OUTER_BINDING_LEN: usize = 32;

/// What the exporter of an outer session gives for [`OUTER_BINDING_LABEL`]: no other session has it.
///
/// Its bytes travel in the inner hellos, and the gateway knows them.
#[derive(Clone, Copy)]
pub struct OuterBinding([u8; OUTER_BINDING_LEN]);

impl OuterBinding {
    /// Takes what the exporter gave.
    pub const fn new(exported: [u8; OUTER_BINDING_LEN]) -> Self {
        Self(exported)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; OUTER_BINDING_LEN] {
        &self.0
    }

    /// Says whether another one is that of the same session.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        ct_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for OuterBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OuterBinding(..)")
    }
}
