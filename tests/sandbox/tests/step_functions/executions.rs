//! Executions from their start to their end, and the history they leave.

use serde_json::json;
use tokio::time::Instant;

use crate::client::{ACTIVITY, Client, one_task, seconds};

#[tokio::test(start_paused = true)]
async fn an_execution_leaves_the_history_of_aws() {
    let client = Client::new();
    let mut feed = client.service().events();
    let execution =
        client.start(&one_task(json!({ "TimeoutSeconds": 60, "HeartbeatSeconds": 20 })), &json!({ "n": 1 }));
    let task = client.next_task().await;
    client.succeed(&task.token, "2").await.unwrap();
    client.finished(&execution).await;

    let answer = client.call("GetExecutionHistory", json!({ "executionArn": execution })).await.unwrap();
    let whole = json!({ "truncated": false });
    let mut expected = json!([
        { "id": 1, "previousEventId": 0, "type": "ExecutionStarted", "executionStartedEventDetails":
            { "input": "{\"n\":1}", "inputDetails": whole, "roleArn": "arn:aws:iam::123456789012:role/sandbox" } },
        { "id": 2, "previousEventId": 0, "type": "TaskStateEntered", "stateEnteredEventDetails":
            { "name": "Work", "input": "{\"n\":1}", "inputDetails": whole } },
        { "id": 3, "previousEventId": 2, "type": "ActivityScheduled", "activityScheduledEventDetails":
            { "resource": ACTIVITY, "input": "{\"n\":1}", "inputDetails": whole,
              "timeoutInSeconds": 60, "heartbeatInSeconds": 20 } },
        { "id": 4, "previousEventId": 3, "type": "ActivityStarted", "activityStartedEventDetails": { "workerName": "w-1" } },
        { "id": 5, "previousEventId": 4, "type": "ActivitySucceeded", "activitySucceededEventDetails":
            { "output": "2", "outputDetails": whole } },
        { "id": 6, "previousEventId": 5, "type": "TaskStateExited", "stateExitedEventDetails":
            { "name": "Work", "output": "2", "outputDetails": whole } },
        { "id": 7, "previousEventId": 6, "type": "ExecutionSucceeded", "executionSucceededEventDetails":
            { "output": "2", "outputDetails": whole } },
    ]);
    for event in expected.as_array_mut().unwrap() {
        event["timestamp"] = serde_json::from_str("1767225600.000").unwrap();
    }
    assert_eq!(answer, json!({ "events": expected }));

    let live: Vec<_> = std::iter::from_fn(|| feed.try_recv().ok()).map(|event| event.event.event.type_name()).collect();
    assert_eq!(live, client.event_types(&execution));
}

#[tokio::test(start_paused = true)]
async fn a_history_comes_in_pages_and_from_the_end() {
    let client = Client::new();
    let execution = client.start(&json!({ "StartAt": "S", "States": { "S": { "Type": "Succeed" } } }), &json!({}));
    client.finished(&execution).await;
    let mut request = json!({ "executionArn": execution, "maxResults": 3, "reverseOrder": true });
    let first = client.call("GetExecutionHistory", request.clone()).await.unwrap();
    request["nextToken"] = first["nextToken"].clone();
    let second = client.call("GetExecutionHistory", request.clone()).await.unwrap();
    let ids: Vec<_> =
        [&first, &second].iter().flat_map(|page| page["events"].as_array().unwrap()).map(|e| &e["id"]).collect();
    assert_eq!(ids, [4, 3, 2, 1]);
    assert_eq!(second.get("nextToken"), None);
    request["nextToken"] = json!("x");
    assert_eq!(client.refused("GetExecutionHistory", request).await, "InvalidToken");
}

#[tokio::test(start_paused = true)]
async fn an_execution_is_started_once_per_name() {
    let client = Client::new();
    let machine = client.service().create_state_machine("m", &one_task(json!({})).to_string()).unwrap();
    let request = json!({ "stateMachineArn": machine, "name": "e", "input": "{}" });
    let first = client.call("StartExecution", request.clone()).await.unwrap();
    assert_eq!(first["executionArn"], "arn:aws:states:us-east-1:123456789012:execution:m:e");
    assert_eq!(client.call("StartExecution", request.clone()).await.unwrap(), first);
    let other_input = json!({ "stateMachineArn": machine, "name": "e", "input": "1" });
    assert_eq!(client.refused("StartExecution", other_input).await, "ExecutionAlreadyExists");
    client.succeed(&client.next_task().await.token, "{}").await.unwrap();
    client.finished(first["executionArn"].as_str().unwrap()).await;
    assert_eq!(client.refused("StartExecution", request).await, "ExecutionAlreadyExists");
    let no_json = json!({ "stateMachineArn": machine, "input": "{" });
    assert_eq!(client.refused("StartExecution", no_json).await, "InvalidExecutionInput");
    assert_eq!(client.service().records().len(), 1, "it ran once");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_execution_closes_its_task() {
    let client = Client::new();
    let execution = client.start(&one_task(json!({})), &json!({}));
    let token = client.next_task().await.token;
    client.beat(&token).await.unwrap();
    let stop = json!({ "executionArn": execution, "error": "Changed.Mind", "cause": "why not" });
    let stopped = client.call("StopExecution", stop.clone()).await.unwrap();
    assert_eq!(client.beat(&token).await.unwrap_err().code, "TaskTimedOut");
    assert_eq!(client.succeed(&token, "{}").await.unwrap_err().code, "TaskTimedOut");
    assert_eq!(client.call("StopExecution", stop).await.unwrap(), stopped, "once is enough");

    let described = client.call("DescribeExecution", json!({ "executionArn": execution })).await.unwrap();
    assert_eq!(described["status"], "ABORTED");
    assert_eq!((&described["error"], &described["cause"]), (&json!("Changed.Mind"), &json!("why not")));
    assert_eq!(described.get("output"), None);
    let types = client.event_types(&execution);
    assert_eq!(
        types,
        ["ExecutionStarted", "TaskStateEntered", "ActivityScheduled", "ActivityStarted", "ExecutionAborted"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_stopped_execution_is_not_handed_out() {
    let client = Client::new();
    let execution = client.start(&one_task(json!({})), &json!({}));
    while client.service().records().is_empty() {
        tokio::task::yield_now().await;
    }
    client.service().stop_execution(&execution, None, None).unwrap();
    assert_eq!(client.call("GetActivityTask", json!({ "activityArn": ACTIVITY })).await.unwrap(), json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_machines_time_out_ends_even_tasks_that_nobody_took() {
    let client = Client::new();
    let mut definition = one_task(json!({ "TimeoutSeconds": 1 }));
    definition["TimeoutSeconds"] = json!(300);
    let before = Instant::now();
    let execution = client.run(&definition, &json!({})).await;
    assert_eq!(before.elapsed(), seconds(300));
    assert_eq!((execution.status.name(), execution.error, execution.cause), ("TIMED_OUT", None, None));
    let last = client.service().history(&execution.arn).pop().unwrap().event;
    assert_eq!(
        (last.type_name().as_str(), last.details()),
        ("ExecutionTimedOut", json!({ "error": "States.Timeout" }))
    );
}

#[tokio::test(start_paused = true)]
async fn wait_states_wait() {
    let definition = json!({ "StartAt": "A", "States": {
        "A": { "Type": "Wait", "Seconds": 3600, "Next": "B" },
        "B": { "Type": "Wait", "SecondsPath": "$.pause", "Next": "C" },
        "C": { "Type": "Succeed", "OutputPath": "$.pause" }
    }});
    let client = Client::new();
    let before = Instant::now();
    let execution = client.run(&definition, &json!({ "pause": 30 })).await;
    assert_eq!(before.elapsed(), seconds(3630));
    assert_eq!(execution.output.as_deref(), Some("30"));
    let types = client.event_types(&execution.arn);
    assert_eq!(types[1..3], ["WaitStateEntered", "WaitStateExited"]);
    assert_eq!(types[5..], ["SucceedStateEntered", "SucceedStateExited", "ExecutionSucceeded"]);
    assert_eq!((execution.stopped.unwrap() - execution.started).get_seconds(), 3630);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_no_number_ends_the_execution() {
    let definition =
        json!({ "StartAt": "A", "States": { "A": { "Type": "Wait", "SecondsPath": "$.pause", "End": true } } });
    let execution = Client::new().run(&definition, &json!({ "pause": "long" })).await;
    assert_eq!(execution.error.as_deref(), Some("States.Runtime"));
}

#[tokio::test(start_paused = true)]
async fn fail_states_fail() {
    let definition =
        json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": "My.Error", "Cause": "because" } } });
    let client = Client::new();
    let execution = client.run(&definition, &json!({})).await;
    assert_eq!(execution.status.name(), "FAILED");
    assert_eq!((execution.error.as_deref(), execution.cause.as_deref()), (Some("My.Error"), Some("because")));
    assert_eq!(client.event_types(&execution.arn), ["ExecutionStarted", "FailStateEntered", "ExecutionFailed"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_activity_does_not_exist_fails_when_it_gets_there() {
    let execution =
        Client::new().run(&one_task(json!({ "Resource": ACTIVITY.replace("jobs", "gone") })), &json!({})).await;
    assert_eq!(execution.error.as_deref(), Some("States.Runtime"));
    assert!(execution.cause.unwrap().ends_with(":activity:gone does not exist."));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_goes_in_circles_ends_with_its_history() {
    let definition = json!({ "StartAt": "A", "States": {
        "A": { "Type": "Pass", "Next": "B" },
        "B": { "Type": "Pass", "Next": "A" }
    }});
    let client = Client::new();
    let execution = client.run(&definition, &json!({})).await;
    assert_eq!(execution.error.as_deref(), Some("States.Runtime"));
    assert_eq!(client.service().history(&execution.arn).len(), 25_000);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_names_and_tokens() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let client = Client::new();
        let machine = client.service().create_state_machine("m", &one_task(json!({})).to_string()).unwrap();
        let execution = client.service().start_execution(&machine, None, "{}").unwrap();
        seen.push((execution, client.next_task().await.token));
    }
    assert_eq!(seen[0], seen[1]);
}
