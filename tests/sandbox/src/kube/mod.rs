//! Kubernetes: objects, Jobs, pods, logs; containers run as local processes or as scripts.
//!
//! ```text
//!  requests ──► api ──► create · update · patch · delete ──► store ──► history ──► watch
//!                                                              │ inbox
//!                                                              ▼
//!                    control: collector · job_controller · kubelet ──► process | script ──► logs
//! ```
//!
//! The state is behind one lock that is never held over an `await`. The control loop works off every change in order,
//! so a seed and the same requests under a paused clock give the same history.
//!
//! It has no `podFailurePolicy`, `backoffLimitPerIndex`, `maxFailedIndexes` and `successPolicy`, no server-side apply, RBAC and
//! quota, no volumes and resource limits, and of probes only the command of a startup probe; fields that it does not know are kept, where a real server drops them.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tokio::{sync::broadcast, task::JoinHandle, time::Instant};

use crate::front::{Body, Endpoint};

mod admission;
mod api;
mod clock;
mod collector;
mod config;
mod container;
mod control;
mod create;
mod defaults;
mod delete;
mod environment;
mod events;
mod fields;
mod images;
mod job_controller;
mod job_look;
mod job_pods;
mod job_status;
mod kubelet;
mod list;
mod log_request;
mod logs;
mod patch;
mod path;
mod pods;
mod probe;
mod process;
mod programs;
mod resources;
mod script;
mod selector;
mod shared;
mod status;
mod store;
mod update;
mod validation;
mod watch;

pub use config::Config;
pub use delete::Propagation;
pub use images::known_images;
pub use programs::{Container, OnTerm, Programs, Script, Scripts, Step};
pub use status::Status;
pub use store::{Change, ChangeKind};

pub(crate) use shared::Shared;

use create::{Run, Wish};
use delete::Options;
use resources::{Resource, Scope};
use store::Key;

/// A cluster. Dropped, it kills every process that it started and ends every stream.
#[derive(Debug)]
pub struct Kubernetes {
    shared: Arc<Shared>,
    control: Mutex<Option<JoinHandle<()>>>,
}

impl Kubernetes {
    /// Starts a cluster with the namespaces that every cluster has. Call it inside of a tokio runtime.
    pub fn start(config: Config) -> Arc<Self> {
        let shared = Shared::new(config);
        let control = tokio::spawn(control::run(shared.clone()));
        Arc::new(Self { shared, control: Mutex::new(Some(control)) })
    }

    /// An object. `resource` is a plural name, with its group where the sandbox does not know it (`xs.example.com`);
    /// `namespace` is empty for what lives outside of namespaces.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = Key::new(&Resource::named(resource), namespace, name);
        self.shared.state().get(&key).map(|object| Value::clone(object))
    }

    /// The objects of a namespace, or of all of them.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let state = self.shared.state();
        state.list(&Resource::named(resource), namespace).map(|object| Value::clone(object)).collect()
    }

    /// Creates an object as another user of the cluster does, in the namespace that it names, or in `default`.
    pub fn create(&self, object: Value) -> Result<Value, Status> {
        let (resource, scope) = Resource::of(&object);
        let namespace = match (scope, fields::namespace(&object)) {
            (Scope::Cluster, _) => None,
            (Scope::Namespaced, "") => Some("default".to_owned()),
            (Scope::Namespaced, namespace) => Some(namespace.to_owned()),
        };
        let api_version = fields::text(&object, "/apiVersion").to_owned();
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let wish = Wish {
            resource: &resource,
            version,
            namespace: namespace.as_deref(),
            object,
            manager: "another-user",
            run: Run::Real,
        };
        create::create(&mut self.shared.state(), wish).map(|object| Value::clone(&object))
    }

    /// Deletes an object as another user of the cluster does.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str, propagation: Propagation) -> Result<(), Status> {
        let key = Key::new(&Resource::named(resource), namespace, name);
        delete::delete(&mut self.shared.state(), &key, &Options::propagating(propagation)).map(drop)
    }

    /// Writes an object without any of the server's checks: strips a label, fakes a status. A 404 if it is not there.
    pub fn edit(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Status> {
        let key = Key::new(&Resource::named(resource), namespace, name);
        let mut state = self.shared.state();
        state.find(&key)?;
        state
            .edit(&key, change)
            .map(|object| Value::clone(&object))
            .ok_or_else(|| Status::not_found(&key.resource, name))
    }

    /// What a container has printed so far in its present run. `None` if it never ran or its pod is gone.
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> Option<Bytes> {
        let key = Key::new(&Resource::pods(), namespace, pod);
        let uid = self.shared.state().get(&key).map(|pod| fields::uid(pod).to_owned())?;
        self.shared.logs.current(&uid, container).map(|log| log.bytes().into())
    }

    /// Every change from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.feed.subscribe()
    }

    /// When a watch first handed out an event in which this Job is Complete or Failed.
    pub fn final_event_sent(&self, uid: &str) -> Option<Instant> {
        self.shared.final_events().get(uid).copied()
    }

    /// Waits until `found` finds something. Looks again whenever an object changes, a container prints, or a process
    /// comes or goes.
    pub async fn wait_for<T>(&self, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let mut news = self.shared.news.subscribe();
        loop {
            if let Some(value) = found(self) {
                return value;
            }
            // The sender lives in `self`, so this cannot end before there is news.
            let _ = news.changed().await;
        }
    }

    /// How many containers run as local processes.
    pub fn running_processes(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
    }

    /// Ends every watch as a plain end of the stream, as a busy server does.
    pub fn cut_watches(&self) {
        self.shared.gate.send_modify(|gate| gate.cuts += 1);
    }

    /// Ends every watch that is that old as a plain end of the stream, those to come as well; `None` lets them last again.
    pub fn limit_watches(&self, longest: Option<Duration>) {
        self.shared.gate.send_modify(|gate| gate.longest = longest);
    }

    /// Lets watches say nothing, as a half-open connection does; `false` lets them go on.
    pub fn mute_watches(&self, muted: bool) {
        self.shared.gate.send_modify(|gate| gate.muted = muted);
    }

    /// Forgets the changes so far: a watch that asks for them gets a 410.
    pub fn forget_history(&self) {
        self.shared.state().forget();
    }

    /// Ends every stream, kills every process, and waits until they are gone. Requests then get a 503.
    pub async fn shutdown(&self) {
        self.close_gate();
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            // It ends by itself once the gate is closed.
            let _ = control.await;
        }
        self.shared.reaper.close();
    }

    fn close_gate(&self) {
        self.shared.gate.send_modify(|gate| gate.closed = true);
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.close_gate();
        let control = self.control.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            control.abort();
        }
        self.shared.reaper.close();
    }
}

impl Endpoint for Kubernetes {
    fn kind(&self, request: &Request<Bytes>) -> String {
        path::kind(request)
    }

    fn answer(self: Arc<Self>, request: Request<Bytes>) -> impl Future<Output = Response<Body>> + Send {
        std::future::ready(api::answer(&self.shared, &request))
    }
}
