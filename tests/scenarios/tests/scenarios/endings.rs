//! How Jobs end.

use std::time::Duration;

use runjob_scenarios::{
    check::{absent, at, contains, counts, lacks, log},
    jobs::{JobRequest, SCRATCH, a_job},
    scenario::{Afterwards, Scenario, scenario},
    step::{Act, Sight},
};
use serde_json::json;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = successes();
    all.extend(failures());
    all
}

fn successes() -> Vec<Scenario> {
    vec![
        scenario("a Job that succeeds gives its object and its logs", a_job("x", "echo '{\"answer\": 42}'"))
            .essential()
            .succeeds([
                at("/kind", "Job"),
                at("/apiVersion", "batch/v1"),
                at("/status/succeeded", 1),
                log("main", json!({"answer": 42})),
                lacks("", "runjob/"),
            ]),
        scenario("logs nobody asked for are not in the result", a_job("x", "true").with("/LogOptions", json!({})))
            .succeeds([absent("/logs")]),
        scenario("a start is answered as soon as the Job exists", a_job("x", "sleep 20").with("/Action", "runJob"))
            .succeeds([at("/metadata/name", "x"), absent("/status/succeeded")])
            .each_left([absent("/metadata/deletionTimestamp"), absent("/status/succeeded")]),
        scenario("retries within the backoff limit lead to success", third_time_lucky()).essential().succeeds([
            at("/status/failed", 2),
            at("/status/succeeded", 1),
            counts("/logs/pods", 3),
        ]),
        scenario("an Indexed Job of 5 gives the logs of 5 pods", indexed_of_5()).succeeds([
            at("/status/succeeded", 5),
            counts("/logs/pods", 5),
            contains("/logs", "index-0"),
            contains("/logs", "index-4"),
        ]),
        scenario(
            "a Job that is kept for no time still gives its logs, and goes then",
            a_job("x", "echo here").with("/Job/spec/ttlSecondsAfterFinished", 0),
        )
        .essential()
        .succeeds([at("/spec/ttlSecondsAfterFinished", 0), log("main", "here\n")])
        .leaves(Afterwards::Nothing),
        scenario(
            "a Job keeps the TTL that its user gave it",
            a_job("x", "true").with("/Job/spec/ttlSecondsAfterFinished", 600),
        )
        .succeeds([at("/spec/ttlSecondsAfterFinished", 600)])
        .each_left([at("/spec/ttlSecondsAfterFinished", 600)]),
        scenario(
            "a suspended Job is waited for until it is resumed",
            a_job("x", "echo late").with("/Job/spec/suspend", true),
        )
        .until(Sight::JobIs("Suspended"))
        .then(Act::Merge { resource: "batch/v1/jobs", name: "x", patch: json!({"spec": {"suspend": false}}) })
        .succeeds([log("main", "late\n")]),
        scenario("a generated name begins with its prefix", a_job("", "true").generated("report-"))
            .succeeds([contains("/metadata/name", "report-")]),
    ]
}

fn failures() -> Vec<Scenario> {
    vec![
        scenario("a Job that fails gives its exit code and its logs", a_job("x", "echo working; exit 3"))
            .essential()
            .fails(
                "Job.BackoffLimitExceeded",
                [
                    at("/diagnosis/containers/0/exitCode", 3),
                    contains("/diagnosis/summary", "exit code 3"),
                    at("/job/status/failed", 1),
                    log("main", "working\n"),
                ],
            ),
        scenario(
            "the logs of a pod that Kubernetes deletes are in the cause",
            a_job("x", "echo last-words; exit 1")
                .with("/Job/spec/backoffLimit", 1)
                .with("/Job/spec/template/spec/restartPolicy", "OnFailure"),
        )
        .essential()
        .fails("Job.BackoffLimitExceeded", [contains("/logs", "last-words")]),
        scenario("of a container that is restarted too late the run that failed is told", failing_once()).fails(
            "Job.BackoffLimitExceeded",
            [
                at("/diagnosis/containers/0/exitCode", 3),
                contains("/diagnosis/summary", "exit code 3"),
                contains("/logs", "\"previous\":{\"log\":\"it failed\\n\"}"),
            ],
        ),
        scenario(
            "what a container prints while it is terminated is in the cause",
            a_job(
                "x",
                "trap 'echo got-term; sleep 1; echo bye-now; exit 3' TERM; echo started; while :; do sleep 0.1; done",
            )
            .with("/Job/spec/activeDeadlineSeconds", 12),
        )
        .essential()
        .fails("Job.DeadlineExceeded", [contains("/logs", "started\\ngot-term\\nbye-now")]),
        scenario(
            "an init container that fails is named",
            a_job("x", "echo never").and_init_container("prepare", "echo preparing; exit 4"),
        )
        .fails(
            "Job.BackoffLimitExceeded",
            [
                at("/diagnosis/containers/0/container", "prepare"),
                at("/diagnosis/containers/0/exitCode", 4),
                contains("/logs", "preparing"),
            ],
        ),
        scenario(
            "of two containers the one that fails is named, and both have their logs",
            a_job("x", "echo fine").and_container("second", "echo broken; exit 5"),
        )
        .fails(
            "Job.BackoffLimitExceeded",
            [
                at("/diagnosis/containers/0/container", "second"),
                at("/diagnosis/containers/0/exitCode", 5),
                log("main", "fine\n"),
                log("second", "broken\n"),
            ],
        ),
        scenario("one name can stand for all failures of Jobs", a_job("x", "exit 1"))
            .flags(&["--job-failed-error", "JobFailed"])
            .fails("JobFailed", [at("/diagnosis/code", "Job.BackoffLimitExceeded")]),
        scenario("a Job that somebody deletes is reported as deleted", a_job("x", "sleep 600"))
            .until(Sight::JobRuns)
            .then(Act::Delete("batch/v1/jobs", "x"))
            .fails("Job.Deleted", [contains("/diagnosis/summary", "/x was deleted")])
            .leaves(Afterwards::Nothing),
        deleted("a Job that waits for its pods to go is answered before they do", Some("Foreground")),
        deleted("a deleted Job is answered within a minute or so, however long its pods print", Some("Background"))
            .leaves(Afterwards::PodsOnly(1)),
        deleted("a Job whose pods were left behind has their logs in its cause", None).leaves(Afterwards::PodsOnly(1)),
    ]
}

/// A Job that is deleted in that way, whose program takes no notice of SIGTERM. Its pod outlasts the answer.
fn deleted(name: &'static str, propagation: Option<&'static str>) -> Scenario {
    let job = a_job("x", "trap '' TERM; while :; do echo still here; sleep 1; done")
        .with("/Job/spec/template/spec/terminationGracePeriodSeconds", 180);
    scenario(name, job)
        .until(Sight::JobRuns)
        .then(Act::Pass(Duration::from_secs(2)))
        .then(Act::DeleteJob("x", propagation))
        .within(Duration::from_secs(70))
        .fails("Job.Deleted", [contains("/logs", "still here")])
}

fn third_time_lucky() -> JobRequest {
    let script = format!("echo x >> {SCRATCH}/tries; [ $(wc -l < {SCRATCH}/tries) -ge 3 ]");
    a_job("x", &script).with_scratch().with("/Job/spec/backoffLimit", 2)
}

/// Kubernetes ends its second run, since the first has used up the Job's only attempt.
fn failing_once() -> JobRequest {
    let script = format!("[ -e {SCRATCH}/failed ] && sleep 600; touch {SCRATCH}/failed; echo it failed; exit 3");
    a_job("x", &script)
        .with_scratch()
        .with("/Job/spec/backoffLimit", 1)
        .with("/Job/spec/template/spec/restartPolicy", "OnFailure")
}

fn indexed_of_5() -> JobRequest {
    a_job("x", "echo index-$JOB_COMPLETION_INDEX")
        .with("/Job/spec/completionMode", "Indexed")
        .with("/Job/spec/completions", 5)
        .with("/Job/spec/parallelism", 5)
}
