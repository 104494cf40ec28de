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
    cluster::{Exchanged, Fence, Unreachable},
    heartbeat::Hold,
    retry::CALLS,
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
    /// It may work later: within that patience, and not before the server's own wish.
    Later {
        patience: Duration,
        after: Option<Duration>,
        failure: TaskFailure,
    },
}

impl Intake {
    /// Creates the Job. A request whose answer is lost is repeated; a 409 is looked into.
    pub(super) async fn create(&self, plan: &Plan, hold: &Hold) -> Started {
        let mut pauses = CALLS.pauses();
        let first = Instant::now();
        loop {
            let (patience, after, failure) = match self.attempt(plan).await {
                Attempt::Done(started) => return started,
                Attempt::Later { patience, after, failure } => (patience, after, failure),
            };
            let pause = pauses.next(after);
            if first.elapsed() + pause > patience {
                return Started::Failed(failure);
            }
            warn!(job = %plan.key, error = %failure.error, "unable to create the Job yet");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Only between attempts: a request under way may create the Job, and then the tracker has to know.
                () = hold.gone() => return Started::NobodyWaits,
            }
        }
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
            return Attempt::Later { patience: PATIENCE, after: None, failure: conflict.answer.failure() };
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
            Attempt::Later { patience, after: exchanged.retry_after, failure }
        }
        None => Attempt::Done(Started::Failed(failure)),
    }
}

fn later(unreachable: &Unreachable) -> Attempt {
    let failure = TaskFailure::saying(ErrorName::ClusterUnreachable, unreachable.to_string());
    Attempt::Later { patience: PATIENCE, after: None, failure }
}

fn internal(message: &str) -> TaskFailure {
    TaskFailure::saying(ErrorName::Internal, message)
}
