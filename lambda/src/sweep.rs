//! The sweep: what a worker does all the time, once. For teams that hand Jobs over with a token, and run nothing in the cluster.
//!
//! It is a worker without polls, for as long as it takes to go through all Jobs: it wants the group's Lease, and leaves a group to
//! whoever holds it already; it heartbeats every task once, answers for what has ended, deletes what nobody waits for; and what it
//! would have to remember, it notes on the Job. So nothing depends on how often sweeps come, and two at a time do no harm.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use runjob::{
    clusters::Served,
    heartbeat::{Budget, Pace},
    lease::Acting,
    liveness::Liveness,
    metrics::Metrics,
    replies::Replies,
    site::{Common, Site},
    tracker::Memory,
};
use runjob_core::{
    clusters::ClusterName,
    failure::{ErrorName, TaskFailure},
    invalid::InvalidParameters,
    json,
    names::Group,
};
use serde_json::{Map, Value, json};
use tokio::{task::JoinSet, time::timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::{
    function::{Function, Invocation},
    outcome::{Outcome, value},
    session::Time,
};

/// What comes due within that is waited for, once all is quiet: a task that this process has never seen alive is given up that long
/// after it was found to be gone.
const SOON: Duration = Duration::from_secs(6);
/// Within one sweep every task is heartbeated once: the next is a matter of the next sweep.
const HEARTBEAT: Duration = Duration::from_mins(1);

/// What came of a cluster.
enum Swept {
    /// Everything that was due there is done.
    Done,
    /// A worker, or another sweep, looks after it.
    LeftToAnother,
    /// The time was over before.
    Unfinished,
}

/// Whether the event asks for a sweep, well-formed or not.
pub(crate) fn is_asked_for(event: &str) -> bool {
    json::read(event).is_ok_and(|event| event.get("Action").and_then(Value::as_str) == Some("sweep"))
}

impl Function {
    /// Goes through the Jobs of every configured cluster, of all at a time: one that does not answer holds up no other.
    pub(crate) async fn sweep(&self, event: &str, invocation: &Invocation) -> Outcome {
        let event = json::read(event).unwrap_or_default();
        if let Some((name, found)) = event.as_object().into_iter().flatten().find(|(name, _)| *name != "Action") {
            return Err(InvalidParameters::beside_sweep(name, found).failure().into());
        }
        let (time, group) = (self.time(invocation), self.group(&invocation.function)?);
        let clusters = self.sites.all().await?;
        let several = clusters.all().count();
        let named = clusters.map(|name, served| (name.cloned(), served.clone()));
        let sweeps = named.all().map(|(name, served)| {
            let span = info_span!("cluster", name = name.as_ref().map(ClusterName::as_str));
            let swept = self.sweep_one(name.clone(), served.clone(), several, &group, invocation, time);
            swept.instrument(span).map(move |swept| (name, swept))
        });
        let mut said = Map::new();
        let mut unfinished = Vec::new();
        for (name, swept) in join_all(sweeps).await {
            let name = name.as_ref().map_or_else(|| "default".to_owned(), ClusterName::to_string);
            let word = match swept {
                Swept::Done => "swept",
                Swept::LeftToAnother => "left to another",
                Swept::Unfinished => {
                    unfinished.push(name.clone());
                    "unfinished"
                }
            };
            said.insert(name, word.into());
        }
        if unfinished.is_empty() {
            return value(&json!({"Clusters": said}));
        }
        // An alarm on the function's errors has to hear of it. What was done stays done, and the next sweep goes on.
        let message = format!("not everything could be done in time: {}", unfinished.join(", "));
        Err(TaskFailure::new(ErrorName::ClusterUnreachable, json!({"message": message, "clusters": said})).into())
    }

    async fn sweep_one(
        &self,
        name: Option<ClusterName>,
        served: Served,
        sites: usize,
        group: &Group,
        invocation: &Invocation,
        time: Time,
    ) -> Swept {
        let (clients, cluster) = (self.clients(&invocation.function), served.cluster.clone());
        let metrics = Arc::new(Metrics::new(cluster.lost_events(), cluster.reachability()));
        let jobs = &self.settings.jobs;
        let drain = CancellationToken::new();
        let common = Common {
            replies: Replies::new(clients.clone(), metrics.clone(), jobs.job_failed_error.clone()),
            clients,
            group: group.clone(),
            // Nothing is polled.
            max_in_flight: 1,
            polls: 0,
            beats: Budget::new(Pace { interval: HEARTBEAT, rate: self.settings.heartbeat_rate }),
            care: jobs.care(Memory::OfJob),
            lease_namespace: jobs.lease_namespace.clone(),
            liveness: Liveness::default(),
            identity: format!("sweep_{}", invocation.id.as_str()),
            sites,
            drain: drain.clone(),
        };
        let mut background = JoinSet::new();
        let (site, mut loops) = Site::begin(name, served, &metrics, &common, &mut background);
        let gone_through = async {
            if loops.standing.known().await == Acting::Another {
                return Swept::LeftToAnother;
            }
            site.pulse.listed().await;
            let unanswered = site.heartbeats.ask_all().await;
            site.pulse.idle_until(cluster.clock().now().after(SOON)).await;
            if unanswered == 0 { Swept::Done } else { Swept::Unfinished }
        };
        let swept = timeout_at(time.end, gone_through).await.unwrap_or(Swept::Unfinished);
        drain.cancel();
        let ended = timeout_at(time.last, loops.finish(time.last.saturating_duration_since(time.end))).await;
        match ended {
            Ok(Ok(())) => info!("the sweep has ended"),
            Ok(Err(error)) => warn!(error = format!("{error:#}"), "the sweep has not ended well"),
            Err(_) => warn!("the sweep was cut short: its Lease expires"),
        }
        swept
    }
}
