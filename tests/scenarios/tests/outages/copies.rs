//! Copies of a Job, with everything that stands on it: a backup that is restored, a clone. They answer nothing, and are left alone.

use std::time::Duration;

use runjob_sandbox::kube::Propagation;
use serde_json::{Value, json};

use crate::play::{HEARTBEATS, Play, lasting, minutes, outcome, pass, play};

/// The Job as somebody creates it once more: without what is the server's own.
fn copied(job: &Value) -> Value {
    let mut copy = job.clone();
    let metadata = copy["metadata"].as_object_mut().unwrap();
    metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
    let fields = copy.as_object_mut().unwrap();
    fields.remove("status");
    let spec = copy["spec"].as_object_mut().unwrap();
    spec.remove("selector");
    spec["template"]["metadata"] = json!({});
    copy
}

/// Creates a copy whose container is quicker than the original's, and fails.
fn create_copy(play: &Play, original: &Value, field: &str, value: &str) {
    let mut copy = copied(original);
    copy["metadata"][field] = json!(value);
    copy["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["30", "1"]);
    let kube = play.memory.kube.endpoint();
    if kube.get("namespaces", "", "restored").is_none() {
        kube.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "restored"}})).unwrap();
    }
    kube.create(copy).unwrap();
}

fn original(play: &Play) -> Value {
    play.memory.kube.endpoint().get("jobs", "default", "x").unwrap()
}

fn assert_untouched(play: &Play, namespace: &str, name: &str) {
    let copy = play.memory.kube.endpoint().get("jobs", namespace, name).unwrap();
    assert!(copy["metadata"]["labels"]["runjob/group"].is_string() && copy["metadata"]["deletionTimestamp"].is_null());
    let events = play.memory.kube.endpoint().list("events", Some(namespace));
    let told = events.iter().filter(|event| event["reason"] == "CopiedStamp");
    assert!(told.count() > 0, "{events:?}");
}

#[test]
fn a_copy_in_another_namespace_or_under_another_name_answers_nothing_and_is_left_alone() {
    for (field, value, namespace, name) in
        [("namespace", "restored", "restored", "x"), ("name", "clone", "default", "clone")]
    {
        play(async |play| {
            let first = play.worker("first", &[]);
            let task = play.task(&lasting("x", minutes(10), 0), HEARTBEATS);
            play.running(1).await;
            create_copy(play, &original(play), field, value);
            pass(minutes(2)).await;
            drop(first);
            // One that sees both for the first time.
            let _second = play.worker("second", &[]);
            assert_eq!(outcome(&task).await, "done");
            assert!(play.now() >= minutes(10), "{:?}", play.now());
            assert_eq!(play.sent("delete jobs", Duration::ZERO), 0);
            assert_untouched(play, namespace, name);
        });
    }
}

#[test]
fn a_job_that_is_created_once_more_under_its_name_answers_nothing() {
    for restarted in [false, true] {
        play(async |play| {
            let first = play.worker("first", &[]);
            let task = play.task(&lasting("x", minutes(10), 0), HEARTBEATS);
            play.running(1).await;
            pass(minutes(2)).await;
            let found = original(play);
            assert_eq!(found["metadata"]["annotations"]["runjob/uid"], found["metadata"]["uid"]);
            let replace = || {
                play.memory.kube.endpoint().delete("jobs", "default", "x", Propagation::Background).unwrap();
                create_copy(play, &found, "name", "x");
            };
            if restarted {
                drop(first);
                replace();
                let _second = play.worker("second", &[]);
                pass(minutes(5)).await;
                // Nothing is left that names the task.
                assert!(task.outcome().is_some_and(|outcome| !format!("{outcome:?}").contains("Succeeded")));
                assert_untouched(play, "default", "x");
            } else {
                replace();
                assert_eq!(outcome(&task).await, "Job.Deleted");
                assert_untouched(play, "default", "x");
            }
            assert_eq!(play.sent("delete jobs", Duration::ZERO), 0);
        });
    }
}

#[test]
fn a_job_that_claims_the_task_of_another_answers_nothing() {
    play(async |play| {
        let _worker = play.worker("w", &[]);
        let task = play.task(&lasting("x", minutes(10), 0), HEARTBEATS);
        play.running(1).await;
        let mut forged = original(play);
        forged["metadata"]["annotations"]["runjob/object"] = json!("default/forged");
        create_copy(play, &forged, "name", "forged");
        assert_eq!(outcome(&task).await, "done");
        assert!(play.now() >= minutes(10), "{:?}", play.now());
        pass(minutes(10)).await;
        assert_untouched(play, "default", "forged");
    });
}

#[test]
fn a_short_job_costs_no_request_for_its_uid() {
    play(async |play| {
        let _worker = play.worker("w", &[]);
        let task = play.task(&lasting("x", Duration::from_secs(50), 0), HEARTBEATS);
        assert_eq!(outcome(&task).await, "done");
        play.settled().await;
        assert_eq!(play.sent("patch jobs", Duration::ZERO), 1);
    });
}
