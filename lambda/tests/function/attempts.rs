//! A Job that outlives the invocation that waits for it.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{faults::Effect, kube::Propagation};
use runjob_scenarios::jobs::{Gate, a_job};
use serde_json::json;
use tokio::time::timeout;

use crate::world::{World, is_settled, keyed, log, retrying, told};

const STILL_RUNNING: [&str; 1] = ["RunJob.StillRunning"];

#[tokio::test]
async fn a_long_job_is_waited_for_by_one_invocation_after_the_other() {
    let (world, gate) = (World::of_seconds(4).await, Gate::closed("long"));
    let execution = world.start(&retrying(&keyed(&gate.job("x")).parameters(), &STILL_RUNNING));
    world.invoked(3).await;
    gate.open().unwrap();
    assert_eq!(log(&world.output(&execution).await), &json!("finished\n"));
    world.assert_one_job();
    world.job("x", is_settled).await;
    assert_eq!(world.function.environments().len(), 1, "the process is used again");
}

#[tokio::test]
async fn the_result_of_a_job_that_ends_between_two_invocations_is_delivered() {
    let (world, gate) = (World::of_seconds(4).await, Gate::closed("between"));
    let job = keyed(&gate.job("x"));
    let (error, cause) = told(world.ask(&job).await);
    assert_eq!(error, "RunJob.StillRunning");
    assert_eq!(cause["job"], json!({"namespace": "default", "name": "x"}));
    assert!(cause["message"].as_str().unwrap().contains("MaxAttempts 1000"), "{cause}");
    gate.open().unwrap();
    world.came_to("x", "Complete").await;
    assert_eq!(log(&world.ask(&job).await.unwrap()), &json!("finished\n"));
    world.assert_one_job();
}

#[tokio::test]
async fn the_failure_of_a_job_between_two_invocations_is_delivered_and_not_replaced() {
    let (world, gate) = (World::of_seconds(4).await, Gate::closed("between-failed"));
    let job = keyed(&gate.job_that("x", "echo broken; exit 3"));
    assert_eq!(told(world.ask(&job).await).0, "RunJob.StillRunning");
    gate.open().unwrap();
    world.came_to("x", "Failed").await;
    let (error, cause) = told(world.ask(&job).await);
    assert_eq!(error, "Job.BackoffLimitExceeded");
    assert!(cause.to_string().contains("broken"), "{cause}");
    world.assert_one_job();
    // What was delivered is another attempt's to replace.
    assert_eq!(told(world.ask(&job).await).0, "Job.BackoffLimitExceeded");
    assert_eq!(world.created(), 2);
}

#[tokio::test]
async fn a_job_without_a_key_that_runs_too_long_is_deleted_with_advice() {
    let (world, gate) = (World::of_seconds(4).await, Gate::closed("no-key"));
    let (error, cause) = told(world.ask(&gate.job("x")).await);
    assert_eq!(error, "RunJob.IdempotencyKeyMissing");
    let message = cause["message"].as_str().unwrap();
    assert!(message.contains("it was deleted") && message.contains("give the request an IdempotencyKey"), "{message}");
    let kube = world.sandbox.kubernetes();
    kube.wait_for(|kube| kube.list("jobs", None).is_empty().then_some(())).await;
    world.assert_one_job();
}

#[tokio::test]
async fn a_job_without_a_key_is_not_taken_for_gone_because_it_cannot_be_read_at_first() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let (world, gate) = (World::of_seconds(4).await, Gate::closed("unread"));
        let body = json!({"kind": "Status", "code": status.as_u16(), "message": "not now"}).to_string();
        let trouble = Effect::Answer { status, retry_after: None, body };
        world.sandbox.kube.faults().plan("get jobs", trouble, 1);
        let (error, cause) = told(world.ask(&gate.job("x")).await);
        assert_eq!(error, "RunJob.IdempotencyKeyMissing");
        assert!(cause["message"].as_str().unwrap().contains("it was deleted"), "{status}: {cause}");
        let kube = world.sandbox.kubernetes();
        kube.wait_for(|kube| kube.list("jobs", None).is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_detached_job_without_a_key_is_left_and_settled() {
    let (world, gate) = (World::of_seconds(4).await, Gate::closed("detached"));
    let (error, cause) = told(world.ask(&gate.job("x").with("/OnTaskGone", "detach")).await);
    assert_eq!(error, "RunJob.IdempotencyKeyMissing");
    assert!(cause["message"].as_str().unwrap().contains("it runs on"), "{cause}");
    world.job("x", is_settled).await;
    gate.open().unwrap();
    world.came_to("x", "Complete").await;
    world.assert_one_job();
}

#[tokio::test]
async fn a_result_that_may_not_have_arrived_stays_for_the_next_attempt_whatever_the_ttl() {
    let world = World::new().await;
    let job = keyed(&a_job("x", "echo once")).with("/Job/spec/ttlSecondsAfterFinished", 0);
    assert_eq!(log(&world.ask(&job).await.unwrap()), &json!("once\n"));
    let settled = world.job("x", is_settled).await;
    let ttl = settled["spec"]["ttlSecondsAfterFinished"].as_u64().unwrap();
    assert!((120..200).contains(&ttl), "the grace for another attempt: {ttl}");
    assert_eq!(log(&world.ask(&job).await.unwrap()), &json!("once\n"));
    world.assert_one_job();
}

#[tokio::test]
async fn two_invocations_of_one_key_share_one_job() {
    let (world, gate) = (World::new().await, Gate::closed("shared"));
    let job = keyed(&gate.job("x"));
    let first = world.ask(&job);
    let second = async {
        world.runs("x").await;
        let second = world.ask(&job);
        let opened = async {
            let waiter = |job: &serde_json::Value| job["metadata"]["annotations"]["runjob/invocation"].clone();
            let before = waiter(&world.runs("x").await);
            world.job("x", |job| waiter(job) != before).await;
            gate.open().unwrap();
        };
        tokio::join!(second, opened).0
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(told(first).0, "RunJob.StillRunning", "the other waits for it now");
    assert_eq!(log(&second.unwrap()), &json!("finished\n"));
    world.assert_one_job();
    assert_eq!(world.function.environments().len(), 2);
}

#[tokio::test]
async fn a_job_that_does_not_get_going_fails_and_is_deleted_with_a_key_or_without() {
    let world =
        World::with(|bootstrap| bootstrap.timeout(Duration::from_mins(2)).env("RUNJOB_STUCK_GRACE", "1s")).await;
    let job = a_job("x", ":").with_main("image", "nosuch.invalid/image:1");
    for job in [keyed(&job), job] {
        let (error, cause) = told(timeout(Duration::from_secs(40), world.ask(&job)).await.unwrap());
        assert!(error.starts_with("Job."), "{error}: {cause}");
        let kube = world.sandbox.kubernetes();
        kube.wait_for(|kube| kube.list("jobs", None).is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_job_that_somebody_deletes_is_told_of() {
    let (world, gate) = (World::new().await, Gate::closed("deleted"));
    let job = keyed(&gate.job("x"));
    let deleted = async {
        world.runs("x").await;
        world.sandbox.kubernetes().delete("jobs", "default", "x", Propagation::Background).unwrap();
    };
    let (outcome, ()) = tokio::join!(world.ask(&job), deleted);
    assert_eq!(told(outcome).0, "Job.Deleted");
    world.assert_one_job();
}
