//! Tasks that end before their Job does.

use runjob_sandbox::record::Recorded;
use runjob_scenarios::{jobs::a_job, world::World};
use serde_json::json;

const FAST: [&str; 2] = ["--heartbeat-interval", "200ms"];

#[tokio::test]
async fn a_job_whose_task_was_stopped_is_deleted_with_its_pods() {
    let world = World::new_with(&FAST).await.unwrap();
    let task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    assert_eq!(world.sandbox.kubernetes().running_processes(), 1);
    task.abort();
    world.empty_cluster().await.unwrap();
    let deletes = world.sandbox.kube.recorder().of("delete jobs");
    let options: serde_json::Value = serde_json::from_slice(&deletes.last().unwrap().body).unwrap();
    assert_eq!(options["propagationPolicy"], json!("Foreground"));
    assert!(options["preconditions"]["uid"].is_string() && options["preconditions"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn a_token_that_was_never_valid_deletes_nothing() {
    let world = World::empty().await.unwrap();
    let first = world.sandbox.worker(&FAST).await.unwrap();
    let _task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    first.drain();
    world.sandbox.step_functions().release_polls();
    first.ended().await.unwrap();
    // The token of somebody else's Step Functions: to this one it means nothing.
    let forge = |job: &mut serde_json::Value| job["metadata"]["annotations"]["runjob/task-token"] = json!("foreign");
    world.sandbox.kubernetes().edit("jobs", "default", "x", forge).unwrap();
    let _second = world.sandbox.worker(&FAST).await.unwrap();
    let foreign = |beat: &Recorded| beat.body.windows(7).any(|part| part == b"foreign");
    world.request("SendTaskHeartbeat", foreign).await.unwrap();
    world.sandbox.kubernetes().create(a_job("later", "true").job()).unwrap();
    world.job("later", |job| job["status"]["succeeded"] == json!(1)).await.unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 0);
    assert_eq!(world.sandbox.kubernetes().running_processes(), 1);
}
