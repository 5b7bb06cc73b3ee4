//! What must not stand in a file of the repository.

use crate::tidy::code::{code_lines, has_word};

/// Finds `unsafe` in code. The lint forbids it in the main workspace; this covers the workspaces
/// of their own too, all but the two folders that may have some.
pub(super) fn unsafe_code(files: &[(String, String)]) -> Vec<String> {
    let may_have_some = ["crates/embedded/firmware/", "peers/"];
    let mut found = Vec::new();
    for (path, text) in files {
        if may_have_some.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        for (number, line) in (1..).zip(code_lines(text)) {
            if has_word(&line, "unsafe") {
                found.push(format!("{path}:{number}: unsafe code"));
            }
        }
    }
    found
}

/// Finds work that was left for later, and tests that were switched off.
pub(super) fn leftovers(files: &[(String, String)]) -> Vec<String> {
    let files = files.iter().filter(|(path, _)| !path.ends_with(".md"));
    find(files, |line| {
        if has_word(line, concat!("TO", "DO")) || has_word(line, concat!("FIX", "ME")) {
            Some("work left for later")
        } else if line.trim_start().starts_with(concat!("#[ig", "nore")) {
            Some("a test that is switched off")
        } else {
            None
        }
    })
}

/// Finds paths that exist on somebody's machine only.
pub(super) fn machine_paths(files: &[(String, String)]) -> Vec<String> {
    find(files.iter(), |line| {
        MACHINE_PATHS
            .iter()
            .any(|path| {
                line.match_indices(path).any(|(at, _)| {
                    let before = line.get(..at).and_then(|before| before.chars().next_back());
                    before.is_none_or(|before| !is_part_of_path(before))
                })
            })
            .then_some("a path of one machine")
    })
}

/// Names the files whose part before the tests is so long that it may hold two concepts.
pub(super) fn long_files(files: &[(String, String)]) -> Vec<String> {
    files
        .iter()
        .filter(|(path, _)| !path.contains("/tests/"))
        .filter_map(|(path, text)| {
            let before_tests = text.lines().take_while(|line| *line != "#[cfg(test)]");
            let count = before_tests.count();
            (count > LONG_FILE).then(|| format!("{path}: {count} lines before its tests"))
        })
        .collect()
}

fn find<'f>(
    files: impl Iterator<Item = &'f (String, String)>,
    rule: impl Fn(&str) -> Option<&'static str>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(what) = rule(line) {
                found.push(format!("{path}:{number}: {what}"));
            }
        }
    }
    found
}

fn is_part_of_path(character: char) -> bool {
    character.is_alphanumeric() || ['/', '-', '_', '.', '}', '>'].contains(&character)
}

/// Split, so that this file isn't its own violation.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tm", "p/"),
];

const LONG_FILE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> [(String, String); 1] {
        [(path.to_owned(), text.to_owned())]
    }

    #[test]
    fn planted_unsafe_is_found_and_the_word_in_prose_is_not() {
        let planted = format!("fn f() {{\n    {} {{ g() }}\n}}\n", "unsafe");
        assert_eq!(
            unsafe_code(&file("crates/core/src/a.rs", &planted)),
            ["crates/core/src/a.rs:2: unsafe code"]
        );
        assert_eq!(unsafe_code(&file("peers/a.rs", &planted)), [""; 0]);
        let prose = "/// An unsafe option.\nlet a = \"unsafe\"; // unsafe\nis_unsafe();\n";
        assert_eq!(unsafe_code(&file("a.rs", prose)), [""; 0]);
    }

    #[test]
    fn planted_leftovers_are_found() {
        for line in [
            format!("// {}: later", concat!("TO", "DO")),
            format!("    {}]", concat!("#[ig", "nore")),
            format!("{} = \"slow\"]", concat!("#[ig", "nore")),
        ] {
            assert_eq!(leftovers(&file("a.rs", &line)).len(), 1, "{line}");
        }
        assert_eq!(leftovers(&file("a.rs", "fn todos() {}\n")), [""; 0]);
    }

    #[test]
    fn planted_machine_paths_are_found_and_uri_paths_are_not() {
        let path = MACHINE_PATHS[0];
        let planted = format!("key: {path}me/k\nhttp://h{path}x\n");
        assert_eq!(
            machine_paths(&file("a.md", &planted)),
            ["a.md:1: a path of one machine"]
        );
    }

    #[test]
    fn long_files_are_named_without_their_tests() {
        let long = "x\n".repeat(501);
        assert_eq!(long_files(&file("a.rs", &long)).len(), 1);
        let tests = format!("x\n#[cfg(test)]\n{long}");
        assert_eq!(long_files(&file("a.rs", &tests)), [""; 0]);
        assert_eq!(long_files(&file("a/tests/b.rs", &long)), [""; 0]);
    }
}
