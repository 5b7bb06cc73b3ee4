//! A lamp.

use hedgerow_coap::{Code, ContentFormat, OptionNumber};
use hedgerow_core::Instant;
use hedgerow_net::ResponseMessage;
use serde_json::Value;

use super::resource::{Device, Resource, Write, refuse};

/// A lamp that is switched (`/state`: `on` or `off`), dimmed (`/brightness`: 0 to 100) and toggled
/// (`POST /toggle`).
#[derive(Clone, Copy, Debug)]
pub struct Lamp {
    is_on: bool,
    brightness: u8,
}

impl Lamp {
    /// Makes a lamp that is off and would be as bright as it can be.
    pub const fn new() -> Self {
        Self {
            is_on: false,
            brightness: 100,
        }
    }

    const fn state(&self) -> &'static str {
        if self.is_on { "on" } else { "off" }
    }
}

impl Default for Lamp {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Lamp {
    fn resources(&self) -> &'static [Resource] {
        RESOURCES
    }

    fn represent(&self, _: Instant, resource: &Resource, format: ContentFormat) -> Option<Vec<u8>> {
        let is_json = format == ContentFormat::JSON;
        let text = match (resource.path, is_json) {
            ("brightness", false) => self.brightness.to_string(),
            ("brightness", true) => format!(r#"{{"brightness":{}}}"#, self.brightness),
            (_, false) => self.state().to_owned(),
            (_, true) => format!(r#"{{"state":"{}"}}"#, self.state()),
        };
        Some(text.into_bytes())
    }

    fn write(&mut self, now: Instant, resource: &Resource, write: &Write<'_>) -> ResponseMessage {
        match resource.path {
            "state" => match wanted_state(write) {
                Some(is_on) => self.is_on = is_on,
                None => return refuse(Code::BAD_REQUEST, r#"expected on, off or {"state":"on"}"#),
            },
            "brightness" => match wanted_brightness(write) {
                Some(brightness) => self.brightness = brightness,
                None => {
                    let text = r#"expected a number from 0 to 100 or {"brightness":70}"#;
                    return refuse(Code::BAD_REQUEST, text);
                }
            },
            "toggle" if write.payload.is_empty() => {
                self.is_on = !self.is_on;
                let body = self.represent(now, resource, write.accepted);
                return ResponseMessage::new(Code::CHANGED)
                    .option(
                        OptionNumber::CONTENT_FORMAT,
                        write.accepted.encode().as_bytes(),
                    )
                    .payload(body.unwrap_or_default());
            }
            "toggle" => return refuse(Code::BAD_REQUEST, "toggling takes no payload"),
            _ => return refuse(Code::NOT_FOUND, "no such resource"),
        }
        ResponseMessage::new(Code::CHANGED)
    }
}

fn wanted_state(write: &Write<'_>) -> Option<bool> {
    let object;
    let text = match write.format {
        ContentFormat::JSON => {
            object = only_member(write.payload, "state")?;
            object.as_str()?
        }
        _ => str::from_utf8(write.payload).ok()?.trim_ascii(),
    };
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn wanted_brightness(write: &Write<'_>) -> Option<u8> {
    let brightness = match write.format {
        ContentFormat::JSON => {
            let number = only_member(write.payload, "brightness")?.as_u64()?;
            u8::try_from(number).ok()?
        }
        _ => {
            let text = str::from_utf8(write.payload).ok()?.trim_ascii();
            // `parse` alone would accept a plus sign.
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            text.parse().ok()?
        }
    };
    (brightness <= 100).then_some(brightness)
}

/// Returns the value of `name` in a JSON object that has nothing else.
fn only_member(payload: &[u8], name: &str) -> Option<Value> {
    match serde_json::from_slice(payload).ok()? {
        Value::Object(mut members) if members.len() == 1 => members.remove(name),
        _ => None,
    }
}

const FORMATS: &[ContentFormat] = &[ContentFormat::TEXT_PLAIN, ContentFormat::JSON];

const RESOURCES: &[Resource] = &[
    Resource {
        path: "state",
        title: "whether the lamp is on or off",
        resource_type: "light.state",
        interface: "core.a",
        methods: &[Code::GET, Code::PUT],
        formats: FORMATS,
        accepts: FORMATS,
        max_age: 0,
        size: None,
    },
    Resource {
        path: "brightness",
        title: "brightness in percent",
        resource_type: "light.brightness",
        interface: "core.a",
        methods: &[Code::GET, Code::PUT],
        formats: FORMATS,
        accepts: FORMATS,
        max_age: 0,
        size: None,
    },
    Resource {
        path: "toggle",
        title: "switches the lamp to its other state",
        resource_type: "light.toggle",
        interface: "core.a",
        methods: &[Code::POST],
        formats: FORMATS,
        accepts: FORMATS,
        max_age: 0,
        size: None,
    },
];
