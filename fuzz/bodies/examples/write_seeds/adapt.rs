//! Seeds of the mapping between TLS's headers and DTLS's: the vectors, in both directions.

use crate::Seeds;

const VECTORS: &str = include_str!("../../../../docs/specs/vectors/translate_device.txt");

/// The longest vector that is worth a seed, in bytes.
const MOST: usize = 600;

/// In pieces of how many bytes it is read, and into how much room, less one.
const PIECES: [(u8, u8); 2] = [(63, 255), (2, 6)];

pub(crate) fn adapt() -> Seeds {
    let mut seeds = Seeds::new();
    let mut name = String::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let Some((field, text)) = line.split_once(" = ") else {
            name = line.replace(' ', "_");
            continue;
        };
        let choices: &[u8] = match (field, name.split_once('_').unwrap().0) {
            ("tls", _) => &[0, 3],
            ("dtls", _) => &[2],
            ("bytes", _) if name.starts_with("broken_tls") => &[0, 3],
            ("bytes", _) => &[2],
            _ => continue,
        };
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .take(MOST)
            .collect();
        for (choice, (part, room)) in choices
            .iter()
            .flat_map(|choice| PIECES.map(|it| (*choice, it)))
        {
            let input = [&[choice | part << 2, room], bytes.as_slice()].concat();
            seeds.push((format!("{name}_{field}_{choice}_{part}"), input));
        }
    }
    seeds.push(("client_hello_with_a_name".to_owned(), hello()));
    seeds
}

/// A ClientHello with the name of a host, in two records.
fn hello() -> Vec<u8> {
    let mut message = vec![1, 0, 0, 66, 3, 3];
    message.extend([7; 32]);
    message.extend([
        0, 0, 2, 0xc0, 0xa8, 1, 0, 0, 21, 0, 0, 0, 17, 0, 15, 0, 0, 12,
    ]);
    message.extend(b"lamp.example");
    message[3] = u8::try_from(message.len() - 4).unwrap();
    let (first, second) = message.split_at(30);
    let mut input = vec![3 | 4 << 2, 63];
    for part in [first, second] {
        input.extend([22, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
        input.extend(part);
    }
    input
}
