//! How long trouble may last: each kind of it for its own time, all of it together for a quarter of an hour, or as long as a function has.

use std::time::Duration;

use tokio::time::Instant;

/// The clocks of one series of attempts.
#[derive(Debug)]
pub(super) struct Patience {
    end: Instant,
    kind: Option<(Duration, Instant)>,
}

impl Patience {
    /// `limit`: for all of it together.
    pub(super) fn new(limit: Duration) -> Self {
        Self { end: Instant::now() + limit, kind: None }
    }

    /// Whether the patience with this kind of trouble lasts beyond the next pause. Trouble of another kind begins a clock of its
    /// own: an API server that comes back from an outage may answer 401 for a moment.
    pub(super) fn lasts(&mut self, limit: Duration, pause: Duration) -> bool {
        let now = Instant::now();
        let begun = match self.kind {
            Some((same, begun)) if same == limit => begun,
            _ => self.kind.insert((limit, now)).1,
        };
        now.checked_add(pause).is_some_and(|then| then <= (begun + limit).min(self.all()))
    }

    /// When all patience ends.
    pub(super) fn all(&self) -> Instant {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use runjob_core::refusal::AUTHENTICATION_PATIENCE;

    use runjob_core::refusal::PATIENCE;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn another_kind_of_trouble_has_a_clock_of_its_own() {
        let mut patience = Patience::new(PATIENCE);
        assert!(patience.lasts(PATIENCE, PAUSE));
        tokio::time::advance(AUTHENTICATION_PATIENCE * 2).await;
        assert!(patience.lasts(AUTHENTICATION_PATIENCE, PAUSE));
        tokio::time::advance(AUTHENTICATION_PATIENCE).await;
        assert!(!patience.lasts(AUTHENTICATION_PATIENCE, PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn all_trouble_together_has_an_end() {
        let mut patience = Patience::new(PATIENCE);
        tokio::time::advance(PATIENCE).await;
        assert!(!patience.lasts(AUTHENTICATION_PATIENCE, PAUSE));
    }
}
