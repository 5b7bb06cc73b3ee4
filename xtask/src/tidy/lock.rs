//! One version of each direct dependency, in everything that is shipped.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::{Kind, Member, Resolved};

/// Second versions that are known, as (package, the package that pins it, why it is bearable).
const KNOWN: &[(&str, &str, &str)] = &[(
    "getrandom",
    "ring",
    "ring 0.17 pins 0.2 and nothing of ours meets its types",
)];

/// Finds direct dependencies of which the graph holds two versions.
///
/// What only tests pull in doesn't count: test crates may pin an older generation.
pub(super) fn versions(members: &[Member], resolved: &[Resolved]) -> Vec<String> {
    let direct: BTreeSet<&str> = members
        .iter()
        .flat_map(|member| &member.dependencies)
        .filter(|dependency| dependency.kind != Kind::Dev)
        .map(|dependency| dependency.name.as_str())
        .collect();
    let mut versions: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for package in shipped(members, resolved) {
        for id in &package.needs {
            let Some(needed) = resolved.iter().find(|other| other.id == *id) else {
                continue;
            };
            let is_known = KNOWN
                .iter()
                .any(|(name, by, _)| *name == needed.name && *by == package.name);
            if direct.contains(needed.name.as_str()) && !is_known {
                versions
                    .entry(&needed.name)
                    .or_default()
                    .entry(&needed.version)
                    .or_default()
                    .push(&package.name);
            }
        }
    }
    versions
        .into_iter()
        .filter(|(_, by_version)| by_version.len() > 1)
        .map(|(name, by_version)| {
            let versions = by_version
                .into_iter()
                .map(|(version, by)| format!("{version} by {}", by.join(", ")));
            format!("{name}: {}", versions.collect::<Vec<_>>().join("; "))
        })
        .collect()
}

/// Follows the graph from the members along what is needed outside tests.
fn shipped<'r>(members: &[Member], resolved: &'r [Resolved]) -> Vec<&'r Resolved> {
    let mut found: Vec<&Resolved> = resolved
        .iter()
        .filter(|package| members.iter().any(|member| member.name == package.name))
        .collect();
    let mut next = 0;
    while let Some(package) = found.get(next).copied() {
        for other in resolved {
            if package.needs.contains(&other.id) && !found.contains(&other) {
                found.push(other);
            }
        }
        next = next.saturating_add(1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn member(needs: &[(&str, Kind)]) -> Member {
        Member {
            name: "hedgerow-net".to_owned(),
            folder: "net".to_owned(),
            path: "crates/net".to_owned(),
            features: BTreeMap::new(),
            dependencies: needs
                .iter()
                .map(|&(name, kind)| Dependency {
                    name: name.to_owned(),
                    kind,
                })
                .collect(),
        }
    }

    fn package(id: &str, needs: &[&str]) -> Resolved {
        let (name, version) = id.split_once('@').unwrap();
        Resolved {
            id: id.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            needs: needs.iter().map(|&id| id.to_owned()).collect(),
        }
    }

    #[test]
    fn two_versions_of_a_direct_dependency_are_found() {
        let members = [member(&[
            ("rand_core", Kind::Normal),
            ("rand", Kind::Normal),
        ])];
        let graph = [
            package("hedgerow-net@0.1.0", &["rand_core@0.10.0", "rand@0.9.0"]),
            package("rand@0.9.0", &["rand_core@0.9.0"]),
            package("rand_core@0.9.0", &[]),
            package("rand_core@0.10.0", &[]),
        ];
        assert_eq!(
            versions(&members, &graph),
            ["rand_core: 0.10.0 by hedgerow-net; 0.9.0 by rand"]
        );
    }

    #[test]
    fn known_and_test_only_and_indirect_versions_pass() {
        let members = [member(&[
            ("getrandom", Kind::Normal),
            ("ring", Kind::Normal),
            ("rand_core", Kind::Dev),
        ])];
        let graph = [
            package(
                "hedgerow-net@0.1.0",
                &["getrandom@0.4.3", "ring@0.17.0", "a@1.0.0"],
            ),
            package("ring@0.17.0", &["getrandom@0.2.0", "cfg@1.0.0"]),
            package("a@1.0.0", &["cfg@2.0.0"]),
            package("getrandom@0.2.0", &[]),
            package("getrandom@0.4.3", &[]),
            package("cfg@1.0.0", &[]),
            package("cfg@2.0.0", &[]),
            package("rand_core@0.9.0", &[]),
            package("rand_core@0.10.0", &[]),
        ];
        assert_eq!(versions(&members, &graph), [""; 0]);
    }
}
