//! Watches: a stream of events from the version that the client knows.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Shared, fields,
    job_status::is_finished,
    path::{Query, Target},
    process::until,
    resources::Resource,
    selector::Selector,
    status::Status,
    store::{Change, ChangeKind},
};

/// How long a watch without a time-out of its own lasts (the server draws between 30 and 60 minutes).
const LONGEST: Duration = Duration::from_mins(45);

/// What can befall every stream at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gate {
    /// Streams that began before this many cuts are over.
    pub(crate) cuts: u64,
    /// Watches say nothing, not even that they end.
    pub(crate) muted: bool,
    /// Watches last no longer than that.
    pub(crate) longest: Option<Duration>,
    /// The server is gone.
    pub(crate) closed: bool,
}

/// A line of the stream, and the Job that it shows finished.
struct Line {
    bytes: Bytes,
    finished: Option<String>,
}

struct Watch {
    shared: Arc<Shared>,
    target: Target,
    selector: Selector,
    bookmarks: bool,
    /// The client has seen every change up to here.
    cursor: u64,
    lines: VecDeque<Line>,
    next_bookmark: Instant,
    begun: Instant,
    ends: Instant,
    over: bool,
    cuts: u64,
    gate: watch::Receiver<Gate>,
    news: watch::Receiver<()>,
}

/// Opens a watch.
pub(crate) fn open(
    shared: &Arc<Shared>,
    target: Target,
    selector: Selector,
    query: &Query,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, Status> {
    let timeout = query.integer("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    let lasts = timeout.filter(|seconds| *seconds > 0).map_or(LONGEST, Duration::from_secs);
    let version = query.get("resourceVersion").unwrap_or("0");
    let version: u64 = version
        .parse()
        .map_err(|_| Status::bad_request(format!("invalid resource version \"{version}\": not a number")))?;
    let gate = shared.gate.subscribe();
    let cuts = gate.borrow().cuts;
    let mut watch = Watch {
        target,
        selector,
        bookmarks: query.is_set("allowWatchBookmarks"),
        cursor: version,
        lines: VecDeque::new(),
        next_bookmark: Instant::now() + shared.config.bookmark_interval,
        begun: Instant::now(),
        ends: Instant::now() + lasts,
        over: false,
        cuts,
        gate,
        news: shared.news.subscribe(),
        shared: shared.clone(),
    };
    let streaming_list = query.is_set("sendInitialEvents");
    if version == 0 || streaming_list {
        watch.start_with_everything();
    }
    if streaming_list {
        watch.bookmark(true);
    }
    Ok(futures::stream::unfold(watch, Watch::next))
}

impl Watch {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let gate = *self.gate.borrow_and_update();
            let cut = gate.longest.map(|longest| self.begun + longest);
            if gate.closed || gate.cuts != self.cuts || cut.is_some_and(|cut| cut <= Instant::now()) {
                return None;
            }
            if !gate.muted {
                if let Some(line) = self.lines.pop_front() {
                    if let Some(uid) = line.finished {
                        self.shared.final_events().entry(uid).or_insert_with(Instant::now);
                    }
                    return Some((line.bytes, self));
                }
                if self.over {
                    return None;
                }
                self.news.mark_unchanged();
                self.collect();
                if !self.lines.is_empty() {
                    continue;
                }
            }
            let wake = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
            tokio::select! {
                biased;
                // The senders live as long as `shared`.
                _ = self.gate.changed() => {}
                () = until(cut) => {}
                _ = self.news.changed(), if !gate.muted => {}
                () = sleep_until(wake), if !gate.muted => self.time_has_come(),
            }
        }
    }

    fn time_has_come(&mut self) {
        self.over = Instant::now() >= self.ends;
        self.next_bookmark = Instant::now() + self.shared.config.bookmark_interval;
        if self.bookmarks {
            self.collect();
            self.bookmark(false);
        }
    }

    /// The events that a watch without a version begins with.
    fn start_with_everything(&mut self) {
        let shared = self.shared.clone();
        let state = shared.state();
        let selected = state.list(&self.target.resource, self.target.namespace.as_deref());
        let selected: Vec<_> = selected.filter(|object| self.selector.matches(object)).cloned().collect();
        for object in selected {
            self.push("ADDED", &object);
        }
        self.cursor = state.version();
    }

    /// Takes what happened since the cursor.
    fn collect(&mut self) {
        let shared = self.shared.clone();
        let state = shared.state();
        match state.since(self.cursor) {
            Ok(changes) => {
                for change in changes {
                    self.take(change);
                }
                self.cursor = self.cursor.max(state.version());
            }
            Err(expired) => {
                self.push("ERROR", &expired.to_value());
                self.over = true;
            }
        }
    }

    fn take(&mut self, change: &Change) {
        let elsewhere = self.target.namespace.as_ref().is_some_and(|namespace| *namespace != change.key.namespace);
        if change.key.resource != self.target.resource || elsewhere {
            return;
        }
        let before = change.previous.as_ref().is_some_and(|object| self.selector.matches(object));
        let after = change.kind != ChangeKind::Deleted && self.selector.matches(&change.object);
        match (before, after) {
            (false, true) => self.push("ADDED", &change.object),
            (true, true) => self.push("MODIFIED", &change.object),
            (true, false) => {
                // It left the selection: the client gets the object as it was when it still belonged to it.
                let mut last = Value::clone(change.previous.as_ref().unwrap_or(&change.object));
                fields::put(&mut last, &["metadata", "resourceVersion"], change.version.to_string());
                self.push("DELETED", &last);
            }
            (false, false) => {}
        }
    }

    fn bookmark(&mut self, after_initial_events: bool) {
        let resource = &self.target.resource;
        let mut metadata = json!({"resourceVersion": self.cursor.to_string(), "creationTimestamp": null});
        if after_initial_events {
            fields::put(&mut metadata, &["annotations", "k8s.io/initial-events-end"], "true");
        }
        let mut object = json!({
            "kind": resource.kind(), "apiVersion": resource.api_version(&self.target.version), "metadata": metadata,
        });
        if *resource == Resource::jobs() {
            let template = json!({"metadata": {"creationTimestamp": null}, "spec": {"containers": null}});
            fields::put(&mut object, &["spec"], json!({"template": template}));
            fields::put(&mut object, &["status"], json!({}));
        }
        self.push("BOOKMARK", &object);
    }

    fn push(&mut self, kind: &str, object: &Value) {
        let shows_end = self.target.resource == Resource::jobs() && kind != "DELETED" && is_finished(object);
        // Written out: `type` has to come first.
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        let finished = shows_end.then(|| fields::uid(object).to_owned());
        self.lines.push_back(Line { bytes: line.into(), finished });
    }
}
