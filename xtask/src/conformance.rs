//! `cargo xtask conformance`: collects the requirements that the code enforces into
//! `docs/CONFORMANCE.md`.
//!
//! A requirement is a comment in `crates/`, or a doc comment, whose first line is
//! `// MUST (RFC 7252 §4.2): ...`, a deviation one whose first line is `// DEVIATES (RFC 7252 §4.2): ...`; the `//` lines after it
//! belong to it. A test names a requirement by `RFC 7252 §4.2` in the comment or doc lines around
//! its `#[test]`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::table::{Status, Table};
use crate::workspace::Workspace;

/// Writes the page, or with `is_check` only compares it.
///
/// # Errors
///
/// A message if git can't be asked or the page can't be written.
pub fn run(is_check: bool) -> Result<Table, String> {
    let workspace = Workspace::load()?;
    let files = workspace.texts(&[".rs"])?;
    let crates = files.iter().filter(|(path, _)| path.starts_with("crates/"));
    let collected = Collected::from_files(crates);
    let mut table = Table::new("conformance");
    for malformed in &collected.malformed {
        println!("{malformed}: expected `// MUST (RFC 7252 §4.2): text`");
    }
    let malformed = collected.malformed.len();
    match malformed {
        0 => table.row("lines", Status::Passed, collected.summary()),
        _ => table.row("lines", Status::Failed, format!("{malformed} malformed")),
    }
    let page = collected.page();
    let is_fresh = workspace.read(PAGE).is_ok_and(|old| old == page);
    if is_fresh {
        table.row(PAGE, Status::Passed, "up to date");
    } else if is_check {
        table.row(PAGE, Status::Failed, "stale: run `cargo xtask conformance`");
    } else {
        let path = workspace.root.join(PAGE);
        let folder = workspace.root.join("docs");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(path, page))
            .map_err(|error| format!("{PAGE}: {error}"))?;
        table.row(PAGE, Status::Passed, "written");
    }
    Ok(table)
}

/// A section of an RFC. The numbers inside a section sort as numbers, appendices behind them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Citation {
    rfc: u32,
    parts: Vec<(u32, String)>,
}

impl Citation {
    fn new(rfc: u32, section: &str) -> Self {
        let parts = section.split('.').map(|part| {
            let number = part.parse().unwrap_or(u32::MAX);
            (number, part.to_owned())
        });
        Self {
            rfc,
            parts: parts.collect(),
        }
    }

    fn section(&self) -> String {
        let parts: Vec<&str> = self.parts.iter().map(|(_, part)| part.as_str()).collect();
        parts.join(".")
    }
}

#[derive(Debug, Default)]
struct Collected {
    requirements: BTreeSet<(Citation, String, String)>,
    deviations: BTreeSet<(Citation, String, String)>,
    tests: BTreeMap<Citation, BTreeSet<String>>,
    malformed: Vec<String>,
}

impl Collected {
    fn from_files<'f>(files: impl Iterator<Item = &'f (String, String)>) -> Self {
        let mut collected = Self::default();
        for (path, text) in files {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                let rest = lines.get(at.saturating_add(1)..).unwrap_or_default();
                if let Some(start) = line
                    .strip_prefix("// MUST")
                    .or_else(|| line.strip_prefix("/// MUST"))
                {
                    collected.add(path, at, start, rest, false);
                } else if let Some(start) = line.strip_prefix("// DEVIATES") {
                    collected.add(path, at, start, rest, true);
                } else if *line == "#[test]" {
                    let before = lines.get(..at).unwrap_or_default();
                    collected.add_test(path, before, rest);
                }
            }
        }
        collected
    }

    fn add(&mut self, path: &str, at: usize, start: &str, rest: &[&str], is_deviation: bool) {
        let parts = start
            .strip_prefix(" (")
            .and_then(|start| start.split_once("): "));
        let (citations, text) = match parts {
            Some((cited, text)) => (citations(cited), text),
            None => (Vec::new(), ""),
        };
        if citations.is_empty() {
            let number = at.saturating_add(1);
            self.malformed.push(format!("{path}:{number}"));
        }
        let mut text = text.to_owned();
        for line in rest {
            match line
                .strip_prefix("// ")
                .or_else(|| line.strip_prefix("/// "))
            {
                Some(more) if !more.starts_with("MUST") && !more.starts_with("DEVIATES") => {
                    text.push(' ');
                    text.push_str(more);
                }
                _ => break,
            }
        }
        let into = if is_deviation {
            &mut self.deviations
        } else {
            &mut self.requirements
        };
        for citation in citations {
            into.insert((citation, text.clone(), path.to_owned()));
        }
    }

    fn add_test(&mut self, path: &str, before: &[&str], rest: &[&str]) {
        let belongs = |line: &&&str| line.starts_with("//") || line.starts_with("#[");
        let above = before.iter().rev().take_while(belongs);
        let below = rest.iter().take_while(belongs);
        let cited: Vec<Citation> = above
            .chain(below)
            .filter(|line| line.starts_with("//"))
            .flat_map(|line| citations(line))
            .collect();
        let function = rest.iter().find_map(|line| line.strip_prefix("fn "));
        let Some(name) = function.and_then(|function| function.split('(').next()) else {
            return;
        };
        for citation in cited {
            let test = format!("`{name}` in {path}");
            self.tests.entry(citation).or_default().insert(test);
        }
    }

    fn untested(&self) -> usize {
        let cited = self.requirements.iter().map(|(citation, _, _)| citation);
        cited
            .filter(|citation| !self.tests.contains_key(citation))
            .count()
    }

    fn summary(&self) -> String {
        format!(
            "{} requirements, {} without a test that names them, {} deviations",
            self.requirements.len(),
            self.untested(),
            self.deviations.len()
        )
    }

    fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        page.push_str(&format!("\nIt lists {}.\n", self.summary()));
        let mut rfc = None;
        for (citation, text, path) in &self.requirements {
            if rfc != Some(citation.rfc) {
                rfc = Some(citation.rfc);
                page.push_str(&format!("\n## RFC {}\n\n", citation.rfc));
                page.push_str("| section | what is enforced | where | tests |\n");
                page.push_str("| --- | --- | --- | --- |\n");
            }
            let tests = self.tests.get(citation).map_or_else(
                || "none".to_owned(),
                |tests| tests.iter().cloned().collect::<Vec<_>>().join("<br>"),
            );
            let (section, text) = (citation.section(), cell(text));
            page.push_str(&format!("| §{section} | {text} | {path} | {tests} |\n"));
        }
        if !self.deviations.is_empty() {
            page.push_str("\n## Deviations\n\n| section | what differs, and why | where |\n");
            page.push_str("| --- | --- | --- |\n");
        }
        for (citation, text, path) in &self.deviations {
            let (rfc, section, text) = (citation.rfc, citation.section(), cell(text));
            page.push_str(&format!("| RFC {rfc} §{section} | {text} | {path} |\n"));
        }
        page
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Finds `RFC 7252 §4.2` in a text, also as `RFC 6347 §4.2.1, §4.2.4` and `RFC 7252 §A`.
fn citations(text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    for after_rfc in text.split("RFC ").skip(1) {
        let (digits, mut rest) = split_while(after_rfc, |character| character.is_ascii_digit());
        let Ok(rfc) = digits.parse() else {
            continue;
        };
        while let Some((between, after)) = rest.split_once('§') {
            if ![" ", ", ", " and "].contains(&between) {
                break;
            }
            let (section, more) = split_while(after, |character| {
                character.is_ascii_alphanumeric() || character == '.'
            });
            let trimmed = section.trim_end_matches('.');
            if !trimmed.is_empty() {
                found.push(Citation::new(rfc, trimmed));
            }
            rest = more;
        }
    }
    found
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text
        .find(|character| !belongs(character))
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

const PAGE: &str = "docs/CONFORMANCE.md";

const HEAD: &str = "\
# Conformance

What the code enforces of the RFCs, and where it deviates, collected from its `// MUST (RFC n §x)` and
`// DEVIATES (RFC n §x)` comments. A test stands in a row if it names the section.

This page is written by `cargo xtask conformance`; `.ci/run` fails if it is stale.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(text: &str) -> Collected {
        Collected::from_files([("crates/a/src/b.rs".to_owned(), text.to_owned())].iter())
    }

    fn sections(text: &str) -> Vec<String> {
        let found = citations(text);
        found
            .iter()
            .map(|citation| format!("{} {}", citation.rfc, citation.section()))
            .collect()
    }

    #[test]
    fn citations_are_found_in_prose() {
        assert_eq!(
            sections("see RFC 6347 §4.2.1, §4.2.4 and RFC 7252 §A.1. RFC 5246 too, and § 3"),
            ["6347 4.2.1", "6347 4.2.4", "7252 A.1"]
        );
    }

    #[test]
    fn sections_sort_as_numbers() {
        let mut sorted = citations("RFC 7252 §10, §9.1.2, §A, §9.1, §2, RFC 768 §9");
        sorted.sort();
        let sorted: Vec<String> = sorted.iter().map(Citation::section).collect();
        assert_eq!(sorted, ["9", "2", "9.1", "9.1.2", "10", "A"]);
    }

    #[test]
    fn page_holds_requirements_deviations_and_the_tests_that_name_them() {
        let text = "
            // MUST (RFC 7252 §4.2): a CON is sent again
            // until a|b comes.
            let a = 1;
            // MUST (RFC 7252 §4.3): x
            // DEVIATES (RFC 7252 §4.8): y
            let b = 2;
            /// RFC 7252 §4.2: the first one.
            #[test]
            #[cfg(unix)]
            fn is_sent_again() {}
        ";
        let collected = collect(text);
        assert_eq!(collected.malformed, [""; 0]);
        assert_eq!(
            collected.page().strip_prefix(HEAD),
            Some(
                "\nIt lists 2 requirements, 1 without a test that names them, 1 deviations.\n\
                 \n## RFC 7252\n\n\
                 | section | what is enforced | where | tests |\n\
                 | --- | --- | --- | --- |\n\
                 | §4.2 | a CON is sent again until a\\|b comes. | crates/a/src/b.rs \
                 | `is_sent_again` in crates/a/src/b.rs |\n\
                 | §4.3 | x | crates/a/src/b.rs | none |\n\
                 \n## Deviations\n\n\
                 | section | what differs, and why | where |\n\
                 | --- | --- | --- |\n\
                 | RFC 7252 §4.8 | y | crates/a/src/b.rs |\n"
            )
        );
    }

    #[test]
    fn malformed_lines_are_found() {
        for line in [
            "// MUST be so",
            "// MUST (RFC 7252): x",
            "// MUST (RFC 7252 §4)",
            "// DEVIATES: x",
        ] {
            assert_eq!(collect(line).malformed, ["crates/a/src/b.rs:1"], "{line}");
        }
    }

    #[test]
    fn comment_of_another_function_names_no_test() {
        let collected = collect("// RFC 7252 §4.2\nfn f() {}\n\n#[test]\nfn t() {}\n");
        assert!(collected.tests.is_empty());
    }
}
