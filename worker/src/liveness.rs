//! Signs of life of the worker's loops: which of them is stuck, by age.
//!
//! A loop says what it is at: something that takes no longer than a time that it knows, or something that may take as long as it
//! likes (a permit, the return of the cluster). It is stuck when it has been at the former for longer than that. Trouble of AWS or of
//! the API server is no such thing: every request has its own time-out, and then the loop goes on.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

/// The loops that are watched over.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<Vec<Weak<Loop>>>>);

/// A loop's sign of life. A loop that ends lets go of it, and is not watched over any more.
#[derive(Debug, Clone)]
pub struct Sign(Arc<Loop>);

#[derive(Debug)]
struct Loop {
    name: String,
    at: Mutex<At>,
}

/// What a loop is at.
#[derive(Debug, Clone, Copy)]
enum At {
    /// Something that may take as long as it likes.
    Waiting,
    /// Something that it has begun then, and that takes no longer than this.
    Busy { since: Instant, at_most: Duration },
}

/// A loop that is stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    name: String,
    since: Duration,
    at_most: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (since, at_most) = (self.since.as_secs(), self.at_most.as_secs());
        write!(f, "{} is stuck: no sign of life for {since} s, {at_most} s is the most", self.name)
    }
}

impl Liveness {
    /// Watches over one more loop.
    pub fn watch_over(&self, name: String) -> Sign {
        let watched = Arc::new(Loop { name, at: Mutex::new(At::Waiting) });
        let mut loops = self.loops();
        loops.retain(|other| other.strong_count() > 0);
        loops.push(Arc::downgrade(&watched));
        Sign(watched)
    }

    /// The loops that are stuck.
    pub fn stuck(&self) -> Vec<Stuck> {
        self.loops().iter().filter_map(|watched| watched.upgrade()?.stuck()).collect()
    }

    fn loops(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Loop>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sign {
    /// From now on the loop is at something that takes no longer than that.
    pub fn busy(&self, at_most: Duration) {
        self.0.set(At::Busy { since: Instant::now(), at_most });
    }

    /// From now on the loop waits for something that may take as long as it likes.
    pub fn waiting(&self) {
        self.0.set(At::Waiting);
    }
}

impl Loop {
    fn set(&self, at: At) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn stuck(&self) -> Option<Stuck> {
        let At::Busy { since, at_most } = *self.at.lock().unwrap_or_else(PoisonError::into_inner) else { return None };
        let since = since.elapsed();
        (since > at_most).then(|| Stuck { name: self.name.clone(), since, at_most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    fn stuck(liveness: &Liveness) -> Vec<String> {
        liveness.stuck().iter().map(Stuck::to_string).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_busy_for_too_long_is_stuck_and_named() {
        let liveness = Liveness::default();
        let (one, other) = (liveness.watch_over("one".to_owned()), liveness.watch_over("the other".to_owned()));
        one.busy(MOST);
        other.busy(MOST * 2);
        tokio::time::advance(MOST).await;
        assert_eq!(stuck(&liveness), [""; 0]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(stuck(&liveness), ["one is stuck: no sign of life for 11 s, 10 s is the most"]);
        one.busy(MOST);
        assert_eq!(stuck(&liveness), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_or_has_ended_is_not_stuck() {
        let liveness = Liveness::default();
        let (waits, ended) = (liveness.watch_over("waits".to_owned()), liveness.watch_over("ended".to_owned()));
        waits.busy(MOST);
        waits.waiting();
        ended.busy(MOST);
        drop(ended);
        tokio::time::advance(MOST * 100).await;
        assert_eq!(stuck(&liveness), [""; 0]);
    }
}
