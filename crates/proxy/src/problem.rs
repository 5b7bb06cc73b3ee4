//! Problem details, RFC 7807.

use std::fmt::Write;

use http::StatusCode;

use crate::percent::{self, is_segment_char};

/// The longest path that a problem repeats, in bytes.
const MAX_INSTANCE_LEN: usize = 1024;

/// The five members of RFC 7807 §3.1.
///
/// They are written by hand: five members of known types don't outweigh a JSON library in a crate
/// whose other outputs are header fields.
#[derive(Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) problem_type: &'a str,
    pub(crate) title: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) detail: &'a str,
    pub(crate) instance: Option<String>,
}

impl Problem<'_> {
    /// Writes the JSON text.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::with_capacity(256);
        json.push_str("{\"type\":");
        push_string(&mut json, self.problem_type);
        json.push_str(",\"title\":");
        push_string(&mut json, self.title);
        // Writing to a String can't fail.
        let _ = write!(json, ",\"status\":{}", self.status.as_u16());
        json.push_str(",\"detail\":");
        push_string(&mut json, self.detail);
        if let Some(instance) = &self.instance {
            json.push_str(",\"instance\":");
            push_string(&mut json, instance);
        }
        json.push('}');
        json
    }
}

/// Makes a URI reference of a request's path; `None` if the path is too long to repeat.
pub(crate) fn instance(path: &str) -> Option<String> {
    // A query may hold what belongs in no log; a fragment never gets here.
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if path.len() > MAX_INSTANCE_LEN {
        return None;
    }
    let mut reference = String::with_capacity(path.len());
    percent::encode(&mut reference, path, |byte| {
        is_segment_char(byte) || matches!(byte, b'/' | b'%')
    });
    Some(reference)
}

/// Appends a JSON string (RFC 8259 §7).
fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            // The rest of JSON is ASCII, and U+2028 would end a line for old JavaScript readers.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}') => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_is_json_whatever_its_texts_hold() {
        let problem = Problem {
            problem_type: "/problems/x",
            title: "a \"b\" \\ c",
            status: StatusCode::NOT_FOUND,
            detail: "line\r\nnext\u{0}\u{7f}\u{2028}é",
            instance: instance("/devices/\"x\\\u{e9}?key=secret"),
        };
        assert_eq!(
            problem.to_json(),
            "{\"type\":\"/problems/x\",\"title\":\"a \\\"b\\\" \\\\ c\",\"status\":404,\
             \"detail\":\"line\\u000d\\u000anext\\u0000\\u007f\\u2028é\",\
             \"instance\":\"/devices/%22x%5C%C3%A9\"}"
        );
    }

    #[test]
    fn instance_is_a_reference_without_query_and_not_endless() {
        assert_eq!(instance("/a%20b/c").as_deref(), Some("/a%20b/c"));
        assert_eq!(instance("/a?b=c").as_deref(), Some("/a"));
        assert_eq!(instance("//evil").as_deref(), Some("//evil"));
        assert_eq!(instance(&"/a".repeat(600)), None);
    }
}
