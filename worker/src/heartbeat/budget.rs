//! What all clusters' heartbeats may do together: the quota of `SendTaskHeartbeat` knows nothing of clusters.
//!
//! An equal share for each cluster would leave most of it unused where one cluster has most of the tasks, and would beat these too rarely.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runjob_core::{
    progress::Moment,
    tempo::{Slots, Tempo},
};
use tokio::time::Instant;

use super::Pace;

/// The heartbeats of all tables of this process.
#[derive(Debug, Clone)]
pub struct Budget {
    pace: Pace,
    /// When its slots begin.
    start: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    slots: Slots,
    /// How many tasks all tables beat.
    tasks: u32,
}

/// A table's part of the tasks. They do not count any more once it is dropped.
#[derive(Debug)]
pub(super) struct Tasks {
    budget: Budget,
    counted: u32,
}

impl Budget {
    /// At that pace, for all of them together.
    pub fn new(pace: Pace) -> Self {
        let shared = Shared { slots: Slots::new(Tempo::new(pace.rate)), tasks: 0 };
        Self { pace, start: Instant::now(), shared: Arc::new(Mutex::new(shared)) }
    }

    /// Gives out the next free slot for a beat that was due then. It may be a while off.
    pub(super) fn slot(&self, due: Instant) -> Instant {
        let slot = self.shared().slots.take(self.moment(due), self.moment(Instant::now()));
        self.start + slot.0
    }

    /// The service has throttled a beat. Says whether they are sent more slowly from now on.
    pub(super) fn throttled(&self) -> bool {
        let now = self.moment(Instant::now());
        self.shared().slots.tempo().throttled(now)
    }

    /// The interval that the rate allows with so many tasks, as it is planned. Throttling only delays what is planned, in its order:
    /// beats that were planned for a slower tempo would come too late when it is over.
    pub(super) fn planned_interval(&self) -> Duration {
        let gap = Duration::from_secs(1) / self.pace.rate.max(1);
        self.pace.interval.max(gap.saturating_mul(self.shared().tasks))
    }

    /// The same as things are.
    pub(super) fn interval(&self) -> Duration {
        let now = self.moment(Instant::now());
        let mut shared = self.shared();
        let gap = shared.slots.tempo().gap(now);
        self.pace.interval.max(gap.saturating_mul(shared.tasks))
    }

    /// The part of a table that has no tasks yet.
    pub(super) fn tasks(&self) -> Tasks {
        Tasks { budget: self.clone(), counted: 0 }
    }

    fn moment(&self, instant: Instant) -> Moment {
        Moment(instant.saturating_duration_since(self.start))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    /// So many they are now.
    pub(super) fn are(&mut self, tasks: usize) {
        let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
        if tasks != self.counted {
            let mut shared = self.budget.shared();
            shared.tasks = shared.tasks.saturating_sub(self.counted).saturating_add(tasks);
            self.counted = tasks;
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.are(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_budget() -> Budget {
        Budget::new(Pace { interval: Duration::from_secs(20), rate: 100 })
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_with_all_the_tasks_has_all_of_the_rate() {
        let budget = a_budget();
        let (mut busy, mut idle) = (budget.tasks(), budget.tasks());
        busy.are(2000);
        idle.are(0);
        assert_eq!(budget.planned_interval(), Duration::from_secs(20));
        idle.are(1000);
        assert_eq!((budget.planned_interval(), budget.interval()), (Duration::from_secs(30), Duration::from_secs(30)));
        drop(idle);
        assert_eq!(budget.planned_interval(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn clusters_that_have_much_to_send_take_turns() {
        let (one, gap) = (a_budget(), Duration::from_millis(10));
        let other = one.clone();
        tokio::time::advance(Duration::from_secs(1)).await;
        let due = Instant::now();
        let slots = [one.slot(due), other.slot(due), one.slot(due), other.slot(due)];
        assert_eq!(slots, [due, due + gap, due + gap * 2, due + gap * 3]);
        assert!(one.throttled());
        assert_eq!(other.slot(due), due + gap * 5);
    }
}
