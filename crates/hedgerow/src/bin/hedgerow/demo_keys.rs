//! The keys of one run of the demonstration.

use std::io;
use std::path::{Path, PathBuf};

use hedgerow_core::KeyPurpose;
use zeroize::Zeroizing;

use crate::key_file::write_entry;
use crate::private_folder::PrivateFolder;

/// The identity that people use with the simulated devices.
pub(crate) const IDENTITY: &str = "demo";

/// The identity that people use with them through the gateway, which hasn't its keys.
pub(crate) const END_TO_END_IDENTITY: &str = "demo-end-to-end";

/// A key as text: 32 hexadecimal digits, and with them 128 random bits.
///
/// The text itself is the key, so that clients which take keys as text only can be given it.
pub(crate) type KeyText = Zeroizing<String>;

/// Draws a key.
///
/// # Errors
///
/// Those of the operating system's random source.
pub(crate) fn draw() -> io::Result<KeyText> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    getrandom::fill(bytes.as_mut_slice())?;
    // Long enough from the start: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes.iter() {
        for nibble in [byte >> 4, byte & 0x0f] {
            let digit = char::from_digit(nibble.into(), 16).unwrap_or_default();
            text.push(digit);
        }
    }
    Ok(text)
}

/// The keys that people use with one server.
#[derive(Debug)]
pub(crate) struct ServerKeys<'a> {
    pub(crate) name: &'a str,
    pub(crate) uris: Vec<String>,
    pub(crate) key: &'a KeyText,
    /// Its URI at the gateway, and the key that the gateway hasn't.
    pub(crate) behind_gateway: (String, &'a KeyText),
}

/// The files with the keys of one run. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    folder: PrivateFolder,
    all: PathBuf,
}

impl KeyFiles {
    /// Writes the keys of servers: one file for `--keys`, and one file a server with the bare key for
    /// other programs; and other files, by their names.
    ///
    /// # Errors
    ///
    /// Those of the operating system. What was written is removed then.
    pub(crate) fn write(servers: &[ServerKeys<'_>], others: &[(&str, &[u8])]) -> io::Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)?;
        let mut folder =
            PrivateFolder::create(&format!("hedgerow-{:016x}", u64::from_be_bytes(random)))?;
        let mut text = Zeroizing::new(String::with_capacity(4_096));
        text.push_str(
            "# Keys of one run of hedgerow's demonstration, for `hedgerow get --keys`.\n",
        );
        for server in servers {
            for uri in &server.uris {
                write_entry(&mut text, uri, IDENTITY, server.key, KeyPurpose::Hop);
            }
            let (uri, key) = &server.behind_gateway;
            write_entry(
                &mut text,
                uri,
                END_TO_END_IDENTITY,
                key,
                KeyPurpose::EndToEnd,
            );
            folder.write(&format!("{}.key", server.name), server.key.as_bytes())?;
        }
        for (name, content) in others {
            folder.write(name, content)?;
        }
        let all = folder.write("keys.toml", text.as_bytes())?;
        Ok(Self { folder, all })
    }

    /// Returns the file for `--keys`.
    pub(crate) fn all(&self) -> &Path {
        &self.all
    }

    /// Returns one of the other files.
    pub(crate) fn other(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the file with the bare key of one server.
    pub(crate) fn of(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.key"))
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_coap::CoapUri;

    use super::*;
    use crate::key_file;

    #[test]
    fn keys_are_drawn_anew_and_are_text_of_32_digits() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert_ne!(*one, *other);
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn what_is_written_is_found_again_and_removed_in_the_end() {
        let key = draw().unwrap();
        let uri = "coaps://127.0.0.1:4000";
        let (end_to_end, token) = (draw().unwrap(), draw().unwrap());
        let server = ServerKeys {
            name: "lamp",
            uris: vec![uri.to_owned()],
            key: &key,
            behind_gateway: ("coaps://lamp:4000".to_owned(), &end_to_end),
        };
        let files = KeyFiles::write(&[server], &[("token", token.as_bytes())]).unwrap();
        let behind = CoapUri::parse("coaps://lamp:4000").unwrap();
        let found = key_file::find(files.all(), &behind, KeyPurpose::EndToEnd).unwrap();
        assert_eq!(found.purpose(), KeyPurpose::EndToEnd);
        assert_eq!(
            std::fs::read(files.other("token")).unwrap(),
            token.as_bytes()
        );
        let found =
            key_file::find(files.all(), &CoapUri::parse(uri).unwrap(), KeyPurpose::Hop).unwrap();
        let key_file::Entry::Psk { identity, psk, .. } = found else {
            panic!("{found:?}");
        };
        assert_eq!(
            (identity.as_str(), psk.expose()),
            (IDENTITY, key.as_bytes())
        );
        let bare = files.of("lamp");
        assert_eq!(std::fs::read(&bare).unwrap(), key.as_bytes());
        let all = files.all().to_owned();
        drop(files);
        assert!(!all.exists() && !bare.exists() && !all.parent().unwrap().exists());
    }
}
