//! The committed vectors are those that the second readers' programs compute from the specifications.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::cell::enter;
use crate::child::{self, Echo};
use crate::table::Table;
use crate::workspace::Workspace;

/// For one program.
const LIMIT: Duration = Duration::from_secs(60);

/// Debian's own, for which Debian has the package cryptography.
const PYTHON: &str = "/usr/bin/python3";

/// Where there are such programs, each beside what it computes.
const FOLDERS: [&str; 3] = [
    "crates/handshake/tests/vectors",
    "crates/record/tests/vectors",
    "docs/specs/vectors",
];

/// Enters every cell.
pub(super) fn run(table: &mut Table) {
    for folder in FOLDERS {
        match programs(folder) {
            Ok(programs) => {
                for program in programs {
                    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
                    enter(table, &format!("vectors: {folder}/{stem}"), || {
                        compute_anew(&program)
                    });
                }
            }
            Err(error) => enter(table, &format!("vectors: {folder}"), || Err(error)),
        }
    }
}

/// The programs of a folder, by name.
fn programs(folder: &str) -> Result<Vec<PathBuf>, String> {
    let folder = Workspace::load()?.root.join(folder);
    let mut programs = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "py") {
            programs.push(path);
        }
    }
    if programs.is_empty() {
        return Err("no program".to_owned());
    }
    programs.sort();
    Ok(programs)
}

/// Runs a copy, for some print their vectors and others write them beside themselves, and compares.
fn compute_anew(program: &Path) -> Result<String, String> {
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    let folder = program.parent().ok_or("no folder")?;
    let committed = [program.with_extension("txt"), program.with_extension("hex")];
    let committed = committed.into_iter().find(|path| path.exists());
    let committed = committed.ok_or("no vectors are committed")?;
    let copies = std::env::temp_dir().join(format!("vectors-{stem}"));
    fs::create_dir_all(&copies).map_err(|error| error.to_string())?;
    // One may use another.
    for other in programs(&folder.to_string_lossy())? {
        let name = other.file_name().unwrap_or_default();
        fs::copy(&other, copies.join(name)).map_err(|error| error.to_string())?;
    }
    let mut command = Command::new(PYTHON);
    command
        .arg(copies.join(program.file_name().unwrap_or_default()))
        .current_dir(&copies);
    let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
    let written = copies.join(committed.file_name().unwrap_or_default());
    let computed = match fs::read_to_string(written) {
        Ok(text) => text,
        Err(_) => finished.output.clone(),
    };
    let committed = fs::read_to_string(committed).map_err(|error| error.to_string())?;
    if !finished.is_success() || computed != committed {
        return Err(format!("other vectors: {}", finished.tail(5)));
    }
    let values = committed.lines().filter(|line| line.contains('='));
    Ok(format!("{} values, computed anew", values.count()))
}
