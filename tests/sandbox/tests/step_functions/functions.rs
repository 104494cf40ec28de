//! States that invoke Lambda functions, which are closures here and keep to the paused clock.

use std::time::Duration;

use runjob_sandbox::{
    lambda::{FunctionError, Invocation},
    sfn::{Execution, TaskOutcome},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::{Client, json_of, one_state, seconds};

const INVOKE: &str = "arn:aws:states:::lambda:invoke";
const CALLBACK: &str = "arn:aws:states:::lambda:invoke.waitForTaskToken";
const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";
const MINUTE: Duration = Duration::from_mins(1);

/// A machine whose one state, `Work`, invokes the function `f` with `{"in": INPUT}`, and in callbacks with the token.
fn invoking(resource: &str, fields: Value) -> Value {
    let mut payload = json!({ "in.$": "$" });
    if resource == CALLBACK {
        payload["token.$"] = json!("$$.Task.Token");
    }
    let mut state = json!({ "Type": "Task", "Resource": resource, "End": true });
    state["Parameters"] =
        if resource == FUNCTION { payload } else { json!({ "FunctionName": "f", "Payload": payload }) };
    if let Value::Object(fields) = fields {
        state.as_object_mut().unwrap().extend(fields);
    }
    one_state("Work", state)
}

/// The same, with an error's output as the machine's.
fn catching(resource: &str, error: &str) -> Value {
    let mut machine = invoking(resource, json!({ "Catch": [{ "ErrorEquals": [error], "Next": "Caught" }] }));
    machine["States"]["Caught"] = json!({ "Type": "Succeed" });
    machine
}

impl Client {
    fn function<F, W>(&self, function: F)
    where
        F: Fn(Invocation) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Value, FunctionError>> + Send + 'static,
    {
        self.service().lambda().add("f", MINUTE, function);
    }

    /// A function that answers with its event.
    fn echo(&self) {
        self.function(|invocation| async { Ok(invocation.payload) });
    }

    /// A function that fails.
    fn failing(&self) {
        self.function(|_| async { Err(FunctionError::new("EKS.409", r#"{"why":1}"#)) });
    }

    /// A function that takes longer than it may.
    fn slow(&self, pause: Duration) {
        self.function(move |_| async move {
            sleep(pause).await;
            Ok(json!("late"))
        });
    }

    /// The token that the function got, once it is invoked.
    async fn token(&self) -> String {
        let token = |call: &Value| call["token"].as_str().map(ToOwned::to_owned);
        self.service().lambda().wait_for_calls(|calls| token(&calls.last()?.invocation.payload)).await
    }

    /// What the first call came to, once it has ended.
    async fn answered(&self) -> Result<Value, FunctionError> {
        self.service().lambda().wait_for_calls(|calls| calls.first()?.outcome.clone()).await
    }
}

fn ends(execution: &Execution) -> (&str, Option<&str>, Option<&str>) {
    (execution.status.name(), execution.error.as_deref(), execution.cause.as_deref())
}

#[tokio::test(start_paused = true)]
async fn lambda_invoke_gives_what_the_sdk_says() {
    let client = Client::new();
    client.echo();
    let execution = client.run(&invoking(INVOKE, json!({ "TimeoutSeconds": 9 })), &json!(1)).await;
    let output = json_of(&execution.output.unwrap());
    let request = client.service().lambda().calls()[0].invocation.request_id.clone();
    assert_eq!(output["Payload"], json!({ "in": 1 }));
    assert_eq!((&output["StatusCode"], &output["ExecutedVersion"]), (&json!(200), &json!("$LATEST")));
    assert_eq!(output["SdkResponseMetadata"], json!({ "RequestId": request }));
    assert_eq!(output["SdkHttpMetadata"]["HttpStatusCode"], 200);
    assert_eq!(output["SdkHttpMetadata"]["AllHttpHeaders"]["x-amzn-RequestId"], json!([request]));

    let history = client.service().history(&execution.arn);
    let scheduled = &history[2].event;
    let parameters = r#"{"FunctionName":"f","Payload":{"in":1}}"#;
    assert_eq!(
        scheduled.details(),
        json!({ "resourceType": "lambda", "resource": "invoke", "region": "us-east-1",
            "parameters": parameters, "timeoutInSeconds": 9 }),
    );
    let types = client.event_types(&execution.arn);
    assert_eq!(types[2..5], ["TaskScheduled", "TaskStarted", "TaskSucceeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_function_named_by_its_arn_gets_the_input_and_gives_the_output() {
    let client = Client::new();
    client.echo();
    let execution = client.run(&invoking(FUNCTION, json!({})), &json!(1)).await;
    assert_eq!(execution.output.as_deref(), Some(r#"{"in":1}"#));
    let types = client.event_types(&execution.arn);
    assert_eq!(types[2..5], ["LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionSucceeded"]);
}

#[tokio::test(start_paused = true)]
async fn a_functions_error_is_the_states_error_and_its_json_the_cause() {
    for (resource, failed) in [(INVOKE, "TaskFailed"), (FUNCTION, "LambdaFunctionFailed"), (CALLBACK, "TaskFailed")] {
        let client = Client::new();
        client.failing();
        let execution = client.run(&invoking(resource, json!({})), &json!({})).await;
        let cause = r#"{"errorType":"EKS.409","errorMessage":"{\"why\":1}"}"#;
        assert_eq!(ends(&execution), ("FAILED", Some("EKS.409"), Some(cause)), "{resource}");
        assert_eq!(client.event_types(&execution.arn)[4], failed);

        let client = Client::new();
        client.failing();
        let execution = client.run(&catching(resource, "EKS.409"), &json!({})).await;
        assert_eq!(json_of(&execution.output.unwrap()), json!({ "Error": "EKS.409", "Cause": cause }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_does_not_exist_is_an_error_of_lambda() {
    for resource in [INVOKE, FUNCTION, CALLBACK] {
        let execution = Client::new().run(&catching(resource, "Lambda.ResourceNotFoundException"), &json!({})).await;
        let output = json_of(&execution.output.unwrap());
        let words = format!("Function not found: {FUNCTION} (Service: AWSLambda; Status Code: 404;");
        assert!(output["Cause"].as_str().unwrap().starts_with(&words), "{output}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_function_is_retried_by_its_name() {
    let client = Client::new();
    client.function(|invocation| async move {
        if invocation.payload["in"] == 1 { Err(FunctionError::new("RunJob.StillRunning", "")) } else { Ok(json!({})) }
    });
    let retry =
        json!([{ "ErrorEquals": ["RunJob.StillRunning"], "IntervalSeconds": 10, "MaxAttempts": 2, "BackoffRate": 1 }]);
    let before = Instant::now();
    let execution = client.run(&invoking(INVOKE, json!({ "Retry": retry })), &json!(1)).await;
    assert_eq!((execution.error.as_deref(), before.elapsed()), (Some("RunJob.StillRunning"), seconds(20)));
    assert_eq!(client.service().lambda().calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_more_than_256_kib_is_a_states_error() {
    for resource in [INVOKE, FUNCTION] {
        let client = Client::new();
        client.function(|_| async { Ok(json!("x".repeat(262_143))) });
        let execution = client.run(&catching(resource, "States.DataLimitExceeded"), &json!({})).await;
        assert_eq!(json_of(&execution.output.unwrap())["Error"], "States.DataLimitExceeded", "{resource}");
        assert!(client.answered().await.is_ok(), "that is no fault of the function");
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_takes_too_long_is_ended_at_its_own_deadline() {
    let client = Client::new();
    client.slow(seconds(61));
    let before = Instant::now();
    let execution = client.run(&catching(INVOKE, "Sandbox.Timedout"), &json!({})).await;
    assert_eq!(before.elapsed(), MINUTE);
    let cause = json_of(json_of(&execution.output.unwrap())["Cause"].as_str().unwrap());
    assert!(cause["errorMessage"].as_str().unwrap().ends_with("Task timed out after 60.00 seconds"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_function_runs_on_when_its_state_has_timed_out() {
    for (resource, timed_out) in
        [(INVOKE, "TaskTimedOut"), (FUNCTION, "LambdaFunctionTimedOut"), (CALLBACK, "TaskTimedOut")]
    {
        let client = Client::new();
        client.slow(seconds(30));
        let execution = client.run(&invoking(resource, json!({ "TimeoutSeconds": 10 })), &json!({})).await;
        assert_eq!(ends(&execution), ("FAILED", Some("States.Timeout"), None));
        assert_eq!(client.event_types(&execution.arn)[4], timed_out);
        let before = Instant::now();
        assert_eq!(client.answered().await, Ok(json!("late")));
        assert_eq!(before.elapsed(), seconds(20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_runs_on_when_its_execution_is_stopped() {
    for resource in [INVOKE, FUNCTION, CALLBACK] {
        let client = Client::new();
        client.slow(seconds(30));
        let execution = client.start(&invoking(resource, json!({})), &json!({}));
        client.service().lambda().wait_for_calls(|calls| (!calls.is_empty()).then_some(())).await;
        client.service().stop_execution(&execution, None, None).unwrap();
        assert_eq!(client.answered().await, Ok(json!("late")));
        assert_eq!(client.finished(&execution).await.status.name(), "ABORTED");
        assert_eq!(client.event_types(&execution).last().unwrap(), "ExecutionAborted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_waits_for_its_token_whatever_the_function_answers() {
    let client = Client::new();
    client.function(|_| async { Ok(json!("submitted")) });
    let execution = client.start(&invoking(CALLBACK, json!({ "HeartbeatSeconds": 60 })), &json!(1));
    let token = client.token().await;
    for _ in 0..10 {
        sleep(seconds(59)).await;
        client.beat(&token).await.unwrap();
    }
    client.succeed(&token, "[2]").await.unwrap();
    assert_eq!(client.finished(&execution).await.output.as_deref(), Some("[2]"));
    assert_eq!(client.succeed(&token, "[2]").await.unwrap_err().code, "TaskTimedOut");

    let history = client.service().history(&execution);
    let types = client.event_types(&execution);
    assert_eq!(types[2..6], ["TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"]);
    let submitted = history[4].event.details();
    assert_eq!(submitted["resource"], "invoke.waitForTaskToken");
    assert_eq!(json_of(submitted["output"].as_str().unwrap())["Payload"], "submitted");
    let record = &client.service().records()[0];
    assert_eq!((record.resource.as_str(), record.heartbeats, record.delivered), (CALLBACK, 10, true));
}

#[tokio::test(start_paused = true)]
async fn a_callback_fails_as_its_token_says() {
    let client = Client::new();
    client.echo();
    let execution = client.start(&invoking(CALLBACK, json!({})), &json!({}));
    client.fail(&client.token().await, "Job.Failed").await.unwrap();
    assert_eq!(ends(&client.finished(&execution).await), ("FAILED", Some("Job.Failed"), Some("why")));
}

#[tokio::test(start_paused = true)]
async fn a_token_may_be_used_before_its_function_has_answered() {
    let client = Client::new();
    client.slow(seconds(30));
    let execution = client.start(&invoking(CALLBACK, json!({})), &json!({}));
    client.succeed(&client.token().await, "1").await.unwrap();
    let before = Instant::now();
    assert_eq!(client.finished(&execution).await.output.as_deref(), Some("1"));
    assert_eq!(before.elapsed(), seconds(0));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_fails_after_its_token_was_used_changes_nothing() {
    let client = Client::new();
    client.function(|_| async {
        sleep(seconds(30)).await;
        Err(FunctionError::new("EKS.500", ""))
    });
    let mut machine = invoking(CALLBACK, json!({ "End": false, "Next": "Pause" }));
    machine["States"]["Work"].as_object_mut().unwrap().remove("End");
    machine["States"]["Pause"] = json!({ "Type": "Wait", "Seconds": 100, "End": true });
    let execution = client.start(&machine, &json!({}));
    client.succeed(&client.token().await, "1").await.unwrap();
    assert!(client.answered().await.is_err());
    assert_eq!(client.finished(&execution).await.output.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_function_that_has_failed_is_closed() {
    let client = Client::new();
    client.failing();
    let execution = client.start(&invoking(CALLBACK, json!({})), &json!({}));
    client.finished(&execution).await;
    assert_eq!(client.beat(&client.token().await).await.unwrap_err().code, "TaskTimedOut");
    let outcome = client.service().records()[0].outcome.clone();
    assert!(matches!(outcome, Some(TaskOutcome::Failed { .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_callback_has_both_clocks_from_its_beginning() {
    for (clocks, caught, after) in [
        (json!({ "HeartbeatSeconds": 20 }), "States.HeartbeatTimeout", 20),
        (json!({ "TimeoutSeconds": 50, "HeartbeatSeconds": 49 }), "States.HeartbeatTimeout", 49),
        (json!({ "TimeoutSeconds": 50 }), "States.Timeout", 50),
    ] {
        let client = Client::new();
        client.slow(seconds(10));
        let mut machine = catching(CALLBACK, caught);
        machine["States"]["Work"].as_object_mut().unwrap().extend(clocks.as_object().cloned().unwrap());
        let before = Instant::now();
        let execution = client.run(&machine, &json!({})).await;
        assert_eq!((execution.status.name(), before.elapsed()), ("SUCCEEDED", seconds(after)));
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_of_a_callback_has_its_own_token() {
    let client = Client::new();
    client.echo();
    let retry = json!([{ "ErrorEquals": ["Busy"] }]);
    let execution = client.start(&invoking(CALLBACK, json!({ "Retry": retry })), &json!({}));
    let first = client.token().await;
    client.fail(&first, "Busy").await.unwrap();
    client.service().lambda().wait_for_calls(|calls| (calls.len() == 2).then_some(())).await;
    let second = client.token().await;
    assert_ne!(first, second);
    assert_eq!(client.beat(&first).await.unwrap_err().code, "TaskTimedOut");
    client.succeed(&second, "{}").await.unwrap();
    assert_eq!(client.finished(&execution).await.status.name(), "SUCCEEDED");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_invocations() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let client = Client::new();
        client.echo();
        client.start(&invoking(CALLBACK, json!({})), &json!({}));
        let token = client.token().await;
        seen.push((token, client.service().lambda().calls()[0].invocation.request_id.clone()));
    }
    assert_eq!(seen[0], seen[1]);
}
