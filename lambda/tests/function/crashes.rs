//! The process is killed in the middle, and the connections to the cluster are cut.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::faults::Effect;
use runjob_scenarios::jobs::{Gate, a_job};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{World, is_settled, keyed, log, retrying};

const CRASHED: [&str; 2] = ["Lambda.Unknown", "Runtime.ExitError"];

#[tokio::test]
async fn a_process_that_is_killed_while_its_job_runs_leaves_it_to_the_next_attempt() {
    let (world, gate) = (World::new().await, Gate::closed("killed"));
    let execution = world.start(&retrying(&keyed(&gate.job("x")).parameters(), &CRASHED));
    world.runs("x").await;
    world.function.kill(0);
    world.invoked(2).await;
    gate.open().unwrap();
    assert_eq!(log(&world.output(&execution).await), &json!("finished\n"));
    world.assert_one_job();
}

#[tokio::test]
async fn a_process_that_is_killed_before_it_hears_of_its_create_leaves_one_job() {
    let (world, gate) = (World::new().await, Gate::closed("killed-early"));
    // The answer is lost, and the look that would find it out does not come through.
    world.sandbox.kube.faults().plan("create jobs", Effect::CutAfterApply, 1);
    world.sandbox.kube.faults().plan("get jobs", Effect::Refuse, 1);
    let execution = world.start(&retrying(&keyed(&gate.job("x")).parameters(), &CRASHED));
    let asked = world
        .sandbox
        .kube
        .recorder()
        .wait_for(|requests| requests.iter().any(|request| request.kind == "get jobs").then_some(()));
    asked.await;
    world.function.kill(0);
    gate.open().unwrap();
    assert_eq!(log(&world.output(&execution).await), &json!("finished\n"));
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 2, "one of them met the Job of the other");
    assert_eq!(world.sandbox.kubernetes().list("jobs", None).len(), 1);
    world.assert_lawful();
}

#[tokio::test]
async fn a_process_that_is_killed_after_it_has_settled_its_job_leaves_the_result_to_the_next_attempt() {
    let world = World::new().await;
    let job = keyed(&a_job("x", "echo once")).with("/Job/spec/ttlSecondsAfterFinished", 0);
    // Before it returns it tells of the warning, which takes its time.
    world.sandbox.kube.faults().plan("create jobs", Effect::Warn("299 - \"hear, hear\""), 1);
    world.sandbox.kube.faults().plan("create events", Effect::Delay(Duration::from_hours(1)), 1);
    let execution = world.start(&retrying(&job.parameters(), &CRASHED));
    world.job("x", is_settled).await;
    world.function.kill(0);
    assert_eq!(log(&world.output(&execution).await), &json!("once\n"));
    assert_eq!(world.sandbox.step_functions().lambda().calls().len(), 2);
    world.assert_one_job();
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_makes_one_job() {
    let world = World::new().await;
    world.sandbox.kube.faults().plan("create jobs", Effect::CutAfterApply, 1);
    assert_eq!(log(&world.ask(&a_job("x", "echo once")).await.unwrap()), &json!("once\n"));
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1);
    assert_eq!(world.function.environments().len(), 1);
}

#[tokio::test]
async fn a_job_is_settled_though_that_does_not_go_well_at_first() {
    let world = World::new().await;
    world.sandbox.kube.faults().plan("patch jobs", Effect::Refuse, 1);
    let unavailable = Effect::Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, body: "{}".into() };
    world.sandbox.kube.faults().plan("patch jobs", unavailable, 1);
    world.ask(&a_job("x", ":")).await.unwrap();
    let job = world.sandbox.kubernetes().get("jobs", "default", "x").unwrap();
    assert!(is_settled(&job), "nobody else is there to settle it: {job}");
}

#[tokio::test]
async fn a_job_that_may_not_be_settled_holds_up_no_result() {
    let world = World::new().await;
    let forbidden = Effect::Answer { status: StatusCode::FORBIDDEN, retry_after: None, body: "{}".into() };
    world.sandbox.kube.faults().plan("patch jobs", forbidden, 100);
    let job = a_job("x", "echo done");
    let result = world.ask(&job);
    assert_eq!(log(&timeout(Duration::from_secs(15), result).await.unwrap().unwrap()), &json!("done\n"));
}

#[tokio::test]
async fn connections_that_died_while_the_process_was_frozen_are_made_anew() {
    let world = World::new().await;
    let call = json!({"Action": "call", "Method": "GET", "Path": "/version"});
    world.invoke(&call).await.unwrap();
    // Each of these cuts its connection, as the other side of a long freeze has.
    world.sandbox.kube.faults().plan("create jobs", Effect::Refuse, 1);
    assert_eq!(log(&world.ask(&a_job("x", "echo thawed")).await.unwrap()), &json!("thawed\n"));
    assert_eq!(world.function.environments().len(), 1);
    world.assert_one_job();
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on() {
    let (world, gate) = (World::new().await, Gate::closed("cut-watch"));
    let job = gate.job("x");
    let cut = async {
        world.runs("x").await;
        world.sandbox.kubernetes().cut_watches();
        gate.open().unwrap();
    };
    let (result, ()) = tokio::join!(world.ask(&job), cut);
    assert_eq!(log(&result.unwrap()), &json!("finished\n"));
    world.assert_one_job();
}
