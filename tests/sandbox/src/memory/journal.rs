//! Every request of a simulation, in the order in which they were sent.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::fate::{Fate, Outbound, Service};

/// One request. Headers are left out: they hold what differs from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was sent, since the beginning of the simulation.
    pub at: Duration,
    /// The worker that sent it.
    pub worker: String,
    /// Where it went.
    pub service: Service,
    /// What it is, as [`crate::front::Endpoint::kind`] names it.
    pub kind: String,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub uri: String,
    /// Its body.
    pub body: Bytes,
    /// What befell it.
    pub fate: Fate,
    /// When the head of its answer arrived, and with which status.
    pub answered: Option<(Duration, StatusCode)>,
}

/// The requests of all workers of a simulation.
#[derive(Debug, Clone)]
pub struct Journal {
    origin: Instant,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), lines: Arc::default() }
    }

    /// One for other requests, since the same beginning.
    pub(super) fn emptied(&self) -> Self {
        Self { origin: self.origin, lines: Arc::default() }
    }

    /// How long the simulation has gone on, on its own clock.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// How many requests there were.
    pub fn len(&self) -> usize {
        self.lines().len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// All requests so far.
    pub fn all(&self) -> Vec<Line> {
        self.lines().clone()
    }

    /// Looks at the requests so far, without a copy.
    pub fn read<T>(&self, look: impl FnOnce(&[Line]) -> T) -> T {
        look(&self.lines())
    }

    /// The number of the next request.
    pub(super) fn next_number(&self) -> usize {
        self.lines().len() + 1
    }

    pub(super) fn sent(&self, outbound: &Outbound<'_>, fate: Fate) {
        let request = outbound.request;
        self.lines().push(Line {
            at: self.elapsed(),
            worker: outbound.worker.to_owned(),
            service: outbound.service,
            kind: outbound.kind.to_owned(),
            method: request.method().to_string(),
            uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            body: request.body().clone(),
            fate,
            answered: None,
        });
    }

    pub(super) fn answered(&self, number: usize, status: StatusCode) {
        let at = self.elapsed();
        if let Some(line) = self.lines().get_mut(number.saturating_sub(1)) {
            line.answered = Some((at, status));
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, worker, kind, uri, fate, answered, .. } = self;
        write!(f, "{:>10.3} {worker:<8} {kind:<20} {uri:<60} ", at.as_secs_f64())?;
        match answered {
            Some((when, status)) => write!(f, "{} at {:.3}", status.as_u16(), when.as_secs_f64())?,
            None => f.write_str("-")?,
        }
        if *fate == Fate::Pass { Ok(()) } else { write!(f, " {fate:?}") }
    }
}
