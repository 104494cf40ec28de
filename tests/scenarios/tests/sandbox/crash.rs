//! Workers that are killed.

use runjob_scenarios::{
    jobs::{Gate, a_job},
    process::{Surroundings, WorkerProcess},
    world::{World, told},
};
use serde_json::json;

const WORKER: &str = env!("CARGO_BIN_EXE_runjob-under-test");

#[tokio::test]
async fn a_worker_that_is_killed_while_a_job_runs_is_followed_by_one_that_answers() {
    let world = World::empty().await.unwrap();
    let gate = Gate::closed("crash");
    let mut first = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &[]).unwrap();
    let task = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    first.kill().await.unwrap();
    gate.open().unwrap();
    world.job("x", |job| job["status"]["succeeded"] == json!(1)).await.unwrap();
    let _second = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &[]).unwrap();
    let result = told(&task).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("finished"), "{result}");
    // The second worker has it from a list, whose items say neither.
    assert_eq!((&result["apiVersion"], &result["kind"]), (&json!("batch/v1"), &json!("Job")));
    world.settled("x").await.unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1);
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_recovered_task_is_heartbeated_at_once() {
    let world = World::empty().await.unwrap();
    let mut first = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &[]).unwrap();
    let task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    first.kill().await.unwrap();
    let _second = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &[]).unwrap();
    world.answered("SendTaskHeartbeat").await.unwrap();
    assert_eq!(task.outcome(), None);
}
