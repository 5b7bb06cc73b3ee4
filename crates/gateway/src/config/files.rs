//! Files that a configuration is read from: bounded in length, and those with keys their owner's.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use hedgerow_core::{Psk, Secret};

use crate::key::parse_key_file;

/// Reads a file of bounded length, and what the file system says of the very file that was read.
pub(super) fn read(path: &Path, max: u64) -> std::io::Result<(Vec<u8>, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > max) {
        return Err(std::io::Error::other("longer than 1 MiB"));
    }
    Ok((bytes, metadata))
}

/// Reads a key from a file of its own, into memory that is zeroed afterwards.
pub(super) fn read_key(path: &Path) -> Result<Psk, String> {
    let open = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok::<_, std::io::Error>((file, metadata))
    };
    let unreadable = |error| format!("{path:?} can't be read: {error}");
    let (mut file, metadata) = open().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(format!("{path:?} is not a file"));
    }
    if is_exposed(&metadata) {
        return Err(EXPOSED.to_owned());
    }
    let mut content = Secret::<MAX_KEY_FILE_LEN>::zeroed();
    let mut len = 0_usize;
    while let Some(space) = content
        .expose_mut()
        .get_mut(len..)
        .filter(|it| !it.is_empty())
    {
        match file.read(space).map_err(unreadable)? {
            0 => break,
            read => len = len.saturating_add(read),
        }
    }
    if len == MAX_KEY_FILE_LEN {
        return Err(format!(
            "{path:?} is too long: expected one line with the key"
        ));
    }
    let content = content.expose().get(..len).unwrap_or_default();
    parse_key_file(content).map_err(|error| format!("{path:?}: {error}"))
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
pub(super) const MAX_FILE_LEN: u64 = 1 << 20;

/// More than the longest key in hexadecimal digits, in bytes.
const MAX_KEY_FILE_LEN: usize = 256;
