//! DTLS 1.2 and TLS 1.2 on the wire: records and their protection (RFC 6347 §4.1, RFC 5246 §6.2),
//! connection IDs (RFC 9146), limits of a record's size (RFC 8449, RFC 6066 §4), the replay window (RFC 6347 §4.1.2.6), handshake framing (§4.2.2, RFC 5246 §7.4),
//! HelloVerifyRequest (RFC 6347 §4.2.1) and views of the hellos (RFC 5246 §7.4.1) and of the
//! messages about certificates and raw public keys (§7.4.2, RFC 7250), alerts (§7.2) and the cipher
//! suites' record parameters. For the mode `translate` DTLS records in the framing of a stream, and the preface
//! of such a connection (docs/specs/translate.md), and TLS records under DTLS's headers
//! (docs/specs/translate-device.md).
//!
//! It holds no handshake state, no timer and no algorithm: sealing and opening take a cipher from
//! a [`CryptoProvider`](hedgerow_core::CryptoProvider). The group record belongs here and is not
//! there yet.
//!
//! # Example
//!
//! ```
//! use hedgerow_record::{ContentType, DtlsRecord};
//!
//! let mut datagram = *b"\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x07\x00\x02\x01\x00";
//! let (record, rest) = DtlsRecord::decode(&mut datagram)?;
//! assert_eq!(record.content_type, ContentType::Alert);
//! assert_eq!(record.number.sequence_number(), 7);
//! assert_eq!(record.fragment, [1, 0]);
//! assert!(rest.is_empty());
//! # Ok::<(), hedgerow_record::Error>(())
//! ```
//!
//! # Features
//!
//! None. The crate never needs an allocator.
#![no_std]
#![cfg_attr(test, allow(clippy::as_conversions))]

#[cfg(test)]
extern crate std;

mod adapt;
mod alert;
mod certificate;
mod certificate_types;
mod cipher_suite;
mod client_hello;
mod connection_id;
mod content_type;
mod digitally_signed;
mod dtls_protection;
mod dtls_record;
mod ecdh;
mod error;
mod extensions;
mod handshake_message;
mod hello_verify_request;
mod new_session_ticket;
mod peek_client_hello;
mod protocol;
mod protocol_names;
mod record_number;
mod record_size_limit;
mod replay_window;
mod server_hello;
mod server_name;
mod subject_public_key_info;
mod tls_handshake_message;
mod tls_protection;
mod tls_record;
mod traffic_keys;
mod translate;
mod usage_limits;

pub use adapt::{
    DtlsFormToTls, LegForm, MAX_FORM_FRAGMENT_LEN, Mapped, StreamApplication, TlsToDtlsForm,
};
pub use alert::{Alert, AlertDescription, AlertLevel};
pub use certificate::{
    CertificateRequest, ECDSA_SIGN, decode_certificates, decode_raw_public_key,
    encode_certificates, encode_raw_public_key,
};
pub use certificate_types::{CertificateTypes, decode_certificate_type, encode_certificate_types};
pub use cipher_suite::{CipherSuite, KeyExchange};
pub use client_hello::{CipherSuites, ClientHello, MAX_COOKIE_LEN, MAX_SESSION_ID_LEN};
pub use connection_id::{ConnectionId, MAX_CONNECTION_ID_LEN, peek_connection_id};
pub use content_type::{ContentType, MAX_CIPHERTEXT_LEN, MAX_PLAINTEXT_LEN};
pub use digitally_signed::{DigitallySigned, SignatureAlgorithms, SignatureAndHashAlgorithm};
pub use dtls_protection::{DtlsOpener, DtlsSealer, Opened};
pub use dtls_record::{DtlsRecord, RECORD_HEADER_LEN, encode_record};
pub use ecdh::{
    ServerEcdhParams, SupportedGroups, UNCOMPRESSED_POINT_FORMAT, decode_public_key,
    encode_supported_groups, offers_uncompressed_points,
};
pub use error::Error;
pub use extensions::{Extension, ExtensionType, Extensions, MAX_EXTENSIONS};
pub use handshake_message::{
    HANDSHAKE_HEADER_LEN, HandshakeFragment, HandshakeType, encode_handshake_header,
};
pub use hello_verify_request::HelloVerifyRequest;
pub use new_session_ticket::NewSessionTicket;
pub use peek_client_hello::{MAX_HELLO_RECORDS, client_hello_len, peek_client_hello};
pub use protocol::{DTLS_1_0, DTLS_1_2, Protocol, ProtocolVersion, TLS_1_2};
pub use protocol_names::{ProtocolNames, encode_protocol_names};
pub use record_number::{EpochNumber, MAX_SEQUENCE_NUMBER, RecordNumber};
pub use record_size_limit::{MIN_RECORD_SIZE_LIMIT, MaxFragmentLength, RecordSizeLimit};
pub use replay_window::{ReplayWindow, Verified};
pub use server_hello::ServerHello;
pub use server_name::{decode_server_name, encode_server_name};
pub use subject_public_key_info::{P256_SPKI_LEN, decode_p256_spki, encode_p256_spki};
pub use tls_handshake_message::{
    TLS_HANDSHAKE_HEADER_LEN, TlsHandshakeMessage, encode_tls_handshake_header,
};
pub use tls_protection::{TlsOpener, TlsSealer};
pub use tls_record::{MAX_TLS_RECORD_LEN, TLS_RECORD_HEADER_LEN, TlsRecord, encode_tls_record};
pub use traffic_keys::TrafficKeys;
pub use translate::{
    ANSWER_LEN, DroppedFromDatagram, FromStream, MAX_DEVICE_NAME_LEN, MAX_NOTICE_LEN,
    MAX_PREFACE_LEN, RequestedForm, StreamToDatagrams, TranslateAnswer, TranslateForm,
    TranslateNotice, TranslatePreface, TranslateStatus, datagram_to_stream, has_application_data,
    has_protected_record,
};
pub use usage_limits::UsageLimits;

/// The fixed 32 bytes that each hello carries (RFC 5246 §7.4.1.2).
pub type Random = [u8; 32];
