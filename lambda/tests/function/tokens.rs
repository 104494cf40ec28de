//! A Job that is handed over with the token of its task.

use std::time::Duration;

use runjob_sandbox::{
    faults::Effect,
    sfn::{Clocks, TaskOutcome},
};
use runjob_scenarios::jobs::{Gate, JobRequest, a_job};
use serde_json::{Value, json};

use crate::world::{World, is_settled, told};

/// The fields of a state that hands a request over with its token.
fn handing_over(request: &Value) -> Value {
    let mut request = request.clone();
    request["TaskToken.$"] = json!("$$.Task.Token");
    json!({
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "HeartbeatSeconds": 60,
        "Parameters": {"FunctionName": "runjob", "Payload": request},
    })
}

fn token(job: &Value) -> String {
    job["metadata"]["annotations"]["runjob/task-token"].as_str().unwrap_or_default().to_owned()
}

async fn handed_over(world: &World, job: &JobRequest) -> (String, Value) {
    let execution = world.start(&handing_over(&job.parameters()));
    let stamped = world.job("x", |job| !token(job).is_empty()).await;
    (execution, stamped)
}

#[tokio::test]
async fn a_worker_of_the_group_answers_for_a_job_that_was_handed_over() {
    let (world, gate) = (World::new().await, Gate::closed("handed-over"));
    let (execution, stamped) = handed_over(&world, &gate.job("x")).await;
    assert_eq!(stamped["metadata"]["annotations"]["runjob/form"], json!("task"));
    assert_eq!(stamped["metadata"]["annotations"]["runjob/source"], json!(world.function.arn()));
    let lambda = world.sandbox.step_functions().lambda();
    let answer = lambda.wait_for_calls(|calls| calls.first()?.outcome.clone()).await;
    assert_eq!(answer.unwrap(), json!({"Job": {"namespace": "default", "name": "x"}}), "it does not wait");
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    gate.open().unwrap();
    let result = world.output(&execution).await;
    assert_eq!(result["status"]["succeeded"], json!(1));
    assert!(result["logs"].to_string().contains("finished"));
    world.job("x", is_settled).await;
    assert!(!world.function.logs().contains(&token(&stamped)));
    world.assert_one_job();
}

#[tokio::test]
async fn the_failure_of_a_job_that_was_handed_over_is_told_natively() {
    let world = World::new().await;
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    let execution = world.start(&handing_over(&a_job("x", "exit 3").parameters()));
    let ended = world.ended(&execution).await;
    assert_eq!(ended.error.as_deref(), Some("Job.BackoffLimitExceeded"));
    let cause: Value = serde_json::from_str(&ended.cause.unwrap()).unwrap();
    assert_eq!(cause["diagnosis"]["code"], json!("Job.BackoffLimitExceeded"));
}

#[tokio::test]
async fn what_can_be_answered_at_once_is_answered_by_the_token() {
    let world = World::new().await;
    let call = json!({"Method": "GET", "Path": "/api/v1/namespaces/default"});
    let output = world.output(&world.start(&handing_over(&call))).await;
    assert_eq!(output["StatusCode"], json!(200));
    for (request, name) in [
        (json!({"Method": "GET", "Path": "/api/v1/namespaces/none"}), "EKS.404"),
        (json!({"job": {}}), "RunJob.InvalidParameters"),
    ] {
        let ended = world.ended(&world.start(&handing_over(&request))).await;
        assert_eq!(ended.error.as_deref(), Some(name));
        let cause: Value = serde_json::from_str(&ended.cause.unwrap()).unwrap();
        assert!(cause.get("errorType").is_none(), "it is the cause itself: {cause}");
    }
    let lambda = world.sandbox.step_functions().lambda();
    let answers = lambda.wait_for_calls(|calls| {
        calls.iter().map(|call| call.outcome.clone()).collect::<Option<Vec<_>>>().filter(|all| all.len() == 3)
    });
    for answer in answers.await {
        assert_eq!(answer.unwrap(), json!({"Answered": true}));
    }
    world.assert_lawful();
}

#[tokio::test]
async fn a_start_with_a_token_is_answered_by_a_worker_too() {
    let (world, gate) = (World::new().await, Gate::closed("handed-start"));
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    let execution = world.start(&handing_over(&gate.job("x").with("/Action", "runJob").parameters()));
    let job = world.output(&execution).await;
    assert_eq!(job["metadata"]["name"], json!("x"));
    world.job("x", is_settled).await;
    world.assert_one_job();
}

#[tokio::test]
async fn a_token_beside_a_bad_request_is_not_shown() {
    let world = World::new().await;
    let (error, cause) = told(world.invoke(&json!({"TaskToken": ["not to be seen"]})).await);
    assert_eq!(error, "RunJob.InvalidParameters");
    let seen = format!("{cause}{}", world.function.logs());
    assert!(!seen.contains("not to be seen"), "{seen}");
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_hands_over_leaves_one_job_to_the_next_attempt() {
    for key in [Some("a key"), None] {
        let (world, gate) = (World::new().await, Gate::closed(if key.is_some() { "key-handed" } else { "handed" }));
        let _worker = world.sandbox.worker(&[]).await.unwrap();
        let mut job = gate.job("x");
        if let Some(key) = key {
            job = job.with("/IdempotencyKey", key);
        }
        // Before it returns it tells of the warning, which takes its time.
        world.sandbox.kube.faults().plan("create jobs", Effect::Warn("299 - \"hear, hear\""), 1);
        world.sandbox.kube.faults().plan("create events", Effect::Delay(Duration::from_hours(1)), 1);
        let mut state = handing_over(&job.parameters());
        state["Retry"] = json!([{"ErrorEquals": ["Runtime.ExitError"], "IntervalSeconds": 1, "MaxAttempts": 3}]);
        let execution = world.start(&state);
        let first = world.runs("x").await;
        world.function.kill(0);
        world.job("x", |job| job["status"]["ready"] == json!(1) && token(job) != token(&first)).await;
        gate.open().unwrap();
        assert_eq!(world.output(&execution).await["status"]["succeeded"], json!(1));
        assert_eq!(world.sandbox.kubernetes().list("jobs", None).len(), 1);
        // Without a key the first makes room for the second.
        assert_eq!(world.created(), if key.is_some() { 1 } else { 2 });
        world.assert_lawful();
    }
}

#[tokio::test]
async fn a_token_in_the_input_of_an_activity_is_refused_and_not_shown() {
    let world = World::new().await;
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    let input = a_job("x", ":").with("/TaskToken", "not to be seen").input();
    let task = world.sandbox.step_functions().bare_task(world.sandbox.activity(), &input, Clocks::default());
    let TaskOutcome::Failed { error, cause } = task.finished().await else { panic!("it did not fail") };
    assert_eq!(error.as_deref(), Some("RunJob.InvalidParameters"));
    assert!(!cause.unwrap().contains("not to be seen"));
    assert_eq!(world.created(), 0);
}
