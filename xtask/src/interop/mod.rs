//! Interoperation with peers that nobody here wrote: `cargo xtask interop`.
//!
//! Everything runs in a network namespace of its own, whose only interface is the loopback one:
//! some peers listen on every address there is.

mod cell;
mod clock;
mod coap;
mod dtls_end;
mod handshakes;
mod peers;
mod program;

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Echo, Ending};
use crate::table::Table;

/// Says to a second instance of this program that it stands in the namespace.
const INSIDE: &str = "--inside-namespace";

/// For all cells together.
const LIMIT: Duration = Duration::from_secs(1_200);

/// Runs every cell in a namespace of its own and prints a table of them.
///
/// # Errors
///
/// A message if the namespace can't be made or a peer isn't installed.
pub fn run(args: &[&str]) -> Result<Outcome, String> {
    if args == [INSIDE] {
        return cells().map(Outcome::Table);
    }
    if !args.is_empty() {
        return Err(format!("interop takes no argument: {args:?}"));
    }
    // Peers' keys and what they exchange: gone with the run.
    let folder = env::temp_dir().join(format!("hedgerow-interop-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let program = env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net", "--", "sh", "-c"])
        .arg("ip link set lo up && exec \"$0\" interop \"$1\"")
        .arg(program)
        .arg(INSIDE)
        .env("TMPDIR", &folder);
    let finished = child::run(&mut command, LIMIT, Echo::Shown);
    let _ = fs::remove_dir_all(&folder);
    let finished = finished?;
    match finished.ending {
        Ending::Exited(0) => Ok(Outcome::Passed),
        _ => Err(format!("interop: {}", finished.ending_text())),
    }
}

/// What there is to say once the cells have run.
pub enum Outcome {
    /// The table, to be printed.
    Table(Table),
    /// The instance in the namespace has printed its table, and every cell passed.
    Passed,
}

fn cells() -> Result<Table, String> {
    let versions = peers::versions()?;
    let mut table = Table::new("interop");
    for version in &versions {
        println!("peer: {version}");
    }
    handshakes::run(&mut table);
    coap::run(&mut table);
    program::run(&mut table);
    Ok(table)
}
