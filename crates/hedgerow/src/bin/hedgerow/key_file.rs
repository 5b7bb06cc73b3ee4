//! The file of identities and keys by URI that `--keys` reads and the demonstration writes.
//!
//! It is TOML: one `[[key]]` table a server, with `uri` (`coaps://HOST:PORT` or
//! `coaps+tcp://HOST:PORT`), `identity` and `key` (text, or hexadecimal digits behind `0x`), or
//! files for certificate mode, relative to the file's own folder. With `end_to_end = true` they are
//! for a server behind a gateway, which has nothing of them. A server may have an entry of each kind, and
//! no more.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use hedgerow_coap::{CoapUri, Scheme};
use hedgerow_core::{KeyPurpose, Psk};
use hedgerow_gateway::parse_key;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::certificates::Files;
use crate::exit::Failure;
use crate::private_file;

/// What to show one server.
#[derive(Debug)]
pub(crate) enum Entry {
    Psk {
        identity: String,
        /// It says what it is for.
        psk: Psk,
        is_shared: bool,
    },
    Certificates {
        files: Files,
        purpose: KeyPurpose,
    },
}

impl Entry {
    /// Returns what it is for.
    pub(crate) const fn purpose(&self) -> KeyPurpose {
        match self {
            Self::Psk { psk, .. } => psk.purpose(),
            Self::Certificates { purpose, .. } => *purpose,
        }
    }
}

/// Reads `path` and returns the entry for the server of `uri` and for what is `wanted` of it, or else the one
/// that the server has.
pub(crate) fn find(path: &Path, uri: &CoapUri<'_>, wanted: KeyPurpose) -> Result<Entry, Failure> {
    private_file::warn_if_readable_by_others(path);
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    find_in(&Zeroizing::new(text), folder, uri, wanted)
        .map_err(|message| Failure::usage(format!("{}: {message}", path.display())))
}

/// Reads `path` and returns every entry for a `coaps` server behind a gateway, with its URI.
pub(crate) fn end_to_end(path: &Path) -> Result<Vec<(String, Entry)>, Failure> {
    private_file::warn_if_readable_by_others(path);
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let text = Zeroizing::new(text);
    let folder = path.parent().unwrap_or(Path::new(""));
    let found = read(&text).and_then(|(tables, servers)| {
        let named = servers.into_iter().zip(tables);
        let wanted = named.filter(|(server, table)| table.end_to_end && !server.1.is_tcp());
        wanted
            .map(|((authority, _), table)| {
                let entry = table
                    .entry(folder)
                    .map_err(|error| format!("{authority}: {error}"))?;
                Ok((authority, entry))
            })
            .collect()
    });
    found.map_err(|message| Failure::usage(format!("{}: {message}", path.display())))
}

/// Writes one table of the file.
pub(crate) fn write_entry(
    out: &mut String,
    uri: &str,
    identity: &str,
    key: &str,
    purpose: KeyPurpose,
) {
    let end_to_end = match purpose {
        KeyPurpose::Hop => "",
        KeyPurpose::EndToEnd => "end_to_end = true\n",
    };
    // Writing to a String doesn't fail. Nothing that the demonstration writes needs escaping.
    let _ = write!(
        out,
        "\n[[key]]\nuri = \"{uri}\"\nidentity = \"{identity}\"\nkey = \"{key}\"\n{end_to_end}"
    );
}

fn find_in(
    text: &str,
    folder: &Path,
    uri: &CoapUri<'_>,
    wanted: KeyPurpose,
) -> Result<Entry, String> {
    let (tables, servers) = read(text)?;
    let others: Vec<_> = servers
        .into_iter()
        .map(|(authority, _)| authority)
        .collect();
    let wanted = wanted == KeyPurpose::EndToEnd;
    let of_server = || {
        let named = others.iter().zip(&tables).enumerate();
        named.filter(|(_, (other, _))| **other == authority(uri))
    };
    let fitting = of_server().find(|(_, (_, table))| table.end_to_end == wanted);
    let found = fitting.or_else(|| of_server().next()).map(|(at, _)| at);
    if let Some(table) = found.and_then(|at| tables.into_iter().nth(at)) {
        let uri = table.uri.clone();
        return table
            .entry(folder)
            .map_err(|error| format!("{uri}: {error}"));
    }
    let others = match others.as_slice() {
        [] => "it is empty".to_owned(),
        others => format!("it has {}", others.join(", ")),
    };
    Err(format!("no key for {}: {others}", authority(uri)))
}

/// A server by scheme, host and port, and its scheme.
type Server = (String, Scheme);

/// Reads the tables, with the server of each, as far as they go together.
fn read(text: &str) -> Result<(Vec<Table>, Vec<Server>), String> {
    // What the parser says of a mistake may repeat the line, and so a key.
    let tables: Tables = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count();
        format!(
            "line {}: expected [[key]] tables, each with uri, and identity and key in quotes or the \
             files of certificate mode",
            line.saturating_add(1)
        )
    })?;
    let mut servers = Vec::new();
    for table in &tables.key {
        let server =
            CoapUri::parse(&table.uri).map_err(|error| format!("{}: {error}", table.uri))?;
        if !server.scheme().is_secure() {
            return Err(format!(
                "{}: expected coaps://HOST:PORT or coaps+tcp://HOST:PORT",
                table.uri
            ));
        }
        servers.push(server);
    }
    check_once(&tables.key, &servers)?;
    check_apart(&tables.key, &servers)?;
    let servers = servers
        .iter()
        .map(|server| (authority(server), server.scheme()))
        .collect();
    Ok((tables.key, servers))
}

/// Refuses two entries of a server for the same purpose: which one counts would be a matter of order.
fn check_once(tables: &[Table], servers: &[CoapUri<'_>]) -> Result<(), String> {
    let mut seen = Vec::new();
    for (table, server) in tables.iter().zip(servers) {
        let entry = (authority(server), table.end_to_end);
        if seen.contains(&entry) {
            let kind = match table.end_to_end {
                true => "with end_to_end = true",
                false => "without end_to_end = true",
            };
            return Err(format!(
                "{} stands here twice {kind}: expected one entry, or one of each kind",
                entry.0
            ));
        }
        seen.push(entry);
    }
    Ok(())
}

/// Refuses an end-to-end key that stands in another entry too: for a hop, or for another server. One
/// server may be there over UDP and over TCP, at one host and port.
fn check_apart(tables: &[Table], servers: &[CoapUri<'_>]) -> Result<(), String> {
    // What is no key says so when it is asked for.
    let keys: Vec<_> = tables
        .iter()
        .zip(servers)
        .filter_map(|(table, server)| {
            let key = parse_key(table.key.as_ref()?.as_bytes()).ok()?;
            Some((table, server, key))
        })
        .collect();
    for (index, (one, at, key)) in keys.iter().enumerate() {
        for (other, other_at, other_key) in keys.get(..index).unwrap_or_default() {
            if !(one.end_to_end || other.end_to_end) || !key.has_same_bytes(other_key) {
                continue;
            }
            let (one_name, other_name) = (authority(at), authority(other_at));
            if one.end_to_end != other.end_to_end {
                return Err(format!(
                    "{one_name} and {other_name} have one key, end to end and not: what is used \
                     without end_to_end = true a gateway may have, so expected two keys"
                ));
            }
            if (at.host(), at.port()) != (other_at.host(), other_at.port()) {
                return Err(format!(
                    "{one_name} and {other_name} have one end-to-end key: each could play the \
                     other, so expected two keys"
                ));
            }
        }
    }
    Ok(())
}

/// Scheme, host and port in normal form, which is what a key belongs to.
fn authority(uri: &CoapUri<'_>) -> String {
    format!("{}://{}:{}", uri.scheme(), uri.host(), uri.port())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    key: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    uri: String,
    identity: Option<String>,
    key: Option<Zeroizing<String>>,
    #[serde(default)]
    shared: bool,
    #[serde(default)]
    end_to_end: bool,
    certificate: Option<PathBuf>,
    private_key: Option<PathBuf>,
    authority: Option<PathBuf>,
    server_key: Option<PathBuf>,
    server_name: Option<String>,
}

impl Table {
    fn entry(self, folder: &Path) -> Result<Entry, String> {
        let place = |path: PathBuf| folder.join(path);
        let files = Files {
            certificate: self.certificate.map(place),
            private_key: self.private_key.map(place),
            authorities: self.authority.map(place).into_iter().collect(),
            server_key: self.server_key.map(place),
            server_name: self.server_name,
        };
        match (self.identity, self.key) {
            (Some(_), Some(_)) if self.shared && self.end_to_end => Err(
                "shared and end_to_end: a key that others have can't be for two ends".to_owned(),
            ),
            (Some(identity), Some(key)) if !files.is_any() => {
                let psk = parse_key(key.as_bytes()).map_err(|error| error.to_string())?;
                let psk = match self.end_to_end {
                    true => psk.into_end_to_end().map_err(|error| error.to_string())?,
                    false => psk,
                };
                Ok(Entry::Psk {
                    identity,
                    psk,
                    is_shared: self.shared,
                })
            }
            (None, None) if files.is_any() && !self.shared => Ok(Entry::Certificates {
                files,
                purpose: match self.end_to_end {
                    true => KeyPurpose::EndToEnd,
                    false => KeyPurpose::Hop,
                },
            }),
            _ => Err("expected identity and key, or the files of certificate mode".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_for(text: &str, uri: &str) -> Result<Entry, String> {
        find_wanted(text, uri, KeyPurpose::Hop)
    }

    fn find_wanted(text: &str, uri: &str, wanted: KeyPurpose) -> Result<Entry, String> {
        let uri = CoapUri::parse(uri).unwrap();
        find_in(text, Path::new("folder"), &uri, wanted)
    }

    fn psk_for(text: &str, uri: &str) -> (String, Vec<u8>, bool) {
        match find_for(text, uri).unwrap() {
            Entry::Psk {
                identity,
                psk,
                is_shared,
            } => (identity, psk.expose().to_vec(), is_shared),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entry_may_name_the_files_of_certificate_mode() {
        let text = "[[key]]\nuri = \"coaps://a\"\ncertificate = \"own.pem\"\n\
                    authority = \"ca.pem\"\nserver_name = \"lamp\"\n\
                    [[key]]\nuri = \"coaps://b\"\nidentity = \"i\"\nkey = \"k\"\nshared = true\n\
                    [[key]]\nuri = \"coaps://c\"\nkey = \"k\"\nauthority = \"ca.pem\"\n";
        let Entry::Certificates { files, .. } = find_for(text, "coaps://a/x").unwrap() else {
            panic!("a key");
        };
        assert_eq!(
            files.certificate.as_deref(),
            Some(Path::new("folder/own.pem"))
        );
        assert_eq!(files.authorities, [Path::new("folder/ca.pem")]);
        assert_eq!(files.server_name.as_deref(), Some("lamp"));
        let (_, _, is_shared) = psk_for(text, "coaps://b");
        assert!(is_shared);
        let error = find_for(text, "coaps://c").unwrap_err();
        assert!(
            error.contains("expected identity and key, or the files"),
            "{error}"
        );
    }

    fn entry(uri: &str, key: &str, rest: &str) -> String {
        format!("[[key]]\nuri = \"{uri}\"\nidentity = \"i\"\nkey = \"{key}\"\n{rest}\n")
    }

    const KEY: &str = "0x00112233445566778899aabbccddeeff";

    #[test]
    fn entry_says_what_it_is_for() {
        let purpose_of = |text: &str| match find_for(text, "coaps://a").unwrap() {
            Entry::Psk { psk, .. } => psk.purpose(),
            Entry::Certificates { purpose, .. } => purpose,
        };
        let certificates = "[[key]]\nuri = \"coaps://a\"\nauthority = \"ca.pem\"\n";
        assert_eq!(purpose_of(&entry("coaps://a", KEY, "")), KeyPurpose::Hop);
        assert_eq!(purpose_of(certificates), KeyPurpose::Hop);
        let end_to_end = "end_to_end = true\n";
        let with_key = entry("coaps://a", KEY, end_to_end);
        assert_eq!(purpose_of(&with_key), KeyPurpose::EndToEnd);
        let with_files = format!("{certificates}{end_to_end}");
        assert_eq!(purpose_of(&with_files), KeyPurpose::EndToEnd);
    }

    #[test]
    fn end_to_end_key_is_long_enough_unshared_and_no_other_entry_s() {
        let end_to_end = "end_to_end = true";
        let refused = |text: String| {
            let error = find_for(&text, "coaps://a").unwrap_err();
            assert!(
                !error.contains("0011") && !error.contains("short"),
                "{error}"
            );
            error
        };
        let short = refused(entry("coaps://a", "0x00112233", end_to_end));
        assert!(short.contains("4 bytes: 16 random ones or more"), "{short}");
        let shared = format!("shared = true\n{end_to_end}");
        let shared = refused(entry("coaps://a", KEY, &shared));
        assert!(shared.contains("others have"), "{shared}");
        // In another spelling of the same bytes, and wherever it stands.
        let again = KEY.replace("aabb", "AABB");
        for (one, other) in [("", end_to_end), (end_to_end, "")] {
            let both = entry("coaps://a", KEY, one) + &entry("coaps://b", &again, other);
            let both = refused(both);
            assert!(
                both.contains("coaps://a:5684") && both.contains("coaps://b:5684 have one key")
                    || both.contains("coaps://b:5684 and coaps://a:5684 have one key"),
                "{both}"
            );
        }
        let two = entry("coaps://a", KEY, end_to_end) + &entry("coaps://b", KEY, end_to_end);
        let two = refused(two);
        assert!(two.contains("have one end-to-end key"), "{two}");
        let ports = entry("coaps://a", KEY, end_to_end) + &entry("coaps://a:1", KEY, end_to_end);
        let ports = refused(ports);
        assert!(
            ports.contains("coaps://a:1 and coaps://a:5684 have one end-to-end key"),
            "{ports}"
        );
        // The same server over UDP and over TCP.
        let same = entry("coaps://a", KEY, end_to_end) + &entry("coaps+tcp://a", KEY, end_to_end);
        assert!(find_for(&same, "coaps://a").is_ok());
    }

    #[test]
    fn server_has_one_entry_of_each_kind_at_most() {
        let (hop, end_to_end) = ("", "end_to_end = true");
        let other = KEY.replace("aabb", "ccdd");
        for (first, second) in [(hop, end_to_end), (end_to_end, hop)] {
            let text = entry("coaps://a", KEY, first) + &entry("coaps://a", &other, second);
            for wanted in [KeyPurpose::Hop, KeyPurpose::EndToEnd] {
                let found = find_wanted(&text, "coaps://a", wanted).unwrap();
                assert_eq!(found.purpose(), wanted);
            }
            // What there is of it is found, and is the caller's to refuse.
            let text = entry("coaps://a", KEY, first);
            for wanted in [KeyPurpose::Hop, KeyPurpose::EndToEnd] {
                assert!(find_wanted(&text, "coaps://a", wanted).is_ok());
            }
        }
        for kind in [hop, end_to_end] {
            let text = entry("coaps://a", KEY, kind) + &entry("coaps://A:5684/x", &other, kind);
            let error = find_for(&text, "coaps://b").unwrap_err();
            assert!(
                error.contains("coaps://a:5684 stands here twice with"),
                "{error}"
            );
            assert!(!error.contains("0011"), "{error}");
        }
    }

    fn written() -> String {
        let mut text = "# keys\n".to_owned();
        let hop = KeyPurpose::Hop;
        write_entry(&mut text, "coaps://127.0.0.1:4000", "one", "key1", hop);
        write_entry(&mut text, "coaps://lamp.example", "two", "0x0102", hop);
        text
    }

    #[test]
    fn entry_is_found_by_host_and_port() {
        let found = psk_for(&written(), "coaps://127.0.0.1:4000/temperature?x");
        assert_eq!(found, ("one".to_owned(), b"key1".to_vec(), false));
        let found = psk_for(&written(), "coaps://LAMP.example:5684/");
        assert_eq!(found, ("two".to_owned(), vec![1, 2], false));
        let other = find_for(&written(), "coaps://127.0.0.1/").unwrap_err();
        assert_eq!(
            other,
            "no key for coaps://127.0.0.1:5684: it has coaps://127.0.0.1:4000, \
             coaps://lamp.example:5684"
        );
    }

    #[test]
    fn mistakes_are_placed_and_repeat_no_key() {
        let line_of =
            |line: &str| format!("[[key]]\nuri = \"coaps://h\"\nidentity = \"i\"\n{line}\n");
        for line in [
            "key = 12345678",
            "key = \"12345678",
            "kay = \"12345678\"",
            "key = 12345678x",
        ] {
            let error = find_for(&line_of(line), "coaps://h").unwrap_err();
            assert!(error.starts_with("line "), "{error}");
            assert!(!error.contains("12345678"), "{error}");
        }
        let error = find_for(&line_of("key = \"0x12345678z\""), "coaps://h").unwrap_err();
        assert!(!error.contains("12345678"), "{error}");
        let clear = "[[key]]\nuri = \"coap://h\"\nidentity = \"i\"\nkey = \"k\"\n";
        assert!(find_for(clear, "coaps://h").is_err());
    }
}
