//! A panic stops what is done for one task, and nothing else.

use std::time::Duration;

use runjob_sandbox::{
    memory::Fate,
    sfn::{Overdue, TaskOutcome},
};
use serde_json::json;

use crate::{
    output,
    play::{is_settled, play, play_for},
};

fn is_internal(outcome: &TaskOutcome) -> bool {
    matches!(outcome, TaskOutcome::Failed { error, .. } if error.as_deref() == Some("RunJob.Internal"))
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
fn a_heartbeat_that_panics_is_not_the_tasks_last() {
    let ending = play_for(Duration::from_mins(5), &[("SendTaskHeartbeat", Fate::Panic)]);
    output(&ending.outcome);
    assert!(ending.count("SendTaskHeartbeat") > 10);
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
fn the_search_for_the_job_of_a_start_that_panicked_is_made_once_more() {
    let ending = play(&[("create jobs", Fate::Panic), ("get jobs", Fate::Panic)]);
    assert!(is_internal(&ending.outcome), "{:?}", ending.outcome);
    assert_eq!((&ending.job, ending.count("create jobs")), (&None, 1));
}

#[test]
fn a_start_that_panics_on_and_on_is_not_answered_by_a_guess() {
    let ending = play(&[("create jobs", Fate::Panic), ("get jobs", Fate::Panic), ("get jobs", Fate::Panic)]);
    assert_eq!(ending.outcome, TaskOutcome::TimedOut(Overdue::Heartbeat));
}
