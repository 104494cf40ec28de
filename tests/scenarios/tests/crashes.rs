//! Every crash and every fault at every request: `cargo test -p runjob-scenarios --test crashes -- --nocapture`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what it finds is for people to read")]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use runjob_sandbox::memory::Fate;
use runjob_scenarios::simulation::{
    enumeration::{self, Broken, Calm, Case},
    mishap::{Mishap, Mishaps},
    run::play,
    stories,
    story::Story,
};

/// How many broken runs are shown.
const SHOWN: usize = 5;
/// How many of its requests a broken run shows.
const SHOWN_REQUESTS: usize = 80;

/// What is played.
#[derive(Parser)]
struct Options {
    /// Parts of the names of stories. [default: all]
    names: Vec<String>,
    /// The seed of the pairs. [default: a fresh one]
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs with two mishaps each.
    #[arg(long, default_value_t = 600)]
    pairs: usize,
    /// Plays one story with these mishaps only, such as `CrashBefore@12`, and shows everything.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Accepted, as every test does.
    #[arg(long)]
    nocapture: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    let wanted =
        |story: &Story| options.names.is_empty() || options.names.iter().any(|name| story.name.contains(name.as_str()));
    let stories: Vec<Story> = stories::all().into_iter().filter(wanted).collect();
    anyhow::ensure!(!stories.is_empty(), "there is no such story");
    if !options.only.is_empty() {
        return show_one(&stories, &options.only);
    }
    let begun = Instant::now();
    let calm = enumeration::calm(&stories)?;
    for Calm { story, played } in &calm {
        println!("{:<60} {:>4} requests", story.name, played.requests);
        let mishaps = Mishaps::none();
        if !played.violations.is_empty() {
            show(&Broken { story: story.name, mishaps, played: played.clone() });
            return Ok(false);
        }
    }
    println!("undisturbed: {} stories, {:.1} s", calm.len(), begun.elapsed().as_secs_f64());
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("pairs are chosen by --seed {seed}");
    let crashes = part("crash points", &enumeration::single(&calm, &Mishap::CRASHES))?;
    let faults = part("faults", &enumeration::single(&calm, &Mishap::FAULTS))?;
    let pairs = part("pairs", &enumeration::pairs(&calm, seed, options.pairs))?;
    let all = [crashes, faults, pairs];
    println!("in {:.0} s", begun.elapsed().as_secs_f64());
    for Part { name, runs, violations } in all.iter().rev() {
        println!("{name}: {runs}, violations: {violations}");
    }
    Ok(all.iter().all(|part| part.violations == 0))
}

/// What came of a part of the enumeration.
struct Part {
    name: &'static str,
    runs: usize,
    violations: usize,
}

fn part(name: &'static str, cases: &[Case<'_>]) -> anyhow::Result<Part> {
    let begun = Instant::now();
    let broken = enumeration::broken(cases)?;
    broken.iter().take(SHOWN).for_each(show);
    for one in broken.iter().skip(SHOWN) {
        println!("also broken: {} with {}: {}", one.story, one.mishaps, one.played.violations.join("; "));
    }
    println!("{name}: {} runs in {:.0} s", cases.len(), begun.elapsed().as_secs_f64());
    Ok(Part { name, runs: cases.len(), violations: broken.len() })
}

fn show(broken: &Broken) {
    println!("\nBROKEN: {} with {}", broken.story, broken.mishaps);
    for violation in &broken.played.violations {
        println!("  {violation}");
    }
    // What keeps the Lease goes on all the time, and says little.
    let lines = broken.played.journal.iter().enumerate();
    let telling = lines.filter(|(_, line)| !line.kind.ends_with(" leases") || line.fate != Fate::Pass);
    for (place, line) in telling.take(SHOWN_REQUESTS) {
        println!("{:>5} {line}", place + 1);
    }
}

fn show_one(stories: &[Story], mishaps: &[String]) -> anyhow::Result<bool> {
    let all: Vec<Mishap> = Mishap::CRASHES.into_iter().chain(Mishap::FAULTS).collect();
    let parse = |text: &String| -> anyhow::Result<(usize, Mishap)> {
        let (name, number) = text.split_once('@').ok_or_else(|| anyhow::anyhow!("expected NAME@NUMBER, not {text}"))?;
        let mishap = all.iter().find(|mishap| format!("{mishap:?}") == name);
        Ok((number.parse()?, *mishap.ok_or_else(|| anyhow::anyhow!("there is no mishap {name}: {all:?}"))?))
    };
    let mishaps = mishaps.iter().filter(|text| *text != "none").map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    let mut holds = true;
    for story in stories {
        let played = play(story, &Mishaps::at(mishaps.clone()))?;
        println!("{}\n{}", story.name, played.log);
        for (place, line) in played.journal.iter().enumerate() {
            println!("{:>5} {line}", place + 1);
        }
        println!("{} until rest; violations: {:#?}", played.requests, played.violations);
        holds &= played.violations.is_empty();
    }
    Ok(holds)
}
