//! Prints what a gateway's processor does for a message in each mode, and for a connection, beside a plain relay
//! of TCP connections. Gateway and relay are processes of their own with one thread each, whose processor time is
//! read; ends and devices are this process. The contenders take turns.
//!
//! `cargo run --release --bin modes [ROUNDS [SECONDS]]`: as many rounds of requests and as many of connections,
//! but none begins that many seconds after the first of its kind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hedgerow_benches::child::{SERVE, Server};
use hedgerow_benches::devices::Neighbours;
use hedgerow_benches::ends::{self, Lane, Way};
use hedgerow_benches::forwarding::{
    self, GATEWAY, GATEWAY_LINES, LANES, LIGHT_GATEWAY, RELAY, Surroundings,
};
use hedgerow_benches::versions;
use hedgerow_benches::ways::{self, ITLS, TERMINATE};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// The least that something in the middle can do.
const RELAYED: &str = "plain TCP relay";

/// Of a gateway that does nothing else.
const ITLS_LIGHT: &str = "itls, light outer layer";

/// Exchanges of each end in a round. A gateway that translates lets 50 datagrams of an end through at once.
const EXCHANGES: usize = 40;

/// How long it takes until those may go again: 25 a second.
const PAUSE: Duration = Duration::from_millis(1_650);

/// Connections in a round, one after the other, to one device after the other.
const CONNECTIONS: usize = 2 * LANES;

/// How long it takes until so many may come again: a device that adapts is asked five times a second for one host, and
/// ten times at once, and has two rows with two connections in a round.
const CONNECTION_PAUSE: Duration = Duration::from_secs(1);

/// Message IDs come again after 65,536 requests to one device, and not before their lifetime of 247 s
/// has ended (RFC 7252 §4.4).
const MAX_ROUNDS: usize = 200;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some(SERVE) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let rest: Vec<_> = arguments.collect();
        return runtime.block_on(forwarding::serve(&rest));
    }
    let rounds = first.map_or(20, |rounds| {
        rounds
            .parse()
            .expect("the number of rounds should be a number")
    });
    let limit = arguments.next().map_or(60, |seconds| {
        seconds
            .parse()
            .expect("the number of seconds should be a number")
    });
    assert!(
        (1..=MAX_ROUNDS).contains(&rounds),
        "1 to {MAX_ROUNDS} rounds"
    );
    versions::print();
    println!(
        "- up to {rounds} rounds, begun within {limit} s, of {LANES} ends with {EXCHANGES} exchanges each, and as \
         many of {CONNECTIONS} connections; PSK CCM_8; gateway and relay with one thread each"
    );
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let run = run(rounds, Duration::from_secs(limit));
    runtime.unwrap().block_on(run);
}

/// Something that forwards, what it is asked through, and what was measured of it. A further mode is a
/// further value.
struct Row {
    name: &'static str,
    process: usize,
    way: Way,
    lanes: Vec<Lane>,
    message: Vec<f64>,
    connection: Vec<f64>,
}

async fn run(rounds: usize, limit: Duration) {
    let neighbours = Neighbours::start().await;
    let surroundings = neighbours.surroundings();
    let addresses = &surroundings.devices;
    let (relay, relay_at) = start_relay().await;
    let (gateway, lines) = start_gateway(GATEWAY, &surroundings);
    let (light, light_lines) = start_gateway(LIGHT_GATEWAY, &surroundings);
    let processes = [relay, gateway, light];
    let mut rows = vec![Row::new(RELAYED, 0, Way::Relay(relay_at))];
    for (name, way) in ways::of_gateway(&lines).await {
        rows.push(Row::new(name, 1, way));
        if name == ITLS {
            rows.push(Row::new(ITLS_LIGHT, 2, ways::itls(&light_lines)));
        }
    }
    for row in &mut rows {
        eprintln!("opening: {}", row.name);
        for (number, device) in addresses.iter().enumerate() {
            let mut lane = row.way.open(number, *device).await;
            // Handshakes aren't measured here.
            lane.ask().await;
            row.lanes.push(lane);
        }
    }
    for lane in rows.iter_mut().flat_map(|row| &mut row.lanes) {
        lane.ready().await;
    }
    let begun = now();
    for round in 0..rounds {
        if begun.elapsed() >= limit {
            break;
        }
        let start = now();
        for turn in 0..rows.len() {
            let at = (round + turn) % rows.len();
            rows[at].measure_exchanges(&processes).await;
        }
        eprintln!("requests: round {} of {rounds}", round + 1);
        tokio::time::sleep(PAUSE.saturating_sub(start.elapsed())).await;
    }
    for row in &mut rows {
        // Connections of a source are bounded.
        for lane in row.lanes.drain(..) {
            lane.close().await;
        }
    }
    let begun = now();
    for round in 0..rounds {
        if begun.elapsed() >= limit {
            break;
        }
        let start = now();
        for turn in 0..rows.len() {
            let at = (round + turn) % rows.len();
            rows[at].measure_connections(&processes, addresses).await;
        }
        eprintln!("connections: round {} of {rounds}", round + 1);
        tokio::time::sleep(CONNECTION_PAUSE.saturating_sub(start.elapsed())).await;
    }
    print(&rows);
}

fn print(rows: &[Row]) {
    let most = rows.iter().map(|row| row.message.len()).max();
    for row in rows.iter().filter(|row| Some(row.message.len()) != most) {
        println!("- {}: {} rounds counted", row.name, row.message.len());
    }
    println!("\n### What forwarding costs a gateway\n");
    println!(
        "| mode | CPU, us a message | to the relay | to terminate | CPU, us a connection | to the relay | \
         to terminate | connections/s of one core |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let references = [RELAYED, TERMINATE].map(|name| {
        let row = rows.iter().find(|row| row.name == name).unwrap();
        [quiet(&row.message), quiet(&row.connection)]
    });
    for row in rows {
        let [message, connection] = [&row.message, &row.connection].map(|figures| quiet(figures));
        println!(
            "| {} | {:.1} ({:.1}) | {:.2} | {:.2} | {:.0} ({:.0}) | {:.2} | {:.2} | {:.0} |",
            row.name,
            message,
            median(&row.message),
            message / references[0][0],
            message / references[1][0],
            connection,
            median(&row.connection),
            connection / references[0][1],
            connection / references[1][1],
            1e6 / connection,
        );
    }
}

impl Row {
    const fn new(name: &'static str, process: usize, way: Way) -> Self {
        Self {
            name,
            process,
            way,
            lanes: Vec::new(),
            message: Vec::new(),
            connection: Vec::new(),
        }
    }

    /// What a round took in which an end went over to another carrier isn't this row's.
    async fn measure_exchanges(&mut self, processes: &[Server]) {
        let process = &processes[self.process];
        let was_ready = self.lanes.iter().all(Lane::is_ready);
        let before = process.cpu();
        self.ask().await;
        let used = settled(process).await - before;
        if was_ready && self.lanes.iter().all(Lane::is_ready) {
            // A request and its response.
            self.message.push(used / to_f64(2 * LANES * EXCHANGES));
        }
    }

    async fn measure_connections(&mut self, processes: &[Server], devices: &[SocketAddr]) {
        let process = &processes[self.process];
        let before = process.cpu();
        for number in (0..LANES).cycle().take(CONNECTIONS) {
            let lane = self.way.open(number, devices[number]).await;
            lane.close().await;
        }
        let used = settled(process).await - before;
        self.connection.push(used / to_f64(CONNECTIONS));
    }

    /// Lets all ends ask one thing after the other.
    async fn ask(&mut self) {
        let mut tasks = JoinSet::new();
        for mut lane in self.lanes.drain(..) {
            tasks.spawn(async move {
                for _ in 0..EXCHANGES {
                    lane.ask().await;
                }
                lane
            });
        }
        self.lanes = tasks.join_all().await;
    }
}

async fn start_relay() -> (Server, SocketAddr) {
    let echo = ends::echo().await.to_string();
    let (server, lines) = Server::start_self(&[SERVE, RELAY, &echo], 1);
    let at = lines[0].parse().unwrap();
    (server, at)
}

/// Starts a gateway, and returns where it is reached.
fn start_gateway(which: &str, surroundings: &Surroundings) -> (Server, Vec<String>) {
    let addresses = surroundings.addresses();
    let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    let mut arguments = vec![SERVE, which];
    arguments.extend(addresses.iter().map(String::as_str));
    Server::start_self(&arguments, GATEWAY_LINES)
}

/// Returns a process's processor time once it has nothing more to do.
async fn settled(process: &Server) -> f64 {
    let mut before = process.cpu();
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let used = process.cpu();
        if used - before < 1.0 {
            return used;
        }
        before = used;
    }
}

fn quiet(figures: &[f64]) -> f64 {
    percentile(figures, 10)
}

fn median(figures: &[f64]) -> f64 {
    percentile(figures, 50)
}

/// Not a number if there are no figures.
fn percentile(figures: &[f64], percent: usize) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let at = figures.len() * percent / 100;
    figures.get(at).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn to_f64(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::disallowed_methods, reason = "measuring is reading a clock")]
fn now() -> Instant {
    Instant::now()
}
