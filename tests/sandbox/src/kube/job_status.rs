//! What a Job needs next: a function of the Job, its pods and the time.
//!
//! One [`Step`] is one write of the Job's status, with what goes along with it, so that a watch sees the same
//! sequence as on a real cluster (recorded on 1.34):
//!
//! ```text
//! observe ─ active, ready, terminating, terminated pods as "uncounted", SuccessCriteriaMet | FailureTarget
//!   └► count ─ uncounted pods lose their finalizer and become `succeeded` and `failed`;
//!        the final condition comes along if nothing is terminating any more
//!          └► finish ─ Complete | Failed, once the last pod is gone
//! ```

use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::{fields, job_look::Look, job_pods::JobPod, store::Key};

/// What the controller remembers of a Job beside its status, which knows only whole seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) started: Option<Instant>,
    pub(crate) finished: Option<Instant>,
    /// Failures in a row.
    pub(crate) failures: u32,
    pub(crate) failed_at: Option<Instant>,
}

/// When a decision is made: on tokio's clock, and as the status shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present<'a> {
    pub(crate) at: Instant,
    pub(crate) time: &'a str,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Pods to make and to delete, then the status to write.
    Observe { status: Value, create: Vec<Option<u32>>, delete: Vec<Key>, failures: u32, successes: u32 },
    /// Pods that are counted lose their finalizer, then the status is written.
    Count { status: Value, release: Vec<Key> },
    /// Pods lose their finalizer although they were not counted.
    Release(Vec<Key>),
    /// The time to live is over.
    Expire,
    /// Nothing, until something happens or this time comes.
    Rest(Option<Instant>),
}

/// Whether the Job is over: Complete or Failed.
pub(crate) fn is_finished(job: &Value) -> bool {
    condition(job, "Complete").is_some() || condition(job, "Failed").is_some()
}

/// The condition of a type, if it holds.
pub(crate) fn condition<'a>(job: &'a Value, kind: &str) -> Option<&'a Value> {
    fields::list(job, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// Decides the next step.
pub(crate) fn decide(job: &Value, pods: &[JobPod<'_>], memory: &Memory, present: Present<'_>, retry: Duration) -> Step {
    if !matches!(fields::text(job, "/spec/managedBy"), "" | "kubernetes.io/job-controller") {
        return Step::Rest(None);
    }
    if is_finished(job) {
        let held: Vec<Key> = pods.iter().filter(|pod| pod.is_tracked()).map(|pod| pod.key.clone()).collect();
        if !held.is_empty() {
            return Step::Release(held);
        }
        return time_to_live(job, memory, present.at);
    }
    Look::new(job, pods, memory, present, retry).step()
}

fn time_to_live(job: &Value, memory: &Memory, now: Instant) -> Step {
    let ttl = fields::integer(job, "/spec/ttlSecondsAfterFinished").and_then(|ttl| u64::try_from(ttl).ok());
    match ttl {
        Some(ttl) if !fields::is_going(job) => {
            let end = memory.finished.unwrap_or(now) + Duration::from_secs(ttl);
            if end <= now { Step::Expire } else { Step::Rest(Some(end)) }
        }
        _ => Step::Rest(None),
    }
}
