//! Whether the Kubernetes API answers. Any answer counts, whatever its status.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::Cluster;
use crate::retry::WATCH;

/// How long the API may be silent before no more tasks are taken: what is polled then could not be started.
const GRACE: Duration = Duration::from_secs(10);

/// Since when the API has not answered.
#[derive(Debug, Clone, Default)]
pub struct Reachability(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    silent_since: Mutex<Option<Instant>>,
    changed: watch::Sender<()>,
}

impl Reachability {
    pub(super) fn record(&self, answered: bool) {
        let mut silent_since = self.0.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        let was_silent = silent_since.is_some();
        if answered {
            *silent_since = None;
        } else {
            silent_since.get_or_insert_with(Instant::now);
        }
        drop(silent_since);
        if was_silent == answered {
            self.0.changed.send_replace(());
        }
    }

    fn is_silent(&self) -> bool {
        self.0.silent_since.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the API has been silent for longer than the grace.
    pub fn is_lost(&self) -> bool {
        let silent_since = *self.0.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        silent_since.is_some_and(|since| since.elapsed() > GRACE)
    }

    /// Waits until the API is not lost.
    pub async fn restored(&self) {
        let mut changed = self.0.changed.subscribe();
        while self.is_lost() {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Waits until a request has gone without an answer.
    async fn silence(&self) {
        let mut changed = self.0.changed.subscribe();
        while !self.is_silent() {
            let _ = changed.changed().await;
        }
    }
}

/// As long as the API is silent, asks it for something: otherwise an idle worker would learn of its return only when the next
/// watch begins.
pub async fn keep_probing(cluster: Cluster) {
    let mut pauses = WATCH.pauses();
    loop {
        cluster.reachability().silence().await;
        tokio::time::sleep(pauses.next(None)).await;
        cluster.probe().await;
        if !cluster.reachability().is_silent() {
            pauses.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_short_silence_is_not_a_loss() {
        let reach = Reachability::default();
        reach.record(false);
        tokio::time::advance(GRACE).await;
        assert!(!reach.is_lost());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(reach.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn any_answer_ends_the_silence() {
        let reach = Reachability::default();
        reach.record(false);
        tokio::time::advance(GRACE * 2).await;
        let waiting = tokio::spawn({
            let reach = reach.clone();
            async move { reach.restored().await }
        });
        tokio::task::yield_now().await;
        reach.record(true);
        waiting.await.unwrap();
        assert!(!reach.is_lost());
    }
}
