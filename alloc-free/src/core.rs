//! `hedgerow-core`: cursors, secrets, comparison.

use hedgerow_core::{Reader, Secret, Writer, ct_eq};

pub(crate) fn enter(bytes: &mut [u8]) -> usize {
    let mut reader = Reader::new(bytes);
    let secret = Secret::<16>::fill_with(|secret| {
        if let Ok(read) = reader.array() {
            *secret = *read;
        }
    });
    let is_equal = reader
        .vector16()
        .is_ok_and(|tag| ct_eq(tag, secret.expose()));
    let mut writer = Writer::new(bytes);
    let written = writer
        .u8(u8::from(is_equal))
        .and_then(|()| writer.nested16(|inner| inner.bytes(secret.expose())));
    written.map_or(0, |()| writer.len())
}
