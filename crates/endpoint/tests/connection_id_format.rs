//! The format of connection IDs along the vectors of its specification.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use hedgerow_endpoint::ConnectionIdFormat;
use hedgerow_sim::TestRng;

/// Gives a0, a1, a2, ... as the specification's unpredictable octets.
struct Counting(u8);

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

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn drawn_ids_are_those_of_the_specification() {
    let page = include_str!("../../../docs/specs/connection-id.md");
    let (_, vectors) = page.split_once("## Test vectors").unwrap();
    let mut count = 0;
    for line in vectors.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, configuration, node, unpredictable, id, _] = cells[..] else {
            continue;
        };
        let Ok(configuration) = configuration.parse() else {
            continue;
        };
        let format = ConnectionIdFormat::new(node.parse().unwrap())
            .with_configuration(configuration)
            .with_len(3 + unpredictable.len() / 2);
        let drawn = format.draw(&mut Counting(0xa0));
        assert_eq!(drawn.as_bytes(), hex(id));
        assert_eq!(ConnectionIdFormat::decode(drawn.as_bytes()), Some(format));
        // A balancer sees what follows too.
        let longer = [drawn.as_bytes(), b"and more"].concat();
        assert_eq!(ConnectionIdFormat::decode(&longer), Some(format));
        count += 1;
    }
    assert_eq!(count, 4);
    for wrong in ["050000a0a1a2", "070102a0a1a2a3", ""] {
        assert_eq!(ConnectionIdFormat::decode(&hex(wrong)), None);
    }
}

#[test]
fn lengths_out_of_range_become_the_nearest_and_octets_differ() {
    let mut rng = TestRng::new(1);
    for (wanted, len) in [(0, 7), (7, 7), (8, 8), (32, 32), (33, 32)] {
        let format = ConnectionIdFormat::new(1).with_len(wanted);
        assert_eq!(format.len(), len);
        let (one, other) = (format.draw(&mut rng), format.draw(&mut rng));
        assert_eq!(one.len(), len);
        assert_ne!(one, other);
    }
}
