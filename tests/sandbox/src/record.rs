//! Every request that a service received, so that a test can state what a Job costs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokio::{sync::watch, time::Instant};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// When it arrived, on tokio's clock.
    pub at: Instant,
    /// What it is, in a test's words (see [`crate::front::Endpoint::kind`]).
    pub kind: String,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: String,
    /// Its body.
    pub body: Bytes,
    /// When the answer's head went out. `None` while the service is at it.
    pub answered: Option<Instant>,
    /// The status of the answer. `None` also when the connection was cut instead.
    pub status: Option<StatusCode>,
}

/// The requests of one service, in the order of their arrival.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requests: Mutex<Vec<Recorded>>,
    changed: watch::Sender<()>,
}

/// The place of a request in its recorder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry(usize);

impl Recorder {
    /// All requests so far.
    pub fn all(&self) -> Vec<Recorded> {
        self.requests().clone()
    }

    /// The requests of one kind so far.
    pub fn of(&self, kind: &str) -> Vec<Recorded> {
        self.requests().iter().filter(|request| request.kind == kind).cloned().collect()
    }

    /// How many requests of each kind there were so far.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.requests().iter() {
            *counts.entry(request.kind.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits until `found` picks something out of the requests so far. Looks again at every arrival and answer.
    pub async fn wait_for<T>(&self, mut found: impl FnMut(&[Recorded]) -> Option<T>) -> T {
        let mut changed = self.0.changed.subscribe();
        loop {
            if let Some(value) = found(&self.requests()) {
                return value;
            }
            // The sender lives in `self`, so this cannot end before there is news.
            let _ = changed.changed().await;
        }
    }

    pub(crate) fn arrived(&self, kind: &str, request: &Request<Bytes>) -> Entry {
        let mut requests = self.requests();
        requests.push(Recorded {
            at: Instant::now(),
            kind: kind.to_owned(),
            method: request.method().clone(),
            uri: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            body: request.body().clone(),
            answered: None,
            status: None,
        });
        let entry = Entry(requests.len() - 1);
        drop(requests);
        self.0.changed.send_replace(());
        entry
    }

    pub(crate) fn answered(&self, entry: Entry, status: Option<StatusCode>) {
        if let Some(request) = self.requests().get_mut(entry.0) {
            request.answered = Some(Instant::now());
            request.status = status;
        }
        self.0.changed.send_replace(());
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
