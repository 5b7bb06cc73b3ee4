//! Request line and fields (RFC 9112 §3, §5).

use crate::Limits;
use crate::refusal::Refusal;

/// A request's head, whole and checked as far as it frames the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    /// All lines behind the request line.
    fields: &'a str,
    /// The length of the body, in bytes.
    pub(crate) body_len: usize,
    /// Whether another request may follow.
    pub(crate) keeps_alive: bool,
    /// Whether the client waits for a word before it sends the body.
    pub(crate) expects_continue: bool,
}

impl<'a> Head<'a> {
    /// Takes the head at the front of `bytes` and returns it with its length; `None` while it isn't whole.
    pub(crate) fn decode(
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<Option<(Self, usize)>, Refusal> {
        // It may become the empty line before a request.
        if bytes == b"\r" {
            return Ok(None);
        }
        check_first(bytes)?;
        let Some(len) = head_len(bytes) else {
            return match bytes.len() < limits.max_head_len {
                true => Ok(None),
                false => Err(Refusal::HeadTooLong),
            };
        };
        if len > limits.max_head_len {
            return Err(Refusal::HeadTooLong);
        }
        let text = bytes.get(..len.saturating_sub(2)).unwrap_or_default();
        // RFC 9110 §5.5: other octets aren't needed, and readers differ about them.
        if !text.iter().all(|&byte| is_text(byte)) {
            return Err(Refusal::BadRequest);
        }
        let text = core::str::from_utf8(text).map_err(|_| Refusal::BadRequest)?;
        let (line, fields) = text.split_once("\r\n").ok_or(Refusal::BadRequest)?;
        let mut head = Self::decode_line(line, fields)?;
        head.frame(limits)?;
        Ok(Some((head, len)))
    }

    fn decode_line(line: &'a str, fields: &'a str) -> Result<Self, Refusal> {
        // RFC 9112 §2.2: a bare CR is no line's end, and what somebody takes for one makes two requests of one.
        if line.contains(['\r', '\n', '\t']) {
            return Err(Refusal::BadRequest);
        }
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Refusal::BadRequest);
        };
        if !is_token(method) || target.is_empty() {
            return Err(Refusal::BadRequest);
        }
        let keeps_alive = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ if version.starts_with("HTTP/") => return Err(Refusal::VersionNotSupported),
            _ => return Err(Refusal::BadRequest),
        };
        Ok(Self {
            method,
            target,
            fields,
            body_len: 0,
            keeps_alive,
            expects_continue: false,
        })
    }

    /// Goes through all fields once, and finds where the message ends.
    fn frame(&mut self, limits: &Limits) -> Result<(), Refusal> {
        let (mut count, mut hosts) = (0_usize, 0_usize);
        let mut length = None;
        let is_http_1_1 = self.keeps_alive;
        for line in self.fields.split_terminator("\r\n") {
            count = count.saturating_add(1);
            if count > limits.max_fields {
                return Err(Refusal::HeadTooLong);
            }
            // A name that ends in a space, or a line that begins with one, isn't a token.
            let (name, value) = line.split_once(':').ok_or(Refusal::BadRequest)?;
            if !is_token(name) || value.contains(['\r', '\n']) {
                return Err(Refusal::BadRequest);
            }
            let value = value.trim_matches(OWS);
            if name.eq_ignore_ascii_case("content-length") {
                // RFC 9112 §6.3: two lengths, even of one value, are refused.
                if length.replace(decode_length(value)?).is_some() {
                    return Err(Refusal::BadRequest);
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                // RFC 9112 §6.1: a coding that isn't understood.
                return Err(Refusal::NotImplemented);
            } else if name.eq_ignore_ascii_case("host") {
                hosts = hosts.saturating_add(1);
            } else if name.eq_ignore_ascii_case("expect") {
                if !value.eq_ignore_ascii_case("100-continue") {
                    return Err(Refusal::ExpectationFailed);
                }
                self.expects_continue = is_http_1_1;
            } else if name.eq_ignore_ascii_case("connection")
                && list(value).any(|option| option.eq_ignore_ascii_case("close"))
            {
                self.keeps_alive = false;
            }
        }
        // MUST (RFC 9112 §3.2): HTTP/1.1 without Host, or a request with two, is refused.
        if hosts > 1 || (is_http_1_1 && hosts == 0) {
            return Err(Refusal::BadRequest);
        }
        self.body_len = length.unwrap_or(0);
        if self.body_len > limits.max_body_len {
            return Err(Refusal::BodyTooLong);
        }
        Ok(())
    }

    /// Walks through the values of all fields of a name.
    pub(crate) fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let fields = self.fields.split_terminator("\r\n");
        fields.filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim_matches(OWS))
        })
    }
}

/// Refuses what can't be a method from its first bytes on: above all another protocol, such as CoAP, whose
/// first message has 0xe1 for its code and no letter (RFC 8323 §3.2).
fn check_first(bytes: &[u8]) -> Result<(), Refusal> {
    let method = bytes.split(|&byte| byte == b' ').next();
    let method = method.unwrap_or_default();
    match method.iter().all(|&byte| is_tchar(byte)) && (bytes.is_empty() || !method.is_empty()) {
        true => Ok(()),
        false => Err(Refusal::BadRequest),
    }
}

/// Returns the length of a head with the empty line that ends it.
fn head_len(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let at = bytes.windows(END.len()).position(|window| window == END)?;
    Some(at.saturating_add(END.len()))
}

/// RFC 9110 §8.6: digits and nothing else.
fn decode_length(value: &str) -> Result<usize, Refusal> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::BadRequest);
    }
    // What is longer than any number is longer than any limit.
    Ok(value.parse().unwrap_or(usize::MAX))
}

/// Walks through a list of values, the empty ones left out (RFC 9110 §5.6.1).
pub(crate) fn list(value: &str) -> impl Iterator<Item = &str> {
    let items = value.split(',').map(|item| item.trim_matches(OWS));
    items.filter(|item| !item.is_empty())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// RFC 9110 §5.6.2.
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b'\t' | b' '..=b'~')
}

/// What may stand before a request, and isn't part of its head.
pub(crate) const EMPTY_LINE: &[u8] = b"\r\n";

/// Optional whitespace (RFC 9110 §5.6.3).
const OWS: [char; 2] = [' ', '\t'];
