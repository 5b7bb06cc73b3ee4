//! How often something was reached, over all inputs of a process.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count for each of `N` things, by their place.
pub(crate) struct Counts<const N: usize> {
    counts: [AtomicU64; N],
    is_new: AtomicU64,
    runs: AtomicU64,
}

impl<const N: usize> Counts<N> {
    pub(crate) const fn new() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; N],
            is_new: AtomicU64::new(0),
            runs: AtomicU64::new(0),
        }
    }

    pub(crate) fn count(&self, at: Option<usize>) {
        let count = at.and_then(|at| self.counts.get(at));
        if count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) == 0) {
            self.is_new.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_run(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts, each with the name of its place.
    pub(crate) fn named(
        &self,
        names: impl IntoIterator<Item = &'static str>,
    ) -> Vec<(&'static str, u64)> {
        let counts = self.counts.iter();
        names
            .into_iter()
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .collect()
    }

    /// Writes the counts to stderr in one line, now and then: libFuzzer ends its process without a
    /// last word.
    pub(crate) fn report(&self, names: impl IntoIterator<Item = &'static str>) {
        let runs = self.runs.load(Ordering::Relaxed);
        if self.is_new.swap(0, Ordering::Relaxed) > 0 || runs.is_multiple_of(REPORT_EVERY) {
            let counts: Vec<String> = self
                .named(names)
                .into_iter()
                .map(|(name, count)| format!("{name}={count}"))
                .collect();
            eprintln!("reached: {}", counts.join(" "));
        }
    }
}

const REPORT_EVERY: u64 = 500;
