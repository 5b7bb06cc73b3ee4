//! `cargo xtask alloc-free`: the crates that promise it run without an allocator and without `std`.
//!
//! `alloc-free/` is a staticlib that calls them. It must build; with a planted use of `alloc`, and
//! with one of `std`, it must fail with the error that says so, or else its success means nothing.
//! Then the same crates are built for two bare-metal targets.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::child::{Echo, Finished, run as run_child};
use crate::floors::{Needs, ROOMS, Room};
use crate::table::{Status, Table};
use crate::workspace::{Member, Workspace};

/// Checks everything and returns the table.
///
/// # Errors
///
/// A message if cargo can't be asked or started.
pub fn run() -> Result<Table, String> {
    let workspace = Workspace::load()?;
    let mut table = Table::new("alloc-free");
    let manifest = workspace.read("alloc-free/Cargo.toml")?;
    let root = workspace.read("alloc-free/src/lib.rs")?;
    let mut members = Vec::new();
    for room in ROOMS.iter().filter(|room| room.needs == Needs::Nothing) {
        let name = room.folder;
        match workspace.member(room.folder) {
            None => table.row(name, Status::NotThereYet, "the crate doesn't exist"),
            Some(member) => {
                members.push(member);
                match called(room, &manifest, &root) {
                    Ok(()) => table.row(name, Status::Passed, "called by the staticlib"),
                    Err(lack) => table.row(name, Status::Failed, lack),
                }
            }
        }
    }
    let clean = staticlib(&workspace, &[])?;
    table.row("staticlib", passed_if(clean.is_success()), detail(&clean));
    for (feature, text) in PLANTS {
        let planted = staticlib(&workspace, &["--features", feature])?;
        let (status, detail) = must_fail(&planted, text);
        table.row(*feature, status, detail);
    }
    for target in TARGETS {
        let (status, detail) = bare_metal(&workspace, &members, target)?;
        table.row(*target, status, detail);
    }
    Ok(table)
}

/// Says what `alloc-free/` lacks for a room that exists.
fn called(room: &Room, manifest: &str, root: &str) -> Result<(), String> {
    let package = room.package_name();
    let is_dependency = manifest.lines().any(|line| {
        line.starts_with(&format!("{package} = {{")) && line.contains("default-features = false")
    });
    let entry_point = format!("{}::enter", room.folder.replace('-', "_"));
    if !is_dependency {
        Err(format!(
            "alloc-free/Cargo.toml lacks {package} without default features"
        ))
    } else if !root.contains(&entry_point) {
        Err(format!("alloc-free/src/lib.rs lacks {entry_point}"))
    } else {
        Ok(())
    }
}

fn must_fail(planted: &Finished, text: &str) -> (Status, String) {
    if planted.is_success() {
        (
            Status::Failed,
            "it builds, so the check sees nothing".to_owned(),
        )
    } else if planted.output.contains(text) {
        (Status::Passed, format!("refused: {text}"))
    } else {
        println!("{}", planted.output);
        (Status::Failed, format!("it fails, but not with: {text}"))
    }
}

fn bare_metal(
    workspace: &Workspace,
    members: &[&Member],
    target: &str,
) -> Result<(Status, String), String> {
    let added = run_child(
        Command::new("rustup").args(["target", "add", target]),
        DOWNLOAD_LIMIT,
        Echo::Hidden,
    );
    match added {
        Ok(added) if added.is_success() => {}
        Ok(added) => {
            let reason = added.tail(1);
            return Ok((Status::Skipped, format!("rustup can't fetch it: {reason}")));
        }
        Err(error) => return Ok((Status::Skipped, error)),
    }
    let library = staticlib(workspace, &["--target", target])?;
    if !library.is_success() {
        return Ok((Status::Failed, detail(&library)));
    }
    let mut crates = cargo_build(&workspace.root, &workspace.target);
    crates.args(["--no-default-features", "--target", target]);
    for member in members {
        crates.args(["-p", &member.name]);
    }
    let crates = run_child(&mut crates, BUILD_LIMIT, Echo::Hidden)?;
    Ok((passed_if(crates.is_success()), detail(&crates)))
}

fn staticlib(workspace: &Workspace, args: &[&str]) -> Result<Finished, String> {
    let target = workspace.target.join("alloc-free");
    let mut build = cargo_build(&workspace.root.join("alloc-free"), &target);
    run_child(build.args(args), BUILD_LIMIT, Echo::Hidden)
}

fn cargo_build(folder: &Path, target: &Path) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["build", "--locked", "--target-dir"])
        .arg(target)
        .current_dir(folder);
    command
}

/// Prints what a build that failed said, and says how the build ended.
fn detail(finished: &Finished) -> String {
    if !finished.is_success() {
        println!("{}", finished.output);
    }
    finished.ending_text()
}

fn passed_if(is_success: bool) -> Status {
    if is_success {
        Status::Passed
    } else {
        Status::Failed
    }
}

/// Features of `alloc-free/` that must break it, and what the compiler says then.
const PLANTS: &[(&str, &str)] = &[
    ("plant-alloc", "no global memory allocator found"),
    ("plant-std", "found duplicate lang item `panic_impl`"),
];

const TARGETS: &[&str] = &["thumbv7em-none-eabi", "riscv32imac-unknown-none-elf"];

const BUILD_LIMIT: Duration = Duration::from_secs(300);
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::Ending;

    fn ended(code: i32, output: &str) -> Finished {
        Finished {
            ending: Ending::Exited(code),
            output: output.to_owned(),
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn plant_must_fail_with_its_own_error() {
        let text = "no global memory allocator found";
        assert_eq!(must_fail(&ended(0, text), text).0, Status::Failed);
        assert_eq!(must_fail(&ended(101, "no network"), text).0, Status::Failed);
        assert_eq!(must_fail(&ended(101, text), text).0, Status::Passed);
    }

    #[test]
    fn room_that_is_not_called_is_found() {
        let room = Room::of("crypto-soft").unwrap();
        let manifest = "hedgerow-crypto-soft = { path = \"x\", default-features = false }\n";
        let root = "&[crypto_soft::enter]";
        assert_eq!(called(room, manifest, root), Ok(()));
        assert!(called(room, manifest, "").is_err());
        assert!(called(room, "hedgerow-crypto-soft = { path = \"x\" }", root).is_err());
    }
}
