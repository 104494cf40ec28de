//! Waiting for a Job within one invocation, and passing it on to the next: `runJob.sync`.
//!
//! ```text
//!  create or attach ─► watch that one Job ─► capture, compose, settle ─► return
//!                            └ the time is over: RunJob.StillRunning, and the next attempt attaches by its key
//! ```
//!
//! What becomes of the Job is decided by the very parts that decide it in a worker; only the answer is returned instead of sent.

use std::{sync::Arc, time::Duration};

use runjob::{
    cluster::{Fence, Known, Scope, Watched, WatchedJob, WriteError, watch},
    heartbeat::Hold,
    lease::Mandate,
    liveness::Liveness,
    permits::Permits,
    retry::CALLS,
    sfn::Reply,
    tracker::{Effects, Pulse, Returning, Tracker},
};
use runjob_core::{
    failure::{ErrorName, TaskFailure},
    job::JobView,
    ledger,
    lifecycle::outlives_its_task,
    names::JobKey,
    patch,
    plan::Plan,
    request::RunJob,
    waiter::Waiter,
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::{
    outcome::{Outcome, returned},
    session::Session,
};

/// How long an answer is held back for the sake of settling its Job: some seconds of trouble are worth it, an outage is not.
const SETTLING: Duration = Duration::from_secs(20);
/// News from the watch of the one Job that the tracker has not taken in yet.
const NEWS: usize = 16;

impl Session {
    /// Runs a Job, or attaches to the one that there is, and waits for its end.
    pub(crate) async fn wait(&self, run: &RunJob) -> Outcome {
        let grace = if run.idempotency_key.is_some() { self.care.reattach_grace } else { Duration::ZERO };
        let until = self.invocation.deadline.saturating_add(grace).unwrap_or(self.invocation.deadline);
        let plan = Plan::for_invocation(run, self.invocation.id.clone(), until, &self.group);
        let job = self.create(&plan, &Hold::on_nothing()).await?;
        if let Some(reply) = self.follow(&plan, job).await {
            return returned(reply);
        }
        if run.idempotency_key.is_some() {
            info!(job = %plan.key, "the Job still runs; the next attempt attaches to it");
            return Err(still_running(&plan.key).into());
        }
        Err(self.give_up(&plan).await.into())
    }

    /// Follows the Job to its end. `None`: it has not come to it in time, or another invocation waits for it now.
    async fn follow(&self, plan: &Plan, job: Value) -> Option<Reply> {
        let scope = Scope::Job(plan.key.clone());
        let sign = Liveness::default().watch_over("the invocation".to_owned());
        let (news, watched) = mpsc::channel::<Watched>(NEWS);
        let watching = watch(self.cluster.clone(), scope.clone(), self.group.clone(), news, sign.clone());
        let _watching = AbortOnDropHandle::new(tokio::spawn(watching));
        let (to, mut answers) = mpsc::unbounded_channel();
        let effects = Effects::new(
            self.clients.clone(),
            self.cluster.clone(),
            self.replies.clone().returned(),
            self.group.clone(),
            self.care,
            self.metrics.clone(),
        );
        let effects = effects.returning(Returning { invocation: self.invocation.id.clone(), to });
        let tracker = Tracker::new(
            Arc::new(effects),
            self.heartbeats.clone(),
            Permits::new(1, 0),
            self.metrics.clone(),
            self.cluster.clock(),
            Arc::new(Pulse::new([], sign)),
            Mandate::unlimited(),
        );
        let serving = tracker.serve(WatchedJob::of(job), scope, watched);
        let mut serving = AbortOnDropHandle::new(tokio::spawn(serving));
        let reply = tokio::select! {
            biased;
            reply = answers.recv() => reply,
            () = tokio::time::sleep_until(self.time.end) => None,
        }?;
        // It settles its Job before it returns: afterwards it may be frozen for ever. Whoever acts for the group does so otherwise.
        let settled_by = self.time.last.min(Instant::now() + SETTLING);
        if timeout_at(settled_by, &mut serving).await.is_err() {
            warn!(job = %plan.key, "the Job could not be settled in time");
        }
        Some(reply)
    }

    /// Nobody can come back for a Job without a key: it goes, unless it is to be left, or has ended this very moment.
    async fn give_up(&self, plan: &Plan) -> TaskFailure {
        let fate = match timeout_at(self.time.last, self.let_go(plan)).await {
            Ok(Ok(fate)) => fate.to_owned(),
            Ok(Err(error)) => format!("it could not be let go of, and goes when a worker or a sweep finds it: {error}"),
            Err(_) => "it goes when a worker or a sweep finds it".to_owned(),
        };
        let message = format!(
            "the function's time was over before it had the result of the Job {}: {fate}; give the request an IdempotencyKey, and \
             the state a Retry on RunJob.StillRunning, so that the next invocation goes on waiting for the same Job",
            plan.key
        );
        TaskFailure::about(ErrorName::KeyMissing, message, &plan.key)
    }

    async fn let_go(&self, plan: &Plan) -> Result<&'static str, WriteError> {
        let mut pauses = CALLS.pauses();
        loop {
            // As long as nobody knows, it may run on: that is found out for as long as there is time.
            let view = match self.cluster.find_out(&plan.key).await {
                Known::Found(view, _) if ledger_is(&view, plan) => view,
                Known::Found(..) => return Ok("it is not this invocation's any more"),
                Known::Absent => return Ok("it is gone"),
                Known::Denied => {
                    return Ok("the function may not read it any more, and it goes when a worker or a sweep finds it");
                }
            };
            let done = if outlives_its_task(&view, &plan.stamp) {
                self.cluster
                    .patch(&view.key, &patch::settle(&view, &plan.stamp, 0))
                    .await
                    .map(|()| if view.phase.is_final() { "it has ended, and was left" } else { "it runs on" })
            } else {
                self.cluster.delete(&view, Fence::Version).await.map(|()| "it was deleted")
            };
            match done {
                Err(WriteError::Changed | WriteError::Unreachable(_)) => tokio::time::sleep(pauses.next(None)).await,
                Err(WriteError::Passing { after, .. }) => tokio::time::sleep(pauses.next(after)).await,
                done => return done,
            }
        }
    }
}

fn ledger_is(view: &JobView, plan: &Plan) -> bool {
    let Waiter::Invocation { id, .. } = &plan.stamp.waiter else { return false };
    matches!(&view.entry, ledger::Entry::Open(stamp) if stamp.waiter.is_invocation(id))
}

fn still_running(job: &JobKey) -> TaskFailure {
    let message = format!(
        "the Job {job} still runs, and the function's time is over: a Retry on this error attaches to it (MaxAttempts 1000, \
         BackoffRate 1)"
    );
    TaskFailure::about(ErrorName::StillRunning, message, job)
}
