//! Which HTTP methods a destination takes, and what each becomes: RFC 7252 §10.2, RFC 8132.

use std::ops::BitOr;

use hedgerow_coap::Code;
use http::{HeaderValue, Method};

use crate::Failure;

/// A set of the HTTP methods that may reach a destination. HEAD goes wherever GET goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Methods(u8);

impl Methods {
    /// No method.
    pub const NONE: Self = Self(0);
    /// GET and HEAD.
    pub const GET: Self = Self(1);
    /// POST.
    pub const POST: Self = Self(2);
    /// PUT.
    pub const PUT: Self = Self(4);
    /// DELETE.
    pub const DELETE: Self = Self(8);
    /// PATCH, which also needs [`PatchMapping`] to say what it becomes.
    pub const PATCH: Self = Self(16);
    /// Every method that can be mapped.
    pub const ALL: Self = Self(31);

    /// Every single method with its name, in the order of `Allow`.
    const NAMED: [(Self, &'static str); 5] = [
        (Self::GET, "GET, HEAD"),
        (Self::POST, "POST"),
        (Self::PUT, "PUT"),
        (Self::DELETE, "DELETE"),
        (Self::PATCH, "PATCH"),
    ];

    /// Says whether every method of `other` is in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the set without the methods of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the set of one that an HTTP method belongs to; `None` if none of CoAP's methods
    /// stands for it.
    pub fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::GET),
            Method::POST => Some(Self::POST),
            Method::PUT => Some(Self::PUT),
            Method::DELETE => Some(Self::DELETE),
            Method::PATCH => Some(Self::PATCH),
            _ => None,
        }
    }

    /// Returns the value of an `Allow` field (RFC 9110 §10.2.1).
    pub(crate) fn allow(self) -> HeaderValue {
        let names: Vec<_> = Self::NAMED
            .iter()
            .filter_map(|(one, name)| self.contains(*one).then_some(*name))
            .collect();
        HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl BitOr for Methods {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What an HTTP PATCH becomes. RFC 8132 gives CoAP two methods for it, and only the application
/// knows whether a patch may be applied twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PatchMapping {
    /// Nothing: it is answered with 501.
    #[default]
    Refused,
    /// PATCH, 0.06.
    Patch,
    /// iPATCH, 0.07, for patches that change nothing when they come again.
    Ipatch,
}

/// Maps an HTTP method; 501 for one that CoAP has no equivalent of.
pub(crate) fn map_method(method: &Method, patch: PatchMapping) -> Result<Code, Failure> {
    match (method, patch) {
        (&Method::GET | &Method::HEAD, _) => Ok(Code::GET),
        (&Method::POST, _) => Ok(Code::POST),
        (&Method::PUT, _) => Ok(Code::PUT),
        (&Method::DELETE, _) => Ok(Code::DELETE),
        (&Method::PATCH, PatchMapping::Patch) => Ok(Code::PATCH),
        (&Method::PATCH, PatchMapping::Ipatch) => Ok(Code::IPATCH),
        // MUST (RFC 7252 §10.2.1): OPTIONS and TRACE are answered with 501. So is CONNECT
        // (§10.2.7).
        _ => Err(Failure::MethodNotImplemented),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allow_lists_the_methods_of_the_set() {
        assert_eq!(Methods::GET.allow(), "GET, HEAD");
        assert_eq!((Methods::PUT | Methods::POST).allow(), "POST, PUT");
        assert_eq!(Methods::NONE.allow(), "");
        assert_eq!(Methods::ALL.allow(), "GET, HEAD, POST, PUT, DELETE, PATCH");
    }

    #[test]
    fn methods_map_as_the_rfcs_say() {
        for (method, code) in [
            ("GET", Some(Code::GET)),
            ("HEAD", Some(Code::GET)),
            ("POST", Some(Code::POST)),
            ("PUT", Some(Code::PUT)),
            ("DELETE", Some(Code::DELETE)),
            ("PATCH", None),
            ("OPTIONS", None),
            ("TRACE", None),
            ("CONNECT", None),
            ("PROPFIND", None),
            ("get", None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let mapped = map_method(&method, PatchMapping::Refused);
            assert_eq!(
                mapped,
                code.ok_or(Failure::MethodNotImplemented),
                "{method}"
            );
        }
        let patch = |mapping| map_method(&Method::PATCH, mapping);
        assert_eq!(patch(PatchMapping::Patch), Ok(Code::PATCH));
        assert_eq!(patch(PatchMapping::Ipatch), Ok(Code::IPATCH));
    }
}
