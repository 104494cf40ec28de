//! The one retry policy: exponential pauses with jitter. How long it is worth trying is the caller's to know.

use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use runjob_core::retry_after::LONGEST;

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The pause after the first attempt, before jitter.
    pub first: Duration,
    /// The longest pause, before jitter.
    pub longest: Duration,
}

/// For calls of both APIs: soon at first, then without crowding a server that is in trouble.
pub const CALLS: RetryPolicy = RetryPolicy { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// For the watch: it also serves as the probe that finds out when the Kubernetes API is back.
pub const WATCH: RetryPolicy = RetryPolicy { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// The pauses of one series of attempts, without end.
#[derive(Debug)]
pub struct Pauses {
    policy: RetryPolicy,
    series: ExponentialBackoff,
}

impl RetryPolicy {
    /// A new series of attempts.
    pub fn pauses(self) -> Pauses {
        let builder = ExponentialBuilder::new().with_min_delay(self.first).with_max_delay(self.longest);
        Pauses { policy: self, series: builder.with_jitter().without_max_times().build() }
    }
}

impl Pauses {
    /// The next pause. `at_least`: what the server asked for (`Retry-After`), as far as that is heeded.
    pub fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let pause = self.series.next().unwrap_or(self.policy.longest);
        pause.max(at_least.unwrap_or_default().min(LONGEST))
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        *self = self.policy.pauses();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_never_end() {
        let mut pauses = CALLS.pauses();
        let first = pauses.next(None);
        assert!(first >= CALLS.first && first <= CALLS.first * 2, "{first:?}");
        let later: Vec<_> = (0..100).map(|_| pauses.next(None)).collect();
        assert!(later.iter().all(|pause| *pause <= CALLS.longest * 2));
        assert!(later.last().is_some_and(|pause| *pause >= CALLS.longest));
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it() {
        assert!(CALLS.pauses().next(Some(Duration::from_mins(1))) >= Duration::from_mins(1));
    }

    #[test]
    fn no_server_makes_anything_wait_for_longer_than_a_minute() {
        for wish in [Duration::from_hours(1), Duration::MAX] {
            assert_eq!(CALLS.pauses().next(Some(wish)), LONGEST);
        }
    }
}
