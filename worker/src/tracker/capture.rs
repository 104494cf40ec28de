//! Capturing a Job's pods and their logs, before Kubernetes deletes them.

use std::cmp::Reverse;

use futures::future::join_all;
use runjob_core::{
    budget::{OUTPUT_LIMIT, shortened},
    job::{JobView, Phase},
    ledger::Stamp,
    lifecycle::Extent,
    log_options::Retrieve,
    logs::{ContainerLog, Logs, PodLogs},
    pod::{PodView, Role},
};
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

impl Effects {
    /// Lists the Job's pods and, if the extent asks for it, reads the logs of every container to its end.
    pub(super) async fn capture(&self, view: &JobView, stamp: &Stamp, extent: Extent) -> Captured {
        let list = match self.list_pods(view).await {
            Ok(list) => list,
            Err(unlisted) => {
                let logs = Logs { unlisted: Some(unlisted), ..Logs::default() };
                return Captured { pods: Vec::new(), logs: (extent == Extent::PodsAndLogs).then_some(logs) };
            }
        };
        if extent == Extent::Pods {
            return Captured { pods: list.pods, logs: None };
        }
        let logs = self.read_logs(view, stamp, &list).await;
        debug!(pods = list.pods.len(), "the logs are read");
        Captured { pods: list.pods, logs: Some(logs) }
    }

    async fn list_pods(&self, view: &JobView) -> Result<PodList, (String, String)> {
        let mut pauses = CALLS.pauses();
        let mut attempt = 1;
        loop {
            let (error, cause, after, passing) = match self.cluster.pods(view).await {
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

    async fn read_logs(&self, view: &JobView, stamp: &Stamp, list: &PodList) -> Logs {
        let mut pods: Vec<&PodView> = list.pods.iter().collect();
        pods.sort_by_key(|pod| (!pod.has_failed(), Reverse(&pod.created), &pod.name));
        let omitted = pods.len().saturating_sub(self.settings.max_log_pods) + list.more;
        pods.truncate(self.settings.max_log_pods);
        let failing = matches!(view.phase, Phase::Failing | Phase::Failed { .. });
        // All pods and containers at once: some of them may be about to go.
        let mut reads = Vec::new();
        for pod in &pods {
            let wanted = pod.containers.iter().filter(|container| container.role == Role::Main || failing);
            let names: Vec<&str> = wanted.map(|container| container.name.as_str()).collect();
            reads.push(self.read_pod(view, stamp, &pod.name, names));
        }
        let logs = join_all(reads).await;
        Logs { pods: logs, omitted, ..Logs::default() }
    }

    async fn read_pod(&self, view: &JobView, stamp: &Stamp, pod: &str, containers: Vec<&str>) -> PodLogs {
        let reads = containers.into_iter().map(|container| self.read_container(view, stamp, pod, container));
        PodLogs { pod: pod.to_owned(), containers: join_all(reads).await }
    }

    async fn read_container(
        &self,
        view: &JobView,
        stamp: &Stamp,
        pod: &str,
        container: &str,
    ) -> (String, ContainerLog) {
        let options = &stamp.options.logs;
        let limit = options.max_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(OUTPUT_LIMIT.0);
        // Closed only when the worker ends.
        let _permit = self.log_streams.acquire().await.ok();
        let request = LogRequest {
            namespace: &view.key.namespace,
            pod,
            container,
            parameters: if options.retrieve == Retrieve::Never { &[] } else { &options.parameters },
            end: if view.phase.is_final() { LogEnd::Now } else { LogEnd::OfContainer },
            limit: limit.min(OUTPUT_LIMIT.0),
        };
        (container.to_owned(), self.cluster.log(request).await)
    }
}
