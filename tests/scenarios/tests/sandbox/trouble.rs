//! Trouble on the side of the cluster while a Job runs.

use http::StatusCode;
use runjob_sandbox::faults::Effect;
use runjob_scenarios::{
    jobs::{Gate, a_job},
    world::{World, told},
};
use serde_json::{Value, json};

fn failing(status: StatusCode) -> Effect {
    Effect::Answer { status, retry_after: None, body: json!({"kind": "Status", "message": "not now"}).to_string() }
}

#[tokio::test]
async fn a_worker_whose_first_list_fails_becomes_ready_all_the_same() {
    let mut world = World::empty().await.unwrap();
    world.sandbox.kube.faults().plan("list jobs", failing(StatusCode::INTERNAL_SERVER_ERROR), 1);
    world.start_worker(&[]).await.unwrap();
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
}

#[tokio::test]
async fn a_stamp_that_is_damaged_while_the_job_runs_does_not_cost_the_answer() {
    let world = World::new().await.unwrap();
    let gate = Gate::closed("damaged");
    let task = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    let damage = |job: &mut Value| job["metadata"]["annotations"]["runjob/options"] = json!("{");
    world.sandbox.kubernetes().edit("jobs", "default", "x", damage).unwrap();
    gate.open().unwrap();
    let result = told(&task).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("finished"), "{result}");
}

#[tokio::test]
async fn watches_that_end_and_versions_that_are_too_old_lose_nothing() {
    let world = World::new().await.unwrap();
    let gate = Gate::closed("watches");
    let task = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    let kube = world.sandbox.kubernetes();
    kube.cut_watches();
    kube.mute_watches(true);
    gate.open().unwrap();
    world.job("x", |job| job["status"]["succeeded"] == json!(1)).await.unwrap();
    // What has happened meanwhile is not kept: only a list can tell.
    kube.forget_history();
    kube.mute_watches(false);
    kube.cut_watches();
    told(&task).await.unwrap().output().unwrap();
}

#[tokio::test]
async fn a_settling_that_fails_is_tried_again_soon() {
    let world = World::new().await.unwrap();
    world.sandbox.kube.faults().plan("patch jobs", failing(StatusCode::SERVICE_UNAVAILABLE), 1);
    world.sandbox.kube.faults().plan("patch jobs", Effect::CutAfterApply, 1);
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    assert_eq!(world.sandbox.sfn.recorder().of("SendTaskSuccess").len(), 1);
}

#[tokio::test]
async fn logs_that_cannot_be_read_are_said_so_and_fail_nothing() {
    let world = World::new().await.unwrap();
    world.sandbox.kube.faults().plan("get pods/log", failing(StatusCode::FORBIDDEN), 1);
    let result = world.run(&a_job("x", "echo here")).await.unwrap().output().unwrap();
    let pod = result["logs"]["pods"].as_object().unwrap().values().next().unwrap();
    assert_eq!(pod["containers"]["main"], json!({"error": "EKS.403", "cause": "not now"}));
    world.sandbox.kube.faults().plan("list pods", failing(StatusCode::FORBIDDEN), 1);
    let result = world.run(&a_job("y", "echo here")).await.unwrap().output().unwrap();
    assert_eq!(result["logs"]["error"], json!("EKS.403"));
}

#[tokio::test]
async fn logs_are_waited_for_while_the_api_is_away() {
    let world = World::new().await.unwrap();
    world.sandbox.kube.faults().plan("list pods", Effect::Refuse, 2);
    world.sandbox.kube.faults().plan("get pods/log", Effect::Refuse, 4);
    let result = world.run(&a_job("x", "echo here")).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("here"), "{result}");
}

#[tokio::test]
async fn an_api_that_has_just_come_back_and_forbids_everything_is_asked_again() {
    let world = World::new().await.unwrap();
    for kind in ["create jobs", "patch jobs"] {
        world.sandbox.kube.faults().plan(kind, Effect::Refuse, 1);
        world.sandbox.kube.faults().plan(kind, failing(StatusCode::FORBIDDEN), 1);
    }
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    // Otherwise it would be tried again after minutes.
    world.settled("x").await.unwrap();
}

#[tokio::test]
async fn an_answer_that_does_not_get_through_is_sent_again() {
    let world = World::new().await.unwrap();
    world.sandbox.sfn.faults().plan("SendTaskSuccess", Effect::Refuse, 2);
    world.sandbox.sfn.faults().plan("SendTaskSuccess", Effect::CutAfterApply, 1);
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn no_more_jobs_run_at_a_time_than_are_allowed() {
    let world = World::new_with(&["--max-in-flight", "1"]).await.unwrap();
    let gate = Gate::closed("limit");
    let first = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    let second = world.task(&a_job("y", "true").input());
    assert_eq!(world.sandbox.step_functions().waiting_polls(world.sandbox.activity()), 0);
    gate.open().unwrap();
    told(&first).await.unwrap().output().unwrap();
    told(&second).await.unwrap().output().unwrap();
}
