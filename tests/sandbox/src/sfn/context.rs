//! The context object, `$$`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{clock::rfc3339, execution::Execution, machine::Machine, token::TaskToken};

/// One visit to a state.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) state: String,
    pub(super) entered: Timestamp,
    /// The number of the event that recorded the entry.
    pub(super) event: u64,
}

/// `$$` as a state sees it at its `retries`-th retry.
pub(super) fn context(machine: &Machine, execution: &Execution, input: &Value, visit: &Visit, retries: u32) -> Value {
    json!({
        "Execution": {
            "Id": execution.arn,
            "Input": input,
            "Name": execution.name,
            "RoleArn": machine.role,
            "StartTime": rfc3339(execution.started),
        },
        "State": { "EnteredTime": rfc3339(visit.entered), "Name": visit.state, "RetryCount": retries },
        "StateMachine": { "Id": machine.arn, "Name": machine.name },
    })
}

/// The same for a state that hands on a token. Activities get theirs another way, and have no `Task` here.
pub(super) fn with_token(mut context: Value, token: TaskToken) -> Value {
    if let Some(context) = context.as_object_mut() {
        context.insert("Task".to_owned(), json!({ "Token": token.into_text() }));
    }
    context
}
