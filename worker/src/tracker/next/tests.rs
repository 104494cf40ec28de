use std::sync::Arc;

use proptest::prelude::*;
use runjob_core::{
    job::JobView,
    lifecycle::stamp_of,
    progress::{Confirmation, Panics},
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    clock::Clock,
    cluster::Scope,
    heartbeat::Trust,
    metrics::Metrics,
    replies::Delivery,
    tracker::{capture::Captured, effects::Later, table::Keep},
};

const LEASE: Duration = Duration::from_secs(15);

/// Something that happens to a Job, or to the worker that follows it.
#[derive(Debug, Clone)]
enum Event {
    Watched(Box<JobView>),
    Removed,
    TaskGone(Trust),
    /// The oldest effect under way ends: well, or not.
    Ended {
        well: bool,
    },
    Panicked,
    DeletionsStop,
    Role(RoleName),
    Pass(Duration),
}

#[derive(Debug, Clone, Copy)]
enum RoleName {
    Leading,
    Finishing,
    Following,
}

fn a_view(condition: &str, deleting: bool, ready: bool, ttl: Option<u64>, key: bool) -> JobView {
    let annotations = json!({"runjob/v": "1", "runjob/form": "task", "runjob/task-token": "t", "runjob/owner": "o",
        "runjob/spec-hash": "h", "runjob/options": if key { r#"{"ownedBy":"key"}"# } else { "{}" }, "runjob/object": "default/x",
        "runjob/source": "arn:aws:states:us-east-1:123456789012:activity:jobs"});
    let mut job = json!({
        "metadata": {"namespace": "default", "name": "x", "uid": "u", "resourceVersion": "7", "annotations": annotations},
        "spec": {"ttlSecondsAfterFinished": ttl},
        "status": {"ready": u8::from(ready), "conditions": [{"type": condition, "status": "True", "reason": "R"}]},
    });
    if deleting {
        job["metadata"]["deletionTimestamp"] = json!("2026-11-23T07:24:56Z");
    }
    JobView::of(&job).unwrap()
}

/// A worker that follows one Job.
struct Worker {
    entry: Option<Entry>,
    running: Vec<Effect>,
    /// When it looks at the Job again, as it has decided last.
    wake: Option<Moment>,
    held_back: bool,
    role: RoleName,
    stopped_until: Moment,
    clock: Clock,
}

impl Worker {
    fn new(view: JobView) -> Self {
        let clock = Clock::start();
        let stamp = Arc::new(stamp_of(&view).unwrap().clone());
        let mut entry = Entry::new(stamp, view.clone(), (Scope::All, 0), None, clock.now());
        entry.observe(view, None, &Arc::new(Semaphore::new(1)), clock);
        let role = RoleName::Leading;
        let mut worker = Self {
            entry: Some(entry),
            running: Vec::new(),
            wake: None,
            held_back: false,
            role,
            stopped_until: Moment::default(),
            clock,
        };
        worker.step();
        worker
    }

    fn conditions(&self) -> Conditions {
        let now = self.clock.now();
        let until = Moment(now.0 + Duration::from_hours(1));
        let role = match self.role {
            RoleName::Leading => Role::Leading { until },
            RoleName::Finishing => Role::Finishing { until },
            RoleName::Following => Role::Following,
        };
        let deletions_stopped = Some(self.stopped_until).filter(|until| *until > now);
        Conditions { now, role, deletions_stopped, memory: Memory::OfProcess, lease_duration: LEASE }
    }

    fn step(&mut self) {
        (self.wake, self.held_back) = (None, false);
        let conditions = self.conditions();
        for _ in 0..20 {
            let Some(entry) = &mut self.entry else { return };
            match entry.next(&conditions) {
                Next::Begin(effect) => {
                    entry.begin(&effect, conditions.now);
                    self.running.push(effect);
                }
                // The answer that it is alive reaches nobody.
                Next::AskForTask => {}
                Next::Rest(when) => return self.wake = when,
                Next::HeldBack(when) => {
                    (self.wake, self.held_back) = (when, true);
                    return;
                }
                Next::Forget => return self.entry = None,
            }
        }
        panic!("it never comes to rest");
    }

    async fn meet(&mut self, event: Event) {
        let (now, clock) = (self.clock.now(), self.clock);
        let keep = Keep { clock, now, memory: Memory::OfProcess, reattach: Duration::from_mins(2) };
        let Some(entry) = &mut self.entry else { return };
        match event {
            Event::Watched(view) => {
                entry.progress.presence = Presence::Seen;
                entry.observe(*view, None, &Arc::new(Semaphore::new(1)), clock);
            }
            Event::Removed => entry.progress.presence = Presence::Missing,
            Event::TaskGone(trust) => entry.lost(trust, keep),
            Event::Ended { well } if !self.running.is_empty() => {
                let again = if well { Later::Never } else { Later::After(Duration::from_secs(2)) };
                match self.running.remove(0) {
                    Effect::Confirm => {
                        let shown = if well { Confirmation::Gone } else { Confirmation::Unlabelled };
                        entry.progress.confirmed(shown, now, now);
                    }
                    Effect::Capture(_) => entry.has_captured(Captured::default()),
                    Effect::Look => entry.pending(|pending| pending.not_seen(now)),
                    Effect::Snapshot(_) => entry.snapped(Captured::default()),
                    Effect::Report(_) => {
                        let delivery = if well { Delivery::Accepted } else { Delivery::NotOurs };
                        entry.replied(delivery, keep, &Metrics::default());
                    }
                    Effect::Settle => entry.progress.settle = again.from(now),
                    Effect::Delete => entry.progress.deletion = again.from(now),
                    Effect::Note => entry.progress.note = again.from(now),
                    Effect::Amend => entry.progress.amend = again.from(now),
                }
            }
            Event::Panicked if !self.running.is_empty() => {
                let effect = self.running.remove(0);
                entry.panicked(&effect, now);
            }
            Event::Ended { .. } | Event::Panicked => return,
            Event::DeletionsStop => self.stopped_until = Moment(now.0 + Duration::from_mins(10)),
            Event::Role(role) => self.role = role,
            Event::Pass(time) => {
                tokio::time::advance(time).await;
                if self.wake.is_none_or(|wake| wake > clock.now()) {
                    return;
                }
            }
        }
        self.step();
    }

    /// Whether something is sure to go on with the Job: what is under way, a wake, another worker, or an event of a watch that has to come.
    fn goes_on(&self) -> bool {
        let Some(entry) = &self.entry else { return true };
        let progress = &entry.progress;
        let has_wake = self.wake.is_some() || !self.running.is_empty() || self.held_back;
        let is_answered = progress.token == TokenState::Gone || progress.reply == Stage::Done;
        let is_watched = progress.presence == Presence::Seen;
        let leaves = entry.view.deleting || progress.settle == Stage::Done || progress.deletion == Stage::Done;
        let waits_for_its_end = !is_answered && !entry.view.phase.is_final() && !entry.view.deleting;
        has_wake || progress.panics == Panics::TooMany || is_watched && (waits_for_its_end || is_answered && leaves)
    }
}

prop_compose! {
    fn any_view(key: bool)(
        condition in prop_oneof![Just("-"), Just("SuccessCriteriaMet"), Just("FailureTarget"), Just("Complete"), Just("Failed")],
        deleting in prop::bool::weighted(0.2),
        ready in any::<bool>(),
        ttl in prop_oneof![Just(None), Just(Some(3))],
    ) -> JobView {
        a_view(condition, deleting, ready, ttl, key)
    }
}

fn any_event(key: bool) -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => any_view(key).prop_map(|view| Event::Watched(Box::new(view))),
        1 => Just(Event::Removed),
        2 => prop_oneof![Just(Trust::Proven), Just(Trust::Unproven)].prop_map(Event::TaskGone),
        6 => prop::bool::weighted(0.7).prop_map(|well| Event::Ended { well }),
        1 => Just(Event::Panicked),
        1 => Just(Event::DeletionsStop),
        1 => prop_oneof![Just(RoleName::Leading), Just(RoleName::Finishing), Just(RoleName::Following)].prop_map(Event::Role),
        6 => prop_oneof![1..70_u64, 300..900_u64].prop_map(|seconds| Event::Pass(Duration::from_secs(seconds))),
    ]
}

fn a_story() -> impl Strategy<Value = (JobView, Vec<Event>)> {
    any::<bool>().prop_flat_map(|key| (any_view(key), prop::collection::vec(any_event(key), 1..40)))
}

fn paused(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(story);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_something_goes_on_with_every_job((view, events) in a_story()) {
        paused(async {
            let mut worker = Worker::new(view);
            for event in events {
                worker.meet(event.clone()).await;
                let progress = worker.entry.as_ref().map(|entry| entry.progress);
                assert!(worker.goes_on(), "after {event:?}: {progress:?}");
            }
        });
    }
}

#[test]
fn a_job_that_ends_while_deletions_are_stopped_is_answered_at_once_and_if_need_be_again() {
    paused(async {
        let mut worker = Worker::new(a_view("-", false, true, None, false));
        worker.meet(Event::DeletionsStop).await;
        worker.meet(Event::TaskGone(Trust::Proven)).await;
        assert!(worker.running.is_empty() && worker.wake.is_some());
        worker.meet(Event::Watched(Box::new(a_view("Complete", false, false, None, false)))).await;
        assert!(matches!(worker.running[..], [Effect::Report(_)]));
        // Step Functions still says that it is gone. When deletions go on it is asked once more, and then the Job is settled.
        worker.meet(Event::Ended { well: false }).await;
        assert!(worker.running.is_empty());
        worker.meet(Event::Pass(Duration::from_mins(10))).await;
        assert!(matches!(worker.running[..], [Effect::Report(_)]));
        worker.meet(Event::Ended { well: false }).await;
        worker.meet(Event::Pass(Duration::from_secs(5))).await;
        assert_eq!(worker.running, [Effect::Settle]);
    });
}

#[test]
fn a_job_that_no_watch_has_shown_is_looked_after_by_a_worker_that_does_not_act() {
    paused(async {
        let mut worker = Worker::new(a_view("-", false, true, None, false));
        worker.meet(Event::Role(RoleName::Following)).await;
        worker.entry.as_mut().unwrap().is_unseen = true;
        worker.meet(Event::Removed).await;
        assert_eq!(worker.running, [Effect::Confirm]);
        worker.meet(Event::Ended { well: true }).await;
        worker.meet(Event::Ended { well: true }).await;
        assert!(matches!(worker.running[..], [Effect::Report(_)]));
    });
}
