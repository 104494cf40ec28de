//! Creating the planned Job, once, whatever happens to requests and answers on the way.

use std::time::Duration;

use runjob_core::{
    failure::{ErrorName, TaskFailure},
    job::JobView,
    plan::{Plan, Relation},
    refusal::{PATIENCE, Refusal},
};
use tokio::time::Instant;
use tracing::warn;

use super::Intake;
use crate::{
    cluster::{Delivery, Exchanged, Fence, Unreachable},
    heartbeat::Hold,
    retry::CALLS,
    sfn::SfnError,
};

/// How long an object of that name may take to go away.
const DELETION_PATIENCE: Duration = Duration::from_mins(2);

/// What came of it.
pub(super) enum Started {
    /// The Job exists, stamped. The tracker goes on.
    Created,
    /// It does not, and the task is to fail.
    Failed(TaskFailure),
    /// It does not, or its task is answered already.
    NobodyWaits,
}

/// One attempt.
enum Attempt {
    Done(Started),
    /// It may work later.
    Later(Later),
}

/// An attempt that may be repeated.
struct Later {
    /// For how long it is worth it.
    patience: Duration,
    /// Not before the server's own wish.
    after: Option<Duration>,
    /// What the task fails with when the patience is over.
    failure: TaskFailure,
    /// Whether the Job may exist all the same.
    delivery: Delivery,
}

impl Intake {
    /// Creates the Job. A request whose answer is lost is repeated; a 409 is looked into.
    pub(super) async fn create(&self, plan: &Plan, hold: &Hold) -> Started {
        let mut pauses = CALLS.pauses();
        let first = Instant::now();
        loop {
            let later = match self.attempt(plan).await {
                Attempt::Done(started) => return started,
                Attempt::Later(later) => later,
            };
            let pause = pauses.next(later.after);
            if first.elapsed() + pause > later.patience {
                return Started::Failed(later.failure);
            }
            warn!(job = %plan.key, error = %later.failure.error, "unable to create the Job yet");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Only between attempts: a request under way may create the Job, and then the tracker has to know.
                () = hold.gone() => return Started::NobodyWaits,
            }
            if later.delivery == Delivery::Unknown && self.is_answered(plan).await {
                return Started::NobodyWaits;
            }
        }
    }

    /// Whether the task was answered while the answer to its create was missing: the Job may have run, and even have been
    /// deleted since. Created once more, it would run twice.
    async fn is_answered(&self, plan: &Plan) -> bool {
        let beat = self.clients.heartbeat(&plan.stamp.source, &plan.stamp.token).await;
        matches!(beat, Err(SfnError::Gone(_)))
    }

    async fn attempt(&self, plan: &Plan) -> Attempt {
        let exchanged = match self.cluster.create(plan).await {
            Ok(exchanged) => exchanged,
            Err(unreachable) => return later(&unreachable),
        };
        match Refusal::of(&exchanged.answer) {
            None => self.created(plan, &exchanged).await,
            Some(Refusal::NameTaken) => self.look(plan, &exchanged).await,
            Some(refusal) => refused(refusal, &exchanged),
        }
    }

    /// The Job is created. Is it as it was planned?
    async fn created(&self, plan: &Plan, exchanged: &Exchanged) -> Attempt {
        let created = match JobView::of(&exchanged.answer.body) {
            Ok(view) => view,
            Err(error) => return Attempt::Done(Started::Failed(internal(&error.to_string()))),
        };
        let Err(failure) = plan.check_stamp(&created) else { return Attempt::Done(Started::Created) };
        // It may be in another version already; it is of no use in any.
        if let Err(error) = self.cluster.delete(&created, Fence::Job).await {
            warn!(job = %plan.key, %error, "unable to delete a Job whose stamp was changed");
        }
        Attempt::Done(Started::Failed(failure))
    }

    /// There is an object of that name. It is ours when an earlier create arrived and only its answer was lost.
    async fn look(&self, plan: &Plan, conflict: &Exchanged) -> Attempt {
        let found = match self.cluster.get(&plan.key).await {
            Ok(found) => found,
            Err(unreachable) => return later(&unreachable),
        };
        if found.answer.status == 404 {
            // It has gone in the meantime: the name is free.
            let failure = conflict.answer.failure();
            return Attempt::Later(Later { patience: PATIENCE, after: None, failure, delivery: Delivery::Unknown });
        }
        if let Some(refusal) = Refusal::of(&found.answer) {
            return refused(refusal, &found);
        }
        let relation = JobView::of(&found.answer.body).map(|view| plan.relation(&view));
        Attempt::Done(match relation {
            Ok(Relation::Ours) => Started::Created,
            Ok(Relation::OursAndSettled) => Started::NobodyWaits,
            Ok(Relation::Foreign) | Err(_) => Started::Failed(conflict.answer.failure()),
        })
    }
}

fn refused(refusal: Refusal, exchanged: &Exchanged) -> Attempt {
    let failure = exchanged.answer.failure();
    match refusal.patience() {
        Some(patience) => {
            let patience = if refusal == Refusal::BeingDeleted { patience.min(DELETION_PATIENCE) } else { patience };
            Attempt::Later(Later { patience, after: exchanged.retry_after, failure, delivery: delivery(exchanged) })
        }
        None => Attempt::Done(Started::Failed(failure)),
    }
}

fn later(unreachable: &Unreachable) -> Attempt {
    let failure = TaskFailure::saying(ErrorName::ClusterUnreachable, unreachable.to_string());
    Attempt::Later(Later { patience: PATIENCE, after: None, failure, delivery: unreachable.delivery })
}

/// A server error may come after the Job was stored; every other refusal comes instead of it.
fn delivery(exchanged: &Exchanged) -> Delivery {
    if exchanged.answer.status >= 500 { Delivery::Unknown } else { Delivery::NotSent }
}

fn internal(message: &str) -> TaskFailure {
    TaskFailure::saying(ErrorName::Internal, message)
}
