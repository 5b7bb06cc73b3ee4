//! Who asks a gateway.

use core::fmt;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use http::HeaderValue;
use zeroize::Zeroizing;

/// What a user shows a gateway: a token, or a name and a password. It protects the devices' network, and
/// has no part in what is secured end to end.
#[derive(Clone)]
pub struct GatewayUser(Arc<Zeroizing<String>>);

/// Why something can't be shown to a gateway. It holds no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayUserError {
    /// A token of other characters than RFC 6750 §2.1 has.
    #[error("a token has letters, digits and - . _ ~ + /, with = at the end")]
    Token,
    /// A name with a colon, or control characters in name or password (RFC 7617 §2).
    #[error("a user's name has no colon, and neither name nor password has control characters")]
    Password,
}

impl GatewayUser {
    /// Shows a token (RFC 6750).
    ///
    /// # Errors
    ///
    /// [`GatewayUserError::Token`].
    pub fn with_token(token: &str) -> Result<Self, GatewayUserError> {
        let body = token.trim_end_matches('=');
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if body.is_empty() || !body.bytes().all(is_token) {
            return Err(GatewayUserError::Token);
        }
        Ok(Self::of("Bearer ", token))
    }

    /// Shows a name and a password (RFC 7617).
    ///
    /// # Errors
    ///
    /// [`GatewayUserError::Password`].
    pub fn with_password(name: &str, password: &str) -> Result<Self, GatewayUserError> {
        let has_controls = |text: &str| text.chars().any(char::is_control);
        if name.contains(':') || has_controls(name) || has_controls(password) {
            return Err(GatewayUserError::Password);
        }
        // Long enough from the start: a string that grows leaves copies behind.
        let len = name.len().saturating_add(password.len()).saturating_add(1);
        let mut both = Zeroizing::new(String::with_capacity(len));
        both.push_str(name);
        both.push(':');
        both.push_str(password);
        let encoded = Zeroizing::new(Base64::encode_string(both.as_bytes()));
        Ok(Self::of("Basic ", &encoded))
    }

    fn of(scheme: &str, rest: &str) -> Self {
        let len = scheme.len().saturating_add(rest.len());
        let mut value = Zeroizing::new(String::with_capacity(len));
        value.push_str(scheme);
        value.push_str(rest);
        Self(Arc::new(value))
    }

    /// Lends the value of the field.
    pub(crate) fn shown(&self) -> &str {
        &self.0
    }

    /// Returns the value of the field. The library that sends it doesn't zero its copies.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.0).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for GatewayUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GatewayUser(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_rfcs() {
        // RFC 7617 §2 and RFC 6750 §2.1 have these as examples.
        let basic = GatewayUser::with_password("Aladdin", "open sesame").unwrap();
        assert_eq!(basic.field().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let bearer = GatewayUser::with_token("mF_9.B5f-4.1JqM").unwrap();
        assert_eq!(bearer.field().unwrap(), "Bearer mF_9.B5f-4.1JqM");
        assert!(bearer.field().unwrap().is_sensitive());
        assert_eq!(format!("{bearer:?}"), "GatewayUser(..)");
    }

    #[test]
    fn what_does_not_fit_a_field_is_refused() {
        for token in ["", "=", "a b", "a\nb", "a=b", "t\u{f6}ken"] {
            assert!(GatewayUser::with_token(token).is_err(), "{token:?}");
        }
        for (name, password) in [("a:b", "c"), ("a\n", "b"), ("a", "b\r")] {
            assert!(GatewayUser::with_password(name, password).is_err());
        }
    }
}
