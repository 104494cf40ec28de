//! Whether the Kubernetes API answers. Any answer counts, whatever its status.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::Cluster;
use crate::retry::WATCH;

/// How long the API may be silent before no more tasks are taken: what is polled then could not be started.
const GRACE: Duration = Duration::from_secs(10);
/// How long an API server that was away may not know its own rules: it begins to answer before it has read RBAC's, and forbids
/// what it will allow a moment later (seen on Kubernetes 1.34).
const SETTLING: Duration = Duration::from_secs(15);

/// Whether the API answers, and since when not.
#[derive(Debug, Clone, Default)]
pub struct Reachability(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// What was heard of the API last.
#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Nothing that would have been missed.
    #[default]
    Steady,
    /// It has not answered since then.
    Silent(Instant),
    /// It answers again since then.
    Back(Instant),
}

impl Reachability {
    pub(crate) fn record(&self, answered: bool) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, answered) {
            (State::Silent(_), true) => State::Back(Instant::now()),
            (State::Steady | State::Back(_), false) => State::Silent(Instant::now()),
            (State::Silent(_), false) | (State::Steady | State::Back(_), true) => return,
        };
        drop(state);
        self.0.changed.send_replace(());
    }

    fn state(&self) -> State {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        matches!(self.state(), State::Silent(_))
    }

    /// Whether the API has been silent for longer than the grace.
    pub fn is_lost(&self) -> bool {
        matches!(self.state(), State::Silent(since) if since.elapsed() > GRACE)
    }

    /// Whether an answer of that status is one to believe. A 403 is not, while the API has only just come back.
    pub(super) fn is_settled(&self, status: u16) -> bool {
        status != 403 || !matches!(self.state(), State::Back(since) if since.elapsed() <= SETTLING)
    }

    /// Waits until the API is not lost.
    pub async fn restored(&self) {
        let mut changed = self.0.changed.subscribe();
        while self.is_lost() {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    /// Waits until the API is lost.
    pub async fn lost(&self) {
        let mut changed = self.0.changed.subscribe();
        while !self.is_lost() {
            match self.state() {
                State::Silent(since) => {
                    let end = since + GRACE + Duration::from_millis(1);
                    let _ = timeout_at(end, changed.changed()).await;
                }
                State::Steady | State::Back(_) => {
                    let _ = changed.changed().await;
                }
            }
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
    async fn a_403_is_believed_unless_the_api_has_only_just_come_back() {
        let reach = Reachability::default();
        reach.record(true);
        assert!(reach.is_settled(403));
        reach.record(false);
        reach.record(true);
        assert!(!reach.is_settled(403) && reach.is_settled(404));
        tokio::time::advance(SETTLING * 2).await;
        assert!(reach.is_settled(403));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_waited_for_until_the_silence_has_lasted() {
        let reach = Reachability::default();
        let begun = Instant::now();
        let waiting = tokio::spawn({
            let reach = reach.clone();
            async move { reach.lost().await }
        });
        tokio::time::sleep(GRACE).await;
        reach.record(false);
        tokio::time::sleep(GRACE / 2).await;
        reach.record(true);
        reach.record(false);
        waiting.await.unwrap();
        assert!(reach.is_lost());
        assert!(begun.elapsed() > GRACE * 5 / 2, "{:?}", begun.elapsed());
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
