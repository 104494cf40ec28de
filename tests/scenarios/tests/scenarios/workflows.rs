//! Whole workflows.

use std::process::Command;

use runjob_scenarios::{
    backend::Backend,
    check::{at, contains, on_the_way},
    jobs::{SCRATCH, a_job},
    scenario::{Afterwards, Ending, Scenario, workflow},
};
use serde_json::{Value, json};

/// The article's state machine, as it is printed there.
const ARTICLE: &str = include_str!("../../../../examples/pi/workflow.asl.json");
pub(crate) const ARTICLE_INPUT: &str = include_str!("../../../../examples/pi/input.json");

/// The first and the last of 2000 digits.
pub(crate) const PI_BEGINS: &str = "3.14159265358979323846264338327950288419716939937510";
const PI_ENDS: &str = "33904780275901";

/// What becomes of numbers.
pub(crate) const DIGITS: &str = "numbers become doubles";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        article(),
        workflow(
            "a Retry after a failed first attempt succeeds",
            retried("Job.BackoffLimitExceeded", &json!({}), &failing_at_first()),
            "{}",
        )
        .essential()
        .succeeds([at("/status/succeeded", 1), contains("/logs", "second attempt")])
        .leaves(Afterwards::Settled(2)),
        workflow("30 Jobs from a Map run at a time", map_of_30(), json!({"items": vec![0; 30]}).to_string())
            .essential()
            .not_on(Backend::Sandbox, "the sandbox's Step Functions has no Map")
            .not_on(Backend::Cluster, "the sandbox's Step Functions has no Map")
            .succeeds([at("", json!(vec![1; 30]))])
            .leaves(Afterwards::Settled(30)),
    ]
}

fn article() -> Scenario {
    let article = workflow("the article's workflow succeeds, verbatim", ARTICLE, ARTICLE_INPUT)
        .in_default()
        .essential()
        .succeeds([on_the_way(PI_BEGINS), on_the_way(PI_ENDS), at("/StatusCode", 200)])
        .differs_on(
            Backend::LocalStack,
            DIGITS,
            Ending::Succeeds(vec![on_the_way("3.141592653589793"), at("/StatusCode", 200)]),
        )
        // Its last state deletes the Job without a `propagationPolicy`: natively, too, that leaves the pod behind.
        .leaves(Afterwards::PodsOnly(1));
    if perl_is_able() {
        return article;
    }
    article.not_on(Backend::Sandbox, "this machine's perl cannot run the program: libmath-bigint-perl cures it")
}

/// The article's machine with the function in place of the native resources, which hands the Job over with a task token. The call has none:
/// a function answers it while it is invoked, and LocalStack loses an answer that comes before the invocation has ended.
pub(crate) fn article_handed_over() -> String {
    let mut machine: Value = serde_json::from_str(ARTICLE).unwrap_or_default();
    let states = machine.get_mut("States").and_then(Value::as_object_mut);
    for state in states.into_iter().flat_map(|states| states.values_mut()) {
        let native = state["Resource"].as_str().and_then(|name| name.strip_prefix("arn:aws:states:::eks:"));
        if let Some(native) = native.map(ToOwned::to_owned) {
            let mut payload = state["Parameters"].as_object().cloned().unwrap_or_default();
            payload.insert("Action".to_owned(), native.as_str().into());
            if native == "call" {
                state["Resource"] = "arn:aws:states:::lambda:invoke".into();
                state["OutputPath"] = "$.Payload".into();
            } else {
                state["Resource"] = "arn:aws:states:::lambda:invoke.waitForTaskToken".into();
                state["HeartbeatSeconds"] = 60.into();
                payload.insert("TaskToken.$".to_owned(), "$$.Task.Token".into());
            }
            state["Parameters"] = json!({"FunctionName": "{function}", "Payload": payload});
        }
    }
    machine.to_string()
}

/// Whether this machine's perl can run the article's program: the sandbox has no other.
fn perl_is_able() -> bool {
    let probe = "exit(Math::BigInt->VERSION >= 1.999837 ? 0 : 1)";
    Command::new("perl").args(["-MMath::BigInt", "-e", probe]).status().is_ok_and(|status| status.success())
}

/// A machine of one task that is tried again after that error, at once.
pub(crate) fn retried(error: &str, limits: &Value, parameters: &Value) -> String {
    let mut task = json!({
        "Type": "Task",
        "Resource": "{activity}",
        "HeartbeatSeconds": 60,
        "Parameters": parameters,
        "Retry": [{"ErrorEquals": [error], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1.0}],
        "End": true,
    });
    if let (Some(task), Some(limits)) = (task.as_object_mut(), limits.as_object()) {
        task.extend(limits.clone());
    }
    json!({"StartAt": "Task", "States": {"Task": task}}).to_string()
}

fn failing_at_first() -> Value {
    let job = a_job("", "[ $ATTEMPT != 0 ] && echo second attempt")
        .generated("try-")
        .in_namespace("{namespace}")
        .with("/Job/spec/template/spec/containers/0/env", attempt_in_environment());
    job.parameters()
}

fn attempt_in_environment() -> Value {
    json!([{"name": "ATTEMPT", "value.$": "States.Format('{}', $$.State.RetryCount)"}])
}

/// None of them ends before all of them run.
fn map_of_30() -> String {
    let script = format!("touch {SCRATCH}/$HOSTNAME; until [ $(ls {SCRATCH} | wc -l) = 30 ]; do sleep 0.2; done");
    let job = a_job("", &script).generated("item-").with_scratch().in_namespace("{namespace}");
    let task = json!({
        "Type": "Task",
        "Resource": "{activity}",
        "HeartbeatSeconds": 60,
        "Parameters": job.parameters(),
        "OutputPath": "$.status.succeeded",
        "End": true,
    });
    let items = json!({"StartAt": "Item", "States": {"Item": task}});
    let map = json!({"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": items, "End": true});
    json!({"StartAt": "Items", "States": {"Items": map}}).to_string()
}
