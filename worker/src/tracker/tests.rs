use aws_config::{BehaviorVersion, SdkConfig};
use http::{Request, Response};
use kube::client::Body;
use runjob_core::lifecycle::stamp_of;
use serde_json::json;
use tower::{BoxError, service_fn};

use super::*;
use crate::{
    cluster::Cluster,
    heartbeat::{Budget, Pace},
    liveness::Liveness,
    replies::Replies,
    sfn::Clients,
};

/// A tracker that acts, in a cluster that answers nothing.
fn a_tracker() -> Tracker {
    let sdk = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let activities = ["arn:aws:states:us-east-1:123456789012:activity:jobs".parse().unwrap()];
    let clients = Clients::new(&sdk, &activities);
    let clock = Clock::start();
    let silent = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
    let cluster = Cluster::over(silent, "", clock);
    let metrics = Arc::new(Metrics::default());
    let mandate = Mandate::unlimited();
    let beats = Budget::new(Pace { interval: Duration::from_secs(20), rate: 100 });
    let (lost, _) = mpsc::unbounded_channel();
    let (heartbeats, _) = Heartbeats::new(clients.clone(), metrics.clone(), &beats, clock, mandate.role.clone(), lost);
    let care = Care {
        memory: Memory::OfProcess,
        max_log_pods: 100,
        stuck_grace: None,
        reattach_grace: Duration::from_mins(2),
        lease_duration: Duration::from_secs(15),
    };
    let replies = Replies::new(clients.clone(), metrics.clone(), None);
    let effects = Effects::new(clients, cluster, replies, "g".parse().unwrap(), care, metrics.clone());
    let pulse = Pulse::new([], Liveness::default().watch_over("the tracker".to_owned()));
    Tracker::new(Arc::new(effects), heartbeats, Permits::new(10, 1), metrics, clock, Arc::new(pulse), mandate)
}

fn a_view(name: &str) -> JobView {
    let annotations = json!({"runjob/v": "1", "runjob/form": "task", "runjob/task-token": name, "runjob/owner": "o",
        "runjob/spec-hash": "h", "runjob/options": "{}", "runjob/object": format!("default/{name}"),
        "runjob/source": "arn:aws:states:us-east-1:123456789012:activity:jobs"});
    let metadata =
        json!({"namespace": "default", "name": name, "uid": name, "resourceVersion": "7", "annotations": annotations});
    JobView::of(&json!({ "metadata": metadata })).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_watch_event_is_taken_in_costs_that_event_and_is_told() {
    let mut tracker = a_tracker();
    let (one, other) = (a_view("one"), a_view("other"));
    assert!(stamp_of(&one).is_some());
    tracker.take_in(&one, |_| panic!("bad luck"));
    assert_eq!((tracker.metrics.panics.get(), tracker.table.len()), (1, 0));
    assert_eq!(tracker.effects.cluster.untold(), 1);
    tracker.take_in(&other, |tracker| tracker.applied(&Scope::All, other.clone(), None));
    assert_eq!((tracker.metrics.panics.get(), tracker.table.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_makes_what_decides_panic_again_and_again_is_left_alone() {
    let mut tracker = a_tracker();
    let view = a_view("one");
    tracker.applied(&Scope::All, view.clone(), None);
    let id = JobId::of(&view);
    for panics in [Panics::Once, Panics::Twice, Panics::TooMany] {
        tracker.update(&id, |_| panic!("bad luck"));
        assert_eq!(tracker.table.get_mut(&id).unwrap().progress.panics, panics);
        assert!(tracker.table.next_wake().is_some());
    }
    assert_eq!(tracker.metrics.panics.get(), 3);
}
