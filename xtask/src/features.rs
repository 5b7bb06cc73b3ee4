//! `cargo xtask features`: each crate builds and is tested alone, with each of its features alone.
//!
//! In a build of the whole workspace the features that one crate asks for help its neighbours too. The
//! tests of a crate with the features that it has there anyhow are compiled alone here and run in the
//! workspace: it is the same code, and running all of it twice would take minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use crate::child::{Echo, Finished, run as run_child};
use crate::table::{Status, Table};
use crate::workspace::Workspace;

/// Builds and tests all members, or those named, and returns the table.
///
/// # Errors
///
/// A message if cargo can't be asked or started, or if a name is no member's.
pub fn run(only: &[&str]) -> Result<Table, String> {
    let workspace = Workspace::load()?;
    let in_workspace = workspace.turned_on()?;
    let mut table = Table::new("features");
    for name in only {
        if !workspace.members.iter().any(|member| member.name == *name) {
            return Err(format!("{name} is no member of the workspace"));
        }
    }
    for member in &workspace.members {
        if !only.is_empty() && !only.contains(&member.name.as_str()) {
            continue;
        }
        let sets = feature_sets(&member.features);
        for set in sets {
            let is_the_same_code = in_workspace.get(&member.name) == Some(&set.turned_on);
            let row = if set.args.is_empty() {
                member.name.clone()
            } else {
                format!("{} {}", member.name, set.label)
            };
            // Checked first without dev-dependencies, whose features would hide what is missing.
            let check = cargo(&workspace, "check", &member.name, &set.args)?;
            if !check.is_success() {
                println!("{}", check.output);
                let detail = format!("check: {}", check.ending_text());
                table.row(row, Status::Failed, detail);
                continue;
            }
            if is_the_same_code {
                let args = [set.args.as_slice(), &["--all-targets".to_owned()]].concat();
                let targets = cargo(&workspace, "check", &member.name, &args)?;
                let (status, detail) = compiled(&targets);
                if status == Status::Failed {
                    println!("{}", targets.output);
                }
                table.row(row, status, detail);
                continue;
            }
            let test = cargo(&workspace, "test", &member.name, &set.args)?;
            let (status, detail) = outcome(&test);
            if status == Status::Failed {
                println!("{}", test.output);
            }
            table.row(row, status, detail);
        }
    }
    Ok(table)
}

fn cargo(
    workspace: &Workspace,
    verb: &str,
    package: &str,
    args: &[String],
) -> Result<Finished, String> {
    let mut command = Command::new("cargo");
    command
        .args([verb, "--locked", "-p", package])
        .args(args)
        .current_dir(&workspace.root);
    run_child(&mut command, LIMIT, Echo::Hidden)
}

fn outcome(test: &Finished) -> (Status, String) {
    let passed: usize = test.output.lines().filter_map(passed_tests).sum();
    if !test.is_success() {
        (Status::Failed, format!("test: {}", test.ending_text()))
    } else if passed == 0 {
        (Status::Failed, "it has no test".to_owned())
    } else {
        let seconds = test.duration.as_secs();
        (Status::Passed, format!("{passed} tests, {seconds} s"))
    }
}

fn compiled(targets: &Finished) -> (Status, String) {
    match targets.is_success() {
        true => (Status::Passed, "builds, and so do its tests".to_owned()),
        false => (Status::Failed, format!("tests: {}", targets.ending_text())),
    }
}

fn passed_tests(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("test result: ok. ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[derive(Debug)]
struct FeatureSet {
    label: String,
    args: Vec<String>,
    /// Without `default` itself.
    turned_on: BTreeSet<String>,
}

/// Lists what cargo is asked for: the defaults, nothing, each feature alone, all. A set that turns on
/// the same as an earlier one is left out.
fn feature_sets(features: &BTreeMap<String, Vec<String>>) -> Vec<FeatureSet> {
    let own: Vec<&str> = features
        .keys()
        .map(String::as_str)
        .filter(|feature| *feature != "default")
        .collect();
    let none = "--no-default-features".to_owned();
    let mut asked = vec![
        (String::new(), Vec::new(), vec!["default"]),
        (
            "without features".to_owned(),
            vec![none.clone()],
            Vec::new(),
        ),
    ];
    for feature in &own {
        let args = vec![none.clone(), format!("--features={feature}")];
        asked.push((format!("with {feature} alone"), args, vec![*feature]));
    }
    let all = vec!["--all-features".to_owned()];
    asked.push(("with all features".to_owned(), all, own));

    let mut sets = Vec::new();
    for (label, args, start) in asked {
        let turned_on = closure(features, start);
        if !sets
            .iter()
            .any(|set: &FeatureSet| set.turned_on == turned_on)
        {
            sets.push(FeatureSet {
                label,
                args,
                turned_on,
            });
        }
    }
    sets
}

/// Follows features to the features that they turn on, `default` itself left out.
fn closure<'f>(
    features: &'f BTreeMap<String, Vec<String>>,
    start: Vec<&'f str>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = start;
    while let Some(feature) = open.pop() {
        if found.insert(feature) {
            open.extend(
                features
                    .get(feature)
                    .into_iter()
                    .flatten()
                    .map(String::as_str),
            );
        }
    }
    found
        .into_iter()
        .filter(|name| *name != "default" && features.contains_key(*name))
        .map(str::to_owned)
        .collect()
}

const LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Ending;

    fn labels(features: &[(&str, &[&str])]) -> Vec<String> {
        let features = features
            .iter()
            .map(|(feature, on)| {
                let on = on.iter().map(|&name| name.to_owned()).collect();
                ((*feature).to_owned(), on)
            })
            .collect();
        let sets = feature_sets(&features);
        sets.into_iter().map(|set| set.label).collect()
    }

    #[test]
    fn each_feature_stands_alone_once() {
        assert_eq!(labels(&[]), [""]);
        assert_eq!(
            labels(&[("alloc", &[]), ("std", &["alloc"])]),
            ["", "with alloc alone", "with std alone"]
        );
        assert_eq!(
            labels(&[
                ("default", &["std"]),
                ("std", &["alloc"]),
                ("alloc", &[]),
                ("x", &[])
            ]),
            [
                "",
                "without features",
                "with alloc alone",
                "with x alone",
                "with all features"
            ]
        );
    }

    /// Cargo names features alone when it says what is turned on.
    #[test]
    fn dependencies_are_no_features() {
        let on = vec!["dep:ring".to_owned(), "soft/curves".to_owned()];
        let features = BTreeMap::from([("curves".to_owned(), on)]);
        let found = closure(&features, vec!["default", "curves"]);
        assert_eq!(found, BTreeSet::from(["curves".to_owned()]));
    }

    #[test]
    fn crate_without_a_test_fails() {
        let ended = |output: &str| Finished {
            ending: Ending::Exited(0),
            output: output.to_owned(),
            duration: Duration::ZERO,
        };
        let none = ended("test result: ok. 0 passed; 0 failed\n");
        assert_eq!(outcome(&none).0, Status::Failed);
        let some = ended("test result: ok. 0 passed; \ntest result: ok. 12 passed; 0 failed\n");
        assert_eq!(outcome(&some), (Status::Passed, "12 tests, 0 s".to_owned()));
    }
}
