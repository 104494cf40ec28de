//! What a task fails with: a stable name for `Retry` and `Catch`, and a cause that is always valid JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::names::JobKey;

/// Whether it helps to try again what failed with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Unchanged, it may succeed.
    Helps,
    /// Not unless something is changed first.
    Pointless,
    /// That is for whoever wrote the program to say.
    Depends,
}

/// What there is to know of an error: its line in the documentation, and the hint that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// When it happens.
    pub when: &'static str,
    /// Whether a `Retry` helps.
    pub retry: Retry,
    /// What to do about it.
    pub hint: &'static str,
}

/// One list: the enum, its names, and their explanations, so that none can be without the others. A variant's own documentation
/// says when it happens.
macro_rules! explained {
    (
        $(#[$meta:meta])*
        $vis:vis enum $enum:ident {
            $( $(#[doc = $when:literal])+ $variant:ident => $name:literal, $retry:ident, $hint:literal; )+
        }
        $( and { $( $(#[doc = $doc:literal])+ $other:ident($payload:ty) ),+ } )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $enum {
            $( $(#[doc = $when])+ $variant, )+
            $( $( $(#[doc = $doc])+ $other($payload), )+ )?
        }

        impl $enum {
            /// Those that stand for themselves, in the order of their documentation.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The name of one that stands for itself, and what there is to know of it.
            pub(crate) fn entry(self) -> Option<(&'static str, Explanation)> {
                #[allow(unreachable_patterns, reason = "not every enum has others")]
                match self {
                    $( Self::$variant => {
                        let when = concat!($($when),+);
                        Some(($name, Explanation { when, retry: Retry::$retry, hint: $hint }))
                    } )+
                    _ => None,
                }
            }
        }
    };
}

explained! {
    /// The name of an error, as `ErrorEquals` matches it. `States.*` names belong to the service and are never sent.
    pub enum ErrorName {
        /// A part of the input cannot be taken: the cause names its path, what was found and what was expected.
        InvalidParameters => "RunJob.InvalidParameters", Pointless, "correct the state's Parameters";
        /// The request names a cluster that is not served here, or none where there are several, or its `Endpoint` or `CertificateAuthority` is not that cluster's.
        ClusterNotAllowed => "RunJob.ClusterNotAllowed", Pointless,
            "name a cluster that is served; correct Endpoint and CertificateAuthority, or leave them out";
        /// The request names a namespace outside those that are served in its cluster.
        NamespaceNotAllowed => "RunJob.NamespaceNotAllowed", Pointless, "use one of the namespaces that the cause lists";
        /// The pods would run as a service account that this worker does not allow, or the request does not show as which one.
        ServiceAccountNotAllowed => "RunJob.ServiceAccountNotAllowed", Pointless,
            "name one of the worker's --allow-service-account in the pod template's serviceAccountName";
        /// The Kubernetes API could not be reached for 15 minutes, or for all of a function's time; of several clusters, it is away, and 64 tasks wait for it already.
        ClusterUnreachable => "RunJob.ClusterUnreachable", Helps, "look at the cluster, and at the network on the way to it";
        /// The result does not fit into 240 KiB, even without logs, or the answer to a call does not.
        OutputTooLarge => "RunJob.OutputTooLarge", Pointless, "ask for less: limit, labelSelector or fieldSelector of a call";
        /// Step Functions refused the output.
        OutputRejected => "RunJob.OutputRejected", Pointless, "the cause has the words of Step Functions";
        /// The `IdempotencyKey` belongs to a Job that another task waits for, or that was made from another manifest.
        IdempotencyConflict => "RunJob.IdempotencyConflict", Pointless, "the cause names the Job; use another key, or wait for its end";
        /// A function's time is over, and the Job runs on. Only the Lambda form, with an `IdempotencyKey`.
        StillRunning => "RunJob.StillRunning", Helps,
            "give the state a Retry on this name with MaxAttempts 1000 and BackoffRate 1: it attaches to the same Job";
        /// A function's time was over before it had its Job's result, and without an `IdempotencyKey` the next could not find it: it was
        /// deleted, or left because it had ended or `OnTaskGone` says so.
        KeyMissing => "RunJob.IdempotencyKeyMissing", Pointless,
            "give the request an IdempotencyKey, and the state a Retry on RunJob.StillRunning";
        /// Admission removed or changed what `runjob` writes on a Job.
        StampRejected => "RunJob.StampRejected", Pointless, "exempt labels and annotations below runjob/ from mutating webhooks and policies";
        /// A defect of `runjob`.
        Internal => "RunJob.Internal", Depends, "please report it, with the worker's log";
    }
    and {
        /// The Kubernetes API answered with this status.
        Eks(u16),
        /// The Job failed, or does not get going.
        Job(JobError)
    }
}

explained! {
    /// The names of a Job's own failures, and the codes of diagnoses.
    pub enum JobError {
        /// More pods failed than `spec.backoffLimit` allows.
        BackoffLimitExceeded => "BackoffLimitExceeded", Depends, "look at the exit code and the logs of the last pod";
        /// `spec.activeDeadlineSeconds` ran out, of the Job or of its last pod.
        DeadlineExceeded => "DeadlineExceeded", Depends,
            "the Job ran longer than spec.activeDeadlineSeconds: raise it, or make the program faster";
        /// A rule of `spec.podFailurePolicy` ended it: the condition's message names the rule.
        PodFailurePolicy => "PodFailurePolicy", Pointless, "a rule of spec.podFailurePolicy ended the Job: the condition's message names it";
        /// More indexes failed than `spec.maxFailedIndexes` allows.
        MaxFailedIndexesExceeded => "MaxFailedIndexesExceeded", Depends,
            "more indexes failed than spec.maxFailedIndexes allows: look at the logs of their pods";
        /// Some indexes failed: `status.failedIndexes` names them.
        FailedIndexes => "FailedIndexes", Depends, "some indexes failed: look at the logs of their pods";
        /// A container was killed for want of memory: its own or its pod's limit, or else its node had no more (a retry may help).
        OutOfMemory => "OutOfMemory", Pointless, "raise resources.limits.memory of the container, or make the program use less";
        /// The last pod was evicted by its kubelet since it used more ephemeral storage than its own limits allow.
        OutOfStorage => "OutOfStorage", Pointless,
            "raise the limit that the message names (ephemeral-storage, sizeLimit of an emptyDir), or make the program write less";
        /// The last pod was evicted: by the Eviction API (a drained node), or by its kubelet for want of a resource of the node.
        Evicted => "Evicted", Helps,
            "run the Job again; let spec.podFailurePolicy ignore DisruptionTarget, so that evictions do not count as failures";
        /// The last pod had to make room for one of a higher priority.
        Preempted => "Preempted", Helps,
            "run the Job again, or give it a PriorityClass; let spec.podFailurePolicy ignore DisruptionTarget";
        /// The node of the last pod is gone, does not answer, or has lost a container.
        NodeLost => "NodeLost", Helps, "run the Job again; look at the node";
        /// The last pod's node did not admit it, for a reason of the node: no room left (`OutOf…`), a device, port, label or taint. No program ran.
        PodRejected => "PodRejected", Helps,
            "run the Job again; if it is bound to a node (nodeName), or asks for more than any node has, change that";
        /// The last pod's node did not admit it, since it does not support something that the pod asks for (a sysctl, an operating system, a feature). No program ran.
        PodUnsupported => "PodUnsupported", Pointless,
            "change what the message names in the pod template, or have it run on nodes that support it";
        /// Stuck: an image could not be pulled.
        ImagePullFailed => "ImagePullFailed", Depends,
            "check the image's name and tag, that the registry can be reached from the node, and the pod's imagePullSecrets";
        /// Stuck: the text cannot be the name of an image.
        InvalidImageName => "InvalidImageName", Pointless, "correct the container's image";
        /// Stuck: a ConfigMap or Secret that a container needs is not there, or lacks a key.
        ConfigMissing => "ConfigMissing", Pointless, "create the ConfigMap or Secret in the Job's namespace, or mark the reference as optional";
        /// Stuck: a volume could not be attached or mounted.
        VolumeNotMounted => "VolumeNotMounted", Depends, "look at the volume, its claim and its driver";
        /// A container could not be made or started on its node: the last pod failed by that, or is stuck. No program ran in it.
        ContainerNotStarted => "ContainerNotStarted", Depends, "look at the container's command, and at the node";
        /// Stuck: a container is restarted again and again, and no limit of the Job counts that: a native sidecar with `restartPolicy: Never`, for example.
        CrashLoop => "CrashLoop", Depends,
            "look at the container's logs, exit code and startup probe; activeDeadlineSeconds of the Job would end it, too";
        /// Stuck: the API server refuses the Job's pods (service account, quota, Pod Security, webhook).
        NoPods => "NoPods", Depends, "the message is the API server's: what it refuses has to be allowed, or the pod template changed";
        /// Stuck: no node is fit for the pod.
        Unschedulable => "Unschedulable", Helps,
            "ask for less, add nodes, or correct nodeSelector, affinity and tolerations of the pod template";
        /// Stuck: the Job's own containers have ended, and another one in the pod runs on.
        SidecarRunning => "SidecarRunning", Pointless,
            "let the sidecar be a native one (an init container with restartPolicy: Always), or keep it from being injected";
        /// Somebody else deleted it.
        Deleted => "Deleted", Pointless, "find out who deletes Jobs in this namespace: the API server's audit log says";
        /// Another reason than those above.
        Failed => "Failed", Depends, "look at the Job's conditions and logs";
    }
}

impl JobError {
    /// The name for the reason that the Job's `Failed` condition gives. It may have a suffix: `PodFailurePolicy_<rule>`
    /// (feature gate `PodFailurePolicyName`).
    pub fn of_condition(reason: &str) -> Self {
        match reason_parts(reason).0 {
            "BackoffLimitExceeded" => Self::BackoffLimitExceeded,
            "DeadlineExceeded" => Self::DeadlineExceeded,
            "PodFailurePolicy" => Self::PodFailurePolicy,
            "MaxFailedIndexesExceeded" => Self::MaxFailedIndexesExceeded,
            "FailedIndexes" => Self::FailedIndexes,
            _ => Self::Failed,
        }
    }

    /// The name behind `Job.`.
    pub fn as_str(self) -> &'static str {
        self.entry().map(|(name, _)| name).unwrap_or_default()
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        self.entry().map(|(_, explanation)| explanation.hint).unwrap_or_default()
    }

    /// Whether the same Job may succeed when it is run again.
    pub fn is_retryable(self) -> bool {
        self.entry().is_some_and(|(_, explanation)| explanation.retry == Retry::Helps)
    }
}

/// The head of a reason of Kubernetes, and its suffix: `PodFailurePolicy` and `<rule>` of `PodFailurePolicy_<rule>`.
pub(crate) fn reason_parts(reason: &str) -> (&str, Option<&str>) {
    reason.split_once('_').map_or((reason, None), |(head, suffix)| (head, Some(suffix)))
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eks(status) => write!(f, "EKS.{status}"),
            Self::Job(error) => write!(f, "Job.{}", error.as_str()),
            plain => f.write_str(plain.entry().map(|(name, _)| name).unwrap_or_default()),
        }
    }
}

/// The failure of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFailure {
    /// Its name.
    pub error: ErrorName,
    /// Its cause, JSON.
    pub cause: Value,
}

impl TaskFailure {
    /// A failure of that name and cause.
    pub fn new(error: ErrorName, cause: Value) -> Self {
        Self { error, cause }
    }

    /// What the cause says in words, for a log line.
    pub fn message(&self) -> &str {
        let places = ["/message", "/ResponseBody/message"];
        places.iter().find_map(|place| self.cause.pointer(place)?.as_str()).unwrap_or_default()
    }

    /// A failure whose cause is one sentence, and names the Job that it is about.
    pub fn about(error: ErrorName, message: impl Into<String>, job: &JobKey) -> Self {
        let JobKey { namespace, name } = job;
        Self::new(error, json!({"message": message.into(), "job": {"namespace": namespace, "name": name}}))
    }

    /// A failure whose cause is one sentence.
    pub fn saying(error: ErrorName, message: impl Into<String>) -> Self {
        Self { error, cause: json!({ "message": message.into() }) }
    }
}
