//! Workers that come and go under load, and two that act at the same time.

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;
use runjob_sandbox::{
    faults::Effect,
    memory::LinkedWorker,
    sfn::{Clocks, TaskOutcome},
};
use runjob_scenarios::jobs::JobRequest;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    beats::longest_gap,
    play::{HEARTBEATS, Play, lasting, minutes, outcome, pass, play},
};

/// What a task may be left alone for while workers are replaced: a heartbeat's interval, the Lease's duration, and five seconds.
const LONGEST_GAP: Duration = Duration::from_secs(20 + 15 + 5);
const LEASE: Duration = Duration::from_secs(15);
/// From the moment that a Lease has expired, or is released, until another worker acts: it looks eight times in the Lease's duration.
const LOOK: Duration = Duration::from_secs(3);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The one of these that acts, out of their midst.
fn take_holder(play: &Play, workers: &mut Vec<(String, LinkedWorker)>) -> LinkedWorker {
    let holder = play.holder().unwrap();
    let place = workers.iter().position(|(name, _)| *name == holder).unwrap();
    workers.remove(place).1
}

fn workers(play: &Play, names: &[&str], flags: &[&str]) -> Vec<(String, LinkedWorker)> {
    names.iter().map(|name| ((*name).to_owned(), play.worker(name, flags))).collect()
}

/// Each task was answered once, each has one Job, and none was deleted.
fn assert_once_each(play: &Play, tasks: usize) {
    let records = play.memory.sfn.endpoint().records();
    assert_eq!(records.len(), tasks);
    assert!(records.iter().all(|record| record.accepted.len() == 1 && record.outcome.is_some()), "{records:?}");
    let creates = play.memory.kube.recorder().of("create jobs");
    assert_eq!(creates.iter().filter(|create| create.status == Some(StatusCode::CREATED)).count(), tasks);
    assert_eq!(play.sent("delete jobs", Duration::ZERO), 0);
}

#[test]
fn a_rolling_update_under_load_loses_nothing_and_leaves_no_task_alone() {
    play(async |play| {
        let olds = workers(play, &["old-1", "old-2", "old-3"], &[]);
        // One second more than may be, and the service ends the task.
        let clocks = Clocks { timeout: None, heartbeat: Some(LONGEST_GAP + seconds(1)) };
        let load = async {
            let mut tasks = Vec::new();
            for number in 0..150 {
                let job = lasting(&format!("x-{number}"), seconds(10 + 11 * (number % 10)), i32::from(number % 7 == 0));
                tasks.push((play.task(&job, clocks), number % 7 == 0));
                pass(seconds(3)).await;
            }
            tasks
        };
        let update = async {
            let mut news = Vec::new();
            for (name, mut old) in olds {
                pass(seconds(20)).await;
                news.push(play.worker(&name.replace("old", "new"), &[]));
                pass(seconds(5)).await;
                old.drain();
                old.ended().await.unwrap();
            }
            news
        };
        let (tasks, _news) = tokio::join!(load, update);
        for (task, fails) in &tasks {
            assert_eq!(outcome(task).await, if *fails { "Job.BackoffLimitExceeded" } else { "done" });
        }
        play.settled().await;
        assert_once_each(play, tasks.len());
        let (gap, beats) = longest_gap(play.memory.journal());
        assert!(gap <= LONGEST_GAP && beats > 100, "{gap:?}, {beats} heartbeats");
        // All of them had to do with it.
        let senders: BTreeSet<String> = play.memory.journal().read(|lines| {
            lines.iter().filter(|line| line.kind == "create jobs").map(|line| line.worker.clone()).collect()
        });
        assert_eq!(senders.len(), 6, "{senders:?}");
    });
}

#[test]
fn jobs_whose_worker_is_killed_are_answered_within_the_leases_duration() {
    play(async |play| {
        let mut workers = workers(play, &["a", "b", "c"], &[]);
        pass(seconds(1)).await;
        let all = (0..20).map(|number| lasting(&format!("x-{number}"), seconds(60), 0));
        let tasks: Vec<_> = all.map(|job| play.task(&job, HEARTBEATS)).collect();
        play.running(tasks.len()).await;
        pass(seconds(55)).await;
        drop(take_holder(play, &mut workers));
        let killed = play.now();
        // They end while nobody acts.
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        assert!(play.since(killed) <= LEASE + LOOK, "{:?}", play.since(killed));
        play.settled().await;
        assert_once_each(play, tasks.len());
        assert!(longest_gap(play.memory.journal()).0 <= LONGEST_GAP);
    });
}

#[test]
fn a_worker_that_drains_hands_over_when_what_it_has_begun_has_ended() {
    play(async |play| {
        let mut workers = workers(play, &["a", "b"], &[]);
        pass(seconds(1)).await;
        // Its log is followed until its container has ended: eight seconds after its time is over.
        let dying = lasting("dying", seconds(600), 0)
            .with_main("command", json!(["600", "0", "8"]))
            .with("/Job/spec/activeDeadlineSeconds", 30)
            .with_pod("terminationGracePeriodSeconds", 30);
        let dying = play.task(&dying, HEARTBEATS);
        let later = play.task(&lasting("later", seconds(60), 0), HEARTBEATS);
        play.running(2).await;
        play.condition("dying", "FailureTarget").await;
        let old = take_holder(play, &mut workers);
        let begun = play.now();
        old.drain();
        let TaskOutcome::Failed { error, cause } = dying.finished().await else { panic!("it did not fail") };
        assert_eq!(error.as_deref(), Some("Job.DeadlineExceeded"));
        assert!(cause.unwrap().contains("last words"));
        let answered = play.since(begun);
        play.holder_is(|holder| holder == workers[0].0).await;
        let handed_over = play.since(begun);
        assert!(answered >= seconds(7) && handed_over <= answered + LOOK, "{answered:?}, {handed_over:?}");
        assert_eq!(outcome(&later).await, "done");
        play.settled().await;
        assert_once_each(play, 2);
    });
}

/// Writes the Lease as somebody who has the right to, and who is no worker: for 68 years it is theirs.
fn steal_lease(play: &Play) {
    let kube = play.memory.kube.endpoint();
    let leases = kube.list("leases.coordination.k8s.io", None);
    let [lease] = leases.as_slice() else { panic!("{} Leases", leases.len()) };
    let metadata = |field: &str| lease["metadata"][field].as_str().unwrap();
    let change = |lease: &mut Value| {
        lease["spec"] = json!({
            "holderIdentity": "nobody", "renewTime": "2026-01-01T00:00:00.000000Z",
            "leaseDurationSeconds": i32::MAX, "leaseTransitions": i32::MAX,
        });
    };
    kube.edit("leases.coordination.k8s.io", metadata("namespace"), metadata("name"), change).unwrap();
}

#[test]
fn a_lease_that_somebody_takes_for_68_years_is_a_workers_again_within_minutes_and_no_task_is_left_alone() {
    play(async |play| {
        let _workers = workers(play, &["a", "b"], &[]);
        pass(seconds(1)).await;
        // A task is left alone for no longer than an interval, and what it takes to find out that nobody renews.
        let clocks = Clocks { timeout: None, heartbeat: Some(seconds(20 + 30 + 5)) };
        let all = (0..10).map(|number| lasting(&format!("x-{number}"), seconds(30 + 60 * number), 0));
        let tasks: Vec<_> = all.map(|job| play.task(&job, clocks)).collect();
        play.running(tasks.len()).await;
        steal_lease(play);
        let stolen = play.now();
        play.holder_is(|holder| holder != "nobody").await;
        // Eight times its own duration is what a worker believes.
        let back = play.since(stolen);
        assert!((LEASE * 7..=LEASE * 8 + LOOK * 3).contains(&back), "{back:?}");
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        play.settled().await;
        assert_once_each(play, tasks.len());
    });
}

/// Lets every worker act as if it were alone.
fn forbid_leases(play: &Play) {
    let body = json!({"kind": "Status", "reason": "Forbidden", "message": "not you"}).to_string();
    let forbidden = Effect::Answer { status: StatusCode::FORBIDDEN, retry_after: None, body };
    for kind in ["get leases", "create leases", "update leases"] {
        play.memory.kube.faults().plan(kind, forbidden.clone(), u32::MAX);
    }
}

#[test]
fn two_workers_that_act_at_the_same_time_do_no_harm() {
    play(async |play| {
        forbid_leases(play);
        let _workers = workers(play, &["a", "b"], &[]);
        let plan = (0..40).map(|number| (number, i32::from(number % 3 == 0)));
        let tasks: Vec<_> = plan
            .map(|(number, code)| {
                (play.task(&lasting(&format!("x-{number}"), seconds(30 + number), code), HEARTBEATS), code)
            })
            .collect();
        for (task, code) in &tasks {
            assert_eq!(outcome(task).await, if *code == 0 { "done" } else { "Job.BackoffLimitExceeded" });
        }
        play.settled().await;
        assert_once_each(play, tasks.len());
        // They did act at the same time.
        let senders: BTreeSet<String> = play.memory.journal().read(|lines| {
            lines.iter().filter(|line| line.kind.starts_with("SendTask")).map(|line| line.worker.clone()).collect()
        });
        assert_eq!(senders.len(), 2, "{senders:?}");
    });
}

fn keyed(name: &str, time: Duration) -> JobRequest {
    lasting(name, time, 0).with("/IdempotencyKey", "the same for both")
}

#[test]
fn two_workers_that_act_do_no_harm_to_a_job_that_a_newer_task_has_adopted() {
    play(async |play| {
        forbid_leases(play);
        // One of them would delete a Job as soon as its task is gone. The deletion that it sends just then is long on its way.
        let hasty = play.worker("hasty", &["--reattach-grace", "1s"]);
        let first = play.task(&keyed("x", minutes(5)), HEARTBEATS);
        play.running(1).await;
        let _patient = play.worker("patient", &[]);
        pass(minutes(1)).await;
        play.memory.kube.faults().plan("delete jobs", Effect::Delay(seconds(30)), 1);
        first.abort();
        let deletion = play
            .memory
            .kube
            .recorder()
            .wait_for(|requests| requests.iter().any(|request| request.kind == "delete jobs").then_some(()));
        timeout(minutes(10), deletion).await.unwrap();
        let second = play.task(&keyed("x", minutes(5)), HEARTBEATS);
        assert_eq!(outcome(&second).await, "done");
        play.settled().await;
        let deletions = play.memory.kube.recorder().of("delete jobs");
        assert_eq!(deletions.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(StatusCode::CONFLICT)]);
        let creates = play.memory.kube.recorder().of("create jobs");
        assert_eq!(creates.iter().filter(|create| create.status == Some(StatusCode::CREATED)).count(), 1);
        assert!(!hasty.has_ended());
    });
}
