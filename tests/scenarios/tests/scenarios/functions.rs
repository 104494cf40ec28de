//! The Lambda function, which a state machine invokes.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::{at, contains, log, on_the_way},
    jobs::{JobRequest, a_job},
    scenario::{Act, Afterwards, Ending, Scenario, Sight, workflow},
};
use serde_json::{Value, json};

use crate::workflows::{ARTICLE_INPUT, DIGITS, PI_BEGINS, article_handed_over};

/// More than any Job here takes.
const LONG: Duration = Duration::from_mins(2);
/// Less than some take. Five seconds of it are its margin.
const SHORT: Duration = Duration::from_secs(12);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        waiting("a function returns the result of its Job", &a_job("x", "echo finished"), &json!({}))
            .with_function(LONG)
            .essential()
            .succeeds([log("main", "finished\n"), at("/status/succeeded", 1)]),
        waiting("a function fails as its Job does", &a_job("x", "echo broken; exit 3"), &json!({}))
            .with_function(LONG)
            .essential()
            .fails(
                "Job.BackoffLimitExceeded",
                [at("/errorType", "Job.BackoffLimitExceeded"), contains("/errorMessage", "broken")],
            ),
        waiting("a Job that outlasts its function is waited for by the next", &keyed("sleep 15; echo finished"), &json!({
            "Retry": [{"ErrorEquals": ["RunJob.StillRunning"], "IntervalSeconds": 1, "MaxAttempts": 1000, "BackoffRate": 1.0}],
        }))
        .with_function(SHORT)
        .essential()
        .succeeds([log("main", "finished\n")]),
        waiting("a function refuses an input that it cannot take", &a_job("x", ":").with("/Job/kind", "Pod"), &json!({}))
            .with_function(LONG)
            .fails("RunJob.InvalidParameters", [contains("/errorMessage", "$.Job.kind")])
            .leaves(Afterwards::Others(0)),
        workflow("a Job that a function hands over is answered for by a worker", handing_over(), "{}")
            .with_function(LONG)
            .essential()
            .succeeds([log("main", "finished\n")]),
        workflow("a Job that a function hands over is answered for by a sweep", handing_over(), "{}")
            .with_function(LONG)
            .without_a_worker()
            .essential()
            .until(Sight::JobIs("Complete"))
            .then(Act::Sweep)
            .succeeds([log("main", "finished\n")]),
        workflow("the article's workflow succeeds by a function that hands over", article_handed_over(), ARTICLE_INPUT)
            .in_default()
            .with_function(LONG)
            .essential()
            .succeeds([on_the_way(PI_BEGINS), at("/StatusCode", 200)])
            .differs_on(
                Backend::LocalStack,
                DIGITS,
                Ending::Succeeds(vec![on_the_way("3.141592653589793"), at("/StatusCode", 200)]),
            )
            .leaves(Afterwards::PodsOnly(1)),
    ]
}

fn keyed(script: &str) -> JobRequest {
    a_job("x", script).with("/IdempotencyKey", "a key")
}

/// A machine of one state that invokes the function, with these fields besides.
fn waiting(name: &'static str, job: &JobRequest, fields: &Value) -> Scenario {
    let mut state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "{function}", "Payload": job.clone().in_namespace("{namespace}").parameters()},
        "OutputPath": "$.Payload",
        "End": true,
    });
    if let (Some(state), Some(fields)) = (state.as_object_mut(), fields.as_object()) {
        state.extend(fields.clone());
    }
    workflow(name, json!({"StartAt": "Run", "States": {"Run": state}}).to_string(), "{}")
}

fn handing_over() -> String {
    let job = a_job("x", "echo finished").in_namespace("{namespace}").with("/TaskToken.$", "$$.Task.Token");
    let state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "HeartbeatSeconds": 60,
        "Parameters": {"FunctionName": "{function}", "Payload": job.parameters()},
        "End": true,
    });
    json!({"StartAt": "Run", "States": {"Run": state}}).to_string()
}
