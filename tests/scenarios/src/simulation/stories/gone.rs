//! Tasks and Jobs that go before their time.

use std::time::Duration;

use runjob_sandbox::kube::Propagation;

use crate::{
    jobs::a_job,
    simulation::{
        expected::{Ending, Expected},
        story::Story,
    },
};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("a task that is stopped", |stage| {
            Box::pin(async move {
                let task = stage.run(&a_job("x", "echo begun; sleep 600"), Expected::aborted());
                stage.until_running("x").await;
                task.abort();
            })
        }),
        Story::new("a task that is stopped while its Job is created", |stage| {
            Box::pin(async move {
                let task = stage.run(&a_job("x", "echo begun; sleep 600"), Expected::aborted());
                stage.until_handed_out(&task).await;
                task.abort();
            })
        }),
        Story::new("a task that is stopped while its Job ends", |stage| {
            Box::pin(async move {
                let task = stage.run(&a_job("x", "echo begun; sleep 5"), Expected::aborted().or(Ending::Succeeds));
                stage
                    .until(|kubernetes| {
                        let job = kubernetes.get("jobs", "default", "x");
                        job.is_some_and(|job| crate::simulation::witness::has_condition(&job, "SuccessCriteriaMet"))
                    })
                    .await;
                task.abort();
            })
        }),
        Story::new("a task that times out", |stage| {
            Box::pin(async move {
                let job = a_job("x", "echo begun; sleep 600");
                stage.task(&job.input(), Some(Duration::from_secs(30)), Ending::TimesOut.into());
            })
        }),
        Story::new("a task that is stopped, with a Job that stays", |stage| {
            Box::pin(async move {
                let job = a_job("x", "echo begun; sleep 100").with("/OnTaskGone", "detach");
                let task = stage.run(&job, Expected::aborted());
                stage.until_running("x").await;
                task.abort();
            })
        }),
        Story::new("a Job that somebody deletes", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 600"), Expected::fails("Job.Deleted").or(Ending::Succeeds));
                stage.until_running("x").await;
                stage.delete_job("x", Propagation::Background);
            })
        }),
        Story::new("a Job that somebody deletes after its pods", |stage| {
            Box::pin(async move {
                let job = a_job("x", "trap; echo begun; sleep 600");
                stage.run(&job, Expected::fails("Job.Deleted"));
                stage.until_running("x").await;
                stage.delete_job("x", Propagation::Foreground);
            })
        }),
        Story::new("a Job that somebody deletes, and two workers", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 600"), Expected::fails("Job.Deleted"));
                stage.until_running("x").await;
                stage.delete_job("x", Propagation::Background);
            })
        })
        .with_replicas(2),
        Story::new("a worker that is told to end while its poll brings a task", |stage| {
            Box::pin(async move {
                stage.seconds(1).await;
                stage.run(&a_job("x", "echo begun; sleep 30"), Expected::succeeds());
                // The answer is on its way.
                stage.moment().await;
                stage.drain(0);
            })
        }),
        Story::new("a worker that is told to end while a Job runs, and another", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 20; echo done"), Expected::succeeds());
                stage.run(&a_job("y", "echo begun; sleep 9; exit 1"), Expected::fails("Job.BackoffLimitExceeded"));
                stage.until_running("x").await;
                stage.drain(0);
            })
        })
        .with_replicas(2),
        Story::new("a Job that takes longer than a task may be silent", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo begun; sleep 110; echo done"), Expected::succeeds());
            })
        }),
    ]
}
