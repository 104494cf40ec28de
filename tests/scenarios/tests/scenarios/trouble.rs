//! Trouble: workers that die, APIs that are away, nodes and API servers that are restarted.

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    check::{contains, lacks, log},
    jobs::{JobRequest, SCRATCH, a_gated_job, a_job},
    scenario::{Afterwards, Clocks, Ending, Scenario, scenario},
    step::{Act, Sight},
};
use serde_json::json;

/// Why the sandbox is spared some of it.
const ONE_PROCESS: &str = "the sandbox's Kubernetes is one process, which the test itself is";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("a worker that is killed is followed by one that answers", a_gated_job("x"))
            .essential()
            .until(Sight::JobRuns)
            .then(Act::KillWorker)
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            .then(Act::StartWorker)
            .succeeds([log("main", "finished\n")]),
        scenario("an API that is away for a while costs nothing", a_gated_job("x"))
            .until(Sight::JobRuns)
            .then(Act::CutApi)
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            .then(Act::Pass(Duration::from_secs(3)))
            .then(Act::RestoreApi)
            .succeeds([log("main", "finished\n")]),
        scenario("a log that breaks off while it is followed is read anew", slow_to_end())
            .until(Sight::JobIs("FailureTarget"))
            .then(Act::CutApi)
            .then(Act::Pass(Duration::from_secs(1)))
            .then(Act::RestoreApi)
            .fails(
                "Job.DeadlineExceeded",
                [contains("/logs", "started\\nterm-1\\nterm-2\\nterm-3\\nterm-4\\n"), lacks("/logs", "broke off")],
            ),
        scenario("a Job that is deleted while the API is away is noticed", a_gated_job("x"))
            .until(Sight::JobRuns)
            .then(Act::CutApi)
            .then(Act::Delete("batch/v1/jobs", "x"))
            .until(Sight::NoJob)
            .then(Act::RestoreApi)
            .fails("Job.Deleted", [contains("/diagnosis/summary", "/x was deleted")])
            .leaves(Afterwards::Nothing),
        scenario("a Job that loses its label gets it back", a_gated_job("x"))
            .until(Sight::JobRuns)
            .then(Act::Merge {
                resource: "batch/v1/jobs",
                name: "x",
                patch: json!({"metadata": {"labels": {"runjob/group": null}}}),
            })
            .until(Sight::JobWatched)
            .then(Act::OpenGate)
            .succeeds([log("main", "finished\n")]),
        restarted("a kubelet that is killed and restarted loses no Job", &["kill", "kubelet"]),
        // Last: the controllers come back to an API server that was away only after pauses, which grow each time.
        restarted("an etcd that is killed and restarted loses no Job", &["kill", "etcd"]),
        restarted("an API server that is killed and restarted loses no Job", &["kill", "apiserver"]),
        away_for_a_minute(),
        scenario("versions that are compacted while the watch is away lose no Job", a_gated_job("x"))
            .not_on(Backend::Sandbox, "the sandbox has no etcd; tests/sandbox forgets its history")
            .alone()
            .until(Sight::JobRuns)
            .then(Act::SilenceApi)
            .then(Act::OpenGate)
            .until(Sight::JobIs("Complete"))
            // Both: while the API server runs, its cache still knows what etcd has forgotten.
            .then(Act::Cluster(&["kill", "apiserver"]))
            .then(Act::Cluster(&["compact"]))
            .then(Act::Cluster(&["up"]))
            .then(Act::RestoreApi)
            .until(Sight::WorkerSays("too old resource version"))
            .succeeds([log("main", "finished\n")]),
    ]
}

/// A part of the cluster dies while a Job runs, and comes back after the Job's end.
fn restarted(name: &'static str, kill: &'static [&'static str]) -> Scenario {
    scenario(name, a_gated_job("x"))
        .not_on(Backend::Sandbox, ONE_PROCESS)
        .alone()
        .until(Sight::JobRuns)
        .then(Act::Cluster(kill))
        .then(Act::OpenGate)
        .then(Act::Cluster(&["up"]))
        .succeeds([log("main", "finished\n")])
}

/// The API server is away for a minute: long enough for every heartbeat to be missed, were it not sent.
fn away_for_a_minute() -> Scenario {
    let gated = |name, then: &str| a_job(name, &format!("until [ -e {SCRATCH}/go ]; do sleep 0.1; done; {then}"));
    let ends_meanwhile = gated("meanwhile", "echo finished").with_scratch();
    // Kubernetes deletes its pod before it has failed.
    let fails_meanwhile = gated("failing", "echo tried; exit 3").with_pod("restartPolicy", "OnFailure").with_scratch();
    scenario(
        "an API server that is away for a minute costs nothing",
        gated("x", "sleep 75; echo finished").with_scratch(),
    )
    .not_on(Backend::Sandbox, ONE_PROCESS)
    .alone()
    .clocks(Clocks { heartbeat: Some(8), timeout: None })
    .then(Act::AlsoRun(ends_meanwhile))
    .then(Act::AlsoRun(fails_meanwhile))
    .until(Sight::JobsRun(3))
    .then(Act::Cluster(&["kill", "apiserver"]))
    .then(Act::OpenGate)
    .then(Act::Pass(Duration::from_mins(1)))
    .then(Act::Cluster(&["up"]))
    .until_other_ends(Ending::Succeeds(vec![log("main", "finished\n")]))
    .until_other_ends(Ending::Fails("Job.BackoffLimitExceeded", vec![contains("/logs", "tried")]))
    .succeeds([log("main", "finished\n")])
    .leaves(Afterwards::Settled(3))
}

/// Its container ends four seconds after it was told to.
fn slow_to_end() -> JobRequest {
    let words = "for word in 1 2 3 4; do echo term-$word; sleep 1; done; exit 3";
    a_job("x", &format!("trap '{words}' TERM; echo started; while :; do sleep 0.1; done"))
        .with("/Job/spec/activeDeadlineSeconds", 12)
        .with("/Job/spec/template/spec/terminationGracePeriodSeconds", 20)
}
