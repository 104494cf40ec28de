//! Step Functions is away for minutes while Jobs end.

use std::{collections::BTreeSet, time::Duration};

use runjob_sandbox::{
    faults::Effect,
    memory::{Fate, Service::StepFunctions},
    sfn::{Clocks, ExecutionStatus},
};
use serde_json::json;

use crate::play::{Play, lasting, minutes, outcome, pass, play};

/// States without `HeartbeatSeconds`: nothing times out while nobody can beat.
const PATIENT: Clocks = Clocks { timeout: None, heartbeat: None };
/// The most answers that are composed at a time; the others wait without the memory of an output each.
const MAX_REPLIES: usize = 64;
const JOBS: usize = 80;

/// More Jobs end while the service is away than are answered at a time. Each has to be answered once, with what it deserves, soon after it is back.
fn assert_reports_later(outage: impl AsyncFnOnce(&Play)) {
    play(async |play| {
        // Beats are not what this is about, and each takes its time to play.
        let _worker = play.worker("w", &["--heartbeat-rate", "2/s"]);
        let name = |number: usize| format!("x-{number}");
        let all = (0..JOBS).map(|number| lasting(&name(number), minutes(2), i32::from(number % 5 == 0)));
        let tasks: Vec<_> = all.map(|job| play.task(&job, PATIENT)).collect();
        play.running(JOBS).await;
        outage(play).await;
        let back = play.now();
        for (number, task) in tasks.iter().enumerate() {
            let expected = if number % 5 == 0 { "Job.BackoffLimitExceeded" } else { "done" };
            assert_eq!(outcome(task).await, expected, "{number}");
        }
        assert!(play.since(back) < minutes(2), "{:?}", play.since(back));
        play.settled().await;
        assert_eq!(play.sent("delete jobs", Duration::ZERO), 0);
        assert_eq!(play.memory.kube.endpoint().list("jobs", None).len(), JOBS);
    });
}

fn assert_bears(fate: Fate, time: Duration) {
    assert_reports_later(async |play| {
        let begun = play.now();
        play.outage(StepFunctions, fate);
        pass(time).await;
        play.clears(StepFunctions);
        let answered = play.memory.journal().read(|lines| {
            let answers = lines.iter().filter(|line| line.at >= begun && line.kind == "SendTaskSuccess");
            answers.map(|line| line.body.clone()).collect::<BTreeSet<_>>().len()
        });
        assert!(answered <= MAX_REPLIES, "{answered} answers were held");
        // Every attempt at an answer waits for ten seconds or so after the one before, and so does every poll.
        let (load, most) = (play.load(StepFunctions, begun), time.as_secs() * 12);
        assert!(u64::try_from(load).unwrap() <= most, "{load} requests, {most} at most");
    });
}

#[test]
fn jobs_that_end_while_the_service_cannot_be_reached_are_answered_later() {
    assert_bears(Fate::NoConnection, minutes(10));
}

#[test]
fn jobs_that_end_while_the_service_throttles_are_answered_later() {
    let body = "{\"__type\": \"ThrottlingException\", \"message\": \"slow down\"}".to_owned();
    assert_bears(Fate::Answer { status: 400, retry_after: None, body }, minutes(4));
}

#[test]
fn a_worker_that_is_restarted_while_the_service_is_away_answers_later() {
    play(async |play| {
        let first = play.worker("first", &[]);
        let tasks: Vec<_> =
            (0..20).map(|number| play.task(&lasting(&format!("x-{number}"), minutes(number), 0), PATIENT)).collect();
        pass(minutes(1)).await;
        play.outage(StepFunctions, Fate::NoConnection);
        pass(minutes(5)).await;
        drop(first);
        let _second = play.worker("second", &[]);
        pass(minutes(5)).await;
        play.clears(StepFunctions);
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        play.settled().await;
        assert_eq!(play.sent("delete jobs", Duration::ZERO), 0);
        assert_eq!(play.memory.kube.endpoint().list("jobs", None).len(), tasks.len());
    });
}

#[test]
fn a_task_whose_delivery_is_lost_comes_back_by_its_states_retry() {
    play(async |play| {
        let sfn = play.memory.sfn.endpoint();
        play.memory.sfn.faults().plan("GetActivityTask", Effect::CutAfterApply, 1);
        let _worker = play.worker("w", &["--pollers", "1"]);
        // As the documentation advises.
        let retry = json!([{"ErrorEquals": ["States.HeartbeatTimeout"], "MaxAttempts": 2}]);
        let machine = json!({"StartAt": "Work", "States": {"Work": {
            "Type": "Task", "Resource": play.memory.activity(), "HeartbeatSeconds": 60, "Retry": retry,
            "Parameters": lasting("x", minutes(5), 0).parameters(), "End": true,
        }}});
        let machine = sfn.create_state_machine("lost", &machine.to_string()).unwrap();
        let execution = sfn.start_execution(&machine, None, "{}").unwrap();
        let ended = sfn.finished(&execution).await.unwrap();
        assert_eq!(ended.status, ExecutionStatus::Succeeded, "{ended:?}");
        assert_eq!(play.memory.kube.endpoint().list("jobs", None).len(), 1);
    });
}
