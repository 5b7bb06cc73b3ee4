//! The memory of another process, read from outside.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::search::Search;

/// Searches all that a process can read of its own memory, while it is stopped, and returns how much that was,
/// in bytes.
///
/// # Panics
///
/// If the system doesn't let a parent read its child's memory, or some of it can't be read.
pub fn search<'n>(process: u32, search: &Search<'n>, found: &mut BTreeSet<&'n str>) -> usize {
    signal(process, "STOP");
    wait_until_stopped(process);
    let len = search_stopped(process, search, found);
    signal(process, "CONT");
    len
}

fn search_stopped<'n>(process: u32, search: &Search<'n>, found: &mut BTreeSet<&'n str>) -> usize {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).expect(
        "reading the memory of a child: expected Linux with ptrace_scope 0 or 1 (kernel.yama)",
    );
    let mut total = 0;
    for region in maps.lines().filter_map(Region::parse) {
        let read = |at: usize, out: &mut [u8]| {
            let at = region.start + u64::try_from(at).unwrap();
            let read = memory.read_exact_at(out, at);
            read.unwrap_or_else(|error| panic!("{}: {error}", region.line));
        };
        search.search_chunks(region.len, CHUNK, read, found);
        total += region.len;
    }
    total
}

struct Region<'m> {
    start: u64,
    len: usize,
    line: &'m str,
}

impl<'m> Region<'m> {
    /// Reads a line of `maps`; `None` for what the process itself can't read, and for the kernel's clock pages,
    /// which nobody reads this way.
    fn parse(line: &'m str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let is_readable = fields.next()?.starts_with('r');
        let name = fields.nth(3).unwrap_or_default();
        if !is_readable || name.starts_with("[vvar") || name == "[vsyscall]" {
            return None;
        }
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        Some(Self {
            start,
            len: usize::try_from(end - start).unwrap(),
            line,
        })
    }
}

fn signal(process: u32, name: &str) {
    let command = format!("kill -s {name} {process}");
    let status = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}");
}

fn wait_until_stopped(process: u32) {
    let is_stopped = || {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        tasks.map(Result::unwrap).all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // Behind the name, which may have anything in it, stands the state.
            let state = stat
                .rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('T'));
            state.unwrap_or(true)
        })
    };
    for _ in 0..10_000 {
        if is_stopped() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the process doesn't stop");
}

const CHUNK: usize = 1 << 20;
