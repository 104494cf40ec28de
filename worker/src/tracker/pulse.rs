//! The signs of life of the tracker, for whoever depends on it: intake, `/live`, `/ready`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::watch;

use super::TICK;
use crate::clock::Clock;

/// The signs of life of the tracker.
#[derive(Debug)]
pub struct Pulse {
    ticked: AtomicU64,
    unlisted: watch::Sender<usize>,
}

impl Pulse {
    /// No sign yet, and so many scopes to be listed.
    pub fn new(scopes: usize) -> Self {
        Self { ticked: AtomicU64::new(0), unlisted: watch::Sender::new(scopes) }
    }

    /// Whether the loop has turned lately.
    pub fn is_beating(&self, clock: Clock) -> bool {
        let ticked = Duration::from_millis(self.ticked.load(Ordering::Relaxed));
        clock.now().0.saturating_sub(ticked) < TICK * 6
    }

    /// How many scopes have not shown a complete list yet.
    pub fn unlisted(&self) -> usize {
        *self.unlisted.borrow()
    }

    /// Waits until every scope has shown a complete list.
    pub async fn listed(&self) {
        // The sender lives in `self`.
        let _ = self.unlisted.subscribe().wait_for(|unlisted| *unlisted == 0).await;
    }

    pub(super) fn tick(&self, clock: Clock) {
        let millis = u64::try_from(clock.now().0.as_millis()).unwrap_or(u64::MAX);
        self.ticked.store(millis, Ordering::Relaxed);
    }

    pub(super) fn one_more_listed(&self) {
        self.unlisted.send_modify(|unlisted| *unlisted = unlisted.saturating_sub(1));
    }
}
