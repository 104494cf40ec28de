//! The services in memory, with the production worker, under a paused clock.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets an impossible value stops there")]

mod liveness;
mod panics;
mod play;
mod poison;
mod unseen;

use std::{sync::Arc, time::Duration};

use runjob_sandbox::{
    kube::{self, Programs, Script, Step},
    memory::{Fate, Line, Memory, Outbound, Traffic, Undisturbed, simulate},
    sandbox::Config,
    sfn::{self, Clocks, TaskOutcome},
};
use serde_json::{Value, json};
use tokio::time::sleep;

/// A Job that takes four hours.
fn input() -> String {
    let container = json!({"name": "main", "image": "busybox", "command": ["work"]});
    json!({"LogOptions": {"RetrieveLogs": true}, "Job": {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }})
    .to_string()
}

fn config(seed: u64) -> Config {
    config_of(seed, Duration::from_hours(4))
}

/// The Job takes that long.
fn config_of(seed: u64, work: Duration) -> Config {
    let script = [Step::print("begun\n"), Step::After(work), Step::print("done\n")];
    let programs = Programs::scripted(move |_| Some(Script::new(script.clone())));
    Config {
        sfn: sfn::Config { seed, ..sfn::Config::default() },
        kube: kube::Config { seed, programs, ..kube::Config::default() },
    }
}

const CLOCKS: Clocks = Clocks { timeout: None, heartbeat: Some(Duration::from_mins(1)) };

/// Plays one Job from its poll to its settling.
fn one_job(seed: u64, traffic: Arc<dyn Traffic>) -> (Vec<Line>, TaskOutcome, Duration) {
    simulate(seed, async || {
        let memory = Memory::start(config(seed)).unwrap();
        let settings = memory.settings(&["--pollers", "1"]).unwrap();
        let _worker = memory.worker("w", settings, traffic);
        let task = memory.sfn.endpoint().bare_task("runjob", &input(), CLOCKS);
        let outcome = task.finished().await;
        sleep(Duration::from_mins(1)).await;
        (memory.journal().all(), outcome, memory.journal().elapsed())
    })
    .unwrap()
}

fn output(outcome: &TaskOutcome) -> Value {
    let TaskOutcome::Succeeded(output) = outcome else { panic!("{outcome:?}") };
    serde_json::from_str(output).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_requests_at_the_same_times() {
    let [first, second] = [7, 7].map(|seed| one_job(seed, Arc::new(Undisturbed)).0);
    assert!(first.len() > 700, "{} requests", first.len());
    for (number, (one, other)) in first.iter().zip(&second).enumerate() {
        assert_eq!(one, other, "request {number}");
    }
    assert_eq!(first.len(), second.len());
    assert_ne!(first, one_job(8, Arc::new(Undisturbed)).0);
}

#[test]
fn a_job_of_hours_is_followed_to_its_end() {
    let (_, outcome, elapsed) = one_job(1, Arc::new(Undisturbed));
    assert!(output(&outcome)["logs"].to_string().contains("done"));
    assert!(elapsed > Duration::from_hours(4));
}

/// One of the worker's requests of that kind meets this.
struct Meets(&'static str, Fate);

impl Traffic for Meets {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        if request.kind == self.0 && request.number < 40 { self.1.clone() } else { Fate::Pass }
    }
}

#[test]
fn a_worker_that_has_crashed_says_and_learns_nothing_any_more() {
    simulate(1, async || {
        let memory = Memory::start(config(1)).unwrap();
        let settings = memory.settings(&["--pollers", "1"]).unwrap();
        let mut worker = memory.worker("w", settings, Arc::new(Meets("create jobs", Fate::CrashAfterApply)));
        let task = memory.sfn.endpoint().bare_task("runjob", &input(), CLOCKS);
        assert!(worker.ended().await.is_err());
        let before = memory.journal().len();
        assert_eq!(task.finished().await, TaskOutcome::TimedOut(sfn::Overdue::Heartbeat));
        assert_eq!(
            memory.journal().read(|lines| lines.iter().skip(before).filter(|line| line.answered.is_some()).count()),
            0
        );
        // Its poll is not held for nobody.
        assert_eq!(memory.sfn.endpoint().waiting_polls("runjob"), 0);
        assert!(memory.kube.endpoint().get("jobs", "default", "x").is_some());
    })
    .unwrap();
}

#[test]
fn a_connection_that_is_not_made_is_told_from_one_that_is_cut() {
    let count = |fate| {
        let (lines, outcome, _) = one_job(1, Arc::new(Meets("create jobs", fate)));
        output(&outcome);
        let of = |kind: &str| lines.iter().filter(|line| line.kind == kind).count();
        (of("create jobs") > 1, of("get jobs") > 0)
    };
    // What was not sent needs no look whether it has arrived.
    assert_eq!(count(Fate::NoConnection), (true, false));
    assert_eq!(count(Fate::Refuse), (true, true));
}
