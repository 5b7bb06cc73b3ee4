//! A search for many needles at once, in bytes that come in chunks.

use std::collections::BTreeSet;

/// A secret with every form that it is looked for in.
pub struct Needle {
    /// What it is, unique among its like.
    pub name: String,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    /// Looks for the bytes as they stand.
    ///
    /// # Panics
    ///
    /// If they are so few that they could be found by chance.
    pub fn bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 12, "too short to be told from chance");
        Self {
            name: name.into(),
            forms: vec![bytes.to_vec()],
        }
    }

    /// Looks for a key as it stands, in hexadecimal digits of either case and in base64. An AES key is its
    /// key schedule's first round key, so that its own bytes are looked for in a schedule too.
    pub fn key(name: impl Into<String>, key: &[u8]) -> Self {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut needle = Self::bytes(name, key);
        needle.forms.push(hex.to_uppercase().into_bytes());
        needle.forms.push(hex.into_bytes());
        let base64 = Base64::encode_string(key);
        let url = Base64UrlUnpadded::encode_string(key);
        needle.forms.push(base64.trim_end_matches('=').into());
        needle.forms.push(url.into_bytes());
        needle
    }

    /// Looks for a private key of ECDSA as [`Self::key`] does, and with its octets the other way round: it is a number,
    /// and whoever computes with it has it in words, the least one first, on every processor with little-endian ones.
    pub fn scalar(name: impl Into<String>, scalar: &[u8; 32]) -> Self {
        let mut needle = Self::key(name, scalar);
        needle.forms.push(scalar.iter().rev().copied().collect());
        needle
    }
}

/// What is searched for.
pub struct Search<'n> {
    /// For each pair of bytes whether a form begins with it.
    begins: Vec<bool>,
    forms: Vec<(&'n str, &'n [u8])>,
    longest: usize,
}

impl<'n> Search<'n> {
    pub fn new(needles: &'n [Needle]) -> Self {
        let mut begins = vec![false; 1 << 16];
        let forms: Vec<(&str, &[u8])> = needles
            .iter()
            .flat_map(|needle| needle.forms.iter().map(|form| (&*needle.name, &**form)))
            .collect();
        for (_, form) in &forms {
            begins[pair(form[0], form[1])] = true;
        }
        let longest = forms.iter().map(|(_, form)| form.len()).max().unwrap();
        Self {
            begins,
            forms,
            longest,
        }
    }

    /// Adds the names of what is found in `bytes`.
    pub fn search(&self, bytes: &[u8], found: &mut BTreeSet<&'n str>) {
        for page in 0..bytes.len().div_ceil(PAGE) {
            let start = page * PAGE;
            let end = bytes.len().min(start + PAGE);
            // Much of a memory is zeros. What could begin at a page's end is looked at all the same.
            let is_empty = bytes[start..end] == ZEROS[..end - start];
            let from = match is_empty {
                true => end.saturating_sub(self.longest).max(start),
                false => start,
            };
            let until = bytes.len().min(end + 1);
            // Every byte of a memory comes by here, and in a build for tests an iterator's step costs much.
            let mut at = from;
            while at + 1 < until {
                if self.begins[pair(bytes[at], bytes[at + 1])] {
                    let here = &bytes[at..];
                    let those = self.forms.iter().filter(|(_, form)| here.starts_with(form));
                    found.extend(those.map(|(name, _)| *name));
                }
                at += 1;
            }
        }
    }

    /// Searches what `read` gives, `len` bytes of it, in chunks that overlap by the longest form. `read` fills
    /// its buffer from a place on.
    pub fn search_chunks(
        &self,
        len: usize,
        chunk: usize,
        mut read: impl FnMut(usize, &mut [u8]),
        found: &mut BTreeSet<&'n str>,
    ) {
        let mut buffer = vec![0; chunk + self.longest];
        for start in (0..len).step_by(chunk) {
            let end = len.min(start + buffer.len());
            let buffer = &mut buffer[..end - start];
            read(start, buffer);
            self.search(buffer, found);
        }
    }
}

#[inline(always)]
fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

const PAGE: usize = 4_096;
static ZEROS: [u8; PAGE] = [0; PAGE];

#[test]
fn needle_is_found_wherever_it_lies_and_in_every_form() {
    let key = *b"\0a key of 16 byte";
    let needles = [
        Needle::key("planted", &key),
        Needle::bytes("other", b"something that isn't there"),
    ];
    let search = Search::new(&needles);
    let planted = BTreeSet::from(["planted"]);
    for form in &needles[0].forms {
        // About the borders of chunks and of pages, in zeros and among other bytes.
        for fill in [0, 0x5a] {
            let places = (8_140..8_200)
                .chain(4_040..4_100)
                .chain([0, 20_000 - form.len()]);
            for place in places {
                let mut memory = vec![fill; 20_000];
                memory[place..place + form.len()].copy_from_slice(form);
                let mut found = BTreeSet::new();
                let read = |at: usize, out: &mut [u8]| {
                    out.copy_from_slice(&memory[at..at + out.len()]);
                };
                search.search_chunks(memory.len(), 4_096, read, &mut found);
                assert_eq!(found, planted, "at {place}");
                memory[place] ^= 1;
                let mut found = BTreeSet::new();
                search.search(&memory, &mut found);
                assert!(found.is_empty());
            }
        }
    }
}

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
