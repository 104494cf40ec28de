//! The runtime of a simulation.

use std::io;

use tokio::runtime::{Builder, RngSeed};

/// Plays a simulation on a runtime of its own, which uses this thread and a paused clock: where nothing is left to do, time goes on
/// to the next moment at which something is. The same seed and the same work give the same run.
pub fn simulate<W: Future>(seed: u64, work: impl FnOnce() -> W) -> io::Result<W::Output> {
    // Jitter comes from this thread's generator, and so do the numbers by which the SDK tells requests apart.
    fastrand::seed(seed);
    // Who of several that wait for the same is woken first.
    let order = RngSeed::from_bytes(&seed.to_le_bytes());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).rng_seed(order).build()?;
    Ok(runtime.block_on(async { work().await }))
}
