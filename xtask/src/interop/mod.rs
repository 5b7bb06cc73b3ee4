//! Interoperation with peers that nobody here wrote: `cargo xtask interop`.
//!
//! Everything runs in a network namespace of its own, whose only interface is the loopback one:
//! some peers listen on every address there is.

mod adapt;
mod aiocoap;
mod auto;
mod auto_carrier;
mod bouncy_castle;
mod cell;
mod certificate_coap;
mod certificate_files;
mod certificate_peers;
mod certificates;
mod clock;
mod coap;
mod coap_tcp;
mod driven;
mod driven_cells;
mod dtls_end;
mod gateway;
mod handshakes;
mod leg;
mod mbed_tls;
mod nosec;
mod own_ends;
mod peers;
mod program;
mod resumption;
mod sizes;
mod tls_end;
mod tls_handshakes;
mod translate;
mod tshark;
mod tunnel;
mod vectors;

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Echo, Ending};
use crate::table::Table;

/// Says to a second instance of this program that it stands in the namespace.
const INSIDE: &str = "--inside-namespace";

/// Chooses one group of cells.
const ONLY: &str = "--only";

/// The groups of cells, each by the name that chooses it.
const GROUPS: [Group; 19] = [
    Group::of("vectors", vectors::run),
    Group::of("dtls", handshakes::run),
    Group::of("tls", tls_handshakes::run),
    Group::of("certificates", certificates::run),
    Group::of("sizes", sizes::run),
    Group::of("resumption", resumption::run),
    Group::of("coap", coap::run),
    Group::of("coap-tcp", coap_tcp::run),
    Group::of("translate", translate::run),
    Group::of("program", program::run),
    Group::of("tshark", tshark::run),
    Group::of("tunnel", tunnel::run),
    Group::of("auto", auto::run),
    Group::of("leg", leg::run),
    Group::of("adapt", adapt::run),
    Group::of("bouncy-castle", bouncy_castle::run),
    Group::of("mbed-tls", mbed_tls::run).built_by(mbed_tls::build),
    Group::of("aiocoap", aiocoap::run).built_by(aiocoap::install),
    Group::of("nosec", nosec::run).built_by(aiocoap::install),
];

/// Cells that are run together.
struct Group {
    name: &'static str,
    run: fn(&mut Table),
    /// What has to be made before there is no network any more.
    prepare: fn() -> Result<(), String>,
}

impl Group {
    const fn of(name: &'static str, run: fn(&mut Table)) -> Self {
        Self {
            name,
            run,
            prepare: || Ok(()),
        }
    }

    const fn built_by(mut self, prepare: fn() -> Result<(), String>) -> Self {
        self.prepare = prepare;
        self
    }
}

/// For all cells together.
const LIMIT: Duration = Duration::from_secs(1_200);

/// Runs every cell in a namespace of its own and prints a table of them; with `--only` and the name of
/// a group, those of that group alone.
///
/// # Errors
///
/// A message if the namespace can't be made, a peer isn't installed or can't be built, or there is no
/// such group.
pub fn run(args: &[&str]) -> Result<Outcome, String> {
    let (is_inside, only) = match *args {
        [] => (false, None),
        [ONLY, name] => (false, Some(name)),
        [INSIDE] => (true, None),
        [INSIDE, ONLY, name] => (true, Some(name)),
        _ => return Err(format!("interop takes only {ONLY} GROUP: {args:?}")),
    };
    let groups: Vec<&Group> = GROUPS
        .iter()
        .filter(|group| only.is_none_or(|only| only == group.name))
        .collect();
    if groups.is_empty() {
        let names = GROUPS.map(|group| group.name);
        return Err(format!("no such group of cells; there are {names:?}"));
    }
    if is_inside {
        return cells(&groups).map(Outcome::Table);
    }
    for group in &groups {
        (group.prepare)()?;
    }
    // Peers' keys and what they exchange: gone with the run.
    let folder = env::temp_dir().join(format!("hedgerow-interop-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let program = env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net", "--", "sh", "-c"])
        .arg("ip link set lo up && exec \"$0\" interop \"$@\"")
        .arg(program)
        .arg(INSIDE)
        .args(args)
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

fn cells(groups: &[&Group]) -> Result<Table, String> {
    let versions = peers::versions()?;
    let mut table = Table::new("interop");
    for version in &versions {
        println!("peer: {version}");
    }
    for group in groups {
        (group.run)(&mut table);
    }
    Ok(table)
}
