//! Behaviour, described once, and held to a backend: `RUNJOB_BACKEND` is `sandbox` (if it is not set), `cluster` or
//! `cluster+localstack`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test harness talks to whoever runs it")]

mod calls;
mod clusters;
mod endings;
mod failures;
mod functions;
mod gone;
mod keys;
mod logs;
mod replicas;
mod requests;
mod results;
mod stamps;
mod stuck;
mod trouble;
mod workflows;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use futures::{StreamExt, stream};
use runjob_scenarios::{
    backend::Backend,
    play::{Run, play},
    report::{self, Played},
    scenario::Scenario,
};

/// Of more scenarios than that, one at least shows a task token.
const MANY: usize = 10;

/// Plays the scenarios.
#[derive(Parser)]
struct Options {
    /// Only scenarios whose name contains one of these.
    names: Vec<String>,
    /// Only the small set.
    #[arg(long)]
    essential: bool,
    /// A worker's binary, if not the one that was built with this.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_runjob-under-test"))]
    worker: PathBuf,
    /// A function's binary, likewise.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_function-under-test"))]
    function: PathBuf,
    /// How long anything is waited for. Nothing takes that long, on a slow machine either.
    #[arg(long, value_name = "SECONDS", default_value = "180")]
    patience: u64,
    /// Names them, and plays none.
    #[arg(long)]
    list: bool,
    /// As with other tests; there is nothing to capture.
    #[arg(long)]
    nocapture: bool,
}

impl Options {
    fn want(&self, scenario: &Scenario) -> bool {
        (self.names.is_empty() || self.names.iter().any(|name| scenario.name.contains(name.as_str())))
            && (!self.essential || scenario.is_essential())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let backend = match Backend::chosen() {
        Ok(backend) => backend,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let all = [
        workflows::scenarios(),
        endings::scenarios(),
        failures::scenarios(),
        stuck::scenarios(),
        logs::scenarios(),
        requests::scenarios(),
        results::scenarios(),
        calls::scenarios(),
        clusters::scenarios(),
        gone::scenarios(),
        keys::scenarios(),
        stamps::scenarios(),
        replicas::scenarios(),
        trouble::scenarios(),
        functions::scenarios(),
    ];
    let all: Vec<Scenario> = all.into_iter().flatten().collect();
    let wanted = || all.iter().enumerate().filter(|(_, scenario)| options.want(scenario));
    if options.list {
        wanted().for_each(|(_, scenario)| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    let playable = || wanted().filter(|(_, scenario)| scenario.impossible_on(backend).is_none());
    let side_by_side = playable().filter(|(_, scenario)| !scenario.is_alone());
    let alone = playable().filter(|(_, scenario)| scenario.is_alone());
    let (worker, function) = (options.worker.clone(), options.function.clone());
    let run = Run { backend, patience: Duration::from_secs(options.patience), worker, function };
    let run = &run;
    let one = |(number, scenario)| async move { (number, one(scenario, run, number).await) };
    let mut played: Vec<(usize, Played)> =
        stream::iter(side_by_side).map(one).buffer_unordered(backend.at_once()).collect().await;
    played.extend(stream::iter(alone).then(one).collect::<Vec<_>>().await);
    println!("{}", report::table(&all, backend, &played));
    // A name that matches nothing is a mistake, not a success. Of very many scenarios some have to have shown a token, or nothing
    // can be said about secrets.
    let nothing_wrong = !played.is_empty() && played.iter().all(|(_, played)| played.tokens.is_ok());
    let tokens: usize = played.iter().filter_map(|(_, played)| played.tokens.as_ref().ok()).sum();
    if played.len() > MANY && tokens == 0 {
        eprintln!("no task token was ever seen on a Job: nothing can be said about secrets");
        return ExitCode::FAILURE;
    }
    if nothing_wrong { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn one(scenario: &Scenario, run: &Run, number: usize) -> Played {
    let begun = Instant::now();
    let tokens = play(scenario, run, number).await;
    let took = begun.elapsed();
    match &tokens {
        Ok(_) => println!("scenario {} ... ok, {:.1} s", scenario.name, took.as_secs_f64()),
        Err(error) => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            println!("scenario {} ... FAILED\n{}\n", scenario.name, chain.join("\n"));
        }
    }
    Played { took, tokens }
}
