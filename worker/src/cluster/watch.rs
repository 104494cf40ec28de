//! The one watch of a scope: every Job of the group, cut down as it arrives.

use futures::{StreamExt, TryStreamExt};
use http::{Request, Response, Uri};
use kube::{
    Api, Client, Resource,
    client::Body,
    runtime::watcher::{self, Event},
};
use runjob_core::{
    foreign::Foreign,
    job::{JobView, NoJob},
    ledger::GROUP,
    lifecycle::stamp_of,
    names::{Group, JobKey},
    request::Answer,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::{borrow::Cow, fmt, panic::catch_unwind, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, sleep_until},
};
use tower::{BoxError, service_fn};
use tracing::{debug, warn};

use super::{Cluster, connection::SILENCE, exchange::DEADLINE, list::PageSize};
use crate::{error_chain::chain, liveness::Sign, retry::WATCH};

/// The server ends a watch after this many seconds: shorter than the idle time-outs of load balancers on the way.
const WATCH_SECONDS: u32 = 200;
/// A watch that lives is begun again with a list after this long: one that shows nothing of what happens, although it is never silent,
/// looks like one with nothing to show.
const RELIST: Duration = Duration::from_mins(15);
/// After that many failures in a row the watcher starts over with a list: an answer of 410 to the watch request itself makes
/// it ask for the same version again, for ever.
const MAX_FAILURES: u32 = 5;

/// The longest from one sign of life to the next: a request waits for its header, its watch lasts until the server ends it, and a
/// connection that is only half open is given up on. Before a request is sent, EKS and AWS may be asked, too.
const STUCK: Duration = Duration::from_secs(DEADLINE.as_secs() + WATCH_SECONDS as u64 + SILENCE.as_secs());

/// The largest Job that is kept whole for its answer, by the memory that it takes. A common one takes a third of that; a larger one is
/// read again when its turn has come.
const MAX_KEPT: usize = 64 * 1024;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The group's Jobs of all namespaces.
    All,
    /// Those of one.
    Namespace(String),
    /// One Job, by its name.
    Job(JobKey),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(namespace) => write!(f, "the namespace {namespace}"),
            Self::Job(key) => write!(f, "the Job {key}"),
        }
    }
}

/// A Job as the watch brings it.
#[derive(Debug, Clone)]
pub struct WatchedJob {
    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    /// What decides about it.
    pub view: Result<JobView, NoJob>,
    /// The object itself, if the task is to be answered with it soon. Others are not kept: there may be very many.
    pub object: Option<Arc<Value>>,
}

/// News from a watch.
#[derive(Debug)]
pub enum Watched {
    /// A list begins. What is not in it is gone.
    Listing(Scope),
    /// A Job is there, or has changed.
    Applied(Scope, Box<WatchedJob>),
    /// A Job is gone, or has lost its label: the event looks the same.
    Removed(Scope, Box<WatchedJob>),
    /// A Job was created or taken over, and the watch does not show it.
    Unseen(Scope, Box<WatchedJob>),
    /// The list is complete.
    Listed(Scope),
}

impl<'de> Deserialize<'de> for WatchedJob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Foreign(object) = Foreign::deserialize(deserializer)?;
        Ok(Self::of(object))
    }
}

impl WatchedJob {
    /// A Job as any answer of the API server has it.
    pub fn of(object: Value) -> Self {
        let text = |name: &str| {
            let value = object.get("metadata").and_then(|metadata| metadata.get(name));
            value.and_then(Value::as_str).map(ToOwned::to_owned)
        };
        let metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..Default::default()
        };
        // A panic here would end the watch, and that of every other replica in its turn.
        let view = catch_unwind(|| JobView::of(&object)).unwrap_or_else(|_| Err(NoJob::unreadable()));
        let soon = view.as_ref().is_ok_and(|view| {
            view.phase.is_final() || stamp_of(view).is_some_and(|stamp| stamp.answer == Answer::WhenCreated)
        });
        let keeps = soon && weight(&object) <= MAX_KEPT;
        Self { metadata, view, object: keeps.then(|| Arc::new(object)) }
    }
}

/// About how much memory an object takes.
fn weight(object: &Value) -> usize {
    let within: usize = match object {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| 2 * size_of::<String>() + name.len() + weight(value)).sum()
        }
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::String(text) => text.len(),
        Value::Number(number) => number.as_str().len(),
        Value::Null | Value::Bool(_) => 0,
    };
    size_of::<Value>() + within
}

impl Resource for WatchedJob {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Job".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "batch".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "jobs".into()
    }

    fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        &mut self.metadata
    }
}

/// Watches until nobody listens any more.
pub async fn watch(cluster: Cluster, scope: Scope, group: Group, news: mpsc::Sender<Watched>, sign: Sign) {
    let client = client(&cluster, &sign);
    let mut config = watcher::Config::default().labels(&format!("{GROUP}={group}")).timeout(WATCH_SECONDS);
    let mut listed = Instant::now();
    let api: Api<WatchedJob> = match &scope {
        Scope::All => Api::all(client),
        Scope::Namespace(namespace) => Api::namespaced(client, namespace),
        Scope::Job(key) => {
            config = config.fields(&format!("metadata.name={}", key.name));
            Api::namespaced(client, &key.namespace)
        }
    };
    let mut pauses = WATCH.pauses();
    loop {
        let mut stream = watcher::watcher(api.clone(), config.clone()).boxed();
        let mut failures = 0;
        while failures < MAX_FAILURES {
            let event = tokio::select! {
                biased;
                () = news.closed() => return,
                event = stream.try_next() => event,
                () = sleep_until(listed + RELIST) => break,
            };
            let message = match event {
                Ok(None) => break,
                Ok(Some(Event::Init)) => Watched::Listing(scope.clone()),
                Ok(Some(event)) => {
                    failures = 0;
                    pauses.reset();
                    cluster.reachability().record(true);
                    match event {
                        Event::InitApply(job) | Event::Apply(job) => Watched::Applied(scope.clone(), Box::new(job)),
                        Event::Delete(job) => Watched::Removed(scope.clone(), Box::new(job)),
                        Event::Init => continue,
                        Event::InitDone => {
                            listed = Instant::now();
                            Watched::Listed(scope.clone())
                        }
                    }
                }
                Err(error) => {
                    failures += 1;
                    report(&scope, &error, failures);
                    tokio::time::sleep(pauses.next(None)).await;
                    continue;
                }
            };
            // As long as the tracker likes: it has a sign of its own.
            sign.waiting();
            if news.send(message).await.is_err() {
                return;
            }
            sign.busy(STUCK);
        }
        // A list that is not had by then is tried for as long again.
        listed = Instant::now();
        debug!(%scope, "the watch starts over with a list");
    }
}

/// The client of a watch. Its every request is a sign of life: the watcher begins a watch anew without a word, and of a quiet one nothing
/// else is seen. Its lists have pages of a bounded length: the watcher counts objects, whatever their size.
fn client(cluster: &Cluster, sign: &Sign) -> Client {
    let (served, sign) = (cluster.clone(), sign.clone());
    let size = Arc::new(Mutex::new(PageSize::default()));
    let service = service_fn(move |request: Request<Body>| {
        sign.busy(STUCK);
        let (cluster, size) = (served.clone(), size.clone());
        async move {
            let Some(uri) = of_list(request.uri()) else {
                return cluster.api.send(request).await.map_err(BoxError::from);
            };
            let (status, page) = cluster.page_of(&uri, &mut *size.lock().await).await?;
            Ok(Response::builder().status(status).body(Body::from(page.into_bytes()))?)
        }
    });
    Client::new(service, cluster.namespace())
}

/// Where a list is asked for, without the number of objects that a page is to have. `None`: it is no list.
fn of_list(uri: &Uri) -> Option<String> {
    let (path, query) = uri.path_and_query()?.as_str().split_once('?')?;
    let (limit, others): (Vec<_>, Vec<_>) = query.split('&').partition(|field| field.starts_with("limit="));
    (!limit.is_empty()).then(|| format!("{path}?{}", others.join("&")))
}

/// The first failure of a series is everyday life; one that goes on is worth a warning.
fn report(scope: &Scope, error: &watcher::Error, failures: u32) {
    if failures == 1 {
        debug!(%scope, error = chain(error), "the watch was interrupted");
    } else {
        warn!(%scope, error = chain(error), "unable to watch Jobs");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_told_from_a_watch() {
        let of = |uri: &str| of_list(&uri.parse().unwrap());
        let jobs = "/apis/batch/v1/jobs";
        assert_eq!(
            of(&format!("{jobs}?&labelSelector=a&limit=500&continue=b")),
            Some(format!("{jobs}?&labelSelector=a&continue=b"))
        );
        assert_eq!(of(&format!("{jobs}?watch=true&labelSelector=limit%3D1")), None);
        assert_eq!(of(jobs), None);
    }

    #[test]
    fn a_large_job_is_not_kept() {
        let job = |filling: usize| {
            let metadata = json!({"namespace": "default", "name": "x", "uid": "u", "resourceVersion": "1",
                "annotations": {"filling": "x".repeat(filling)}});
            let conditions = json!([{"type": "Complete", "status": "True"}]);
            WatchedJob::of(json!({"metadata": metadata, "status": {"conditions": conditions}}))
        };
        assert!(job(1000).object.is_some() && job(MAX_KEPT).object.is_none());
        assert!(job(MAX_KEPT).view.is_ok());
    }
}
