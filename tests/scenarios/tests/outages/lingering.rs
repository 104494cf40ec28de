//! Jobs that are over and do not go, or whose pods take their time: they hold up neither their tasks nor others.

use std::time::Duration;

use runjob_sandbox::kube::Propagation;
use serde_json::{Value, json};

use crate::play::{HEARTBEATS, lasting, minutes, outcome, pass, play};

#[test]
fn a_deleted_job_is_answered_in_a_minute_whatever_its_pods_do() {
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        play(async |play| {
            let _worker = play.worker("w", &[]);
            // It takes three minutes to end once it is asked to.
            let job = lasting("x", minutes(60), 0)
                .with_main("command", json!(["3600", "0", "180"]))
                .with_pod("terminationGracePeriodSeconds", 180);
            let task = play.task(&job, HEARTBEATS);
            play.running(1).await;
            let since = play.now();
            play.memory.kube.endpoint().delete("jobs", "default", "x", propagation).unwrap();
            assert_eq!(outcome(&task).await, "Job.Deleted");
            assert!(play.since(since) <= Duration::from_secs(62), "{:?} {propagation:?}", play.since(since));
            let cause = format!("{:?}", task.outcome());
            assert!(cause.contains("begun"), "{propagation:?} {cause}");
        });
    }
}

#[test]
fn a_job_that_a_finalizer_keeps_takes_no_place_from_others() {
    play(async |play| {
        let first = play.worker("first", &["--max-in-flight", "1"]);
        let gone = play.task(&lasting("x", minutes(60), 0), HEARTBEATS);
        play.running(1).await;
        let finalizer = |job: &mut Value| job["metadata"]["finalizers"] = json!(["example.com/never"]);
        play.memory.kube.endpoint().edit("jobs", "default", "x", finalizer).unwrap();
        gone.abort();
        let next = play.task(&lasting("y", minutes(1), 0), HEARTBEATS);
        assert_eq!(outcome(&next).await, "done");
        assert!(play.now() < minutes(5), "{:?}", play.now());
        // A worker that is started later sees it, too.
        drop(first);
        let since = play.now();
        let _second = play.worker("second", &["--max-in-flight", "1"]);
        let next = play.task(&lasting("z", minutes(1), 0), HEARTBEATS);
        assert_eq!(outcome(&next).await, "done");
        assert!(play.since(since) < minutes(5), "{:?}", play.since(since));
        let events = play.memory.kube.endpoint().list("events", None);
        assert!(events.iter().any(|event| event["reason"] == "Lingering"), "{events:?}");
    });
}

#[test]
fn a_job_that_lost_its_stamp_takes_no_place_once_it_is_answered() {
    play(async |play| {
        let _worker = play.worker("w", &["--max-in-flight", "1"]);
        let task = play.task(&lasting("x", minutes(2), 0), HEARTBEATS);
        play.running(1).await;
        let strip = |job: &mut Value| job["metadata"]["annotations"] = json!({});
        play.memory.kube.endpoint().edit("jobs", "default", "x", strip).unwrap();
        assert_eq!(outcome(&task).await, "done");
        pass(minutes(1)).await;
        let job = play.memory.kube.endpoint().get("jobs", "default", "x").unwrap();
        assert_eq!(job["metadata"]["labels"].get("runjob/group"), None);
        let next = play.task(&lasting("y", minutes(1), 0), HEARTBEATS);
        assert_eq!(outcome(&next).await, "done");
    });
}
