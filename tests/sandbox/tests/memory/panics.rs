//! A panic stops what is done for one task, and nothing else.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runjob_sandbox::{
    memory::{Fate, Memory, Outbound, Traffic, simulate},
    sfn::{Overdue, TaskOutcome},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{CLOCKS, config_of, input, output};

/// The next requests of these kinds meet these fates.
struct Planned(Mutex<Vec<(&'static str, Fate)>>);

impl Traffic for Planned {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        let mut planned = self.0.lock().unwrap();
        let next = planned.iter().position(|(kind, _)| *kind == request.kind);
        next.map_or(Fate::Pass, |at| planned.remove(at).1)
    }
}

/// How a task ended, what is left of its Job some minutes later, and the kinds of all requests.
struct Ending {
    outcome: TaskOutcome,
    job: Option<Value>,
    kinds: Vec<String>,
}

/// Plays one Job whose requests meet these fates.
fn play(fates: &[(&'static str, Fate)]) -> Ending {
    let traffic = Arc::new(Planned(Mutex::new(fates.to_vec())));
    simulate(1, async || {
        let memory = Memory::start(config_of(1, Duration::from_secs(5))).unwrap();
        let settings = memory.settings(&["--pollers", "1"]).unwrap();
        let worker = memory.worker("w", settings, traffic);
        let task = memory.sfn.endpoint().bare_task("runjob", &input(), CLOCKS);
        let outcome = task.finished().await;
        sleep(Duration::from_mins(5)).await;
        assert!(!worker.has_ended());
        assert_eq!(memory.sfn.endpoint().invariant_violations(), [""; 0]);
        let kinds = memory.journal().all().into_iter().map(|line| line.kind).collect();
        Ending { outcome, job: memory.kube.endpoint().get("jobs", "default", "x"), kinds }
    })
    .unwrap()
}

fn is_internal(outcome: &TaskOutcome) -> bool {
    matches!(outcome, TaskOutcome::Failed { error, .. } if error.as_deref() == Some("RunJob.Internal"))
}

fn is_settled(job: Option<&Value>) -> bool {
    job.and_then(|job| job.pointer("/metadata/annotations/runjob~1settled")) == Some(&json!("true"))
}

impl Ending {
    fn count(&self, kind: &str) -> usize {
        self.kinds.iter().filter(|other| *other == kind).count()
    }
}

#[test]
fn what_panics_once_is_tried_again() {
    for kind in ["SendTaskSuccess", "patch jobs"] {
        let ending = play(&[(kind, Fate::Panic)]);
        assert!(output(&ending.outcome)["logs"].to_string().contains("done"), "{kind}");
        assert!(is_settled(ending.job.as_ref()), "{kind}");
    }
}

#[test]
fn logs_whose_capture_panics_are_lost_and_the_result_says_so() {
    let result = output(&play(&[("list pods", Fate::Panic)]).outcome);
    assert_eq!(result.pointer("/logs/error"), Some(&json!("RunJob.Internal")), "{result}");
}

#[test]
fn a_second_panic_answers_the_task_and_leaves_the_job() {
    let ending = play(&[("SendTaskSuccess", Fate::Panic), ("SendTaskSuccess", Fate::Panic)]);
    assert!(is_internal(&ending.outcome), "{:?}", ending.outcome);
    assert!(is_settled(ending.job.as_ref()) && ending.count("delete jobs") == 0);
}

#[test]
fn a_third_panic_leaves_even_the_task_alone_and_lets_its_state_end() {
    let panics = ["SendTaskSuccess", "SendTaskSuccess", "SendTaskFailure"].map(|kind| (kind, Fate::Panic));
    let ending = play(&panics);
    assert_eq!(ending.outcome, TaskOutcome::TimedOut(Overdue::Heartbeat));
    assert!(ending.job.is_some() && !is_settled(ending.job.as_ref()) && ending.count("delete jobs") == 0);
}

#[test]
fn a_settling_that_panics_again_and_again_ends() {
    let ending = play(&[const { ("patch jobs", Fate::Panic) }; 10]);
    output(&ending.outcome);
    assert_eq!(ending.count("patch jobs"), 3);
}

#[test]
fn a_start_that_panics_before_there_is_a_job_answers_the_task() {
    let ending = play(&[("create jobs", Fate::Panic)]);
    assert!(is_internal(&ending.outcome), "{:?}", ending.outcome);
    assert_eq!((&ending.job, ending.count("create jobs")), (&None, 1));
}

#[test]
fn a_start_that_panics_after_there_is_a_job_leaves_it_to_the_tracker() {
    let ending = play(&[("create jobs", Fate::CutAfterApply), ("get jobs", Fate::Panic)]);
    assert!(output(&ending.outcome)["logs"].to_string().contains("done"));
    assert_eq!(ending.count("create jobs"), 1);
    let late = Fate::CutAndArriveLate(Duration::from_secs(30));
    let ending = play(&[("create jobs", late), ("get jobs", Fate::Panic)]);
    assert!(output(&ending.outcome)["logs"].to_string().contains("done"));
    assert_eq!(ending.count("create jobs"), 1);
}

#[test]
fn a_start_that_panics_on_and_on_is_not_answered_by_a_guess() {
    let ending = play(&[("create jobs", Fate::Panic), ("get jobs", Fate::Panic)]);
    assert_eq!(ending.outcome, TaskOutcome::TimedOut(Overdue::Heartbeat));
}
