//! Carrying out what was decided. Each effect is begun once, ends by itself, and says what came of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use runjob_core::{
    job::JobView,
    ledger::{self, Entry, Stamp},
    lifecycle::{Extent, Verdict},
    names::Group,
    progress::{Moment, Presence, Stage},
    token::TaskToken,
};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    capture::{Captured, LogPermits, MAX_ROOM},
    look::{Looked, Looks},
    table::JobId,
};
use crate::{
    cluster::{Cluster, EventKind, Exchanged, Fence, WriteError},
    metrics::{self, Metrics},
    replies::{Delivery, Replies},
    retry::{CALLS, Pauses},
    room::Room,
    settings::Settings,
    sfn::Clients,
};

/// A write that the API server refuses (RBAC, admission) is not worth repeating sooner.
const AFTER_REFUSAL: Duration = Duration::from_mins(5);
/// A write that did not get through, or met another one.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// The most answers that are composed and sent at a time, in each region: an outage of one must not hold up the others. While Step
/// Functions is away, the rest wait without taking the memory of an output each.
const MAX_REPLIES: usize = 64;
/// The most Jobs that are settled, deleted or confirmed at a time. After an outage very many are due at once, and an API server that
/// has only just come back has others to serve.
const MAX_WRITES: usize = 64;
/// How often a settling looks again when the Job keeps changing under it.
const SETTLE_ATTEMPTS: u32 = 5;

/// What decisions are carried out with.
pub struct Effects {
    pub(super) clients: Clients,
    pub(super) cluster: Cluster,
    pub(super) replies: Replies,
    group: Group,
    pub(super) settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    pub(super) log_permits: LogPermits,
    pub(super) room: Room,
    pub(super) looks: Looks,
    /// By region.
    replying: BTreeMap<String, Semaphore>,
    writing: Semaphore,
}

/// An effect, with everything that it needs to know.
pub(super) struct Work {
    pub(super) view: JobView,
    pub(super) stamp: Arc<Stamp>,
    pub(super) kind: WorkKind,
}

pub(super) enum WorkKind {
    Confirm,
    Capture { extent: Extent, job_ended: CancellationToken },
    Look,
    Snapshot { extent: Extent, captured: Arc<Captured> },
    Report { verdict: Verdict, object: Option<Arc<Value>>, captured: Arc<Captured> },
    Settle,
    Delete,
}

/// What came of an effect.
pub(super) struct Done {
    pub(super) id: JobId,
    /// The task that it was begun for. Another may have taken the Job over since.
    pub(super) token: TaskToken,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Captured(Captured),
    /// `None`: the pods could not be looked at.
    Looked(Option<Looked>),
    Snapped(Captured),
    Replied(Delivery),
    Settled(Later),
    Deleted(Later),
    Confirmed(Presence),
    /// The Job is there, but this task has nothing to do with it any more.
    ConfirmedSettled,
    Panicked,
}

/// Whether something is to be tried again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Later {
    Never,
    After(Duration),
}

impl Later {
    /// Soon, but not before the server wishes.
    fn soon(error: &WriteError) -> Self {
        match error {
            WriteError::Passing { after: Some(after), .. } => Self::After((*after).max(AFTER_TROUBLE)),
            _ => Self::After(AFTER_TROUBLE),
        }
    }

    pub(super) fn from(self, now: Moment) -> Stage {
        match self {
            Self::Never => Stage::Done,
            Self::After(pause) => Stage::Again(Moment(now.0 + pause)),
        }
    }
}

impl Effects {
    /// What decisions are carried out with.
    pub fn new(
        clients: Clients,
        cluster: Cluster,
        replies: Replies,
        group: Group,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let regions = clients.activities().iter().map(|activity| activity.region().to_owned());
        let replying = regions.map(|region| (region, Semaphore::new(MAX_REPLIES))).collect();
        Self {
            clients,
            cluster,
            replies,
            group,
            settings,
            metrics,
            log_permits: LogPermits::default(),
            room: Room::of(MAX_ROOM),
            looks: Looks::default(),
            replying,
            writing: Semaphore::new(MAX_WRITES),
        }
    }

    pub(super) async fn carry_out(self: Arc<Self>, work: Work) -> Outcome {
        let Work { view, stamp, kind } = work;
        match kind {
            WorkKind::Confirm => self.in_turn(self.confirm(&view, &stamp)).await,
            WorkKind::Capture { extent, job_ended } => {
                Outcome::Captured(self.capture(&view, &stamp, extent, &job_ended).await)
            }
            WorkKind::Look => Outcome::Looked(self.look(&view).await),
            WorkKind::Snapshot { extent, captured } => {
                Outcome::Snapped(self.snapshot(&view, &stamp, extent, Arc::unwrap_or_clone(captured)).await)
            }
            WorkKind::Report { verdict, object, captured } => {
                // Jobs of regions that this worker does not serve are not in its table. Closed only when the worker ends.
                let _permit = match self.replying.get(stamp.source.region()) {
                    Some(permits) => permits.acquire().await.ok(),
                    None => None,
                };
                let reply = self.compose(&view, &stamp, verdict, object, &captured).await;
                let delivery = self.replies.deliver(&stamp.source, &stamp.token, reply).await;
                if delivery == Delivery::Refused {
                    let message = "Step Functions takes no answer for the Job's task, not even that it failed: its state has to time out";
                    self.cluster.tell(view, EventKind::Warning, "AnswerRefused", message);
                }
                Outcome::Replied(delivery)
            }
            WorkKind::Settle => Outcome::Settled(self.in_turn(self.settle(view, &stamp)).await),
            WorkKind::Delete => Outcome::Deleted(self.in_turn(self.delete(&view)).await),
        }
    }

    /// Asks something of the API server when it is its turn, and not while the API is known to be away.
    async fn in_turn<T>(&self, request: impl Future<Output = T>) -> T {
        // Closed only when the worker ends.
        let _permit = self.writing.acquire().await.ok();
        self.cluster.reachability().restored().await;
        request.await
    }

    /// Is the Job really gone? Only a GET knows: one that lost its label looks the same on the watch.
    async fn confirm(&self, view: &JobView, stamp: &Stamp) -> Outcome {
        let mut pauses = CALLS.pauses();
        let found = match self.read(view, &mut pauses).await {
            Found::Gone => return Outcome::Confirmed(Presence::Gone),
            Found::There(found, _) => found,
        };
        match &found.entry {
            Entry::Settled { .. } => Outcome::ConfirmedSettled,
            // Another task has adopted it.
            Entry::Open(own) if own.token != stamp.token => Outcome::ConfirmedSettled,
            _ if found.group.as_deref() != Some(self.group.as_str()) => {
                warn!("the Job has lost its label; it is put back");
                match self.cluster.patch(&found.key, &ledger::relabel(&found, &self.group)).await {
                    Ok(()) => {
                        let message =
                            "the label runjob/group was gone, and the Job with it from the watch: it is put back";
                        self.cluster.tell(*found, EventKind::Warning, "LabelRestored", message);
                        Outcome::Confirmed(Presence::Seen)
                    }
                    Err(error) => {
                        warn!(%error, "unable to put the label back");
                        tokio::time::sleep(AFTER_TROUBLE).await;
                        Outcome::Confirmed(Presence::Missing)
                    }
                }
            }
            _ => Outcome::Confirmed(Presence::Seen),
        }
    }

    /// Takes the Job out of the watch.
    async fn settle(&self, mut view: JobView, stamp: &Stamp) -> Later {
        let mut pauses = CALLS.pauses();
        for _ in 0..SETTLE_ATTEMPTS {
            match self.cluster.patch(&view.key, &ledger::settle(&view, stamp)).await {
                Ok(()) => {
                    self.metrics.settled(metrics::Outcome::Succeeded);
                    return Later::Never;
                }
                Err(WriteError::Changed) => match self.read(&view, &mut pauses).await {
                    Found::Gone => return Later::Never,
                    Found::There(found, _) => match &found.entry {
                        Entry::Open(own) if own.token == stamp.token => view = *found,
                        _ => return Later::Never,
                    },
                },
                Err(error @ WriteError::Refused { .. }) => {
                    warn!(%error, "unable to take an answered Job out of the watch");
                    let message =
                        format!("the task is answered, but the Job cannot be taken out of the watch: {error}");
                    self.cluster.tell(view, EventKind::Warning, "SettleRefused", &message);
                    self.metrics.settled(metrics::Outcome::Refused);
                    return Later::After(AFTER_REFUSAL);
                }
                Err(error @ (WriteError::Unreachable(_) | WriteError::Passing { .. })) => {
                    warn!(%error, "unable to take an answered Job out of the watch yet");
                    self.metrics.settled(metrics::Outcome::Error);
                    return Later::soon(&error);
                }
            }
        }
        Later::After(AFTER_TROUBLE)
    }

    /// Deletes a Job that nobody waits for.
    async fn delete(&self, view: &JobView) -> Later {
        match self.cluster.delete(view, Fence::Version).await {
            Ok(()) => {
                info!("the Job is deleted: nobody waits for it any more");
                self.metrics.deleted(metrics::Outcome::Succeeded);
                Later::Never
            }
            // The newer version is on its way; what is to be done about it is decided anew.
            Err(WriteError::Changed) => Later::After(AFTER_TROUBLE),
            Err(error @ WriteError::Refused { .. }) => {
                warn!(%error, "unable to delete a Job that nobody waits for");
                self.metrics.deleted(metrics::Outcome::Refused);
                Later::After(AFTER_REFUSAL)
            }
            Err(error @ (WriteError::Unreachable(_) | WriteError::Passing { .. })) => {
                warn!(%error, "unable to delete a Job that nobody waits for yet");
                self.metrics.deleted(metrics::Outcome::Error);
                Later::soon(&error)
            }
        }
    }

    /// Reads the very Job. Ends only when the API server has spoken.
    pub(super) async fn read(&self, view: &JobView, pauses: &mut Pauses) -> Found {
        loop {
            let after = match self.cluster.get(&view.key).await {
                Ok(Exchanged { answer, .. }) if answer.status == 404 => return Found::Gone,
                Ok(Exchanged { answer, .. }) if answer.is_success() => match JobView::of(&answer.body) {
                    Ok(found) if found.uid == view.uid => return Found::There(Box::new(found), Arc::new(answer.body)),
                    Ok(_) => return Found::Gone,
                    Err(error) => {
                        warn!(%error, "unable to read a Job");
                        None
                    }
                },
                Ok(Exchanged { answer, retry_after, .. }) => {
                    warn!(status = answer.status, "unable to read a Job");
                    retry_after
                }
                Err(error) => {
                    warn!(%error, "unable to read a Job");
                    None
                }
            };
            tokio::time::sleep(pauses.next(after)).await;
        }
    }
}

/// What a GET has found.
pub(super) enum Found {
    /// No Job of that name, or another one.
    Gone,
    /// The very Job, as it is now.
    There(Box<JobView>, Arc<Value>),
}
