//! One invocation at work in one cluster: what it needs of the worker's parts, for as long as it lasts.

use std::{sync::Arc, time::Duration};

use runjob::{
    cluster::{Cluster, keep_probing, keep_telling},
    clusters::Served,
    heartbeat::{Budget, Heartbeats, Pace},
    lease::Mandate,
    metrics::Metrics,
    replies::Replies,
    sfn::Clients,
    starter::Starter,
    tracker::{Care, Memory},
};
use runjob_core::names::Group;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::function::{Function, Invocation};

/// A heartbeat from time to time keeps a task alive while its Job cannot be created.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// What is kept of the margin for the very end: to say what came of the invocation.
const LAST: u32 = 5;

/// The time that an invocation has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// When it begins to come to its end.
    pub(crate) end: Instant,
    /// When nothing is waited for any more.
    pub(crate) last: Instant,
}

impl Time {
    /// How long it still has.
    pub(crate) fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// One invocation at work in one cluster.
pub(crate) struct Session {
    pub(crate) invocation: Invocation,
    pub(crate) time: Time,
    pub(crate) clients: Clients,
    pub(crate) group: Group,
    pub(crate) cluster: Cluster,
    pub(crate) care: Care,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) replies: Replies,
    pub(crate) starter: Starter,
    /// Ends with the invocation: nothing goes on while its process is frozen.
    _background: JoinSet<()>,
}

impl Function {
    pub(crate) fn time(&self, invocation: &Invocation) -> Time {
        let now = Instant::now();
        let left = Duration::try_from(invocation.deadline.duration_since(self.clock.wall())).unwrap_or_default();
        // Of a function that has only seconds, most are for the work.
        let margin = self.settings.margin.min(left / 4);
        let until = |rest: Duration| now + left.saturating_sub(rest);
        Time { end: until(margin), last: until(margin / LAST) }
    }

    pub(crate) fn session(&self, invocation: &Invocation, time: Time, group: Group, served: &Served) -> Session {
        let clients = self.clients(&invocation.function);
        let cluster = served.cluster.clone();
        let metrics = Arc::new(Metrics::new(cluster.lost_events(), cluster.reachability()));
        let beats = Budget::new(Pace { interval: HEARTBEAT, rate: self.settings.heartbeat_rate });
        let (lost, _) = mpsc::unbounded_channel();
        let (heartbeats, beat) =
            Heartbeats::new(clients.clone(), metrics.clone(), &beats, cluster.clock(), Mandate::none().role, lost);
        let mut background = JoinSet::new();
        background.spawn(beat);
        background.spawn(keep_probing(cluster.clone()));
        background.spawn(keep_telling(cluster.clone()));
        let replies = Replies::new(clients.clone(), metrics.clone(), self.settings.jobs.job_failed_error.clone());
        let starter = Starter::new(clients.clone(), cluster.clone(), heartbeats.clone(), metrics.clone());
        Session {
            invocation: invocation.clone(),
            time,
            clients,
            group,
            cluster,
            care: self.settings.jobs.care(Memory::OfProcess),
            metrics,
            heartbeats,
            replies,
            starter: starter.within(time.left()),
            _background: background,
        }
    }
}

impl Session {
    /// Waits for what was told by Events, as long as there is time: the process may be frozen for ever afterwards.
    pub(crate) async fn end(self) {
        let _told = timeout_at(self.time.last, self.cluster.all_told()).await;
    }
}
