//! Tasks that end before their Job does, and Jobs that outlast heartbeats.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::{contains, log},
    jobs::{SCRATCH, a_gated_job, a_job},
    scenario::{Afterwards, Clocks, Ending, Scenario, scenario, workflow},
    step::{Act, Sight},
};
use serde_json::json;

use crate::workflows::retried;

/// What becomes of an execution that is stopped.
const STOPPED: &str = "a stopped execution whose task has HeartbeatSeconds ends as one that timed out";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("a Job whose execution is stopped goes with its pods", a_job("x", "sleep 600"))
            .essential()
            .until(Sight::JobRuns)
            .then(Act::StopExecution)
            .is_aborted()
            .differs_on(Backend::LocalStack, STOPPED, Ending::Fails("States.Timeout", vec![]))
            .leaves(Afterwards::Nothing),
        scenario("a Job whose state has timed out goes with its pods", a_job("x", "sleep 600"))
            .clocks(Clocks { timeout: Some(25), heartbeat: Some(20) })
            .until(Sight::JobRuns)
            .fails("States.Timeout", [])
            .leaves(Afterwards::Nothing),
        scenario("a Job that is to be detached runs on", a_gated_job("x").with("/OnTaskGone", "detach"))
            .until(Sight::JobRuns)
            .then(Act::StopExecution)
            // Were it finished by then, it would stay in any case.
            .until(Sight::JobSettled)
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            .is_aborted()
            .differs_on(Backend::LocalStack, STOPPED, Ending::Fails("States.Timeout", vec![])),
        scenario("heartbeats keep the task of a long Job alive", a_job("x", "sleep 12; echo done"))
            .clocks(Clocks { timeout: None, heartbeat: Some(4) })
            .succeeds([log("main", "done\n")]),
        workflow(
            "a Retry after a missed heartbeat succeeds",
            second_attempt_is_quick("States.HeartbeatTimeout", None, 5),
            "{}",
        )
        .not_on(Backend::LocalStack, "a worker that is killed leaves polls behind there, which swallow the next tasks")
        .until(Sight::JobRuns)
        .then(Act::KillWorker)
        .then(Act::Pass(Duration::from_secs(6)))
        .then(Act::StartWorker)
        .succeeds([contains("/logs", "second attempt")]),
        // The worker learns of the time-out from the next attempt, not from a heartbeat: that would be due 4 s later. An attempt's
        // time includes the end of its predecessor.
        workflow(
            "a Retry after a time-out takes the name of the Job that it replaces",
            second_attempt_is_quick("States.Timeout", Some(15), 14),
            "{}",
        )
        .not_on(Backend::LocalStack, "it accepts heartbeats of an attempt that has timed out, and nobody can tell")
        .beating_every("10s")
        .succeeds([contains("/logs", "second attempt")]),
    ]
}

/// The first attempt leaves a mark and sleeps until it is killed.
fn second_attempt_is_quick(error: &str, timeout: Option<u32>, heartbeat: u32) -> String {
    let script = format!("[ -e {SCRATCH}/first ] && echo second attempt && exit; touch {SCRATCH}/first; sleep 600");
    let job = a_job("fixed", &script)
        .with("/Job/spec/template/spec/terminationGracePeriodSeconds", 1)
        .with_scratch()
        .in_namespace("{namespace}");
    let limits = match timeout {
        Some(timeout) => json!({"TimeoutSeconds": timeout, "HeartbeatSeconds": heartbeat}),
        None => json!({"HeartbeatSeconds": heartbeat}),
    };
    // A conflict with the first attempt's Job is not tried again.
    retried(error, &limits, &job.parameters())
}
