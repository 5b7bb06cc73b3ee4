//! Files that a configuration is read from: bounded in length, and those with keys their owner's.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use hedgerow_core::Psk;
use zeroize::Zeroizing;

use crate::key::parse_key_file;

/// Reads a file of at most `max` bytes into memory that is zeroed afterwards, and what the file
/// system says of the very file that was read.
pub(super) fn read(path: &Path, max: usize) -> io::Result<(Zeroizing<Vec<u8>>, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let expected = usize::try_from(metadata.len()).unwrap_or(max);
    Ok((read_all(file, expected, max)?, metadata))
}

/// Reads to the end, which may come later than expected. A vector that grows by itself would leave
/// what it held where it was.
fn read_all(mut from: impl Read, expected: usize, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // One byte more, so that the end is seen without growing.
    let most = max.saturating_add(1);
    let mut bytes = Zeroizing::new(vec![0; expected.saturating_add(1).min(most)]);
    let mut len = 0_usize;
    loop {
        if len == bytes.len() {
            if len == most {
                let message = format!("too long: expected {max} bytes at most");
                return Err(io::Error::other(message));
            }
            let larger = len.saturating_mul(2).min(most);
            let mut larger = Zeroizing::new(vec![0; larger]);
            for (to, from) in larger.iter_mut().zip(bytes.iter()) {
                *to = *from;
            }
            bytes = larger;
        }
        match from.read(bytes.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => len = len.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Reads a key from a file of its own.
pub(super) fn read_key(path: &Path) -> Result<Psk, String> {
    let (content, metadata) = read(path, MAX_KEY_FILE_LEN).map_err(unreadable)?;
    if is_exposed(&metadata) {
        return Err(EXPOSED.to_owned());
    }
    parse_key_file(&content).map_err(|error| error.to_string())
}

/// Reads a password or a token from a file of its own: one line, whose end may be there or not.
pub(super) fn read_line(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let (mut content, metadata) = read(path, MAX_LINE_FILE_LEN).map_err(unreadable)?;
    if is_exposed(&metadata) {
        return Err(EXPOSED.to_owned());
    }
    for end in [b'\n', b'\r'] {
        if content.last() == Some(&end) {
            content.pop();
        }
    }
    if content.contains(&b'\n') {
        return Err("there is more than one line: expected the secret alone".to_owned());
    }
    Ok(content)
}

/// Says why a file can't be read. The path isn't repeated: it may be the key itself, in the line of
/// the file that should hold it.
pub(super) fn unreadable(error: io::Error) -> String {
    format!("can't be read: {error}; expected a path as seen from the configuration's folder")
}

/// Says whether others than its owner may read or write a file.
pub(super) fn is_exposed(metadata: &Metadata) -> bool {
    has_mode(metadata, 0o077)
}

/// Says whether a file has one of these permissions, which only Unix tells.
#[cfg(unix)]
pub(super) fn has_mode(metadata: &Metadata, mask: u32) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & mask != 0
}

#[cfg(not(unix))]
pub(super) fn has_mode(_: &Metadata, _: u32) -> bool {
    false
}

/// What is wrong with a file that [`is_exposed`].
pub(super) const EXPOSED: &str =
    "others than its owner may read or write the file that holds the key: expected chmod 600";

/// The longest file of configuration, certificates or keys for TLS, in bytes.
pub(super) const MAX_FILE_LEN: usize = 1 << 20;

/// More than the longest password or token, in bytes.
const MAX_LINE_FILE_LEN: usize = 1_024;

/// More than the longest key in hexadecimal digits, in bytes.
const MAX_KEY_FILE_LEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time.
    struct Slow(&'static [u8]);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }

    #[test]
    fn whole_file_is_read_whatever_was_expected() {
        for expected in [0, 1, 9, 10, 11, 1_000] {
            for read in [
                read_all(Slow(b"0123456789"), expected, 10),
                read_all(b"0123456789".as_slice(), expected, 100),
            ] {
                assert_eq!(read.unwrap().as_slice(), b"0123456789");
            }
            assert!(read_all(Slow(b"0123456789"), expected, 9).is_err());
        }
    }
}
