//! Capturing a Job's pods and their logs, before Kubernetes deletes them.

use std::cmp::Reverse;

use futures::future::join_all;
use runjob_core::{
    budget::{OUTPUT_LIMIT, shortened},
    job::{JobView, Phase},
    ledger::Stamp,
    lifecycle::Extent,
    logs::{ContainerLog, Logs, PodLogs},
    pod::{PodView, Role},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::effects::Effects;
use crate::{
    cluster::{LogEnd, LogRequest, PodList},
    retry::CALLS,
};

/// The most logs that are read at a time, over all Jobs. Each holds a connection of its own.
pub(super) const MAX_LOG_STREAMS: usize = 64;
/// How often the pods are asked for before the diagnosis does without them.
const ATTEMPTS: u32 = 5;
/// The most of an error that becomes a cause, in characters.
const MAX_CAUSE: usize = 512;

/// What was found out about a Job's pods.
#[derive(Debug, Clone, Default)]
pub(super) struct Captured {
    pub(super) pods: Vec<PodView>,
    /// `None`: they were not to be read.
    pub(super) logs: Option<Logs>,
}

impl Captured {
    /// The logs, with the pods counted that have ended and were not there any more: their logs are lost, and that is said. The
    /// count is the final one; while pods are still ending, the Job's status lags behind.
    pub(super) fn logs_beside(&self, view: &JobView) -> Option<Logs> {
        let mut logs = self.logs.clone()?;
        let ended = usize::try_from(view.ended_pods).unwrap_or(usize::MAX);
        logs.missing = ended.saturating_sub(logs.pods.len() + logs.omitted);
        Some(logs)
    }
}

/// One capture.
struct Capture<'a> {
    effects: &'a Effects,
    view: &'a JobView,
    stamp: &'a Stamp,
    job_ended: &'a CancellationToken,
}

impl Effects {
    /// Lists the Job's pods and, if the extent asks for it, reads the logs of every container to its end.
    pub(super) async fn capture(
        &self,
        view: &JobView,
        stamp: &Stamp,
        extent: Extent,
        job_ended: &CancellationToken,
    ) -> Captured {
        let capture = Capture { effects: self, view, stamp, job_ended };
        let list = match capture.list_pods().await {
            Ok(list) => list,
            Err(unlisted) => {
                let logs = Logs { unlisted: Some(unlisted), ..Logs::default() };
                return Captured { pods: Vec::new(), logs: (extent == Extent::PodsAndLogs).then_some(logs) };
            }
        };
        if extent == Extent::Pods {
            return Captured { pods: list.pods, logs: None };
        }
        let logs = capture.read_logs(&list).await;
        debug!(pods = list.pods.len(), "the logs are read");
        Captured { pods: list.pods, logs: Some(logs) }
    }
}

impl Capture<'_> {
    async fn list_pods(&self) -> Result<PodList, (String, String)> {
        let mut pauses = CALLS.pauses();
        let mut attempt = 1;
        loop {
            let (error, cause, after, passing) = match self.effects.cluster.pods(self.view).await {
                Ok(Ok(list)) => return Ok(list),
                Ok(Err(refused)) => {
                    let status = refused.answer.status;
                    let cause = refused.answer.envelope().to_string();
                    (format!("EKS.{status}"), cause, refused.retry_after, status == 429 || status >= 500)
                }
                Err(error) => ("RunJob.ClusterUnreachable".to_owned(), error.to_string(), None, true),
            };
            if !passing || attempt == ATTEMPTS {
                return Err((error, shortened(&cause, MAX_CAUSE)));
            }
            attempt += 1;
            tokio::time::sleep(pauses.next(after)).await;
        }
    }

    async fn read_logs(&self, list: &PodList) -> Logs {
        let most = self.effects.settings.max_log_pods;
        let mut pods: Vec<&PodView> = list.pods.iter().collect();
        pods.sort_by_key(|pod| (!pod.has_failed(), Reverse(&pod.created), &pod.name));
        let omitted = pods.len().saturating_sub(most) + list.more;
        pods.truncate(most);
        // All pods and containers at once: some of them may be about to go.
        let pods = join_all(pods.into_iter().map(|pod| self.read_pod(pod))).await;
        Logs { pods, omitted, ..Logs::default() }
    }

    /// Init containers have something to say when the Job failed.
    async fn read_pod(&self, pod: &PodView) -> PodLogs {
        let failing = matches!(self.view.phase, Phase::Failing | Phase::Failed { .. });
        let wanted = pod.containers.iter().filter(|container| container.role == Role::Main || failing);
        let reads = wanted.map(|container| self.read_container(&pod.name, &container.name));
        PodLogs { pod: pod.name.clone(), containers: join_all(reads).await }
    }

    async fn read_container(&self, pod: &str, container: &str) -> (String, ContainerLog) {
        let options = &self.stamp.options.logs;
        let limit = options.max_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(OUTPUT_LIMIT.0);
        // Closed only when the worker ends.
        let _permit = self.effects.log_streams.acquire().await.ok();
        let request = LogRequest {
            namespace: &self.view.key.namespace,
            pod,
            container,
            parameters: &options.parameters,
            end: if self.view.phase.is_final() {
                LogEnd::Now
            } else {
                LogEnd::OfContainer { job_ended: self.job_ended }
            },
            limit: limit.min(OUTPUT_LIMIT.0),
        };
        (container.to_owned(), self.effects.cluster.log(request).await)
    }
}
