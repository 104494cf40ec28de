//! A task whose start panicked. It must not be lost in silence, and it must not be answered while a Job of its own may run.
//!
//! Before anything was written, and for a `call`, there is nobody but this worker to answer: it answers. Once a create may have gone out,
//! the Job may exist, and then its task is the tracker's: a Job that runs on while its state is tried again would be run twice. So the
//! worker waits until the tracker has the Job, or until a create that was given up on cannot arrive any more and the API server says
//! that there is none.

use std::{panic::AssertUnwindSafe, sync::OnceLock, time::Duration};

use futures::FutureExt;
use runjob_core::{
    failure::{ErrorName, TaskFailure},
    job::JobView,
    plan::{Plan, Relation},
};
use serde_json::Value;
use tracing::{error, info, warn};

use super::{Asked, Intake, Order, entrance::Waited};
use crate::{
    cluster::Known,
    heartbeat::Hold,
    permits::Permit,
    retry::CALLS,
    room::Taken,
    sfn::{PolledTask, Reply},
    site::Site,
};

/// Longer than any request to the API server takes: one that was cut off by the panic has arrived by then, or never will.
const SETTLED: Duration = Duration::from_mins(1);

/// Whose the task is.
enum Heir {
    /// This worker is to answer: there is no Job.
    Worker,
    /// There is one, or there was: it is up to the tracker, or answered already. With the Job, if the tracker is not known to have it.
    Tracker(Option<Box<Value>>),
}

impl Intake {
    /// Starts a task, and answers it if no Job comes of it. A panic costs this one task its Job, and nothing else. `room`: what its
    /// input takes.
    pub(super) async fn start_guarded(&self, task: PolledTask, order: Order, room: Option<Taken>, hold: &Hold) {
        let Order { site, request, entry } = order;
        let (reply, mut permit) = match (request, self.enter(&site, entry, hold).await) {
            (_, Waited::NobodyWaits) => {
                info!("the task ended before there was room for it");
                return;
            }
            (Err(failure), Waited::Admitted(permit)) => (self.replies.failure(&failure), Some(permit)),
            (_, Waited::Failed(failure)) => {
                info!(error = %failure.error, "the task's cluster is away");
                (self.replies.failure(&failure), None)
            }
            (Ok(asked), Waited::Admitted(mut permit)) => {
                let Some(reply) = self.started(&task, &site, asked, hold, &mut permit).await else { return };
                (reply, Some(permit))
            }
        };
        // Step Functions may not take the answer for as long as the task waits: nobody else has to wait for that.
        permit.iter_mut().for_each(Permit::give_way);
        let PolledTask { token, source, input } = task;
        drop((input, room));
        for reply in [reply, self.replies.failure(&internal())] {
            if AssertUnwindSafe(self.answer(&source, &token, hold, reply)).catch_unwind().await.is_ok() {
                return;
            }
            self.metrics.panics.inc();
            error!("the answering of a task panicked");
        }
        error!("a task cannot be answered: that panics; without heartbeats its state ends");
    }

    async fn started(
        &self,
        task: &PolledTask,
        site: &Site,
        asked: Asked,
        hold: &Hold,
        permit: &mut Permit,
    ) -> Option<Reply> {
        let planned = OnceLock::new();
        let started = self.start(task, site, asked, hold, permit, &planned);
        if let Ok(reply) = AssertUnwindSafe(started).catch_unwind().await {
            return reply;
        }
        self.metrics.panics.inc();
        error!("the start of a task panicked");
        // Looking for the Job may have bad luck, too: it is tried once more.
        for _ in 0..2 {
            let after_panic = self.after_panic(site, hold, permit, planned.get());
            if let Ok(reply) = AssertUnwindSafe(after_panic).catch_unwind().await {
                return reply;
            }
            self.metrics.panics.inc();
            error!("the search for the Job of a task whose start panicked has panicked");
        }
        error!("a task cannot be answered: nobody finds out whether it has a Job; without heartbeats its state ends");
        None
    }

    async fn after_panic(
        &self,
        site: &Site,
        hold: &Hold,
        permit: &mut Permit,
        planned: Option<&Plan>,
    ) -> Option<Reply> {
        // Whatever it waits for, nobody else has to.
        permit.give_way();
        let heir = match planned {
            Some(plan) => heir(site, plan, hold).await,
            None => Heir::Worker,
        };
        match heir {
            Heir::Worker => Some(self.replies.failure(&internal())),
            Heir::Tracker(job) => {
                self.hand_over(site, job, hold, permit).await;
                None
            }
        }
    }
}

/// What a task fails with whose start panicked.
pub(super) fn internal() -> TaskFailure {
    let message = "runjob has a defect that this task brings to light: its start panicked, and there is no Job of it";
    TaskFailure::saying(ErrorName::Internal, message)
}

async fn heir(site: &Site, plan: &Plan, hold: &Hold) -> Heir {
    tokio::select! {
        biased;
        () = hold.followed() => return Heir::Tracker(None),
        () = hold.gone() => return Heir::Tracker(None),
        () = tokio::time::sleep(SETTLED) => {}
    }
    // As long as nobody knows, nobody answers. The tracker may be the first to know.
    let known = tokio::select! {
        biased;
        () = hold.followed() => return Heir::Tracker(None),
        () = hold.gone() => return Heir::Tracker(None),
        known = known_in_the_end(site, plan) => known,
    };
    match known {
        Some((view, job)) if is_ours(&plan.relation(&view)) => Heir::Tracker(Some(Box::new(job))),
        _ => Heir::Worker,
    }
}

/// The object under the planned name. What may not be read now, the worker may read once its rights are mended: the Job may be there.
async fn known_in_the_end(site: &Site, plan: &Plan) -> Option<(Box<JobView>, Value)> {
    let mut pauses = CALLS.pauses();
    loop {
        match site.cluster().find_out(&plan.key).await {
            Known::Found(view, found) => return Some((view, found.answer.body)),
            Known::Absent => return None,
            Known::Denied => warn!("unable to find out whether a task has a Job: it may not be read"),
        }
        tokio::time::sleep(pauses.next(None)).await;
    }
}

/// Whether the object under the planned name is the task's.
fn is_ours(found: &Relation<'_>) -> bool {
    match found {
        Relation::Ours | Relation::OursAndSettled => true,
        Relation::OfKey | Relation::OtherSpec | Relation::Predecessor(_) | Relation::Leaving | Relation::Foreign => {
            false
        }
    }
}
