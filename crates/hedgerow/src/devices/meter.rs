//! An electricity meter.

use std::fmt::Write as _;

use hedgerow_coap::{Code, ContentFormat, OptionNumber, UintValue};
use hedgerow_core::{CryptoProvider, Instant, SHA256_LEN, Sha256};
use hedgerow_crypto_soft::SoftCrypto;
use hedgerow_net::ResponseMessage;

use super::resource::{Device, Resource, Write, refuse};

/// The longest firmware image that a [`Meter`] takes, in bytes.
pub const MAX_FIRMWARE_LEN: usize = 128 * 1_024;

/// A meter with a counter (`/reading`), the 1,600 minutes before it was switched on (`/history`,
/// 30 kB, so that it travels in blocks), and room for an image (`/firmware`), of which it keeps and
/// tells the length and the SHA-256.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    firmware: Option<Firmware>,
}

#[derive(Clone, Copy, Debug)]
struct Firmware {
    len: usize,
    sha256: [u8; SHA256_LEN],
}

impl Meter {
    /// Makes a meter without firmware.
    pub const fn new() -> Self {
        Self { firmware: None }
    }

    fn write_firmware(&mut self, image: &[u8]) -> ResponseMessage {
        if image.is_empty() {
            return refuse(Code::BAD_REQUEST, "an image has at least one byte");
        }
        if image.len() > MAX_FIRMWARE_LEN {
            let max = UintValue::new(u32::try_from(MAX_FIRMWARE_LEN).unwrap_or(u32::MAX));
            return refuse(Code::REQUEST_ENTITY_TOO_LARGE, "the image is too long")
                .option(OptionNumber::SIZE1, max.as_bytes());
        }
        let mut hash = SoftCrypto.sha256();
        hash.update(image);
        let is_first = self.firmware.is_none();
        self.firmware = Some(Firmware {
            len: image.len(),
            sha256: hash.finish(),
        });
        ResponseMessage::new(if is_first {
            Code::CREATED
        } else {
            Code::CHANGED
        })
    }
}

impl Device for Meter {
    fn resources(&self) -> &'static [Resource] {
        RESOURCES
    }

    fn represent(
        &self,
        now: Instant,
        resource: &Resource,
        format: ContentFormat,
    ) -> Option<Vec<u8>> {
        let is_json = format == ContentFormat::JSON;
        let text = match resource.path {
            "reading" => {
                let energy = energy_after(now.as_micros() / 60_000_000);
                let (kilo, rest) = (energy / 1_000, energy % 1_000);
                match is_json {
                    true => format!(r#"{{"energy":{kilo}.{rest:03},"unit":"kWh"}}"#),
                    false => format!("{kilo}.{rest:03}"),
                }
            }
            "history" => history(is_json),
            _ => {
                let Firmware { len, sha256 } = self.firmware?;
                let digest = hexadecimal(&sha256);
                match is_json {
                    true => format!(r#"{{"length":{len},"sha256":"{digest}"}}"#),
                    false => format!("{digest} {len}"),
                }
            }
        };
        Some(text.into_bytes())
    }

    fn write(&mut self, _: Instant, resource: &Resource, write: &Write<'_>) -> ResponseMessage {
        match (resource.path, write.method) {
            ("firmware", Code::PUT) => self.write_firmware(write.payload),
            ("firmware", Code::DELETE) => {
                self.firmware = None;
                ResponseMessage::new(Code::DELETED)
            }
            _ => refuse(Code::METHOD_NOT_ALLOWED, "the resource has another method"),
        }
    }
}

/// Writes the history: seconds before the meter was switched on, counter in watt hours, power in
/// watts during the minute before.
fn history(is_json: bool) -> String {
    let (start, separator, end) = match is_json {
        true => ("[[", "],[", "]]"),
        false => ("seconds,energy_wh,power_w\n", "\n", "\n"),
    };
    let mut energy = energy_after(0);
    let mut rows = Vec::new();
    for minutes in 1..=HISTORY_MINUTES {
        let consumed = consumed_in(minutes);
        rows.push(format!("-{},{energy},{}", minutes * 60, consumed * 60));
        energy = energy.saturating_sub(consumed);
    }
    rows.reverse();
    format!("{start}{}{end}", rows.join(separator))
}

/// Returns the counter, in watt hours, after a number of minutes.
fn energy_after(minutes: u64) -> u64 {
    // A kilowatt, and no wave: a counter is asked for often, and mustn't be a sum over all minutes.
    FIRST_ENERGY.saturating_add(minutes.saturating_mul(1_000) / 60)
}

/// Returns what the minute that long before the start consumed, in watt hours: 5 to 29.
fn consumed_in(minutes: u64) -> u64 {
    let wave = minutes % 120;
    5 + wave.min(120_u64.saturating_sub(wave)) / 3 + minutes.wrapping_mul(2_654_435_761) % 5
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String doesn't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const HISTORY_MINUTES: u64 = 1_600;
const FIRST_ENERGY: u64 = 1_234_567;

const FORMATS: &[ContentFormat] = &[ContentFormat::TEXT_PLAIN, ContentFormat::JSON];

const RESOURCES: &[Resource] = &[
    Resource {
        path: "reading",
        title: "counter in kilowatt hours",
        resource_type: "energy",
        interface: "core.s",
        methods: &[Code::GET],
        formats: FORMATS,
        accepts: &[],
        max_age: 60,
        size: None,
    },
    Resource {
        path: "history",
        title: "the minutes before the meter was switched on",
        resource_type: "energy.history",
        interface: "core.s",
        methods: &[Code::GET],
        formats: FORMATS,
        accepts: &[],
        max_age: 3_600,
        size: Some(30_000),
    },
    Resource {
        path: "firmware",
        title: "SHA-256 and length of the image written",
        resource_type: "firmware",
        interface: "core.p",
        methods: &[Code::GET, Code::PUT, Code::DELETE],
        formats: FORMATS,
        accepts: &[ContentFormat::OCTET_STREAM],
        max_age: 0,
        size: None,
    },
];
