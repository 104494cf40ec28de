//! How long trouble may last: each kind of it for its own time, all of it together for a quarter of an hour.

use std::time::Duration;

use runjob_core::refusal::PATIENCE;
use tokio::time::Instant;

/// The clocks of one series of attempts.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    kind: Option<(Duration, Instant)>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), kind: None }
    }

    /// Whether the patience with this kind of trouble lasts beyond the next pause. Trouble of another kind begins a clock of its
    /// own: an API server that comes back from an outage may answer 401 for a moment.
    pub(super) fn lasts(&mut self, limit: Duration, pause: Duration) -> bool {
        Instant::now() + pause <= self.end(limit)
    }

    /// When the patience with this kind of trouble ends.
    pub(super) fn end(&mut self, limit: Duration) -> Instant {
        let begun = match self.kind {
            Some((same, begun)) if same == limit => begun,
            _ => self.kind.insert((limit, Instant::now())).1,
        };
        (begun + limit).min(self.since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use runjob_core::refusal::AUTHENTICATION_PATIENCE;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn another_kind_of_trouble_has_a_clock_of_its_own() {
        let mut patience = Patience::new();
        assert!(patience.lasts(PATIENCE, PAUSE));
        tokio::time::advance(AUTHENTICATION_PATIENCE * 2).await;
        assert!(patience.lasts(AUTHENTICATION_PATIENCE, PAUSE));
        tokio::time::advance(AUTHENTICATION_PATIENCE).await;
        assert!(!patience.lasts(AUTHENTICATION_PATIENCE, PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn all_trouble_together_has_an_end() {
        let mut patience = Patience::new();
        tokio::time::advance(PATIENCE).await;
        assert!(!patience.lasts(AUTHENTICATION_PATIENCE, PAUSE));
    }
}
