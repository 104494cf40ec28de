//! States that have the function do something, and wait for what it returns.

use serde_json::{Value, json};

use crate::{
    jobs::{JobRequest, a_job},
    simulation::{
        expected::{Ending, Expected},
        functions::{Form, Sweeping},
        story::Story,
    },
};

pub(super) fn stories() -> Vec<Story> {
    [waiting(), others()].concat().into_iter().map(|story| story.swept(Sweeping::Afterwards)).collect()
}

fn waiting() -> Vec<Story> {
    vec![
        Story::new("a function that waits for a short Job", |stage| {
            Box::pin(async move {
                stage.invoke(Form::Waits, &keyed("echo begun; sleep 5; echo done"), Expected::succeeds());
            })
        }),
        Story::new("a function that waits for longer than two of it may take", |stage| {
            Box::pin(async move {
                stage.invoke(Form::Waits, &keyed("echo begun; sleep 100; echo done"), Expected::succeeds());
            })
        }),
        Story::new("a function that waits for a Job that fails", |stage| {
            Box::pin(async move {
                let failing = Expected::fails("Job.BackoffLimitExceeded");
                stage.invoke(Form::Waits, &keyed("echo begun; sleep 5; exit 3"), failing);
            })
        }),
        Story::new("a Job that fails between two invocations", |stage| {
            Box::pin(async move {
                // The first ends after 40 s, the second begins a second later.
                let failing = Expected::fails("Job.BackoffLimitExceeded");
                stage.invoke(Form::Waits, &keyed("echo begun; sleep 39; exit 3"), failing);
            })
        }),
        Story::new("a function that waits for a Job with a TTL of 0", |stage| {
            Box::pin(async move {
                let job = keyed("echo here; sleep 3").with("/Job/spec/ttlSecondsAfterFinished", 0);
                stage.invoke(Form::Waits, &job, Expected::succeeds());
            })
        }),
        Story::new("a function that waits for a Job that may stay", |stage| {
            Box::pin(async move {
                let job = a_job("x", "echo begun; sleep 100").with("/OnTaskGone", "detach");
                stage.invoke(Form::Waits, &job, Expected::fails(NO_KEY).or(KILLED));
            })
        }),
        Story::new("a function that waits for too long a Job without a key", |stage| {
            Box::pin(async move {
                stage.invoke(Form::Waits, &a_job("x", "echo begun; sleep 600"), Expected::fails(NO_KEY).or(KILLED));
            })
        }),
        Story::new("a function that waits for a short Job without a key", |stage| {
            Box::pin(async move {
                // With trouble on the way, the function's time may be over before it has the result.
                let late = Ending::Fails(NO_KEY);
                let expected = Expected::succeeds().or(KILLED).or(late);
                stage.invoke(Form::Waits, &a_job("x", "echo begun; sleep 5"), expected);
            })
        }),
        Story::new("an execution that is stopped while its function waits", |stage| {
            Box::pin(async move {
                let execution = stage.invoke(Form::Waits, &keyed("echo begun; sleep 600"), Expected::aborted());
                stage.until_running("x").await;
                stage.stop(&execution);
            })
        }),
    ]
}

fn others() -> Vec<Story> {
    vec![
        Story::new("a function that starts a Job", |stage| {
            Box::pin(async move {
                let job = a_job("x", "echo begun; sleep 20").with("/Action", "runJob");
                stage.invoke(Form::Waits, &job, Expected::succeeds().or(KILLED));
            })
        }),
        Story::new("a function that starts a Job with a key", |stage| {
            Box::pin(async move {
                let job = keyed("echo begun; sleep 20").with("/Action", "runJob");
                stage.invoke(Form::Waits, &job, Expected::succeeds());
            })
        }),
        Story::new("a function that sends a call", |stage| {
            Box::pin(async move {
                let request = json!({"Action": "call", "Method": "GET", "Path": "/api/v1/namespaces/default"});
                stage.ask(Form::Waits, request, Expected::succeeds().or(KILLED));
            })
        }),
        Story::new("a function that is asked for what it does not know", |stage| {
            Box::pin(async move {
                let request: Value = json!({"Jobb": 1});
                stage.ask(Form::Waits, request, Expected::fails("RunJob.InvalidParameters").or(KILLED));
            })
        }),
    ]
}

/// What the state of a function without a key ends with if that is killed.
const KILLED: Ending = Ending::Fails("Runtime.ExitError");
/// Its time was over.
const NO_KEY: &str = "RunJob.IdempotencyKeyMissing";

fn keyed(script: &str) -> JobRequest {
    a_job("x", script).with("/IdempotencyKey", "the same for all")
}
