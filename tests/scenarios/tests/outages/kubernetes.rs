//! The Kubernetes API is away for eight minutes, in one way or another, while Jobs run.

use std::time::Duration;

use runjob_sandbox::{
    kube::Propagation,
    memory::{Fate, Service::Kubernetes},
};

use crate::{
    beats::longest_gap,
    play::{HEARTBEATS, Play, lasting, minutes, outcome, pass, play},
};

/// A heartbeat is due every 20 s; a moment more, since they are paced.
const BEATS: Duration = Duration::from_secs(21);
const OUTAGE: Duration = Duration::from_mins(8);

fn answering(status: u16, retry_after: Option<u64>) -> Fate {
    Fate::Answer { status, retry_after, body: "{\"kind\": \"Status\", \"message\": \"not now\"}".to_owned() }
}

/// Twelve Jobs run when the outage begins: three end while it lasts, three fail, three end afterwards, and three are deleted by
/// somebody else meanwhile. Each has to be answered as if nothing had been, and kept alive all the time.
fn assert_costs_nothing(outage: impl AsyncFnOnce(&Play)) {
    play(async |play| {
        let _worker = play.worker("w", &[]);
        let (early, late) = (minutes(5), minutes(15));
        let plan =
            [(early, 0, "done"), (early, 1, "Job.BackoffLimitExceeded"), (late, 0, "done"), (late, 0, "Job.Deleted")];
        let mut tasks = Vec::new();
        for number in 0..3 {
            for (kind, (time, code, expected)) in plan.into_iter().enumerate() {
                tasks.push((play.task(&lasting(&format!("x-{number}-{kind}"), time, code), HEARTBEATS), expected));
            }
        }
        play.running(tasks.len()).await;
        let begun = play.now();
        let deleted = async {
            pass(minutes(2)).await;
            for number in 0..3 {
                let name = format!("x-{number}-3");
                play.memory.kube.endpoint().delete("jobs", "default", &name, Propagation::Background).unwrap();
            }
        };
        tokio::join!(outage(play), deleted);
        // It is not asked more often than a server in trouble can bear.
        let load = play.load(Kubernetes, begun);
        assert!(load < 3000, "{load} requests");
        // Nothing was failed because the API was away.
        let failures = play.sent("SendTaskFailure", begun);
        for (task, expected) in &tasks {
            assert_eq!(outcome(task).await, *expected);
        }
        play.settled().await;
        assert!(failures <= 6, "{failures}");
        // That a Job is gone was believed of a GET alone.
        assert!(play.sent("get jobs", begun) >= 3);
        let (gap, beats) = longest_gap(play.memory.journal());
        assert!(gap <= BEATS && beats > 100, "{gap:?}, {beats} heartbeats");
    });
}

/// The same, while this befalls every request.
fn assert_bears(fate: Fate) {
    assert_costs_nothing(async |play| {
        play.outage(Kubernetes, fate);
        pass(OUTAGE).await;
        play.clears(Kubernetes);
    });
}

#[test]
fn an_api_that_cannot_be_reached_costs_nothing() {
    assert_bears(Fate::NoConnection);
    assert_bears(Fate::Refuse);
}

#[test]
fn an_api_that_answers_with_errors_costs_nothing() {
    assert_bears(answering(500, None));
    assert_bears(answering(503, None));
}

#[test]
fn an_api_that_knows_nobody_costs_nothing() {
    assert_bears(answering(401, None));
}

#[test]
fn an_api_that_throttles_costs_nothing() {
    assert_bears(answering(429, Some(5)));
}

#[test]
fn an_api_that_is_slow_costs_nothing() {
    assert_bears(Fate::Delay(Duration::from_secs(5)));
}

#[test]
fn an_api_that_comes_and_goes_costs_nothing() {
    assert_costs_nothing(async |play| {
        for _ in 0..12 {
            play.outage(Kubernetes, Fate::NoConnection);
            pass(Duration::from_secs(25)).await;
            play.clears(Kubernetes);
            pass(Duration::from_secs(15)).await;
        }
    });
}

#[test]
fn watches_that_fall_silent_cost_nothing() {
    assert_costs_nothing(async |play| {
        play.memory.kube.endpoint().mute_watches(true);
        pass(OUTAGE).await;
        play.memory.kube.endpoint().mute_watches(false);
    });
}

#[test]
fn watches_that_end_every_second_cost_nothing() {
    assert_costs_nothing(async |play| {
        play.memory.kube.endpoint().limit_watches(Some(Duration::from_secs(1)));
        pass(OUTAGE).await;
        play.memory.kube.endpoint().limit_watches(None);
    });
}
