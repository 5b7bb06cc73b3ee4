//! What one connection may take.

/// The limits of a connection. It keeps at most `max_head_len` and `max_body_len` bytes of what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request line with all fields, in bytes; more is 431.
    pub max_head_len: usize,
    /// The most fields; more is 431.
    pub max_fields: usize,
    /// The most segments of a path and arguments of a query together, which become options; more is 414.
    pub max_options: usize,
    /// The longest body, in bytes; more is 413.
    pub max_body_len: usize,
}

impl Default for Limits {
    /// 2 KiB of head, 32 fields, 32 options, 4 KiB of body.
    fn default() -> Self {
        Self {
            max_head_len: 2_048,
            max_fields: 32,
            max_options: 32,
            max_body_len: 4_096,
        }
    }
}
