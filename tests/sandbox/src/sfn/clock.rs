//! Wall-clock time that follows tokio's clock: paused when that is paused, the same in every run of a seed.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Number, Value};
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Timestamp,
    origin: Instant,
}

impl Clock {
    pub(super) fn starting_at(start: Timestamp) -> Self {
        Self { start, origin: Instant::now() }
    }

    /// Now, to the millisecond, as Step Functions reports times.
    pub(super) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::ZERO);
        let now = self.start.saturating_add(elapsed).unwrap_or(Timestamp::MAX);
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// `2026-01-01T00:00:00.000Z`, as in the context object.
pub(super) fn rfc3339(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Seconds since the epoch, as AWS JSON 1.0 writes times.
pub(super) fn epoch_seconds(at: Timestamp) -> Value {
    let milliseconds = at.as_millisecond();
    let text = format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
    serde_json::from_str::<Number>(&text).map_or(Value::Null, Value::Number)
}
