//! Attempts that share a key, when answers are lost or come late.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{
    faults::Effect,
    kube::Propagation,
    record::Recorded,
    sfn::{BareTask, TaskOutcome},
};
use runjob_scenarios::{
    jobs::{Gate, JobRequest, a_job},
    world::{Told, World, told},
};
use serde_json::{Value, json};

/// So seldom that the tracker learns of nothing by itself: what is found out, intake has asked for.
const SELDOM: [&str; 2] = ["--heartbeat-interval", "1h"];

fn keyed(job: &JobRequest) -> String {
    job.clone().with("/IdempotencyKey", "a key that is not kept").input()
}

/// A task whose Job `x` runs until the gate is open.
async fn running(world: &World, gate: &Gate) -> BareTask {
    let task = world.task(&keyed(&gate.job("x")));
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    task
}

/// Waits until the Job `x` is another task's than that one's.
async fn taken_over(world: &World, before: &Value) {
    let token = |job: &Value| job["metadata"]["annotations"]["runjob/task-token"].clone();
    world.job("x", |job| token(job).is_string() && token(job) != token(before)).await.unwrap();
}

/// A task that has taken over the running Job `x` of one that has ended, and has not heard of it: the answer is lost, and the watch
/// says nothing.
async fn taken_over_unknowingly(world: &World, gate: &Gate) -> BareTask {
    running(world, gate).await.abort();
    let before = job(world);
    world.sandbox.kubernetes().mute_watches(true);
    world.sandbox.kube.faults().plan("patch jobs", Effect::CutAfterApply, 1);
    let second = world.task(&keyed(&gate.job("x")));
    taken_over(world, &before).await;
    second
}

fn job(world: &World) -> Value {
    world.sandbox.kubernetes().get("jobs", "default", "x").unwrap()
}

fn assert_ran(told: Told, word: &str) {
    let result = told.output().unwrap();
    assert!(result["logs"].to_string().contains(word), "{result}");
}

fn assert_conflict(told: Told, because: &str) {
    let (error, cause) = told.failure().unwrap();
    assert_eq!(error, "RunJob.IdempotencyConflict", "{cause}");
    assert_eq!(cause["job"], json!({"namespace": "default", "name": "x"}));
    assert!(cause["message"].as_str().unwrap().contains(because), "{cause}");
}

/// That many Jobs were made, and none is there beside the last.
fn assert_created(world: &World, times: usize) {
    let creates = world.sandbox.kube.recorder().of("create jobs");
    let made = |create: &&Recorded| create.status == Some(StatusCode::CREATED);
    assert_eq!(creates.iter().filter(made).count(), times);
    assert_eq!(world.sandbox.kubernetes().list("jobs", None).len(), 1);
    assert_eq!(world.violations(), [""; 0]);
}

/// Waits until so many requests of that kind have arrived, answered or not.
async fn asked(world: &World, kind: &str, least: usize) {
    let arrived =
        |requests: &[Recorded]| (requests.iter().filter(|request| request.kind == kind).count() >= least).then_some(());
    let (sfn, kube) = (world.sandbox.sfn.recorder(), world.sandbox.kube.recorder());
    let either = async {
        tokio::select! {
            () = sfn.wait_for(arrived) => {}
            () = kube.wait_for(arrived) => {}
        }
    };
    tokio::time::timeout(Duration::from_mins(1), either).await.unwrap();
}

const HOLD: &str = "example.com/hold";

/// Changes the finalizers of the one pod.
fn hold_pod(world: &World, change: fn(&mut Vec<Value>)) {
    let pod = world.sandbox.kubernetes().list("pods", None).pop().unwrap();
    let edit = |pod: &mut Value| change(pod["metadata"]["finalizers"].as_array_mut().unwrap());
    world.sandbox.kubernetes().edit("pods", "default", pod["metadata"]["name"].as_str().unwrap(), edit).unwrap();
}

#[tokio::test]
async fn a_create_with_a_key_whose_answer_is_lost_makes_one_job() {
    let world = World::new().await.unwrap();
    world.polls_held(1).await.unwrap();
    // Only a look at the Job can tell whose it is.
    world.sandbox.kubernetes().mute_watches(true);
    world.sandbox.kube.faults().plan("create jobs", Effect::CutAfterApply, 1);
    let task = world.task(&keyed(&a_job("x", "echo once")));
    world.answered("get jobs").await.unwrap();
    world.sandbox.kubernetes().mute_watches(false);
    assert_ran(told(&task).await.unwrap(), "once");
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1);
    assert_eq!(world.sandbox.kubernetes().list("jobs", None).len(), 1);
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_take_over_whose_answer_is_lost_is_the_tasks_own() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("lost-take-over");
    let second = taken_over_unknowingly(&world, &gate).await;
    // One look to see whose Job it is, another to see that it is the task's own.
    asked(&world, "get jobs", 2).await;
    world.sandbox.kubernetes().mute_watches(false);
    gate.open().unwrap();
    assert_ran(told(&second).await.unwrap(), "finished");
    world.settled("x").await.unwrap();
    // One to take it over, one to settle it.
    assert_eq!(world.sandbox.kube.recorder().of("patch jobs").len(), 2);
    assert_created(&world, 1);
}

#[tokio::test]
async fn a_job_that_was_taken_over_stays_whatever_else_has_changed_its_stamp() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("changed-take-over");
    let second = taken_over_unknowingly(&world, &gate).await;
    // As a mutating policy would have.
    let change =
        |job: &mut Value| job["metadata"]["annotations"]["runjob/options"] = json!(r#"{"onTaskGone":"detach"}"#);
    world.sandbox.kubernetes().edit("jobs", "default", "x", change).unwrap();
    let (error, cause) = told(&second).await.unwrap().failure().unwrap();
    assert_eq!(error, "RunJob.StampRejected", "{cause}");
    assert!(cause["message"].as_str().unwrap().contains("the Job is left as it is"), "{cause}");
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 0);
    assert_eq!(world.sandbox.kubernetes().running_processes(), 1);
}

#[tokio::test]
async fn a_take_over_that_fails_is_tried_again() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("failed-take-over");
    running(&world, &gate).await.abort();
    let overload = Effect::Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, body: "{}".into() };
    world.sandbox.kube.faults().plan("patch jobs", overload, 1);
    world.sandbox.kube.faults().plan("patch jobs", Effect::Refuse, 1);
    let before = job(&world);
    let second = world.task(&keyed(&gate.job("x")));
    taken_over(&world, &before).await;
    gate.open().unwrap();
    assert_ran(told(&second).await.unwrap(), "finished");
    assert_created(&world, 1);
}

#[tokio::test]
async fn a_take_over_that_is_refused_says_so_and_leaves_the_job() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("refused-take-over");
    running(&world, &gate).await.abort();
    let body = json!({"kind": "Status", "reason": "Forbidden", "message": "not you"}).to_string();
    let forbidden = Effect::Answer { status: StatusCode::FORBIDDEN, retry_after: None, body };
    world.sandbox.kube.faults().plan("patch jobs", forbidden, 1);
    assert_conflict(world.ask(&keyed(&gate.job("x"))).await.unwrap(), "not you");
    assert_eq!(world.sandbox.kubernetes().running_processes(), 1);
    assert_created(&world, 1);
}

/// Two tasks of one key come at the same moment: one gets the gated Job and its result, the other is told so.
async fn assert_one_of_two_gets_the_job(world: &World, gate: &Gate) {
    let tasks = [world.task(&keyed(&gate.job("x"))), world.task(&keyed(&gate.job("x")))];
    let first = tokio::select! {
        _ = tasks[0].finished() => 0,
        _ = tasks[1].finished() => 1,
    };
    assert_conflict(told(&tasks[first]).await.unwrap(), "a task that still waits for it");
    gate.open().unwrap();
    assert_ran(told(&tasks[1 - first]).await.unwrap(), "finished");
    assert_created(world, 1);
}

#[tokio::test]
async fn two_tasks_of_one_key_at_the_same_moment_make_one_job() {
    let world = World::new().await.unwrap();
    world.polls_held(2).await.unwrap();
    let gate = Gate::closed("two-at-once");
    assert_one_of_two_gets_the_job(&world, &gate).await;
}

#[tokio::test]
async fn of_two_tasks_that_take_a_job_over_at_the_same_moment_one_gets_it() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("two-take-over");
    running(&world, &gate).await.abort();
    world.polls_held(2).await.unwrap();
    // Both have decided before either has acted.
    world.sandbox.kube.faults().plan("patch jobs", Effect::Delay(Duration::from_secs(1)), 2);
    assert_one_of_two_gets_the_job(&world, &gate).await;
}

#[tokio::test]
async fn a_deletion_that_comes_after_the_take_over_deletes_nothing() {
    let world = World::new_with(&["--heartbeat-interval", "200ms", "--reattach-grace", "100ms"]).await.unwrap();
    let gate = Gate::closed("late-deletion");
    let first = running(&world, &gate).await;
    let before = job(&world);
    world.sandbox.kube.faults().plan("delete jobs", Effect::Delay(Duration::from_secs(3)), 1);
    first.abort();
    asked(&world, "delete jobs", 1).await;
    let second = world.task(&keyed(&gate.job("x")));
    taken_over(&world, &before).await;
    world.request("delete jobs", |delete| delete.status == Some(StatusCode::CONFLICT)).await.unwrap();
    gate.open().unwrap();
    assert_ran(told(&second).await.unwrap(), "finished");
    assert_created(&world, 1);
}

#[tokio::test]
async fn a_deletion_that_comes_before_the_take_over_is_awaited() {
    let world = World::new_with(&["--heartbeat-interval", "200ms", "--reattach-grace", "100ms"]).await.unwrap();
    let gate = Gate::closed("early-deletion");
    let first = running(&world, &gate).await;
    let before = job(&world);
    // Until the test lets go of it, the pod does not go, and neither does the Job.
    hold_pod(&world, |finalizers| finalizers.push(json!(HOLD)));
    // The Job is looked at before it is deleted, and is to be taken over afterwards.
    world.sandbox.kube.faults().plan("delete jobs", Effect::Delay(Duration::from_secs(1)), 1);
    world.sandbox.kube.faults().plan("patch jobs", Effect::Delay(Duration::from_secs(2)), 1);
    first.abort();
    asked(&world, "delete jobs", 1).await;
    let second = world.task(&keyed(&gate.job("x")));
    world.request("patch jobs", |patch| patch.status == Some(StatusCode::UNPROCESSABLE_ENTITY)).await.unwrap();
    assert!(job(&world)["metadata"]["deletionTimestamp"].is_string());
    gate.open().unwrap();
    hold_pod(&world, |finalizers| finalizers.retain(|one| one != HOLD));
    assert_ran(told(&second).await.unwrap(), "finished");
    assert_ne!(job(&world)["metadata"]["uid"], before["metadata"]["uid"]);
    assert_created(&world, 2);
}

#[tokio::test]
async fn what_was_done_for_the_earlier_task_is_not_taken_for_the_later_ones() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("late-reply");
    let first = running(&world, &gate).await;
    // The answer to the first task is on its way when the Job becomes the second's, and fails while that has its logs read.
    world.sandbox.sfn.faults().plan("SendTaskSuccess", Effect::Delay(Duration::from_secs(2)), 1);
    gate.open().unwrap();
    asked(&world, "SendTaskSuccess", 1).await;
    first.abort();
    world.sandbox.kube.faults().plan("list pods", Effect::Delay(Duration::from_secs(4)), 1);
    let second = world.task(&keyed(&gate.job("x")));
    asked(&world, "list pods", 2).await;
    world.request("SendTaskSuccess", |reply| reply.status == Some(StatusCode::BAD_REQUEST)).await.unwrap();
    assert_ran(told(&second).await.unwrap(), "finished");
    world.settled("x").await.unwrap();
    assert_eq!(first.outcome(), Some(TaskOutcome::Aborted));
    assert_created(&world, 1);
}

#[tokio::test]
async fn a_task_that_waits_for_a_complete_job_gets_its_answer_first() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("answer-first");
    let first = running(&world, &gate).await;
    world.sandbox.sfn.faults().plan("SendTaskSuccess", Effect::Delay(Duration::from_secs(2)), 1);
    gate.open().unwrap();
    asked(&world, "SendTaskSuccess", 1).await;
    let second = world.task(&keyed(&gate.job("x")));
    assert_ran(told(&first).await.unwrap(), "finished");
    assert_ran(told(&second).await.unwrap(), "finished");
    assert_created(&world, 1);
}

#[tokio::test]
async fn a_token_that_was_never_accepted_keeps_its_job() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("never-accepted");
    let first = running(&world, &gate).await;
    let body = r#"{"__type": "InvalidToken", "message": "not now"}"#.to_owned();
    let invalid = Effect::Answer { status: StatusCode::BAD_REQUEST, retry_after: None, body };
    world.sandbox.sfn.faults().plan("SendTaskHeartbeat", invalid, 1);
    assert_conflict(world.ask(&keyed(&gate.job("x"))).await.unwrap(), "calls its token invalid");
    gate.open().unwrap();
    assert_ran(told(&first).await.unwrap(), "finished");
    assert_created(&world, 1);
}

#[tokio::test]
async fn logs_that_are_gone_when_a_result_is_delivered_again_are_said_to_be_missing() {
    let world = World::new().await.unwrap();
    let request = keyed(&a_job("x", "echo once"));
    assert_ran(world.ask(&request).await.unwrap(), "once");
    world.settled("x").await.unwrap();
    for pod in world.sandbox.kubernetes().list("pods", None) {
        let name = pod["metadata"]["name"].as_str().unwrap();
        world.sandbox.kubernetes().delete("pods", "default", name, Propagation::Background).unwrap();
    }
    let again = world.ask(&request).await.unwrap().output().unwrap();
    assert_eq!((&again["status"]["succeeded"], &again["logs"]["missing"]), (&json!(1), &json!(1)), "{again}");
    assert_created(&world, 1);
}

#[tokio::test]
async fn the_ttl_of_a_job_is_held_back_again_while_its_result_is_delivered_again() {
    let world = World::new().await.unwrap();
    let request = keyed(&a_job("x", "true").with("/Job/spec/ttlSecondsAfterFinished", 600));
    world.ask(&request).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    world.sandbox.sfn.faults().plan("SendTaskSuccess", Effect::Delay(Duration::from_secs(1)), 1);
    let second = world.task(&request);
    world.job("x", |job| job["spec"]["ttlSecondsAfterFinished"] == json!(604_800)).await.unwrap();
    let result = told(&second).await.unwrap().output().unwrap();
    assert_eq!(result["spec"]["ttlSecondsAfterFinished"], json!(600));
    let settled = world.settled("x").await.unwrap();
    assert_eq!(settled["spec"]["ttlSecondsAfterFinished"], json!(600));
    assert_created(&world, 1);
}

#[tokio::test]
async fn a_job_that_completes_while_nobody_waits_is_kept_for_the_next_attempt() {
    let world = World::new_with(&["--heartbeat-interval", "200ms"]).await.unwrap();
    let gate = Gate::closed("completes-in-between");
    // Settled, it would go at once, and the next attempt would run it again.
    let request = keyed(&gate.job("x").with("/Job/spec/ttlSecondsAfterFinished", 0));
    let first = world.task(&request);
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    first.abort();
    let refused = |beat: &Recorded| beat.status == Some(StatusCode::BAD_REQUEST);
    world.request("SendTaskHeartbeat", refused).await.unwrap();
    gate.open().unwrap();
    world.job("x", |job| job["status"]["succeeded"] == json!(1)).await.unwrap();
    assert_ran(world.ask(&request).await.unwrap(), "finished");
    world.empty_cluster().await.unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 2);
    let creates = world.sandbox.kube.recorder().of("create jobs");
    assert_eq!(creates.iter().filter(|create| create.status == Some(StatusCode::CREATED)).count(), 1);
}

#[tokio::test]
async fn of_the_key_only_a_hash_is_on_the_job() {
    let world = World::new().await.unwrap();
    let gate = Gate::closed("hash");
    let _task = running(&world, &gate).await;
    assert!(!job(&world).to_string().contains("a key that is not kept"));
}
