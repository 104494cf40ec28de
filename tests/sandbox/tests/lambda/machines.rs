//! State machines whose functions are processes.

use runjob_sandbox::{
    lambda::Deployed,
    sfn::{Config, StepFunctions},
};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{Gate, bootstrap};

/// A machine that invokes the function `f` with its whole input.
fn machine(fields: &Value) -> Value {
    let mut state = json!({
        "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "OutputPath": "$.Payload", "End": true,
        "Parameters": { "FunctionName": "f", "Payload.$": "$" },
    });
    state.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    json!({ "StartAt": "Invoke", "States": { "Invoke": state } })
}

fn service() -> (Arc<StepFunctions>, Deployed) {
    let service = StepFunctions::new(Config::default());
    let function = service.lambda().deploy("f", bootstrap());
    (service, function)
}

fn start(service: &StepFunctions, definition: &Value, input: &Value) -> String {
    let machine = service.create_state_machine("m", &definition.to_string()).unwrap();
    service.start_execution(&machine, None, &input.to_string()).unwrap()
}

#[tokio::test]
async fn a_state_gets_what_the_process_answers() {
    let (service, _) = service();
    let execution = start(&service, &machine(&json!({})), &json!({ "n": 1 }));
    let execution = service.finished(&execution).await.unwrap();
    let output: Value = serde_json::from_str(&execution.output.unwrap()).unwrap();
    assert_eq!(output["payload"], json!({ "n": 1 }));
    assert_eq!(output["region"], "us-east-1", "functions live where the machine does");
    assert_eq!(service.invariant_violations(), [""; 0]);
}

#[tokio::test]
async fn a_process_that_is_killed_in_the_middle_is_replaced_by_a_retry() {
    let (service, function) = service();
    let retry = json!({ "Retry": [{ "ErrorEquals": ["Runtime.ExitError"], "IntervalSeconds": 1 }] });
    let gate = Gate::new().await;
    let execution = start(&service, &machine(&retry), &gate.event);
    let held = gate.arrived().await;
    function.kill(0);
    drop(gate.arrived().await);
    let execution = service.finished(&execution).await.unwrap();
    assert_eq!(execution.status.name(), "SUCCEEDED");
    assert_eq!(execution.output, function.environments()[1].process.map(|process| process.to_string()));
    drop(held);
}

#[tokio::test]
async fn a_crime_against_the_runtime_api_is_found_at_the_end() {
    let (service, _) = service();
    let request = json!({ "method": "POST", "path": "invocation/nonsense/response", "body": "1" });
    let execution = start(&service, &machine(&json!({})), &json!({ "do": "say", "requests": [request] }));
    service.finished(&execution).await.unwrap();
    assert_eq!(service.invariant_violations().len(), 1);
}
