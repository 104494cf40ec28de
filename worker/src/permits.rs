//! How many Jobs the group may have at a time, and how many tasks may be on their way to one. A permit is taken before a poll, so
//! a task that was handed out is started at once: there is no queue in which it could grow old. Tasks wait at Step Functions,
//! in their order and with their clocks at rest.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The most tasks that are on their way to a Job, beside those that polls are held for. Where the API takes its time or throttles,
/// more of them would only wait here instead of there, and overtake each other.
const STARTING: usize = 64;

/// Counts the tracked Jobs of the group, and the tasks of this process that are on their way to becoming one.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    most_starting: usize,
    counts: Mutex<Counts>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    tracked: usize,
    taken: usize,
    starting: usize,
}

/// The right to take one task. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "without the permit the task is not counted"]
pub struct Permit {
    permits: Permits,
    starting: bool,
}

impl Permits {
    /// At most that many Jobs; `polls` are held at a time.
    pub fn new(most: u32, polls: usize) -> Self {
        let inner = Inner {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            most_starting: polls + STARTING,
            counts: Mutex::default(),
            freed: Notify::new(),
        };
        Self(Arc::new(inner))
    }

    /// Waits until there is room for one more.
    pub async fn acquire(&self) -> Permit {
        loop {
            let freed = self.0.freed.notified();
            {
                let mut counts = self.counts();
                if counts.tracked + counts.taken < self.0.most && counts.starting < self.0.most_starting {
                    counts.taken += 1;
                    counts.starting += 1;
                    return Permit { permits: self.clone(), starting: true };
                }
            }
            freed.await;
        }
    }

    /// Says how many Jobs the group has now.
    pub fn set_tracked(&self, tracked: usize) {
        let before = std::mem::replace(&mut self.counts().tracked, tracked);
        if tracked < before {
            self.0.freed.notify_waiters();
        }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The task is held up by something of its own, or on its way no more: others may be started meanwhile.
    pub fn give_way(&mut self) {
        if std::mem::take(&mut self.starting) {
            self.permits.counts().starting -= 1;
            self.permits.0.freed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_way();
        self.permits.counts().taken -= 1;
        self.permits.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn tracked_jobs_and_permits_count_together() {
        let permits = Permits::new(2, 1);
        permits.set_tracked(1);
        let one = permits.acquire().await;
        assert!(permits.acquire().now_or_never().is_none());
        drop(one);
        let _one = permits.acquire().await;
        permits.set_tracked(0);
        let _two = permits.acquire().await;
    }

    #[tokio::test]
    async fn few_are_on_their_way_at_a_time_unless_they_give_way() {
        let permits = Permits::new(1000, 1);
        let mut taken = Vec::new();
        while let Some(permit) = permits.acquire().now_or_never() {
            taken.push(permit);
        }
        assert_eq!(taken.len(), STARTING + 1);
        taken[0].give_way();
        taken[0].give_way();
        let _one_more = permits.acquire().now_or_never().unwrap();
        assert!(permits.acquire().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_permit_that_is_given_back_wakes_who_waits() {
        let permits = Permits::new(1, 1);
        let one = permits.acquire().await;
        let waiting = tokio::spawn({
            let permits = permits.clone();
            async move { drop(permits.acquire().await) }
        });
        tokio::task::yield_now().await;
        drop(one);
        waiting.await.unwrap();
    }
}
