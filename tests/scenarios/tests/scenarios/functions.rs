//! The function: invoked by machines, on the Lambda that is there, with a worker of its group or without one.

use std::time::Duration;

use runjob_scenarios::{
    article::{self, Form},
    backend::Backend,
    check::{at, contains, log, within},
    jobs::{JobRequest, a_gated_job, a_job},
    scenario::{Afterwards, Ending, Scenario, workflow},
    step::{Act, Sight},
};
use serde_json::{Value, json};

use crate::{
    keys::{ADVISED, gated_and_counted, ran},
    workflows::of_the_article,
};

const WAITING: &str = include_str!("../../../../examples/lambda/waiting.asl.json");
const CALLBACK: &str = include_str!("../../../../examples/lambda/callback.asl.json");
const START_AND_CALL: &str = include_str!("../../../../examples/lambda/start-and-call.asl.json");
const EXAMPLES_INPUT: &str = include_str!("../../../../examples/lambda/input.json");

/// Longer than any Job here takes.
const LONG: Duration = Duration::from_mins(2);
/// Of this its margin is a quarter.
const SHORT: Duration = Duration::from_secs(8);

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = waiting();
    all.extend(handing_over());
    all.extend(examples());
    all
}

/// The function answers itself.
fn waiting() -> Vec<Scenario> {
    vec![
        workflow("a function waits for its Job and returns its result", invoking(&a_job("x", "echo done")), "{}")
            .essential()
            .with_function(LONG)
            .without_a_worker()
            .succeeds([
                at("/Payload/kind", "Job"),
                at("/Payload/status/succeeded", 1),
                contains("/Payload/logs/pods", r#""log":"done\n""#),
                at("/StatusCode", 200),
            ]),
        workflow("a function tells of a failed Job as Lambda tells of errors", invoking(&a_job("x", "exit 3")), "{}")
            .essential()
            .with_function(LONG)
            .without_a_worker()
            .fails(
                "Job.BackoffLimitExceeded",
                [
                    at("/errorType", "Job.BackoffLimitExceeded"),
                    within("/errorMessage", at("/diagnosis/code", "Job.BackoffLimitExceeded")),
                    within("/errorMessage", at("/diagnosis/containers/0/exitCode", 3)),
                    within("/errorMessage", at("/job/metadata/name", "x")),
                ],
            ),
        workflow("a Retry attaches to the Job that outlasts its function", outlasting(), "{}")
            .essential()
            .with_function(SHORT)
            .without_a_worker()
            // The first has ended with RunJob.StillRunning, or there would be no second.
            .until(Sight::Invocations(2))
            .then(Act::OpenGate)
            .succeeds([ran(1)]),
        workflow("a function refuses a request that it does not understand", misspelt(), "{}")
            .essential()
            .with_function(LONG)
            .without_a_worker()
            .fails(
                "RunJob.InvalidParameters",
                [at("/errorType", "RunJob.InvalidParameters"), within("/errorMessage", contains("", "LogOption"))],
            )
            .leaves(Afterwards::Nothing),
        article_by_function(
            "the article's workflow succeeds by a function that waits",
            Form::Waiting,
            "/Payload/StatusCode",
        )
        .essential()
        .without_a_worker(),
    ]
}

/// A token answers.
fn handing_over() -> Vec<Scenario> {
    vec![
        workflow("a worker answers for the Job that a function has handed over", tokened(&a_gated_job("x")), "{}")
            .essential()
            .with_function(LONG)
            .until(Sight::JobRuns)
            .then(Act::OpenGate)
            .succeeds([log("main", "finished\n"), at("/status/succeeded", 1)]),
        workflow(
            "the failure of what a function has handed over is told natively",
            tokened(&a_job("x", "exit 3")),
            "{}",
        )
        .with_function(LONG)
        .fails("Job.BackoffLimitExceeded", [at("/diagnosis/code", "Job.BackoffLimitExceeded")]),
        workflow("a sweep answers for the Job that a function has handed over", tokened(&a_gated_job("x")), "{}")
            .essential()
            .with_function(LONG)
            .without_a_worker()
            .until(Sight::JobRuns)
            .then(Act::Sweep)
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            .then(Act::Sweep)
            .succeeds([log("main", "finished\n"), at("/status/succeeded", 1)]),
        article_by_function(
            "the article's workflow succeeds by a function that hands over",
            Form::HandingOver,
            "/StatusCode",
        )
        .essential(),
    ]
}

/// The examples of `examples/lambda`, as they stand there but for the namespace and the function's name.
fn examples() -> Vec<Scenario> {
    vec![
        workflow("the example of a function that waits succeeds", in_own_namespace(WAITING), EXAMPLES_INPUT)
            .essential()
            .with_function(LONG)
            .without_a_worker()
            .succeeds([contains("/logs/pods", "hello, world")]),
        workflow("the example of a function that hands over succeeds", in_own_namespace(CALLBACK), EXAMPLES_INPUT)
            .essential()
            .with_function(LONG)
            .succeeds([at("/greeting", json!(["hello, world"]))])
            .differs_on(
                Backend::LocalStack,
                "a single match of a path is a scalar, not a list",
                Ending::Succeeds(vec![at("/greeting", "hello, world")]),
            ),
        workflow(
            "the example of a function that starts and calls succeeds",
            in_own_namespace(START_AND_CALL),
            EXAMPLES_INPUT,
        )
        .essential()
        .with_function(LONG)
        .without_a_worker()
        .succeeds([contains("/job/name", "hello-"), contains("/found/uid", "-")])
        .leaves(Afterwards::Nothing),
    ]
}

/// A machine with one state of these fields.
fn of_one_state(state: Value) -> String {
    let mut state = state;
    if let Some(state) = state.as_object_mut() {
        state.extend([("Type".to_owned(), "Task".into()), ("End".to_owned(), true.into())]);
    }
    json!({"StartAt": "Task", "States": {"Task": state}}).to_string()
}

/// A machine that has the function wait for a Job. What it says is the state's result, as it is.
fn invoking(job: &JobRequest) -> String {
    of_one_state(json!({
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "{function}", "Payload": job.clone().in_namespace("{namespace}").parameters()},
    }))
}

/// A machine that has the function hand a Job over.
fn tokened(job: &JobRequest) -> String {
    let payload = job.clone().in_namespace("{namespace}").with("/TaskToken.$", "$$.Task.Token").parameters();
    of_one_state(json!({
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "HeartbeatSeconds": 60,
        "Parameters": {"FunctionName": "{function}", "Payload": payload},
    }))
}

/// A machine whose Job runs until it is let go on, with the `Retry` that is advised.
fn outlasting() -> String {
    let job = gated_and_counted("").generated("long-").in_namespace("{namespace}").with("/IdempotencyKey.$", ADVISED);
    of_one_state(json!({
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "{function}", "Payload": job.parameters()},
        "Retry": [{
            "ErrorEquals": ["RunJob.StillRunning"], "IntervalSeconds": 1, "MaxAttempts": 1000, "BackoffRate": 1.0,
        }],
        "OutputPath": "$.Payload",
    }))
}

fn misspelt() -> String {
    invoking(&a_job("x", "true").with("/LogOption", json!({})))
}

fn article_by_function(name: &'static str, form: Form, status: &'static str) -> Scenario {
    let machine = in_own_namespace(&article::by_function("{function}", form).to_string());
    of_the_article(workflow(name, machine, article::INPUT), status).with_function(LONG)
}

/// A machine for the namespace `default`, in the scenario's own: many of them can run at a time.
fn in_own_namespace(machine: &str) -> String {
    let moved = machine.replace("namespaces/default", "namespaces/{namespace}");
    let mut machine: Value = serde_json::from_str(&moved).unwrap_or_default();
    let states = machine.get_mut("States").and_then(Value::as_object_mut);
    for state in states.into_iter().flat_map(|states| states.values_mut()) {
        if let Some(name) = state.pointer_mut("/Parameters/FunctionName") {
            *name = "{function}".into();
        }
        let payload = state.pointer_mut("/Parameters/Payload").and_then(Value::as_object_mut);
        // A call has its namespace in its path.
        if let Some(payload) = payload.filter(|payload| payload.contains_key("Job")) {
            payload.insert("Namespace".to_owned(), "{namespace}".into());
        }
    }
    machine.to_string()
}
