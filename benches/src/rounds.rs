//! Contenders measured in turns: one batch each a round, in a changing order, so that a noisy
//! neighbour or a change of clock hits all alike. What counts is the quietest 10th percentile.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one batch should take: long against the clock's resolution, short against a
/// scheduler's slice.
const BATCH: Duration = Duration::from_micros(100);

/// One library that does the job.
pub struct Contender<'a> {
    name: &'static str,
    is_ours: bool,
    run: Box<dyn FnMut(u32) -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// One of ours.
    pub fn ours<T>(name: &'static str, job: impl FnMut() -> T + 'a) -> Self {
        Self::new(name, true, job)
    }

    /// One that ours are compared with.
    pub fn reference<T>(name: &'static str, job: impl FnMut() -> T + 'a) -> Self {
        Self::new(name, false, job)
    }

    /// One whose job says itself what it took of what counts.
    pub fn timed(
        name: &'static str,
        is_ours: bool,
        mut job: impl FnMut() -> Duration + 'a,
    ) -> Self {
        let run = Box::new(move |times| (0..times).map(|_| job()).sum());
        Self { name, is_ours, run }
    }

    fn new<T>(name: &'static str, is_ours: bool, mut job: impl FnMut() -> T + 'a) -> Self {
        #[expect(clippy::disallowed_methods, reason = "measuring is reading a clock")]
        let run = Box::new(move |times| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(job());
            }
            start.elapsed()
        });
        Self { name, is_ours, run }
    }

    /// Finds how often the job fits into a batch, and warms it up on the way.
    fn batch(&mut self) -> u32 {
        let mut times = 1;
        while (self.run)(times) < BATCH {
            times *= 2;
        }
        times
    }
}

/// What a contender needs for one job.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// The contender.
    pub name: &'static str,
    /// Whether it is one of ours.
    pub is_ours: bool,
    /// The 10th percentile over the rounds, in nanoseconds.
    pub quiet: f64,
    /// The median over the rounds, in nanoseconds.
    pub median: f64,
}

/// Lets the contenders take turns for `rounds` rounds.
pub fn measure(mut contenders: Vec<Contender<'_>>, rounds: usize) -> Vec<Figure> {
    let batches: Vec<u32> = contenders.iter_mut().map(Contender::batch).collect();
    let mut samples = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let times = batches[at];
            let took = (contenders[at].run)(times);
            samples[at].push(took.as_secs_f64() * 1e9 / f64::from(times));
        }
    }
    let figures = contenders.iter().zip(samples);
    figures
        .map(|(contender, mut samples)| {
            samples.sort_by(f64::total_cmp);
            Figure {
                name: contender.name,
                is_ours: contender.is_ours,
                quiet: samples[samples.len() / 10],
                median: samples[samples.len() / 2],
            }
        })
        .collect()
}

/// Rows of one kind, printed as a Markdown table: nanoseconds of every contender, and of each of
/// ours the ratio to the fastest reference of the row.
#[derive(Default)]
pub struct Section {
    names: Vec<(&'static str, bool)>,
    rows: Vec<(String, Vec<Figure>)>,
}

impl Section {
    /// Adds a row.
    pub fn row(&mut self, what: impl Into<String>, figures: Vec<Figure>) {
        for figure in &figures {
            if !self.names.iter().any(|(name, _)| *name == figure.name) {
                self.names.push((figure.name, figure.is_ours));
            }
        }
        self.rows.push((what.into(), figures));
    }

    /// Prints all rows.
    pub fn print(&self, title: &str) {
        println!("\n### {title}\n");
        let ours = || self.names.iter().filter(|(_, is_ours)| *is_ours);
        let mut head = String::from("| what |");
        for (name, _) in &self.names {
            head.push_str(&format!(" {name}, ns |"));
        }
        for (name, _) in ours() {
            head.push_str(&format!(" ratio of {name} |"));
        }
        println!("{head}");
        let columns = 1 + self.names.len() + ours().count();
        println!("|{}", " --- |".repeat(columns));
        for (what, figures) in &self.rows {
            let find = |name: &str| figures.iter().find(|figure| figure.name == name);
            let best = figures.iter().filter(|figure| !figure.is_ours);
            let best = best.map(|figure| figure.quiet).fold(f64::MAX, f64::min);
            let mut row = format!("| {what} |");
            for (name, _) in &self.names {
                row.push_str(&match find(name) {
                    Some(figure) => format!(" {:.0} ({:.0}) |", figure.quiet, figure.median),
                    None => " - |".into(),
                });
            }
            for (name, _) in ours() {
                row.push_str(&match find(name) {
                    Some(figure) if best < f64::MAX => format!(" {:.2} |", figure.quiet / best),
                    _ => " - |".into(),
                });
            }
            println!("{row}");
        }
    }
}
