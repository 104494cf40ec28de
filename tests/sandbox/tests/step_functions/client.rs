//! A client that speaks the wire protocol to a service in memory, and what tests say most often with it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use runjob_sandbox::{
    front::Front,
    sfn::{Clocks, Config, Execution, StepFunctions},
};
use serde_json::{Value, json};

pub(crate) const ACTIVITY: &str = "arn:aws:states:us-east-1:123456789012:activity:jobs";

/// The code and the message of an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What a worker got.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) token: String,
    pub(crate) input: String,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) front: Front<StepFunctions>,
}

impl Client {
    /// A service with the activity `jobs`, which native resources go to as well.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let config = Config { native_activity: Some("jobs".to_owned()), ..config };
        Self { front: Front::new(StepFunctions::new(config)) }
    }

    pub(crate) fn service(&self) -> &Arc<StepFunctions> {
        self.front.endpoint()
    }

    pub(crate) async fn call(&self, operation: &str, body: Value) -> Result<Value, Refusal> {
        let (status, body) = self.raw(operation, body.to_string()).await;
        if status == 200 {
            return Ok(body);
        }
        assert_eq!(status, 400, "{body}");
        let code = body["__type"].as_str().unwrap().rsplit('#').next().unwrap().to_owned();
        Err(Refusal { code, message: body["message"].as_str().unwrap().to_owned() })
    }

    pub(crate) async fn raw(&self, operation: &str, body: String) -> (u16, Value) {
        let request = Request::post("/")
            .header("x-amz-target", format!("AWSStepFunctions.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .body(Bytes::from(body))
            .unwrap();
        let response = self.front.call(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.0");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// The code of the error that a call has to end with.
    pub(crate) async fn refused(&self, operation: &str, body: Value) -> String {
        self.call(operation, body).await.unwrap_err().code
    }

    /// One poll that finds a task, at once or later.
    pub(crate) async fn next_task(&self) -> Delivered {
        let answer =
            self.call("GetActivityTask", json!({ "activityArn": ACTIVITY, "workerName": "w-1" })).await.unwrap();
        let text = |field: &str| answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned();
        Delivered { token: text("taskToken"), input: text("input") }
    }

    pub(crate) async fn succeed(&self, token: &str, output: &str) -> Result<Value, Refusal> {
        self.call("SendTaskSuccess", json!({ "taskToken": token, "output": output })).await
    }

    pub(crate) async fn fail(&self, token: &str, error: &str) -> Result<Value, Refusal> {
        self.call("SendTaskFailure", json!({ "taskToken": token, "error": error, "cause": "why" })).await
    }

    pub(crate) async fn beat(&self, token: &str) -> Result<Value, Refusal> {
        self.call("SendTaskHeartbeat", json!({ "taskToken": token })).await
    }

    /// Starts an execution of a new machine.
    pub(crate) fn start(&self, definition: &Value, input: &Value) -> String {
        let machine = self.service().create_state_machine("m", &definition.to_string()).unwrap();
        self.service().start_execution(&machine, Some("e"), &input.to_string()).unwrap()
    }

    /// Runs a machine that needs no worker.
    pub(crate) async fn run(&self, definition: &Value, input: &Value) -> Execution {
        self.finished(&self.start(definition, input)).await
    }

    pub(crate) async fn finished(&self, execution: &str) -> Execution {
        self.service().finished(execution).await.unwrap()
    }

    pub(crate) fn event_types(&self, execution: &str) -> Vec<String> {
        self.service().history(execution).iter().map(|event| event.event.type_name()).collect()
    }
}

/// A machine of one state.
pub(crate) fn one_state(name: &str, state: Value) -> Value {
    let mut machine = json!({ "StartAt": name, "States": {} });
    machine["States"][name] = state;
    machine
}

/// A machine of one Task state, `Work`, with these fields beside its type and resource.
pub(crate) fn one_task(fields: Value) -> Value {
    let mut machine = one_state("Work", json!({ "Type": "Task", "Resource": ACTIVITY, "End": true }));
    let state = machine["States"]["Work"].as_object_mut().unwrap();
    if let Value::Object(fields) = fields {
        state.extend(fields);
    }
    machine
}

pub(crate) fn clocks(timeout: Option<u64>, heartbeat: Option<u64>) -> Clocks {
    Clocks { timeout: timeout.map(Duration::from_secs), heartbeat: heartbeat.map(Duration::from_secs) }
}

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
