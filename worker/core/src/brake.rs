//! A brake on deletions: when suspiciously many tasks die at once, it is more likely that something is wrong with this worker, or
//! with what it takes for Step Functions, than that nobody waits for any of them.
//!
//! It holds for a while, in which somebody can act; then every one of those tasks is asked for again before its Job goes.

use std::{collections::VecDeque, time::Duration};

use crate::progress::Moment;

/// Up to that many tasks may die in a [`WINDOW`], whatever share of all they are: one stopped execution may have had them all.
const ALWAYS_BELIEVED: usize = 10;
/// The time in which deaths count together.
const WINDOW: Duration = Duration::from_mins(1);
/// How long the brake holds after the last death that it was pulled by.
const HOLD: Duration = Duration::from_mins(10);

/// Counts deaths, and stops deletions when there are too many.
#[derive(Debug, Default)]
pub struct Brake {
    deaths: VecDeque<Moment>,
    until: Option<Moment>,
}

impl Brake {
    /// A task was found dead whose Job is watched. `alive`: how many others are known to be alive.
    pub fn died(&mut self, alive: usize, now: Moment) {
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|then| now.0.saturating_sub(then.0) > WINDOW) {
            self.deaths.pop_front();
        }
        // More than half of those whose state is known.
        if self.deaths.len() > ALWAYS_BELIEVED && self.deaths.len() > alive {
            self.until = Some(now.after(HOLD));
        }
    }

    /// Whether a task that was found dead then has to be asked for once more: the brake was on, or was pulled by that death and others.
    pub fn doubts(&self, death: Moment) -> bool {
        self.until.is_some_and(|until| death <= until && until.0 <= death.0 + WINDOW + HOLD)
    }

    /// Until when nothing is deleted, if so.
    pub fn holds(&self, now: Moment) -> Option<Moment> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn after(deaths: usize, alive: usize) -> Brake {
        let mut brake = Brake::default();
        for _ in 0..deaths {
            brake.died(alive, at(0));
        }
        brake
    }

    #[test]
    fn ten_deaths_at_once_are_believed_whatever_else_is_alive() {
        assert_eq!(after(10, 0).holds(at(0)), None);
        assert_eq!(after(11, 0).holds(at(0)), Some(at(600)));
    }

    #[test]
    fn many_deaths_are_believed_as_long_as_as_many_others_live() {
        assert_eq!(after(100, 100).holds(at(0)), None);
        assert!(after(101, 100).holds(at(0)).is_some());
    }

    #[test]
    fn deaths_that_are_spread_out_do_not_count_together() {
        let mut brake = Brake::default();
        for minute in 0..100 {
            brake.died(0, at(minute * 7));
        }
        assert_eq!(brake.holds(at(700)), None);
    }

    #[test]
    fn deaths_around_its_pulling_are_doubted_and_no_others() {
        let mut brake = Brake::default();
        brake.died(0, at(0));
        assert!(!brake.doubts(at(0)));
        (0..11).for_each(|_| brake.died(0, at(100)));
        assert!(!brake.doubts(at(0)) && brake.doubts(at(40)) && brake.doubts(at(700)) && !brake.doubts(at(701)));
    }

    #[test]
    fn it_holds_for_a_while_after_the_last_death() {
        let mut brake = after(11, 0);
        brake.died(0, at(30));
        assert_eq!(brake.holds(at(629)), Some(at(630)));
        assert_eq!(brake.holds(at(630)), None);
    }
}
