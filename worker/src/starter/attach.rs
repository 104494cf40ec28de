//! The Job of the task's `IdempotencyKey`, made by an earlier attempt: it is taken over, or makes room, or stays, as
//! [`attach`](runjob_core::attach::attach) says.
//!
//! Nothing is taken from a task that waits: whoever had the Job before is asked for by a heartbeat, and the patch that takes it
//! over applies only to the very version that was looked at.

use runjob_core::{
    attach::{Attach, Conflict, Holder, attach},
    failure::{ErrorName, TaskFailure},
    job::JobView,
    ledger::Stamp,
    lifecycle::stamp_of,
    plan::Plan,
    refusal::PATIENCE,
    waiter::Waiter,
};

use super::{
    Starter,
    create::{Attempt, Concerns, Existence, Later, Started},
};
use crate::{
    cluster::{Exchanged, WriteError},
    heartbeat::Hold,
};

impl Starter {
    /// Attaches the task to the Job of its key, which was found under the planned name. `taken` is what the server has said of
    /// that name, for a Job that does not make room.
    pub(super) async fn attach(&self, plan: &Plan, found: &JobView, taken: TaskFailure, hold: &Hold) -> Attempt {
        let holder = match stamp_of(found) {
            Some(stamp) if is_earlier_invocation(plan, stamp) => Holder::EarlierInvocation,
            Some(stamp) => self.holder(stamp).await,
            None => Holder::Nobody,
        };
        if hold.is_gone() {
            return Attempt::Done(Started::NobodyWaits);
        }
        match attach(plan.stamp.answer, found, holder) {
            Attach::TakeOver => self.take_over(plan, found).await,
            Attach::Replace => self.make_room(found).await.attempt(taken),
            Attach::LookAgain(conflict) => undecided(plan, &conflict),
            Attach::Refuse(conflict) => Attempt::Done(Started::Failed(conflict.failure(&plan.key))),
        }
    }

    async fn take_over(&self, plan: &Plan, found: &JobView) -> Attempt {
        let error = match self.cluster.take_over(plan, found).await {
            Ok(exchanged) => return verify_taken_over(plan, exchanged),
            Err(error) => error,
        };
        match error {
            // It has ended, or was deleted, or another attempt was faster.
            WriteError::Changed => undecided(plan, &Conflict::Awaited),
            WriteError::Unreachable(unreachable) => self.later(&unreachable, Existence::TakenOver),
            WriteError::Passing { answer, after } => Attempt::Later(Later {
                patience: PATIENCE,
                after,
                failure: answer.failure(),
                existence: Existence::TakenOver,
                concerns: Concerns::ThisTask,
            }),
            WriteError::Refused { .. } => {
                let conflict = Conflict::Unwritable(error.to_string());
                Attempt::Done(Started::Failed(conflict.failure(&plan.key)))
            }
        }
    }
}

/// Whether two invocations of a function share the key: they are attempts of one state, each after the other.
fn is_earlier_invocation(plan: &Plan, stamp: &Stamp) -> bool {
    let is_invocation = |waiter: &Waiter| matches!(waiter, Waiter::Invocation { .. });
    is_invocation(&plan.stamp.waiter) && is_invocation(&stamp.waiter)
}

fn undecided(plan: &Plan, conflict: &Conflict) -> Attempt {
    let failure = conflict.failure(&plan.key);
    Attempt::Later(Later {
        patience: PATIENCE,
        after: None,
        failure,
        existence: Existence::Impossible,
        concerns: Concerns::ThisTask,
    })
}

/// The Job is taken over. Is it as it was planned? If not, it stays all the same: it may have run for days.
pub(super) fn verify_taken_over(plan: &Plan, taken: Exchanged) -> Attempt {
    let checked = JobView::of(&taken.answer.body).map_err(|error| error.to_string());
    let Err(difference) = checked.and_then(|view| plan.check_stamp(&view)) else {
        return Attempt::Done(Started::Attached(Box::new(taken.answer.body)));
    };
    let message = format!(
        "what runjob wrote on the Job {} was changed when the task took it over, by a mutating admission webhook or policy: \
         {difference}; the Job is left as it is",
        plan.key
    );
    Attempt::Done(Started::Failed(TaskFailure::saying(ErrorName::StampRejected, message)))
}
