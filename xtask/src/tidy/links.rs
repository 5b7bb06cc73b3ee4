//! Relative links of the pages lead somewhere.

use std::path::Path;

/// Finds relative links, `[text](path)` and `[text]: path`, whose file doesn't exist.
pub(super) fn relative(root: &Path, pages: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (page, text) in pages {
        let folder = root.join(page);
        let folder = folder.parent().unwrap_or(root);
        let mut is_in_code = false;
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("```") {
                is_in_code = !is_in_code;
            }
            if is_in_code {
                continue;
            }
            for target in targets(line) {
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:") {
                    let exists = folder.join(path).exists();
                    if !exists {
                        found.push(format!("{page}:{number}: {target} doesn't exist"));
                    }
                }
            }
        }
    }
    found
}

fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    // What stands between backticks is code, not a link.
    for prose in line.split('`').step_by(2) {
        for (at, opening) in prose.match_indices("](") {
            let rest = prose
                .get(at.saturating_add(opening.len())..)
                .unwrap_or_default();
            found.extend(rest.split([')', ' ']).next());
        }
    }
    if let Some((label, target)) = line.split_once("]: ")
        && label.starts_with('[')
        && !label.contains(']')
    {
        found.extend(target.split_whitespace().next());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        relative(root, &[("src/page.md".to_owned(), text.to_owned())])
    }

    #[test]
    fn link_to_nowhere_is_found() {
        assert_eq!(
            check("a\n[b](../Cargo.toml) and [c](gone.md#part)\n[d]: gone.md\n"),
            [
                "src/page.md:2: gone.md#part doesn't exist",
                "src/page.md:3: gone.md doesn't exist"
            ]
        );
    }

    #[test]
    fn links_outwards_to_parts_and_in_code_pass() {
        let text = "[a](https://example.org/x) [b](#part) [c](lib.rs) `[d](gone)`\n\
                    ```\n[e](gone)\n```\n";
        assert_eq!(check(text), [""; 0]);
    }
}
