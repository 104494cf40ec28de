//! How many Jobs the group may have at a time. A permit is taken before a poll, so a task that was handed out is started at
//! once: there is no queue in which it could grow old.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Counts the tracked Jobs of the group, and the tasks of this process that are on their way to becoming one.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: u32,
    counts: Mutex<Counts>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    tracked: usize,
    taken: usize,
}

/// The right to take one task. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "without the permit the task is not counted"]
pub struct Permit(Permits);

impl Permits {
    /// At most that many.
    pub fn new(most: u32) -> Self {
        Self(Arc::new(Inner { most, counts: Mutex::default(), freed: Notify::new() }))
    }

    /// Waits until there is room for one more.
    pub async fn acquire(&self) -> Permit {
        loop {
            let freed = self.0.freed.notified();
            {
                let mut counts = self.counts();
                if counts.tracked + counts.taken < self.0.most as usize {
                    counts.taken += 1;
                    return Permit(self.clone());
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

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.counts().taken -= 1;
        self.0.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn tracked_jobs_and_permits_count_together() {
        let permits = Permits::new(2);
        permits.set_tracked(1);
        let one = permits.acquire().await;
        assert!(permits.acquire().now_or_never().is_none());
        drop(one);
        let _one = permits.acquire().await;
        permits.set_tracked(0);
        let _two = permits.acquire().await;
    }

    #[tokio::test]
    async fn a_permit_that_is_given_back_wakes_who_waits() {
        let permits = Permits::new(1);
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
