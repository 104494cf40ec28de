//! The table of watched Jobs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use runjob_core::{
    diagnosis::Diagnosis,
    job::JobView,
    ledger::{Entry as LedgerEntry, OwnedBy, Stamp},
    lifecycle::{Decision, Effect, UID_IS_WRITTEN_AFTER, last_words_end, step},
    names::JobKey,
    pending::{Finding, Pending},
    progress::{CaptureAfterPanic, Moment, Panics, Presence, Progress, Stage, TokenState},
    request::OnStuck,
    token::TaskToken,
};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    capture::Captured,
    effects::{Memory, Work, WorkKind},
    look::Looked,
    next::Doubt,
};
use crate::{clock::Clock, cluster::Scope, heartbeat::Trust, metrics::Metrics, replies::Delivery};

/// The most finished Jobs whose whole object is kept until they are reported. Others are read again then: after an outage of
/// Step Functions there may be very many.
pub(super) const MAX_HELD_OBJECTS: usize = 200;

/// After something has panicked, it is begun again that much later.
const AFTER_PANIC: Duration = Duration::from_mins(1);

/// A task that this process has never seen alive is not given up at once: if many are gone in that way, the brake on deletions is
/// faster. The first beats of a worker that was started in the wrong place are told apart from bad luck by that.
const UNPROVEN: Duration = Duration::from_secs(5);
/// The TTL of a Job that was changed while its task waits is held back once more, that much later: what has changed it may do so again.
const AFTER_CHANGED_TTL: Duration = Duration::from_secs(10);
/// A Job that is over and has not gone after this time takes no place of `--max-in-flight` any more.
const LINGERING: Duration = Duration::from_mins(2);
/// What is to be done again sooner than that, an invocation waits for: nobody may come after it who does it.
const SOON: Duration = Duration::from_secs(10);

/// How long a Job whose task is gone is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) clock: Clock,
    pub(super) now: Moment,
    pub(super) memory: Memory,
    /// One with a key, for the next attempt.
    pub(super) reattach: Duration,
}

/// One Job, not just one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct JobId {
    key: JobKey,
    uid: String,
}

impl JobId {
    pub(super) fn of(view: &JobView) -> Self {
        Self { key: view.key.clone(), uid: view.uid.clone() }
    }

    /// Whether both live under the same name, one after the other.
    pub(super) fn has_name_of(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// A whole Job that is kept for its answer, and counts until that is composed.
pub(super) struct Held {
    object: Arc<Value>,
    permit: OwnedSemaphorePermit,
}

impl Held {
    /// The Job, and what has to be kept as long as anything is made of it.
    pub(super) fn split(self) -> (Arc<Value>, OwnedSemaphorePermit) {
        (self.object, self.permit)
    }
}

/// What is known of a watched Job, and what was done for it so far.
pub(super) struct Entry {
    pub(super) stamp: Arc<Stamp>,
    pub(super) view: JobView,
    pub(super) progress: Progress,
    pub(super) captured: Arc<Captured>,
    /// The scope that it was last seen in, and the number of that scope's list.
    pub(super) seen: (Scope, u64),
    /// Whether it is doubted that its task is gone.
    pub(super) doubt: Doubt,
    /// Whether no watch has shown it yet: it was created, and a GET has shown it, or that it is gone.
    pub(super) is_unseen: bool,
    /// Since when nothing is left but that it goes.
    over_since: Option<Moment>,
    /// When it is to be looked at again, if that is known.
    wake: Option<Moment>,
    /// Since when the watch has not shown it, if this worker does not act.
    missing_since: Option<Moment>,
    /// The most that it may be stuck, if there is a bound.
    longest_grace: Option<Duration>,
    object: Option<Held>,
    ended: Option<Instant>,
    /// Cancelled when the Job has ended: logs that are being followed have their end in sight then.
    job_ended: CancellationToken,
}

impl Entry {
    pub(super) fn new(
        stamp: Arc<Stamp>,
        view: JobView,
        seen: (Scope, u64),
        longest_grace: Option<Duration>,
        now: Moment,
    ) -> Self {
        let amend = if view.has_short_ttl() { Stage::Open } else { Stage::Again(now.after(UID_IS_WRITTEN_AFTER)) };
        Self {
            stamp,
            view,
            progress: Progress { amend, ..Progress::default() },
            captured: Arc::default(),
            seen,
            doubt: Doubt::None,
            is_unseen: false,
            over_since: None,
            wake: None,
            missing_since: None,
            longest_grace,
            object: None,
            ended: None,
            job_ended: CancellationToken::new(),
        }
    }

    /// Takes in what the watch has brought. The object is kept only if there is a permit for it.
    pub(super) fn observe(&mut self, view: JobView, object: Option<Arc<Value>>, holds: &Arc<Semaphore>, clock: Clock) {
        if view.deleting && self.progress.deleting_since.is_none() {
            self.progress.deleting_since = Some(clock.now());
        }
        if view.phase.is_final() && self.ended.is_none() {
            self.ended = Some(Instant::now());
            self.job_ended.cancel();
        }
        self.missing_since = None;
        if view.ttl != self.view.ttl && view.has_short_ttl() && self.progress.amend == Stage::Done {
            // Somebody else has changed it since.
            self.progress.amend = Stage::Again(clock.now().after(AFTER_CHANGED_TTL));
        }
        // The same waiter may have more on its stamp by now.
        if let LedgerEntry::Open(stamp) = &view.entry
            && **stamp != *self.stamp
            && stamp.waiter == self.stamp.waiter
        {
            self.stamp = Arc::new((**stamp).clone());
        }
        self.progress.observe(&view, self.longest_grace, clock.now());
        self.view = view;
        // What was held before makes room first.
        self.object = None;
        self.object = object.and_then(|object| Some(Held { object, permit: holds.clone().try_acquire_owned().ok()? }));
    }

    pub(super) fn decide(&mut self, now: Moment) -> Decision {
        if last_words_end(&self.progress).is_some_and(|end| end <= now) {
            // It is about to be reported as deleted: its logs have had their time.
            self.job_ended.cancel();
        }
        step(&self.view, &self.stamp, &self.progress, now)
    }

    /// Since when the watch has not shown it. The first time that is asked for is that moment.
    pub(super) fn missing_since(&mut self, now: Moment) -> Moment {
        *self.missing_since.get_or_insert(now)
    }

    /// Notes that the effect has begun.
    pub(super) fn begin(&mut self, effect: &Effect, now: Moment) {
        match effect {
            Effect::Confirm => self.progress.presence = Presence::Confirming,
            Effect::Capture(_) => (self.progress.capture, self.progress.capture_begun) = (Stage::Running, now),
            Effect::Look => self.pending(Pending::looking),
            Effect::Snapshot(_) => self.pending(|pending| pending.snapped(Stage::Running)),
            Effect::Report(verdict) => {
                self.progress.reply = Stage::Running;
                self.progress.verdict = Some(*verdict);
            }
            Effect::Settle => self.progress.settle = Stage::Running,
            Effect::Delete => self.progress.deletion = Stage::Running,
            Effect::Note => self.progress.note = Stage::Running,
            Effect::Amend => self.progress.amend = Stage::Running,
        }
    }

    /// Changes the clock of a Job without a ready pod. A pod may have become ready in the meantime, and stopped it.
    pub(super) fn pending(&mut self, change: impl FnOnce(&mut Pending)) {
        if let Some(pending) = &mut self.progress.pending {
            change(pending);
        }
    }

    /// Takes in what a look at the pods has shown, and says whether the Job is stuck, if that is news.
    pub(super) fn looked(&mut self, looked: Looked, now: Moment) -> Option<Diagnosis> {
        let pending = self.progress.pending.as_mut()?;
        let symptom = looked.symptom.as_ref().map(|symptom| {
            let grace = self.longest_grace.map_or(symptom.grace, |longest| longest.min(symptom.grace));
            (symptom.diagnosis.code, symptom.course, grace)
        });
        let finding = pending.seen(symptom, now);
        let diagnosis = looked.symptom.map(|symptom| symptom.diagnosis).filter(|_| finding == Finding::Stuck)?;
        // Only for the report: a Job that is waited for all the same may be so for days.
        if pending.to_be_failed().is_some() && self.stamp.options.on_stuck == OnStuck::Fail {
            self.captured = Arc::new(Captured::stuck(looked.pods, looked.listed, looked.events, diagnosis.clone()));
        }
        Some(diagnosis)
    }

    /// Takes in the logs of a stuck Job, unless it has got going in the meantime: then they are old.
    pub(super) fn snapped(&mut self, captured: Captured) {
        if let Some(pending) = self.progress.pending.as_mut().filter(|pending| pending.snapshot() == Stage::Running) {
            pending.snapped(Stage::Done);
            self.captured = Arc::new(captured);
        }
    }

    /// What carrying out a decision needs to know.
    pub(super) fn work(&mut self, effect: &Effect) -> Work {
        let kind = match effect {
            Effect::Capture(extent) => WorkKind::Capture { extent: *extent, job_ended: self.job_ended.clone() },
            Effect::Look => WorkKind::Look,
            Effect::Snapshot(extent) => WorkKind::Snapshot { extent: *extent, captured: self.captured.clone() },
            Effect::Report(verdict) => WorkKind::Report {
                verdict: *verdict,
                object: self.object.take(),
                captured: match self.progress.capture {
                    Stage::Running => Arc::new(Captured::cut_short(self.stamp.options.logs.retrieve)),
                    Stage::Open | Stage::Again(_) | Stage::Done => self.captured.clone(),
                },
            },
            Effect::Settle => WorkKind::Settle,
            Effect::Delete => WorkKind::Delete,
            Effect::Note => WorkKind::Note { until: self.progress.kept_until },
            Effect::Confirm => WorkKind::Confirm,
            Effect::Amend => WorkKind::Amend,
        };
        Work { view: self.view.clone(), stamp: self.stamp.clone(), kind }
    }

    /// Nobody waits for the Job any more. It is kept for a while, if there is a reason to.
    pub(super) fn lost(&mut self, trust: Trust, keep: Keep) {
        if self.progress.token == TokenState::Gone {
            return;
        }
        let for_a_while = |pause| keep.now.after(pause);
        self.progress.note = Stage::Done;
        self.progress.kept_until = match (self.stamp.kept_until, trust) {
            // Another process has begun to wait.
            (Some(noted), _) => keep.clock.moment(noted),
            _ if self.is_of_key() => {
                if keep.memory == Memory::OfJob {
                    self.progress.note = Stage::Open;
                }
                for_a_while(keep.reattach)
            }
            (None, Trust::Proven) => keep.now,
            (None, Trust::Unproven) => for_a_while(UNPROVEN),
        };
        self.progress.token = TokenState::Gone;
        self.uncapture();
        // What a look has shown went with it.
        self.progress.pending =
            self.progress.pending.map(|_| Pending::since(keep.now, self.view.ended_pods, self.longest_grace));
        if self.is_of_key() {
            info!(job = %self.view.key, "the task is gone; its Job is kept for a while, for the next with its key");
        }
    }

    /// From when on it takes no place any more, if nothing is left to be done for it but that it goes.
    pub(super) fn lingers(&mut self, now: Moment) -> Option<Moment> {
        let Progress { token, reply, settle, deletion, .. } = &self.progress;
        let is_answered = *token == TokenState::Gone || *reply == Stage::Done;
        let is_over = is_answered && (self.view.deleting || *settle == Stage::Done || *deletion == Stage::Done);
        self.over_since = is_over.then(|| self.over_since.unwrap_or(now));
        self.over_since.map(|since| since.after(LINGERING))
    }

    /// Whether the time is over for which another process has kept the Job.
    pub(super) fn was_kept(&self) -> bool {
        self.stamp.kept_until.is_some()
    }

    /// Keeps the Job until then, and notes that on it: this process will not be there.
    pub(super) fn keep_until(&mut self, moment: Moment) {
        (self.progress.kept_until, self.progress.note) = (moment, Stage::Open);
    }

    /// Nobody is going to read what was captured, and it takes room. If the task should be alive after all, it is captured anew.
    fn uncapture(&mut self) {
        self.captured = Arc::default();
        if self.progress.capture == Stage::Done {
            self.progress.capture = Stage::Open;
        }
    }

    /// Takes in the pods and their logs, unless nobody waits for them any more.
    pub(super) fn has_captured(&mut self, captured: Captured) {
        self.captured = Arc::new(captured);
        self.progress.capture = Stage::Done;
        if self.progress.token == TokenState::Gone {
            self.uncapture();
        }
    }

    fn is_of_key(&self) -> bool {
        self.stamp.options.owned_by == OwnedBy::Key
    }

    /// The task is answered, or nobody takes an answer.
    pub(super) fn replied(&mut self, delivery: Delivery, keep: Keep, metrics: &Metrics) {
        self.progress.reply = Stage::Done;
        self.captured = Arc::default();
        if let (Delivery::Accepted, Some(ended)) = (delivery, self.ended) {
            metrics.completed(ended.elapsed());
        }
        if delivery == Delivery::NotOurs {
            // Its task was answered before, or has died. That is no more than a heartbeat would say.
            self.progress.reply = Stage::Again(keep.now);
            self.progress.capture = Stage::Open;
            self.lost(Trust::Unproven, keep);
        }
    }

    /// Whether nothing is left to be done for an invocation that waits for the Job: it has its answer, and the Job is settled, or
    /// deleted, or will not be for a while; or another invocation has it now.
    pub(super) fn has_served(&self, now: Moment) -> bool {
        let Progress { token, reply, settle, deletion, .. } = &self.progress;
        let is_over = |stage: &Stage| match stage {
            Stage::Done => true,
            Stage::Again(when) => *when > now.after(SOON),
            Stage::Open | Stage::Running => false,
        };
        matches!(token, TokenState::Elsewhere { .. })
            || (*reply == Stage::Done && (is_over(settle) || is_over(deletion)))
    }

    /// What decides for it has panicked. Says when it is to be asked again.
    pub(super) fn deciding_panicked(&mut self, now: Moment) -> Moment {
        self.progress.deciding_panicked();
        now.after(AFTER_PANIC)
    }

    /// An effect has panicked.
    pub(super) fn panicked(&mut self, effect: &Effect, now: Moment) {
        if self.progress.panicked(effect, now, now.after(AFTER_PANIC)) == CaptureAfterPanic::Lost {
            self.captured = Arc::new(Captured::failed());
        }
    }
}

/// All watched Jobs.
#[derive(Default)]
pub(super) struct Table {
    /// In order: what is begun for many of them is begun in an order that can be told.
    entries: BTreeMap<JobId, Entry>,
    tokens: HashMap<TaskToken, JobId>,
    /// Those that are over, and do not go.
    lingering: BTreeSet<JobId>,
    /// One for each entry, at most.
    wakes: BTreeSet<(Moment, JobId)>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many are over, and do not go.
    pub(super) fn lingering(&self) -> usize {
        self.lingering.len()
    }

    /// Notes whether a Job is over and does not go, and says whether that is news.
    pub(super) fn set_lingering(&mut self, id: &JobId, is_lingering: bool) -> bool {
        if is_lingering { self.lingering.insert(id.clone()) } else { self.lingering.remove(id) }
    }

    pub(super) fn ids(&self) -> Vec<JobId> {
        self.entries.keys().cloned().collect()
    }

    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    pub(super) fn by_token(&self, token: &TaskToken) -> Option<JobId> {
        self.tokens.get(token).cloned()
    }

    /// Whether logs were captured that this worker can still report without beginning anything else: a missing Job would have to be asked
    /// for first.
    pub(super) fn has_captures(&self) -> bool {
        let waiting = |progress: &Progress| {
            let reportable = progress.presence != Presence::Missing && progress.panics != Panics::TooMany;
            reportable && progress.token == TokenState::Alive && progress.reply != Stage::Done
        };
        self.entries.values().any(|entry| entry.progress.capture != Stage::Open && waiting(&entry.progress))
    }

    /// Whether nothing is left to be done for the invocation that waits.
    pub(super) fn has_served(&self, now: Moment) -> bool {
        self.entries.values().all(|entry| entry.has_served(now))
    }

    /// Gives the entry that this one replaces.
    pub(super) fn insert(&mut self, id: &JobId, entry: Entry) -> Option<Entry> {
        let replaced = self.remove(id);
        if let Some((token, _)) = entry.stamp.waiter.task() {
            self.tokens.insert(token.clone(), id.clone());
        }
        self.entries.insert(id.clone(), entry);
        replaced
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        if let Some((token, _)) = entry.stamp.waiter.task()
            && self.tokens.get(token) == Some(id)
        {
            self.tokens.remove(token);
        }
        self.unplan(id, entry.wake);
        self.lingering.remove(id);
        Some(entry)
    }

    /// The Jobs of a scope that its latest list did not show.
    pub(super) fn unseen(&self, scope: &Scope, listing: u64) -> Vec<JobId> {
        let unseen = self.entries.iter().filter(|(_, entry)| entry.seen.0 == *scope && entry.seen.1 < listing);
        unseen.map(|(id, _)| id.clone()).collect()
    }

    /// Plans to look at a Job then, and at no other time: what was planned before was decided by what is outdated now.
    pub(super) fn wake_at(&mut self, id: &JobId, when: Moment) {
        if let Some(entry) = self.entries.get_mut(id) {
            let before = entry.wake.replace(when);
            self.unplan(id, before);
            self.wakes.insert((when, id.clone()));
        }
    }

    fn unplan(&mut self, id: &JobId, when: Option<Moment>) {
        if let Some(when) = when {
            self.wakes.remove(&(when, id.clone()));
        }
    }

    pub(super) fn next_wake(&self) -> Option<Moment> {
        self.wakes.first().map(|(when, _)| *when)
    }

    /// The Jobs whose time has come.
    pub(super) fn due(&mut self, now: Moment) -> Vec<JobId> {
        let mut due = Vec::new();
        while let Some((when, _)) = self.wakes.first()
            && *when <= now
            && let Some((_, id)) = self.wakes.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.wake = None;
            }
            due.push(id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use runjob_core::lifecycle::stamp_of;
    use serde_json::json;

    use super::*;

    fn an_entry() -> (JobId, Entry) {
        let annotations = json!({"runjob/v": "1", "runjob/form": "task", "runjob/task-token": "t", "runjob/owner": "o",
            "runjob/spec-hash": "h", "runjob/options": "{}",
            "runjob/source": "arn:aws:states:us-east-1:123456789012:activity:jobs"});
        let metadata = json!({"namespace": "default", "name": "x", "uid": "u", "resourceVersion": "7", "annotations": annotations});
        let view = JobView::of(&json!({ "metadata": metadata })).unwrap();
        let stamp = Arc::new(stamp_of(&view).unwrap().clone());
        (JobId::of(&view), Entry::new(stamp, view, (Scope::All, 0), None, at(0)))
    }

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn what_was_captured_goes_with_its_task_and_is_captured_anew_if_that_is_alive_after_all() {
        let keep = Keep { clock: Clock::start(), now: at(1), memory: Memory::OfProcess, reattach: Duration::ZERO };
        let (_, mut before) = an_entry();
        before.has_captured(Captured::failed());
        assert!(before.captured.logs.is_some());
        before.lost(Trust::Proven, keep);
        let (_, mut meanwhile) = an_entry();
        meanwhile.progress.capture = Stage::Running;
        meanwhile.lost(Trust::Proven, keep);
        assert_eq!(meanwhile.progress.capture, Stage::Running);
        meanwhile.has_captured(Captured::failed());
        for entry in [before, meanwhile] {
            assert!(entry.captured.logs.is_none());
            assert_eq!(entry.progress.capture, Stage::Open);
        }
    }

    #[test]
    fn a_job_that_is_held_counts_until_its_answer_is_composed() {
        let (holds, object) = (Arc::new(Semaphore::new(1)), Arc::new(json!({"kind": "Job"})));
        let (clock, verdict) = (Clock::start(), runjob_core::lifecycle::Verdict::Succeeded);
        let held_for = |entry: &mut Entry| match entry.work(&Effect::Report(verdict)).kind {
            WorkKind::Report { object, .. } => object,
            _ => None,
        };
        let (_, mut first) = an_entry();
        first.observe(first.view.clone(), Some(object.clone()), &holds, clock);
        // Seen again, it is not counted twice.
        first.observe(first.view.clone(), Some(object.clone()), &holds, clock);
        let being_reported = held_for(&mut first);
        assert!(being_reported.is_some());
        let (_, mut second) = an_entry();
        second.observe(second.view.clone(), Some(object.clone()), &holds, clock);
        assert!(held_for(&mut second).is_none());
        drop((being_reported, first));
        second.observe(second.view.clone(), Some(object), &holds, clock);
        assert!(held_for(&mut second).is_some());
    }

    #[test]
    fn captures_that_cannot_be_reported_are_not_waited_for() {
        let captured = Progress { capture: Stage::Done, ..Progress::default() };
        let missing = Progress { presence: Presence::Missing, ..captured };
        let panicking = Progress { panics: Panics::TooMany, ..captured };
        for (progress, expected) in [(captured, true), (missing, false), (panicking, false)] {
            let (id, entry) = an_entry();
            let mut table = Table::default();
            table.insert(&id, Entry { progress, ..entry });
            assert_eq!(table.has_captures(), expected);
        }
    }

    #[test]
    fn a_job_has_one_wake_however_often_it_is_planned() {
        let (id, entry) = an_entry();
        let mut table = Table::default();
        table.insert(&id, entry);
        for seconds in [30, 10, 20] {
            table.wake_at(&id, at(seconds));
        }
        assert_eq!((table.next_wake(), table.wakes.len()), (Some(at(20)), 1));
        assert_eq!((table.due(at(19)).len(), table.due(at(20)).len(), table.next_wake()), (0, 1, None));
        table.wake_at(&id, at(40));
        table.remove(&id);
        assert_eq!(table.next_wake(), None);
        table.wake_at(&id, at(50));
        assert_eq!(table.next_wake(), None);
    }
}
