//! The clock that the core's [`Moment`]s are read from: tokio's, so that tests can pause it.

use jiff::Timestamp;
use runjob_core::progress::Moment;
use tokio::time::Instant;

/// Counts from the moment that it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// The time of day, for people to read. Nothing is decided by it.
    pub fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The instant of a moment of this clock.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.0
    }
}
