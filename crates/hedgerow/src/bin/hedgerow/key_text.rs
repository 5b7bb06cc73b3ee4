//! The key of the command line.

use std::fs;
use std::path::Path;

use hedgerow_core::Psk;
use hedgerow_gateway::{parse_key, parse_key_file};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::private_file;

/// Reads the value of an option such as `-k`: `@` and the name of a file, or what [`parse_key`] takes.
pub(crate) fn parse_argument(option: &str, text: &str) -> Result<Psk, Failure> {
    let Some(path) = text.strip_prefix('@') else {
        return parse_key(text.as_bytes())
            .map_err(|error| Failure::usage(format!("{option}: {error}")));
    };
    let path = Path::new(path);
    private_file::warn_if_readable_by_others(path);
    let content = fs::read(path).map_err(|error| Failure::file(path, &error))?;
    parse_key_file(&Zeroizing::new(content))
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_do_not_repeat_the_key() {
        let failure = parse_argument("--hop-key", "0xsecret").unwrap_err();
        assert!(!failure.message.contains("secret"), "{failure}");
        // Which of two keys it is.
        assert!(failure.message.starts_with("--hop-key: "), "{failure}");
    }
}
