//! Events on Jobs: what people find with `kubectl describe job`. Writing one never fails whoever has something to tell, and the
//! same news again raises the count of its Event instead of adding one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use runjob_core::{budget::shortened, job::JobView};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::{Instrument, debug, warn};

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

/// The Events that this process has written.
#[derive(Clone)]
pub(super) struct Written {
    memory: Arc<Mutex<Memory>>,
    /// Permits to write one: there may be as many to be written at once as there are Jobs.
    writing: Arc<Semaphore>,
    /// The Events that could not be written.
    lost: Counter,
}

impl Default for Written {
    fn default() -> Self {
        Self { memory: Arc::default(), writing: Arc::new(Semaphore::new(MAX_WRITES)), lost: Counter::default() }
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
    /// Tells of a Job by an Event. One that cannot be written is logged and counted, no more: nothing depends on it.
    pub async fn record_event(&self, job: &JobView, kind: EventKind, reason: &str, message: &str) {
        let message = within(message);
        // Closed only when the worker ends.
        let _permit = self.written.writing.acquire().await.ok();
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

    /// The same beside whatever else is done: nobody waits for it.
    pub fn tell(&self, job: JobView, kind: EventKind, reason: &'static str, message: String) {
        let cluster = self.clone();
        let write = async move { cluster.record_event(&job, kind, reason, &message).await };
        tokio::spawn(write.in_current_span());
    }

    /// The Events about one object: the one that has this UID, not others that had its name.
    pub async fn events_of(&self, namespace: &str, uid: &str) -> Result<Vec<Value>, ListError> {
        let selector = escape(&format!("involvedObject.uid={uid}"));
        let uri = format!("/api/v1/namespaces/{}/events?fieldSelector={selector}", escape(namespace));
        let ask = Ask::new(format!("list the Events of {uid} in {namespace}"), Method::GET, uri);
        let mut events = Vec::new();
        self.list(ask, |event| events.push(event.clone())).await?;
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
    // A character takes up to four bytes, the mark of the cut three.
    if message.len() <= MAX_MESSAGE { message.to_owned() } else { shortened(message, MAX_MESSAGE / 4 - 1) }
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
        }
    }

    #[test]
    fn times_are_written_to_the_second() {
        assert_eq!(seconds("2026-01-02T03:04:05.678Z".parse().unwrap()), "2026-01-02T03:04:05Z");
    }
}
