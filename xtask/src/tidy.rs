//! `cargo xtask tidy`: rules about the repository that no compiler knows.
//!
//! Each rule is a function from what it looks at to a list of violations, so that its test can plant
//! one. A violation says where it is and what was expected.

pub(crate) use fuzz_targets::declared as declared_fuzz_targets;

use crate::floors::{Needs, Room};
use crate::table::{Status, Table};
use crate::workspace::Workspace;

mod code;
mod code_map;
mod edges;
mod fuzz_targets;
mod links;
mod lock;
mod manifests;
mod named_tests;
mod text;

/// Checks everything and returns the table.
///
/// # Errors
///
/// A message if cargo or git can't be asked, or a file can't be read.
pub fn run() -> Result<Table, String> {
    let workspace = Workspace::load()?;
    let mut table = Table::new("tidy");
    let rust = workspace.texts(&[".rs"])?;
    let pages = workspace.texts(&[".md"])?;
    let written = workspace.texts(&[".rs", ".toml", ".md", ".sh", ".ci/run", ".yml"])?;

    let members = &workspace.members;
    report(&mut table, "floors", &edges::dependencies(members));
    report(
        &mut table,
        "test-only imports",
        &edges::test_only_imports(members, &rust),
    );
    let mut found = Vec::new();
    for member in members {
        let manifest = workspace.read(&format!("{}/Cargo.toml", member.path))?;
        found.extend(manifests::inherited(member, &manifest));
    }
    report(&mut table, "manifests", &found);
    report(&mut table, "no_std", &no_std(&workspace)?);
    report(
        &mut table,
        "one version each",
        &lock::versions(members, &workspace.resolved),
    );
    report(&mut table, "no unsafe", &text::unsafe_code(&rust));
    report(&mut table, "no leftovers", &text::leftovers(&written));
    report(
        &mut table,
        "no machine paths",
        &text::machine_paths(&written),
    );
    report(
        &mut table,
        "links in pages",
        &links::relative(&workspace.root, &pages),
    );
    report(
        &mut table,
        "tests in specifications",
        &named_tests::exist(&pages, &rust),
    );
    report(
        &mut table,
        "fuzz targets",
        &fuzz_targets::agree(&workspace)?,
    );
    documents(&mut table, &workspace, &pages);
    for warning in text::long_files(&rust) {
        println!("warning: {warning}");
    }
    Ok(table)
}

fn report(table: &mut Table, rule: &str, violations: &[String]) {
    for violation in violations {
        println!("{rule}: {violation}");
    }
    match violations {
        [] => table.row(rule, Status::Passed, ""),
        [only] => table.row(rule, Status::Failed, only),
        [first, rest @ ..] => table.row(
            rule,
            Status::Failed,
            format!("{first} (and {} more above)", rest.len()),
        ),
    }
}

fn no_std(workspace: &Workspace) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for member in &workspace.members {
        if Room::of(&member.folder).is_some_and(|room| room.needs != Needs::Std) {
            let path = format!("{}/src/lib.rs", member.path);
            found.extend(manifests::no_std(&path, &workspace.read(&path)?));
        }
    }
    Ok(found)
}

/// The pages may be missing until the facade, the last room of the house, exists.
fn documents(table: &mut Table, workspace: &Workspace, pages: &[(String, String)]) {
    let missing = if workspace.member("hedgerow").is_some() {
        Status::Failed
    } else {
        Status::NotThereYet
    };
    for path in ["docs/GLOSSARY.md", ARCHITECTURE] {
        if pages.iter().any(|(page, _)| page == path) {
            table.row(path, Status::Passed, "");
        } else {
            table.row(path, missing, "the page doesn't exist");
        }
    }
    match pages.iter().find(|(page, _)| page == ARCHITECTURE) {
        Some((_, text)) => report(
            table,
            "code map",
            &code_map::rows_match(text, &workspace.members),
        ),
        None => table.row("code map", missing, "it stands in docs/ARCHITECTURE.md"),
    }
}

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
