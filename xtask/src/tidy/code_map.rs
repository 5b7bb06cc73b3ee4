//! The code map of `docs/ARCHITECTURE.md` and the workspace name the same crates.

use crate::workspace::Member;

/// Compares the rows of the tables below the heading "Code map" with the crates in `crates/`.
///
/// A row's crate is the first word in backticks: a folder, a path or a package name.
pub(super) fn rows_match(page: &str, members: &[Member]) -> Vec<String> {
    let rows: Vec<&str> = rows(page).collect();
    let mut found = Vec::new();
    if rows.is_empty() {
        found.push("docs/ARCHITECTURE.md: no table below a heading \"Code map\"".to_owned());
    }
    let is_row_of = |member: &Member, row: &str| {
        let row = row.trim_end_matches('/');
        row == member.folder || row == member.path || row == member.name
    };
    for row in &rows {
        if !members.iter().any(|member| is_row_of(member, row)) {
            found.push(format!(
                "docs/ARCHITECTURE.md: the code map has `{row}`, the workspace hasn't"
            ));
        }
    }
    for member in members {
        if !rows.iter().any(|row| is_row_of(member, row)) {
            found.push(format!(
                "docs/ARCHITECTURE.md: the code map lacks `{}`",
                member.folder
            ));
        }
    }
    found
}

fn rows(page: &str) -> impl Iterator<Item = &str> {
    let mut is_in_code_map = false;
    page.lines().filter_map(move |line| {
        if line.starts_with('#') {
            is_in_code_map = line.to_lowercase().contains("code map");
        }
        let is_row = is_in_code_map && line.starts_with('|');
        is_row.then(|| line.split('`').nth(1)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn members() -> Vec<Member> {
        [
            ("hedgerow-core", "core", "crates/core"),
            ("xtask", "xtask", "xtask"),
        ]
        .into_iter()
        .map(|(name, folder, path)| Member {
            name: name.to_owned(),
            folder: folder.to_owned(),
            path: path.to_owned(),
            features: BTreeMap::new(),
            dependencies: Vec::new(),
        })
        .collect()
    }

    const PAGE: &str = "# A\n| `x` |\n## Code map\n| floor | crate |\n| --- | --- |\n\
                        | 0 | `core` | has `coap` |\n| | `xtask/` | |\n## B\n| `y` |\n";

    #[test]
    fn map_that_names_each_crate_passes() {
        assert_eq!(rows_match(PAGE, &members()), [""; 0]);
    }

    #[test]
    fn row_without_crate_and_crate_without_row_are_found() {
        assert_eq!(
            rows_match(&PAGE.replace("`core`", "`coat`"), &members()),
            [
                "docs/ARCHITECTURE.md: the code map has `coat`, the workspace hasn't",
                "docs/ARCHITECTURE.md: the code map lacks `core`"
            ]
        );
        assert_eq!(rows_match("# A\n", &members()).len(), 3);
    }
}
