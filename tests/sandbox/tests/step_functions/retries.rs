//! Retry and Catch.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, json_of, one_task, seconds};

fn caught_by(error: &str, mut fields: Value) -> Value {
    fields["Catch"] = json!([{ "ErrorEquals": [error], "ResultPath": "$.problem", "Next": "Caught" }]);
    let mut definition = one_task(fields);
    definition["States"]["Caught"] = json!({ "Type": "Pass", "End": true });
    definition
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_comes_again_after_growing_pauses() {
    let client = Client::new();
    let retry = json!([{ "ErrorEquals": ["Busy"], "IntervalSeconds": 10, "MaxAttempts": 4, "BackoffRate": 3, "MaxDelaySeconds": 80 }]);
    let parameters = json!({ "retry.$": "$$.State.RetryCount" });
    let execution = client.start(&one_task(json!({ "Retry": retry, "Parameters": parameters })), &json!({}));
    let mut tokens = Vec::new();
    for (retries, pause) in [0, 10, 30, 80, 80].into_iter().enumerate() {
        let before = Instant::now();
        let task = poll_until_found(&client).await;
        assert_eq!(before.elapsed(), seconds(pause));
        assert_eq!(json_of(&task.input), json!({ "retry": retries }));
        client.fail(&task.token, "Busy").await.unwrap();
        tokens.push(task.token);
    }
    let execution = client.finished(&execution).await;
    assert_eq!((execution.error.as_deref(), execution.cause.as_deref()), (Some("Busy"), Some("why")));
    tokens.dedup();
    assert_eq!(tokens.len(), 5, "every attempt has its own token");
    let types = client.event_types(&execution.arn);
    assert_eq!(types.iter().filter(|name| *name == "TaskStateEntered").count(), 1);
    assert_eq!(types.iter().filter(|name| *name == "ActivityFailed").count(), 5);
}

/// Polls are held for a minute, pauses between attempts can be longer.
async fn poll_until_found(client: &Client) -> crate::client::Delivered {
    loop {
        let answer = client.call("GetActivityTask", json!({ "activityArn": crate::client::ACTIVITY })).await.unwrap();
        if let (Some(token), Some(input)) = (answer["taskToken"].as_str(), answer["input"].as_str()) {
            return crate::client::Delivered { token: token.to_owned(), input: input.to_owned() };
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_has_its_defaults() {
    let client = Client::new();
    let execution = client.start(&one_task(json!({ "Retry": [{ "ErrorEquals": ["States.TaskFailed"] }] })), &json!({}));
    for pause in [0, 1, 2, 4] {
        let before = Instant::now();
        let task = client.next_task().await;
        assert_eq!(before.elapsed(), seconds(pause));
        client.fail(&task.token, "Any").await.unwrap();
    }
    assert_eq!(client.finished(&execution).await.error.as_deref(), Some("Any"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_succeeds_is_a_success() {
    let client = Client::new();
    let execution = client.start(&one_task(json!({ "Retry": [{ "ErrorEquals": ["States.ALL"] }] })), &json!({}));
    client.fail(&client.next_task().await.token, "Once").await.unwrap();
    client.succeed(&client.next_task().await.token, "1").await.unwrap();
    assert_eq!(client.finished(&execution).await.output.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_caught_error_goes_into_the_input() {
    let client = Client::new();
    let execution = client.start(&caught_by("Job.Failed", json!({})), &json!({ "kept": 1 }));
    client.fail(&client.next_task().await.token, "Job.Failed").await.unwrap();
    let execution = client.finished(&execution).await;
    assert_eq!(
        json_of(&execution.output.unwrap()),
        json!({ "kept": 1, "problem": { "Error": "Job.Failed", "Cause": "why" } })
    );
    let types = client.event_types(&execution.arn);
    assert_eq!(types[4..7], ["ActivityFailed", "TaskStateExited", "PassStateEntered"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_nothing_catches_ends_the_execution() {
    let client = Client::new();
    let execution = client.start(&caught_by("Other", json!({})), &json!({}));
    client.fail(&client.next_task().await.token, "Job.Failed").await.unwrap();
    assert_eq!(client.finished(&execution).await.error.as_deref(), Some("Job.Failed"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_fields_is_caught_as_null() {
    let client = Client::new();
    let execution = client.start(&caught_by("States.ALL", json!({})), &json!({}));
    let token = client.next_task().await.token;
    client.call("SendTaskFailure", json!({ "taskToken": token })).await.unwrap();
    let output = client.finished(&execution).await.output.unwrap();
    assert_eq!(json_of(&output)["problem"], json!({ "Error": null, "Cause": null }));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_task_fails_with_a_time_out_without_a_cause() {
    let client = Client::new();
    let execution = client.start(&one_task(json!({ "TimeoutSeconds": 30 })), &json!({}));
    let before = Instant::now();
    let token = client.next_task().await.token;
    let execution = client.finished(&execution).await;
    assert_eq!(before.elapsed(), seconds(30));
    assert_eq!((execution.error.as_deref(), execution.cause.as_deref()), (Some("States.Timeout"), None));
    assert_eq!(client.event_types(&execution.arn)[4..], ["ActivityTimedOut", "ExecutionFailed"]);
    assert_eq!(client.succeed(&token, "{}").await.unwrap_err().code, "TaskTimedOut");
}

#[tokio::test(start_paused = true)]
async fn a_missed_heartbeat_is_a_time_out_that_has_a_name_of_its_own_for_matching() {
    for (pattern, caught) in [
        ("States.HeartbeatTimeout", true),
        ("States.Timeout", true),
        ("States.ALL", true),
        ("States.TaskFailed", false),
    ] {
        let client = Client::new();
        let execution = client.start(&caught_by(pattern, json!({ "HeartbeatSeconds": 30 })), &json!({}));
        let before = Instant::now();
        let token = client.next_task().await.token;
        tokio::time::advance(seconds(20)).await;
        client.beat(&token).await.unwrap();
        let execution = client.finished(&execution).await;
        assert_eq!(before.elapsed(), seconds(50));
        if caught {
            let problem = json_of(&execution.output.unwrap())["problem"].clone();
            assert_eq!(problem, json!({ "Error": "States.Timeout", "Cause": "" }), "{pattern}");
        } else {
            assert_eq!(execution.error.as_deref(), Some("States.Timeout"), "{pattern}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_token_comes_back_as_a_new_one_through_the_states_own_retry() {
    let client = Client::new();
    let retry = json!([{ "ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1 }]);
    let execution = client.start(&one_task(json!({ "HeartbeatSeconds": 10, "Retry": retry })), &json!({}));
    let lost = client.next_task().await.token;
    let before = Instant::now();
    let found = client.next_task().await.token;
    assert_eq!(before.elapsed(), seconds(11));
    assert_ne!(lost, found);
    client.succeed(&found, "1").await.unwrap();
    assert_eq!(client.finished(&execution).await.output.as_deref(), Some("1"));
    assert_eq!(client.beat(&lost).await.unwrap_err().code, "TaskTimedOut");
}
