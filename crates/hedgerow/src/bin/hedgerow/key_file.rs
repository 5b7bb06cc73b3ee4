//! The file of identities and keys by URI that `--keys` reads and the demonstration writes.
//!
//! It is TOML: one `[[key]]` table a server, with `uri` (`coaps://HOST:PORT` or
//! `coaps+tcp://HOST:PORT`), `identity` and `key` (text, or hexadecimal digits behind `0x`).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use hedgerow_coap::CoapUri;
use hedgerow_core::Psk;
use hedgerow_gateway::parse_key;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::private_file;

/// What to show one server.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) identity: String,
    pub(crate) psk: Psk,
}

/// Reads `path` and returns the entry for the server of `uri`.
pub(crate) fn find(path: &Path, uri: &CoapUri<'_>) -> Result<Entry, Failure> {
    private_file::warn_if_readable_by_others(path);
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    find_in(&Zeroizing::new(text), uri)
        .map_err(|message| Failure::usage(format!("{}: {message}", path.display())))
}

/// Writes one table of the file.
pub(crate) fn write_entry(out: &mut String, uri: &str, identity: &str, key: &str) {
    // Writing to a String doesn't fail. Nothing that the demonstration writes needs escaping.
    let _ = write!(
        out,
        "\n[[key]]\nuri = \"{uri}\"\nidentity = \"{identity}\"\nkey = \"{key}\"\n"
    );
}

fn find_in(text: &str, uri: &CoapUri<'_>) -> Result<Entry, String> {
    // What the parser says of a mistake may repeat the line, and so a key.
    let tables: Tables = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count();
        format!(
            "line {}: expected [[key]] tables, each with uri, identity and key in quotes",
            line.saturating_add(1)
        )
    })?;
    let mut others = Vec::new();
    for table in tables.key {
        let server =
            CoapUri::parse(&table.uri).map_err(|error| format!("{}: {error}", table.uri))?;
        if !server.scheme().is_secure() {
            return Err(format!(
                "{}: expected coaps://HOST:PORT or coaps+tcp://HOST:PORT",
                table.uri
            ));
        }
        if authority(&server) == authority(uri) {
            let psk = parse_key(table.key.as_bytes())
                .map_err(|error| format!("{}: {error}", table.uri))?;
            return Ok(Entry {
                identity: table.identity,
                psk,
            });
        }
        others.push(authority(&server));
    }
    let others = match others.as_slice() {
        [] => "it is empty".to_owned(),
        others => format!("it has {}", others.join(", ")),
    };
    Err(format!("no key for {}: {others}", authority(uri)))
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
    identity: String,
    key: Zeroizing<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_for(text: &str, uri: &str) -> Result<Entry, String> {
        find_in(text, &CoapUri::parse(uri).unwrap())
    }

    fn written() -> String {
        let mut text = "# keys\n".to_owned();
        write_entry(&mut text, "coaps://127.0.0.1:4000", "one", "key1");
        write_entry(&mut text, "coaps://lamp.example", "two", "0x0102");
        text
    }

    #[test]
    fn entry_is_found_by_host_and_port() {
        let found = find_for(&written(), "coaps://127.0.0.1:4000/temperature?x").unwrap();
        assert_eq!(
            (found.identity.as_str(), found.psk.expose()),
            ("one", b"key1".as_slice())
        );
        let found = find_for(&written(), "coaps://LAMP.example:5684/").unwrap();
        assert_eq!(
            (found.identity.as_str(), found.psk.expose()),
            ("two", [1, 2].as_slice())
        );
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
