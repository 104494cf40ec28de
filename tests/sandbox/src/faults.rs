//! Faults by name and count: the next `times` requests of a kind meet an effect.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;

/// What befalls a request.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The connection is cut before the service has seen the request.
    Refuse,
    /// The service sees the request that much later.
    Delay(Duration),
    /// The service applies the request, then the connection is cut: the answer is lost.
    CutAfterApply,
    /// The service applies the request, and warns of it: its answer has this `Warning` header besides.
    Warn(&'static str),
    /// The service does not see the request; the client gets this answer.
    Answer {
        /// Its HTTP status.
        status: StatusCode,
        /// Its `Retry-After` header, in seconds.
        retry_after: Option<u64>,
        /// Its body, JSON.
        body: String,
    },
}

/// The faults that are still to come for one service.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Planned>>>);

#[derive(Debug)]
struct Planned {
    kind: String,
    effect: Effect,
    left: u32,
}

impl Faults {
    /// The next `times` requests of `kind` (as [`crate::front::Endpoint::kind`] names them) meet `effect`.
    pub fn plan(&self, kind: &str, effect: Effect, times: u32) {
        self.planned().push(Planned { kind: kind.to_owned(), effect, left: times });
    }

    /// Forgets every fault that has not happened yet.
    pub fn clear(&self) {
        self.planned().clear();
    }

    pub(crate) fn next_for(&self, kind: &str) -> Option<Effect> {
        let mut planned = self.planned();
        let next = planned.iter_mut().find(|fault| fault.left > 0 && fault.kind == kind)?;
        next.left -= 1;
        Some(next.effect.clone())
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Vec<Planned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
