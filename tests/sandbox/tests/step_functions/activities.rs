//! Polls, tokens and answers.

use std::pin::pin;

use futures::poll;
use runjob_sandbox::{
    faults::Effect,
    sfn::{Clocks, Config, EmptyPoll, TaskOutcome},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{ACTIVITY, Client, clocks, seconds};

#[tokio::test(start_paused = true)]
async fn creating_an_activity_twice_gives_the_same_activity() {
    let client = Client::new();
    let first = client.call("CreateActivity", json!({ "name": "other" })).await.unwrap();
    let second = client.call("CreateActivity", json!({ "name": "other" })).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(first["activityArn"], "arn:aws:states:us-east-1:123456789012:activity:other");
    assert_eq!(first["creationDate"].to_string(), "1767225600.000");
    assert_eq!(client.refused("CreateActivity", json!({ "name": "a b" })).await, "InvalidName");
    let described = client.call("DescribeActivity", json!({ "activityArn": first["activityArn"] })).await.unwrap();
    assert_eq!(described["name"], "other");
}

#[tokio::test(start_paused = true)]
async fn a_held_poll_is_woken_at_once() {
    let client = Client::new();
    let mut held = pin!(client.next_task());
    assert!(poll!(&mut held).is_pending());
    assert_eq!(client.service().waiting_polls("jobs"), 1);
    let before = Instant::now();
    client.service().bare_task("jobs", r#"{"n":1}"#, Clocks::default());
    assert_eq!(held.await.input, r#"{"n":1}"#);
    assert_eq!(before.elapsed(), seconds(0));
    assert_eq!(client.service().waiting_polls(ACTIVITY), 0);
}

#[tokio::test(start_paused = true)]
async fn tasks_go_out_in_the_order_of_scheduling() {
    let client = Client::new();
    for input in ["1", "2"] {
        client.service().bare_task("jobs", input, Clocks::default());
    }
    assert_eq!([client.next_task().await.input, client.next_task().await.input], ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_poll_is_held_for_a_minute_and_says_so_in_the_chosen_way() {
    for (empty_poll, answer) in [
        (EmptyPoll::Absent, json!({})),
        (EmptyPoll::Null, json!({ "taskToken": null })),
        (EmptyPoll::EmptyString, json!({ "taskToken": "" })),
    ] {
        let client = Client::with(Config { empty_poll, ..Config::default() });
        let before = Instant::now();
        assert_eq!(client.call("GetActivityTask", json!({ "activityArn": ACTIVITY })).await.unwrap(), answer);
        assert_eq!(before.elapsed(), seconds(60));
    }
}

#[tokio::test(start_paused = true)]
async fn released_polls_are_answered_empty_at_once() {
    let client = Client::new();
    let before = Instant::now();
    let mut held = pin!(client.call("GetActivityTask", json!({ "activityArn": ACTIVITY })));
    assert!(poll!(&mut held).is_pending());
    client.service().release_polls();
    assert_eq!(held.await.unwrap(), json!({}));
    client.service().bare_task("jobs", "{}", Clocks::default());
    assert_eq!(client.call("GetActivityTask", json!({ "activityArn": ACTIVITY })).await.unwrap(), json!({}));
    assert_eq!(before.elapsed(), seconds(0));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_goes_away_before_a_task_is_there_takes_nothing_with_it() {
    let client = Client::new();
    {
        let mut gone = pin!(client.next_task());
        assert!(poll!(&mut gone).is_pending());
    }
    assert_eq!(client.service().waiting_polls("jobs"), 0);
    client.service().bare_task("jobs", "1", Clocks::default());
    assert_eq!(client.next_task().await.input, "1");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_goes_away_with_a_task_loses_it() {
    let client = Client::new();
    let task = {
        let mut gone = pin!(client.next_task());
        assert!(poll!(&mut gone).is_pending());
        client.service().bare_task("jobs", "1", clocks(Some(100), None))
    };
    let other = client.call("GetActivityTask", json!({ "activityArn": ACTIVITY })).await.unwrap();
    assert_eq!(other, json!({}), "it is not handed out again");
    assert!(matches!(task.finished().await, TaskOutcome::TimedOut(_)));
}

#[tokio::test(start_paused = true)]
async fn a_poll_whose_answer_is_cut_loses_the_task() {
    let client = Client::new();
    client.front.faults().plan("GetActivityTask", Effect::CutAfterApply, 1);
    let task = client.service().bare_task("jobs", "1", clocks(Some(100), None));
    let request = http::Request::post("/")
        .header("x-amz-target", "AWSStepFunctions.GetActivityTask")
        .body(json!({ "activityArn": ACTIVITY }).to_string().into())
        .unwrap();
    assert!(client.front.call(request).await.is_err());
    assert!(client.service().records()[0].delivered);
    assert!(matches!(task.finished().await, TaskOutcome::TimedOut(_)));
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_answered_twice_hands_out_one_task_twice() {
    let client = Client::new();
    client.front.faults().plan("GetActivityTask", Effect::AnswerTwice, 1);
    for input in ["1", "2"] {
        client.service().bare_task("jobs", input, Clocks::default());
    }
    let [first, again, next] = [client.next_task().await, client.next_task().await, client.next_task().await];
    assert_eq!([&*first.input, &*again.input, &*next.input], ["1", "1", "2"]);
    assert_eq!(first.token, again.token);
}

#[tokio::test(start_paused = true)]
async fn an_answer_closes_its_task() {
    let client = Client::new();
    let task = client.service().bare_task("jobs", "{}", Clocks::default());
    assert_eq!(task.outcome(), None);
    let token = client.next_task().await.token;
    client.succeed(&token, r#" {"a": 1.0} "#).await.unwrap();
    assert_eq!(task.finished().await, TaskOutcome::Succeeded(r#" {"a": 1.0} "#.to_owned()));

    let refusal = client.succeed(&token, r#"{"a":1.0}"#).await.unwrap_err();
    assert_eq!(refusal.code, "TaskTimedOut");
    assert_eq!(refusal.message, "Task Timed Out: 'Provided task does not exist anymore'");
    assert_eq!(client.beat(&token).await.unwrap_err().code, "TaskTimedOut");
    assert_eq!(client.service().invariant_violations(), Vec::<String>::new(), "the same answer again is no harm");

    assert_eq!(client.fail(&token, "Late").await.unwrap_err().code, "TaskTimedOut");
    assert_eq!(client.service().invariant_violations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_leave_out_everything() {
    let client = Client::new();
    let task = client.service().bare_task("jobs", "{}", Clocks::default());
    let token = client.next_task().await.token;
    client.call("SendTaskFailure", json!({ "taskToken": token })).await.unwrap();
    assert_eq!(task.finished().await, TaskOutcome::Failed { error: None, cause: None });
}

#[tokio::test(start_paused = true)]
async fn an_aborted_task_is_neither_handed_out_nor_answered() {
    let client = Client::new();
    let waiting = client.service().bare_task("jobs", "1", Clocks::default());
    waiting.abort();
    let started = client.service().bare_task("jobs", "2", Clocks::default());
    let delivered = client.next_task().await;
    assert_eq!(delivered.input, "2");
    started.abort();
    assert_eq!(client.beat(&delivered.token).await.unwrap_err().code, "TaskTimedOut");
    assert_eq!([waiting.finished().await, started.finished().await], [TaskOutcome::Aborted, TaskOutcome::Aborted]);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_another_service_are_invalid() {
    let client = Client::new();
    let other = Client::with(Config { seed: 1, ..Config::default() });
    for client in [&client, &other] {
        client.service().bare_task("jobs", "{}", Clocks::default());
    }
    let foreign = other.next_task().await.token;
    for token in [foreign.as_str(), "nonsense"] {
        assert_eq!(client.succeed(token, "{}").await.unwrap_err().code, "InvalidToken");
        assert_eq!(client.fail(token, "E").await.unwrap_err().code, "InvalidToken");
        assert_eq!(client.beat(token).await.unwrap_err().code, "InvalidToken");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_checked_before_the_output_and_the_output_before_the_task() {
    let client = Client::new();
    client.service().bare_task("jobs", "{}", Clocks::default());
    let token = client.next_task().await.token;
    assert_eq!(client.succeed("nonsense", "no json").await.unwrap_err().code, "InvalidToken");
    assert_eq!(client.succeed(&token, "no json").await.unwrap_err().code, "InvalidOutput");
    client.succeed(&token, "1").await.unwrap();
    assert_eq!(client.succeed(&token, "no json").await.unwrap_err().code, "InvalidOutput");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_or_too_large_is_a_validation_error() {
    let client = Client::new();
    client.service().bare_task("jobs", "{}", Clocks::default());
    let token = client.next_task().await.token;
    let text = |length: usize| "x".repeat(length);
    for (operation, body) in [
        ("SendTaskSuccess", json!({ "taskToken": token })),
        ("SendTaskSuccess", json!({ "output": "{}" })),
        ("SendTaskSuccess", json!({ "taskToken": token, "output": format!("\"{}\"", text(262_143)) })),
        ("SendTaskSuccess", json!({ "taskToken": token, "output": format!("\"{}\"", "é".repeat(131_072)) })),
        ("SendTaskSuccess", json!({ "taskToken": text(2049), "output": "{}" })),
        ("SendTaskFailure", json!({ "taskToken": token, "error": text(257) })),
        ("SendTaskFailure", json!({ "taskToken": token, "cause": text(32_769) })),
        ("SendTaskHeartbeat", json!({})),
        ("SendTaskHeartbeat", json!({ "taskToken": "" })),
        ("GetActivityTask", json!({})),
        ("GetActivityTask", json!({ "activityArn": ACTIVITY, "workerName": text(81) })),
        ("GetActivityTask", json!({ "activityArn": ACTIVITY, "workerName": "" })),
        ("CreateActivity", json!({ "name": text(81) })),
        ("StartExecution", json!({ "stateMachineArn": "arn:x", "input": text(262_145) })),
    ] {
        assert_eq!(client.refused(operation, body).await, "ValidationException", "{operation}");
    }
    let refusal = client.call("SendTaskSuccess", json!({ "taskToken": token })).await.unwrap_err();
    let constraint = "failed to satisfy constraint: Member must not be null";
    assert_eq!(refusal.message, format!("1 validation error detected: Value at 'output' {constraint}"));
}

#[tokio::test(start_paused = true)]
async fn the_largest_answers_are_taken() {
    let client = Client::new();
    for body in [
        json!({ "output": format!("\"{}\"", "x".repeat(262_142)) }),
        json!({ "error": "é".repeat(256), "cause": "é".repeat(32_768) }),
    ] {
        client.service().bare_task("jobs", "{}", Clocks::default());
        let mut body = body;
        body["taskToken"] = Value::String(client.next_task().await.token);
        let operation = if body.get("output").is_some() { "SendTaskSuccess" } else { "SendTaskFailure" };
        client.call(operation, body).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_refused_by_name() {
    let client = Client::new();
    let unknown = |kind: &str| format!("arn:aws:states:us-east-1:123456789012:{kind}:none");
    for (operation, body, code) in [
        ("GetActivityTask", json!({ "activityArn": unknown("activity") }), "ActivityDoesNotExist"),
        ("GetActivityTask", json!({ "activityArn": "jobs" }), "InvalidArn"),
        ("StartExecution", json!({ "stateMachineArn": unknown("stateMachine") }), "StateMachineDoesNotExist"),
        ("DescribeExecution", json!({ "executionArn": unknown("execution") }), "ExecutionDoesNotExist"),
        ("StopExecution", json!({ "executionArn": unknown("execution") }), "ExecutionDoesNotExist"),
        ("GetExecutionHistory", json!({ "executionArn": unknown("execution") }), "ExecutionDoesNotExist"),
        ("ListActivities", json!({}), "UnknownOperationException"),
    ] {
        assert_eq!(client.refused(operation, body).await, code, "{operation}");
    }
    let (status, answer) = client.raw("GetActivityTask", "no json".to_owned()).await;
    assert_eq!((status, answer["__type"].as_str()), (400, Some("com.amazon.coral.service#SerializationException")));
}

#[tokio::test(start_paused = true)]
async fn an_activity_holds_a_thousand_polls_and_no_more() {
    let client = Client::new();
    let mut held = Vec::new();
    for _ in 0..1000 {
        let mut one = Box::pin(client.next_task());
        assert!(poll!(&mut one).is_pending());
        held.push(one);
    }
    let code = client.refused("GetActivityTask", json!({ "activityArn": ACTIVITY })).await;
    assert_eq!(code, "ActivityWorkerLimitExceeded");
}
