//! What a Job costs in requests.

use std::collections::BTreeMap;

use runjob_scenarios::{jobs::a_job, world::World};
use serde_json::json;

/// The requests of one worker that has nothing to do yet: its list and its watch.
const AT_REST: [(&str, usize); 2] = [("list jobs", 1), ("watch jobs", 1)];

/// Without the worker's Lease, which costs what it costs however many Jobs there are.
fn counted(counts: &BTreeMap<String, usize>) -> Vec<(&str, usize)> {
    let of_jobs = counts.iter().filter(|(kind, _)| !kind.ends_with(" leases"));
    of_jobs.map(|(kind, count)| (kind.as_str(), *count)).collect()
}

#[tokio::test]
async fn a_job_costs_one_create_one_pod_list_one_log_read_per_container_and_one_patch() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "echo one").and_container("second", "echo two");
    world.run(&job).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    let counts = world.sandbox.kube.recorder().counts();
    let job = [("create jobs", 1), ("get pods/log", 2), ("list pods", 1), ("patch jobs", 1)];
    let mut expected: Vec<_> = AT_REST.into_iter().chain(job).collect();
    expected.sort_unstable();
    assert_eq!(counted(&counts), expected);
    let replies = world.sandbox.sfn.recorder();
    let sent = |kind: &str| replies.of(kind).len();
    assert_eq!((sent("SendTaskSuccess"), sent("SendTaskFailure"), sent("SendTaskHeartbeat")), (1, 0, 0));
}

#[tokio::test]
async fn a_job_without_logs_costs_one_create_and_one_patch() {
    let world = World::new().await.unwrap();
    world.run(&a_job("x", "true").with("/LogOptions", json!({}))).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    let counts = world.sandbox.kube.recorder().counts();
    assert_eq!(counted(&counts), [("create jobs", 1), ("list jobs", 1), ("patch jobs", 1), ("watch jobs", 1)]);
}

#[tokio::test]
async fn a_call_costs_one_request() {
    let world = World::new().await.unwrap();
    let call = json!({"Method": "GET", "Path": "/api/v1/namespaces/default/pods"});
    let result = world.ask(&call.to_string()).await.unwrap().output().unwrap();
    assert_eq!((&result["StatusCode"], &result["StatusText"]), (&json!(200), &json!("OK")));
    assert_eq!(result["ResponseBody"]["kind"], json!("PodList"));
    assert_eq!(world.sandbox.kube.recorder().of("list pods").len(), 1);
}
