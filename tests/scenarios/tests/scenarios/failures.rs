//! Failures that a pod or the Job's status explains better than `BackoffLimitExceeded` does.

use runjob_scenarios::{
    backend::Backend,
    check::{at, contains, counts, lacks},
    jobs::{JobRequest, a_job},
    scenario::{Scenario, scenario},
    step::{Act, Sight},
};
use serde_json::{Value, json};

const NO_LIMITS: &str = "the sandbox's containers are local processes, without limits, probes and requests";
const NO_POLICIES: &str = "the sandbox's Job controller has no podFailurePolicy and no limits per index";
const NO_EVICTION: &str = "the sandbox has no Eviction API";

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = explained();
    all.extend(exit_codes());
    all
}

fn explained() -> Vec<Scenario> {
    vec![
        scenario("a pod that its node rejects is told from a program that fails", too_large_for_its_node()).fails(
            "Job.PodRejected",
            [
                contains("/diagnosis/summary", "OutOfcpu"),
                contains("/diagnosis/summary", "enough resource: cpu"),
                lacks("/diagnosis/summary", "exit code"),
                lacks("/diagnosis/hint", "the program failed"),
                at("/diagnosis/retryable", true),
                counts("/diagnosis/containers", 0),
                contains("/diagnosis/events", "OutOfcpu"),
            ],
        ),
        scenario("what ends a native sidecar is not what its Job failed by", beside_a_sidecar()).fails(
            "Job.BackoffLimitExceeded",
            [
                contains("/diagnosis/summary", "container main"),
                contains("/diagnosis/summary", "exit code 3"),
                at("/diagnosis/containers/0/container", "main"),
            ],
        ),
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

/// Who set an exit code is not told by the code.
fn exit_codes() -> Vec<Scenario> {
    let by_program = |name, script, code: i64, hint| {
        scenario(name, a_job("x", script)).fails(
            "Job.BackoffLimitExceeded",
            [
                contains("/diagnosis/summary", format!("exit code {code}")),
                at("/diagnosis/containers/0/exitCode", code),
                contains("/diagnosis/hint", hint),
            ],
        )
    };
    vec![
        by_program("a shell that does not find a command has run", "no-such-program", 127, "as a shell does"),
        by_program("a shell that may not execute a command has run", "/etc", 126, "as a shell does"),
        by_program("a program may end with the code of a runtime", "exit 128", 128, "the program failed"),
        by_program("a program may end with the highest code", "exit 255", 255, "the program failed"),
        scenario(
            "a program that cannot be started is told from one that fails",
            a_job("x", "true").with_main("command", json!(["no-such-program"])),
        )
        .fails(
            "Job.ContainerNotStarted",
            [
                contains("/diagnosis/summary", "could not be started"),
                contains("/diagnosis/summary", "StartError"),
                lacks("/diagnosis/hint", "the program failed"),
                at("/diagnosis/containers/0/reason", "StartError"),
            ],
        ),
    ]
}

/// Bound to the node, past the scheduler, which would wait for a larger one.
fn too_large_for_its_node() -> JobRequest {
    a_job("x", "true").with_pod("nodeName", "localhost").with_main("resources", json!({"requests": {"cpu": "4k"}}))
}

fn beside_a_sidecar() -> JobRequest {
    a_job("x", "sleep 2; exit 3")
        .and_init_container("proxy", "trap 'exit 7' TERM; sleep 600 & wait")
        .with_pod("initContainers/0/restartPolicy", "Always")
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
