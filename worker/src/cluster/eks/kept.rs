//! Something from outside that is kept until it is too old. One request asks for it at a time; those that wait for it share what
//! came of it, be it a failure.
//!
//! Ages are judged by the time of day: what STS has dated ends then, and a Lambda function that is frozen does not see the time pass.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tracing::warn;

use crate::clock::Clock;

/// After an attempt to renew what can still be used, the next one has time.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// What is kept.
#[derive(Debug)]
pub(super) struct Kept<T, E> {
    state: Mutex<State<T, E>>,
    /// Whose turn it is to ask.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<T, E> {
    value: Option<Dated<T>>,
    /// How often it was asked for.
    attempts: u64,
    /// What the last attempt failed with.
    failure: Option<E>,
    /// No renewal before.
    pause: Timestamp,
}

/// A value, and the time that it is good for.
#[derive(Debug)]
pub(super) struct Dated<T> {
    pub(super) value: Arc<T>,
    /// When it was made. Before that it cannot be good: the clock was set back.
    pub(super) date: Timestamp,
    /// From when on a new one is asked for, while this one is still good.
    pub(super) renew: Timestamp,
    /// When it is of no use any more.
    pub(super) end: Timestamp,
}

impl<T> Clone for Dated<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), ..*self }
    }
}

/// What there is at a time.
enum Sight<T> {
    Good(Dated<T>),
    /// Good, but a new one is due.
    Ageing(Dated<T>),
    /// So many attempts were made.
    Nothing(u64),
}

impl<T, E> Default for Kept<T, E> {
    fn default() -> Self {
        let state = State { value: None, attempts: 0, failure: None, pause: Timestamp::MIN };
        Self { state: Mutex::new(state), turn: tokio::sync::Mutex::default() }
    }
}

impl<T, E: Clone + fmt::Display> Kept<T, E> {
    /// The value, fresh from `fetch` if need be. What has just been fetched is taken, however short it is good for.
    pub(super) async fn get(
        &self,
        clock: Clock,
        fetch: impl AsyncFnOnce() -> Result<Dated<T>, E>,
    ) -> Result<Dated<T>, E> {
        let seen = match self.look(clock.wall()) {
            Sight::Good(value) => return Ok(value),
            Sight::Ageing(old) => {
                // The others go on with what there is, and so does this one if nothing comes of it.
                let Ok(_turn) = self.turn.try_lock() else { return Ok(old) };
                let renewed = self.fetched(clock, fetch).await;
                return Ok(renewed.unwrap_or_else(|error| {
                    warn!(%error, "what is there still serves");
                    old
                }));
            }
            Sight::Nothing(attempts) => attempts,
        };
        let _turn = self.turn.lock().await;
        match self.look(clock.wall()) {
            Sight::Good(value) | Sight::Ageing(value) => Ok(value),
            Sight::Nothing(attempts) => match self.failure().filter(|_| attempts != seen) {
                Some(failure) => Err(failure),
                None => self.fetched(clock, fetch).await,
            },
        }
    }

    /// This value is of no use, whatever its date. Another one that has taken its place is left alone.
    pub(super) fn discard(&self, value: &Arc<T>) {
        self.state().value.take_if(|kept| Arc::ptr_eq(&kept.value, value));
    }

    /// This value may be of no use: a new one is asked for as soon as may be, and it is kept until there is one.
    pub(super) fn doubt(&self, value: &Arc<T>) {
        if let Some(kept) = self.state().value.as_mut().filter(|kept| Arc::ptr_eq(&kept.value, value)) {
            kept.renew = kept.date;
        }
    }

    fn look(&self, now: Timestamp) -> Sight<T> {
        let state = self.state();
        match &state.value {
            Some(kept) if now < kept.date || kept.end <= now => Sight::Nothing(state.attempts),
            Some(kept) if kept.renew <= now && state.pause <= now => Sight::Ageing(kept.clone()),
            Some(kept) => Sight::Good(kept.clone()),
            None => Sight::Nothing(state.attempts),
        }
    }

    async fn fetched(&self, clock: Clock, fetch: impl AsyncFnOnce() -> Result<Dated<T>, E>) -> Result<Dated<T>, E> {
        let fetched = fetch().await;
        let mut state = self.state();
        state.attempts += 1;
        state.pause = clock.wall().saturating_add(RENEWAL_PAUSE).unwrap_or(Timestamp::MIN);
        state.failure = fetched.as_ref().err().cloned();
        if let Ok(value) = &fetched {
            state.value = Some(value.clone());
        }
        drop(state);
        fetched
    }

    fn failure(&self) -> Option<E> {
        self.state().failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::future::join_all;
    use jiff::SignedDuration;

    use super::*;
    use crate::cluster::eks::fixtures::clock_at;

    const NOON: &str = "2026-01-01T12:00:00Z";

    /// Something to ask, which counts.
    #[derive(Default)]
    struct Source {
        asked: Cell<u32>,
        fails: Cell<bool>,
    }

    impl Source {
        /// It answers with the number of the question: good for ten minutes, to be renewed after five.
        async fn ask(&self, clock: Clock) -> Result<Dated<u32>, &'static str> {
            self.asked.set(self.asked.get() + 1);
            tokio::task::yield_now().await;
            let date = clock.wall();
            let after = |minutes: i64| date + SignedDuration::from_mins(minutes);
            let value = Dated { value: Arc::new(self.asked.get()), date, renew: after(5), end: after(10) };
            if self.fails.get() { Err("away") } else { Ok(value) }
        }
    }

    struct Keeper {
        kept: Kept<u32, &'static str>,
        source: Source,
    }

    impl Keeper {
        fn new() -> Self {
            Self { kept: Kept::default(), source: Source::default() }
        }

        async fn get(&self, clock: Clock) -> Result<u32, &'static str> {
            let dated = self.kept.get(clock, async || self.source.ask(clock).await).await?;
            Ok(*dated.value)
        }

        async fn at(&self, time: &str) -> Result<u32, &'static str> {
            self.get(clock_at(&format!("2026-01-01T{time}Z"))).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_ask_once() {
        let keeper = Keeper::new();
        let clock = clock_at(NOON);
        assert_eq!(join_all((0..10).map(|_| keeper.get(clock))).await, [Ok(1); 10]);
        assert_eq!(keeper.source.asked.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_a_failure_and_the_next_one_asks_again() {
        let keeper = Keeper::new();
        keeper.source.fails.set(true);
        let clock = clock_at(NOON);
        assert_eq!(join_all((0..10).map(|_| keeper.get(clock))).await, [Err("away"); 10]);
        assert_eq!(keeper.source.asked.get(), 1);
        keeper.source.fails.set(false);
        assert_eq!(keeper.get(clock).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_day_decides_even_if_no_time_was_seen_to_pass() {
        let keeper = Keeper::new();
        assert_eq!(keeper.at("12:00:00").await, Ok(1));
        assert_eq!(keeper.at("12:04:59").await, Ok(1));
        assert_eq!(keeper.at("12:10:00").await, Ok(2));
        // The clock was set back: when that was made, and how old it is, nobody knows.
        assert_eq!(keeper.at("12:09:00").await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn one_renews_while_the_others_go_on_with_what_there_is() {
        let keeper = Keeper::new();
        keeper.at("12:00:00").await.unwrap();
        let clock = clock_at("2026-01-01T12:05:00Z");
        assert_eq!(join_all((0..3).map(|_| keeper.get(clock))).await, [Ok(2), Ok(1), Ok(1)]);
        assert_eq!(keeper.source.asked.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_fails_costs_nothing_and_is_not_repeated_at_once() {
        let keeper = Keeper::new();
        keeper.at("12:00:00").await.unwrap();
        keeper.source.fails.set(true);
        assert_eq!(keeper.at("12:05:00").await, Ok(1));
        assert_eq!(keeper.at("12:05:29").await, Ok(1));
        assert_eq!(keeper.source.asked.get(), 2);
        assert_eq!(keeper.at("12:05:30").await, Ok(1));
        assert_eq!(keeper.source.asked.get(), 3);
        assert_eq!(keeper.at("12:10:00").await, Err("away"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_discarded_is_asked_for_anew_unless_that_has_happened() {
        let keeper = Keeper::new();
        let clock = clock_at(NOON);
        let first = keeper.kept.get(clock, async || keeper.source.ask(clock).await).await.unwrap();
        keeper.kept.discard(&first.value);
        assert_eq!(keeper.get(clock).await, Ok(2));
        keeper.kept.discard(&first.value);
        assert_eq!(keeper.get(clock).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_doubted_is_kept_until_there_is_something_better() {
        let keeper = Keeper::new();
        let first = keeper.kept.get(clock_at(NOON), async || keeper.source.ask(clock_at(NOON)).await).await.unwrap();
        keeper.kept.doubt(&first.value);
        keeper.source.fails.set(true);
        assert_eq!(keeper.at("12:01:00").await, Ok(1));
        keeper.source.fails.set(false);
        assert_eq!(keeper.at("12:02:00").await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_asking_leaves_the_turn_to_the_next() {
        let keeper = Keeper::new();
        let clock = clock_at(NOON);
        let given_up = keeper.kept.get(clock, async || std::future::pending().await);
        assert!(tokio::time::timeout(Duration::from_secs(1), given_up).await.is_err());
        assert_eq!(keeper.get(clock).await, Ok(1));
    }
}
