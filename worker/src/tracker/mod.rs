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
mod pulse;
mod reply;
mod table;

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use runjob_core::{
    diagnosis::Diagnosis,
    job::JobView,
    lease::Role,
    ledger::{Entry as LedgerEntry, Stamp},
    lifecycle::{Decision, Effect},
    progress::{Moment, Panics, Presence, Stage, TokenState},
    waiter::Waiter,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

pub use effects::{Care, Effects, Memory, Returning};
use effects::{Done, Outcome};
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
/// For so many durations of a Lease a worker that does not act keeps a Job that left the watch: one until it takes over from
/// another that died right then, and one to spare.
const KEPT_LEASES: u32 = 2;

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
        self.applied(&scope, job);
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
            Watched::Applied(scope, job) => self.applied(&scope, *job),
            Watched::Removed(_, job) => {
                if let Ok(view) = &job.view {
                    let id = JobId::of(view);
                    self.untouchable.remove(&id);
                    self.miss(&id);
                }
            }
            Watched::Unseen(scope, job) => {
                let id = job.view.as_ref().ok().map(JobId::of);
                if let Some(id) = id.filter(|id| self.table.get_mut(id).is_none()) {
                    self.applied(&scope, *job);
                    self.miss(&id);
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

    fn miss(&mut self, id: &JobId) {
        self.update(id, |entry| entry.progress.presence = Presence::Missing);
    }

    fn applied(&mut self, scope: &Scope, job: WatchedJob) {
        let view = match job.view {
            Ok(view) => view,
            Err(error) => {
                error!(%error, "the watch brought something that is no Job");
                return;
            }
        };
        let id = JobId::of(&view);
        let seen = (scope.clone(), self.listings.get(scope).copied().unwrap_or_default());
        // A stamp that was damaged since is no reason to let go of the task: it stands in the table.
        let known = self.table.get_mut(&id).filter(|entry| match &view.entry {
            LedgerEntry::Open(stamp) => stamp.waiter == entry.stamp.waiter,
            LedgerEntry::None | LedgerEntry::Settled { .. } | LedgerEntry::Unreadable(_) => true,
        });
        if let Some(entry) = known {
            entry.seen = seen;
            entry.progress.presence = Presence::Seen;
            entry.observe(view, job.object, &self.holds, self.clock);
        } else {
            let stamp = match &view.entry {
                LedgerEntry::Open(stamp) if self.serves(&stamp.waiter) => Arc::new((**stamp).clone()),
                trouble => {
                    let is_trouble = matches!(trouble, LedgerEntry::Open(_) | LedgerEntry::Unreadable(_));
                    // A task that this worker does not serve may have taken over one of its Jobs.
                    self.forget(&id);
                    if is_trouble {
                        self.leave_alone(id, view, seen);
                    }
                    return;
                }
            };
            self.untouchable.remove(&id);
            if let Some((token, source)) = stamp.waiter.task() {
                self.heartbeats.follow(token, source);
            }
            let token = self.token_state(&stamp.waiter);
            let mut entry = Entry::new(stamp, view.clone(), seen, self.effects.care.stuck_grace);
            entry.progress.token = token;
            entry.observe(view, job.object, &self.holds, self.clock);
            if let Some(replaced) = self.table.insert(&id, entry) {
                self.stop_beats(&replaced.stamp);
            }
            self.count();
        }
        self.step(&id);
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
        let untold = if self.role().acts() {
            self.tell_untouchable(&view);
            None
        } else {
            Some(Box::new(view))
        };
        self.untouchable.insert(id, Untouchable { seen, untold });
    }

    /// Whoever looks at such a Job should find out why nothing happens. An Event touches nothing of it.
    fn tell_untouchable(&self, view: &JobView) {
        let (reason, message) = match &view.entry {
            LedgerEntry::Unreadable(error) => {
                self.metrics.unreadable_stamps.inc();
                ("UnreadableStamp", format!("{error}: the Job is left alone, and its task is not answered"))
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
            LedgerEntry::None | LedgerEntry::Settled { .. } => return,
        };
        warn!(job = %view.key, reason, message, "a Job of the group cannot be followed");
        self.effects.cluster.tell(view.clone(), EventKind::Warning, reason, &message);
    }

    fn update(&mut self, id: &JobId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.table.get_mut(id) {
            change(entry);
            self.step(id);
        }
    }

    /// Asks the core what to do about a Job, and begins it.
    fn step(&mut self, id: &JobId) {
        let (now, role) = (self.clock.now(), self.role());
        let Some(entry) = self.table.get_mut(id) else { return };
        let decision = entry.decide(now);
        let effect = match decision {
            Decision::Wait(None) => return,
            Decision::Wait(Some(when)) => {
                self.table.wake_at(id, when);
                return;
            }
            Decision::Forget => {
                self.forget(id);
                return;
            }
            Decision::Do(effect) if !role.allows(&effect, now) => {
                self.hold_back(id, role);
                return;
            }
            // Whatever ends a task that was not answered takes it from whoever may wait for it.
            Decision::Do(effect @ (Effect::Delete | Effect::Settle)) if entry.progress.reply != Stage::Done => {
                match (self.heartbeats.deletions_stopped(now), entry.stamp.waiter.task()) {
                    // An earlier process has doubted it, and it was asked for again now.
                    (Some(_), Some(_)) if self.effects.care.memory == Memory::OfJob && entry.was_kept() => effect,
                    (Some(until), Some(_)) if self.effects.care.memory == Memory::OfJob => {
                        entry.keep_until(until);
                        return self.step(id);
                    }
                    (Some(until), Some(_)) => {
                        entry.doubted = true;
                        self.table.wake_at(id, until);
                        return;
                    }
                    (None, Some((token, source))) if entry.doubted => {
                        // Is it really gone? Until that is known it counts as alive.
                        entry.doubted = false;
                        entry.progress.token = TokenState::Alive;
                        self.heartbeats.reconsider(token, source);
                        return;
                    }
                    _ => effect,
                }
            }
            Decision::Do(effect) => effect,
        };
        entry.begin(&effect);
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

    /// Another worker acts, as a rule. What is due here is begun if this one takes over.
    fn hold_back(&mut self, id: &JobId, role: Role) {
        self.held_back = true;
        let Some(entry) = self.table.get_mut(id) else { return };
        if !matches!(entry.progress.presence, Presence::Missing | Presence::Gone) || role != Role::Following {
            return;
        }
        // The worker that acts has seen it go as well, and has had its time to find out why.
        let now = self.clock.now();
        let forgotten_at = Moment(entry.missing_since(now).0 + self.effects.care.lease_duration * KEPT_LEASES);
        if forgotten_at <= now {
            self.forget(id);
        } else {
            self.table.wake_at(id, forgotten_at);
        }
    }

    fn done(&mut self, done: Done) {
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
            Outcome::Confirmed(shown) => entry.progress.confirmed(shown, now, effects::confirm_again(shown, now)),
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

    fn count(&self) {
        let jobs = self.table.len();
        self.permits.set_tracked(jobs);
        self.metrics.in_flight.set(i64::try_from(jobs).unwrap_or(i64::MAX));
    }
}
