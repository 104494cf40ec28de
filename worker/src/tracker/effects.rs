//! Carrying out what was decided. Each effect is begun once, ends by itself, and says what came of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use runjob_core::{
    job::JobView,
    ledger::{Entry, OwnedBy, Stamp},
    lifecycle::{Effect, Extent, UID_IS_WRITTEN_AFTER, Verdict},
    names::Group,
    patch,
    progress::{Confirmation, Moment, Stage},
    waiter::{InvocationId, Waiter},
};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    capture::{Captured, LogPermits, MAX_ROOM},
    look::{Looked, Looks},
    table::{Held, JobId},
};
use crate::{
    cluster::{Cluster, EventKind, Fence, Lookup, WriteError},
    metrics::{self, Metrics},
    replies::{Delivery, Replies},
    retry::{CALLS, Pauses},
    room::Room,
    sfn::{Clients, Reply},
    workshop::Workshop,
};

/// A write that the API server refuses (RBAC, admission) is not worth repeating sooner.
const AFTER_REFUSAL: Duration = Duration::from_mins(5);
/// A write that did not get through, or met another one.
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
/// The most answers that are composed and sent at a time, in each region: an outage of one must not hold up the others. While Step
/// Functions is away, the rest wait without taking the memory of an output each.
const MAX_REPLIES: usize = 64;
/// The most requests about Jobs that are to be settled, deleted, confirmed or read at a time. No pause is made in such a place: what is
/// refused again and again must not hold up the others. After an outage very many are due at once, and an API server that
/// has only just come back has others to serve.
const MAX_WRITES: usize = 64;
/// The most Jobs that are read again for their answers at a time: what was not kept may be large.
const MAX_READ_AGAIN: usize = 8;
/// How often a settling looks again when the Job keeps changing under it.
const SETTLE_ATTEMPTS: u32 = 5;

/// What decisions are carried out with.
pub struct Effects {
    pub(super) clients: Clients,
    pub(super) cluster: Cluster,
    pub(super) replies: Replies,
    group: Group,
    pub(super) care: Care,
    /// `None`: this is a worker. Whoever acts for an invocation of a function hands its answer back.
    returning: Option<Returning>,
    metrics: Arc<Metrics>,
    pub(super) log_permits: LogPermits,
    pub(super) room: Room,
    pub(super) looks: Looks,
    pub(super) workshop: Workshop,
    /// For Jobs that have to be read again for their answer.
    pub(super) reading_again: Semaphore,
    /// By region.
    replying: BTreeMap<String, Semaphore>,
    writing: Semaphore,
}

/// Where it is remembered how long a Job is kept that nobody waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// In this process: it will be there.
    OfProcess,
    /// On the Job: this process will not.
    OfJob,
}

/// How Jobs are looked after.
#[derive(Debug, Clone, Copy)]
pub struct Care {
    /// Where it is remembered how long Jobs are kept.
    pub memory: Memory,
    /// The most pods of one Job whose logs are read.
    pub max_log_pods: usize,
    /// The longest that a Job may be stuck. `None`: by what is wrong.
    pub stuck_grace: Option<Duration>,
    /// How long a Job with a key is kept for the next attempt.
    pub reattach_grace: Duration,
    /// How long one of several workers acts without renewing its Lease.
    pub lease_duration: Duration,
}

/// Whoever waits in this very process.
pub struct Returning {
    /// The invocation that does.
    pub invocation: InvocationId,
    /// Where its answer goes.
    pub to: mpsc::UnboundedSender<Reply>,
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
    Report { verdict: Verdict, object: Option<Held>, captured: Arc<Captured> },
    Settle,
    Delete,
    Note { until: Moment },
    Amend,
}

/// What came of an effect.
pub(super) struct Done {
    pub(super) id: JobId,
    /// What it was begun for. Another task may have taken the Job over since.
    pub(super) stamp: Arc<Stamp>,
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
    Noted(Later),
    Amended(Later),
    /// With the Job, if it is there.
    Confirmed(Confirmation, Option<(Box<JobView>, Arc<Value>)>),
    /// The Job is there, but this task has nothing to do with it any more.
    ConfirmedSettled,
    Panicked(Effect),
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
            Self::After(pause) => Stage::Again(now.after(pause)),
        }
    }
}

/// When a missing Job is asked for again that may not be asked for.
pub(super) fn confirm_again(now: Moment) -> Moment {
    now.after(AFTER_REFUSAL)
}

impl Effects {
    /// What decisions are carried out with.
    pub fn new(
        clients: Clients,
        cluster: Cluster,
        replies: Replies,
        group: Group,
        care: Care,
        metrics: Arc<Metrics>,
    ) -> Self {
        let replying = clients.regions().map(|region| (region.to_owned(), Semaphore::new(MAX_REPLIES))).collect();
        Self {
            clients,
            cluster,
            replies,
            group,
            care,
            returning: None,
            metrics,
            log_permits: LogPermits::default(),
            room: Room::of(MAX_ROOM),
            looks: Looks::default(),
            workshop: Workshop::default(),
            reading_again: Semaphore::new(MAX_READ_AGAIN),
            replying,
            writing: Semaphore::new(MAX_WRITES),
        }
    }

    /// For the one Job that an invocation waits for.
    #[must_use]
    pub fn returning(self, returning: Returning) -> Self {
        Self { returning: Some(returning), ..self }
    }

    /// Whether it is this process that waits.
    pub(super) fn waits_itself(&self, waiter: &Waiter) -> bool {
        self.returning.as_ref().is_some_and(|returning| waiter.is_invocation(&returning.invocation))
    }

    pub(super) async fn carry_out(self: Arc<Self>, work: Work) -> Outcome {
        let Work { view, stamp, kind } = work;
        match kind {
            WorkKind::Confirm => self.confirm(&view, &stamp).await,
            WorkKind::Capture { extent, job_ended } => {
                Outcome::Captured(self.capture(&view, &stamp, extent, &job_ended).await)
            }
            WorkKind::Look => Outcome::Looked(self.look(&view).await),
            WorkKind::Snapshot { extent, captured } => {
                Outcome::Snapped(self.snapshot(&view, &stamp, extent, Arc::unwrap_or_clone(captured)).await)
            }
            WorkKind::Report { verdict, object, captured } => {
                Outcome::Replied(self.report(view, &stamp, verdict, object, &captured).await)
            }
            WorkKind::Settle => Outcome::Settled(self.settle(view, &stamp).await),
            WorkKind::Delete => Outcome::Deleted(self.delete(&view).await),
            WorkKind::Note { until } => Outcome::Noted(self.note(&view, &stamp, until).await),
            WorkKind::Amend => Outcome::Amended(self.amend(view, &stamp).await),
        }
    }

    /// Answers whoever waits for the Job.
    async fn report(
        &self,
        view: JobView,
        stamp: &Stamp,
        verdict: Verdict,
        object: Option<Held>,
        captured: &Captured,
    ) -> Delivery {
        match (&stamp.waiter, &self.returning) {
            (Waiter::Task { token, source }, _) => {
                // Jobs of regions that this worker does not serve are not in its table. Closed only when the worker ends.
                let _permit = match self.replying.get(source.region()) {
                    Some(permits) => permits.acquire().await.ok(),
                    None => None,
                };
                let reply = self.compose(&view, stamp, verdict, object, captured).await;
                let delivery = self.replies.deliver(source, token, reply).await;
                if delivery == Delivery::Refused {
                    let message = "Step Functions takes no answer for the Job's task, not even that it failed: its state has to time out";
                    self.cluster.tell(view, EventKind::Warning, "AnswerRefused", message);
                }
                delivery
            }
            (waiter, Some(returning)) if self.waits_itself(waiter) => {
                let reply = self.compose(&view, stamp, verdict, object, captured).await;
                // Whoever does not listen any more has come to the end of its time.
                let _ = returning.to.send(reply);
                Delivery::Accepted
            }
            (Waiter::Invocation { .. } | Waiter::Nobody, _) => Delivery::NotOurs,
        }
    }

    /// How long a Job that is settled now has to stay after its end, whatever its TTL. An invocation settles before it returns, and may
    /// be killed in between: the next attempt with its key then delivers the result again.
    fn least_ttl(&self, view: &JobView, stamp: &Stamp) -> u64 {
        if self.returning.is_none() || stamp.options.owned_by != OwnedBy::Key {
            return 0;
        }
        let since_its_end =
            view.finished.map(|finished| self.cluster.clock().wall().duration_since(finished).as_secs());
        let since_its_end = since_its_end.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or_default();
        since_its_end.saturating_add(self.care.reattach_grace.as_secs())
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
        let (found, object) = match self.read(view, &mut pauses).await {
            Found::Gone => return Outcome::Confirmed(Confirmation::Gone, None),
            Found::Refused => return Outcome::Confirmed(Confirmation::Forbidden, None),
            Found::There(found, object) => (found, object),
        };
        match &found.entry {
            Entry::Settled { .. } => Outcome::ConfirmedSettled,
            // Another task has adopted it.
            Entry::Open(own) if own.waiter != stamp.waiter => Outcome::ConfirmedSettled,
            _ if found.group.as_deref() != Some(self.group.as_str()) => {
                let found = self.relabel(*found).await;
                Outcome::Confirmed(Confirmation::Unlabelled, Some((Box::new(found), object)))
            }
            _ => Outcome::Confirmed(Confirmation::There, Some((found, object))),
        }
    }

    /// Puts the label back on a Job that has lost it. Whether it stays there is another matter: admission may take it away again at once. Gives
    /// the Job as it is then. Where that is not known it counts as labelled: a settling that removes a label which is not there is
    /// refused, and the Job is read again.
    async fn relabel(&self, found: JobView) -> JobView {
        warn!("the Job has lost its label; it is put back");
        let patched = self.in_turn(self.cluster.patched(&found.key, &patch::relabel(&found, &self.group))).await;
        let labelled = JobView { group: Some(self.group.as_str().to_owned()), ..found.clone() };
        let (reason, message, now) = match patched {
            Ok(exchanged) => match JobView::of(&exchanged.answer.body) {
                Ok(now) if now.group == labelled.group => (
                    "LabelRestored",
                    "the label runjob/group was gone, and the Job with it from the watch: it is put back".to_owned(),
                    now,
                ),
                Ok(now) => (
                    "LabelNotRestored",
                    "the label runjob/group is gone, and was taken away again as soon as it was put back, by a mutating admission webhook or \
                     policy: the Job is looked at once a minute"
                        .to_owned(),
                    now,
                ),
                Err(_) => return labelled,
            },
            Err(WriteError::Changed) => return labelled,
            Err(error) => {
                warn!(%error, "unable to put the label back");
                let message = format!("the label runjob/group is gone, and cannot be put back: {error}");
                ("LabelNotRestored", message, labelled)
            }
        };
        self.cluster.tell(found, EventKind::Warning, reason, &message);
        now
    }

    /// Adds to the stamp what only the server knew when it was written.
    async fn amend(&self, view: JobView, stamp: &Stamp) -> Later {
        let is_proven = stamp.waiter.task().is_none_or(|(_, source)| self.clients.is_proven(source));
        if !is_proven && !view.has_short_ttl() {
            // This process may have been led to a wrong account, region or endpoint. It writes nothing that can wait.
            return Later::After(UID_IS_WRITTEN_AFTER);
        }
        let patched = self.in_turn(self.cluster.patched(&view.key, &patch::amend(&view, stamp))).await;
        let ttl = view.ttl.filter(|_| view.has_short_ttl());
        let reason = match (patched, ttl) {
            (Err(WriteError::Changed), _) => return Later::After(AFTER_TROUBLE),
            (Err(error @ (WriteError::Unreachable(_) | WriteError::Passing { .. })), _) => {
                warn!(%error, "unable to add to the stamp of a Job yet");
                return Later::soon(&error);
            }
            // Nothing depends on the UID alone.
            (_, None) => return Later::Never,
            (Ok(exchanged), Some(_)) => match JobView::of(&exchanged.answer.body) {
                Ok(now) if now.has_short_ttl() => {
                    "it is set again, by a mutating admission webhook or policy".to_owned()
                }
                _ => return Later::Never,
            },
            (Err(error), Some(_)) => error.to_string(),
        };
        let ttl = ttl.unwrap_or_default();
        let message = format!(
            "ttlSecondsAfterFinished is {ttl} and cannot be held back until the task is answered: {reason}. If no worker is there when the \
             Job ends, its result may be lost"
        );
        warn!(ttl, "the TTL of a Job cannot be held back");
        self.cluster.tell(view, EventKind::Warning, "TtlNotHeld", &message);
        Later::Never
    }

    /// Takes the Job out of the watch.
    async fn settle(&self, mut view: JobView, stamp: &Stamp) -> Later {
        let mut pauses = CALLS.pauses();
        for _ in 0..SETTLE_ATTEMPTS {
            let patch = patch::settle(&view, stamp, self.least_ttl(&view, stamp));
            match self.in_turn(self.cluster.patch(&view.key, &patch)).await {
                Ok(()) => {
                    self.metrics.settled(metrics::Outcome::Succeeded);
                    return Later::Never;
                }
                Err(WriteError::Changed) => match self.read(&view, &mut pauses).await {
                    Found::Gone => return Later::Never,
                    Found::Refused => {
                        self.metrics.settled(metrics::Outcome::Refused);
                        return Later::After(AFTER_REFUSAL);
                    }
                    Found::There(found, _) => match &found.entry {
                        Entry::Open(own) if own.waiter == stamp.waiter => view = *found,
                        // Somebody has taken the stamp away. The label alone would keep its place for ever.
                        Entry::None | Entry::Unreadable(_) if found.group.as_deref() == Some(self.group.as_str()) => {
                            return match self.in_turn(self.cluster.patch(&found.key, &patch::release(&found))).await {
                                Ok(()) => Later::Never,
                                Err(WriteError::Refused { .. }) => Later::After(AFTER_REFUSAL),
                                Err(error) => Later::soon(&error),
                            };
                        }
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
        match self.in_turn(self.cluster.delete(view, Fence::Version)).await {
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

    /// Notes on a Job until when it is kept.
    async fn note(&self, view: &JobView, stamp: &Stamp, until: Moment) -> Later {
        let clock = self.cluster.clock();
        let from_now = SignedDuration::try_from(until.0.saturating_sub(clock.now().0)).unwrap_or_default();
        let Ok(until) = clock.wall().checked_add(from_now) else { return Later::Never };
        match self.in_turn(self.cluster.patch(&view.key, &patch::keep(view, stamp, until))).await {
            Ok(()) => Later::Never,
            Err(error) => {
                warn!(%error, "unable to note how long a Job is kept that nobody waits for");
                Later::soon(&error)
            }
        }
    }

    /// Reads the very Job. Ends only when the API server has spoken.
    pub(super) async fn read(&self, view: &JobView, pauses: &mut Pauses) -> Found {
        loop {
            let unavailable = match self.in_turn(self.cluster.look_up(&view.key)).await {
                Lookup::Found(found, exchanged) if found.uid == view.uid => {
                    return Found::There(found, Arc::new(exchanged.answer.body));
                }
                Lookup::Found(..) | Lookup::Absent(_) => return Found::Gone,
                Lookup::Denied(_) => {
                    warn!("this worker may not read a Job");
                    return Found::Refused;
                }
                Lookup::Unavailable(unavailable) => unavailable,
            };
            warn!(%unavailable, "unable to read a Job yet");
            tokio::time::sleep(pauses.next(unavailable.after())).await;
        }
    }
}

/// What a GET has found.
pub(super) enum Found {
    /// No Job of that name, or another one.
    Gone,
    /// Nothing: this worker may not read it, nor will it soon.
    Refused,
    /// The very Job, as it is now.
    There(Box<JobView>, Arc<Value>),
}
