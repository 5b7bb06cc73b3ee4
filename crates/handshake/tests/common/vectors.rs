//! The second reader's vectors, and what it takes to run both ends along them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

use std::collections::BTreeMap;

pub type Case = BTreeMap<String, Vec<u8>>;

/// Reads `case NAME` and `key = hex` lines.
pub fn cases(text: &str) -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("case ") {
            cases.push((name.to_owned(), Case::new()));
        } else if let Some((key, hex)) = line.split_once(" = ") {
            let bytes = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let (_, case) = cases.last_mut().unwrap();
            case.insert(key.to_owned(), bytes);
        }
    }
    cases
}

/// Gives the bytes n, n + 1, n + 2, ..., which the vectors have as randoms.
pub struct Counting(pub u8);

impl rand_core::TryRng for Counting {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        for byte in dst {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counting {}
