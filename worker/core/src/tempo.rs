//! How fast heartbeats may follow each other: as fast as was set, or, for a while after the service has throttled some, more slowly.
//!
//! The quota is shared by everything in the account. Whoever goes on at full speed while it is used up only keeps it used up.

use std::time::Duration;

use crate::progress::Moment;

/// The slowest, as a part of what was set: below that, tasks would die by missing beats rather than by throttled ones.
const SLOWEST: u32 = 8;
/// How long a speed is kept before the next step back to what was set.
const RECOVERY: Duration = Duration::from_secs(10);
/// Beats that went out before the speed was lowered are answered for about so long after. They do not lower it again.
const SETTLED: Duration = Duration::from_secs(1);

/// The speed.
#[derive(Debug, Clone, Copy)]
pub struct Tempo {
    /// The gap between two beats, as it was set.
    least: Duration,
    /// The gap, as it was when it was lengthened last, and when that was.
    lengthened: Option<(Duration, Moment)>,
}

impl Tempo {
    /// So many beats a second, at least one.
    pub fn new(rate: u32) -> Self {
        Self { least: Duration::from_secs(1) / rate.max(1), lengthened: None }
    }

    /// The least time from one beat to the next.
    pub fn gap(&self, now: Moment) -> Duration {
        let Some((mut gap, since)) = self.lengthened else { return self.least };
        let mut left = now.0.saturating_sub(since.0);
        while gap > self.least && left >= RECOVERY {
            gap = (gap * 3 / 4).max(self.least);
            left -= RECOVERY;
        }
        gap
    }

    /// The service has throttled a beat. Says whether the gap is longer from now on.
    pub fn throttled(&mut self, now: Moment) -> bool {
        let before = self.gap(now);
        if self.lengthened.is_some_and(|(_, since)| now.0.saturating_sub(since.0) < SETTLED) {
            return false;
        }
        let gap = (before * 2).min(self.least * SLOWEST);
        self.lengthened = Some((gap, now));
        gap > before
    }
}

/// The slots in which heartbeats go out, one after the other: one sequence for all that share a quota, whoever has something to send.
/// Those that have much to send take turns, and what one does not use is the others'.
#[derive(Debug, Clone)]
pub struct Slots {
    tempo: Tempo,
    /// The last one that was given out.
    last: Moment,
}

impl Slots {
    /// At that tempo, beginning with the clock.
    pub fn new(tempo: Tempo) -> Self {
        Self { tempo, last: Moment::default() }
    }

    /// The tempo that they follow each other at.
    pub fn tempo(&mut self) -> &mut Tempo {
        &mut self.tempo
    }

    /// Gives out the next free one for a heartbeat that was due at that moment. Timers are late by up to a millisecond: the slot is the one
    /// that the heartbeat was to go out in. What is late by more than a gap is not made up for.
    pub fn take(&mut self, due: Moment, now: Moment) -> Moment {
        let gap = self.tempo.gap(now);
        let free = Moment(self.last.0.saturating_add(gap));
        let recent = Moment(now.0.saturating_sub(gap));
        self.last = due.max(free).max(recent);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(10);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn without_throttling_beats_go_out_as_fast_as_was_set() {
        assert_eq!(Tempo::new(100).gap(at(0)), LEAST);
        assert_eq!(Tempo::new(100).gap(at(1000)), LEAST);
    }

    #[test]
    fn throttling_doubles_the_gap_once_for_all_beats_that_were_on_their_way() {
        let mut tempo = Tempo::new(100);
        assert!(tempo.throttled(at(5)));
        assert!(!tempo.throttled(at(5)));
        assert_eq!(tempo.gap(at(5)), LEAST * 2);
        assert!(tempo.throttled(at(6)));
        assert_eq!(tempo.gap(at(6)), LEAST * 4);
    }

    #[test]
    fn the_gap_does_not_grow_without_end() {
        let mut tempo = Tempo::new(100);
        let longer = (0..100).filter(|second| tempo.throttled(at(*second))).count();
        assert_eq!((longer, tempo.gap(at(99))), (3, LEAST * 8));
    }

    #[test]
    fn the_gap_goes_back_step_by_step_once_there_is_no_more_throttling() {
        let mut tempo = Tempo::new(100);
        tempo.throttled(at(0));
        assert_eq!(tempo.gap(at(9)), LEAST * 2);
        assert_eq!(tempo.gap(at(10)), LEAST * 3 / 2);
        assert_eq!(tempo.gap(at(29)), LEAST * 9 / 8);
        assert_eq!(tempo.gap(at(30)), LEAST);
        // What comes then begins there.
        tempo.throttled(at(10));
        assert_eq!(tempo.gap(at(10)), LEAST * 3);
    }

    fn slots() -> Slots {
        Slots::new(Tempo::new(100))
    }

    #[test]
    fn slots_follow_each_other_at_the_tempo_whoever_takes_them() {
        let mut slots = slots();
        let taken: Vec<_> = (0..3).map(|_| slots.take(at(1), at(1)).0).collect();
        assert_eq!(taken, [at(1).0, at(1).0 + LEAST, at(1).0 + LEAST * 2]);
        slots.tempo().throttled(at(1));
        assert_eq!(slots.take(at(1), at(1)).0, at(1).0 + LEAST * 4);
    }

    #[test]
    fn a_late_timer_costs_no_slot_and_a_long_rest_saves_none_up() {
        let mut slots = slots();
        let late = Moment(at(1).0 + Duration::from_millis(1));
        assert_eq!(slots.take(at(1), late), at(1));
        assert_eq!(slots.take(at(1), at(60)).0 + LEAST, at(60).0);
        assert_eq!(slots.take(at(1), at(60)), at(60));
    }
}
