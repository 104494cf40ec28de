//! The history of an execution, in the event types of AWS.
//!
//! Native `eks:` resources are done by an activity, and their events are an activity's too.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{clock::epoch_seconds, definition::Wait};

/// One event of an execution.
#[derive(Debug, Clone)]
pub struct HistoryEvent {
    /// Counted from 1.
    pub id: u64,
    /// The event before it. 0 for the first two, as on AWS.
    pub previous_event_id: u64,
    /// When it happened, on the service's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// An event, as it goes out to whoever follows all executions.
#[derive(Debug, Clone)]
pub struct ExecutionEvent {
    /// The ARN of the execution.
    pub execution: String,
    /// Its event.
    pub event: HistoryEvent,
}

/// What can happen in an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The execution starts.
    ExecutionStarted {
        /// Its input, JSON.
        input: String,
        /// The role of its machine.
        role: String,
    },
    /// The last state was left.
    ExecutionSucceeded {
        /// Its output, JSON.
        output: String,
    },
    /// A state failed, and nothing caught it.
    ExecutionFailed {
        /// The error's name.
        error: Option<String>,
        /// Its cause.
        cause: Option<String>,
    },
    /// The machine's `TimeoutSeconds` ran out.
    ExecutionTimedOut,
    /// `StopExecution`.
    ExecutionAborted {
        /// The caller's error.
        error: Option<String>,
        /// The caller's cause.
        cause: Option<String>,
    },
    /// A state begins.
    StateEntered {
        /// `Task`, `Pass`, …
        state_type: &'static str,
        /// Its name.
        name: String,
        /// Its raw input, JSON.
        input: String,
    },
    /// A state ends.
    StateExited {
        /// `Task`, `Pass`, …
        state_type: &'static str,
        /// Its name.
        name: String,
        /// Its output, JSON.
        output: String,
    },
    /// A task waits for a worker.
    ActivityScheduled {
        /// The ARN of the activity.
        resource: String,
        /// What the worker gets, JSON.
        input: String,
        /// The state's `TimeoutSeconds`.
        timeout: Option<Duration>,
        /// The state's `HeartbeatSeconds`.
        heartbeat: Option<Duration>,
    },
    /// A poll took the task.
    ActivityStarted {
        /// The `workerName` of the poll.
        worker: Option<String>,
    },
    /// The worker reported success.
    ActivitySucceeded {
        /// What it reported, JSON.
        output: String,
    },
    /// The worker reported failure.
    ActivityFailed {
        /// The error's name.
        error: Option<String>,
        /// Its cause.
        cause: Option<String>,
    },
    /// The worker did not report in time, or a heartbeat was missed: AWS says `States.Timeout` to both.
    ActivityTimedOut,
    /// A function that a state names by its ARN is to be invoked.
    LambdaFunctionScheduled {
        /// The ARN of the function.
        resource: String,
        /// What it gets, JSON.
        input: String,
        /// The state's `TimeoutSeconds`.
        timeout: Option<Duration>,
    },
    /// It is invoked.
    LambdaFunctionStarted,
    /// It has answered.
    LambdaFunctionSucceeded {
        /// Its answer, JSON.
        output: String,
    },
    /// It has failed.
    LambdaFunctionFailed {
        /// The error's name.
        error: Option<String>,
        /// Its cause.
        cause: Option<String>,
    },
    /// It did not answer in the state's time.
    LambdaFunctionTimedOut,
    /// `lambda:invoke` begins.
    TaskScheduled {
        /// Which form of it.
        wait: Wait,
        /// The region.
        region: String,
        /// The state's parameters, JSON.
        parameters: String,
        /// The state's `TimeoutSeconds`.
        timeout: Option<Duration>,
        /// The state's `HeartbeatSeconds`.
        heartbeat: Option<Duration>,
    },
    /// The function is invoked.
    TaskStarted {
        /// Which form of it.
        wait: Wait,
    },
    /// The function has answered, and the token is waited for.
    TaskSubmitted {
        /// What it answered, JSON.
        output: String,
    },
    /// The function has answered, or the token was used.
    TaskSucceeded {
        /// Which form of it.
        wait: Wait,
        /// What it answered, or what came with the token, JSON.
        output: String,
    },
    /// The function has failed, or the token was used to say so.
    TaskFailed {
        /// Which form of it.
        wait: Wait,
        /// The error's name.
        error: Option<String>,
        /// Its cause.
        cause: Option<String>,
    },
    /// Nothing came in time, or a heartbeat was missed.
    TaskTimedOut {
        /// Which form of it.
        wait: Wait,
    },
}

impl Event {
    /// The type's name on AWS: `TaskStateEntered`, `ActivityScheduled`, …
    pub fn type_name(&self) -> String {
        match self {
            Self::ExecutionStarted { .. } => "ExecutionStarted".to_owned(),
            Self::ExecutionSucceeded { .. } => "ExecutionSucceeded".to_owned(),
            Self::ExecutionFailed { .. } => "ExecutionFailed".to_owned(),
            Self::ExecutionTimedOut => "ExecutionTimedOut".to_owned(),
            Self::ExecutionAborted { .. } => "ExecutionAborted".to_owned(),
            Self::StateEntered { state_type, .. } => format!("{state_type}StateEntered"),
            Self::StateExited { state_type, .. } => format!("{state_type}StateExited"),
            Self::ActivityScheduled { .. } => "ActivityScheduled".to_owned(),
            Self::ActivityStarted { .. } => "ActivityStarted".to_owned(),
            Self::ActivitySucceeded { .. } => "ActivitySucceeded".to_owned(),
            Self::ActivityFailed { .. } => "ActivityFailed".to_owned(),
            Self::ActivityTimedOut => "ActivityTimedOut".to_owned(),
            Self::LambdaFunctionScheduled { .. } => "LambdaFunctionScheduled".to_owned(),
            Self::LambdaFunctionStarted => "LambdaFunctionStarted".to_owned(),
            Self::LambdaFunctionSucceeded { .. } => "LambdaFunctionSucceeded".to_owned(),
            Self::LambdaFunctionFailed { .. } => "LambdaFunctionFailed".to_owned(),
            Self::LambdaFunctionTimedOut => "LambdaFunctionTimedOut".to_owned(),
            Self::TaskScheduled { .. } => "TaskScheduled".to_owned(),
            Self::TaskStarted { .. } => "TaskStarted".to_owned(),
            Self::TaskSubmitted { .. } => "TaskSubmitted".to_owned(),
            Self::TaskSucceeded { .. } => "TaskSucceeded".to_owned(),
            Self::TaskFailed { .. } => "TaskFailed".to_owned(),
            Self::TaskTimedOut { .. } => "TaskTimedOut".to_owned(),
        }
    }

    /// The details, as `GetExecutionHistory` gives them.
    pub fn details(&self) -> Value {
        let whole = json!({ "truncated": false });
        let details = match self {
            Self::ExecutionStarted { input, role } => json!({ "input": input, "inputDetails": whole, "roleArn": role }),
            Self::ExecutionSucceeded { output }
            | Self::ActivitySucceeded { output }
            | Self::LambdaFunctionSucceeded { output } => json!({ "output": output, "outputDetails": whole }),
            Self::ExecutionFailed { error, cause }
            | Self::ExecutionAborted { error, cause }
            | Self::ActivityFailed { error, cause }
            | Self::LambdaFunctionFailed { error, cause } => json!({ "error": error, "cause": cause }),
            Self::ExecutionTimedOut | Self::ActivityTimedOut | Self::LambdaFunctionTimedOut => {
                json!({ "error": "States.Timeout" })
            }
            Self::StateEntered { name, input, .. } => json!({ "name": name, "input": input, "inputDetails": whole }),
            Self::StateExited { name, output, .. } => json!({ "name": name, "output": output, "outputDetails": whole }),
            Self::ActivityScheduled { resource, input, timeout, heartbeat } => json!({
                "resource": resource,
                "input": input,
                "inputDetails": whole,
                "timeoutInSeconds": timeout.map(|timeout| timeout.as_secs()),
                "heartbeatInSeconds": heartbeat.map(|heartbeat| heartbeat.as_secs()),
            }),
            Self::ActivityStarted { worker } => json!({ "workerName": worker }),
            Self::LambdaFunctionScheduled { resource, input, timeout } => json!({
                "resource": resource,
                "input": input,
                "inputDetails": whole,
                "timeoutInSeconds": timeout.map(|timeout| timeout.as_secs()),
            }),
            Self::LambdaFunctionStarted => json!({}),
            Self::TaskScheduled { wait, region, parameters, timeout, heartbeat } => of_lambda(
                *wait,
                json!({
                    "region": region,
                    "parameters": parameters,
                    "timeoutInSeconds": timeout.map(|timeout| timeout.as_secs()),
                    "heartbeatInSeconds": heartbeat.map(|heartbeat| heartbeat.as_secs()),
                }),
            ),
            Self::TaskStarted { wait } => of_lambda(*wait, json!({})),
            Self::TaskSubmitted { output } => {
                of_lambda(Wait::ForToken, json!({ "output": output, "outputDetails": whole }))
            }
            Self::TaskSucceeded { wait, output } => {
                of_lambda(*wait, json!({ "output": output, "outputDetails": whole }))
            }
            Self::TaskFailed { wait, error, cause } => of_lambda(*wait, json!({ "error": error, "cause": cause })),
            Self::TaskTimedOut { wait } => of_lambda(*wait, json!({ "error": "States.Timeout" })),
        };
        without_nulls(details)
    }

    /// The field of a history event that holds the details.
    fn details_field(&self) -> String {
        match self {
            Self::StateEntered { .. } => "stateEnteredEventDetails".to_owned(),
            Self::StateExited { .. } => "stateExitedEventDetails".to_owned(),
            other => {
                let name = other.type_name();
                let (first, rest) = name.split_at(1);
                format!("{}{rest}EventDetails", first.to_lowercase())
            }
        }
    }
}

impl HistoryEvent {
    pub(super) fn on_the_wire(&self) -> Value {
        let mut event = Map::new();
        event.insert("id".to_owned(), self.id.into());
        event.insert("previousEventId".to_owned(), self.previous_event_id.into());
        event.insert("timestamp".to_owned(), epoch_seconds(self.at));
        event.insert("type".to_owned(), self.event.type_name().into());
        event.insert(self.event.details_field(), self.event.details());
        Value::Object(event)
    }
}

/// The details of a task's event, behind what names its integration.
fn of_lambda(wait: Wait, details: Value) -> Value {
    let mut all = json!({ "resourceType": "lambda", "resource": wait.api() });
    if let (Some(all), Value::Object(details)) = (all.as_object_mut(), details) {
        all.extend(details);
    }
    all
}

/// An object without its fields that are null: AWS leaves out what there is not.
pub(super) fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}
