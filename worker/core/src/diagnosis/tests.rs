//! What is said of Jobs as a real cluster had them: `fixtures/`, recorded by `tests/cluster/record`, or marked as synthetic.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::Value;

use super::{
    Diagnosis,
    failed::{self, Failure},
    stuck::{self, Course},
};
use crate::{
    event::EventView,
    failure::JobError,
    job::{JobView, Phase, Readiness},
    pod::{ContainerView, Placement, PodView, Remark},
};

/// What a Job looked like.
struct Fixture {
    job: Value,
    view: JobView,
    pods: Vec<PodView>,
    events: Vec<EventView>,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

impl Fixture {
    fn named(case: &str) -> Self {
        let text = std::fs::read_to_string(directory().join(format!("{case}.json"))).unwrap();
        let whole: Value = serde_json::from_str(&text).unwrap();
        let list = |name: &str| whole[name].as_array().unwrap().clone();
        Self {
            view: JobView::of(&whole["job"]).unwrap(),
            job: whole["job"].clone(),
            pods: list("pods").iter().map(PodView::of).collect(),
            events: list("events").iter().map(EventView::of).collect(),
        }
    }

    /// Only the Events that would have been asked for.
    fn events(&self, wanted: &[String]) -> Vec<EventView> {
        self.events.iter().filter(|event| wanted.contains(&event.about)).cloned().collect()
    }

    fn symptom(&self) -> Option<stuck::Symptom> {
        let events = self.events(&stuck::in_need_of_events(&self.view, &self.pods));
        stuck::symptom(&self.view, &self.pods, &events)
    }

    fn failure(&self) -> Diagnosis {
        let conditions = self.job.pointer("/status/conditions").and_then(Value::as_array).unwrap();
        let failed = conditions.iter().rev().find(|one| one["type"] == "Failed" || one["type"] == "FailureTarget");
        let failed = failed.unwrap();
        let failure = Failure {
            reason: failed["reason"].as_str().unwrap(),
            message: failed["message"].as_str().unwrap(),
            failed_indexes: self.job.pointer("/status/failedIndexes").and_then(Value::as_str),
        };
        let events = self.events(&failed::in_need_of_events(&self.view, &self.pods));
        failed::diagnose(&self.view, failure, &self.pods, &events)
    }

    fn has_failed(&self) -> bool {
        matches!(self.view.phase, Phase::Failing | Phase::Failed { .. })
    }

    /// What is said of it, if there is anything to say.
    fn diagnosis(&self) -> Option<Diagnosis> {
        if self.has_failed() {
            return Some(self.failure());
        }
        let looked_at = self.view.phase == Phase::Active && self.view.readiness == Readiness::NotReady;
        self.symptom().filter(|_| looked_at).map(|symptom| symptom.diagnosis)
    }
}

/// A Job, the code of its diagnosis, and words that have to be in its sentence.
const DIAGNOSES: &[(&str, JobError, &[&str])] = &[
    ("claim-missing", JobError::Unschedulable, &["persistentvolumeclaim \"data\" not found"]),
    ("claim-unbound", JobError::Unschedulable, &[]),
    ("command-not-found", JobError::ContainerNotStarted, &["could not be started", "StartError"]),
    ("configmap-env-from-missing", JobError::ConfigMissing, &["configmap \"settings\" not found", "main"]),
    ("configmap-env-key-missing", JobError::ConfigMissing, &["key size", "settings"]),
    ("configmap-env-missing", JobError::ConfigMissing, &[]),
    ("configmap-not-looked-up-yet", JobError::ConfigMissing, &["configmap cache"]),
    ("configmap-volume-key-missing", JobError::ConfigMissing, &["size"]),
    ("configmap-volume-missing", JobError::ConfigMissing, &["configmap \"settings\" not found"]),
    ("container-lost", JobError::NodeLost, &["how container main", "is not known", "ContainerStatusUnknown"]),
    ("deadline", JobError::DeadlineExceeded, &[]),
    ("deadline-of-the-pod", JobError::DeadlineExceeded, &["activeDeadlineSeconds of its own spec"]),
    ("deadline-while-image-is-pulled", JobError::DeadlineExceeded, &[]),
    ("deadline-without-handler", JobError::DeadlineExceeded, &[]),
    ("evicted-by-api", JobError::Evicted, &["evicted"]),
    ("evicted-by-kubelet", JobError::Evicted, &["low on resource"]),
    ("evicted-container-unknown", JobError::Evicted, &["evicted"]),
    ("evicted-for-its-own-limit", JobError::OutOfStorage, &["exceeds the limit \"1Mi\""]),
    ("exit-code", JobError::BackoffLimitExceeded, &["exit code 3"]),
    ("exit-code-after-retries", JobError::BackoffLimitExceeded, &["exit code 3"]),
    ("exit-code-on-failure", JobError::BackoffLimitExceeded, &["exit code 3"]),
    ("exit-code-with-message", JobError::BackoffLimitExceeded, &["exit code 3"]),
    ("failed-indexes", JobError::FailedIndexes, &["failed indexes: 1,2"]),
    ("host-path-missing", JobError::VolumeNotMounted, &["/no/such/directory"]),
    ("image-host-unknown", JobError::ImagePullFailed, &["no such host"]),
    ("image-host-unknown-back-off", JobError::ImagePullFailed, &["nosuch.invalid/x:v1"]),
    ("image-name-invalid", JobError::InvalidImageName, &["Company/Report:v1"]),
    ("image-never-pulled", JobError::ImagePullFailed, &["Never"]),
    ("image-not-found", JobError::ImagePullFailed, &["no-such-image:v1", "not found"]),
    ("image-not-found-back-off", JobError::ImagePullFailed, &["no-such-image:v1", "not found"]),
    ("image-of-init-container-not-found", JobError::ImagePullFailed, &["prepare", "no-such-image"]),
    ("image-pull-secret-missing", JobError::ImagePullFailed, &["401 Unauthorized"]),
    ("image-registry-unreachable", JobError::ImagePullFailed, &["connection refused"]),
    ("image-registry-unreachable-back-off", JobError::ImagePullFailed, &["connection refused"]),
    ("image-unauthorised", JobError::ImagePullFailed, &["401 Unauthorized"]),
    ("image-unauthorised-back-off", JobError::ImagePullFailed, &["401 Unauthorized"]),
    ("init-container-fails", JobError::BackoffLimitExceeded, &["container prepare", "exit code 4"]),
    ("limit-range-exceeded", JobError::NoPods, &["maximum memory usage"]),
    ("liveness-probe-fails", JobError::BackoffLimitExceeded, &["SIGKILL, ordered by its failing liveness probe"]),
    ("max-failed-indexes", JobError::MaxFailedIndexesExceeded, &["0,1"]),
    ("must-not-run-as-root", JobError::ContainerNotStarted, &["runAsNonRoot"]),
    ("no-such-node", JobError::Unschedulable, &["node affinity"]),
    ("node-cordoned", JobError::Unschedulable, &["unschedulable"]),
    ("node-deleted", JobError::NodeLost, &["node no longer exists"]),
    ("node-lost", JobError::NodeLost, &[]),
    ("node-shutdown", JobError::NodeLost, &["shutdown"]),
    ("node-tainted", JobError::Unschedulable, &["untolerated taint"]),
    ("node-unreachable", JobError::NodeLost, &["does not answer"]),
    ("out-of-memory", JobError::OutOfMemory, &["limit of"]),
    ("out-of-memory-of-a-child", JobError::OutOfMemory, &[]),
    ("out-of-memory-on-failure", JobError::OutOfMemory, &[]),
    ("pod-deleted", JobError::BackoffLimitExceeded, &["somebody deleted pod"]),
    ("pod-failure-policy", JobError::PodFailurePolicy, &["rule at index 1", "exit code 42"]),
    ("pod-security-baseline", JobError::NoPods, &["PodSecurity"]),
    ("pod-security-restricted", JobError::NoPods, &["PodSecurity \"restricted"]),
    ("policy-refuses", JobError::NoPods, &["the label team is missing"]),
    ("preempted", JobError::Preempted, &[]),
    ("preempted-by-kubelet", JobError::Preempted, &[]),
    ("priority-class-missing", JobError::NoPods, &["urgent"]),
    ("quota-exceeded", JobError::NoPods, &["exceeded quota: few"]),
    ("quota-of-memory-exceeded", JobError::NoPods, &["limits.memory"]),
    ("quota-wants-limits", JobError::NoPods, &["must specify limits.memory"]),
    ("rejected-for-cpu", JobError::PodRejected, &["OutOfcpu", "enough resource: cpu"]),
    ("rejected-for-sysctl", JobError::PodUnsupported, &["SysctlForbidden", "kernel.msgmax"]),
    ("rejected-under-pressure", JobError::PodRejected, &["Evicted", "DiskPressure"]),
    ("rejected-without-device", JobError::PodRejected, &["UnexpectedAdmissionError", "nvidia.com/gpu"]),
    ("runtime-class-missing", JobError::NoPods, &["gvisor"]),
    ("scheduler-missing", JobError::Unschedulable, &["schedulerName"]),
    ("second-container-fails", JobError::BackoffLimitExceeded, &["container second", "exit code 5"]),
    ("secret-env-from-missing", JobError::ConfigMissing, &["secret \"login\" not found"]),
    ("secret-env-key-missing", JobError::ConfigMissing, &["password", "login"]),
    ("secret-env-missing", JobError::ConfigMissing, &["secret \"login\" not found"]),
    ("secret-volume-key-missing", JobError::ConfigMissing, &["password"]),
    ("secret-volume-missing", JobError::ConfigMissing, &["secret \"login\" not found"]),
    ("service-account-missing", JobError::NoPods, &["serviceaccount \"reporter\" not found"]),
    ("shell-does-not-find-command", JobError::BackoffLimitExceeded, &["exit code 127"]),
    ("shell-may-not-execute", JobError::BackoffLimitExceeded, &["exit code 126"]),
    ("sidecar-crashes", JobError::CrashLoop, &["native sidecar proxy", "exit code 1"]),
    ("sidecar-never-starts", JobError::CrashLoop, &["native sidecar proxy", "Startup probe failed"]),
    ("sidecar-running", JobError::SidecarRunning, &["main", "proxy runs on"]),
    ("sidecar-running-after-failure", JobError::SidecarRunning, &["main", "proxy runs on"]),
    ("sigkill-by-itself", JobError::BackoffLimitExceeded, &["exit code 137 (SIGKILL)"]),
    ("sigsegv", JobError::BackoffLimitExceeded, &["exit code 139 (SIGSEGV)"]),
    ("sigterm-by-itself", JobError::BackoffLimitExceeded, &["exit code 143 (SIGTERM)"]),
    ("too-many-gpus", JobError::Unschedulable, &[]),
    ("too-much-cpu", JobError::Unschedulable, &["Insufficient cpu"]),
    ("too-much-memory", JobError::Unschedulable, &["Insufficient memory"]),
    ("webhook-refuses", JobError::NoPods, &["the label team is missing"]),
    ("webhook-unreachable", JobError::NoPods, &["pods.example.com"]),
    ("working-directory-is-a-file", JobError::ContainerNotStarted, &["could not be started"]),
];

/// Jobs that nothing is wrong with, or nothing that would not pass or be ended by Kubernetes itself.
const WELL: &[&str] = &[
    "between-retries",
    "command-not-found-on-failure",
    "complete",
    "container-creating",
    "crash-loop",
    "init-crash-loop",
    "managed-by-another",
    "native-sidecar-ended",
    "native-sidecar-running",
    "no-parallelism",
    "pod-initializing",
    "running",
    "running-not-ready",
    "suspended",
    "suspended-by-kueue",
];

#[test]
fn each_recorded_job_has_the_diagnosis_that_it_deserves() {
    for (case, code, words) in DIAGNOSES {
        let diagnosis = Fixture::named(case).diagnosis().unwrap_or_else(|| panic!("{case}: no diagnosis"));
        assert_eq!(diagnosis.code, *code, "{case}: {}", diagnosis.summary);
        for word in *words {
            assert!(diagnosis.summary.contains(word), "{case}: \"{word}\" is not in: {}", diagnosis.summary);
        }
    }
}

#[test]
fn a_job_that_is_well_has_none() {
    for case in WELL {
        let found = Fixture::named(case).diagnosis();
        assert!(found.is_none(), "{case}: {found:?}");
    }
}

#[test]
fn every_recorded_job_is_in_one_of_the_lists() {
    let known: BTreeSet<String> = DIAGNOSES
        .iter()
        .map(|(case, ..)| *case)
        .chain(WELL.iter().copied())
        .map(|case| format!("{case}.json"))
        .collect();
    let files = std::fs::read_dir(directory()).unwrap();
    let files: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(known, files);
}

#[test]
fn what_may_be_meant_that_way_is_told_and_not_ended() {
    let course = |case: &str| Fixture::named(case).symptom().unwrap().course;
    assert_eq!(course("sidecar-running"), Course::Tell);
    assert_eq!(course("image-not-found"), Course::Fail);
    // A container that admission has injected is known for what it is.
    let mut injected = Fixture::named("sidecar-running");
    injected.view.containers.retain(|name| name == "main");
    assert_eq!(injected.symptom().unwrap().course, Course::Fail);
}

#[test]
fn only_a_gate_keeps_a_pod_from_its_node_by_intention() {
    let refused = |reason: &str| {
        let mut fixture = Fixture::named("too-much-cpu");
        let remark = Remark { reason: reason.to_owned(), message: "why".to_owned() };
        fixture.pods.iter_mut().for_each(|pod| pod.placement = Placement::Refused(remark.clone()));
        fixture.symptom().map(|symptom| symptom.diagnosis.code)
    };
    assert_eq!(refused("SchedulerError"), Some(JobError::Unschedulable));
    assert_eq!(refused("SchedulingGated"), None);
}

#[test]
fn only_what_the_request_asks_for_is_the_users_own() {
    // A policy has put the container into the Job's template: the stamp says what the request had.
    let mut injected = Fixture::named("sidecar-running");
    let mut stamp = crate::fixtures::a_stamp();
    // Whose it is does not matter here.
    stamp.object = None;
    stamp.options.containers = vec!["main".to_owned()];
    crate::ledger::write(&stamp, &"g".parse().unwrap(), &mut injected.job);
    injected.view = JobView::of(&injected.job).unwrap();
    assert_eq!(injected.symptom().unwrap().course, Course::Fail);
    stamp.options.containers = vec!["main".to_owned(), "proxy".to_owned()];
    crate::ledger::write(&stamp, &"g".parse().unwrap(), &mut injected.job);
    injected.view = JobView::of(&injected.job).unwrap();
    assert_eq!(injected.symptom().unwrap().course, Course::Tell);
}

#[test]
fn what_was_injected_may_end_before_the_work() {
    // `main` has ended, and `proxy` runs on: here that is the request's container.
    let mut helped = Fixture::named("sidecar-running");
    helped.view.containers = vec!["proxy".to_owned()];
    assert_eq!(helped.symptom(), None);
}

#[test]
fn a_container_that_its_own_rule_starts_again_has_not_ended() {
    let mut fixture = Fixture::named("sidecar-running-after-failure");
    fixture.view.containers.retain(|name| name == "main");
    let rules = serde_json::json!({"restartPolicy": "Never", "restartPolicyRules": [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [3]}}]});
    for container in fixture.pods.iter_mut().flat_map(|pod| &mut pod.containers) {
        container.restart = crate::restart::Restart::of(&rules, "Never");
    }
    assert_eq!(fixture.symptom(), None);
}

#[test]
fn a_sidecar_that_never_gets_well_has_a_long_grace_and_fails() {
    for case in ["sidecar-crashes", "sidecar-never-starts"] {
        let fixture = Fixture::named(case);
        let symptom = fixture.symptom().unwrap();
        assert_eq!((symptom.course, symptom.grace), (Course::Fail, std::time::Duration::from_mins(10)), "{case}");
        assert!(!symptom.diagnosis.to_json()["events"].as_array().unwrap().is_empty(), "{case}");
    }
}

#[test]
fn the_nodes_trouble_is_worth_a_retry_and_the_pods_own_is_not() {
    let retryable = |case: &str| Fixture::named(case).failure().retryable;
    for case in [
        "rejected-for-cpu",
        "rejected-under-pressure",
        "rejected-without-device",
        "container-lost",
        "evicted-by-kubelet",
    ] {
        assert!(retryable(case), "{case}");
    }
    for case in ["rejected-for-sysctl", "evicted-for-its-own-limit", "deadline-of-the-pod", "command-not-found"] {
        assert!(!retryable(case), "{case}");
    }
}

/// An Event of the first pod, later than all others.
fn later_event(fixture: &Fixture, reason: &str) -> EventView {
    let pod = fixture.pods.first().unwrap();
    let of_pod = fixture.events.iter().find(|event| event.about == pod.uid).unwrap();
    EventView {
        reason: reason.to_owned(),
        is_warning: false,
        last: "2099-01-01T00:00:00Z".to_owned(),
        ..of_pod.clone()
    }
}

/// The first container of the first pod of a recorded Job.
fn container_of(case: &str) -> ContainerView {
    Fixture::named(case).pods.first().unwrap().containers.first().unwrap().clone()
}

#[test]
fn a_volume_that_was_late_is_forgotten_once_the_image_is_pulled() {
    let mut fixture = Fixture::named("configmap-volume-missing");
    assert!(fixture.symptom().is_some());
    fixture.events.push(later_event(&fixture, "Pulling"));
    assert_eq!(fixture.symptom(), None);
    let mut ready = Fixture::named("configmap-volume-missing");
    ready.pods.iter_mut().for_each(|pod| pod.sandbox_ready = true);
    assert_eq!(ready.symptom(), None);
}

#[test]
fn a_kubelet_that_has_not_looked_for_a_volume_yet_has_found_nothing_wrong() {
    let mut fixture = Fixture::named("configmap-volume-missing");
    assert!(fixture.symptom().is_some());
    for event in fixture.events.iter_mut().filter(|event| event.reason == "FailedMount") {
        event.message = "MountVolume.SetUp failed for volume \"kube-api-access-c2sxw\" : failed to sync configmap cache: timed out \
                         waiting for the condition"
            .to_owned();
    }
    assert_eq!(fixture.symptom(), None);
}

#[test]
fn of_many_pods_that_say_nothing_themselves_a_few_speak_for_all() {
    let mut fixture = Fixture::named("configmap-volume-missing");
    let (pod, events) = (fixture.pods.first().unwrap().clone(), fixture.events.clone());
    for number in 0..5 {
        let uid = format!("another-{number}");
        let alike = |event: &EventView| EventView { about: uid.clone(), ..event.clone() };
        fixture.events.extend(events.iter().filter(|event| event.about == pod.uid).map(alike));
        fixture.pods.push(PodView { uid, ..pod.clone() });
    }
    assert_eq!(fixture.symptom().unwrap().diagnosis.code, JobError::ConfigMissing);
}

#[test]
fn a_container_that_is_started_again_has_not_ended_beside_its_sidecar() {
    let mut fixture = Fixture::named("sidecar-running-after-failure");
    fixture.view.containers.retain(|name| name == "main");
    assert_eq!(fixture.symptom().unwrap().course, Course::Fail);
    let crashing = container_of("crash-loop");
    for pod in &mut fixture.pods {
        pod.containers.iter_mut().filter(|own| own.name == "main").for_each(|own| *own = crashing.clone());
    }
    assert_eq!(fixture.symptom(), None);
}

#[test]
fn an_image_that_only_a_companion_lacks_ends_no_work() {
    let mut fixture = Fixture::named("image-not-found-back-off");
    let working = container_of("running");
    fixture.pods.iter_mut().for_each(|pod| pod.containers.push(working.clone()));
    assert_eq!(fixture.symptom().unwrap().course, Course::Tell);
}

#[test]
fn a_pod_on_its_way_out_is_replaced_and_says_nothing_of_the_next() {
    let mut fixture = Fixture::named("image-not-found");
    let leaving = Fixture::named("running").pods.first().unwrap().clone();
    fixture.pods.push(PodView { deleting: true, ..leaving });
    assert_eq!(fixture.symptom().unwrap().diagnosis.code, JobError::ImagePullFailed);
}

#[test]
fn what_the_condition_says_is_not_lost_to_what_the_pods_say_better() {
    let fixture = Fixture { pods: Fixture::named("out-of-memory").pods, ..Fixture::named("failed-indexes") };
    let summary = fixture.failure().summary;
    assert!(summary.contains("was killed") && summary.contains("failed indexes: 1,2"), "{summary}");
}

#[test]
fn a_node_that_does_not_answer_is_told_by_an_event_and_a_pod_that_is_unready_for_no_reason() {
    let mut unreachable = Fixture::named("node-unreachable");
    assert_eq!(unreachable.symptom().unwrap().diagnosis.code, JobError::NodeLost);
    // The node is back, and the pod is unready for a reason of its own.
    unreachable.pods = Fixture::named("running-not-ready").pods;
    assert_eq!(unreachable.symptom(), None);
}

#[test]
fn a_registry_that_says_no_is_believed_sooner_than_one_that_is_away() {
    let pull = |case: &str| {
        let symptom = Fixture::named(case).symptom().unwrap();
        (symptom.grace, symptom.diagnosis.retryable)
    };
    assert_eq!(pull("image-not-found"), pull("image-not-found-back-off"));
    assert_eq!(pull("image-not-found"), pull("image-unauthorised"));
    assert!(pull("image-registry-unreachable").0 > pull("image-not-found").0);
    assert!(pull("image-registry-unreachable").1 && !pull("image-not-found").1);
}

#[test]
fn a_quota_may_be_freed_and_a_webhook_come_back() {
    let retryable = |case: &str| Fixture::named(case).symptom().unwrap().diagnosis.retryable;
    assert!(retryable("quota-exceeded") && retryable("webhook-unreachable"));
    assert!(!retryable("service-account-missing") && !retryable("webhook-refuses"));
}
