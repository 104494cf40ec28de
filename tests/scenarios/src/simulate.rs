//! Walks at random until a rule breaks, or for so many steps.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it finds is for people to read")]

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use runjob_scenarios::simulation::walk::{self, Episode};

/// Walks at random through made-up time: tasks of all kinds, one to three workers that are killed, told to end and held up,
/// faults of both services, jumps of the clock.
///
/// A step is one action of the walk, or one request of a worker that is not about its Lease. The walk is made of episodes, at whose end
/// everything has to have come to rest within the rules; episode N has the seed S + N. An episode that breaks a rule prints its
/// seed: `--seed` with that plays it first, and again in the same way.
#[derive(Parser)]
#[command(name = "simulate")]
struct Options {
    /// Where the walk begins. [default: a fresh one, which is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How far it goes; the last episodes are played to their end.
    #[arg(long, default_value_t = 100_000)]
    steps: usize,
    /// Prints everything of the first episode, and plays no other.
    #[arg(long)]
    show: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..) >> 16);
    println!("seed {seed}");
    let walked = if options.show { show(seed) } else { walk_on(seed, options.steps) };
    match walked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn walk_on(seed: u64, limit: usize) -> anyhow::Result<bool> {
    let (begun, next, steps, episodes) =
        (Instant::now(), AtomicU64::new(seed), AtomicUsize::new(0), AtomicUsize::new(0));
    let (trouble, broken) = (Mutex::new(None), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while steps.load(Ordering::Relaxed) < limit && !broken.load(Ordering::Relaxed) {
                    match walk::episode(next.fetch_add(1, Ordering::Relaxed), None) {
                        Ok(episode) => {
                            steps.fetch_add(episode.steps, Ordering::Relaxed);
                            episodes.fetch_add(1, Ordering::Relaxed);
                            if !episode.violations.is_empty() {
                                broken.store(true, Ordering::Relaxed);
                                report(&episode);
                            }
                        }
                        Err(error) => {
                            broken.store(true, Ordering::Relaxed);
                            *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = trouble.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let (steps, episodes, broken) = (steps.into_inner(), episodes.into_inner(), broken.into_inner());
    println!(
        "steps: {steps} in {episodes} episodes and {:.0} s, violations: {}",
        begun.elapsed().as_secs_f64(),
        u8::from(broken)
    );
    Ok(!broken)
}

fn report(episode: &Episode) {
    let seed = episode.seed;
    println!("BROKEN by the episode of seed {seed}:");
    episode.violations.iter().for_each(|violation| println!("  {violation}"));
    println!("again, with everything: cargo run -p runjob-scenarios --bin simulate -- --seed {seed} --show");
}

fn show(seed: u64) -> anyhow::Result<bool> {
    let episode = walk::episode(seed, None)?;
    println!("{}", episode.log);
    episode.acts.iter().for_each(|act| println!("{act}"));
    for (place, line) in episode.journal.iter().enumerate().filter(|(_, line)| !walk::is_of_lease(line)) {
        println!("{:>5} {line}", place + 1);
    }
    println!("{} steps; violations: {:#?}", episode.steps, episode.violations);
    Ok(episode.violations.is_empty())
}
