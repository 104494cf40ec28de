//! What follows an error: another attempt (Retry), another state (Catch), or the end of the execution.

use std::{collections::BTreeMap, time::Duration};

use super::{failure::StateError, paths::ResultPath};

/// One entry of `Retry`.
#[derive(Debug, Clone)]
pub(super) struct Retrier {
    pub(super) error_equals: Vec<String>,
    pub(super) interval: Duration,
    pub(super) max_attempts: u32,
    pub(super) backoff_rate: f64,
    pub(super) max_delay: Option<Duration>,
}

/// One entry of `Catch`.
#[derive(Debug, Clone)]
pub(super) struct Catcher {
    pub(super) error_equals: Vec<String>,
    pub(super) next: String,
    pub(super) result_path: ResultPath,
}

/// The retries of one visit to a state. Every retrier counts its own.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    used: BTreeMap<usize, u32>,
}

impl Attempts {
    /// How often the state was retried, as `$$.State.RetryCount` says.
    pub(super) fn retries(&self) -> u32 {
        self.used.values().sum()
    }

    /// The pause before the next attempt, or `None`: the first retrier that matches decides, and when it has no attempt
    /// left the later ones are not asked.
    pub(super) fn after(&mut self, error: &StateError, retriers: &[Retrier]) -> Option<Duration> {
        let matching = |retrier: &Retrier| matches(&retrier.error_equals, error);
        let (place, retrier) = retriers.iter().enumerate().find(|(_, retrier)| matching(retrier))?;
        let used = self.used.entry(place).or_default();
        if *used >= retrier.max_attempts {
            return None;
        }
        let pause = retrier.pause(*used);
        *used += 1;
        Some(pause)
    }
}

impl Retrier {
    fn pause(&self, earlier: u32) -> Duration {
        let factor = self.backoff_rate.powf(f64::from(earlier));
        let pause = Duration::try_from_secs_f64(self.interval.as_secs_f64() * factor).unwrap_or(Duration::MAX);
        self.max_delay.map_or(pause, |longest| pause.min(longest))
    }
}

/// The first catcher that takes the error.
pub(super) fn catcher<'a>(error: &StateError, catchers: &'a [Catcher]) -> Option<&'a Catcher> {
    catchers.iter().find(|catcher| matches(&catcher.error_equals, error))
}

fn matches(patterns: &[String], error: &StateError) -> bool {
    patterns.iter().any(|pattern| error.is_matched_by(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retrier(error: &str, max_attempts: u32) -> Retrier {
        Retrier {
            error_equals: vec![error.to_owned()],
            interval: Duration::from_secs(2),
            max_attempts,
            backoff_rate: 1.5,
            max_delay: Some(Duration::from_secs(4)),
        }
    }

    #[test]
    fn pauses_grow_up_to_the_longest_and_end() {
        let error = StateError::named("A", String::new());
        let mut attempts = Attempts::default();
        let retriers = [retrier("A", 4)];
        let pauses: Vec<_> = std::iter::from_fn(|| attempts.after(&error, &retriers)).collect();
        assert_eq!(pauses, [2.0, 3.0, 4.0, 4.0].map(Duration::from_secs_f64));
        assert_eq!(attempts.retries(), 4);
    }

    #[test]
    fn every_retrier_counts_its_own_and_the_first_match_decides() {
        let [a, b] = ["A", "B"].map(|name| StateError::named(name, String::new()));
        let mut attempts = Attempts::default();
        let retriers = [retrier("A", 1), retrier("States.ALL", 1)];
        assert!(attempts.after(&a, &retriers).is_some());
        assert!(attempts.after(&a, &retriers).is_none(), "States.ALL is not asked");
        assert!(attempts.after(&b, &retriers).is_some());
        assert!(attempts.after(&b, &retriers).is_none());
    }
}
