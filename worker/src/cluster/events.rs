//! Events on Jobs: what people find with `kubectl describe job`. Writing one never fails nor delays whoever has something to
//! tell, and the same news again raises the count of its Event instead of adding one.
//!
//! What is to be told waits in a queue with one writer. A queue that is full takes nothing more: an Event is a courtesy, and
//! must not cost the memory of the tasks.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream};
use http::Method;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use runjob_core::job::JobView;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{Instrument, Span, debug, warn};

use super::{
    Cluster, ListError, WriteError,
    exchange::{Ask, escape},
    jobs::written,
};

/// Who writes them.
const COMPONENT: &str = "runjob";
/// The longest message that the API server takes, in bytes (`events.k8s.io/v1`, `note`; the older API follows).
const MAX_MESSAGE: usize = 1024;
/// How many Events are remembered, so that a repetition finds its own: a few for each of many Jobs. The oldest are forgotten
/// first, and told anew if they come up again.
const REMEMBERED: usize = 1000;
/// The longest that a write may take, repetitions against an API server that has only just come back included.
const DEADLINE: Duration = Duration::from_mins(1);
/// The most Events that are written at a time.
const MAX_WRITES: usize = 8;
/// The most Events that are not written yet: a few MiB, and one for each Job of a worker with as many as it takes by default,
/// should all of them have something to tell at once. What is too much is counted as lost.
pub const MAX_UNTOLD: u16 = 1000;

/// How serious an Event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Good to know.
    Normal,
    /// Somebody should look at it.
    Warning,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The Events that this process has written, and those that it is about to write.
#[derive(Clone)]
pub(super) struct Written {
    memory: Arc<Mutex<Memory>>,
    /// Places for Events that are not written yet.
    places: Arc<Semaphore>,
    untold: mpsc::Sender<Untold>,
    /// For the one writer, which keeps it locked.
    queue: Arc<tokio::sync::Mutex<mpsc::Receiver<Untold>>>,
    /// The Events that could not be written.
    lost: Counter,
}

/// An Event that is not written yet.
struct Untold {
    job: JobView,
    kind: EventKind,
    reason: &'static str,
    message: String,
    span: Span,
    /// Given back once the Event is written, or is lost.
    place: OwnedSemaphorePermit,
}

impl Default for Written {
    fn default() -> Self {
        let (untold, queue) = mpsc::channel(MAX_UNTOLD.into());
        Self {
            memory: Arc::default(),
            places: Arc::new(Semaphore::new(MAX_UNTOLD.into())),
            untold,
            queue: Arc::new(tokio::sync::Mutex::new(queue)),
            lost: Counter::default(),
        }
    }
}

/// The same news: of the same Job, for the same reason, in the same words.
type News = (String, String, String);

#[derive(Default)]
struct Memory {
    events: HashMap<News, Told>,
    order: VecDeque<News>,
}

/// An Event that is there.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    name: String,
    count: u64,
}

impl Memory {
    /// The Event that already tells it, counted once more.
    fn again(&mut self, news: &News) -> Option<Told> {
        let told = self.events.get_mut(news)?;
        told.count += 1;
        Some(told.clone())
    }

    fn keep(&mut self, news: News, name: String) {
        if self.events.insert(news.clone(), Told { name, count: 1 }).is_none() {
            self.order.push_back(news);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
    }
}

impl Cluster {
    /// Tells of a Job by an Event, as soon as the writer ([`keep_telling`]) gets to it. Nobody waits for it, and nothing depends on
    /// it.
    pub fn tell(&self, job: JobView, kind: EventKind, reason: &'static str, message: &str) {
        let message = within(message);
        let Ok(place) = self.written.places.clone().try_acquire_owned() else {
            debug!(job = %job.key, reason, message, "too many Events are to be written: one is lost");
            self.written.lost.inc();
            return;
        };
        let untold = Untold { job, kind, reason, message, span: Span::current(), place };
        // Whoever has a place finds room in the queue.
        if self.written.untold.try_send(untold).is_err() {
            self.written.lost.inc();
        }
    }

    /// Writes an Event. One that cannot be written is logged and counted, no more.
    pub async fn record_event(&self, job: &JobView, kind: EventKind, reason: &str, message: &str) {
        let message = within(message);
        match tokio::time::timeout(DEADLINE, self.write_event(job, kind, reason, &message)).await {
            Ok(Ok(())) => return,
            // RBAC, as a rule, and on purpose: once would do, and the count says how often.
            Ok(Err(error @ WriteError::Refused { .. })) => {
                debug!(job = %job.key, %error, reason, message, "unable to write an Event");
            }
            Ok(Err(error)) => warn!(job = %job.key, %error, reason, message, "unable to write an Event"),
            Err(_) => warn!(job = %job.key, reason, message, "unable to write an Event in time"),
        }
        self.written.lost.inc();
    }

    /// Waits until everything that was told so far is written, or is lost.
    pub async fn all_told(&self) {
        // Closed never.
        let _all = self.written.places.acquire_many(MAX_UNTOLD.into()).await;
    }

    /// How many Events are not written yet.
    pub fn untold(&self) -> usize {
        usize::from(MAX_UNTOLD).saturating_sub(self.written.places.available_permits())
    }

    /// The Events about one object: the one that has this UID, not others that had its name.
    pub async fn events_of(&self, namespace: &str, uid: &str) -> Result<Vec<Value>, ListError> {
        let selector = escape(&format!("involvedObject.uid={uid}"));
        let uri = format!("/api/v1/namespaces/{}/events?fieldSelector={selector}", escape(namespace));
        let ask = Ask::new(format!("list the Events of {uid} in {namespace}"), Method::GET, uri);
        let mut events = Vec::new();
        self.list(ask, |event| events.push(event)).await?;
        Ok(events)
    }

    /// How many Events could not be written.
    pub fn lost_events(&self) -> &Counter {
        &self.written.lost
    }

    async fn write_event(&self, job: &JobView, kind: EventKind, reason: &str, message: &str) -> Result<(), WriteError> {
        let news = (job.uid.clone(), reason.to_owned(), message.to_owned());
        let now = self.clock().wall();
        let uri = format!("/api/v1/namespaces/{}/events", escape(&job.key.namespace));
        let told = self.memory().again(&news);
        if let Some(told) = told {
            let patch = json!({"count": told.count, "lastTimestamp": seconds(now)});
            let uri = format!("{uri}/{}", escape(&told.name));
            let ask = Ask::new(format!("count the Event {}", told.name), Method::PATCH, uri);
            let exchanged = self.exchange(&ask.with_body("application/merge-patch+json", &patch)).await?;
            // Events last an hour, as a rule.
            if exchanged.answer.status != 404 {
                return written(&exchanged);
            }
        }
        // As Kubernetes' own components name theirs.
        let name = format!("{}.{:x}", job.key.name, now.as_nanosecond());
        let event = event(job, kind, reason, message, &name, now);
        let ask = Ask::new(format!("write an Event on the Job {}", job.key), Method::POST, uri);
        written(&self.exchange(&ask.with_body("application/json", &event)).await?)?;
        self.memory().keep(news, name);
        Ok(())
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.written.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what there is to tell, for as long as it is polled.
pub async fn keep_telling(cluster: Cluster) {
    let mut queue = cluster.written.queue.lock().await;
    let untold = stream::poll_fn(|context| queue.poll_recv(context));
    let write = |untold: Untold| {
        let cluster = cluster.clone();
        let Untold { job, kind, reason, message, span, place } = untold;
        let write = async move {
            cluster.record_event(&job, kind, reason, &message).await;
            drop(place);
        };
        write.instrument(span)
    };
    untold.for_each_concurrent(MAX_WRITES, write).await;
}

fn event(job: &JobView, kind: EventKind, reason: &str, message: &str, name: &str, now: Timestamp) -> Value {
    let now = seconds(now);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": job.key.namespace},
        "involvedObject": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "namespace": job.key.namespace,
            "name": job.key.name,
            "uid": job.uid,
            "resourceVersion": job.resource_version,
        },
        "type": kind.as_str(),
        "reason": reason,
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

/// As the older Event API takes times: to the second.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The message, cut to what the API server takes.
fn within(message: &str) -> String {
    const MARK: &str = "…";
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE - MARK.len());
    format!("{}{MARK}", message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(number: usize) -> News {
        ("uid".to_owned(), "Reason".to_owned(), number.to_string())
    }

    #[test]
    fn the_same_news_counts_on_the_event_that_is_there() {
        let mut memory = Memory::default();
        assert_eq!(memory.again(&news(1)), None);
        memory.keep(news(1), "x.1".to_owned());
        let told = |count| Some(Told { name: "x.1".to_owned(), count });
        assert_eq!((memory.again(&news(1)), memory.again(&news(1))), (told(2), told(3)));
        assert_eq!(memory.again(&news(2)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut memory = Memory::default();
        for number in 0..=REMEMBERED {
            memory.keep(news(number), format!("x.{number}"));
            memory.keep(news(number), format!("x.{number}"));
        }
        assert_eq!((memory.events.len(), memory.order.len()), (REMEMBERED, REMEMBERED));
        assert!(memory.again(&news(0)).is_none() && memory.again(&news(1)).is_some());
    }

    #[test]
    fn a_message_is_cut_to_what_the_server_takes_whatever_its_letters() {
        assert_eq!(within("short"), "short");
        for letter in ["a", "ü", "語", "🙂"] {
            let cut = within(&letter.repeat(2000));
            assert!(cut.len() <= MAX_MESSAGE && cut.ends_with('…'), "{} bytes", cut.len());
            assert!(cut.len() > MAX_MESSAGE - 8, "{} bytes", cut.len());
        }
    }

    #[test]
    fn times_are_written_to_the_second() {
        assert_eq!(seconds("2026-01-02T03:04:05.678Z".parse().unwrap()), "2026-01-02T03:04:05Z");
    }
}
