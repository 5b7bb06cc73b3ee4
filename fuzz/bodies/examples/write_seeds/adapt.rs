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

/// Requests to the HTTP server of a device.
pub(crate) fn device_http() -> Seeds {
    let requests: [(&str, &[u8]); 9] = [
        ("get", b"GET /a/b%20c?d=e&f HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("absolute", b"GET http://a/b HTTP/1.1\r\nHost: a\r\nAccept: a/b, text/plain;q=0.5\r\n\r\n"),
        ("put", b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
        ("two", b"DELETE /a HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.0\r\n\r\n"),
        ("close", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\nContent-Length: 0\r\n\r\n"),
        ("expect", b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
        ("chunked", b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("unmet", b"PUT / HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("csm", b"\x00\xe1"),
    ];
    let pieces = [0_u8, 255];
    let inputs = requests.into_iter().flat_map(|(name, bytes)| {
        pieces.map(|part| (format!("{name}_{part}"), [&[part], bytes].concat()))
    });
    inputs.collect()
}
