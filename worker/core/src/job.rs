//! What the tracker keeps of a watched Job: a few facts, not the object.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    ledger::{self, Entry, GROUP, HELD_TTL},
    names::JobKey,
};

/// The `managedBy` of a Job that Kubernetes' own controller looks after.
const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// A watched Job, cut down to what decides.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Where it lives.
    pub key: JobKey,
    /// Which Job of that name it is.
    pub uid: String,
    /// Which version of it this is.
    pub resource_version: String,
    /// How far it is.
    pub phase: Phase,
    /// When it ended, if it has, by the clock of the cluster.
    pub finished: Option<Timestamp>,
    /// Whether somebody has deleted it: it has a `deletionTimestamp`.
    pub deleting: bool,
    /// The ledger on it.
    pub entry: Entry,
    /// The group that its label names.
    pub group: Option<String>,
    /// Whether it carries no labels at all.
    pub labels_absent: bool,
    /// The annotations that go when it is settled.
    pub going: Vec<String>,
    /// The label selector of its pods, as a request's query has it.
    pub selector: String,
    /// Its `spec.ttlSecondsAfterFinished`.
    pub ttl: Option<u64>,
    /// How many of its pods have ended, as its status counts them.
    pub ended_pods: u64,
    /// Whether its pods keep it going.
    pub readiness: Readiness,
    /// The names of the containers of its template. Empty if its stamp has those of the request, which count.
    pub containers: Vec<String>,
}

/// Whether a Job's pods keep it going, as far as its own spec and status say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// None is wanted at present: it is suspended, its `parallelism` is 0, or another controller looks after it (`managedBy`).
    NotWanted,
    /// One at least is ready.
    Ready,
    /// None is. It starts, or is tried again, or is stuck.
    NotReady,
}

impl Readiness {
    fn of(job: &Value) -> Self {
        let spec = |field: &str| job.get("spec").and_then(|spec| spec.get(field));
        let suspended = spec("suspend").and_then(Value::as_bool) == Some(true);
        let none_at_a_time = spec("parallelism").and_then(Value::as_u64) == Some(0);
        let foreign = spec("managedBy").and_then(Value::as_str).is_some_and(|by| by != JOB_CONTROLLER);
        if suspended || none_at_a_time || foreign {
            Self::NotWanted
        } else if job.pointer("/status/ready").and_then(Value::as_u64).unwrap_or_default() > 0 {
            Self::Ready
        } else {
            Self::NotReady
        }
    }
}

/// How far a Job is. Only conditions with `status: "True"` decide; counters and pods explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Neither ended nor about to.
    Active,
    /// `SuccessCriteriaMet`: it will be `Complete` once the pods are accounted for.
    Succeeding,
    /// `FailureTarget`: it will be `Failed` once the pods are gone. Their logs go with them.
    Failing,
    /// `Complete`.
    Complete,
    /// `Failed`.
    Failed {
        /// The condition's reason: `BackoffLimitExceeded`.
        reason: String,
        /// The condition's message.
        message: String,
    },
}

impl Phase {
    /// Whether the Job has ended for good.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Complete | Self::Failed { .. })
    }

    fn of(status: Option<&Value>) -> Self {
        let conditions = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
        let text = |condition: &Value, field: &str| {
            condition.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let find = |kind: &str| {
            let mut conditions = conditions.into_iter().flatten();
            conditions.find(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
        };
        if find("Complete").is_some() {
            Self::Complete
        } else if let Some(failed) = find("Failed") {
            Self::Failed { reason: text(failed, "reason"), message: text(failed, "message") }
        } else if find("FailureTarget").is_some() {
            Self::Failing
        } else if find("SuccessCriteriaMet").is_some() {
            Self::Succeeding
        } else {
            Self::Active
        }
    }
}

/// When its final condition came true.
fn finished(status: Option<&Value>) -> Option<Timestamp> {
    let conditions = status?.get("conditions")?.as_array()?.iter();
    let is = |condition: &Value, field: &str, values: &[&str]| {
        condition.get(field).and_then(Value::as_str).is_some_and(|value| values.contains(&value))
    };
    let mut last = conditions.filter(|one| is(one, "type", &["Complete", "Failed"]) && is(one, "status", &["True"]));
    last.next()?.get("lastTransitionTime")?.as_str()?.parse().ok()
}

/// An object that the API server cannot have sent as a Job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to take the object for a Job: it has no {missing}")]
pub struct NoJob {
    missing: &'static str,
}

impl NoJob {
    /// Of an object that brought a defect to light when it was read.
    pub fn unreadable() -> Self {
        Self { missing: "form that can be read" }
    }
}

impl JobView {
    /// Whether Kubernetes may delete it before its task is answered, if that takes as long as it may.
    pub fn has_short_ttl(&self) -> bool {
        self.ttl.is_some_and(|ttl| ttl < HELD_TTL)
    }

    /// Looks at a Job as the API server sent it.
    pub fn of(job: &Value) -> Result<Self, NoJob> {
        let metadata = job.get("metadata").ok_or(NoJob { missing: "metadata" })?;
        let text = |missing: &'static str| {
            metadata.get(missing).and_then(Value::as_str).map(ToOwned::to_owned).ok_or(NoJob { missing })
        };
        let labels = metadata.get("labels").filter(|labels| !labels.is_null());
        let status = job.get("status");
        let count = |field: &str| status.and_then(|s| s.get(field)).and_then(Value::as_u64).unwrap_or_default();
        let entry = ledger::read(metadata);
        let known = matches!(&entry, Entry::Open(stamp) if !stamp.options.containers.is_empty());
        let template = job.pointer("/spec/template/spec").filter(|_| !known);
        Ok(Self {
            key: JobKey { namespace: text("namespace")?, name: text("name")? },
            uid: text("uid")?,
            resource_version: text("resourceVersion")?,
            phase: Phase::of(status),
            finished: finished(status),
            deleting: metadata.get("deletionTimestamp").is_some_and(|time| !time.is_null()),
            entry,
            group: labels.and_then(|labels| labels.get(GROUP)?.as_str()).map(ToOwned::to_owned),
            labels_absent: labels.is_none(),
            going: ledger::going(metadata),
            selector: selector(job.pointer("/spec/selector")),
            ttl: job.pointer("/spec/ttlSecondsAfterFinished").and_then(Value::as_u64),
            ended_pods: count("succeeded").saturating_add(count("failed")),
            readiness: Readiness::of(job),
            containers: container_names(template),
        })
    }

    /// Whether the request asked for a container of its pods. Admission can put others into the Job's template, and into the pods: only
    /// the stamp says which were in the request. The template is asked where the stamp is one of an earlier version.
    pub fn asks_for(&self, container: &str) -> bool {
        let own = match &self.entry {
            Entry::Open(stamp) if !stamp.options.containers.is_empty() => &stamp.options.containers,
            _ => &self.containers,
        };
        own.iter().any(|own| own == container)
    }
}

impl JobView {
    /// The Job as far as it is still known when it is gone: its identity, and how it ended.
    pub fn known(&self) -> Value {
        let mut job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": self.key.namespace, "name": self.key.name, "uid": self.uid},
        });
        let mut condition = match &self.phase {
            Phase::Complete => json!({"type": "Complete", "status": "True"}),
            Phase::Failed { reason, message } => {
                json!({"type": "Failed", "status": "True", "reason": reason, "message": message})
            }
            Phase::Succeeding => json!({"type": "SuccessCriteriaMet", "status": "True"}),
            Phase::Failing => json!({"type": "FailureTarget", "status": "True"}),
            Phase::Active => return job,
        };
        let mut status = Map::new();
        if let (Some(finished), Some(condition)) = (self.finished, condition.as_object_mut()) {
            condition.insert("lastTransitionTime".to_owned(), finished.to_string().into());
            // Only of success does Kubernetes note the time.
            if self.phase == Phase::Complete {
                status.insert("completionTime".to_owned(), finished.to_string().into());
            }
        }
        status.insert("conditions".to_owned(), vec![condition].into());
        if let Some(job) = job.as_object_mut() {
            job.insert("status".to_owned(), status.into());
        }
        job
    }
}

/// The names of the containers of a pod's spec, init containers too: of one pod, none occurs twice.
pub(crate) fn container_names(pod: Option<&Value>) -> Vec<String> {
    let list = |name: &str| pod.and_then(|pod| pod.get(name)?.as_array()).into_iter().flatten();
    let names = list("initContainers").chain(list("containers")).filter_map(|item| item.get("name")?.as_str());
    names.map(ToOwned::to_owned).collect()
}

fn selector(selector: Option<&Value>) -> String {
    let labels = selector.and_then(|selector| selector.get("matchLabels")).and_then(Value::as_object);
    let mut terms: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector.and_then(|selector| selector.get("matchExpressions")).and_then(Value::as_array);
    terms.extend(expressions.into_iter().flatten().filter_map(|expression| {
        let key = expression.get("key")?.as_str()?;
        let values = expression.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        Some(match expression.get("operator")?.as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        })
    }));
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::a_job;

    #[test]
    fn only_conditions_that_are_true_decide() {
        assert_eq!(a_job().condition("Complete", "False", "").view().phase, Phase::Active);
        assert_eq!(a_job().status(json!({"failed": 3, "active": 0})).view().phase, Phase::Active);
        assert_eq!(a_job().condition("SuccessCriteriaMet", "True", "").view().phase, Phase::Succeeding);
        assert_eq!(a_job().complete().view().phase, Phase::Complete);
        assert_eq!(a_job().condition("FailureTarget", "True", "DeadlineExceeded").view().phase, Phase::Failing);
    }

    #[test]
    fn a_final_condition_counts_more_than_the_one_before_it() {
        let job = a_job().condition("FailureTarget", "True", "BackoffLimitExceeded").failed("BackoffLimitExceeded");
        let Phase::Failed { reason, .. } = job.view().phase else { panic!("not failed") };
        assert_eq!(reason, "BackoffLimitExceeded");
    }

    #[test]
    fn pods_are_missed_only_where_they_are_wanted() {
        let job = |spec: Value, status: Value| {
            let mut job = a_job().status(status).value();
            job["spec"] = spec;
            JobView::of(&job).unwrap().readiness
        };
        assert_eq!(job(json!({}), json!({"active": 1, "ready": 0})), Readiness::NotReady);
        assert_eq!(job(json!({"managedBy": JOB_CONTROLLER}), json!({"ready": 1})), Readiness::Ready);
        for spec in
            [json!({"suspend": true}), json!({"parallelism": 0}), json!({"managedBy": "kueue.x-k8s.io/multikueue"})]
        {
            assert_eq!(job(spec, json!({})), Readiness::NotWanted);
        }
    }

    #[test]
    fn a_selector_is_written_as_a_query_has_it() {
        let selector = selector(Some(&json!({
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]},
                                 {"key": "f", "operator": "DoesNotExist"}],
        })));
        assert_eq!(selector, "a=b,c in (d,e),!f");
    }

    #[test]
    fn of_a_job_that_is_gone_there_is_its_identity_and_how_it_ended() {
        let phase = |job: &Value| Phase::of(job.get("status"));
        let complete = JobView { finished: "2026-01-01T00:00:00Z".parse().ok(), ..a_job().complete().view() };
        let known = complete.known();
        assert_eq!((phase(&known), finished(known.get("status"))), (Phase::Complete, complete.finished));
        assert_eq!(known["metadata"]["uid"], json!(complete.uid));
        assert_eq!(known["status"]["completionTime"], json!("2026-01-01T00:00:00Z"));
        let failed = a_job().failed("BackoffLimitExceeded").view();
        assert_eq!(phase(&failed.known()), failed.phase);
        assert_eq!(a_job().view().known().get("status"), None);
    }

    #[test]
    fn counts_that_cannot_be_are_no_trouble() {
        let job = a_job().status(json!({"succeeded": u64::MAX, "failed": u64::MAX}));
        assert_eq!(job.view().ended_pods, u64::MAX);
    }

    #[test]
    fn something_that_is_no_job_is_told() {
        let error = JobView::of(&json!({"metadata": {"name": "x"}})).unwrap_err();
        assert_eq!(error.to_string(), "unable to take the object for a Job: it has no namespace");
    }
}
