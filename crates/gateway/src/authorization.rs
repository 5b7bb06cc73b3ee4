//! Who opens a tunnel: Basic (RFC 7617) and Bearer (RFC 6750).

use base64ct::{Base64, Encoding};
use hedgerow_core::ct_eq;
use http::HeaderMap;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use zeroize::Zeroizing;

use crate::config::{User, UserSecret};

/// Returns the place of the user whose credentials a request shows, or without any `psk_user`, whom the
/// connection belongs to; `None` if that is nobody, and for wrong credentials.
///
/// Each user is compared with, whichever one matches. How long that takes depends on the lengths of
/// what is configured and of what is shown.
pub(crate) fn authenticate(
    users: &[User],
    psk_user: Option<usize>,
    headers: &HeaderMap,
) -> Option<usize> {
    // What a request shows counts, also where its connection has proved something.
    if !shows_credentials(headers) {
        return psk_user;
    }
    let shown = Shown::read(headers)?;
    let mut found = None;
    for (index, user) in users.iter().enumerate() {
        if shown.is_of(user) {
            found = Some(index);
        }
    }
    found
}

/// Says whether a request shows credentials, right or wrong.
pub(crate) fn shows_credentials(headers: &HeaderMap) -> bool {
    headers.contains_key(PROXY_AUTHORIZATION) || headers.contains_key(AUTHORIZATION)
}

/// Returns the name that a request shows a password for; nobody has to have it.
pub(crate) fn shown_name(headers: &HeaderMap) -> Option<Zeroizing<Vec<u8>>> {
    match Shown::read(headers)? {
        Shown::Basic { name, .. } => Some(name),
        Shown::Bearer(_) => None,
    }
}

/// The credentials of a request, zeroed on drop.
enum Shown {
    Basic {
        name: Zeroizing<Vec<u8>>,
        password: Zeroizing<Vec<u8>>,
    },
    Bearer(Zeroizing<Vec<u8>>),
}

impl Shown {
    /// Reads the one field that there is: for proxies if there is one, else for servers.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let field = match headers.contains_key(PROXY_AUTHORIZATION) {
            true => PROXY_AUTHORIZATION,
            false => AUTHORIZATION,
        };
        let mut values = headers.get_all(field).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(Zeroizing::new(rest.as_bytes().to_vec())));
        }
        if !scheme.eq_ignore_ascii_case("basic") || rest.len() > MAX_BASIC_LEN {
            return None;
        }
        let mut decoded = Zeroizing::new([0; MAX_BASIC_LEN]);
        let decoded = Base64::decode(rest, decoded.as_mut_slice()).ok()?;
        // RFC 7617 §2: the name ends at the first colon.
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (name, password) = decoded.split_at_checked(colon)?;
        Some(Self::Basic {
            name: Zeroizing::new(name.to_vec()),
            password: Zeroizing::new(password.get(1..)?.to_vec()),
        })
    }

    fn is_of(&self, user: &User) -> bool {
        match (self, &user.secret) {
            (Self::Basic { name, password }, UserSecret::Password(own)) => {
                ct_eq(name, user.name.as_bytes()) & ct_eq(password, own)
            }
            (Self::Bearer(token), UserSecret::Token(own)) => ct_eq(token, own),
            _ => false,
        }
    }
}

/// Room for the longest name and password in base64, in bytes.
const MAX_BASIC_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn users() -> [User; 3] {
        [
            User::with_password("alice", b"correct horse"),
            User::with_token("robot", b"0123456789abcdef"),
            User::with_password("bob", b"a:colon in it"),
        ]
    }

    fn ask(fields: &[(http::HeaderName, &str)]) -> Option<usize> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let found = authenticate(&users(), None, &headers);
        // The user of the connection stands for a request without credentials alone.
        let expected = if fields.is_empty() { Some(1) } else { found };
        assert_eq!(authenticate(&users(), Some(1), &headers), expected);
        found
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", Base64::encode_string(text.as_bytes()))
    }

    #[test]
    fn users_are_known_by_what_is_theirs_alone() {
        for (value, user) in [
            (basic("alice:correct horse"), Some(0)),
            (basic("bob:a:colon in it"), Some(2)),
            ("Bearer 0123456789abcdef".to_owned(), Some(1)),
            ("bearer  0123456789abcdef".to_owned(), Some(1)),
            (basic("alice:correct hors"), None),
            (basic("alice:"), None),
            (basic("alice"), None),
            (basic("bob:correct horse"), None),
            (basic("robot:0123456789abcdef"), None),
            ("Bearer correct horse".to_owned(), None),
            ("Bearer ".to_owned(), None),
            ("Basic".to_owned(), None),
            ("Basic !!!".to_owned(), None),
            (format!("Basic {}", "QUJD".repeat(400)), None),
            ("Digest 0123456789abcdef".to_owned(), None),
        ] {
            for field in [AUTHORIZATION, PROXY_AUTHORIZATION] {
                assert_eq!(ask(&[(field, &value)]), user, "{value}");
            }
        }
        assert_eq!(ask(&[]), None);
        let (token, wrong) = ("Bearer 0123456789abcdef", "Bearer fedcba9876543210");
        // The field for proxies counts, and one alone.
        let both = [(AUTHORIZATION, token), (PROXY_AUTHORIZATION, wrong)];
        assert_eq!(ask(&both), None);
        assert_eq!(ask(&[(AUTHORIZATION, token), (AUTHORIZATION, token)]), None);
    }
}
