//! The clock that the core's [`Moment`]s are read from: tokio's, so that tests can pause it.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use runjob_core::progress::Moment;
use tokio::time::Instant;

/// No process lives so long.
const NEVER: Duration = Duration::from_hours(30 * 365 * 24);

/// Counts from the moment that it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

/// Where the time of day comes from.
#[derive(Debug, Clone, Copy)]
enum Wall {
    /// The machine.
    System,
    /// It was that when the clock was made, and goes as tokio's clock goes.
    Since(Timestamp),
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: Wall::System }
    }

    /// A clock that starts now, at that time of day, and whose time of day follows tokio's clock, too: in a simulation the same
    /// run has the same times in its Events.
    pub fn starting_at(time: Timestamp) -> Self {
        Self { start: Instant::now(), wall: Wall::Since(time) }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment(self.start.elapsed())
    }

    /// The moment that a time of day is: the lease of a function on a Job ends at one. It is as right as the clocks of both.
    pub fn moment(&self, time: Timestamp) -> Moment {
        let (now, from_now) = (self.now(), time.duration_since(self.wall()));
        let moment = match Duration::try_from(from_now) {
            Ok(to_come) => now.0.saturating_add(to_come),
            Err(_) => now.0.saturating_sub(from_now.unsigned_abs()),
        };
        Moment(moment)
    }

    /// The time of day: for people to read, for what outlives this process, and for what others have dated, such as credentials.
    pub fn wall(&self) -> Timestamp {
        match self.wall {
            Wall::System => time_of_day(SystemTime::now()),
            Wall::Since(start) => {
                let elapsed = SignedDuration::try_from(self.start.elapsed()).unwrap_or(SignedDuration::ZERO);
                start.checked_add(elapsed).unwrap_or(start)
            }
        }
    }

    /// The instant of a moment of this clock. One that no clock comes to is so far away that it makes no difference.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start.checked_add(moment.0).unwrap_or(self.start + NEVER)
    }
}

/// A time of day, however wrong the machine's clock is: one that no calendar has is the last or the first that there is.
pub fn time_of_day(time: SystemTime) -> Timestamp {
    let limit = if time > SystemTime::UNIX_EPOCH { Timestamp::MAX } else { Timestamp::MIN };
    Timestamp::try_from(time).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_thousands_of_years_wrong_gives_a_time_all_the_same() {
        let years = |years: u64| Duration::from_hours(24 * 365 * years);
        for (time, year) in [
            (SystemTime::UNIX_EPOCH + years(9000), 9999),
            (SystemTime::UNIX_EPOCH + years(50), 2019),
            (SystemTime::UNIX_EPOCH - years(50), 1920),
            (SystemTime::UNIX_EPOCH - years(20_000), -9999),
        ] {
            let text = time_of_day(time).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
            let year_of_text = text.rsplitn(3, '-').last().unwrap();
            assert_eq!(year_of_text.parse::<i32>().unwrap(), year, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_rules_the_time_of_day_that_it_was_given() {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::starting_at(start);
        tokio::time::advance(Duration::from_hours(3)).await;
        assert_eq!(clock.wall(), "2026-01-01T03:00:00Z".parse().unwrap());
        assert_eq!(clock.now(), Moment(Duration::from_hours(3)));
        assert_eq!(clock.moment("2026-01-01T04:00:00Z".parse().unwrap()), Moment(Duration::from_hours(4)));
        assert_eq!(clock.moment("2026-01-01T01:00:00Z".parse().unwrap()), Moment(Duration::from_hours(1)));
    }
}
