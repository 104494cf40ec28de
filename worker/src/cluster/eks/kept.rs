//! Something from outside that is kept until it is too old. One request asks for it at a time; those that wait for it share what
//! came of it, be it a failure.
//!
//! Ages are judged by the time of day: what STS has dated ends then, and a Lambda function that is frozen does not see the time pass.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

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

impl<T, E: Clone> Kept<T, E> {
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
                return Ok(self.fetched(clock, fetch).await.unwrap_or(old));
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
