//! Jobs that the function hands over with their task's token: to workers, or to its own sweeps.

use crate::{
    jobs::{JobRequest, a_job},
    simulation::{
        expected::{Ending, Expected},
        functions::{Form, Sweeping},
        story::Story,
    },
};

pub(super) fn stories() -> Vec<Story> {
    [with_a_worker(), alone()].concat()
}

fn with_a_worker() -> Vec<Story> {
    vec![
        Story::new("a Job that is handed over to a worker", |stage| {
            Box::pin(async move {
                stage.invoke(Form::HandsOver, &a_job("x", "echo begun; sleep 5"), Expected::succeeds().or(KILLED));
            })
        }),
        Story::new("sweeps while a worker holds the Lease", |stage| {
            Box::pin(async move {
                stage.invoke(Form::HandsOver, &keyed("echo begun; sleep 20"), Expected::succeeds());
                stage.until_running("x").await;
                stage.sweep().await;
            })
        }),
        Story::new("sweeps after the worker has died", |stage| {
            Box::pin(async move {
                stage.invoke(Form::HandsOver, &keyed("echo begun; sleep 20"), Expected::succeeds());
                stage.until_running("x").await;
                stage.retire(0);
            })
        })
        .swept(Sweeping::Always)
        .with_replicas(1),
    ]
}

fn alone() -> Vec<Story> {
    let stories = vec![
        Story::new("a Job that is handed over to sweeps", |stage| {
            Box::pin(async move {
                stage.invoke(Form::HandsOver, &keyed("echo begun; sleep 100; echo done"), Expected::succeeds());
            })
        }),
        Story::new("a Job that fails and was handed over to sweeps", |stage| {
            Box::pin(async move {
                let failing = Expected::fails("Job.BackoffLimitExceeded").or(KILLED);
                stage.invoke(Form::HandsOver, &a_job("x", "echo begun; sleep 5; exit 3"), failing);
            })
        }),
        Story::new("a start that is handed over to sweeps", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 5").with("/Action", "runJob");
                stage.invoke(Form::HandsOver, &job, Expected::succeeds());
            })
        }),
        Story::new("an execution that is stopped and leaves its Job to sweeps", |stage| {
            Box::pin(async move {
                let execution =
                    stage.invoke(Form::HandsOver, &a_job("x", "echo begun; sleep 600"), Expected::aborted().or(KILLED));
                stage.until_running("x").await;
                stage.stop(&execution);
            })
        }),
        Story::new("a key that nobody comes back for, and sweeps", |stage| {
            Box::pin(async move {
                let execution = stage.invoke(Form::HandsOver, &keyed("echo begun; sleep 900"), Expected::aborted());
                stage.until_running("x").await;
                stage.stop(&execution);
            })
        }),
        Story::new("a key that somebody comes back for, and sweeps", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 150; echo done");
                let execution = stage.invoke(Form::HandsOver, &job, Expected::aborted());
                stage.until_running("x").await;
                stage.stop(&execution);
                // The sweep after a minute has noted how long it is kept.
                stage.seconds(75).await;
                stage.invoke(Form::HandsOver, &job, Expected::succeeds());
            })
        }),
        Story::new("two sweeps at once", |stage| {
            Box::pin(async move {
                stage.invoke(Form::HandsOver, &keyed("echo begun; sleep 5; echo done"), Expected::succeeds());
                stage.seconds(10).await;
                tokio::join!(stage.sweep(), stage.sweep());
            })
        }),
        Story::new("a sweep of eleven dead tasks", |stage| {
            Box::pin(async move {
                let jobs = (0..11).map(|number| a_job(&format!("x{number}"), "echo begun; sleep 3600"));
                let ends = || Expected::aborted().or(KILLED);
                let executions: Vec<_> = jobs.map(|job| stage.invoke(Form::HandsOver, &job, ends())).collect();
                stage.seconds(20).await;
                for execution in &executions {
                    stage.stop(execution);
                }
            })
        })
        .disturbed_every(7),
    ];
    stories.into_iter().map(|story| story.swept(Sweeping::Always)).collect()
}

/// What the state of a function without a key ends with if that is killed.
const KILLED: Ending = Ending::Fails("Runtime.ExitError");

fn keyed(script: &str) -> JobRequest {
    a_job("x", script).with("/IdempotencyKey", "the same for all")
}
