//! TLS records under DTLS's headers and back: mode `translate`, the device adapts
//! (docs/specs/translate-device.md, form `dtls`).
//!
//! [`TlsToDtlsForm`] goes one way, [`DtlsFormToTls`] the other; gateway and device need one of each. Neither
//! has a key. Both read and write pieces of any length, and keep no more than a header.

mod application;
mod form;
mod message;
mod pending;
mod to_dtls_form;
mod to_tls;

pub use application::StreamApplication;
pub use form::LegForm;
pub use message::MAX_FORM_FRAGMENT_LEN;
pub use pending::Mapped;
pub use to_dtls_form::TlsToDtlsForm;
pub use to_tls::DtlsFormToTls;
