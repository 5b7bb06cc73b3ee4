//! What `docs/specs/vectors/itls.py` wrote.

pub(crate) const VECTORS: &str = include_str!("../../../../docs/specs/vectors/itls.txt");

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Names and values of the lines that begin with `kind`.
pub(crate) fn lines(kind: &str) -> Vec<(String, String)> {
    let prefix = format!("{kind} ");
    let lines = VECTORS
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix));
    lines
        .map(|line| {
            let (name, value) = line.split_once(" =").unwrap();
            (name.to_owned(), value.trim().to_owned())
        })
        .collect()
}
