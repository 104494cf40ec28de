//! Deliberate bugs, to see whether the net holds. The worker has no switches: what it sends is changed on the wire, so that it looks
//! from outside as if it had the bug.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, header};
use runjob_core::{job::JobView, lifecycle::stamp_of, patch};
use runjob_sandbox::memory::{Fate, Outbound, Traffic};
use serde_json::{Value, json};

use super::witness::text;

/// A bug that the worker could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A Job is settled before its task is answered: a crash between the two loses the answer.
    SettleBeforeReport,
    /// Whatever Job is found under a name that is taken counts as the task's own.
    NoOwnerCheck,
    /// Polls in flight are given up on SIGTERM.
    PollsGivenUp,
    /// A deletion does not name the version that it was decided from.
    UnfencedDelete,
    /// A deletion does not say what becomes of the pods.
    OrphaningDelete,
    /// A Job is created with its user's TTL, and may be gone before it is answered.
    TtlNotHeldBack,
    /// A Job that has left the watch counts as deleted, without a look.
    DeletedBelieved,
    /// Heartbeats are not sent.
    NoHeartbeats,
    /// An output shows the Job as it is, stamp and all.
    StampShown,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::SettleBeforeReport,
        Self::NoOwnerCheck,
        Self::PollsGivenUp,
        Self::UnfencedDelete,
        Self::OrphaningDelete,
        Self::TtlNotHeldBack,
        Self::DeletedBelieved,
        Self::NoHeartbeats,
        Self::StampShown,
    ];
}

/// Mishaps that befall a worker with a bug.
pub struct Buggy {
    mishaps: Arc<dyn Traffic>,
    bug: Bug,
    /// The Jobs that were to be created, by name.
    planned: Mutex<BTreeMap<String, Value>>,
}

impl Buggy {
    /// A worker with this bug, and what befalls it.
    pub fn new(bug: Bug, mishaps: Arc<dyn Traffic>) -> Self {
        Self { mishaps, bug, planned: Mutex::default() }
    }

    /// What the read of a Job is answered with by somebody who believes what suits the worker.
    fn believed(&self, request: &Outbound<'_>) -> Option<Fate> {
        let name = request.request.uri().path().rsplit('/').next()?.to_owned();
        let mut job = request.kubernetes.get("jobs", "default", &name)?;
        let answer = |status, body: &Value| Fate::Answer { status, retry_after: None, body: body.to_string() };
        match self.bug {
            Bug::NoOwnerCheck => {
                let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()?;
                for map in ["labels", "annotations"] {
                    job["metadata"][map] = planned["metadata"][map].clone();
                }
                Some(answer(200, &job))
            }
            Bug::DeletedBelieved => {
                let stamped = !text(&job, "/metadata/annotations/runjob~1task-token").is_empty();
                let watched = !text(&job, "/metadata/labels/runjob~1group").is_empty();
                let gone = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404});
                (stamped && !watched).then(|| answer(404, &gone))
            }
            _ => None,
        }
    }
}

impl Traffic for Buggy {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        match (self.bug, request.kind) {
            (Bug::NoHeartbeats, "SendTaskHeartbeat") => {
                Fate::Answer { status: 200, retry_after: None, body: "{}".to_owned() }
            }
            (Bug::NoOwnerCheck, "create jobs") => {
                let job = body(request);
                let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
                planned.insert(text(&job, "/metadata/name"), job);
                self.mishaps.fate(request)
            }
            (Bug::NoOwnerCheck | Bug::DeletedBelieved, "get jobs") => {
                self.believed(request).unwrap_or_else(|| self.mishaps.fate(request))
            }
            _ => self.mishaps.fate(request),
        }
    }

    fn instead(&self, request: &Outbound<'_>) -> Option<Request<Bytes>> {
        let mut changed = body(request);
        match (self.bug, request.kind) {
            (Bug::UnfencedDelete, "delete jobs") => {
                changed.as_object_mut()?.shift_remove("preconditions");
            }
            (Bug::OrphaningDelete, "delete jobs") => {
                changed.as_object_mut()?.shift_remove("propagationPolicy");
            }
            (Bug::TtlNotHeldBack, "create jobs") => {
                let ttl: u64 = text(&changed, "/metadata/annotations/runjob~1ttl").parse().ok()?;
                changed["spec"]["ttlSecondsAfterFinished"] = ttl.into();
            }
            (Bug::StampShown, "SendTaskSuccess") => {
                let mut output: Value = serde_json::from_str(changed["output"].as_str()?).ok()?;
                output["metadata"]["annotations"] = json!({"runjob/task-token": changed["taskToken"]});
                changed["output"] = output.to_string().into();
            }
            _ => return None,
        }
        let mut request = request.request.clone();
        *request.body_mut() = changed.to_string().into();
        Some(request)
    }

    fn before(&self, request: &Outbound<'_>) -> Vec<Request<Bytes>> {
        let answers = matches!(request.kind, "SendTaskSuccess" | "SendTaskFailure");
        let settle = (self.bug == Bug::SettleBeforeReport && answers).then(|| settling(request)).flatten();
        settle.into_iter().collect()
    }

    fn gives_up_polls(&self) -> bool {
        self.bug == Bug::PollsGivenUp
    }
}

fn body(request: &Outbound<'_>) -> Value {
    serde_json::from_slice(request.request.body()).unwrap_or_default()
}

/// The patch that settles the Job of an answer.
fn settling(answer: &Outbound<'_>) -> Option<Request<Bytes>> {
    let token = text(&body(answer), "/taskToken");
    let jobs = answer.kubernetes.list("jobs", None);
    let job = jobs.iter().find(|job| text(job, "/metadata/annotations/runjob~1task-token") == token)?;
    let view = JobView::of(job).ok()?;
    let patch = patch::settle(&view, stamp_of(&view)?, 0);
    let uri = format!("/apis/batch/v1/namespaces/{}/jobs/{}", view.key.namespace, view.key.name);
    let request = Request::builder().method(Method::PATCH).uri(uri);
    let request = request.header(header::CONTENT_TYPE, "application/json-patch+json");
    request.body(patch.to_string().into()).ok()
}
