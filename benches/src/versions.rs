//! What was measured on what.

use std::fs;

/// The crates whose versions are told.
const CRATES: [&str; 9] = [
    "aes",
    "aes-gcm",
    "chacha20poly1305",
    "coap-lite",
    "coap-message-implementations",
    "hyper",
    "ring",
    "sha2",
    "tokio",
];

/// Features of a processor that ciphers look for.
const FEATURES: [&str; 9] = [
    "aes",
    "vaes",
    "pclmulqdq",
    "vpclmulqdq",
    "sha_ni",
    "ssse3",
    "avx2",
    "avx512f",
    "gfni",
];

/// Prints processor and versions as a list.
pub fn print() {
    println!("- processor: {}", processor());
    println!("- {}", openssl::version::version());
    let lock = include_str!("../Cargo.lock");
    let versions = CRATES.map(|name| format!("{name} {}", locked(lock, name)));
    println!("- crates: {}", versions.join(", "));
    println!("- build: release profile of `benches/`, no `target-cpu`");
}

fn locked<'l>(lock: &'l str, name: &str) -> &'l str {
    let head = format!("name = \"{name}\"\nversion = \"");
    let version = lock
        .split(&head)
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    version.unwrap_or("unknown")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split(": ").nth(1))
            .unwrap_or("unknown")
    };
    let flags: Vec<&str> = field("flags").split(' ').collect();
    let features: Vec<&str> = FEATURES
        .into_iter()
        .filter(|name| flags.contains(name))
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, {}",
        field("model name"),
        features.join(" ")
    )
}
