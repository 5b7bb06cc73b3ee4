//! What the gateway knows in each mode: the program's whole memory, read from outside while a request is under
//! way and after it, and all of its traffic on both sides are searched for plaintext and keys. What has to be
//! found and what must not be is the table of docs/specs/knowledge.md, exactly.
//!
//! It needs Linux's `/proc`. A mode joins by a row there and one in [`MODES`].
#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub
)]

mod support;

#[path = "../../net/tests/support/authority.rs"]
mod authority;
#[path = "knowledge/beginning.rs"]
mod beginning;
#[path = "knowledge/gateway.rs"]
mod gateway;
#[path = "knowledge/inner.rs"]
mod inner;
#[path = "knowledge/memory.rs"]
mod memory;
#[path = "support/relay.rs"]
mod relay;
#[path = "knowledge/scene.rs"]
mod scene;
#[path = "knowledge/search.rs"]
mod search;
#[path = "knowledge/sessions.rs"]
mod sessions;
#[path = "knowledge/variants.rs"]
mod variants;
#[path = "knowledge/ways.rs"]
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use relay::UdpRelay;
use scene::{LIMIT, Scene};
use search::{Needle, Search};
use ways::{auto, itls, leg, terminate, translate, translate_device, tunnel};

/// Posts what was drawn, and tells the body of the answer.
type Ask = fn(&Scene) -> mpsc::Receiver<Vec<u8>>;

/// A mode, and how one end is asked in it by the other.
struct Mode {
    name: &'static str,
    ask: Ask,
    /// What the answer's second half is held back in.
    answered_by: fn(&Scene) -> &UdpRelay,
    /// So many of its datagrams pass before.
    let_pass: usize,
    /// How many sessions the gateway has with the device, and how many the ends have past it.
    sessions: [usize; 2],
}

const MODES: [Mode; 17] = [
    mode("terminate", [1, 0], terminate),
    mode("tunnel", [1, 1], tunnel),
    mode(
        "tunnel, raw public keys",
        [1, 1],
        variants::tunnel_raw_public_keys,
    ),
    mode(
        "tunnel, certificates",
        [1, 1],
        variants::tunnel_certificates,
    ),
    mode("translate", [1, 1], translate),
    mode("translate, long form", [1, 1], variants::translate_long),
    mode("translate-device", [2, 1], translate_device),
    mode(
        "translate-device, form tls",
        [2, 1],
        variants::translate_device_tls,
    ),
    mode(
        "translate-device, HTTP",
        [2, 1],
        variants::translate_device_http,
    ),
    mode(
        "translate-device, device begins",
        [2, 1],
        beginning::translate_device,
    )
    .answered_by(|scene| &scene.legs),
    mode(
        "translate-device, in the device's session",
        [2, 1],
        beginning::translate_device_in_its_session,
    )
    // The gateway's acknowledgements are held back there, and with them what the device has left to say.
    .answered_by(|scene| &scene.legs)
    .letting_pass(0),
    mode("itls", [1, 1], itls),
    // The Internet end has asked the device before, with another key.
    mode("itls, device begins", [2, 2], beginning::itls).answered_by(|scene| &scene.callers),
    mode("itls-light", [1, 1], itls),
    mode("auto", [1, 1], auto),
    mode("auto, TCP alone", [1, 1], variants::auto_over_tcp),
    mode("TLS inside DTLS", [2, 1], leg).answered_by(|scene| &scene.legs),
];

/// A mode in which the device that the gateway calls answers.
const fn mode(name: &'static str, sessions: [usize; 2], ask: Ask) -> Mode {
    Mode {
        name,
        ask,
        answered_by: |scene| &scene.device,
        let_pass: 2,
        sessions,
    }
}

impl Mode {
    const fn answered_by(mut self, answered_by: fn(&Scene) -> &UdpRelay) -> Self {
        self.answered_by = answered_by;
        self
    }

    const fn letting_pass(mut self, count: usize) -> Self {
        self.let_pass = count;
        self
    }
}

/// What is searched for, in the order of the table's columns.
const COLUMNS: [&str; 6] = [
    "plaintext",
    "end-to-end key",
    "end-to-end session",
    "hop key",
    "hop session",
    "token",
];

/// Where, in the order of the table's rows.
const PLACES: [&str; 3] = ["memory", "Internet side", "device's side"];

/// What was found of each column's needles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    All,
    None,
    /// There is no such thing in the mode.
    Absent,
    /// Of so many needles so many.
    Some(usize, usize),
}

impl Found {
    fn read(cell: &str) -> Self {
        match cell {
            "found" => Self::All,
            "-" => Self::None,
            "n/a" => Self::Absent,
            other => panic!("found, - or n/a, not {other}"),
        }
    }
}

#[test]
fn gateway_knows_what_its_mode_promises_and_nothing_else() {
    let promised = promises();
    let modes = MODES.map(|mode| mode.name);
    let named: BTreeSet<_> = promised.keys().map(|(mode, _)| mode.as_str()).collect();
    assert_eq!(
        named,
        BTreeSet::from(modes),
        "the page's modes, and the test's"
    );
    let mut wrong = Vec::new();
    for mode in &MODES {
        for (place, found) in PLACES.iter().zip(known(mode)) {
            println!("{:26}  {place:13}  {found:?}", mode.name);
            let row = &promised[&(mode.name.to_owned(), (*place).to_owned())];
            if *row != found {
                wrong.push(format!("{}, {place}: {row:?} was promised", mode.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Runs a mode, and says for each place what was found there.
fn known(mode: &Mode) -> [[Found; 6]; 3] {
    let scene = Scene::start(mode.name);
    let answer = (mode.ask)(&scene);
    // The request is under way: the device has it.
    scene.wait_until_asked();
    let (needles, columns) = needles(&scene, mode.sessions);
    let search = Search::new(&needles);
    let mut in_memory = BTreeSet::new();
    let mut len = memory::search(scene.gateway(), &search, &mut in_memory);
    // The response is under way: the gateway, or who is behind it, has half of its blocks.
    let answered_by = (mode.answered_by)(&scene);
    answered_by.let_pass(mode.let_pass);
    scene.answer();
    answered_by.wait_until_full();
    len += memory::search(scene.gateway(), &search, &mut in_memory);
    answered_by.open();
    assert_eq!(
        answer.recv_timeout(LIMIT).unwrap(),
        scene.drawn.response_body()
    );
    len += memory::search(scene.gateway(), &search, &mut in_memory);
    // The answer's blocks went beside the records, and the inner session's keys open them.
    let beside = scene.device.flows().concat();
    let beside = inner::light_messages(&beside).len();
    assert_eq!(beside > 0, scene.is_light, "{beside} beside the records");
    if scene.is_light {
        sessions::recorded(&scene);
    }
    println!(
        "{:26}  {} MiB searched at three times",
        mode.name,
        len >> 20
    );

    let [first, second, third] = &scene.tls;
    let streams = [
        &scene.http,
        &scene.translate,
        first,
        second,
        third,
        &scene.itls,
        &scene.server,
    ];
    let streams = streams.map(|relay| relay.recording.lock().unwrap().clone());
    let datagrams =
        [&scene.device, &scene.legs, &scene.callers].map(|relay| relay.flows().concat());
    let datagrams = datagrams.concat();
    let carried = scene.carriers.flows().concat();
    let datagrams = datagrams.into_iter().map(|(_, datagram)| datagram);
    let [mut on_internet_side, mut on_device_side] = [BTreeSet::new(), BTreeSet::new()];
    let carried = carried.into_iter().map(|(_, datagram)| datagram);
    for bytes in streams.concat().into_iter().chain(carried) {
        search.search(&bytes, &mut on_internet_side);
    }
    for datagram in datagrams {
        search.search(&datagram, &mut on_device_side);
    }
    [in_memory, on_internet_side, on_device_side].map(|found| {
        COLUMNS.map(|column| {
            let wanted: Vec<_> = columns.iter().filter(|(_, of)| *of == column).collect();
            let count = wanted
                .iter()
                .filter(|(name, _)| found.contains(name.as_str()))
                .count();
            match (count, wanted.len()) {
                (_, 0) => Found::Absent,
                (0, _) => Found::None,
                (count, all) if count == all => Found::All,
                (count, all) => {
                    println!("{column}: found {found:?}");
                    Found::Some(count, all)
                }
            }
        })
    })
}

/// Everything that is searched for, and the column that each name belongs to.
fn needles(scene: &Scene, expected: [usize; 2]) -> (Vec<Needle>, Vec<(String, &'static str)>) {
    let drawn = &scene.drawn;
    let [hop, end_to_end] = [COLUMNS[3], COLUMNS[1]];
    let mut needles = vec![
        (Needle::bytes("path", drawn.path.as_bytes()), "plaintext"),
        (Needle::bytes("request", &drawn.request), "plaintext"),
        (Needle::bytes("response", &drawn.response), "plaintext"),
        (
            Needle::key("client's key", &drawn.end_to_end_key),
            end_to_end,
        ),
        (Needle::key("server's key", &drawn.server_key), end_to_end),
        (
            Needle::scalar("client's private key", &scene.client_pair.private_key()),
            end_to_end,
        ),
        (
            Needle::scalar("device's private key", &scene.device_pair.private_key()),
            end_to_end,
        ),
        (Needle::key("gateway's key", &drawn.hop_key), hop),
        (
            Needle::scalar("gateway's private key", &scene.gateway_pair.private_key()),
            hop,
        ),
        (Needle::key("caller's key", &drawn.calling_key), hop),
        (Needle::key("comer's key", &drawn.coming_key), hop),
        (
            Needle::key("inner caller's key", &drawn.inner_calling_key),
            hop,
        ),
        (Needle::key("token", drawn.token.as_bytes()), "token"),
    ];
    let sessions = sessions::recorded(scene);
    let counts = [false, true].map(|wanted| {
        let of_kind = sessions
            .iter()
            .filter(|(is_end_to_end, _)| *is_end_to_end == wanted);
        of_kind.count()
    });
    assert_eq!(counts, expected, "sessions with the gateway, and past it");
    for (number, (is_end_to_end, session)) in sessions.iter().enumerate() {
        let column = match is_end_to_end {
            true => "end-to-end session",
            false => "hop session",
        };
        for (name, key) in session {
            needles.push((
                Needle::key(format!("session {number}, {name}"), key),
                column,
            ));
        }
    }
    let columns = needles
        .iter()
        .map(|(needle, column)| (needle.name.clone(), *column));
    let columns = columns.collect();
    (
        needles.into_iter().map(|(needle, _)| needle).collect(),
        columns,
    )
}

/// Reads the table of the page: by mode and place, what is promised for each column.
fn promises() -> BTreeMap<(String, String), [Found; 6]> {
    let page = include_str!("../../../docs/specs/knowledge.md");
    let mut rows = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells
                .map(|cell| cell.trim().replace('`', ""))
                .collect::<Vec<_>>()
        });
    let head = rows.next().unwrap();
    assert_eq!(head[..2], ["mode", "where"]);
    assert_eq!(head[2..], COLUMNS);
    let promised: BTreeMap<_, _> = rows
        .skip(1)
        .map(|row| {
            let found: Vec<_> = row[2..].iter().map(|cell| Found::read(cell)).collect();
            ((row[0].clone(), row[1].clone()), found.try_into().unwrap())
        })
        .collect();
    let modes: BTreeSet<_> = promised.keys().map(|(mode, _)| mode).collect();
    assert_eq!(
        promised.len(),
        modes.len() * PLACES.len(),
        "each place once"
    );
    promised
}

/// Something of this process's own is found in its memory, which is how the search reads the gateway's.
#[test]
fn what_is_planted_in_a_process_is_found_from_outside() {
    use std::io::Write as _;
    // The shell keeps what it reads in a variable, and waits for more.
    let mut shell = std::process::Command::new("sh")
        .args(["-c", "read kept; echo; read more"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let planted = b"planted: neither more nor less than this";
    let needles = [
        Needle::bytes("planted", planted),
        Needle::bytes("other", b"planted: something that nobody has said"),
    ];
    let search = Search::new(&needles);
    let stdin = shell.stdin.as_mut().unwrap();
    stdin.write_all(&[planted, &b"\n"[..]].concat()).unwrap();
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let mut found = BTreeSet::new();
    memory::search(shell.id(), &search, &mut found);
    drop(shell.stdin.take());
    shell.wait().unwrap();
    assert_eq!(found, BTreeSet::from(["planted"]));
}
