//! A worker that was led to the wrong place: it deletes nothing.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{
    faults::Effect,
    memory::Memory,
    sfn::{BareTask, Clocks, Config, TaskOutcome},
};

use crate::play::{Play, lasting, minutes, outcome, pass, play};

const RUNNING: usize = 50;
/// The group of the worker that is led to the right place. Heartbeats are few: each takes its time to play.
const FLAGS: [&str; 4] = ["--group", "123456789012.us-east-1", "--heartbeat-rate", "1/s"];
/// The most Jobs that go before it is too many at once.
const BELIEVED: usize = 10;
/// Nobody keeps the tasks alive while the wrong worker is there.
const PATIENT: Clocks = Clocks { timeout: None, heartbeat: None };

/// Fifty Jobs that run for so long, and whose worker has gone.
async fn running(play: &Play, time: Duration) -> Vec<BareTask> {
    let first = play.worker("right", &FLAGS);
    let all = (0..RUNNING).map(|number| lasting(&format!("x-{number}"), time, 0));
    let tasks: Vec<_> = all.map(|job| play.task(&job, PATIENT)).collect();
    play.running(RUNNING).await;
    drop(first);
    tasks
}

/// All of them are still there, and end well under a worker that is led to the right place.
async fn assert_untouched(play: &Play, tasks: &[BareTask]) {
    let changed = ["delete jobs", "patch jobs"].map(|kind| play.sent(kind, Duration::ZERO));
    assert_eq!(changed, [0, 0]);
    let _right = play.worker("right again", &FLAGS);
    for task in tasks {
        assert_eq!(outcome(task).await, "done");
    }
    play.settled().await;
    assert_eq!(play.sent("delete jobs", Duration::ZERO), 0);
}

fn assert_harmless(config: &Config) {
    assert_harmless_to(minutes(40), config);
}

fn assert_harmless_to(time: Duration, config: &Config) {
    play(async |play| {
        let tasks = running(play, time).await;
        let elsewhere: Memory = play.memory.elsewhere(config.clone()).unwrap();
        let wrong = play.worker_at(&elsewhere, "wrong", &FLAGS);
        pass(minutes(20)).await;
        // It is at work: its polls are held, and it has the Lease.
        assert!(elsewhere.sfn.endpoint().waiting_polls(elsewhere.activity()) > 0);
        assert_eq!(play.holder().as_deref(), Some("wrong"));
        drop(wrong);
        assert_untouched(play, &tasks).await;
    });
}

#[test]
fn a_worker_at_an_endpoint_that_knows_none_of_the_tasks_deletes_nothing() {
    assert_harmless(&Config { seed: 2, ..Config::default() });
}

#[test]
fn a_worker_at_an_endpoint_that_knows_none_of_the_tasks_takes_none_for_answered() {
    assert_harmless_to(minutes(10), &Config { seed: 2, ..Config::default() });
}

#[test]
fn a_worker_of_another_account_deletes_nothing() {
    assert_harmless(&Config { account: "999999999999".to_owned(), ..Config::default() });
}

#[test]
fn a_worker_of_another_region_deletes_nothing() {
    assert_harmless(&Config { region: "eu-west-1".to_owned(), ..Config::default() });
}

/// Fifty Jobs that run for so long, under a service that takes every task for gone for five minutes, and has its wits about it again after that.
/// `then`: what is waited for before they are counted.
fn taken_for_gone(time: Duration, then: impl AsyncFnOnce(&Play)) {
    play(async |play| {
        let tasks = running(play, time).await;
        let body = "{\"__type\": \"TaskTimedOut\", \"message\": \"not now\"}".to_owned();
        let gone = Effect::Answer { status: StatusCode::BAD_REQUEST, retry_after: None, body };
        play.memory.sfn.faults().plan("SendTaskHeartbeat", gone, u32::MAX);
        let _worker = play.worker("w", &FLAGS);
        pass(minutes(5)).await;
        play.memory.sfn.faults().clear();
        then(play).await;
        let deleted = play.sent("delete jobs", Duration::ZERO);
        assert!(deleted <= BELIEVED, "{deleted} Jobs were deleted");
        // Every other task was asked for again, or answered as if it were alive.
        let answered = tasks.iter().filter(|task| matches!(task.outcome(), Some(TaskOutcome::Succeeded(_)))).count();
        assert_eq!(answered + deleted, RUNNING);
    });
}

#[test]
fn a_service_that_takes_every_task_for_gone_costs_few_jobs() {
    taken_for_gone(minutes(40), async |play| play.settled().await);
}

#[test]
fn a_job_that_ends_while_deletions_are_stopped_is_answered_when_it_ends() {
    taken_for_gone(minutes(8), async |_| pass(minutes(4)).await);
}
