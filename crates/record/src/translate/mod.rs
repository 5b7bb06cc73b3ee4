//! DTLS records in the framing of a TLS stream: mode `translate` (docs/specs/translate.md).
//!
//! Internet end and gateway do the same with records: [`datagram_to_stream`] one way,
//! [`StreamToDatagrams`] the other. Neither has a key.

mod form;
mod from_stream;
mod notice;
mod preface;
mod to_stream;

pub use form::TranslateForm;
pub use from_stream::{FromStream, StreamToDatagrams};
pub use notice::{MAX_NOTICE_LEN, TranslateNotice};
pub use preface::{
    ANSWER_LEN, MAX_DEVICE_NAME_LEN, MAX_PREFACE_LEN, RequestedForm, TranslateAnswer,
    TranslatePreface, TranslateStatus,
};
pub use to_stream::{
    DroppedFromDatagram, datagram_to_stream, has_application_data, has_protected_record,
};
