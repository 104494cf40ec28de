//! Requests that the API server refuses for as long as they are sent: they hold up nothing else.

use std::{sync::Arc, time::Duration};

use runjob_sandbox::{
    kube::Propagation,
    memory::{Fate, Outbound, Traffic},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::play::{HEARTBEATS, PATIENCE, lasting, minutes, outcome, play};

/// More than may be asked for at a time.
const GONE: usize = 80;

/// Whoever may watch these Jobs may not read them one by one any more: their namespace is gone, and its roles with it.
struct Unreadable;

impl Traffic for Unreadable {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        if request.kind == "get jobs" && request.request.uri().path().contains("/jobs/gone-") {
            let body = "{\"kind\": \"Status\", \"message\": \"forbidden\"}".to_owned();
            return Fate::Answer { status: 403, retry_after: None, body };
        }
        Fate::Pass
    }
}

#[test]
fn jobs_that_are_gone_and_may_not_be_asked_for_hold_up_no_other_and_are_given_up() {
    play(async |play| {
        let _worker = play.memory.worker("w", play.memory.settings(&[]).unwrap(), Arc::new(Unreadable));
        let names: Vec<_> = (0..GONE).map(|number| format!("gone-{number}")).collect();
        let gone: Vec<_> = names.iter().map(|name| play.task(&lasting(name, minutes(60), 0), HEARTBEATS)).collect();
        let other = play.task(&lasting("other", minutes(5), 0), HEARTBEATS);
        play.running(GONE + 1).await;
        let kube = play.memory.kube.endpoint();
        for name in &names {
            kube.delete("jobs", "default", name, Propagation::Background).unwrap();
        }
        assert_eq!(outcome(&other).await, "done");
        let is_settled = |job: &Value| job["metadata"]["annotations"]["runjob/settled"] == "true";
        timeout(PATIENCE, kube.wait_for(|kube| kube.get("jobs", "default", "other").filter(is_settled))).await.unwrap();
        assert!(play.now() < minutes(10), "{:?}", play.now());
        for task in &gone {
            assert_eq!(outcome(task).await, "Job.Deleted");
        }
        assert!((minutes(15)..minutes(20)).contains(&play.now()), "{:?}", play.now());
        // Nobody asked on and on.
        assert!(play.sent("get jobs", Duration::ZERO) <= GONE * 4);
    });
}
