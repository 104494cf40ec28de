//! What a cluster's admission policies change of a Job, or do not allow.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{faults::Effect, sfn::Clocks};
use serde_json::{Value, json};

use crate::play::{HEARTBEATS, Play, lasting, minutes, outcome, pass, play};

const WEEK: u64 = 7 * 24 * 60 * 60;

fn ttl(play: &Play) -> Value {
    play.memory.kube.endpoint().get("jobs", "default", "x").unwrap()["spec"]["ttlSecondsAfterFinished"].clone()
}

fn reasons(play: &Play) -> Vec<String> {
    let events = play.memory.kube.endpoint().list("events", None);
    events.iter().filter_map(|event| event["reason"].as_str()).map(ToOwned::to_owned).collect()
}

fn denied() -> Effect {
    let message =
        "jobs.batch \"x\" is forbidden: ValidatingAdmissionPolicy 'short-lived' denied request: at most an hour";
    let body = json!({"kind": "Status", "status": "Failure", "message": message, "reason": "Invalid", "code": 422})
        .to_string();
    Effect::Answer { status: StatusCode::UNPROCESSABLE_ENTITY, retry_after: None, body }
}

#[test]
fn a_ttl_that_the_cluster_gives_to_jobs_without_one_is_held_back_and_given_back() {
    play(async |play| {
        let add = |job: &mut Value| job["spec"]["ttlSecondsAfterFinished"] = json!(3);
        play.memory.kube.faults().plan("create jobs", Effect::Mutate(add), 1);
        let first = play.worker("first", &[]);
        let patient = Clocks { timeout: None, heartbeat: None };
        let task = play.task(&lasting("x", Duration::from_secs(30), 0), patient);
        play.running(1).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(ttl(play), json!(WEEK));
        drop(first);
        // It has ended, and nobody was there.
        pass(Duration::from_secs(50)).await;
        let _second = play.worker("second", &[]);
        assert_eq!(outcome(&task).await, "done");
        pass(minutes(1)).await;
        assert_eq!(play.memory.kube.endpoint().get("jobs", "default", "x"), None, "given back, it is over");
    });
}

#[test]
fn a_hold_that_the_cluster_refuses_fails_no_task_that_natively_works() {
    play(async |play| {
        play.memory.kube.faults().plan("create jobs", denied(), 1);
        play.memory.kube.faults().plan("patch jobs", denied(), 1);
        let _worker = play.worker("w", &[]);
        let task = play.task(&lasting("x", minutes(5), 0).with("/Job/spec/ttlSecondsAfterFinished", 60), HEARTBEATS);
        play.running(1).await;
        assert_eq!(ttl(play), json!(60));
        assert_eq!(outcome(&task).await, "done");
        assert!(reasons(play).contains(&"TtlNotHeld".to_owned()), "{:?}", reasons(play));
        // It is not tried again and again.
        play.settled().await;
        assert_eq!(play.sent("patch jobs", Duration::ZERO), 2);
    });
}

#[test]
fn a_job_that_the_cluster_refuses_with_the_users_own_ttl_too_fails_with_that_refusal() {
    play(async |play| {
        play.memory.kube.faults().plan("create jobs", denied(), 2);
        let _worker = play.worker("w", &[]);
        let task = play.task(&lasting("x", minutes(5), 0).with("/Job/spec/ttlSecondsAfterFinished", 60), HEARTBEATS);
        assert_eq!(outcome(&task).await, "EKS.422");
        assert_eq!(play.sent("create jobs", Duration::ZERO), 2);
    });
}

/// Takes the label out of a patch that puts it back, as a mutating policy would take it off the Job.
fn strip(patch: &mut Value) {
    if let Some(operations) = patch.as_array_mut() {
        operations
            .retain(|operation| !operation["path"].as_str().is_some_and(|path| path.starts_with("/metadata/labels")));
    }
}

#[test]
fn a_job_that_is_not_allowed_to_keep_its_label_is_looked_at_once_a_minute_and_answered() {
    play(async |play| {
        let _worker = play.worker("w", &[]);
        let task = play.task(&lasting("x", minutes(30), 0), HEARTBEATS);
        play.running(1).await;
        play.memory.kube.faults().plan("patch jobs", Effect::Mutate(strip), u32::MAX);
        let unlabel = |job: &mut Value| job["metadata"]["labels"] = json!({});
        play.memory.kube.endpoint().edit("jobs", "default", "x", unlabel).unwrap();
        let since = play.now();
        assert_eq!(outcome(&task).await, "done");
        assert!(play.now() < minutes(32), "{:?}", play.now());
        let looks = play.sent("get jobs", since);
        assert!((25..45).contains(&looks), "{looks} requests");
        assert!(reasons(play).contains(&"LabelNotRestored".to_owned()));
    });
}
