//! The reasons that Kubernetes gives: each word that a kubelet, a controller or a container runtime writes on a pod or a container by
//! itself, without the program having said anything, and what follows from it.
//!
//! A reason may carry a suffix behind `_` (`PodFailurePolicy_<rule>`); its head decides.
//!
//! | where | set by | source (kubernetes/kubernetes, unless said otherwise) |
//! |---|---|---|
//! | `status.reason` of a pod that was not admitted | kubelet | `pkg/kubelet/lifecycle/predicate.go`, `handlers.go`; `admissionRejectionReasons` in `pkg/kubelet/kubelet.go`; `cm/admission`, `cm/topologymanager`, `cm/cpumanager`, `sysctl`, `nodeshutdown`, `volumemanager` beside them |
//! | `status.reason` of a pod that was ended | kubelet, node controller | `pkg/kubelet/eviction`, `preemption`, `nodeshutdown`, `active_deadline.go`; `pkg/util/node` |
//! | condition `DisruptionTarget` | scheduler, controllers, kubelet | `staging/src/k8s.io/api/core/v1/types.go`; not on evictions for the pod's own limits (`localStorageEviction` in `pkg/kubelet/eviction`) |
//! | `state.terminated.reason` | container runtime, kubelet | containerd `internal/cri/server` (`StartError` with 128, `Unknown` with 255), CRI-O `server/container_status.go`, cri-dockerd (`ContainerCannotRun`); `pkg/kubelet/kubelet_pods.go` |
//! | `state.waiting.reason` | kubelet | `pkg/kubelet/images/types.go`, `pkg/kubelet/container/sync_result.go`, `pkg/kubelet/kuberuntime/kuberuntime_container.go`; `k8s.io/cri-api/pkg/errors` |

use crate::{
    failure::{JobError, reason_parts},
    pod::{PodView, Remark, Termination},
};

/// The kubelet lacks something that the pod asks for: `OutOfcpu`, `OutOfpods`, `OutOfnvidia.com/gpu`.
const OUT_OF: &str = "OutOf";
/// What the kubelet's message begins with when it does not admit a pod.
const REJECTED: &str = "Pod was rejected";
/// How a kubelet under pressure says that it admits no pods (`Admit` in `pkg/kubelet/eviction`). Earlier ones said nothing before it.
const UNDER_PRESSURE: &str = "The node had condition";

/// What the reasons of pods stand for, `Evicted` and `OutOf…` apart.
const OF_PODS: &[(&str, JobError)] = &[
    // The node has no room, or trouble of its own, or has changed since the scheduler looked: another one, or a later hour, may do.
    ("InvalidNodeInfo", JobError::PodRejected),
    ("NodeAffinity", JobError::PodRejected),
    ("NodeName", JobError::PodRejected),
    ("NodePorts", JobError::PodRejected),
    ("TaintToleration", JobError::PodRejected),
    ("TopologyAffinityError", JobError::PodRejected),
    ("UnexpectedAdmissionError", JobError::PodRejected),
    ("UnexpectedPredicateFailureType", JobError::PodRejected),
    ("UnknownReason", JobError::PodRejected),
    ("VolumeAttachmentLimitExceeded", JobError::PodRejected),
    // The reason of an untolerated taint is this sentence.
    ("node(s) had taints that the pod didn't tolerate", JobError::PodRejected),
    // The pod asks for something that the node is not made or configured for.
    ("AppArmor", JobError::PodUnsupported),
    ("InitContainerRestartPolicyForbidden", JobError::PodUnsupported),
    ("PodFeatureUnsupported", JobError::PodUnsupported),
    ("PodLevelResourcesNotSupported", JobError::PodUnsupported),
    ("PodOSNotSupported", JobError::PodUnsupported),
    ("PodOSSelectorNodeLabelDoesNotMatch", JobError::PodUnsupported),
    ("SMTAlignmentError", JobError::PodUnsupported),
    ("SupplementalGroupsPolicyNotSupported", JobError::PodUnsupported),
    ("SysctlForbidden", JobError::PodUnsupported),
    // The pod was there, and had to go.
    ("DeadlineExceeded", JobError::DeadlineExceeded),
    ("Preempting", JobError::Preempted),
    ("NodeLost", JobError::NodeLost),
    ("NodeShutdown", JobError::NodeLost),
    ("Shutdown", JobError::NodeLost),
    ("Terminated", JobError::NodeLost),
];

/// What a pod's own status says of its end, and where. The reason is the kubelet's, which puts one and the same condition on all that
/// it ends (`TerminationByKubelet`); the condition alone is that of the others.
pub(super) fn of_pod(pod: &PodView) -> Option<(JobError, &Remark)> {
    let (head, _) = reason_parts(&pod.reason.reason);
    let message = &pod.reason.message;
    let by_reason = match head {
        "" => None,
        // For want of something that the node lacks: the pod had to go, or was not let in. Or of what it may have no more of itself.
        "Evicted" if pod.disruption.is_some() => Some(JobError::Evicted),
        "Evicted" if message.starts_with(REJECTED) || message.contains(UNDER_PRESSURE) => Some(JobError::PodRejected),
        "Evicted" => Some(JobError::OutOfStorage),
        other => OF_PODS.iter().find(|(reason, _)| *reason == other).map(|(_, code)| *code),
    };
    let rejected = || head.starts_with(OUT_OF) || message.starts_with(REJECTED);
    match (by_reason, &pod.disruption) {
        (Some(code), _) => Some((code, &pod.reason)),
        (None, Some(disruption)) => Some((of_disruption(&disruption.reason), disruption)),
        (None, None) => rejected().then_some((JobError::PodRejected, &pod.reason)),
    }
}

fn of_disruption(reason: &str) -> JobError {
    match reason_parts(reason).0 {
        "PreemptionByScheduler" => JobError::Preempted,
        "DeletionByTaintManager" | "DeletionByDeviceTaintManager" | "DeletionByPodGC" => JobError::NodeLost,
        // `EvictionByEvictionAPI`, and what may come.
        _ => JobError::Evicted,
    }
}

/// Who set the exit code of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its program, or the signal that ended it.
    Program,
    /// The container runtime, since it could not start the program.
    NotStarted,
    /// The kubelet or the runtime, since it has lost the container: how the program ended is not known.
    Lost,
    /// The kubelet, which starts all containers of the pod again.
    Restarted,
}

/// Who set the exit code of a container that ended so. The code itself does not say: a program may end with any, 126 to 128 and 255
/// included.
pub(super) fn origin(termination: &Termination) -> Origin {
    match reason_parts(&termination.reason).0 {
        "StartError" | "ContainerCannotRun" | "CreateContainerError" | "RunContainerError" => Origin::NotStarted,
        "ContainerStatusUnknown" | "Unknown" => Origin::Lost,
        "RestartingAllContainers" => Origin::Restarted,
        _ if !termination.began => Origin::NotStarted,
        _ => Origin::Program,
    }
}

/// What a container waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its turn, or its next start: that passes, or is for others to judge.
    Turn,
    /// An image whose name cannot be one.
    ImageName,
    /// An image that is not there and may not be pulled.
    ImageNeverPulled,
    /// An image that cannot be had.
    Image,
    /// Something that its configuration refers to.
    Configuration,
    /// The runtime, or a hook.
    Start,
    /// Something that this code does not know.
    Unknown,
}

/// What a container waits for that gives this reason.
pub(super) fn wait(reason: &str) -> Wait {
    match reason_parts(reason).0 {
        "" | "ContainerCreating" | "PodInitializing" | "CrashLoopBackOff" | "RestartingAllContainers" => Wait::Turn,
        "InvalidImageName" => Wait::ImageName,
        "ErrImageNeverPull" => Wait::ImageNeverPulled,
        "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => Wait::Image,
        "CreateContainerConfigError" => Wait::Configuration,
        "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "ContainerCannotRun"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError"
        | "CreatePodSandboxError"
        | "ConfigPodSandboxError" => Wait::Start,
        _ => Wait::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failed(reason: &str, message: &str, conditions: &Value) -> PodView {
        PodView::of(&json!({
            "metadata": {"name": "x-1"},
            "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Failed", "reason": reason, "message": message, "conditions": conditions},
        }))
    }

    fn code(reason: &str) -> Option<JobError> {
        of_pod(&failed(reason, "why", &json!([]))).map(|(code, _)| code)
    }

    #[test]
    fn what_a_node_lacks_may_be_there_later_and_what_it_does_not_support_is_not() {
        for reason in ["OutOfcpu", "OutOfmemory", "OutOfpods", "OutOfephemeral-storage", "OutOfnvidia.com/gpu"] {
            assert_eq!(code(reason), Some(JobError::PodRejected), "{reason}");
        }
        for reason in ["UnexpectedAdmissionError", "NodeAffinity", "NodePorts", "TopologyAffinityError"] {
            assert!(code(reason).unwrap().is_retryable(), "{reason}");
        }
        for reason in ["AppArmor", "SysctlForbidden", "PodOSNotSupported", "PodOSSelectorNodeLabelDoesNotMatch"] {
            assert!(!code(reason).unwrap().is_retryable(), "{reason}");
        }
    }

    #[test]
    fn an_eviction_is_the_nodes_only_with_the_condition_that_says_so() {
        assert_eq!(code("Evicted"), Some(JobError::OutOfStorage));
        let disrupted = json!([{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}]);
        let by_node = failed("Evicted", "The node was low on resource: memory.", &disrupted);
        assert_eq!(of_pod(&by_node).map(|(code, _)| code), Some(JobError::Evicted));
        assert!(JobError::Evicted.is_retryable() && !JobError::OutOfStorage.is_retryable());
    }

    #[test]
    fn a_new_reason_of_a_kubelet_that_rejects_is_taken_for_a_rejection() {
        assert_eq!(code("SomethingNew"), None);
        let rejected = failed("SomethingNew", "Pod was rejected: no room for it", &json!([]));
        assert_eq!(of_pod(&rejected).map(|(code, _)| code), Some(JobError::PodRejected));
        assert_eq!(code("NodeAffinity_of-some-kind"), Some(JobError::PodRejected));
    }

    #[test]
    fn an_exit_code_says_nothing_of_who_set_it() {
        let end = |code: i64, reason: &str| Termination {
            exit_code: code,
            reason: reason.to_owned(),
            message: String::new(),
            began: true,
        };
        for code in [1, 126, 127, 128, 255] {
            assert_eq!(origin(&end(code, "Error")), Origin::Program, "{code}");
        }
        assert_eq!(origin(&end(128, "StartError")), Origin::NotStarted);
        assert_eq!(origin(&end(127, "ContainerCannotRun")), Origin::NotStarted);
        assert_eq!(origin(&Termination { began: false, ..end(128, "Error") }), Origin::NotStarted);
        assert_eq!(origin(&end(255, "Unknown")), Origin::Lost);
        assert_eq!(origin(&end(137, "ContainerStatusUnknown")), Origin::Lost);
        assert_eq!(origin(&end(137, "RestartingAllContainers")), Origin::Restarted);
        assert_eq!(origin(&end(137, "OOMKilled")), Origin::Program);
    }

    #[test]
    fn a_reason_is_known_by_its_head() {
        assert_eq!(wait("ErrImagePull_later"), Wait::Image);
        assert_eq!((wait("PodInitializing"), wait("SomethingNew")), (Wait::Turn, Wait::Unknown));
    }
}
