//! Whether the Kubernetes API answers. Any answer counts, whatever its status.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// How long the API may be silent before no more tasks are taken: what is polled then could not be started.
const GRACE: Duration = Duration::from_secs(10);

/// Since when the API has not answered.
#[derive(Debug, Clone, Default)]
pub struct Reachability(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    silent_since: Mutex<Option<Instant>>,
    answered: watch::Sender<()>,
}

impl Reachability {
    pub(super) fn record(&self, answered: bool) {
        let mut silent_since = self.0.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            if silent_since.take().is_some() {
                self.0.answered.send_replace(());
            }
        } else {
            silent_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the API has been silent for longer than the grace.
    pub fn is_lost(&self) -> bool {
        let silent_since = *self.0.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        silent_since.is_some_and(|since| since.elapsed() > GRACE)
    }

    /// Waits until the API is not lost.
    pub async fn restored(&self) {
        let mut answered = self.0.answered.subscribe();
        while self.is_lost() {
            // The sender lives in `self`.
            let _ = answered.changed().await;
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
