//! Why bytes are not what this crate reads or writes.

use hedgerow_core::{DecodeError, EncodeError};

/// Why a record or a handshake message could not be decoded or encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field is cut off or bytes are left over.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The output is too small, or a value too long for its field.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A record longer than the protocol allows (RFC 6347 §4.1).
    #[error("record of {len} bytes is longer than {max}")]
    RecordTooLong {
        /// Length in the header, in bytes.
        len: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// A version whose major number isn't DTLS's 254.
    #[error("version {version:#06x} is not DTLS")]
    NotDtls {
        /// The version as received.
        version: u16,
    },
    /// A record with a connection ID where none is expected, so that its length can't be known
    /// (RFC 9146 §4).
    #[error("record with a connection ID where none is expected")]
    UnexpectedConnectionId,
    /// A connection ID longer than this crate keeps.
    #[error("connection ID of {len} bytes is longer than {max}")]
    ConnectionIdTooLong {
        /// Length given, in bytes.
        len: usize,
        /// The longest that is kept, in bytes.
        max: usize,
    },
    /// A version whose major number isn't TLS's 3.
    #[error("version {version:#06x} is not TLS")]
    NotTls {
        /// The version as received.
        version: u16,
    },
    /// A record on a translated stream in a class that there isn't (mode `translate`).
    #[error("class {class:#06x} of a record is not one of the form in use")]
    UnknownClass {
        /// What stands in place of the version.
        class: u16,
    },
    /// A notice in a place or of a length that none has (mode `translate`).
    #[error("notice of {len} bytes where none can be")]
    MisplacedNotice {
        /// Its length, in bytes.
        len: usize,
    },
    /// Bytes that don't begin a connection of mode `translate`.
    #[error("no preface")]
    NotPreface,
    /// A device name that isn't 1 to 63 bytes long (mode `translate`).
    #[error("device name of {len} bytes, not 1 to 63")]
    DeviceNameLength {
        /// Its length, in bytes.
        len: usize,
    },
    /// A record with another epoch or number than the next one, where none can be missing (mode
    /// `translate`, the device adapts).
    #[error("record is not the next one")]
    NotNextRecord,
    /// A handshake fragment that doesn't begin where the one before it ended, or doesn't fit its message or
    /// its record (mode `translate`, the device adapts).
    #[error("handshake fragment is not the next one")]
    NotNextFragment,
    /// A handshake record without a byte (RFC 5246 §6.2.1).
    #[error("empty handshake record")]
    EmptyHandshakeRecord,
    /// A ChangeCipherSpec that isn't the one byte 1 (RFC 5246 §7.1).
    #[error("malformed change_cipher_spec")]
    NotChangeCipherSpec,
    /// A ChangeCipherSpec in the middle of a handshake message.
    #[error("handshake message cut off by change_cipher_spec")]
    MessageCutOff,
    /// A connection that doesn't begin with a ClientHello.
    #[error("no client hello")]
    NotClientHello,
    /// A ClientHello in more records than anybody sends.
    #[error("client hello in more than {max} records")]
    TooManyHelloRecords {
        /// The most.
        max: usize,
    },
    /// A ClientHello longer than there is room for.
    #[error("client hello of {len} bytes is longer than {max}")]
    HelloTooLong {
        /// Its length with its header, in bytes.
        len: usize,
        /// The longest that is taken, in bytes.
        max: usize,
    },
    /// No number is left for another record or message.
    #[error("no record or message number is left")]
    OutOfNumbers,
    /// A fragment reaches past the end of its message (RFC 6347 §4.2.2).
    #[error("fragment {offset}+{len} reaches past the message's end at {total}")]
    FragmentOutOfBounds {
        /// Where the fragment begins, in bytes.
        offset: u32,
        /// Its length, in bytes.
        len: u32,
        /// The message's length, in bytes.
        total: u32,
    },
    /// A session ID longer than 32 bytes (RFC 5246 §7.4.1.2).
    #[error("session ID of {len} bytes is longer than 32")]
    SessionIdTooLong {
        /// Length received, in bytes.
        len: usize,
    },
    /// A list of cipher suites that is empty or of odd length (RFC 5246 §7.4.1.2).
    #[error("cipher suites in {len} bytes")]
    CipherSuitesLength {
        /// Length received, in bytes.
        len: usize,
    },
    /// No compression method at all (RFC 5246 §7.4.1.2).
    #[error("no compression method")]
    NoCompressionMethod,
    /// Parameters of a curve without a name, which RFC 8422 §5.4 has deprecated.
    #[error("curve type {curve_type} isn't named_curve")]
    NotNamedCurve {
        /// The type received.
        curve_type: u8,
    },
    /// A record_size_limit below 64 bytes (RFC 8449 §4).
    #[error("record size limit of {limit} bytes is below 64")]
    RecordSizeLimitTooSmall {
        /// The limit received, in bytes.
        limit: u16,
    },
    /// A max_fragment_length that stands for no length (RFC 6066 §4).
    #[error("max fragment length code {code}")]
    UnknownMaxFragmentLength {
        /// The code received.
        code: u8,
    },
    /// Two names of the same type in one server_name extension (RFC 6066 §3).
    #[error("two server names of one type")]
    DuplicateServerName,
    /// The same extension twice (RFC 5246 §7.4.1.4).
    #[error("extension {extension_type} twice")]
    DuplicateExtension {
        /// The extension's code point.
        extension_type: u16,
    },
    /// More extensions than any peer sends in earnest.
    #[error("more than {max} extensions")]
    TooManyExtensions {
        /// The most accepted.
        max: usize,
    },
}
