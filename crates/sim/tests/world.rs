//! The world as a test sees it: determinism, each fault, bounds.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::time::Duration;

use hedgerow_core::{CryptoRng, Env, Instant};
use hedgerow_sim::{
    Account, Address, Conditions, Error, Fate, Fault, Limits, Node, NodeId, Outbox, Responder,
    SealsNothing, Trace, Tracing, World, for_each_seed,
};

const A: Address = Address::new(1, 1000);
const B: Address = Address::new(2, 2000);
const NEW: Address = Address::new(9, 9000);

/// Sends `left` numbered datagrams, one each `every`, and writes down what it gets.
struct Host {
    left: u8,
    every: Duration,
    next: Option<Instant>,
    echoes: bool,
    got: Vec<(Instant, Address, Address, Vec<u8>)>,
    salt: [u8; 8],
}

impl Host {
    fn new(left: u8, echoes: bool) -> Self {
        Self {
            left,
            every: ms(1),
            next: (left > 0).then_some(Instant::ZERO),
            echoes,
            got: Vec::new(),
            salt: [0; 8],
        }
    }

    fn bytes(&self) -> Vec<&[u8]> {
        self.got.iter().map(|(_, _, _, bytes)| &bytes[..]).collect()
    }
}

impl Node for Host {
    type Provider = SealsNothing;

    fn handle_datagram(
        &mut self,
        env: &mut Env<'_>,
        from: Address,
        to: Address,
        datagram: &mut [u8],
        out: &mut Outbox,
    ) {
        self.got.push((env.now, from, to, datagram.to_vec()));
        if self.echoes {
            out.send(to, from, datagram);
        }
        // What a node does to its buffer must not show in the trace or in another copy.
        datagram.fill(0xee);
    }

    fn handle_timeout(&mut self, env: &mut Env<'_>, out: &mut Outbox) {
        env.rng.fill_bytes(&mut self.salt);
        self.left -= 1;
        out.send(A, B, &[self.left; 10]);
        self.next = (self.left > 0).then_some(env.now + self.every);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

/// A world in which A sends `count` datagrams to B, the first with the highest number.
fn world(seed: u64, count: u8) -> (World<Host>, NodeId, NodeId) {
    let mut world = World::new(seed);
    world.set_tracing(Tracing::Fates);
    let a = world.add(Host::new(count, false), &[A]);
    let b = world.add(Host::new(0, true), &[B]);
    (world, a, b)
}

fn settled(account: Account) -> bool {
    account.sent + account.duplicated
        == account.delivered
            + account.lost
            + account.partitioned
            + account.dropped
            + account.too_long
            + account.unroutable
}

fn stormy() -> Conditions {
    Conditions {
        corruption: 0.1,
        ..Conditions::rough()
    }
}

#[test]
fn equal_seeds_give_equal_runs_and_others_differ() {
    let run = |seed| -> (Trace, [u8; 8], Vec<Vec<u8>>) {
        let (mut world, a, b) = world(seed, 50);
        world.set_tracing(Tracing::Bytes);
        world.set_conditions(stormy());
        world.run_until_idle().unwrap();
        assert!(settled(world.total()), "{:?}", world.total());
        let got = world.node(b).bytes().concat();
        (world.trace().clone(), world.node(a).salt, vec![got])
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
    assert_ne!(run(7).1, run(8).1);
}

#[test]
fn nodes_draw_from_streams_of_their_own() {
    fn draw(rng: &mut dyn CryptoRng) -> u64 {
        rng.next_u64()
    }
    let (mut world, a, b) = world(7, 0);
    let from_a = world.act(a, |_, env, _| draw(env.rng));
    let from_b = world.act(b, |_, env, _| draw(env.rng));
    assert_ne!(from_a, from_b);
}

#[test]
fn calm_network_delivers_in_order_after_its_delay() {
    let (mut world, a, b) = world(1, 3);
    world.run_until_idle().unwrap();
    assert_eq!(world.node(b).bytes(), [&[2; 10], &[1; 10], &[0; 10]]);
    let times: Vec<Instant> = world.node(b).got.iter().map(|got| got.0).collect();
    assert_eq!(times, [at(10), at(11), at(12)]);
    assert_eq!(world.node(a).got.len(), 3);
    assert_eq!(world.now(), at(22));
    let account = world.account(A, B);
    assert_eq!((account.sent, account.sent_bytes), (3, 30));
    assert_eq!((account.delivered, account.delivered_bytes), (3, 30));
}

#[test]
fn datagrams_due_at_once_arrive_in_the_order_sent() {
    let (mut world, _, b) = world(1, 0);
    for number in 0..20 {
        world.send(A, B, &[number]);
    }
    world.run_until_idle().unwrap();
    let order: Vec<u8> = world.node(b).bytes().concat();
    assert_eq!(order, (0..20).collect::<Vec<u8>>());
}

#[test]
fn each_datagram_is_lost_once_by_loop_until_the_fault_finds_none() {
    let mut lost = Vec::new();
    for n in 0.. {
        let (mut world, _, b) = world(1, 4);
        world.direction(A, B).fault(n, Fault::Drop);
        world.run_until_idle().unwrap();
        let account = world.account(A, B);
        assert_eq!(account.dropped, account.planted);
        if account.planted == 0 {
            break;
        }
        let missing: Vec<u8> = (0..4)
            .filter(|&number| !world.node(b).bytes().contains(&&[number; 10][..]))
            .collect();
        lost.push(missing);
    }
    assert_eq!(lost, [vec![3], vec![2], vec![1], vec![0]]);
}

#[test]
fn planted_faults_choose_by_place_and_by_bytes() {
    let (mut world, _, b) = world(1, 4);
    let direction = world.direction(A, B);
    direction.fault(0, Fault::Delay(ms(100)));
    direction.fault(1, Fault::Duplicate);
    direction.fault_where(0, Fault::FlipBit(0), |bytes| bytes[0] == 1);
    direction.fault_each(Fault::Drop, |bytes| bytes[0] == 0);
    world.run_until_idle().unwrap();
    let mut flipped = [1; 10];
    flipped[0] = 0x81;
    assert_eq!(
        world.node(b).bytes(),
        [&[2; 10], &[2; 10], &flipped, &[3; 10]]
    );
    assert_eq!(world.node(b).got[3].0, at(110));
    let account = world.account(A, B);
    assert_eq!(account.planted, 4);
    assert_eq!((account.duplicated, account.dropped), (1, 1));
    assert!(settled(account));
    let altered = world.trace().entries().iter().filter(|e| e.is_altered);
    assert_eq!(altered.count(), 1);
}

#[test]
fn planted_fault_counts_from_when_it_is_planted() {
    let (mut world, _, b) = world(1, 0);
    world.send(A, B, &[0]);
    world.direction(A, B).fault(1, Fault::Drop);
    world.send(A, B, &[1]);
    world.send(A, B, &[2]);
    world.run_until_idle().unwrap();
    assert_eq!(world.node(b).bytes(), [&[0], &[1]]);
}

#[test]
fn planted_fault_leaves_the_luck_of_the_others_alone() {
    let fates = |plant: bool| {
        let (mut world, ..) = world(3, 60);
        world.set_conditions(stormy());
        if plant {
            world.direction(A, B).fault(0, Fault::Drop);
        }
        world.run_until_idle().unwrap();
        let mut fates: Vec<_> = world
            .trace()
            .entries()
            .iter()
            .filter(|entry| entry.to == B && entry.sent != Instant::ZERO)
            .map(|entry| (entry.sent, entry.at, entry.fate, entry.is_altered))
            .collect();
        fates.sort_by_key(|&(sent, at, ..)| (sent, at));
        fates
    };
    assert_eq!(fates(false), fates(true));
}

#[test]
fn attacker_on_the_path_rewrites_and_is_counted() {
    let (mut world, _, b) = world(1, 2);
    world.direction(A, B).rewrite(|bytes| {
        let changes = bytes[0] == 1;
        if changes {
            bytes.truncate(3);
        }
        changes
    });
    world.run_until_idle().unwrap();
    assert_eq!(world.node(b).bytes(), [&[1; 3][..], &[0; 10]]);
    assert_eq!(world.account(A, B).planted, 1);
}

#[test]
fn too_long_is_dropped_and_counted_at_the_boundary() {
    let (mut world, _, b) = world(1, 0);
    let limit = Conditions {
        max_datagram_len: 4,
        ..Conditions::default()
    };
    world.link(A, B, limit);
    world.send(A, B, &[1; 4]);
    world.send(A, B, &[2; 5]);
    world.run_until_idle().unwrap();
    assert_eq!(world.node(b).bytes(), [&[1; 4]]);
    assert_eq!(world.account(A, B).too_long, 1);
}

#[test]
fn partition_drops_what_is_sent_within_it_and_no_more() {
    let (mut world, _, b) = world(1, 5);
    world.partition(A, B, at(1)..at(3));
    world.run_until_idle().unwrap();
    assert_eq!(world.node(b).bytes(), [&[4; 10], &[1; 10], &[0; 10]]);
    assert_eq!(world.account(A, B).partitioned, 2);
    assert!(settled(world.total()));
}

#[test]
fn rebinding_changes_the_source_seen_and_forgets_the_old_address() {
    let (mut world, a, b) = world(1, 3);
    // The second datagram is sent behind the new address; the echo of the first is on its way to
    // the old one.
    world.rebind(at(1), A, NEW);
    world.run_until_idle().unwrap();
    let sources: Vec<Address> = world.node(b).got.iter().map(|got| got.1).collect();
    assert_eq!(sources, [A, NEW, NEW]);
    let got: Vec<(Address, Address)> = world.node(a).got.iter().map(|got| (got.1, got.2)).collect();
    assert_eq!(got, [(B, A), (B, A)]);
    assert_eq!(world.account(B, A).unroutable, 1);
    assert_eq!(world.account(A, NEW), Account::default());

    world.rebind(world.now(), A, A);
    world.run_until_idle().unwrap();
    world.send(B, NEW, &[1]);
    world.send(B, A, &[2]);
    world.run_until_idle().unwrap();
    assert_eq!(world.node(a).got.last().unwrap().3, [2]);
    assert_eq!(world.account(B, A).unroutable, 2);
}

#[test]
fn address_without_a_node_is_unroutable() {
    let (mut world, ..) = world(1, 0);
    world.send(A, NEW, &[1]);
    world.run_until_idle().unwrap();
    assert_eq!(world.trace().entries()[0].fate, Fate::Unroutable);
    assert_eq!(world.account(A, NEW).unroutable, 1);
}

/// Asserts that `count` of `n` lies within five standard deviations of what `p` foretells.
fn assert_binomial(what: &str, count: u64, n: u64, p: f64) {
    let (n, count) = (n as f64, count as f64);
    let (mean, deviation) = (n * p, (n * p * (1.0 - p)).sqrt());
    assert!(
        (count - mean).abs() <= 5.0 * deviation,
        "{what}: {count} of {n}, where {mean} +- {deviation} is foretold"
    );
}

#[test]
fn chance_keeps_to_its_probabilities() {
    for_each_seed(0..4, |seed| {
        let mut world = World::new(seed);
        world.add(Host::new(0, false), &[B]);
        world.set_conditions(Conditions {
            loss: 0.2,
            duplication: 0.3,
            reordering: 0.1,
            corruption: 0.05,
            delay: ms(20)..=ms(40),
            ..Conditions::default()
        });
        world.set_tracing(Tracing::Fates);
        for _ in 0..10_000 {
            world.send(A, B, b"datagram");
        }
        world.run_until_idle().unwrap();
        let account = world.account(A, B);
        let passed = account.sent - account.lost;
        assert_eq!(account.sent, 10_000);
        assert_binomial("lost", account.lost, account.sent, 0.2);
        assert_binomial("duplicated", account.duplicated, passed, 0.3);
        assert_binomial("corrupted", account.corrupted, passed, 0.05);
        assert_binomial("reordered", account.reordered, account.delivered, 0.1);
        assert!(settled(account));

        let mut early = 0;
        for entry in world.trace().entries() {
            if entry.fate == Fate::Lost {
                continue;
            }
            let delay = entry.at.saturating_since(entry.sent);
            let is_held = delay >= ms(500);
            let delay = if is_held { delay - ms(500) } else { delay };
            assert!((ms(20)..=ms(40)).contains(&delay), "{entry}");
            early += u64::from(delay < ms(30));
        }
        assert_binomial("early", early, account.delivered, 0.5);
    });
}

#[test]
fn corruption_flips_exactly_one_bit_and_spares_the_empty_datagram() {
    let (mut world, _, b) = world(5, 0);
    world.set_conditions(Conditions {
        corruption: 1.0,
        ..Conditions::default()
    });
    let mut places = [0; 16];
    for _ in 0..200 {
        world.send(A, B, &[0; 2]);
    }
    world.send(A, B, &[]);
    world.run_until_idle().unwrap();
    for bytes in &world.node(b).bytes()[..200] {
        let word = u16::from_be_bytes([bytes[0], bytes[1]]);
        assert_eq!(word.count_ones(), 1);
        places[word.trailing_zeros() as usize] += 1;
    }
    assert!(places.iter().all(|&count| count > 0), "{places:?}");
    assert_eq!(world.account(A, B).corrupted, 200);
}

#[test]
fn event_limit_ends_two_nodes_that_echo_for_ever() {
    let echo = |_: &mut Env<'_>, from, to, datagram: &mut [u8], out: &mut Outbox| {
        out.send(to, from, datagram);
    };
    let mut world = World::new(4);
    world.add(Responder(echo), &[A]);
    world.add(Responder(echo), &[B]);
    world.set_limits(Limits {
        events: 100,
        ..Limits::default()
    });
    world.send(A, B, b"x");
    assert_eq!(
        world.run_until_idle(),
        Err(Error::EventLimit {
            seed: 4,
            events: 100,
            now: at(1000),
        })
    );
    assert_eq!(
        world.run_until_idle().unwrap_err().to_string(),
        "seed 4: still busy after 100 events, at 2000000 us"
    );
}

#[test]
fn time_limit_and_stillness_are_told_apart() {
    let (mut world, a, _) = world(4, 2);
    world.set_limits(Limits {
        time: ms(50),
        ..Limits::default()
    });
    assert_eq!(
        world.run_until(|_| false),
        Err(Error::Idle {
            seed: 4,
            now: at(21)
        })
    );
    world.act(a, |host, _, _| host.next = Some(at(72)));
    assert_eq!(
        world.run_until_idle(),
        Err(Error::TimeLimit {
            seed: 4,
            now: at(21),
            next: at(72)
        })
    );
}

#[test]
fn run_until_stops_right_after_what_it_waits_for() {
    let (mut world, _, b) = world(4, 5);
    world
        .run_until(|world| world.node(b).got.len() == 2)
        .unwrap();
    assert_eq!((world.node(b).got.len(), world.now()), (2, at(11)));
}

#[test]
fn run_for_includes_its_end_and_moves_the_clock_there() {
    let (mut world, _, b) = world(4, 1);
    world.run_for(Duration::from_micros(9_999)).unwrap();
    assert_eq!(world.node(b).got.len(), 0);
    world.run_for(Duration::from_micros(1)).unwrap();
    assert_eq!(world.node(b).got.len(), 1);
    world.run_for(Duration::from_secs(60)).unwrap();
    assert_eq!(world.now(), at(60_010));
}

/// A node whose timeout is always due.
struct Stuck;

impl Node for Stuck {
    type Provider = SealsNothing;

    fn handle_datagram(
        &mut self,
        _: &mut Env<'_>,
        _: Address,
        _: Address,
        _: &mut [u8],
        _: &mut Outbox,
    ) {
    }

    fn handle_timeout(&mut self, _: &mut Env<'_>, _: &mut Outbox) {}

    fn poll_timeout(&self) -> Option<Instant> {
        Some(at(5))
    }
}

#[test]
fn timeout_that_stays_due_is_named() {
    let mut world: World<Box<dyn Node<Provider = SealsNothing>>> = World::new(6);
    let node = world.add(Box::new(Stuck), &[A]);
    assert_eq!(
        world.run_for(ms(10)),
        Err(Error::TimeoutStuck {
            seed: 6,
            node,
            now: at(5)
        })
    );
}

#[test]
fn trace_prints_a_line_for_each_fate() {
    let (mut world, ..) = world(1, 2);
    world.direction(A, B).fault(0, Fault::Drop);
    world.direction(A, B).fault(1, Fault::Duplicate);
    world.direction(B, A).fault_each(Fault::Drop, |_| true);
    world.run_until_idle().unwrap();
    assert_eq!(
        world.trace().to_string(),
        "           0 us  host1:1000 -> host2:2000  10 B  dropped\n       \
         11000 us  host1:1000 -> host2:2000  10 B  delivered\n       \
         11000 us  host2:2000 -> host1:1000  10 B  dropped\n       \
         11000 us  host1:1000 -> host2:2000  10 B  delivered, copy\n       \
         11000 us  host2:2000 -> host1:1000  10 B  dropped\n"
    );
}

#[test]
fn trace_with_bytes_keeps_what_was_on_the_wire() {
    let (mut world, ..) = world(1, 1);
    world.set_tracing(Tracing::Bytes);
    world.run_until_idle().unwrap();
    let entries = world.trace().entries();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.datagram == [0; 10]));
}
