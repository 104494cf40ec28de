//! What is kept of a pod: which containers it has, and how they ended.

use serde_json::Value;

use crate::restart::Restart;

/// When containerd says that a container began that it could not start.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// A pod of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Which pod of that name it is.
    pub uid: String,
    /// The UIDs of the objects that own it.
    pub owners: Vec<String>,
    /// The UID of the Job that it was made for: the label `batch.kubernetes.io/controller-uid`.
    pub job_uid: Option<String>,
    /// Its phase: `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// `status.reason`, for example `Evicted`, and what there is to say about it.
    pub reason: Remark,
    /// When it was created (RFC 3339: sorts by time).
    pub created: String,
    /// Whether it is on its way out: it has a `deletionTimestamp`.
    pub deleting: bool,
    /// Why it is not ready, if it is not: the condition `Ready`. Its kubelet gives a reason.
    pub unready: Option<Remark>,
    /// Whether it has a node.
    pub placement: Placement,
    /// What took it away: the condition `DisruptionTarget`.
    pub disruption: Option<Remark>,
    /// Whether its sandbox is there, and its volumes with it: the condition `PodReadyToStartContainers`.
    pub sandbox_ready: bool,
    /// Whether its policy restarts no container: `restartPolicy: Never`. A container may have rules of its own.
    pub never_restarts: bool,
    /// The memory that its containers may use together, if its spec limits that.
    pub memory_limit: Option<String>,
    /// How long its containers may take to end once they are asked to, in seconds.
    pub grace_seconds: u64,
    /// Its containers, init containers first.
    pub containers: Vec<ContainerView>,
}

/// How long containers may take to end, unless the pod says otherwise (`spec.terminationGracePeriodSeconds`).
const DEFAULT_GRACE: u64 = 30;

/// Whether a pod has a node: the condition `PodScheduled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It has.
    Placed,
    /// It has none, for this reason: `Unschedulable`, `SchedulingGated`.
    Refused(Remark),
    /// No scheduler has said anything yet.
    Unseen,
}

/// A reason, for machines, and a message, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remark {
    /// One word: `Unschedulable`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Which part it plays.
    pub role: Role,
    /// How it is. One that waits to be started again has ended.
    pub state: ContainerState,
    /// Why it waits, if it does, whether it ran before or not.
    pub waiting: Option<Remark>,
    /// How the run before this one ended, if it was restarted.
    pub previous: Option<Termination>,
    /// How often it was restarted.
    pub restarts: u64,
    /// Whether its startup probe has passed in this run, or it has none.
    pub started: bool,
    /// When it is started again.
    pub restart: Restart,
    /// `resources.limits.memory`, if it has one.
    pub memory_limit: Option<String>,
}

/// Which part a container plays in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An init container.
    Init,
    /// A native sidecar: an init container that is always restarted. Kubernetes ends it after the others.
    Sidecar,
    /// An ordinary one.
    Main,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It has not started, for this reason: `ImagePullBackOff`, `ContainerCreating`, …
    Waiting(Remark),
    /// It runs.
    Running,
    /// It has ended.
    Terminated(Termination),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Its exit code: 128 + n when signal n ended it.
    pub exit_code: i64,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// What it wrote to its termination log, or what the kubelet says about it.
    pub message: String,
    /// Whether it ever began: a runtime that could not start it gives the beginning of time as its start.
    pub began: bool,
}

impl PodView {
    /// Whether it is a pod of that very Job, or was before the Job was deleted without it: an orphan has no owner any more.
    pub fn is_of(&self, job_uid: &str) -> bool {
        let is_orphan_of = || self.owners.is_empty() && self.job_uid.as_deref() == Some(job_uid);
        self.owners.iter().any(|owner| owner == job_uid) || is_orphan_of()
    }

    /// Looks at a pod as the API server sent it. What is absent is taken for empty: it only explains, it decides nothing.
    pub fn of(pod: &Value) -> Self {
        let at = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let mut containers = containers(pod, "initContainers", "initContainerStatuses", |spec| {
            if text(spec, "restartPolicy") == "Always" { Role::Sidecar } else { Role::Init }
        });
        containers.extend(self::containers(pod, "containers", "containerStatuses", |_| Role::Main));
        Self {
            name: at("/metadata/name"),
            uid: at("/metadata/uid"),
            owners: owners.into_iter().flatten().map(|owner| text(owner, "uid")).collect(),
            job_uid: pod
                .pointer("/metadata/labels/batch.kubernetes.io~1controller-uid")
                .and_then(Value::as_str)
                .map(ToOwned::to_owned),
            phase: at("/status/phase"),
            reason: pod.get("status").map(Remark::of).unwrap_or_default(),
            created: at("/metadata/creationTimestamp"),
            deleting: pod.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()),
            unready: condition(pod, "Ready", "False"),
            placement: match condition(pod, "PodScheduled", "False") {
                Some(remark) => Placement::Refused(remark),
                None if condition(pod, "PodScheduled", "True").is_some() => Placement::Placed,
                None => Placement::Unseen,
            },
            disruption: condition(pod, "DisruptionTarget", "True"),
            sandbox_ready: condition(pod, "PodReadyToStartContainers", "True").is_some(),
            never_restarts: at("/spec/restartPolicy") == "Never",
            memory_limit: memory_limit(pod.get("spec")),
            // A deletion may come with another one.
            grace_seconds: ["/metadata/deletionGracePeriodSeconds", "/spec/terminationGracePeriodSeconds"]
                .iter()
                .filter_map(|place| pod.pointer(place)?.as_u64())
                .max()
                .unwrap_or(DEFAULT_GRACE),
            containers,
        }
    }

    /// Whether it failed.
    pub fn has_failed(&self) -> bool {
        self.phase == "Failed"
    }

    /// Whether it has ended, well or badly.
    pub fn has_ended(&self) -> bool {
        self.has_failed() || self.phase == "Succeeded"
    }

    /// Whether one of its containers ever ran.
    pub fn has_run(&self) -> bool {
        self.containers.iter().any(ContainerView::has_run)
    }

    /// The memory that one of its containers may use: its own limit, or that of the pod.
    pub(crate) fn memory_limit_of<'a>(&'a self, container: &'a ContainerView) -> Option<&'a str> {
        container.memory_limit.as_deref().or(self.memory_limit.as_deref())
    }

    /// Its ordinary containers.
    pub fn main_containers(&self) -> impl Iterator<Item = &ContainerView> {
        self.containers.iter().filter(|container| container.role == Role::Main)
    }
}

impl Remark {
    fn of(value: &Value) -> Self {
        Self { reason: text(value, "reason"), message: text(value, "message") }
    }
}

impl ContainerView {
    /// Whether it ever ran.
    pub fn has_run(&self) -> bool {
        !matches!(self.state, ContainerState::Waiting(_))
    }
}

fn condition(pod: &Value, kind: &str, status: &str) -> Option<Remark> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|one| text(one, "type") == kind && text(one, "status") == status).map(Remark::of)
}

fn containers(pod: &Value, specs: &str, statuses: &str, role: impl Fn(&Value) -> Role) -> Vec<ContainerView> {
    let list = |pointer: String| pod.pointer(&pointer).and_then(Value::as_array).into_iter().flatten();
    let policy = pod.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or_default();
    list(format!("/spec/{specs}"))
        .map(|spec| {
            let name = text(spec, "name");
            let status = list(format!("/status/{statuses}")).find(|status| text(status, "name") == name);
            ContainerView {
                role: role(spec),
                image: text(spec, "image"),
                state: state(status),
                waiting: status.and_then(|status| status.get("state")?.get("waiting")).map(Remark::of),
                previous: previous(status),
                restarts: status.and_then(|status| status.get("restartCount")?.as_u64()).unwrap_or_default(),
                started: status.and_then(|status| status.get("started")?.as_bool()).unwrap_or(true),
                restart: Restart::of(spec, policy),
                memory_limit: memory_limit(Some(spec)),
                name,
            }
        })
        .collect()
}

/// Of a container, or of a pod as a whole.
fn memory_limit(spec: Option<&Value>) -> Option<String> {
    spec?.pointer("/resources/limits/memory")?.as_str().map(ToOwned::to_owned)
}

fn state(status: Option<&Value>) -> ContainerState {
    let of = |name: &str| status.and_then(|status| status.get("state")?.get(name));
    // A container that waits to be restarted has its end behind it: with `restartPolicy: OnFailure` that is how it is found.
    let ended = of("terminated").or_else(|| last_end(status).filter(|_| of("waiting").is_some()));
    if let Some(terminated) = ended {
        ContainerState::Terminated(Termination::of(terminated))
    } else if of("running").is_some() {
        ContainerState::Running
    } else {
        ContainerState::Waiting(of("waiting").map(Remark::of).unwrap_or_default())
    }
}

/// Of a container that waits to be restarted, its last end is its state.
fn previous(status: Option<&Value>) -> Option<Termination> {
    status?.get("state").filter(|state| state.get("waiting").is_none())?;
    last_end(status).map(Termination::of)
}

fn last_end(status: Option<&Value>) -> Option<&Value> {
    status?.get("lastState")?.get("terminated")
}

impl Termination {
    /// Whether it looks like one that Kubernetes ordered: SIGTERM, or SIGKILL after the grace period.
    pub(crate) fn was_ordered(&self) -> bool {
        matches!(self.exit_code, 137 | 143) && self.reason != "OOMKilled"
    }

    fn of(terminated: &Value) -> Self {
        Self {
            exit_code: terminated.get("exitCode").and_then(Value::as_i64).unwrap_or_default(),
            reason: text(terminated, "reason"),
            message: text(terminated, "message"),
            began: text(terminated, "startedAt") != NEVER,
        }
    }
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_between_restarts_has_ended() {
        let status = json!({"name": "main", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
        let ContainerState::Terminated(end) = state(Some(&status)) else { panic!("not terminated") };
        assert_eq!(end.reason, "OOMKilled");
        assert_eq!(previous(Some(&status)), None);
    }

    #[test]
    fn a_container_that_was_restarted_knows_how_it_ended_before() {
        let running = json!({"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}});
        assert_eq!(state(Some(&running)), ContainerState::Running);
        assert_eq!(previous(Some(&running)).map(|end| end.exit_code), Some(1));
        assert_eq!(previous(Some(&json!({"state": {"running": {}}, "lastState": {}}))), None);
    }

    #[test]
    fn a_pod_is_cut_down_to_what_explains() {
        let pod = PodView::of(&json!({
            "metadata": {"name": "x-1", "ownerReferences": [{"uid": "u"}]},
            "spec": {"initContainers": [{"name": "prepare"}],
                     "containers": [{"name": "main", "resources": {"limits": {"memory": "8Mi"}}}]},
            "status": {"phase": "Failed", "containerStatuses": [
                {"name": "main", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
        }));
        assert!(pod.has_failed());
        assert_eq!(pod.owners, ["u"]);
        let names: Vec<_> = pod.containers.iter().map(|c| (c.name.as_str(), c.role)).collect();
        assert_eq!(names, [("prepare", Role::Init), ("main", Role::Main)]);
        assert_eq!(pod.containers[1].memory_limit.as_deref(), Some("8Mi"));
        let ContainerState::Terminated(end) = &pod.containers[1].state else { panic!("not terminated") };
        assert_eq!((end.exit_code, end.reason.as_str()), (137, "OOMKilled"));
    }
}
