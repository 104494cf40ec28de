//! What a task fails with: a stable name for `Retry` and `Catch`, and a cause that is always valid JSON.

use std::fmt;

use serde_json::Value;

/// The name of an error, as `ErrorEquals` matches it. `States.*` names belong to the service and are never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorName {
    /// The Kubernetes API answered with this status.
    Eks(u16),
    /// A part of the input cannot be taken.
    InvalidParameters,
    /// The request names a cluster that this worker does not serve.
    ClusterNotAllowed,
    /// The request names a namespace outside those that this worker serves.
    NamespaceNotAllowed,
    /// The Kubernetes API could not be reached for the whole of the budget.
    ClusterUnreachable,
    /// The result does not fit, even without logs.
    OutputTooLarge,
    /// Step Functions refused the output.
    OutputRejected,
    /// The `IdempotencyKey` belongs to a Job that this task cannot have.
    IdempotencyConflict,
    /// Admission removed or changed what `runjob` writes on a Job.
    StampRejected,
    /// A defect of `runjob`.
    Internal,
    /// The Job failed.
    Job(JobError),
}

/// The names of a Job's own failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobError {
    /// More pods failed than `backoffLimit` allows.
    BackoffLimitExceeded,
    /// `activeDeadlineSeconds` ran out.
    DeadlineExceeded,
    /// A rule of `podFailurePolicy` ended it.
    PodFailurePolicy,
    /// More indexes failed than `maxFailedIndexes` allows.
    MaxFailedIndexesExceeded,
    /// Some indexes failed.
    FailedIndexes,
    /// A container was killed for want of memory.
    OutOfMemory,
    /// Somebody else deleted it.
    Deleted,
    /// Another reason than those above.
    Failed,
}

impl JobError {
    /// The name for the reason that the Job's `Failed` condition gives.
    pub fn of_condition(reason: &str) -> Self {
        match reason {
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
        match self {
            Self::BackoffLimitExceeded => "BackoffLimitExceeded",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::PodFailurePolicy => "PodFailurePolicy",
            Self::MaxFailedIndexesExceeded => "MaxFailedIndexesExceeded",
            Self::FailedIndexes => "FailedIndexes",
            Self::OutOfMemory => "OutOfMemory",
            Self::Deleted => "Deleted",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eks(status) => write!(f, "EKS.{status}"),
            Self::InvalidParameters => f.write_str("RunJob.InvalidParameters"),
            Self::ClusterNotAllowed => f.write_str("RunJob.ClusterNotAllowed"),
            Self::NamespaceNotAllowed => f.write_str("RunJob.NamespaceNotAllowed"),
            Self::ClusterUnreachable => f.write_str("RunJob.ClusterUnreachable"),
            Self::OutputTooLarge => f.write_str("RunJob.OutputTooLarge"),
            Self::OutputRejected => f.write_str("RunJob.OutputRejected"),
            Self::IdempotencyConflict => f.write_str("RunJob.IdempotencyConflict"),
            Self::StampRejected => f.write_str("RunJob.StampRejected"),
            Self::Internal => f.write_str("RunJob.Internal"),
            Self::Job(error) => write!(f, "Job.{}", error.as_str()),
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

    /// A failure whose cause is one sentence.
    pub fn saying(error: ErrorName, message: impl Into<String>) -> Self {
        Self { error, cause: serde_json::json!({ "message": message.into() }) }
    }
}
