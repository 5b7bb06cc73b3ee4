//! What the first bytes of a datagram say before anything is decrypted.

use hedgerow_core::Reader;
use hedgerow_record::{ContentType, EpochNumber, RecordNumber};

/// Returns the length of a datagram's first record, which has no connection ID; `None` for what is
/// no such record, or is cut off.
pub(crate) fn first_record_len(datagram: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(datagram);
    let content_type = ContentType::from(reader.u8().ok()?);
    if matches!(
        content_type,
        ContentType::Unknown(_) | ContentType::Tls12Cid
    ) {
        return None;
    }
    let _version = reader.u16().ok()?;
    let _number = reader.array::<8>().ok()?;
    let _fragment = reader.vector16().ok()?;
    datagram.len().checked_sub(reader.len())
}

/// Returns the epoch of a datagram's first record; `None` for what is no record.
pub(crate) fn first_epoch(datagram: &[u8]) -> Option<EpochNumber> {
    let mut reader = Reader::new(datagram);
    let content_type = ContentType::from(reader.u8().ok()?);
    if matches!(content_type, ContentType::Unknown(_)) {
        return None;
    }
    let _version = reader.u16().ok()?;
    let number = RecordNumber::from_be_bytes(*reader.array().ok()?);
    Some(number.epoch())
}
