//! From a datagram to the stream.

use hedgerow_core::DropReason;

use super::form::{Class, EXPLICIT_NONCE_LEN, PROTECTED_EPOCH, StreamHeader, TranslateForm};
use crate::{
    ContentType, DTLS_1_0, DTLS_1_2, DtlsRecord, EpochNumber, Error, RECORD_HEADER_LEN,
    RecordNumber,
};

/// What of a datagram doesn't go on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DroppedFromDatagram {
    /// Why.
    pub reason: DropReason,
    /// The length of what was dropped, in bytes, header and all.
    pub len: usize,
}

/// Turns a datagram into what the stream carries of it, in the same place, and returns its length:
/// never more than the datagram's, and 0 if nothing is left. The records stay one datagram.
///
/// Each record that can't be carried is handed to `dropped` with its reason: one with a connection
/// ID, of an epoch above 1, in a version that isn't DTLS 1.2's, protected in the short form under
/// a nonce that isn't its number, or one that doesn't decode.
pub fn datagram_to_stream(
    form: TranslateForm,
    datagram: &mut [u8],
    mut dropped: impl FnMut(DroppedFromDatagram),
) -> usize {
    let total = datagram.len();
    let (mut read, mut written) = (0_usize, 0_usize);
    let mut last: Option<(usize, StreamHeader)> = None;
    while read < total {
        let (found, len) = match front(form, datagram.get_mut(read..).unwrap_or_default()) {
            Front::Record { header, len } => (Ok(header), len),
            Front::Unfit { reason, len } => (Err(reason), len),
            Front::Broken { reason } => (Err(reason), total.saturating_sub(read)),
        };
        let behind = read.saturating_add(len);
        match found {
            Err(reason) => dropped(DroppedFromDatagram { reason, len }),
            Ok(header) => {
                if let Some((at, before)) = last.take() {
                    let more = StreamHeader {
                        has_more: true,
                        ..before
                    };
                    put(datagram, at, more);
                }
                // A header on the stream is never longer than in a datagram, so that nothing is
                // overwritten that has not been read, and both ranges lie in the datagram.
                let fragment = read.saturating_add(RECORD_HEADER_LEN);
                let to = written.saturating_add(form.header_len());
                datagram.copy_within(fragment..behind, to);
                put(datagram, written, header);
                last = Some((written, header));
                written = to.saturating_add(header.fragment_len);
            }
        }
        read = behind;
    }
    written
}

/// Says whether a datagram has a record of epoch 1, of which a handshake's Finished is the first.
pub fn has_protected_record(datagram: &mut [u8]) -> bool {
    has_protected(datagram, |_| true)
}

/// Says whether a datagram has application data of epoch 1. A server that resumes a session sends its
/// Finished in epoch 1 before its client has proved anything (RFC 5246 §7.3); it is asked for nothing,
/// and so says nothing, before the client has.
pub fn has_application_data(datagram: &mut [u8]) -> bool {
    has_protected(datagram, |content_type| {
        content_type == ContentType::ApplicationData
    })
}

fn has_protected(datagram: &mut [u8], is_wanted: impl Fn(ContentType) -> bool) -> bool {
    let mut rest = datagram;
    while let Ok((record, behind)) = DtlsRecord::decode(rest) {
        if record.number.epoch() == PROTECTED_EPOCH && is_wanted(record.content_type) {
            return true;
        }
        rest = behind;
    }
    false
}

/// What stands at the front of a datagram's rest.
enum Front {
    Record {
        header: StreamHeader,
        len: usize,
    },
    Unfit {
        reason: DropReason,
        len: usize,
    },
    /// What is behind it can't be found.
    Broken {
        reason: DropReason,
    },
}

fn front(form: TranslateForm, rest: &mut [u8]) -> Front {
    let record = match DtlsRecord::decode(rest) {
        Ok((record, _)) => record,
        Err(Error::UnexpectedConnectionId) => {
            return Front::Broken {
                reason: DropReason::ConnectionIdMismatch,
            };
        }
        Err(_) => {
            return Front::Broken {
                reason: DropReason::Malformed,
            };
        }
    };
    let len = RECORD_HEADER_LEN.saturating_add(record.fragment.len());
    match class(form, &record) {
        Ok(class) => Front::Record {
            header: StreamHeader {
                content_type: record.content_type,
                class,
                fragment_len: record.fragment.len(),
                has_more: false,
            },
            len,
        },
        Err(reason) => Front::Unfit { reason, len },
    }
}

fn class(form: TranslateForm, record: &DtlsRecord<'_>) -> Result<Class, DropReason> {
    check_number(record.content_type, record.version.0, record.number)?;
    match form {
        TranslateForm::Long => Ok(Class::Numbered(record.version, record.number)),
        TranslateForm::Short if record.number.epoch() == EpochNumber(0) => {
            Ok(Class::Clear(record.version))
        }
        TranslateForm::Short => {
            let nonce = record.fragment.first_chunk::<EXPLICIT_NONCE_LEN>();
            let nonce = nonce.ok_or(DropReason::Malformed)?;
            // MUST (RFC 7925 §B): the explicit nonce of CCM is epoch and sequence number. Only so
            // does a header without them lose nothing.
            if *nonce != record.number.to_be_bytes() {
                return Err(DropReason::NonceNotRecordNumber);
            }
            Ok(Class::Protected)
        }
    }
}

/// What both ways refuse, whatever the form.
pub(super) fn check_number(
    content_type: ContentType,
    version: u16,
    number: RecordNumber,
) -> Result<(), DropReason> {
    if content_type == ContentType::Tls12Cid {
        return Err(DropReason::ConnectionIdMismatch);
    }
    if number.epoch() > PROTECTED_EPOCH {
        return Err(DropReason::UnexpectedEpoch);
    }
    let is_clear = number.epoch() == EpochNumber(0);
    if version != DTLS_1_2.0 && !(is_clear && version == DTLS_1_0.0) {
        return Err(DropReason::UnsupportedVersion);
    }
    Ok(())
}

fn put(datagram: &mut [u8], at: usize, header: StreamHeader) {
    let (bytes, len) = header.encode();
    let place = datagram.get_mut(at..).unwrap_or_default();
    for (to, from) in place.iter_mut().zip(bytes.iter().take(len)) {
        *to = *from;
    }
}
