//! Replays the seeds of every fuzz target on stable Rust, as they are and slightly broken.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hedgerow_fuzz_bodies::{BODIES, Body};

/// Broken inputs made from each seed.
const MUTATIONS: usize = 200;
/// As many where an input costs milliseconds, for signatures and key agreement.
const COSTLY: (&str, usize) = ("tls_machine", 30);
/// Where the random numbers that break them start. A failure prints its input, so this stays.
const RANDOM_SEED: u64 = 0x6865_6467_6572_6f77;

#[test]
fn seeds_of_every_target_hold() {
    for body in BODIES {
        for (path, input) in seeds(body) {
            run(body, &input, &format!("seed {}", path.display()));
        }
    }
}

#[test]
fn seeds_slightly_broken_hold() {
    println!("random seed {RANDOM_SEED:#x}");
    let mut random = Random(RANDOM_SEED);
    for body in BODIES {
        let seeds = seeds(body);
        for (path, input) in &seeds {
            let rounds = match body.name == COSTLY.0 {
                true => COSTLY.1,
                false => MUTATIONS,
            };
            for round in 0..rounds {
                let other = &seeds[random.below(seeds.len())].1;
                let broken = mutate(&mut random, input, other);
                let origin = format!("mutation {round} of {}: {broken:02x?}", path.display());
                run(body, &broken, &origin);
            }
        }
    }
}

#[test]
fn registered_targets_and_folders_are_the_same() {
    let names: BTreeSet<String> = BODIES.iter().map(|body| body.name.to_owned()).collect();
    assert_eq!(names.len(), BODIES.len(), "a name is registered twice");
    assert_eq!(names, entries(&fuzz().join("seeds")));
    let targets = entries(&fuzz().join("fuzz_targets"));
    let files = names.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(targets, files, "targets and bodies differ");
    for name in &names {
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        let call = format!("hedgerow_fuzz_bodies::{name}(");
        assert!(target.contains(&call), "{name}.rs calls another body");
    }
}

fn run(body: &Body, input: &[u8], origin: &str) {
    if catch_unwind(AssertUnwindSafe(|| (body.run)(input))).is_err() {
        panic!("target {}: {origin}", body.name);
    }
}

fn seeds(body: &Body) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz().join("seeds").join(body.name);
    let seeds: Vec<(PathBuf, Vec<u8>)> = entries(&folder)
        .into_iter()
        .map(|name| {
            let path = folder.join(name);
            let input = fs::read(&path).unwrap();
            (path, input)
        })
        .collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

fn entries(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn mutate(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            3 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            4 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

/// xorshift64: equal on every machine, which is all that is asked of it here.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}
