//! What happens in a scenario: what is waited for, and what somebody does.

use std::time::Duration;

use serde_json::Value;

use crate::{jobs::JobRequest, policy::Policy, process::Signal, scenario::Ending};

/// Something to wait for, or to do, while the execution runs.
#[derive(Debug, Clone)]
pub enum Step {
    /// Waits for it.
    Until(Sight),
    /// Waits for it, and not longer than that.
    UntilWithin(Duration, Sight),
    /// Does it.
    Do(Act),
    /// Waits for the end of another execution, which has to be like this. The one that was started first comes first.
    UntilOtherEnds(Ending),
}

/// Something that can be seen from outside.
#[derive(Debug, Clone)]
pub enum Sight {
    /// A container of the Job runs.
    JobRuns,
    /// The same of that many Jobs.
    JobsRun(usize),
    /// The Job has this condition.
    JobIs(&'static str),
    /// The worker has nothing to do with the Job any more.
    JobSettled,
    /// The Job has the label by which the worker watches it.
    JobWatched,
    /// The Job of that name has ended, and is as its creator has made it.
    LeftAlone(&'static str),
    /// There is no Job any more.
    NoJob,
    /// Admission knows the quota.
    QuotaCounts,
    /// Somebody has recorded an Event of this reason.
    Event(&'static str),
    /// The worker's log says this.
    WorkerSays(&'static str),
    /// That many invocations of the function have waited for Jobs, as these say.
    Invocations(usize),
    /// The Lease is held by another worker than the one that was last sent a signal, or by one again that it was stolen from.
    TakenOver,
}

/// Something that somebody does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Creates an object in the scenario's namespace.
    Create {
        /// The path of its resource behind the namespace's, for example `resourcequotas`, or a group's: `batch/v1/jobs`.
        resource: &'static str,
        /// The object.
        object: Value,
    },
    /// Deletes an object, by resource and name.
    Delete(&'static str, &'static str),
    /// Deletes the Job of that name, with this `propagationPolicy`. `None`: without one, which leaves its pods behind.
    DeleteJob(&'static str, Option<&'static str>),
    /// Changes an object by a merge patch.
    Merge {
        /// As in `Create`.
        resource: &'static str,
        /// The object's name.
        name: &'static str,
        /// The patch.
        patch: Value,
    },
    /// Creates the Job once more, with everything that stands on it, under another name. Its container runs that script.
    CopyJob(&'static str, &'static str),
    /// Puts an admission policy into force.
    Enact(Policy),
    /// Puts a label on the namespace.
    LabelNamespace(&'static str, &'static str),
    /// Evicts the Job's pod by the API, as `kubectl drain` does.
    EvictPod,
    /// `StopExecution`.
    StopExecution,
    /// Starts another execution of the same machine, with the same input.
    StartAnother,
    /// Starts an execution of a machine of its own, with the same time-outs.
    AlsoRun(JobRequest),
    /// `kill -9` of every worker.
    KillWorker,
    /// Starts another worker.
    StartWorker,
    /// Sends a signal to the worker that holds the Lease.
    SignalHolder(Signal),
    /// Writes the Lease as somebody who is no worker: it is theirs for 68 years.
    StealLease,
    /// SIGCONT: a worker that was stopped goes on.
    Continue,
    /// The Kubernetes API does not answer the worker any more.
    CutApi,
    /// The Kubernetes API falls silent: connections stay, and nothing comes through.
    SilenceApi,
    /// It answers again.
    RestoreApi,
    /// Runs `tests/cluster/cluster` with these words.
    Cluster(&'static [&'static str]),
    /// Lets a gated Job go on.
    OpenGate,
    /// Invokes the function with `{"Action": "sweep"}`, which has to go through the cluster.
    Sweep,
    /// Lets time pass.
    Pass(Duration),
}
