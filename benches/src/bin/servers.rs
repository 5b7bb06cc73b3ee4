//! Prints the processor time that a coaps server takes for a request and for a handshake, ours
//! beside libcoap's, as Markdown tables. Each server is a process of its own, started anew each
//! round and ended by its process ID; the load comes from this process, by the same code for all.
//!
//! `cargo run --release --bin servers [ROUNDS [HANDSHAKE_ROUNDS]]`.

use std::thread::sleep;
use std::time::Duration;

use hedgerow_benches::child::{Kind, SERVE, Server};
use hedgerow_benches::load::{Clients, serve, shake_hands};
use hedgerow_benches::versions;
use tokio::runtime::Builder;

/// Clients, and requests that each has outstanding.
const LOADS: [(usize, u8); 2] = [(1, 1), (16, 4)];

/// Requests a round. Message IDs of one client must not come again (RFC 7252 §4.4).
const REQUESTS: usize = 16_000;

/// Requests of the same clients before those that count.
const WARM_UP: usize = 3_200;

/// Sessions held while handshakes are measured.
const HELD: [u16; 2] = [1_000, 10_000];

/// Handshakes that are measured.
const HANDSHAKES: u16 = 250;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == SERVE) {
        let is_one = arguments.get(1).map(String::as_str) == Some(Kind::OneThread.name());
        let mut builder = match is_one {
            true => Builder::new_current_thread(),
            false => Builder::new_multi_thread(),
        };
        builder.enable_all().build().unwrap().block_on(serve());
        return;
    }
    let rounds = |place: usize, default: usize| {
        arguments.get(place).map_or(default, |rounds| {
            rounds
                .parse()
                .expect("the number of rounds should be a number")
        })
    };
    let (rounds, handshake_rounds) = (rounds(0, 20), rounds(1, 3));
    versions::print();
    for kind in Kind::ALL {
        if let Some(version) = kind.version() {
            println!("- {version}");
        }
    }
    println!("- {rounds} rounds of {REQUESTS} requests, {handshake_rounds} of handshakes");
    if rounds > 0 {
        print_requests(rounds);
    }
    if handshake_rounds > 0 {
        print_handshakes(handshake_rounds);
    }
}

/// What one server took in one round.
#[derive(Clone, Copy)]
struct Sample {
    kind: Kind,
    /// Microseconds of its processor time for one.
    cpu: f64,
    /// Requests a second, or bytes of memory a session.
    other: f64,
}

fn print_requests(rounds: usize) {
    println!("\n### A request to a coaps server, PSK CCM_8, 64 bytes in the response\n");
    println!("| server | clients x outstanding | requests/s | CPU, us a request | ratio of CPU |");
    println!("| --- | --- | --- | --- | --- |");
    // The clients have one thread: the other core is the server's.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for (clients, outstanding) in LOADS {
        let measured: Vec<_> = (0..rounds)
            .map(|round| {
                let turn = in_turn(round).map(|kind| {
                    let server = Server::start(kind);
                    runtime.block_on(ask(kind, &server, clients, outstanding))
                });
                turn.to_vec()
            })
            .collect();
        for kind in Kind::ALL {
            let (name, rate) = (kind.name(), figure(&measured, kind, |sample| -sample.other));
            let (cpu, ratio) = (
                figure(&measured, kind, |sample| sample.cpu),
                ratio(&measured, kind),
            );
            println!(
                "| {name} | {clients} x {outstanding} | {:.0} | {:.1} ({:.1}) | {ratio:.2} |",
                -rate.quiet, cpu.quiet, cpu.median
            );
        }
    }
}

async fn ask(kind: Kind, server: &Server, clients: usize, outstanding: u8) -> Sample {
    let clients = Clients::connect(server.address(), clients, outstanding).await;
    clients.ask(WARM_UP).await;
    let before = server.cpu();
    let took = clients.ask(REQUESTS).await;
    let cpu = (server.cpu() - before) / REQUESTS as f64;
    clients.close().await;
    Sample {
        kind,
        cpu,
        other: REQUESTS as f64 / took.as_secs_f64(),
    }
}

fn print_handshakes(rounds: usize) {
    println!("\n### A handshake with a coaps server that holds sessions, PSK CCM_8\n");
    println!("| server | sessions held | CPU, us a handshake | ratio of CPU | RSS, kB a session |");
    println!("| --- | --- | --- | --- | --- |");
    let mut measured = HELD.map(|_| Vec::new());
    for round in 0..rounds {
        let turn = in_turn(round).map(shake);
        for (place, measured) in measured.iter_mut().enumerate() {
            measured.push(turn.map(|samples| samples[place]).to_vec());
        }
    }
    for (held, measured) in HELD.iter().zip(&measured) {
        for kind in Kind::ALL {
            let (name, ratio) = (kind.name(), ratio(measured, kind));
            let cpu = figure(measured, kind, |sample| sample.cpu);
            let memory = figure(measured, kind, |sample| sample.other).median / 1e3;
            println!(
                "| {name} | {held} | {:.0} ({:.0}) | {ratio:.2} | {memory:.1} |",
                cpu.quiet, cpu.median
            );
        }
    }
}

/// Fills a server with sessions, and measures the handshakes that follow at each number held.
fn shake(kind: Kind) -> [Sample; HELD.len()] {
    let server = Server::start(kind);
    let mut clients = 0;
    let mut meet = |count: u16| {
        for _ in 0..count {
            shake_hands(server.address(), clients);
            clients += 1;
        }
        // The last one is over for the server, too, and it has gone to sleep.
        sleep(Duration::from_millis(50));
        (server.cpu(), server.resident(), clients)
    };
    let (_, empty, _) = meet(1);
    HELD.map(|held| {
        let (_, _, already) = meet(0);
        let (before, resident, _) = meet(held - already);
        let (after, ..) = meet(HANDSHAKES);
        Sample {
            kind,
            cpu: (after - before) / f64::from(HANDSHAKES),
            other: (resident - empty) / f64::from(held),
        }
    })
}

/// Returns all servers in an order that changes from round to round.
fn in_turn(round: usize) -> [Kind; Kind::ALL.len()] {
    let mut kinds = Kind::ALL;
    kinds.rotate_left(round % Kind::ALL.len());
    kinds
}

struct Figure {
    quiet: f64,
    median: f64,
}

/// Returns the 10th percentile and the median of a figure over the rounds.
fn figure(rounds: &[Vec<Sample>], kind: Kind, of: impl Fn(&Sample) -> f64) -> Figure {
    let samples = rounds.iter().flatten();
    percentiles(samples.filter(|sample| sample.kind == kind).map(of))
}

/// Returns the median of the ratios to the better reference of the same round.
fn ratio(rounds: &[Vec<Sample>], kind: Kind) -> f64 {
    let ratios = rounds.iter().map(|round| {
        let references = round
            .iter()
            .filter(|sample| sample.kind.program().is_some());
        let best = references.map(|sample| sample.cpu).fold(f64::MAX, f64::min);
        let own = round.iter().find(|sample| sample.kind == kind).unwrap();
        own.cpu / best
    });
    percentiles(ratios).median
}

fn percentiles(figures: impl Iterator<Item = f64>) -> Figure {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    Figure {
        quiet: figures[figures.len() / 10],
        median: figures[figures.len() / 2],
    }
}
