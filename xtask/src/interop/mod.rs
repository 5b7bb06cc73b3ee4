//! Interoperation with peers that nobody here wrote: `cargo xtask interop`.
//!
//! Each group of cells runs in a network namespace of its own, whose only interface is the loopback one:
//! some peers listen on every address there is, and groups that run beside each other use the same ports.

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

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::child::{self, Echo};
use crate::table::{Status, Table};

/// Says to a second instance of this program that it stands in a namespace, which group is its own, and
/// where to write the rows.
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

/// For the cells of one group.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs the groups beside each other, each in a namespace of its own, and returns a table of all cells in
/// the order of the groups; with `--only` and the name of a group, of that group alone.
///
/// Inside a namespace it writes its rows to a file instead and returns nothing.
///
/// # Errors
///
/// A message if a peer isn't installed or can't be built, there is no such group, or a folder or file
/// can't be written.
pub fn run(args: &[&str]) -> Result<Option<Table>, String> {
    let only = match *args {
        [] => None,
        [ONLY, name] => Some(name),
        [INSIDE, name, rows] => return inside(name, Path::new(rows)).map(|()| None),
        _ => return Err(format!("interop takes only {ONLY} GROUP: {args:?}")),
    };
    let groups: Vec<&Group> = GROUPS
        .iter()
        .filter(|group| only.is_none_or(|only| only == group.name))
        .collect();
    if groups.is_empty() {
        return Err(no_such_group());
    }
    for version in peers::versions()? {
        println!("peer: {version}");
    }
    for group in &groups {
        (group.prepare)()?;
    }
    // Peers' keys and what they exchange: gone with the run.
    let folder = env::temp_dir().join(format!("hedgerow-interop-{}", std::process::id()));
    let tables = run_all(&groups, &folder);
    let _ = fs::remove_dir_all(&folder);
    let mut all = Table::new("interop");
    for (_, table) in tables {
        all.append(table?);
    }
    Ok(Some(all))
}

/// Runs one more group at a time than there are cores: most of its time a group waits for its peer.
fn run_all(groups: &[&Group], folder: &Path) -> BTreeMap<usize, Result<Table, String>> {
    let next = AtomicUsize::new(0);
    let tables = Mutex::new(BTreeMap::new());
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| {
        for _ in 0..groups.len().min(cores + 1) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(group) = groups.get(place) else {
                        break;
                    };
                    let table = in_namespace(group, &folder.join(group.name));
                    tables
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(place, table);
                }
            });
        }
    });
    tables.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a group in a second instance of this program, and shows what it printed once it has ended.
fn in_namespace(group: &Group, folder: &Path) -> Result<Table, String> {
    let named = |error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(named)?;
    let rows = folder.join("rows.json");
    let program = env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--net", "--", "sh", "-c"])
        .arg("ip link set lo up && exec \"$0\" interop \"$@\"")
        .arg(program)
        .args([INSIDE, group.name])
        .arg(&rows)
        .env("TMPDIR", folder);
    let finished = child::run(&mut command, LIMIT, Echo::Hidden)?;
    println!(
        "{}group {}: {}",
        finished.output,
        group.name,
        finished.ending_text()
    );
    let written = fs::read_to_string(&rows).unwrap_or_default();
    let mut table = Table::from_json("interop", &written);
    // Without rows, or ended after them, it has more to say than they do.
    if table.is_empty() || !finished.is_success() {
        table.row(group.name, Status::Failed, finished.ending_text());
    }
    Ok(table)
}

fn inside(name: &str, rows: &Path) -> Result<(), String> {
    let group = GROUPS.iter().find(|group| group.name == name);
    let mut table = Table::new("interop");
    (group.ok_or_else(no_such_group)?.run)(&mut table);
    fs::write(rows, table.to_json()).map_err(|error| format!("{}: {error}", rows.display()))
}

fn no_such_group() -> String {
    let names = GROUPS.map(|group| group.name);
    format!("no such group of cells; there are {names:?}")
}
