//! What is printed: for people, and as JSON.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use hedgerow_coap::{Code, ContentFormat, OptionFormat, OptionNumber, decode_uint};
use hedgerow_net::ResponseMessage;
use hedgerow_record::KeyExchange;
use serde::Serialize;

use crate::arguments::RequestArguments;
use crate::client::Progress;
use crate::exit::{Class, Failure};
use crate::target::Security;
use crate::via_itls::suite_name as suite_of_inner_sessions;

/// Writes a line to standard error. Where that can't be written to, nobody listens.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "hedgerow: {text}");
}

/// Prints how a request ended, and returns the exit code.
pub(crate) fn print(
    arguments: &RequestArguments,
    progress: &Progress,
    outcome: Result<ResponseMessage, Failure>,
) -> u8 {
    let printed = match (&outcome, arguments.json) {
        (Ok(response), true) => print_json(arguments, progress, response),
        (Ok(response), false) => print_text(arguments, progress, response),
        (Err(failure), _) => Err(failure.clone()),
    };
    match (printed, outcome) {
        (Err(failure), _) => print_failure(arguments.json, progress, &failure),
        (Ok(()), Ok(response)) => class_of(response.code).map_or(0, Class::code),
        (Ok(()), Err(failure)) => failure.class.code(),
    }
}

/// Prints a failure, and returns its exit code.
pub(crate) fn print_failure(as_json: bool, progress: &Progress, failure: &Failure) -> u8 {
    if as_json {
        let object = FailureReport {
            uri: progress.uri.as_deref(),
            address: progress.address.map(|address| address.to_string()),
            security: SecurityReport::of(progress),
            via: WayReport::of(progress),
            error: ErrorReport {
                class: failure.class.name(),
                exit_code: failure.class.code(),
                message: &failure.message,
            },
            timings: Timings::of(progress),
        };
        if write_object(&object).is_ok() {
            return failure.class.code();
        }
    }
    tell(&failure.message);
    failure.class.code()
}

fn class_of(code: Code) -> Option<Class> {
    match code {
        code if code.is_success() => None,
        code if code.is_client_error() => Some(Class::ClientError),
        code if code.is_server_error() => Some(Class::ServerError),
        // A response of class 3 has no meaning yet (RFC 7252 §5.9).
        _ => Some(Class::Protocol),
    }
}

fn print_text(
    arguments: &RequestArguments,
    progress: &Progress,
    response: &ResponseMessage,
) -> Result<(), Failure> {
    let code = described(response.code);
    if class_of(response.code).is_some() {
        let diagnostic = String::from_utf8_lossy(&response.payload);
        let separator = if diagnostic.is_empty() { "" } else { ": " };
        tell(&format!("{code}{separator}{}", printable(&diagnostic)));
        return Ok(());
    }
    let security = progress.security.as_ref();
    let mut security = security
        .map(|security| security.describe(progress.way.as_ref()))
        .unwrap_or_default();
    if let Some(suite) = suite_name(progress) {
        security = format!("{security}, {suite}");
    }
    if let Some(way) = &progress.way {
        let (mode, gateway) = (way.mode.name(), &way.gateway);
        let carrier = way.carrier.unwrap_or("nothing");
        security = format!("{security}, end to end in mode {mode} through {gateway} by {carrier}");
    }
    // Said without being asked: what is recorded today may be read one day.
    if progress.way.is_some() && forward_secrecy(progress) == Some(false) {
        tell("no forward secrecy: who records this and has the key one day can read it");
    }
    if response.payload.is_empty() {
        tell(&format!("{code} ({security})"));
    } else {
        tracing::info!(%code, security, len = response.payload.len(), "response");
    }
    match &arguments.output {
        Some(path) => write_file(path, &response.payload),
        None => write_payload(response),
    }
}

fn write_file(path: &Path, payload: &[u8]) -> Result<(), Failure> {
    fs::write(path, payload).map_err(|error| Failure::file(path, &error))
}

/// Writes the payload to standard output: as it is, unless that is a terminal, which a device
/// could otherwise send commands to.
fn write_payload(response: &ResponseMessage) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let payload = response.payload.as_slice();
    let written = if stdout.is_terminal() {
        match str::from_utf8(payload) {
            _ if payload.is_empty() => Ok(()),
            Ok(text) if printable(text) == text => writeln!(stdout, "{}", text.trim_end()),
            _ => {
                return Err(Failure::new(
                    Class::Local,
                    format!(
                        "{} bytes that are no plain text are not shown on a terminal: use -o FILE, \
                         or a pipe",
                        payload.len()
                    ),
                ));
            }
        }
    } else {
        stdout.write_all(payload)
    };
    written
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::file(Path::new("standard output"), &error))
}

/// Replaces what a terminal could take for a command.
fn printable(text: &str) -> String {
    let is_harmless = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    text.chars()
        .map(|char| if is_harmless(char) { char } else { '\u{fffd}' })
        .collect()
}

fn described(code: Code) -> String {
    match code.name() {
        Some(name) => format!("{code} {name}"),
        None => code.to_string(),
    }
}

fn print_json(
    arguments: &RequestArguments,
    progress: &Progress,
    response: &ResponseMessage,
) -> Result<(), Failure> {
    let payload = match &arguments.output {
        Some(path) => {
            write_file(path, &response.payload)?;
            PayloadReport::File(path.display().to_string())
        }
        None => PayloadReport::of(&response.payload),
    };
    let content_format = response.values(OptionNumber::CONTENT_FORMAT).next();
    let object = ResponseReport {
        uri: progress.uri.as_deref(),
        address: progress.address.map(|address| address.to_string()),
        security: SecurityReport::of(progress),
        via: WayReport::of(progress),
        code: response.code.to_string(),
        code_name: response.code.name(),
        content_format: content_format
            .and_then(ContentFormat::decode)
            .and_then(ContentFormat::media_type),
        options: response
            .options
            .iter()
            .map(|(number, value)| OptionReport::of(*number, value))
            .collect(),
        payload_len: response.payload.len(),
        payload,
        timings: Timings::of(progress),
    };
    write_object(&object).map_err(|error| Failure::file(Path::new("standard output"), &error))
}

pub(crate) fn write_object(object: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, object)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

#[derive(Serialize)]
struct ResponseReport<'a> {
    uri: Option<&'a str>,
    address: Option<String>,
    security: Option<SecurityReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<WayReport<'a>>,
    code: String,
    code_name: Option<&'static str>,
    content_format: Option<&'static str>,
    options: Vec<OptionReport>,
    payload_len: usize,
    payload: PayloadReport<'a>,
    timings: Timings,
}

#[derive(Serialize)]
struct FailureReport<'a> {
    uri: Option<&'a str>,
    address: Option<String>,
    security: Option<SecurityReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<WayReport<'a>>,
    error: ErrorReport<'a>,
    timings: Timings,
}

#[derive(Serialize)]
struct ErrorReport<'a> {
    class: &'static str,
    exit_code: u8,
    message: &'a str,
}

#[derive(Serialize)]
struct SecurityReport<'a> {
    mode: &'static str,
    security_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suite: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_secrecy: Option<bool>,
}

/// The way through a gateway.
#[derive(Serialize)]
struct WayReport<'a> {
    mode: &'static str,
    gateway: &'a str,
    address: Option<String>,
    carrier: Option<&'static str>,
}

impl<'a> WayReport<'a> {
    fn of(progress: &'a Progress) -> Option<Self> {
        let way = progress.way.as_ref()?;
        Some(Self {
            mode: way.mode.name(),
            gateway: &way.gateway,
            address: way.address.map(|address| address.to_string()),
            carrier: way.carrier,
        })
    }
}

/// Returns the suite that protects the request end to end.
fn suite_name(progress: &Progress) -> Option<String> {
    match progress.inner {
        Some(session) => Some(suite_of_inner_sessions(session.suite).to_owned()),
        None => progress.suite.map(|suite| suite.to_string()),
    }
}

/// Says whether what was negotiated stays secret if a key becomes known later.
fn forward_secrecy(progress: &Progress) -> Option<bool> {
    if let Some(session) = progress.inner {
        return Some(session.has_forward_secrecy);
    }
    let key_exchange = progress.suite?.key_exchange()?;
    Some(key_exchange != KeyExchange::Psk)
}

impl<'a> SecurityReport<'a> {
    fn of(progress: &'a Progress) -> Option<Self> {
        let security = progress.security.as_ref()?;
        Some(Self {
            mode: match &progress.way {
                Some(way) if way.is_inside() => "itls-psk",
                Some(way) if way.is_tls() => security.mode_over_tls(),
                _ => security.mode(),
            },
            security_mode: security.security_mode().name(),
            identity: match security {
                Security::NoSec | Security::Certificate { .. } => None,
                Security::Psk { identity, .. } => Some(identity),
            },
            suite: suite_name(progress),
            forward_secrecy: forward_secrecy(progress),
        })
    }
}

/// The payload: as text where it is UTF-8.
#[derive(Serialize)]
#[serde(tag = "encoding", content = "data", rename_all = "lowercase")]
pub(crate) enum PayloadReport<'a> {
    Text(&'a str),
    Base64(String),
    File(String),
}

impl<'a> PayloadReport<'a> {
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        match str::from_utf8(payload) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Base64(Base64::encode_string(payload)),
        }
    }
}

#[derive(Serialize)]
struct OptionReport {
    number: u16,
    name: Option<&'static str>,
    value: OptionValue,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OptionValue {
    Number(u32),
    Text(String),
}

impl OptionReport {
    /// Numbers become numbers and text becomes text; anything else is hexadecimal digits.
    fn of(number: OptionNumber, value: &[u8]) -> Self {
        let hexadecimal = || value.iter().map(|byte| format!("{byte:02x}")).collect();
        let format = number.definition().map(|definition| definition.format);
        let value = match format {
            Some(OptionFormat::Uint) => decode_uint(value).map(OptionValue::Number),
            Some(OptionFormat::String) => str::from_utf8(value)
                .ok()
                .map(|text| OptionValue::Text(text.to_owned())),
            _ => None,
        };
        Self {
            number: number.0,
            name: number.name(),
            value: value.unwrap_or_else(|| OptionValue::Text(hexadecimal())),
        }
    }
}

/// How long the parts took, in milliseconds. A part that wasn't reached has none.
#[derive(Serialize)]
struct Timings {
    resolve_ms: Option<f64>,
    request_ms: Option<f64>,
}

impl Timings {
    fn of(progress: &Progress) -> Self {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Self {
            resolve_ms: progress.resolving.map(milliseconds),
            request_ms: progress.requesting.map(milliseconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_reported_by_their_format() {
        for (number, value, json) in [
            (
                OptionNumber::CONTENT_FORMAT,
                [50].as_slice(),
                r#"{"number":12,"name":"Content-Format","value":50}"#,
            ),
            (
                OptionNumber::CONTENT_FORMAT,
                &[],
                r#"{"number":12,"name":"Content-Format","value":0}"#,
            ),
            (
                OptionNumber::LOCATION_PATH,
                b"a",
                r#"{"number":8,"name":"Location-Path","value":"a"}"#,
            ),
            (
                OptionNumber::LOCATION_PATH,
                &[0xff],
                r#"{"number":8,"name":"Location-Path","value":"ff"}"#,
            ),
            (
                OptionNumber::ETAG,
                &[0x0a, 0xff],
                r#"{"number":4,"name":"ETag","value":"0aff"}"#,
            ),
            (
                OptionNumber(2050),
                &[1],
                r#"{"number":2050,"name":null,"value":"01"}"#,
            ),
        ] {
            let report = OptionReport::of(number, value);
            assert_eq!(serde_json::to_string(&report).unwrap(), json);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_replaced() {
        assert_eq!(printable("a\tb\r\n"), "a\tb\r\n");
        assert_eq!(
            printable("\u{1b}[2J\u{9b}x\0"),
            "\u{fffd}[2J\u{fffd}x\u{fffd}"
        );
    }

    #[test]
    fn responses_have_the_classes_of_their_codes() {
        assert_eq!(class_of(Code::CONTENT), None);
        assert_eq!(class_of(Code::NOT_FOUND), Some(Class::ClientError));
        assert_eq!(class_of(Code::GATEWAY_TIMEOUT), Some(Class::ServerError));
        assert_eq!(class_of(Code::from(0x60)), Some(Class::Protocol));
    }
}
