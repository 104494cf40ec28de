//! How many Jobs the group may have at a time in a cluster, and how many tasks may be on their way to one. A permit is taken before a
//! poll, so a task that was handed out is started at once: there is no queue in which it could grow old. Tasks wait at Step
//! Functions, in their order and with their clocks at rest.
//!
//! Of several clusters, nobody knows before a poll which of them its task will be for. A poll has permits of those that have room, and a
//! task may be for another one. Such a task is uninvited there: it waits for room, and few may.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The most tasks that are on their way to a Job, beside those that polls are held for. Where the API takes its time or throttles,
/// more of them would only wait here instead of there, and overtake each other.
const STARTING: usize = 64;
/// The most uninvited tasks of a cluster that are on their way to a Job. Beyond that, those of one that is away fail, and one that is
/// full lets no more be taken, whatever cluster they are for.
pub const UNINVITED: usize = 64;

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
    /// Those of the taken ones whose polls have brought nothing yet.
    polling: usize,
    starting: usize,
    uninvited: usize,
}

impl Counts {
    fn take(&mut self) {
        self.taken += 1;
        self.starting += 1;
    }
}

/// The right to take one task. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "without the permit the task is not counted"]
pub struct Permit {
    permits: Permits,
    polling: bool,
    starting: bool,
    uninvited: Option<Uninvited>,
}

/// A task that came without a permit, until it has one and its Job is created.
#[derive(Debug)]
#[must_use = "the task is not counted once this is dropped"]
pub struct Uninvited(Permits);

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

    /// Waits until there is room for one more, for a poll.
    pub async fn acquire(&self) -> Permit {
        self.when(|counts| {
            let has_room = counts.tracked + counts.taken < self.0.most && counts.starting < self.0.most_starting;
            has_room.then(|| {
                counts.polling += 1;
                counts.take();
            })
        })
        .await;
        Permit { permits: self.clone(), polling: true, starting: true, uninvited: None }
    }

    /// Counts a task that came without a permit.
    pub fn uninvited(&self) -> Uninvited {
        self.counts().uninvited += 1;
        Uninvited(self.clone())
    }

    /// Whether the most of such tasks are on their way that may be.
    pub fn is_crowded(&self) -> bool {
        self.counts().uninvited >= UNINVITED
    }

    /// Waits until fewer of them are.
    pub async fn thinned(&self) {
        self.when(|counts| (counts.uninvited < UNINVITED).then_some(())).await;
    }

    async fn when<T>(&self, ready: impl Fn(&mut Counts) -> Option<T>) -> T {
        loop {
            let freed = self.0.freed.notified();
            if let Some(value) = ready(&mut self.counts()) {
                return value;
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
    /// The poll has brought a task for it.
    pub fn use_up(&mut self) {
        if std::mem::take(&mut self.polling) {
            self.permits.counts().polling -= 1;
        }
    }

    /// The task is held up by something of its own, or on its way no more: others may be started meanwhile.
    pub fn give_way(&mut self) {
        self.uninvited = None;
        self.take_time();
    }

    /// How long the task takes is its own affair: others may be started meanwhile. One that came uninvited still counts as such.
    pub fn take_time(&mut self) {
        if std::mem::take(&mut self.starting) {
            self.permits.counts().starting -= 1;
            self.permits.0.freed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.use_up();
        self.give_way();
        self.permits.counts().taken -= 1;
        self.permits.0.freed.notify_waiters();
    }
}

impl Uninvited {
    /// Waits until there is room for the task, which need not wait for polls that may bring nothing. After `hurry`, room or not.
    pub async fn admitted(self, hurry: impl Future<Output = ()>) -> Permit {
        let most = self.0.0.most;
        let room = self.0.when(|counts| (counts.tracked + counts.taken - counts.polling < most).then(|| counts.take()));
        tokio::select! {
            biased;
            () = room => {}
            () = hurry => self.0.counts().take(),
        }
        Permit { permits: self.0.clone(), polling: false, starting: true, uninvited: Some(self) }
    }
}

impl Drop for Uninvited {
    fn drop(&mut self) {
        self.0.counts().uninvited -= 1;
        self.0.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

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

    #[tokio::test]
    async fn a_task_that_is_there_does_not_wait_for_a_poll_that_may_bring_nothing() {
        let permits = Permits::new(1, 1);
        let mut polls = permits.acquire().await;
        let first = permits.uninvited().admitted(pending()).now_or_never().unwrap();
        assert!(permits.uninvited().admitted(pending()).now_or_never().is_none());
        drop(first);
        polls.use_up();
        assert!(permits.uninvited().admitted(pending()).now_or_never().is_none());
        drop(polls);
        let _second = permits.uninvited().admitted(pending()).now_or_never().unwrap();
        let _at_once = permits.uninvited().admitted(ready(())).await;
    }

    #[tokio::test]
    async fn few_are_uninvited_until_they_are_started() {
        let permits = Permits::new(1000, 1);
        let mut tasks = Vec::new();
        while !permits.is_crowded() {
            tasks.push(permits.uninvited().admitted(pending()).await);
        }
        assert_eq!(tasks.len(), UNINVITED);
        assert!(permits.thinned().now_or_never().is_none());
        tasks[0].give_way();
        assert!(permits.thinned().now_or_never().is_some());
    }
}
