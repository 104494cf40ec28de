//! The article's state machine, as it is printed there, and as it moves over to the function.

use serde_json::{Value, json};

/// As it is printed.
pub const WORKFLOW: &str = include_str!("../../../examples/pi/workflow.asl.json");
/// Its input.
pub const INPUT: &str = include_str!("../../../examples/pi/input.json");

/// How a state uses the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It is answered by the function itself: `lambda:invoke`.
    Waiting,
    /// It is answered by its token: `lambda:invoke.waitForTaskToken`.
    HandingOver,
}

/// The machine with the function of that name in place of the native resources: its requests are the payloads.
pub fn by_function(function: &str, form: Form) -> Value {
    let mut machine: Value = serde_json::from_str(WORKFLOW).unwrap_or_default();
    let states = machine.get_mut("States").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, state) in states {
        if let Some(moved) = moved(state, function, form) {
            *state = moved;
        }
    }
    machine
}

/// A state that was of `eks:`. `None` for another.
fn moved(state: &Value, function: &str, form: Form) -> Option<Value> {
    let native = state.get("Resource")?.as_str()?.strip_prefix("arn:aws:states:::eks:")?;
    let mut payload = state.get("Parameters")?.as_object()?.clone();
    payload.insert("Action".to_owned(), native.into());
    let mut moved = state.as_object()?.clone();
    match form {
        Form::Waiting => {
            moved.insert("Resource".to_owned(), "arn:aws:states:::lambda:invoke".into());
            if let Some(selector) = moved.get_mut("ResultSelector") {
                *selector = json!({"status.$": "$.Payload.status", "logs.$": "$.Payload.logs..pi"});
            }
        }
        Form::HandingOver => {
            moved.insert("Resource".to_owned(), "arn:aws:states:::lambda:invoke.waitForTaskToken".into());
            // A call is answered before the function returns: nobody sends a heartbeat, and LocalStack would wait for one
            // before it looked at the answer.
            if payload.contains_key("Job") {
                moved.insert("HeartbeatSeconds".to_owned(), 180.into());
            }
            payload.insert("TaskToken.$".to_owned(), "$$.Task.Token".into());
        }
    }
    moved.insert("Parameters".to_owned(), json!({"FunctionName": function, "Payload": payload}));
    Some(moved.into())
}
