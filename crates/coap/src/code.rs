//! Message codes, RFC 7252 §3 and §12.1.

use core::fmt;

/// A message code, written as `class.detail` (RFC 7252 §3). Any of the 256 values can be held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u8);

/// Declares the registered codes once, with the name that the registry gives each.
macro_rules! codes {
    ($($(#[$doc:meta])* $const:ident = $class:literal . $detail:literal, $name:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $const: Self = Self(($class << 5) | $detail);)*

            /// Returns the name in the registry (RFC 7252 §12.1), if this code has one.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$const => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// An Empty message.
    EMPTY = 0 . 0, "Empty";
    /// A GET request.
    GET = 0 . 1, "GET";
    /// A POST request.
    POST = 0 . 2, "POST";
    /// A PUT request.
    PUT = 0 . 3, "PUT";
    /// A DELETE request.
    DELETE = 0 . 4, "DELETE";
    /// A FETCH request (RFC 8132).
    FETCH = 0 . 5, "FETCH";
    /// A PATCH request (RFC 8132).
    PATCH = 0 . 6, "PATCH";
    /// An iPATCH request (RFC 8132).
    IPATCH = 0 . 7, "iPATCH";
    /// 2.01.
    CREATED = 2 . 1, "Created";
    /// 2.02.
    DELETED = 2 . 2, "Deleted";
    /// 2.03.
    VALID = 2 . 3, "Valid";
    /// 2.04.
    CHANGED = 2 . 4, "Changed";
    /// 2.05.
    CONTENT = 2 . 5, "Content";
    /// 2.31 (RFC 7959).
    CONTINUE = 2 . 31, "Continue";
    /// 4.00.
    BAD_REQUEST = 4 . 0, "Bad Request";
    /// 4.01.
    UNAUTHORIZED = 4 . 1, "Unauthorized";
    /// 4.02.
    BAD_OPTION = 4 . 2, "Bad Option";
    /// 4.03.
    FORBIDDEN = 4 . 3, "Forbidden";
    /// 4.04.
    NOT_FOUND = 4 . 4, "Not Found";
    /// 4.05.
    METHOD_NOT_ALLOWED = 4 . 5, "Method Not Allowed";
    /// 4.06.
    NOT_ACCEPTABLE = 4 . 6, "Not Acceptable";
    /// 4.08 (RFC 7959).
    REQUEST_ENTITY_INCOMPLETE = 4 . 8, "Request Entity Incomplete";
    /// 4.09 (RFC 8132).
    CONFLICT = 4 . 9, "Conflict";
    /// 4.12.
    PRECONDITION_FAILED = 4 . 12, "Precondition Failed";
    /// 4.13.
    REQUEST_ENTITY_TOO_LARGE = 4 . 13, "Request Entity Too Large";
    /// 4.15.
    UNSUPPORTED_CONTENT_FORMAT = 4 . 15, "Unsupported Content-Format";
    /// 4.22 (RFC 8132).
    UNPROCESSABLE_ENTITY = 4 . 22, "Unprocessable Entity";
    /// 4.29 (RFC 8516).
    TOO_MANY_REQUESTS = 4 . 29, "Too Many Requests";
    /// 5.00.
    INTERNAL_SERVER_ERROR = 5 . 0, "Internal Server Error";
    /// 5.01.
    NOT_IMPLEMENTED = 5 . 1, "Not Implemented";
    /// 5.02.
    BAD_GATEWAY = 5 . 2, "Bad Gateway";
    /// 5.03.
    SERVICE_UNAVAILABLE = 5 . 3, "Service Unavailable";
    /// 5.04.
    GATEWAY_TIMEOUT = 5 . 4, "Gateway Timeout";
    /// 5.05.
    PROXYING_NOT_SUPPORTED = 5 . 5, "Proxying Not Supported";
    /// 5.08 (RFC 8768).
    HOP_LIMIT_REACHED = 5 . 8, "Hop Limit Reached";
    /// Capabilities and settings, over a reliable transport (RFC 8323 §5.3).
    CSM = 7 . 1, "CSM";
    /// 7.02 (RFC 8323 §5.4).
    PING = 7 . 2, "Ping";
    /// 7.03 (RFC 8323 §5.4).
    PONG = 7 . 3, "Pong";
    /// 7.04 (RFC 8323 §5.5).
    RELEASE = 7 . 4, "Release";
    /// 7.05 (RFC 8323 §5.6).
    ABORT = 7 . 5, "Abort";
}

impl Code {
    /// Makes the code `class.detail`; `None` if `class` is over 7 or `detail` over 31.
    pub const fn new(class: u8, detail: u8) -> Option<Self> {
        if class > 7 || detail > 31 {
            return None;
        }
        Some(Self((class << 5) | detail))
    }

    /// Returns the class: 0 to 7.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// Returns the detail: 0 to 31.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// Says whether this is the code of an Empty message, 0.00.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Says whether this is a method, 0.01 to 0.31, known or not.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && !self.is_empty()
    }

    /// Says whether this is a response code, 2.00 to 5.31, known or not (RFC 7252 §12.1).
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2..=5)
    }

    /// Says whether the class is 1, 6 or 7, which a message over UDP must not carry
    /// (RFC 7252 §4.2).
    pub const fn is_reserved(self) -> bool {
        matches!(self.class(), 1 | 6 | 7)
    }

    /// Says whether this is the code of a signaling message, 7.00 to 7.31, known or not: a message
    /// over a reliable transport may carry it (RFC 8323 §5.1).
    pub const fn is_signaling(self) -> bool {
        self.class() == 7
    }

    /// Says whether this is a response of class 2.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }

    /// Says whether this is a response of class 4.
    pub const fn is_client_error(self) -> bool {
        self.class() == 4
    }

    /// Says whether this is a response of class 5.
    pub const fn is_server_error(self) -> bool {
        self.class() == 5
    }
}

impl From<u8> for Code {
    fn from(byte: u8) -> Self {
        Self(byte)
    }
}

impl From<Code> for u8 {
    fn from(code: Code) -> Self {
        code.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Code({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn codes_have_the_bytes_of_the_registry() {
        for (code, byte, text) in [
            (Code::EMPTY, 0x00, "0.00"),
            (Code::GET, 0x01, "0.01"),
            (Code::DELETE, 0x04, "0.04"),
            (Code::CONTENT, 0x45, "2.05"),
            (Code::CONTINUE, 0x5f, "2.31"),
            (Code::BAD_OPTION, 0x82, "4.02"),
            (Code::UNSUPPORTED_CONTENT_FORMAT, 0x8f, "4.15"),
            (Code::PROXYING_NOT_SUPPORTED, 0xa5, "5.05"),
            (Code::CSM, 0xe1, "7.01"),
            (Code::PING, 0xe2, "7.02"),
            (Code::PONG, 0xe3, "7.03"),
            (Code::RELEASE, 0xe4, "7.04"),
            (Code::ABORT, 0xe5, "7.05"),
        ] {
            assert_eq!(u8::from(code), byte);
            assert_eq!(code.to_string(), text);
            assert_eq!(Code::new(code.class(), code.detail()), Some(code));
        }
        assert_eq!(Code::new(8, 0), None);
        assert_eq!(Code::new(0, 32), None);
    }

    #[test]
    fn every_code_is_exactly_one_of_empty_request_response_and_reserved() {
        for byte in 0..=u8::MAX {
            let code = Code::from(byte);
            let kinds = [
                code.is_empty(),
                code.is_request(),
                code.is_response(),
                code.is_reserved(),
            ];
            assert_eq!(kinds.iter().filter(|kind| **kind).count(), 1, "{code}");
            assert_eq!(code.is_signaling(), byte >= 0xe0);
        }
    }

    #[test]
    fn unknown_codes_have_no_name_and_keep_their_value() {
        let code = Code::from(0x5e);
        assert_eq!(code.name(), None);
        assert_eq!(code.to_string(), "2.30");
        assert_eq!(Code::NOT_FOUND.name(), Some("Not Found"));
    }
}
