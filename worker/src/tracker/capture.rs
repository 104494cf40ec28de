//! Capturing a Job's pods and their logs, before Kubernetes deletes them.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use runjob_core::{
    budget::{ByteBudget, CAUSE_BUDGET, OUTPUT_BUDGET, OUTPUT_LIMIT, shortened},
    diagnosis::{Diagnosis, failed},
    event::EventView,
    failure::ErrorName,
    job::{JobView, Phase},
    ledger::Stamp,
    lifecycle::Extent,
    log_options::Retrieve,
    logs::{ContainerLog, ContainerLogs, Logs, PodLogs},
    pod::{ContainerView, PodView, Role},
    refusal::read_may_pass,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    effects::Effects,
    foremost::{Foremost, Rank, foremost},
    places::{Holder, Place, Places},
};
use crate::{
    cluster::{Delivery, LONGEST_LOG, ListError, LogEnd, LogRequest, MAX_CAUSE, Run},
    retry::CALLS,
    room::Taken,
};

/// The most logs that are followed at a time, over all Jobs: each holds a connection of its own for as long as its container
/// takes to end.
const MAX_FOLLOWED: usize = 256;
/// The most logs that are read as far as they are at a time: each takes as long as its bytes do.
const MAX_READ: usize = 64;
/// How much longer than its grace period a container is followed: its deletion begins some time after its Job has failed, and ends
/// with the kubelet's own work.
const AFTER_GRACE: Duration = Duration::from_secs(30);
/// How long a log of a Job that has ended waits for a place: its pod stays, but its task waits.
const PLACE_WAIT: Duration = Duration::from_mins(10);
/// The same if the log was to be followed and its Job has ended meanwhile.
const PLACE_WAIT_AFTER_END: Duration = Duration::from_secs(10);
/// How many times as much is kept of one Job's logs while they are read, divided among its containers, as its answer could carry:
/// one container's share may go to another, and JSON may shrink. Once all are read they are cut to what the answer can carry.
const READ_AHEAD: usize = 4;
/// What the captured logs of all succeeding Jobs may take together, in KiB: 64 MiB, nearly three hundred outputs of the largest kind.
/// While Step Functions is away, the logs of every Job that ends wait for their answer. Those of succeeding Jobs share this room: their
/// pods stay, so a capture that finds none waits. Those of failing Jobs cannot wait, since their pods are about to go, and take none
/// of it; they are small, as a cause is.
pub(super) const MAX_ROOM: u32 = 64 * 1024;
/// What is kept of a container's log at least.
const LEAST_BYTES: usize = 16 * 1024;
/// The most pods of a failing Job that are kept until it is reported: its diagnosis is made of the failed and the youngest. A Job may
/// have thousands. Those of a succeeding Job are kept only as long as their logs are read.
const MAX_PODS: usize = 100;
/// How often the pods are asked for before the diagnosis does without them.
const ATTEMPTS: u32 = 5;

/// What was found out about a Job's pods.
#[derive(Debug, Clone, Default)]
pub(super) struct Captured {
    pub(super) pods: Vec<PodView>,
    /// How many there were.
    listed: usize,
    /// Only where nobody would know without them what is wrong.
    pub(super) events: Vec<EventView>,
    /// `None`: they were not to be read.
    pub(super) logs: Option<Logs>,
    /// What was wrong when it was looked at.
    pub(super) stuck: Option<Diagnosis>,
    /// The room that the logs take.
    _room: Option<Arc<Taken>>,
}

impl Captured {
    /// What a look has shown to be wrong.
    pub(super) fn stuck(pods: Vec<PodView>, listed: usize, events: Vec<EventView>, diagnosis: Diagnosis) -> Self {
        let pods = foremost(pods, MAX_PODS, Rank::Failed);
        Self { pods, listed, events, stuck: Some(diagnosis), ..Self::default() }
    }

    /// What there is to say when the capture itself went wrong.
    pub(super) fn failed() -> Self {
        let unlisted = ("RunJob.Internal".to_owned(), "the capture of the logs panicked".to_owned());
        Self { logs: Some(Logs { unlisted: Some(unlisted), ..Logs::default() }), ..Self::default() }
    }

    /// What there is to say of a capture that took too long.
    pub(super) fn cut_short(retrieve: Retrieve) -> Self {
        if retrieve == Retrieve::Never {
            return Self::default();
        }
        let cause = "the Job was deleted, and its pods could not be looked at in time".to_owned();
        let unlisted = (ErrorName::ClusterUnreachable.to_string(), cause);
        Self { logs: Some(Logs { unlisted: Some(unlisted), ..Logs::default() }), ..Self::default() }
    }

    /// The logs, with the pods counted that have ended and were not there any more: their logs are lost, and that is said. The
    /// count is the final one; while pods are still ending, the Job's status lags behind.
    pub(super) fn logs_beside(&self, view: &JobView) -> Option<Logs> {
        let mut logs = self.logs.clone()?;
        let ended = usize::try_from(view.ended_pods).unwrap_or(usize::MAX);
        logs.missing = ended.saturating_sub(logs.pods.len() + logs.omitted);
        Some(logs)
    }
}

/// How many logs are read at a time.
pub(super) struct LogPermits {
    followed: Places,
    read: Places,
}

impl Default for LogPermits {
    fn default() -> Self {
        Self { followed: Places::of(MAX_FOLLOWED), read: Places::of(MAX_READ) }
    }
}

/// One capture.
struct Capture<'a> {
    effects: &'a Effects,
    view: &'a JobView,
    stamp: &'a Stamp,
    /// `None`: its logs are read as far as they are. Otherwise they are followed to their end, or until this says that the Job has
    /// ended.
    job_ended: Option<&'a CancellationToken>,
    begun: Instant,
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
        let job_ended = (!view.phase.is_final()).then_some(job_ended);
        let capture = Capture { effects: self, view, stamp, job_ended, begun: Instant::now() };
        // No more are kept than are needed: there may not be room for the logs for as long as an outage lasts.
        let most = if capture.is_failing() { MAX_PODS } else { self.care.max_log_pods };
        let (pods, listed) = match capture.list_pods(most).await {
            Ok(pods) => pods,
            Err(unlisted) => {
                let logs = Logs { unlisted: Some(unlisted), ..Logs::default() };
                return Captured { logs: (extent == Extent::PodsAndLogs).then_some(logs), ..Captured::default() };
            }
        };
        let mut room = None;
        let logs = match extent {
            Extent::Pods => None,
            Extent::PodsAndLogs => {
                room = capture.room(&pods).await;
                let logs = capture.read_logs(&pods, listed).await;
                if let Some(room) = &mut room {
                    room.shrink_to(logs.held());
                }
                Some(logs)
            }
        };
        debug!(pods = listed, "the logs are read");
        if !capture.is_failing() {
            return Captured { logs, _room: room.map(Arc::new), ..Captured::default() };
        }
        let pods = if extent == Extent::Pods { pods } else { capture.ended(pods).await };
        let events = self.events(view, &failed::in_need_of_events(view, &pods)).await;
        Captured { pods, listed, events, logs, ..Captured::default() }
    }

    /// Reads what there is of the logs of a Job that is stuck.
    pub(super) async fn snapshot(&self, view: &JobView, stamp: &Stamp, extent: Extent, captured: Captured) -> Captured {
        let logs = match extent {
            Extent::Pods => None,
            Extent::PodsAndLogs => {
                let capture = Capture { effects: self, view, stamp, job_ended: None, begun: Instant::now() };
                Some(capture.read_logs(&captured.pods, captured.listed).await)
            }
        };
        Captured { logs, ..captured }
    }
}

impl Capture<'_> {
    /// So many of the pods that say most, and how many there are.
    async fn list_pods(&self, most: usize) -> Result<(Vec<PodView>, usize), (String, String)> {
        let mut pauses = CALLS.pauses();
        let mut attempt = 1;
        loop {
            let mut foremost = Foremost::of(most, Rank::Failed);
            let listed = self.effects.cluster.pods(self.view, |pod| foremost.take(pod)).await;
            let (error, cause, after, passing) = match listed {
                Ok(()) => return Ok(foremost.finish()),
                Err(ListError::Refused { refused, .. }) => {
                    let status = refused.answer.status;
                    let cause = refused.answer.envelope().to_string();
                    (format!("EKS.{status}"), cause, refused.retry_after, read_may_pass(status))
                }
                Err(ListError::Unreachable(error)) if matches!(error.delivery, Delivery::AnswerTooLong(_)) => {
                    (ErrorName::Internal.to_string(), error.to_string(), None, false)
                }
                // The Job exists: nothing fails because an API is away.
                Err(ListError::Unreachable(error)) => {
                    debug!(%error, "unable to list the pods yet");
                    tokio::time::sleep(pauses.next(None)).await;
                    continue;
                }
            };
            if !passing || attempt == ATTEMPTS {
                return Err((error, shortened(&cause, MAX_CAUSE)));
            }
            attempt += 1;
            tokio::time::sleep(pauses.next(after)).await;
        }
    }

    /// The pods once more, if some had not ended when they were listed: now that their logs have, it is known how. Those that are
    /// gone stay as they were.
    async fn ended(&self, mut pods: Vec<PodView>) -> Vec<PodView> {
        if pods.iter().all(PodView::has_ended) {
            return pods;
        }
        let later = |later: PodView| {
            if let Some(pod) = pods.iter_mut().find(|pod| pod.uid == later.uid) {
                *pod = later;
            }
        };
        if let Err(error) = self.effects.cluster.pods(self.view, later).await {
            debug!(%error, "unable to find out how the pods have ended");
        }
        pods
    }

    /// Room for the logs, if they need it. Waits for it only as long as nothing can be lost by that: a pod that has not ended is
    /// about to be deleted, once its Job is (`spec.successPolicy`).
    async fn room(&self, pods: &[PodView]) -> Option<Taken> {
        if self.is_failing() {
            return None;
        }
        let chosen = self.chosen(pods);
        let bytes = self.limit(&chosen) * self.logs_of(&chosen);
        if pods.iter().all(PodView::has_ended) {
            self.effects.room.take(bytes).await
        } else {
            self.effects.room.take_up_to(bytes)
        }
    }

    /// The logs, cut to what the answer can carry. `listed`: how many pods there were.
    async fn read_logs(&self, pods: &[PodView], listed: usize) -> Logs {
        let chosen = self.chosen(pods);
        let (omitted, limit) = (listed.saturating_sub(chosen.len()), self.limit(&chosen));
        // All pods and containers at once: some of them may be about to go.
        let reads = chosen.into_iter().map(|pod| self.read_pod(pod, limit));
        let logs = Logs { pods: join_all(reads).await, omitted, ..Logs::default() };
        let (format, budget) = (self.stamp.options.logs.format, self.budget());
        self.effects.workshop.work(logs.held(), move || logs.within(format, budget)).await
    }

    /// The pods whose logs are read.
    fn chosen<'p>(&self, pods: &'p [PodView]) -> Vec<&'p PodView> {
        let mut chosen: Vec<&PodView> = pods.iter().collect();
        chosen.sort_by(|one, other| Rank::Failed.compare(one, other));
        chosen.truncate(self.effects.care.max_log_pods);
        chosen
    }

    fn logs_of(&self, pods: &[&PodView]) -> usize {
        pods.iter().map(|pod| self.containers_of(pod).len()).sum()
    }

    /// How much of each log is kept while it is read.
    fn limit(&self, pods: &[&PodView]) -> usize {
        (READ_AHEAD * self.budget().0 / self.logs_of(pods).max(1)).clamp(LEAST_BYTES, OUTPUT_LIMIT.0)
    }

    /// What the answer is going to have room for.
    fn budget(&self) -> ByteBudget {
        if self.is_failing() { CAUSE_BUDGET } else { OUTPUT_BUDGET }
    }

    async fn read_pod(&self, pod: &PodView, limit: usize) -> PodLogs {
        let reads = self.containers_of(pod).into_iter().map(|container| self.read_container(pod, container, limit));
        PodLogs { pod: pod.name.clone(), containers: join_all(reads).await }
    }

    /// The containers with something to say. Init containers have it when the Job failed.
    fn containers_of<'p>(&self, pod: &'p PodView) -> Vec<&'p ContainerView> {
        let wanted = pod.containers.iter();
        wanted.filter(|container| container.role == Role::Main || self.is_failing()).collect()
    }

    /// Whether the Job has failed, or is about to: one that is captured while it is active is stuck, or being deleted.
    fn is_failing(&self) -> bool {
        !matches!(self.view.phase, Phase::Succeeding | Phase::Complete)
    }

    async fn read_container(&self, pod: &PodView, container: &ContainerView, limit: usize) -> ContainerLogs {
        let last = self.read_last(pod, container, limit);
        let previous = async {
            // A restart that comes too late is ended by Kubernetes, perhaps before it has said a word: the run before is the one
            // that made the Job fail.
            if container.previous.is_none() || !self.is_failing() || self.stamp.options.logs.names_a_run() {
                return None;
            }
            Some(self.read_so_far(pod, container, Run::Previous, limit).await)
        };
        // At the same time: the pod is about to go.
        let (log, previous) = tokio::join!(last, previous);
        ContainerLogs { container: container.name.clone(), log, previous }
    }

    /// The log of the last run: followed to its end, if there is a place for that before the Job has ended.
    async fn read_last(&self, pod: &PodView, container: &ContainerView, limit: usize) -> ContainerLog {
        let Some(job_ended) = self.job_ended else {
            return self.read_so_far(pod, container, Run::Last, limit).await;
        };
        let end = LogEnd::OfContainer { job_ended, until: self.begun + longest(pod) };
        let followed = &self.effects.log_permits.followed;
        if let Some(_place) = followed.now(&self.holder()) {
            return self.read(pod, container, Run::Last, end, limit).await;
        }
        // Before its turn comes the pod may be gone.
        let so_far = self.read_so_far(pod, container, Run::Last, limit).await;
        let holder = self.holder();
        let turn = job_ended.run_until_cancelled(tokio::time::timeout(longest(pod), followed.take(&holder)));
        let log = match turn.await {
            Some(Ok(_place)) => self.read(pod, container, Run::Last, end, limit).await,
            _ => self.read_so_far(pod, container, Run::Last, limit).await,
        };
        if matches!(log, ContainerLog::Read(_)) { log } else { so_far }
    }

    /// A log as far as it is.
    async fn read_so_far(&self, pod: &PodView, container: &ContainerView, run: Run, limit: usize) -> ContainerLog {
        let holder = self.holder();
        let place = self.effects.log_permits.read.take(&holder);
        match self.in_time(place).await {
            Some(_place) => {
                // Its Job may end at any time: its task is not to wait for long then.
                let end = self
                    .job_ended
                    .map_or(LogEnd::Now, |job_ended| LogEnd::OfContainer { job_ended, until: self.begun });
                self.read(pod, container, run, end, limit).await
            }
            None => ContainerLog::Unreadable {
                error: ErrorName::Internal.to_string(),
                cause: "too many logs were to be read at the same time".to_owned(),
            },
        }
    }

    /// A place, unless that takes too long.
    async fn in_time(&self, place: impl Future<Output = Place>) -> Option<Place> {
        let Some(job_ended) = self.job_ended else {
            return tokio::time::timeout(PLACE_WAIT, place).await.ok();
        };
        let mut place = std::pin::pin!(place);
        match job_ended.run_until_cancelled(tokio::time::timeout(PLACE_WAIT, place.as_mut())).await {
            Some(place) => place.ok(),
            None => tokio::time::timeout(PLACE_WAIT_AFTER_END, place).await.ok(),
        }
    }

    fn holder(&self) -> Holder {
        Holder { namespace: self.view.key.namespace.clone(), job: self.view.uid.clone() }
    }

    async fn read(
        &self,
        pod: &PodView,
        container: &ContainerView,
        run: Run,
        end: LogEnd<'_>,
        limit: usize,
    ) -> ContainerLog {
        let options = &self.stamp.options.logs;
        let request = LogRequest {
            namespace: &self.view.key.namespace,
            pod: &pod.name,
            container: &container.name,
            run,
            parameters: &options.parameters,
            end,
            limit: options
                .max_bytes
                .and_then(|bytes| usize::try_from(bytes).ok())
                .map_or(limit, |most| most.min(limit)),
        };
        self.effects.cluster.log(request).await
    }
}

/// How long the containers of a pod are followed at most: about as long as Kubernetes lets them live once their Job has failed or was
/// deleted.
fn longest(pod: &PodView) -> Duration {
    Duration::from_secs(pod.grace_seconds).saturating_add(AFTER_GRACE).min(LONGEST_LOG)
}
