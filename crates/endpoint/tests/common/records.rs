//! What a gateway without keys knows of DTLS records, and writes itself.

#![allow(dead_code, unreachable_pub)]

/// Whether a record is under the keys of a session's first epoch.
pub fn is_protected(record: &[u8]) -> bool {
    record[1..5] == [0xfe, 0xfd, 0, 1]
}

/// The same of a record in a stream that a gateway translates, in either form.
pub fn is_protected_in_stream(record: &[u8]) -> bool {
    record[1..3] == [3, 3] || is_protected(record)
}
