//! From the first sight of a Job to its settling: one table, one loop, and effects that are spawned.
//!
//! ```text
//!  watches ──────┐                        ┌─ capture ─ report ─ settle ─ delete ─ confirm
//!  lost tokens ──┼─► table ─► step ─► spawn                     │
//!  effects done ─┘     ▲                                        │
//!                      └────────────────────────────────────────┘
//! ```
//!
//! The loop never waits for anything but its next message: what takes time is an effect. A Job at rest is an entry in the
//! table, not a task of the runtime.
//!
//! Every worker of a group has the table; which of them begins effects is a matter of its [`Role`]. One that takes over goes
//! through its table and begins what is due.

mod capture;
mod effects;
mod foremost;
mod look;
mod next;
mod places;
mod pulse;
mod reply;
mod table;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use runjob_core::{
    diagnosis::Diagnosis,
    job::JobView,
    lease::Role,
    ledger::{Entry as LedgerEntry, Stamp},
    lifecycle::Effect,
    progress::{Moment, Panics, Presence, Stage, TokenState},
    waiter::Waiter,
};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

pub use effects::{Care, Effects, Memory, Returning};
use effects::{Done, Outcome};
use next::{Conditions, Next};
pub use pulse::{Idle, Pulse};
use table::{Entry, JobId, Keep, MAX_HELD_OBJECTS, Table};

use crate::{
    clock::Clock,
    cluster::{EventKind, Scope, Watched, WatchedJob},
    heartbeat::{Heartbeats, Lost, Trust},
    lease::{FINISHING, Mandate},
    metrics::Metrics,
    permits::Permits,
};

/// The loop wakes at least this often, so that `/live` can tell a quiet loop from a stuck one.
const TICK: Duration = Duration::from_secs(5);
/// Follows every Job of the group.
pub struct Tracker {
    effects: Arc<Effects>,
    heartbeats: Heartbeats,
    permits: Permits,
    metrics: Arc<Metrics>,
    clock: Clock,
    pulse: Arc<Pulse>,
    table: Table,
    running: JoinSet<Done>,
    /// How often a list of each scope has begun.
    listings: BTreeMap<Scope, u64>,
    /// The Jobs that cannot be followed.
    untouchable: BTreeMap<JobId, Untouchable>,
    /// Permits to keep whole objects.
    holds: Arc<Semaphore>,
    mandate: Mandate,
    /// Whether an effect was due that the role did not allow.
    held_back: bool,
    /// Whether it is about to end.
    stopping: bool,
}

/// A Job that cannot be followed.
struct Untouchable {
    /// The scope that it was last seen in, and the number of that scope's list.
    seen: (Scope, u64),
    /// The Job itself, as long as it is to be told of.
    untold: Option<Box<JobView>>,
    /// Whether its stamp names a task that another Job had before. It stays untouchable when that one is gone.
    claims_anothers_task: bool,
}

impl Tracker {
    /// A tracker that knows no Job yet.
    pub fn new(
        effects: Arc<Effects>,
        heartbeats: Heartbeats,
        permits: Permits,
        metrics: Arc<Metrics>,
        clock: Clock,
        pulse: Arc<Pulse>,
        mandate: Mandate,
    ) -> Self {
        Self {
            effects,
            heartbeats,
            permits,
            metrics,
            clock,
            pulse,
            table: Table::default(),
            running: JoinSet::new(),
            listings: BTreeMap::new(),
            untouchable: BTreeMap::new(),
            holds: Arc::new(Semaphore::new(MAX_HELD_OBJECTS)),
            mandate,
            held_back: false,
            stopping: false,
        }
    }

    /// Follows Jobs until `stop`, then lets what is under way come to its end.
    pub async fn run(
        mut self,
        mut watched: mpsc::Receiver<Watched>,
        mut lost: mpsc::UnboundedReceiver<Lost>,
        stop: CancellationToken,
    ) {
        while !stop.is_cancelled() {
            self.pulse.tick();
            self.tell_idle();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.turn(&mut watched, &mut lost) => {}
            }
        }
        self.drain(watched).await;
    }

    /// Looks after the one Job that an invocation waits for, until nothing is left to be done for it: `job` is it as it was created or
    /// taken over, `watched` what comes of it.
    pub async fn serve(mut self, job: WatchedJob, scope: Scope, mut watched: mpsc::Receiver<Watched>) {
        // Nobody heartbeats for an invocation.
        let (_nobody, mut lost) = mpsc::unbounded_channel();
        if let Ok(view) = job.view {
            self.applied(&scope, view, job.object);
        }
        while !self.table.has_served(self.clock.now()) {
            self.turn(&mut watched, &mut lost).await;
        }
    }

    /// Waits for the next message, and takes it in.
    async fn turn(&mut self, watched: &mut mpsc::Receiver<Watched>, lost: &mut mpsc::UnboundedReceiver<Lost>) {
        let (tick, next) = (Instant::now() + TICK, self.table.next_wake());
        let wake = next.map_or(tick, |moment| self.clock.instant(moment).min(tick));
        let idle = if self.running.is_empty() { Idle::Until(next) } else { Idle::Busy };
        let pulse = self.pulse.clone();
        // Each is short, and none comes of the others without end: what comes first starves nobody.
        tokio::select! {
            biased;
            Ok(()) = self.mandate.role.changed() => self.role_changed(),
            Some(Ok(done)) = self.running.join_next() => self.done(done),
            Some(Lost { token, trust }) = lost.recv() => {
                if let Some(id) = self.table.by_token(&token) {
                    let keep = self.keep();
                    self.update(&id, |entry| entry.lost(trust, keep));
                }
            }
            Some(news) = watched.recv() => self.watched(news),
            // Not before nothing else is there to be taken in.
            () = async { pulse.rests(idle); tokio::time::sleep_until(wake).await } => {
                for id in self.table.due(self.clock.now()) {
                    self.step(&id);
                }
            }
        }
    }

    async fn drain(mut self, mut watched: mpsc::Receiver<Watched>) {
        let deadline = Instant::now() + FINISHING;
        info!(effects = self.running.len(), jobs = self.table.len(), "the tracker ends; its Jobs go on");
        self.stopping = true;
        let ended = async {
            while !self.has_finished() {
                tokio::select! {
                    biased;
                    Some(Ok(done)) = self.running.join_next() => self.done(done),
                    Some(news) = watched.recv() => self.watched(news),
                    else => break,
                }
            }
        };
        // What is not done by then is cut short.
        let _ended = timeout_at(deadline, ended).await;
        let left = self.running.len();
        if left > 0 {
            warn!(left, "effects were cut short; the next worker begins them anew");
        }
    }

    /// What this worker may begin now. One that is about to stop begins nothing new.
    fn role(&self) -> Role {
        match *self.mandate.role.borrow() {
            Role::Leading { until } if self.stopping => Role::Finishing { until },
            role => role,
        }
    }

    /// Whether what was begun has come to its end. A capture may still be waiting for its Job's last condition: without it the logs
    /// could not be reported, and the next worker would find the pods gone.
    fn has_finished(&self) -> bool {
        let reports = matches!(self.role(), Role::Finishing { .. });
        self.running.is_empty() && !(reports && self.table.has_captures())
    }

    /// Whoever holds the Lease for this worker may release it as soon as it has finished.
    fn tell_idle(&self) {
        let idle = matches!(self.role(), Role::Finishing { .. }) && self.has_finished();
        self.mandate.idle.send_if_modified(|before| std::mem::replace(before, idle) != idle);
    }

    /// Whatever was held back in the role before is looked at anew: it may be begun now, or may be let go of.
    fn role_changed(&mut self) {
        let role = *self.mandate.role.borrow_and_update();
        if std::mem::take(&mut self.held_back) {
            for id in self.table.ids() {
                self.step(&id);
            }
        }
        if !role.acts() {
            return;
        }
        let untold = self.untouchable.values_mut().filter_map(|untouchable| untouchable.untold.take());
        for view in untold.collect::<Vec<_>>() {
            self.tell_untouchable(&view);
        }
    }

    fn watched(&mut self, news: Watched) {
        match news {
            Watched::Listing(scope) => *self.listings.entry(scope).or_default() += 1,
            Watched::Applied(scope, job) => match &job.view {
                Ok(view) => {
                    let view = view.clone();
                    self.take_in(&view, |tracker| tracker.applied(&scope, view.clone(), job.object));
                }
                Err(error) => error!(%error, "the watch brought something that is no Job"),
            },
            Watched::Removed(_, job) => {
                if let Ok(view) = &job.view {
                    let id = JobId::of(view);
                    self.untouchable.remove(&id);
                    self.miss(&id);
                }
            }
            Watched::Unseen(scope, job) => {
                if let Ok(view) = job.view {
                    self.take_in(&view.clone(), |tracker| tracker.unseen(&scope, view));
                }
            }
            Watched::Listed(scope) => {
                let listing = self.listings.get(&scope).copied().unwrap_or_default();
                self.pulse.has_listed(&scope);
                self.untouchable.retain(|_, other| other.seen.0 != scope || other.seen.1 == listing);
                // Deletions that happened while the watch was broken arrive as nothing at all.
                for id in self.table.unseen(&scope, listing) {
                    self.miss(&id);
                }
            }
        }
    }

    /// Takes in what a watch has brought of a Job. What panics there is skipped, and told of.
    fn take_in(&mut self, view: &JobView, take_in: impl FnOnce(&mut Self)) {
        if !self.guarded(&JobId::of(view), take_in) {
            let message = "runjob has a defect that this Job brings to light: what the watch brings of it is skipped";
            self.effects.cluster.tell(view.clone(), EventKind::Warning, "Skipped", message);
        }
    }

    /// Does something that concerns one Job. A panic there costs nothing but that: it would end replica after replica otherwise, since the Job is
    /// there for each of them. What decides for the Job is asked again later; if it panics again and again, the Job is left alone.
    fn guarded(&mut self, id: &JobId, act: impl FnOnce(&mut Self)) -> bool {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_ok() {
            return true;
        }
        error!(job = ?id, "what decides for a Job panicked; the others go on");
        self.metrics.panics.inc();
        let now = self.clock.now();
        if let Some(entry) = self.table.get_mut(id) {
            let again = entry.deciding_panicked(now);
            let left_alone = (entry.progress.panics == Panics::TooMany).then(|| entry.stamp.clone());
            self.table.wake_at(id, again);
            if let Some(stamp) = left_alone {
                // Nobody here answers the task any more: without heartbeats its state can find that out.
                self.stop_beats(&stamp);
            }
        }
        false
    }

    fn miss(&mut self, id: &JobId) {
        self.update(id, |entry| entry.progress.presence = Presence::Missing);
    }

    fn applied(&mut self, scope: &Scope, view: JobView, object: Option<Arc<Value>>) {
        let id = JobId::of(&view);
        let seen = (scope.clone(), self.listings.get(scope).copied().unwrap_or_default());
        // A stamp that was damaged since is no reason to let go of the task: it stands in the table.
        let known = self.table.get_mut(&id).filter(|entry| match &view.entry {
            LedgerEntry::Open(stamp) => stamp.waiter == entry.stamp.waiter,
            LedgerEntry::None | LedgerEntry::Settled { .. } | LedgerEntry::Copy { .. } | LedgerEntry::Unreadable(_) => {
                true
            }
        });
        if let Some(entry) = known {
            entry.seen = seen;
            entry.progress.presence = Presence::Seen;
            entry.observe(view, object, &self.holds, self.clock);
            if std::mem::take(&mut entry.is_unseen) {
                let stamp = entry.stamp.clone();
                self.follow(&stamp.waiter);
            }
        } else {
            let stamp = match &view.entry {
                LedgerEntry::Open(stamp) if self.claims_anothers_task(&id, stamp) => {
                    return self.leave_alone(id, view, seen);
                }
                LedgerEntry::Open(stamp) if self.serves(&stamp.waiter) => Arc::new((**stamp).clone()),
                LedgerEntry::Settled { .. } => return self.forget(&id),
                _ => {
                    // A task that this worker does not serve may have taken over one of its Jobs.
                    self.forget(&id);
                    return self.leave_alone(id, view, seen);
                }
            };
            self.untouchable.remove(&id);
            self.follow(&stamp.waiter);
            self.insert(&id, stamp, view, object, seen, Presence::Seen);
        }
        self.step(&id);
    }

    /// A Job that was created, and that no watch has shown since: it is looked for. Whoever created it keeps its task alive until a watch
    /// does, or until it is known that it is gone.
    fn unseen(&mut self, scope: &Scope, view: JobView) {
        let id = JobId::of(&view);
        let LedgerEntry::Open(stamp) = &view.entry else { return };
        if self.table.get_mut(&id).is_some() || !self.serves(&stamp.waiter) {
            return;
        }
        let stamp = Arc::new((**stamp).clone());
        let seen = (scope.clone(), self.listings.get(scope).copied().unwrap_or_default());
        self.insert(&id, stamp, view, None, seen, Presence::Missing);
        self.step(&id);
    }

    fn insert(
        &mut self,
        id: &JobId,
        stamp: Arc<Stamp>,
        view: JobView,
        object: Option<Arc<Value>>,
        seen: (Scope, u64),
        presence: Presence,
    ) {
        let token = self.token_state(&stamp.waiter);
        let mut entry = Entry::new(stamp, view.clone(), seen, self.effects.care.stuck_grace, self.clock.now());
        entry.progress.token = token;
        entry.observe(view, object, &self.holds, self.clock);
        entry.progress.presence = presence;
        entry.is_unseen = presence == Presence::Missing;
        if let Some(replaced) = self.table.insert(id, entry) {
            self.stop_beats(&replaced.stamp);
        }
        self.count();
    }

    fn follow(&self, waiter: &Waiter) {
        if let Some((token, source)) = waiter.task() {
            self.heartbeats.follow(token, source);
        }
    }

    /// Whether a stamp names a task that another Job has, or had before. It was not written by a worker then: a task has one Job, and its name
    /// is always the same. Whoever can read a token and write Jobs of another namespace could have a task answered otherwise.
    fn claims_anothers_task(&self, id: &JobId, stamp: &Stamp) -> bool {
        let known = stamp.waiter.task().and_then(|(token, _)| self.table.by_token(token));
        let has_another_name = known.is_some_and(|known| !known.has_name_of(id));
        has_another_name || self.untouchable.get(id).is_some_and(|untouchable| untouchable.claims_anothers_task)
    }

    fn serves(&self, waiter: &Waiter) -> bool {
        waiter.task().is_none_or(|(_, source)| self.effects.clients.serve(source))
    }

    /// What is known of whoever waits for a Job when it is seen first.
    fn token_state(&self, waiter: &Waiter) -> TokenState {
        match waiter {
            Waiter::Task { .. } => TokenState::Alive,
            waiter if self.effects.waits_itself(waiter) => TokenState::Alive,
            Waiter::Invocation { until, .. } => TokenState::Elsewhere { until: self.clock.moment(*until) },
            Waiter::Nobody => TokenState::Gone,
        }
    }

    fn stop_beats(&self, stamp: &Stamp) {
        if let Some((token, _)) = stamp.waiter.task() {
            self.heartbeats.stop(token);
        }
    }

    /// Notes a Job that nobody here may touch. It is told of once, by the worker that acts.
    fn leave_alone(&mut self, id: JobId, view: JobView, seen: (Scope, u64)) {
        if let Some(known) = self.untouchable.get_mut(&id) {
            known.seen = seen;
            return;
        }
        let claims_anothers_task =
            matches!(&view.entry, LedgerEntry::Open(stamp) if self.claims_anothers_task(&id, stamp));
        let untold = if self.role().acts() {
            self.tell_untouchable(&view);
            None
        } else {
            Some(Box::new(view))
        };
        self.untouchable.insert(id, Untouchable { seen, untold, claims_anothers_task });
    }

    /// Whoever looks at such a Job should find out why nothing happens. An Event touches nothing of it.
    fn tell_untouchable(&self, view: &JobView) {
        let (reason, message) = match &view.entry {
            LedgerEntry::Unreadable(error) => {
                self.metrics.unreadable_stamps.inc();
                ("UnreadableStamp", format!("{error}: the Job is left alone, and its task is not answered"))
            }
            LedgerEntry::Open(stamp) if self.serves(&stamp.waiter) => {
                self.metrics.copied_stamps.inc();
                let message =
                    "the task that is written on it has another Job: this one is left alone, and answers no task";
                ("CopiedStamp", message.to_owned())
            }
            LedgerEntry::Open(stamp) => {
                let Some((_, source)) = stamp.waiter.task() else { return };
                self.metrics.foreign_jobs.inc();
                let (account, region) = (source.account(), source.region());
                let message = format!(
                    "its task is of the account {account} in {region}, which this worker does not serve: the Job is left alone"
                );
                ("ForeignTask", message)
            }
            LedgerEntry::Copy { of } => {
                self.metrics.copied_stamps.inc();
                let message = format!(
                    "what runjob has written on it was written for another Job, {of}, and copied: this one is left alone, and answers no task"
                );
                ("CopiedStamp", message)
            }
            LedgerEntry::None => {
                let message =
                    "it has the label runjob/group, and nothing says which task it belongs to: it is left alone";
                ("NoStamp", message.to_owned())
            }
            LedgerEntry::Settled { .. } => return,
        };
        warn!(job = %view.key, reason, message, "a Job of the group cannot be followed");
        self.effects.cluster.tell(view.clone(), EventKind::Warning, reason, &message);
    }

    fn update(&mut self, id: &JobId, change: impl FnOnce(&mut Entry)) {
        self.guarded(id, |tracker| {
            if let Some(entry) = tracker.table.get_mut(id) {
                change(entry);
                tracker.advance(id);
            }
        });
    }

    fn step(&mut self, id: &JobId) {
        self.guarded(id, |tracker| tracker.advance(id));
    }

    /// Asks what comes next for a Job until it is to rest: that is the only way out but for a Job that is forgotten.
    fn advance(&mut self, id: &JobId) {
        loop {
            let conditions = self.conditions();
            let Some(entry) = self.table.get_mut(id) else { return };
            match entry.next(&conditions) {
                Next::Begin(effect) => self.begin(id, effect),
                Next::AskForTask => {
                    if let Some((token, source)) = entry.stamp.waiter.task() {
                        self.heartbeats.reconsider(token, source);
                    }
                }
                Next::Rest(when) => return self.rest(id, when),
                Next::HeldBack(when) => {
                    self.held_back = true;
                    return self.rest(id, when);
                }
                Next::Forget => return self.forget(id),
            }
        }
    }

    fn conditions(&self) -> Conditions {
        let now = self.clock.now();
        let Care { memory, lease_duration, .. } = self.effects.care;
        let deletions_stopped = self.heartbeats.deletions_stopped(now);
        Conditions { now, role: self.role(), deletions_stopped, memory, lease_duration }
    }

    /// Begins an effect.
    fn begin(&mut self, id: &JobId, effect: Effect) {
        let now = self.clock.now();
        let Some(entry) = self.table.get_mut(id) else { return };
        entry.begin(&effect, now);
        let work = self.effects.clone().carry_out(entry.work(&effect));
        let span = info_span!("job", job = %entry.view.key, owner = entry.stamp.owner.short());
        let (id, stamp, metrics) = (id.clone(), entry.stamp.clone(), self.metrics.clone());
        let guarded = async move {
            // One Job's bad luck must not become everybody's.
            let outcome = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
                error!(?effect, "an effect panicked");
                metrics.panics.inc();
                Outcome::Panicked(effect)
            });
            Done { id, stamp, outcome }
        };
        self.running.spawn(guarded.instrument(span));
    }

    /// Nothing is to be done for a Job now. It is looked at again then, if not before.
    fn rest(&mut self, id: &JobId, when: Option<Moment>) {
        let now = self.clock.now();
        let Some(entry) = self.table.get_mut(id) else { return };
        let lingers = entry.lingers(now);
        let wake = [when, lingers.filter(|from| *from > now)].into_iter().flatten().min();
        if let Some(wake) = wake {
            self.table.wake_at(id, wake);
        }
        let is_lingering = lingers.is_some_and(|from| from <= now);
        if !self.table.set_lingering(id, is_lingering) {
            return;
        }
        self.count();
        let Some(entry) = self.table.get_mut(id) else { return };
        if is_lingering {
            let view = entry.view.clone();
            let message = "the Job was deleted, or is settled, and is still there: a finalizer, its pods, or another controller keeps it. \
                           It does not count among the Jobs in flight any more";
            warn!(job = %view.key, "a Job that is over does not go");
            self.effects.cluster.tell(view, EventKind::Warning, "Lingering", message);
        }
    }

    fn done(&mut self, done: Done) {
        let id = done.id.clone();
        self.guarded(&id, |tracker| tracker.has_done(done));
    }

    fn has_done(&mut self, done: Done) {
        let Done { id, stamp, outcome } = done;
        let (now, keep) = (self.clock.now(), self.keep());
        // What was done for a task is no progress of the one that has taken its Job over since.
        let Some(entry) = self.table.get_mut(&id).filter(|entry| entry.stamp.waiter == stamp.waiter) else { return };
        match outcome {
            Outcome::Captured(captured) => entry.has_captured(captured),
            Outcome::Looked(None) => entry.pending(|pending| pending.not_seen(now)),
            Outcome::Looked(Some(looked)) => {
                if let Some(diagnosis) = entry.looked(looked, now) {
                    let view = entry.view.clone();
                    self.tell_stuck(view, &diagnosis);
                }
            }
            Outcome::Snapped(captured) => entry.snapped(captured),
            Outcome::Replied(delivery) => {
                entry.replied(delivery, keep, &self.metrics);
                if entry.progress.reply == Stage::Done {
                    self.stop_beats(&stamp);
                    self.lose_double(&id, &stamp);
                }
            }
            Outcome::Settled(stage) => entry.progress.settle = stage.from(now),
            Outcome::Deleted(stage) => entry.progress.deletion = stage.from(now),
            Outcome::Noted(stage) => entry.progress.note = stage.from(now),
            Outcome::Amended(stage) => entry.progress.amend = stage.from(now),
            Outcome::Confirmed(shown, found) => {
                // The watch may never show what a GET has.
                if let Some((view, object)) = found {
                    entry.observe(*view, Some(object), &self.holds, self.clock);
                }
                entry.progress.confirmed(shown, now, effects::confirm_again(now));
            }
            Outcome::ConfirmedSettled => {
                entry.progress.reply = Stage::Done;
                entry.progress.presence = Presence::Gone;
            }
            Outcome::Panicked(effect) => {
                entry.panicked(&effect, now);
                if entry.progress.panics == Panics::TooMany {
                    error!(job = %entry.view.key, "the Job is left alone: what is done for it panics again and again");
                    // Nobody here answers the task any more: without heartbeats its state can find that out.
                    self.stop_beats(&stamp);
                }
            }
        }
        self.step(&id);
    }

    /// A create that the network delivers late may have made a second Job for a task that is answered by the first.
    fn lose_double(&mut self, answered: &JobId, stamp: &Stamp) {
        let keep = self.keep();
        let double = stamp.waiter.task().and_then(|(token, _)| self.table.by_token(token)).filter(|id| id != answered);
        if let Some(id) = double {
            self.update(&id, |entry| entry.lost(Trust::Proven, keep));
        }
    }

    /// A stuck Job is told of at once: in the log, to the metrics, and by an Event on the Job.
    fn tell_stuck(&self, view: JobView, diagnosis: &Diagnosis) {
        let message = format!("{}; {}", diagnosis.summary, diagnosis.hint);
        warn!(job = %view.key, code = diagnosis.code.as_str(), summary = diagnosis.summary, "the Job is stuck");
        self.metrics.stuck(diagnosis.code.as_str());
        self.effects.cluster.tell(view, EventKind::Warning, "Stuck", &message);
    }

    fn forget(&mut self, id: &JobId) {
        if let Some(entry) = self.table.remove(id) {
            debug!(job = %entry.view.key, "the Job has left the table");
            self.stop_beats(&entry.stamp);
            self.count();
        }
    }

    /// How long Jobs are kept whose task is gone from now on.
    fn keep(&self) -> Keep {
        let Care { reattach_grace: reattach, memory, .. } = self.effects.care;
        Keep { clock: self.clock, now: self.clock.now(), reattach, memory }
    }

    /// Jobs that are over and do not go take no place from others: somebody would have to look after each of them by hand first.
    fn count(&self) {
        let lingering = self.table.lingering();
        let jobs = self.table.len() - lingering;
        self.permits.set_tracked(jobs);
        self.metrics.in_flight.set(i64::try_from(jobs).unwrap_or(i64::MAX));
        self.metrics.lingering.set(i64::try_from(lingering).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests;
