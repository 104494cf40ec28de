//! Jobs that no watch of any worker has shown: the one that made them looks after them, whether it acts or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use runjob_sandbox::{
    kube::Propagation,
    memory::{Fate, Outbound, Traffic},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::play::{HEARTBEATS, PATIENCE, Play, lasting, minutes, outcome, play};

/// A watch that is deaf for a while and then begins with a new list: what came and went in between is nowhere. Whoever leads polls nothing.
struct Deaf {
    watches: AtomicU32,
    polls: bool,
}

impl Deaf {
    fn that(polls: bool) -> Arc<Self> {
        Arc::new(Self { watches: AtomicU32::new(0), polls })
    }
}

impl Traffic for Deaf {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        if request.kind == "GetActivityTask" && !self.polls {
            return Fate::Refuse;
        }
        if request.kind != "watch jobs" {
            return Fate::Pass;
        }
        match self.watches.fetch_add(1, Ordering::Relaxed) {
            0 => Fate::Delay(Duration::from_secs(40)),
            1 => {
                let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}"#;
                let body = format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n");
                Fate::Answer { status: 200, retry_after: None, body }
            }
            _ => Fate::Pass,
        }
    }
}

fn unseen(act: impl AsyncFnOnce(&Play), expected: &str) {
    play(async |play| {
        let settings = || play.memory.settings(&[]).unwrap();
        let _leader = play.memory.worker("leader", settings(), Deaf::that(false));
        play.holder_is(|holder| holder == "leader").await;
        let _follower = play.memory.worker("follower", settings(), Deaf::that(true));
        let task = play.task(&lasting("x", minutes(5), 0), HEARTBEATS);
        let kube = play.memory.kube.endpoint();
        timeout(PATIENCE, kube.wait_for(|kube| kube.get("jobs", "default", "x"))).await.unwrap();
        act(play).await;
        assert_eq!(outcome(&task).await, expected);
        assert_eq!(play.holder().as_deref(), Some("leader"));
    });
}

#[test]
fn a_job_that_is_deleted_before_any_watch_shows_it_is_missed_by_the_worker_that_made_it() {
    let delete = async |play: &Play| {
        play.memory.kube.endpoint().delete("jobs", "default", "x", Propagation::Background).unwrap();
    };
    unseen(delete, "Job.Deleted");
}

#[test]
fn a_job_that_loses_its_label_before_any_watch_shows_it_gets_it_back_from_the_worker_that_made_it() {
    let unlabel = async |play: &Play| {
        let labels = |job: &mut Value| job["metadata"]["labels"] = json!({});
        play.memory.kube.endpoint().edit("jobs", "default", "x", labels).unwrap();
    };
    unseen(unlabel, "done");
}
