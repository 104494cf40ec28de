//! Time as the cluster tells it: a wall-clock start plus what has passed on tokio's clock, so that a paused clock
//! rules the timestamps too.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The cluster's clock.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    start: Timestamp,
    since: Instant,
}

impl Clock {
    /// A clock that shows `start` now.
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { start, since: Instant::now() }
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Timestamp {
        later(self.start, self.since.elapsed())
    }

    /// The time of day as Kubernetes prints it in objects: RFC 3339, whole seconds.
    pub(crate) fn seconds(&self) -> String {
        seconds(self.now())
    }
}

/// `time` plus `by`; a time past the end of the calendar stays where it is.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(time)
}

/// RFC 3339 with whole seconds.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 with nine digits of a second, as the kubelet stamps log lines.
pub(crate) fn nanoseconds(time: Timestamp) -> String {
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_rules_the_time_of_day() {
        let clock = Clock::new("2026-01-01T00:00:00Z".parse().unwrap());
        tokio::time::advance(Duration::from_millis(90_500)).await;
        assert_eq!(clock.seconds(), "2026-01-01T00:01:30Z");
        assert_eq!(nanoseconds(clock.now()), "2026-01-01T00:01:30.500000000Z");
    }
}
