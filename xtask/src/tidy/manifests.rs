//! Manifests take from the workspace what it rules for all.

use crate::workspace::Member;

/// Checks that a manifest inherits version, edition, Rust version, licence, lints and the version of
/// each dependency.
pub(super) fn inherited(member: &Member, manifest: &str) -> Vec<String> {
    let path = format!("{}/Cargo.toml", member.path);
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for key in ["version", "edition", "rust-version", "license"] {
        let line = format!("{key}.workspace = true");
        if !lines.contains(&line.as_str()) {
            found.push(format!("{path}: `{line}` is missing"));
        }
    }
    if !lines
        .iter()
        .any(|line| line.starts_with("description = \""))
    {
        found.push(format!("{path}: a description is missing"));
    }
    let lints = lines.iter().position(|line| *line == "[lints]");
    let after_lints = lints.and_then(|at| lines.get(at.saturating_add(1)));
    if after_lints != Some(&"workspace = true") {
        found.push(format!("{path}: `[lints] workspace = true` is missing"));
    }
    found.extend(
        own_versions(&lines)
            .map(|line| format!("{path}: `{line}` doesn't take its version from the workspace")),
    );
    found
}

/// Finds the lines of dependency tables that start an entry without `workspace = true`.
fn own_versions<'l>(lines: &'l [&'l str]) -> impl Iterator<Item = &'l str> {
    let mut is_in_dependencies = false;
    let mut open_brackets = 0_usize;
    lines.iter().copied().filter(move |line| {
        if open_brackets == 0 && line.starts_with('[') {
            is_in_dependencies = line.ends_with("dependencies]");
            return false;
        }
        let starts_entry = open_brackets == 0 && !line.is_empty() && !line.starts_with('#');
        open_brackets = open_brackets
            .saturating_add(line.matches('[').count())
            .saturating_sub(line.matches(']').count());
        is_in_dependencies && starts_entry && !line.contains("workspace = true")
    })
}

/// Checks that a crate root declares `no_std`, either always or whenever its feature `std` is off.
pub(super) fn no_std(path: &str, root: &str) -> Option<String> {
    let declares = root
        .lines()
        .map(str::trim)
        .any(|line| line == "#![no_std]" || line == "#![cfg_attr(not(feature = \"std\"), no_std)]");
    (!declares).then(|| format!("{path}: `#![no_std]` is missing"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const GOOD: &str = r#"
[package]
name = "hedgerow-coap"
description = "x"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true

[features]
std = ["hedgerow-core/std"]

[dependencies]
# Why it is here.
hedgerow-core.workspace = true
nom = { workspace = true, features = [
    "alloc",
] }

[lints]
workspace = true
"#;

    fn check(manifest: &str) -> Vec<String> {
        let member = Member {
            name: "hedgerow-coap".to_owned(),
            folder: "coap".to_owned(),
            path: "crates/coap".to_owned(),
            features: BTreeMap::new(),
            dependencies: Vec::new(),
        };
        inherited(&member, manifest)
    }

    #[test]
    fn manifest_that_inherits_everything_passes() {
        assert_eq!(check(GOOD), [""; 0]);
    }

    #[test]
    fn each_missing_inheritance_is_found() {
        for line in [
            "version.workspace = true\nedition",
            "edition.workspace = true",
            "rust-version.workspace = true",
            "license.workspace = true",
            "description = \"x\"",
            "[lints]\nworkspace = true",
        ] {
            assert!(GOOD.contains(line));
            let planted = GOOD.replace(line, "");
            assert!(!check(&planted).is_empty(), "{line}");
        }
    }

    #[test]
    fn version_of_its_own_is_found() {
        let planted = GOOD.replace("hedgerow-core.workspace = true", "subtle = \"2\"");
        assert_eq!(
            check(&planted),
            [
                "crates/coap/Cargo.toml: `subtle = \"2\"` doesn't take its version from the workspace"
            ]
        );
        let planted = GOOD.replace(
            "[lints]",
            "[target.'cfg(unix)'.dev-dependencies]\nlibc = { version = \"0.2\" }\n\n[lints]",
        );
        assert_eq!(check(&planted).len(), 1);
    }

    #[test]
    fn missing_no_std_is_found() {
        assert_eq!(no_std("a", "//! Doc.\n#![no_std]\n"), None);
        assert_eq!(
            no_std("a", "#![cfg_attr(not(feature = \"std\"), no_std)]"),
            None
        );
        assert!(no_std("a", "// #![no_std]\n").is_some());
        assert!(no_std("a", "#![cfg_attr(test, no_std)]\n").is_some());
    }
}
