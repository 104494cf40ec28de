//! Many runs, on as many threads as there are processors: each run has a thread, a runtime and a clock of its own.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Does the work on every case, and gives the results in the order of the cases.
pub fn each<'c, C: Sync, R: Send>(cases: &'c [C], work: impl Fn(&'c C) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let run = || {
            let mut own = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(case) = cases.get(number) else { return own };
                own.push((number, work(case)));
            }
        };
        let crew: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        crew.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
