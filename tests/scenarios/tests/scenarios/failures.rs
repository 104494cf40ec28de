//! Failures that a pod or the Job's status explains better than `BackoffLimitExceeded` does.

use runjob_scenarios::{
    backend::Backend,
    check::{at, contains},
    jobs::{JobRequest, a_job},
    scenario::{Scenario, scenario},
    step::{Act, Sight},
};
use serde_json::{Value, json};

const NO_LIMITS: &str = "the sandbox's containers are local processes, without limits, probes and requests";
const NO_POLICIES: &str = "the sandbox's Job controller has no podFailurePolicy and no limits per index";
const NO_EVICTION: &str = "the sandbox has no Eviction API";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("a container that is out of memory is named with its limit", out_of_memory())
            .not_on(Backend::Sandbox, NO_LIMITS)
            .fails(
                "Job.OutOfMemory",
                [
                    contains("/diagnosis/summary", "container main"),
                    contains("/diagnosis/summary", "16Mi"),
                    at("/diagnosis/containers/0/exitCode", 137),
                    at("/diagnosis/containers/0/reason", "OOMKilled"),
                    contains("/logs", "before"),
                ],
            ),
        scenario(
            "of a container that is killed it is told by whom",
            a_job("x", "sleep 600").with_main("livenessProbe", never_well()),
        )
        .not_on(Backend::Sandbox, NO_LIMITS)
        .fails(
            "Job.BackoffLimitExceeded",
            [
                contains("/diagnosis/summary", "SIGKILL"),
                contains("/diagnosis/summary", "liveness probe"),
                at("/diagnosis/containers/0/signal", "SIGKILL"),
            ],
        ),
        scenario("the rule of a pod failure policy is told", ruled_out()).not_on(Backend::Sandbox, NO_POLICIES).fails(
            "Job.PodFailurePolicy",
            [
                contains("/diagnosis/summary", "rule at index 0"),
                contains("/diagnosis/summary", "exit code 42"),
                // The first failure is the last: the backoff limit plays no part.
                at("/job/status/failed", 1),
            ],
        ),
        scenario("indexes that fail are told by their numbers", indexed("exit $JOB_COMPLETION_INDEX", 3, None))
            .not_on(Backend::Sandbox, NO_POLICIES)
            .fails(
                "Job.FailedIndexes",
                [contains("/diagnosis/summary", "1,2"), at("/job/status/succeeded", 1), at("/job/status/failed", 2)],
            ),
        scenario("a Job with too many failed indexes ends", indexed("exit 7", 6, Some(1)))
            .not_on(Backend::Sandbox, NO_POLICIES)
            .fails(
                "Job.MaxFailedIndexesExceeded",
                [contains("/diagnosis/summary", "0,1"), contains("/diagnosis/summary", "exit code 7")],
            ),
        scenario("a pod that is evicted is told from one that fails", a_job("x", "sleep 600"))
            .not_on(Backend::Sandbox, NO_EVICTION)
            .until(Sight::JobRuns)
            .then(Act::EvictPod)
            .fails("Job.Evicted", [contains("/diagnosis/summary", "evict"), at("/diagnosis/retryable", true)]),
        scenario(
            "a pod that makes room for another is told from one that fails",
            a_job("x", "sleep 600").with_main("resources", a_processor()),
        )
        .not_on(Backend::Sandbox, NO_LIMITS)
        .alone()
        .until(Sight::JobRuns)
        .then(Act::Create { resource: "pods", object: more_important() })
        .fails("Job.Preempted", [at("/diagnosis/retryable", true)]),
    ]
}

fn out_of_memory() -> JobRequest {
    // Of a file without lines `tail` keeps everything.
    a_job("x", "echo before; tail /dev/zero").with_main("resources", json!({"limits": {"memory": "16Mi"}}))
}

fn never_well() -> Value {
    json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1})
}

fn ruled_out() -> JobRequest {
    let codes = json!({"containerName": "main", "operator": "In", "values": [42]});
    a_job("x", "exit 42")
        .with("/Job/spec/backoffLimit", 3)
        .with("/Job/spec/podFailurePolicy", json!({"rules": [{"action": "FailJob", "onExitCodes": codes}]}))
}

/// Two of its pods at a time, and one attempt for each index.
fn indexed(script: &str, completions: u32, max_failed: Option<u32>) -> JobRequest {
    a_job("x", script)
        .with("/Job/spec/completionMode", "Indexed")
        .with("/Job/spec/completions", completions)
        .with("/Job/spec/parallelism", 2)
        .with("/Job/spec/backoffLimit", Value::Null)
        .with("/Job/spec/backoffLimitPerIndex", 0)
        .with("/Job/spec/maxFailedIndexes", max_failed)
}

/// Of two that the node has: there is no room for two such pods.
fn a_processor() -> Value {
    json!({"requests": {"cpu": "1100m"}})
}

fn more_important() -> Value {
    let main = json!({"name": "main", "image": "busybox", "command": ["sleep", "600"], "resources": a_processor()});
    json!({"metadata": {"name": "important"},
        "spec": {"containers": [main], "priorityClassName": "system-cluster-critical"}})
}
