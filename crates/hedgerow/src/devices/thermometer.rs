//! A thermometer.

use hedgerow_coap::{Code, ContentFormat};
use hedgerow_core::Instant;
use hedgerow_net::ResponseMessage;

use super::resource::{Device, Resource, Write, refuse};

/// A thermometer in a room whose temperature slowly rises and falls between 18 and 24 degrees
/// Celsius: `/temperature`, as text, as JSON and as SenML (RFC 8428).
#[derive(Clone, Copy, Debug, Default)]
pub struct Thermometer;

impl Thermometer {
    /// Returns the temperature at `now`, in tenths of a degree Celsius.
    pub fn tenths(now: Instant) -> u64 {
        let seconds = now.as_micros() / 1_000_000;
        // 21 degrees at the clock's origin, and rising.
        let in_period = seconds.saturating_add(PERIOD / 4) % PERIOD;
        let from_low = in_period.min(PERIOD.saturating_sub(in_period));
        LOWEST + from_low * RISE / (PERIOD / 2)
    }
}

impl Device for Thermometer {
    fn resources(&self) -> &'static [Resource] {
        RESOURCES
    }

    fn represent(&self, now: Instant, _: &Resource, format: ContentFormat) -> Option<Vec<u8>> {
        let tenths = Self::tenths(now);
        let degrees = format!("{}.{}", tenths / 10, tenths % 10);
        let text = match format {
            ContentFormat::TEXT_PLAIN => degrees,
            ContentFormat::JSON => format!(r#"{{"temperature":{degrees},"unit":"Cel"}}"#),
            ContentFormat::SENML_JSON => {
                format!(r#"[{{"n":"temperature","u":"Cel","v":{degrees}}}]"#)
            }
            _ => return None,
        };
        Some(text.into_bytes())
    }

    fn write(&mut self, _: Instant, _: &Resource, _: &Write<'_>) -> ResponseMessage {
        refuse(Code::METHOD_NOT_ALLOWED, "a temperature is read")
    }
}

const RESOURCES: &[Resource] = &[Resource {
    path: "temperature",
    title: "room temperature in degrees Celsius",
    resource_type: "temperature",
    interface: "core.s",
    methods: &[Code::GET],
    formats: &[
        ContentFormat::TEXT_PLAIN,
        ContentFormat::JSON,
        ContentFormat::SENML_JSON,
    ],
    accepts: &[],
    max_age: 10,
    size: None,
}];

/// From one low to the next, in seconds.
const PERIOD: u64 = 1_200;
/// The lowest temperature, in tenths of a degree.
const LOWEST: u64 = 180;
/// From the lowest to the highest, in tenths of a degree.
const RISE: u64 = 60;
