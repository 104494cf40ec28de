//! `IdempotencyKey`: attempts of one piece of work that share a Job.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::{Check, at, contains, log},
    jobs::{JobRequest, SCRATCH, a_job},
    scenario::{Afterwards, Ending, Scenario, scenario, workflow},
    step::{Act, Sight},
};
use serde_json::{Value, json};

use crate::workflows::retried;

/// The key that the documentation advises.
pub(crate) const ADVISED: &str = "States.Format('{}/{}/{}', $$.Execution.Id, $$.State.Name, $$.State.EnteredTime)";
/// What the worker says when a task has got the Job of its key.
pub(crate) const ATTACHED: &str = "attached to the Job of its key";
/// Why LocalStack cannot show what depends on the end of a task.
pub(crate) const HEARTBEATS: &str = "it accepts heartbeats of a task that has ended, and nobody can tell";

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = running();
    all.extend(ended());
    all
}

/// The Job still runs when the next attempt comes.
fn running() -> Vec<Scenario> {
    vec![
        // The worker learns of the time-out within a second; the next attempt comes later than that.
        workflow("a Retry after a time-out attaches to the Job that runs on", timing_out(), "{}")
            .not_on(Backend::LocalStack, HEARTBEATS)
            .until(Sight::WorkerSays(ATTACHED))
            .then(Act::OpenGate)
            .succeeds([ran(1)]),
        scenario("an execution attaches to the Job of one that was stopped", keyed(gated_and_counted("x")))
            .not_on(Backend::LocalStack, HEARTBEATS)
            .until(Sight::JobRuns)
            .then(Act::StopExecution)
            .then(Act::StartAnother)
            .until(Sight::WorkerSays(ATTACHED))
            .then(Act::OpenGate)
            .until_other_ends(Ending::Succeeds(vec![ran(1)]))
            .is_aborted(),
        scenario("a Job whose worker was killed while nobody waited is attached to", keyed(gated_and_counted("x")))
            .not_on(Backend::LocalStack, HEARTBEATS)
            .until(Sight::JobRuns)
            .then(Act::KillWorker)
            .then(Act::StopExecution)
            .then(Act::StartAnother)
            .then(Act::StartWorker)
            .until(Sight::WorkerSays(ATTACHED))
            .then(Act::OpenGate)
            .until_other_ends(Ending::Succeeds(vec![ran(1)]))
            .is_aborted(),
        scenario("a key is refused while somebody waits for its Job", keyed(gated_and_counted("x")))
            .until(Sight::JobRuns)
            .then(Act::StartAnother)
            .until_other_ends(Ending::Fails(
                "RunJob.IdempotencyConflict",
                vec![at("/job/name", "x"), contains("/message", "which has a task that still waits for it")],
            ))
            .then(Act::OpenGate)
            .succeeds([ran(1)]),
        scenario("a Job with a key goes when nobody comes back for it", keyed(gated_and_counted("x")))
            .not_on(Backend::LocalStack, HEARTBEATS)
            .flags(&["--reattach-grace", "12s"])
            .until(Sight::JobRuns)
            .then(Act::StopExecution)
            .until(Sight::WorkerSays("its Job is kept for a while"))
            .then(Act::Pass(Duration::from_secs(7)))
            // Nobody has touched it: its container would have been killed by now.
            .until(Sight::JobRuns)
            .is_aborted()
            .leaves(Afterwards::Nothing),
        scenario("a Job that was detached is attached to", keyed(gated_and_counted("x")).with("/OnTaskGone", "detach"))
            .not_on(Backend::LocalStack, HEARTBEATS)
            .flags(&["--reattach-grace", "1s"])
            .until(Sight::JobRuns)
            .then(Act::StopExecution)
            .until(Sight::JobSettled)
            .then(Act::StartAnother)
            .until(Sight::WorkerSays(ATTACHED))
            .then(Act::OpenGate)
            .until_other_ends(Ending::Succeeds(vec![ran(1)]))
            .is_aborted(),
    ]
}

/// The Job has ended when the next attempt comes.
fn ended() -> Vec<Scenario> {
    let kept = keyed(counted("x", "true")).with("/Job/spec/ttlSecondsAfterFinished", 600);
    let other = keyed(counted("x", "true"));
    vec![
        workflow("the result of a complete Job is delivered again", in_a_row([&kept, &kept]), "{}")
            .essential()
            .succeeds([ran(1), at("/spec/ttlSecondsAfterFinished", 600)])
            .each_left([at("/spec/ttlSecondsAfterFinished", 600)]),
        workflow("a Job that has failed is replaced by the next attempt with its key", failing_at_first(), "{}")
            .essential()
            .succeeds([ran(2)]),
        workflow("a key that belongs to another Job is refused", in_a_row([&kept, &other]), "{}")
            .fails("RunJob.IdempotencyConflict", [at("/job/name", "x"), contains("/message", "made from another Job")]),
        scenario(
            "a start that is asked for again with its key gives the Job that there is",
            keyed(counted("", "sleep 20").generated("start-")).with("/Action", "runJob"),
        )
        .until(Sight::JobSettled)
        .then(Act::StartAnother)
        .until_other_ends(Ending::Succeeds(vec![contains("/metadata/name", "start-")]))
        .succeeds([contains("/metadata/name", "start-")]),
    ]
}

/// A Job that counts how often it has run, and prints that in the end.
fn counted(name: &str, then: &str) -> JobRequest {
    a_job(name, &format!("echo run >> {SCRATCH}/runs; {then} && wc -l < {SCRATCH}/runs")).with_scratch()
}

/// The same, until it is let go on.
pub(crate) fn gated_and_counted(name: &str) -> JobRequest {
    counted(name, &format!("until [ -e {SCRATCH}/go ]; do sleep 0.1; done"))
}

/// What it prints after so many runs.
pub(crate) fn ran(times: u32) -> Check {
    log("main", times)
}

pub(crate) fn keyed(job: JobRequest) -> JobRequest {
    job.with("/IdempotencyKey", "the same for all")
}

/// Its first attempt times out while the Job runs; the second comes when that is long known.
fn timing_out() -> String {
    let job = gated_and_counted("").generated("long-").in_namespace("{namespace}").with("/IdempotencyKey.$", ADVISED);
    let limits = json!({"TimeoutSeconds": 12, "HeartbeatSeconds": 10, "Retry": [
        {"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 4, "MaxAttempts": 3, "BackoffRate": 1.0},
    ]});
    retried("States.Timeout", &limits, &job.parameters())
}

fn failing_at_first() -> String {
    let second = format!("[ $(wc -l < {SCRATCH}/runs) = 2 ]");
    let job = counted("", &second).generated("try-").in_namespace("{namespace}").with("/IdempotencyKey.$", ADVISED);
    retried("Job.BackoffLimitExceeded", &json!({}), &job.parameters())
}

/// A machine that makes one request after the other.
fn in_a_row(requests: [&JobRequest; 2]) -> String {
    let [first, second] = requests.map(|request| request.clone().in_namespace("{namespace}").parameters());
    let task = json!({"Type": "Task", "Resource": "{activity}", "HeartbeatSeconds": 60});
    let with = |fields: Value| {
        let states = [&task, &fields].into_iter().filter_map(Value::as_object);
        Value::Object(states.flatten().map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let states = json!({
        "First": with(json!({"Parameters": first, "Next": "Second"})),
        "Second": with(json!({"Parameters": second, "End": true})),
    });
    json!({"StartAt": "First", "States": states}).to_string()
}
