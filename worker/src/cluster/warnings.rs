//! The warnings of a namespace, as all who look at its Jobs share them: one list a minute, however many Jobs do not get going.
//!
//! An API server has no index and no cache for Events: each list of those of one object reads all of the namespace. A thousand Jobs that
//! wait for a quota, each asked about on its own, would be seventeen such scans a second.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use runjob_core::event::EventView;
use tokio::time::Instant;
use tracing::debug;

use super::{
    Cluster,
    exchange::{Ask, escape},
};

/// How long a list serves, and how long after one that was refused none is asked for.
const SERVES: Duration = Duration::from_mins(1);
/// The most warnings that are kept of a namespace: some for each Job of a worker with as many as it takes by default. A few MiB.
const MAX_WARNINGS: usize = 4000;

/// What was last listed, by namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct Warnings(Arc<Mutex<BTreeMap<String, Namespace>>>);

/// The turn to list, with what the last list brought.
type Namespace = Arc<tokio::sync::Mutex<Option<Listed>>>;

#[derive(Debug)]
struct Listed {
    at: Instant,
    events: Vec<EventView>,
}

impl Warnings {
    fn of(&self, namespace: &str) -> Namespace {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is old, and what nobody asks for at the moment, makes room.
        all.retain(|name, one| {
            name == namespace || one.try_lock().map_or(true, |one| one.as_ref().is_some_and(Listed::serves))
        });
        all.entry(namespace.to_owned()).or_default().clone()
    }
}

impl Listed {
    fn serves(&self) -> bool {
        self.at.elapsed() < SERVES
    }

    fn about(&self, uids: &[String]) -> Vec<EventView> {
        self.events.iter().filter(|event| uids.contains(&event.about)).cloned().collect()
    }
}

impl Cluster {
    /// The warnings about these objects, at most a minute old.
    pub async fn warnings_about(&self, namespace: &str, uids: &[String]) -> Vec<EventView> {
        if uids.is_empty() {
            return Vec::new();
        }
        let listed = self.warnings.of(namespace);
        let mut listed = listed.lock().await;
        match &*listed {
            Some(listed) if listed.serves() => listed.about(uids),
            _ => {
                let now = Listed { at: Instant::now(), events: self.list_warnings(namespace).await };
                listed.insert(now).about(uids)
            }
        }
    }

    /// The warnings about these objects, if they were listed within the minute and there are some about each of them.
    pub fn known_warnings_about(&self, namespace: &str, uids: &[String]) -> Option<Vec<EventView>> {
        let listed = self.warnings.of(namespace);
        let listed = listed.try_lock().ok()?;
        let known = listed.as_ref().filter(|listed| listed.serves())?.about(uids);
        let about: BTreeSet<&String> = known.iter().map(|event| &event.about).collect();
        uids.iter().all(|uid| about.contains(uid)).then_some(known)
    }

    async fn list_warnings(&self, namespace: &str) -> Vec<EventView> {
        let uri = format!("/api/v1/namespaces/{}/events?fieldSelector={}", escape(namespace), escape("type=Warning"));
        let ask = Ask::new(format!("list the warnings in {namespace}"), Method::GET, uri);
        let mut events = Vec::new();
        let taken = self.list(ask, |event: EventView| {
            if events.len() < MAX_WARNINGS {
                events.push(event);
            }
        });
        if let Err(error) = taken.await {
            debug!(%error, "unable to list Events; what is found out does without them");
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::clock::Clock;

    /// A cluster with one warning about each of a thousand Jobs, which counts how often it is asked.
    fn a_cluster(asked: &Arc<AtomicUsize>) -> Cluster {
        let asked = asked.clone();
        let service = service_fn(move |_: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            async {
                let warning =
                    |job: usize| json!({"involvedObject": {"uid": job.to_string()}, "reason": "FailedCreate"});
                let list = json!({"items": (0..1000).map(warning).collect::<Vec<_>>()});
                Ok::<_, BoxError>(Response::new(Body::from(list.to_string().into_bytes())))
            }
        });
        Cluster::over(service, "", Clock::start())
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_jobs_that_wait_cost_one_list_a_minute() {
        let asked = Arc::new(AtomicUsize::new(0));
        let cluster = &a_cluster(&asked);
        for minute in 1..=3 {
            for _ in 0..4 {
                let about = |job: usize| async move { cluster.warnings_about("x", &[job.to_string()]).await.len() };
                let found = join_all((0..1000).map(about)).await;
                assert!(found.iter().all(|found| *found == 1));
                tokio::time::advance(SERVES / 4).await;
            }
            assert_eq!(asked.load(Ordering::SeqCst), minute);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_listed_is_known_only_for_a_minute_and_only_of_what_it_tells_of() {
        let asked = Arc::new(AtomicUsize::new(0));
        let cluster = a_cluster(&asked);
        let [one, unknown] = ["1".to_owned(), "unknown".to_owned()];
        assert!(cluster.known_warnings_about("x", std::slice::from_ref(&one)).is_none());
        cluster.warnings_about("x", std::slice::from_ref(&one)).await;
        assert!(cluster.known_warnings_about("x", std::slice::from_ref(&one)).is_some());
        assert!(cluster.known_warnings_about("x", &[one.clone(), unknown]).is_none());
        tokio::time::advance(SERVES).await;
        assert!(cluster.known_warnings_about("x", &[one]).is_none());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
