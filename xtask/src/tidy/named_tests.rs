//! Tests that the tables of specifications name.

use std::collections::BTreeSet;

/// Finds tests that a table in `docs/specs/` names, and that nobody wrote. A test's name states a fact, so that it
/// has more words than a label or a field.
pub(super) fn exist(pages: &[(String, String)], rust: &[(String, String)]) -> Vec<String> {
    let functions: BTreeSet<&str> = rust
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .map(|behind| {
            behind
                .split(|at| !is_of_name(at))
                .next()
                .unwrap_or_default()
        })
        .collect();
    let mut found = Vec::new();
    for (path, text) in pages {
        if !path.starts_with("docs/specs/") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if !line.starts_with('|') {
                continue;
            }
            for name in line.split('`').skip(1).step_by(2) {
                let is_test =
                    name.chars().all(is_of_name) && name.matches('_').count() >= WORDS - 1;
                if is_test && !functions.contains(name) {
                    found.push(format!("{path}:{number}: no test {name}"));
                }
            }
        }
    }
    found
}

const fn is_of_name(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '_')
}

const WORDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::exist;

    #[test]
    fn planted_name_without_a_test_is_found() {
        let rust = [(
            "a.rs".to_owned(),
            "#[test]\nfn what_is_there_is_found() {}\n".to_owned(),
        )];
        let page = |path: &str, line: &str| {
            let pages = [(path.to_owned(), format!("text\n{line}\n"))];
            exist(&pages, &rust)
        };
        let there = "| a | `what_is_there_is_found`, `nonce_not_record_number` |";
        assert_eq!(page("docs/specs/a.md", there), [""; 0]);
        let planted = "| a | A `what_isnt_there_is_named` |";
        let named = "docs/specs/a.md:2: no test what_isnt_there_is_named";
        assert_eq!(page("docs/specs/a.md", planted), [named]);
        assert_eq!(page("docs/b.md", planted), [""; 0]);
    }
}
