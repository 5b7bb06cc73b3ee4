//! Many runs, each from its own seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Calls `run` with each seed in order. If it panics, the seed goes to standard error and the
/// panic goes on, so that the test fails as it would have.
pub fn for_each_seed(seeds: impl IntoIterator<Item = u64>, run: impl FnMut(u64)) {
    run_reporting(seeds, run, |seed| eprintln!("failing seed: {seed}"));
}

fn run_reporting(
    seeds: impl IntoIterator<Item = u64>,
    mut run: impl FnMut(u64),
    report: impl Fn(u64),
) {
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            report(seed);
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::run_reporting;

    #[test]
    fn first_failing_seed_is_reported_and_its_panic_goes_on() {
        let (ran, reported) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            run_reporting(
                5..10,
                |seed| {
                    ran.borrow_mut().push(seed);
                    assert_ne!(seed, 7, "planted");
                },
                |seed| reported.borrow_mut().push(seed),
            );
        }))
        .unwrap_err();
        assert_eq!(*ran.borrow(), [5, 6, 7]);
        assert_eq!(*reported.borrow(), [7]);
        assert!(panic.downcast_ref::<String>().unwrap().contains("planted"));
    }
}
