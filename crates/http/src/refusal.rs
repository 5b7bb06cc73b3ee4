//! Requests that no resource is asked for.

/// Why a request is answered by the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest,
    NotAcceptable,
    PreconditionFailed,
    BodyTooLong,
    TargetTooLong,
    UnsupportedMediaType,
    ExpectationFailed,
    HeadTooLong,
    NotImplemented,
    VersionNotSupported,
}

impl Refusal {
    pub(crate) const fn status(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::NotAcceptable => (406, "Not Acceptable"),
            Self::PreconditionFailed => (412, "Precondition Failed"),
            Self::BodyTooLong => (413, "Content Too Large"),
            Self::TargetTooLong => (414, "URI Too Long"),
            Self::UnsupportedMediaType => (415, "Unsupported Media Type"),
            Self::ExpectationFailed => (417, "Expectation Failed"),
            Self::HeadTooLong => (431, "Request Header Fields Too Large"),
            Self::NotImplemented => (501, "Not Implemented"),
            Self::VersionNotSupported => (505, "HTTP Version Not Supported"),
        }
    }

    /// Says whether the next request can still be found: this one was whole and understood.
    pub(crate) const fn keeps_connection(self) -> bool {
        matches!(
            self,
            Self::NotAcceptable | Self::PreconditionFailed | Self::UnsupportedMediaType
        )
    }
}
