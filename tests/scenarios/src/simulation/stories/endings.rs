//! How Jobs end.

use crate::{
    jobs::{JobRequest, a_job},
    simulation::{
        expected::{Ending, Expected},
        story::Story,
    },
};

pub(super) fn stories() -> Vec<Story> {
    [plain(), special()].concat()
}

/// What every worker does every day.
fn plain() -> Vec<Story> {
    vec![
        Story::new("success", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 5; echo done"), Expected::succeeds());
            })
        }),
        // Its UID is written on it.
        Story::new("a Job that runs for more than a minute", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 80; echo done"), Expected::succeeds());
            })
        }),
        Story::new("failure", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 5; exit 3"), Expected::fails("Job.BackoffLimitExceeded"));
            })
        }),
        Story::new("OnFailure, with pods that Kubernetes deletes", |stage| {
            Box::pin(async move {
                stage.run(&on_failure(), Expected::fails("Job.BackoffLimitExceeded"));
            })
        }),
        Story::new("a deadline", |stage| {
            Box::pin(async move {
                stage.run(&with_deadline(), Expected::fails("Job.DeadlineExceeded"));
            })
        }),
        Story::new("retries within the backoff limit", |stage| {
            Box::pin(async move {
                let job = a_job("x", "echo trying; sleep 2; lucky 2").with("/Job/spec/backoffLimit", 2);
                stage.run(&job, Expected::succeeds());
            })
        }),
        Story::new("a TTL of 0", |stage| {
            Box::pin(async move {
                stage.run(&kept("x", "echo here; sleep 3", 0), Expected::succeeds());
                stage.run(&kept("y", "echo there; sleep 8; exit 1", 0), Expected::fails("Job.BackoffLimitExceeded"));
            })
        }),
        Story::new("a TTL of 10 minutes", |stage| {
            Box::pin(async move {
                stage.run(&kept("x", "echo here; sleep 3", 600), Expected::succeeds());
            })
        }),
        Story::new("several containers", |stage| {
            Box::pin(async move {
                let job = a_job("x", "echo main; sleep 4")
                    .and_init_container("before", "echo before")
                    .and_container("beside", "echo beside; sleep 2");
                stage.run(&job, Expected::succeeds());
            })
        }),
        Story::new("a Job with three pods at once", |stage| {
            Box::pin(async move {
                let job =
                    a_job("x", "echo part; sleep 4").with("/Job/spec/parallelism", 3).with("/Job/spec/completions", 3);
                stage.run(&job, Expected::succeeds());
            })
        }),
    ]
}

/// What happens now and then.
fn special() -> Vec<Story> {
    vec![
        Story::new("a start that is not waited for", |stage| {
            Box::pin(async move {
                let job = a_job("x", "sleep 20").with("/Action", "runJob");
                stage.run(&job, Expected::succeeds());
                stage.seconds(15).await;
                stage.run(&kept("y", "echo short", 30).with("/Action", "runJob"), Expected::succeeds());
            })
        }),
        Story::new("an image that cannot be pulled", |stage| {
            Box::pin(async move {
                let job = a_job("x", "true").with_main("image", "nosuch.invalid/x:v1");
                stage.run(&job, Expected::fails("Job.ImagePullFailed"));
            })
        })
        .told(&["--stuck-grace", "20s"]),
        Story::new("a Job that is suspended at first", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo late").with("/Job/spec/suspend", true), Expected::succeeds());
                stage.until(|kubernetes| kubernetes.get("jobs", "default", "x").is_some()).await;
                stage.seconds(30).await;
                stage.edit_job("x", |job| job["spec"]["suspend"] = false.into());
            })
        }),
        Story::new("a Job that loses its label", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo here; sleep 30"), Expected::succeeds());
                stage.until_running("x").await;
                stage.edit_job("x", |job| {
                    if let Some(labels) = job.pointer_mut("/metadata/labels").and_then(|labels| labels.as_object_mut())
                    {
                        labels.shift_remove("runjob/group");
                    }
                });
            })
        })
        // A Job without its label is in no list.
        .attended(),
        Story::new("two workers and five tasks", |stage| {
            Box::pin(async move {
                stage.run(&a_job("a", "echo a; sleep 3"), Expected::succeeds());
                stage.run(&a_job("b", "echo b; sleep 6; exit 1"), Expected::fails("Job.BackoffLimitExceeded"));
                stage.seconds(1).await;
                stage.run(&on_failure(), Expected::fails("Job.BackoffLimitExceeded"));
                stage.run(&kept("d", "echo d; sleep 9", 0), Expected::succeeds());
                let long = stage.run(&a_job("e", "sleep 600"), Expected::aborted().or(Ending::Succeeds));
                stage.until_running("e").await;
                long.abort();
            })
        })
        .with_replicas(2),
    ]
}

fn on_failure() -> JobRequest {
    a_job("c", "echo last-words; sleep 3; exit 1")
        .with("/Job/spec/backoffLimit", 1)
        .with("/Job/spec/template/spec/restartPolicy", "OnFailure")
}

fn with_deadline() -> JobRequest {
    a_job("x", "trap; echo begun; sleep 600").with("/Job/spec/activeDeadlineSeconds", 15)
}

fn kept(name: &str, script: &str, seconds: u64) -> JobRequest {
    a_job(name, script).with("/Job/spec/ttlSecondsAfterFinished", seconds)
}
