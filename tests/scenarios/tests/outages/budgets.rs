//! How long a task may wait for its Job to be created, by what stands in the way.

use std::time::Duration;

use runjob_sandbox::memory::{Fate, Service::Kubernetes};

use crate::{
    beats::longest_gap,
    play::{HEARTBEATS, lasting, minutes, outcome, pass, play},
};

/// The pause before an attempt that would come too late: the longest of them, with its jitter.
const LAST_PAUSE: Duration = Duration::from_secs(20);

/// The task fails with this error, when its patience is over and not before, and is kept alive until then.
fn assert_fails_after(patience: Duration, error: &str, fate: &Fate) {
    play(async |play| {
        let _worker = play.worker("w", &[]);
        // A poll is in flight when the API goes away.
        pass(Duration::from_secs(1)).await;
        play.outage(Kubernetes, fate.clone());
        let begun = play.now();
        let task = play.task(&lasting("x", minutes(1), 0), HEARTBEATS);
        assert_eq!(outcome(&task).await, error, "{fate:?}");
        let took = play.since(begun);
        assert!(took + LAST_PAUSE >= patience && took <= patience + LAST_PAUSE, "{took:?}: {fate:?}");
        let (gap, _) = longest_gap(play.memory.journal());
        assert!(gap <= Duration::from_secs(21), "{gap:?}");
        assert_eq!(play.memory.kube.endpoint().list("jobs", None).len(), 0);
    });
}

fn answering(status: u16) -> Fate {
    Fate::Answer { status, retry_after: None, body: "{\"kind\": \"Status\", \"message\": \"not now\"}".to_owned() }
}

#[test]
fn an_api_that_is_away_is_waited_for_for_a_quarter_of_an_hour() {
    assert_fails_after(minutes(15), "RunJob.ClusterUnreachable", &Fate::NoConnection);
    assert_fails_after(minutes(15), "EKS.500", &answering(500));
    assert_fails_after(minutes(15), "EKS.429", &answering(429));
}

#[test]
fn an_api_that_knows_nobody_is_waited_for_for_a_minute_and_a_half() {
    assert_fails_after(Duration::from_secs(90), "EKS.401", &answering(401));
}

#[test]
fn a_task_that_arrives_while_the_api_is_away_has_its_job_when_it_is_back() {
    play(async |play| {
        let _worker = play.worker("w", &["--pollers", "1"]);
        pass(Duration::from_secs(1)).await;
        play.outage(Kubernetes, Fate::NoConnection);
        let task = |name| play.task(&lasting(name, minutes(1), 0), HEARTBEATS);
        let first = task("x");
        // It is known now that nothing can be done for a task. A poll in flight may take one all the same.
        pass(Duration::from_secs(15)).await;
        let tasks = [first, task("y"), task("z")];
        pass(minutes(8)).await;
        let taken = play.memory.sfn.endpoint().records().iter().filter(|record| record.delivered).count();
        assert!(taken <= 2, "{taken} tasks were taken");
        play.clears(Kubernetes);
        for task in &tasks {
            assert_eq!(outcome(task).await, "done");
        }
        assert_eq!(play.memory.kube.endpoint().list("jobs", None).len(), 3);
    });
}
