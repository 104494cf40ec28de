//! What `CreateStateMachine` refuses.

use runjob_sandbox::sfn::{Config, ServiceError, StepFunctions};
use serde_json::{Value, json};

use crate::client::{ACTIVITY, Client, one_state, one_task};

fn with_state(state: Value) -> Value {
    one_state("S", state)
}

#[tokio::test(start_paused = true)]
async fn definitions_that_the_sandbox_cannot_run_are_refused_with_the_state_and_a_reason() {
    let end = |mut fields: Value| {
        fields["End"] = json!(true);
        with_state(fields)
    };
    for (definition, expected) in [
        (json!([]), "[] is no object"),
        (json!({}), "StartAt is missing"),
        (json!({ "StartAt": "S" }), "States is missing or empty"),
        (json!({ "StartAt": "X", "States": { "S": { "Type": "Succeed" } } }), "there is no state \"X\""),
        (json!({ "StartAt": "S", "States": { "S": { "Type": "Succeed" } }, "Statez": 1 }), "\"Statez\" is unknown"),
        (json!({ "StartAt": "S", "States": { "S": 1 } }), "state \"S\": 1 is no object"),
        (
            json!({ "StartAt": "S", "States": { "S": { "Type": "Succeed" }, "T": { "Type": "Succeed" } } }),
            "state \"T\": no state leads to it",
        ),
        (
            json!({ "QueryLanguage": "JSONata", "StartAt": "S", "States": { "S": { "Type": "Succeed" } } }),
            "QueryLanguage \"JSONata\" is not supported here",
        ),
        (with_state(json!({})), "state \"S\": Type is missing"),
        (with_state(json!({ "Type": "Choice", "Choices": [] })), "states of type \"Choice\" are not supported here"),
        (end(json!({ "Type": "Map", "Iterator": {} })), "run this machine on LocalStack"),
        (end(json!({ "Type": "Parallel", "Branches": [] })), "states of type \"Parallel\""),
        (with_state(json!({ "Type": "Succeed", "QueryLanguage": "JSONata" })), "QueryLanguage \"JSONata\""),
        (with_state(json!({ "Type": "Pass" })), "neither Next nor \"End\": true"),
        (with_state(json!({ "Type": "Pass", "End": false })), "neither Next nor \"End\": true"),
        (with_state(json!({ "Type": "Pass", "Next": "S", "End": true })), "both Next and"),
        (with_state(json!({ "Type": "Pass", "Next": "T" })), "Next: there is no state \"T\""),
        (end(json!({ "Type": "Pass", "Rezult": 1 })), "\"Rezult\" is unknown"),
        (end(json!({ "Type": "Pass", "Parameters": [] })), "Parameters: [] is no object"),
        (end(json!({ "Type": "Pass", "Parameters": { "a.$": "b" } })), "Parameters: \"b\" is neither a JSONPath"),
        (end(json!({ "Type": "Pass", "Parameters": { "a.$": "States.UUID()" } })), "States.Format only"),
        (end(json!({ "Type": "Pass", "Parameters": { "a.$": "$$.Task.Token" } })), ".waitForTaskToken"),
        (end(json!({ "Type": "Pass", "InputPath": "a" })), "InputPath: \"a\" is no JSONPath"),
        (end(json!({ "Type": "Pass", "OutputPath": 1 })), "OutputPath: 1 is neither a path nor null"),
        (end(json!({ "Type": "Pass", "ResultPath": "$..a" })), "ResultPath: \"$..a\" is no reference path"),
        (end(json!({ "Type": "Pass", "Assign": {} })), "\"Assign\" is unknown or not supported here"),
        (with_state(json!({ "Type": "Succeed", "End": true })), "\"End\" is unknown"),
        (with_state(json!({ "Type": "Fail", "ErrorPath": "$.e" })), "\"ErrorPath\" is unknown or not supported here"),
        (with_state(json!({ "Type": "Fail", "InputPath": "$" })), "\"InputPath\" is unknown"),
        (end(json!({ "Type": "Wait" })), "exactly one of Seconds and SecondsPath"),
        (end(json!({ "Type": "Wait", "Seconds": 1, "SecondsPath": "$.s" })), "exactly one of Seconds and SecondsPath"),
        (end(json!({ "Type": "Wait", "Seconds": -1 })), "Seconds: -1 is no whole number"),
        (
            end(json!({ "Type": "Wait", "Timestamp": "2026-01-01T00:00:00Z" })),
            "\"Timestamp\" is unknown or not supported",
        ),
        (end(json!({ "Type": "Task" })), "Resource is missing"),
        (
            end(json!({ "Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken" })),
            "run this machine on LocalStack",
        ),
        (one_task(json!({ "TimeoutSeconds": 0 })), "state \"Work\": TimeoutSeconds: 0 is no whole number from 1"),
        (one_task(json!({ "TimeoutSeconds": 1.5 })), "TimeoutSeconds: 1.5"),
        (one_task(json!({ "TimeoutSeconds": 5, "HeartbeatSeconds": 5 })), "less than TimeoutSeconds"),
        (one_task(json!({ "TimeoutSecondsPath": "$.t" })), "\"TimeoutSecondsPath\" is unknown or not supported here"),
        (one_task(json!({ "Retry": [{}] })), "Retry[0]: ErrorEquals is missing or empty"),
        (one_task(json!({ "Retry": {} })), "Retry: {} is no list"),
        (one_task(json!({ "Retry": [{ "ErrorEquals": ["A"], "BackoffRate": 0.5 }] })), "Retry[0]: BackoffRate: 0.5"),
        (one_task(json!({ "Retry": [{ "ErrorEquals": ["A"], "MaxAttempts": -1 }] })), "Retry[0]: MaxAttempts: -1"),
        (one_task(json!({ "Retry": [{ "ErrorEquals": ["A"], "JitterStrategy": "FULL" }] })), "JitterStrategy \"FULL\""),
        (one_task(json!({ "Retry": [{ "ErrorEquals": ["A"], "Interval": 1 }] })), "Retry[0]: \"Interval\" is unknown"),
        (
            one_task(json!({ "Retry": [{ "ErrorEquals": ["States.ALL"] }, { "ErrorEquals": ["A"] }] })),
            "Retry[0]: States.ALL has to stand alone, in the last entry",
        ),
        (one_task(json!({ "Catch": [{ "ErrorEquals": ["States.ALL"] }] })), "Catch[0]: Next is missing"),
        (one_task(json!({ "Catch": [{ "ErrorEquals": ["A"], "Next": "X" }] })), "there is no state \"X\""),
    ] {
        is_refused(&definition, expected).await;
    }
}

async fn is_refused(definition: &Value, expected: &str) {
    let client = Client::new();
    let request = json!({ "name": "m", "definition": definition.to_string(), "roleArn": "arn:aws:iam::1:role/r" });
    let refusal = client.call("CreateStateMachine", request).await.unwrap_err();
    assert_eq!(refusal.code, "InvalidDefinition", "{definition}");
    assert!(refusal.message.contains(expected), "{definition}\n{}\nshould say {expected}", refusal.message);
}

#[tokio::test(start_paused = true)]
async fn invocations_that_the_sandbox_cannot_make_are_refused() {
    let task = |resource: &str, fields: Value| {
        let mut state = json!({ "Type": "Task", "Resource": resource, "End": true });
        state.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
        with_state(state)
    };
    let invoke = |parameters: Value| task("arn:aws:states:::lambda:invoke", json!({ "Parameters": parameters }));
    let function = "arn:aws:lambda:us-east-1:123456789012:function:f";
    for (definition, expected) in [
        (task("arn:aws:states:::lambda:invoke", json!({})), "Parameters: missing; lambda:invoke needs a FunctionName"),
        (invoke(json!({ "Payload": {} })), "Parameters: FunctionName is missing"),
        (
            invoke(json!({ "FunctionName": "f", "InvocationType": "Event" })),
            "InvocationType \"Event\" is not supported",
        ),
        (invoke(json!({ "FunctionName": "f", "Qualifier": "live" })), "\"Qualifier\" is unknown"),
        (
            invoke(json!({ "FunctionName": "f", "Payload": { "t.$": "$$.Task.Token" } })),
            ".waitForTaskToken states only",
        ),
        (task(function, json!({ "Parameters": { "t.$": "$$.Task.Token" } })), ".waitForTaskToken states only"),
        (task(function, json!({ "HeartbeatSeconds": 1 })), "HeartbeatSeconds: nobody could send one"),
        (task(&format!("{function}.waitForTaskToken:x"), json!({})), "run this machine on LocalStack"),
    ] {
        is_refused(&definition, expected).await;
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let definition = one_task(json!({ "Rezult": 1, "TimeoutSeconds": 0 })).to_string();
    let refused = StepFunctions::new(Config::default()).create_state_machine("m", &definition);
    let Err(ServiceError::InvalidDefinition(problems)) = refused else { panic!("{refused:?}") };
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.state.as_deref() == Some("Work")));
}

#[test]
fn native_states_need_an_activity_that_stands_in() {
    let definition = one_task(json!({ "Resource": "arn:aws:states:::eks:call" })).to_string();
    let refused = StepFunctions::new(Config::default()).create_state_machine("m", &definition);
    assert!(refused.unwrap_err().to_string().contains("set native_activity in the sandbox's Config"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_created_once_and_not_changed() {
    let client = Client::new();
    let request = |definition: Value, kind: &str| json!({ "name": "m", "definition": definition.to_string(), "roleArn": "arn:aws:iam::1:role/r", "type": kind });
    let one = one_task(json!({}));
    let first = client.call("CreateStateMachine", request(one.clone(), "STANDARD")).await.unwrap();
    assert_eq!(first["stateMachineArn"], "arn:aws:states:us-east-1:123456789012:stateMachine:m");
    assert_eq!(client.call("CreateStateMachine", request(one.clone(), "STANDARD")).await.unwrap(), first);
    let other = one_task(json!({ "Resource": ACTIVITY.replace("jobs", "other") }));
    assert_eq!(client.refused("CreateStateMachine", request(other, "STANDARD")).await, "StateMachineAlreadyExists");
    assert_eq!(client.refused("CreateStateMachine", request(one, "EXPRESS")).await, "StateMachineTypeNotSupported");
}
