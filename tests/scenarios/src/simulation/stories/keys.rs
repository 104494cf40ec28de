//! `IdempotencyKey`: attempts that share a Job.

use crate::{
    jobs::{JobRequest, a_job},
    simulation::{
        expected::{Ending, Expected},
        story::Story,
    },
};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("a key whose Job runs on when the next attempt comes", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 60; echo done");
                let first = stage.run(&job, Expected::aborted());
                stage.until_running("x").await;
                first.abort();
                stage.seconds(1).await;
                stage.run(&job, Expected::succeeds());
            })
        }),
        Story::new("a key whose Job is complete", |stage| {
            Box::pin(async move {
                let job = keyed("echo done").with("/Job/spec/ttlSecondsAfterFinished", 3600);
                let first = stage.run(&job, Expected::succeeds());
                stage.until_closed(&first).await;
                stage.run(&job, Expected::succeeds());
            })
        }),
        Story::new("a key whose Job has failed", |stage| {
            Box::pin(async move {
                let job = keyed("echo trying; lucky 2");
                let first = stage.run(&job, Expected::fails("Job.BackoffLimitExceeded"));
                stage.until_closed(&first).await;
                stage.run(&job, Expected::succeeds().or(Ending::Fails("Job.BackoffLimitExceeded")));
            })
        }),
        Story::new("a key whose Job is waited for", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 60; echo done");
                stage.run(&job, Expected::succeeds().or(CONFLICT));
                stage.until_running("x").await;
                stage.run(&job, Expected::from(CONFLICT).or(Ending::Succeeds));
            })
        }),
        Story::new("a key of another Job", |stage| {
            Box::pin(async move {
                let first = stage.run(&keyed("echo one"), Expected::succeeds());
                stage.until_closed(&first).await;
                stage.run(&keyed("echo other"), Expected::from(CONFLICT).or(Ending::Succeeds));
            })
        }),
        Story::new("a key that nobody comes back for", |stage| {
            Box::pin(async move {
                let first = stage.run(&keyed("echo begun; sleep 600"), Expected::aborted());
                stage.until_running("x").await;
                first.abort();
            })
        }),
        Story::new("a key that somebody comes back for too late", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 100; echo done");
                let first = stage.run(&job, Expected::aborted());
                stage.until_running("x").await;
                first.abort();
                // The beat at 20 s brings it to light; 40 s later the Job is deleted.
                stage.seconds(61).await;
                stage.run(&job, Expected::succeeds());
            })
        }),
        Story::new("a key of two starts", |stage| {
            Box::pin(async move {
                let job = keyed("sleep 30").with("/Action", "runJob");
                let first = stage.run(&job, Expected::succeeds());
                stage.until_closed(&first).await;
                stage.run(&job, Expected::succeeds().or(CONFLICT));
            })
        }),
        Story::new("a key of a Job that was detached", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 90; echo done").with("/OnTaskGone", "detach");
                let first = stage.run(&job, Expected::aborted());
                stage.until_running("x").await;
                first.abort();
                stage.seconds(65).await;
                stage.run(&job, Expected::succeeds());
            })
        }),
        Story::new("two attempts of a key at once, and two workers", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 20; echo done");
                stage.run(&job, Expected::succeeds().either(CONFLICT));
                stage.run(&job, Expected::succeeds().either(CONFLICT));
            })
        })
        .with_replicas(2),
    ]
}

/// Somebody waits for the Job of the key.
const CONFLICT: Ending = Ending::Fails("RunJob.IdempotencyConflict");

fn keyed(script: &str) -> JobRequest {
    a_job("x", script).with("/IdempotencyKey", "the same for all")
}
