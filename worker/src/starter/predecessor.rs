//! The Job of an earlier task under the planned name: it makes room if nobody waits for that task any more.
//!
//! A state that timed out is tried again before anything has noticed that its first Job runs on, and with a name that the user
//! gave, both Jobs have the same. A heartbeat for the first task says whether somebody waits for it. Only if not, and only as
//! the tracker would (see [`outlives_its_task`](runjob_core::lifecycle::outlives_its_task)), its Job is deleted; and only the
//! very version of it that was looked at, since a Job that has finished meanwhile stays.

use std::time::Duration;

use runjob_core::{attach::Holder, job::JobView, ledger::Stamp};
use tracing::{info, warn};

use super::Starter;
use crate::{
    cluster::{Fence, WriteError},
    heartbeat::Hold,
    metrics::Outcome,
};

/// What comes of a predecessor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Succession {
    /// It is on its way out.
    MakesRoom,
    /// It has to be looked at again, but not before the server's own wish.
    Undecided(Option<Duration>),
    /// It stays.
    Refused,
    /// Nobody waits for the successor any more.
    NobodyWaits,
}

impl Starter {
    /// Deletes the predecessor, an unfinished Job of the group that has the planned name, if nobody waits for it. `hold` is on the task
    /// that is to follow it.
    pub(super) async fn succeed(&self, view: &JobView, stamp: &Stamp, hold: &Hold) -> Succession {
        match self.holder(stamp).await {
            Holder::Somebody | Holder::EarlierInvocation | Holder::Unproven | Holder::Elsewhere => Succession::Refused,
            Holder::Unknown => Succession::Undecided(None),
            Holder::Nobody if hold.is_gone() => Succession::NobodyWaits,
            Holder::Nobody => self.make_room(view).await,
        }
    }

    /// Deletes a Job that has the planned name and that nobody waits for.
    pub(super) async fn make_room(&self, view: &JobView) -> Succession {
        if self.heartbeats.deletions_stopped(self.cluster.clock().now()).is_some() {
            return Succession::Undecided(None);
        }
        match self.cluster.delete(view, Fence::Version).await {
            Ok(()) => {
                info!("a Job of the same name is deleted: nobody waits for it");
                self.metrics.deleted(Outcome::Succeeded);
                Succession::MakesRoom
            }
            // It has finished, or the tracker was faster.
            Err(WriteError::Changed) => Succession::Undecided(None),
            Err(error @ WriteError::Refused { .. }) => {
                warn!(%error, "unable to delete a Job of the same name that nobody waits for");
                self.metrics.deleted(Outcome::Refused);
                Succession::Refused
            }
            Err(error @ (WriteError::Passing { .. } | WriteError::Unreachable(_))) => {
                warn!(%error, "unable to delete a Job of the same name that nobody waits for yet");
                self.metrics.deleted(Outcome::Error);
                let after = if let WriteError::Passing { after, .. } = error { after } else { None };
                Succession::Undecided(after)
            }
        }
    }
}
