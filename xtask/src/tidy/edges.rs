//! Dependencies between workspace crates follow the floors.

use crate::floors::{FOR_TESTS, Room};
use crate::tidy::code::{code_lines, has_word};
use crate::workspace::{Kind, Member};

/// Compares what the manifests declare with the table of floors.
pub(super) fn dependencies(members: &[Member]) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        let Some(room) = Room::of(&member.folder) else {
            found.push(format!(
                "{}: the table of floors (xtask/src/floors.rs) has no row for it",
                member.path
            ));
            continue;
        };
        if member.name != room.package_name() {
            found.push(format!(
                "{}: the package is called {}, not {}",
                member.path,
                member.name,
                room.package_name()
            ));
        }
        for (folder, kind) in workspace_dependencies(member, members) {
            let is_allowed = room.may_import(folder)
                || (kind == Kind::Dev && FOR_TESTS.contains(&folder) && folder != room.folder);
            if !is_allowed {
                let what = if kind == Kind::Dev {
                    "its tests may not name"
                } else {
                    "it may not import"
                };
                found.push(format!(
                    "{}: {what} {folder} (xtask/src/floors.rs)",
                    member.path
                ));
            }
        }
    }
    found
}

/// A crate's dev-dependencies on workspace crates are used in its `tests/` folder, in doc examples
/// and nowhere in `src/`: a unit test would meet its own crate twice, as two sets of types.
pub(super) fn test_only_imports(members: &[Member], files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for member in members {
        let edges: Vec<(&str, Kind)> = workspace_dependencies(member, members).collect();
        let dev_only: Vec<&str> = edges
            .iter()
            .filter(|(folder, kind)| *kind == Kind::Dev && !edges.contains(&(folder, Kind::Normal)))
            .map(|&(folder, _)| folder)
            .collect();
        for (path, text) in files {
            if !path.starts_with(&format!("{}/src/", member.path)) {
                continue;
            }
            for folder in &dev_only {
                let name = format!("hedgerow_{}", folder.replace('-', "_"));
                for (number, line) in (1..).zip(code_lines(text)) {
                    if has_word(&line, &name) {
                        found.push(format!("{path}:{number}: {name} is for tests/ only"));
                    }
                }
            }
        }
    }
    found
}

fn workspace_dependencies<'m>(
    member: &'m Member,
    members: &'m [Member],
) -> impl Iterator<Item = (&'m str, Kind)> {
    member.dependencies.iter().filter_map(|dependency| {
        let other = members.iter().find(|other| other.name == dependency.name)?;
        Some((other.folder.as_str(), dependency.kind))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::workspace::Dependency;

    fn member(folder: &str, dependencies: &[(&str, Kind)]) -> Member {
        let name = match folder {
            "hedgerow" | "xtask" => folder.to_owned(),
            _ => format!("hedgerow-{}", folder.replace('/', "-")),
        };
        Member {
            name,
            folder: folder.to_owned(),
            path: format!("crates/{folder}"),
            features: BTreeMap::new(),
            dependencies: dependencies
                .iter()
                .map(|&(name, kind)| Dependency {
                    name: name.to_owned(),
                    kind,
                })
                .collect(),
        }
    }

    #[test]
    fn edges_of_the_table_pass() {
        let members = [
            member("core", &[("subtle", Kind::Normal)]),
            member(
                "coap",
                &[("hedgerow-core", Kind::Normal), ("hedgerow-sim", Kind::Dev)],
            ),
            member("sim", &[("hedgerow-core", Kind::Normal)]),
            member("fuzz/bodies", &[("hedgerow-coap", Kind::Normal)]),
        ];
        assert_eq!(dependencies(&members), [""; 0]);
    }

    #[test]
    fn sideways_and_upward_edges_are_found() {
        let members = [
            member("core", &[("hedgerow-coap", Kind::Normal)]),
            member("coap", &[("hedgerow-record", Kind::Build)]),
            member("record", &[("hedgerow-coap", Kind::Dev)]),
            member("xtask", &[("hedgerow-fuzz-bodies", Kind::Normal)]),
            member("fuzz/bodies", &[]),
        ];
        assert_eq!(
            dependencies(&members),
            [
                "crates/core: it may not import coap (xtask/src/floors.rs)",
                "crates/coap: it may not import record (xtask/src/floors.rs)",
                "crates/record: its tests may not name coap (xtask/src/floors.rs)",
                "crates/xtask: it may not import fuzz/bodies (xtask/src/floors.rs)",
            ]
        );
    }

    #[test]
    fn crate_without_a_row_or_with_a_wrong_name_is_found() {
        let mut renamed = member("coap", &[]);
        renamed.name = "coap".to_owned();
        let found = dependencies(&[member("util", &[]), renamed]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn dev_dependency_named_in_src_is_found_outside_doc_examples() {
        let members = [
            member("coap", &[("hedgerow-sim", Kind::Dev)]),
            member("sim", &[]),
        ];
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let allowed = [
            file("crates/coap/src/lib.rs", "//! use hedgerow_sim::Network;\n"),
            file("crates/coap/tests/loss.rs", "use hedgerow_sim::Network;\n"),
        ];
        assert_eq!(test_only_imports(&members, &allowed), [""; 0]);
        let planted = [file(
            "crates/coap/src/a.rs",
            "\n    use hedgerow_sim::Network;\n",
        )];
        assert_eq!(
            test_only_imports(&members, &planted),
            ["crates/coap/src/a.rs:2: hedgerow_sim is for tests/ only"]
        );
    }
}
