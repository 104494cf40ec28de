//! One cluster that the worker serves, with all that is that cluster's own: its watches, Lease, heartbeats, limits and queues. What
//! happens to one leaves the others alone.
//!
//! ```text
//!               ┌─ site: watches ─► tracker ◄─► heartbeats ── Lease ─┐   Kubernetes
//!  polls ─► ────┤                                                    ├─►
//!  (shared)     └─ site: …                                           ┘
//! ```

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::Context;
use runjob_core::{
    clusters::ClusterName,
    failure::{ErrorName, TaskFailure},
    lease::{Candidate, Role},
    names::{Group, lease_name},
};
use tokio::{
    sync::{mpsc, watch as value},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, Span, info_span, warn};

use crate::{
    admin::ClusterHealth,
    cluster::{Cluster, LeaseKey, Scope, Watched, WatchedJob, keep_probing, keep_telling, watch},
    clusters::Served,
    heartbeat::{Budget, Heartbeats},
    intake::Load,
    lease::{Candidacy, Standing},
    liveness::Liveness,
    metrics::Metrics,
    permits::{Permit, Permits},
    replies::Replies,
    sfn::Clients,
    starter::Starter,
    tracker::{Care, Effects, Pulse, Tracker},
};

/// News from the watches that the tracker has not taken in yet. The list of a restarted worker comes in pages of 500; two of
/// them may wait, then the watch is read more slowly.
const NEWS: usize = 1000;

/// A cluster that is served, as the tasks for it see it.
pub struct Site {
    /// What it is called where there are several.
    pub name: Option<ClusterName>,
    /// The cluster, and what requests may ask for there.
    pub served: Served,
    /// Starts Jobs there.
    pub starter: Starter,
    /// How many Jobs there may be, and how many tasks may be on their way to one.
    pub permits: Permits,
    /// What those take of the memory.
    pub load: Load,
    /// Keeps its tasks alive.
    pub heartbeats: Heartbeats,
    /// Knows when the first lists are complete.
    pub pulse: Arc<Pulse>,
    /// Whether this worker acts there.
    role: value::Receiver<Role>,
    /// Where the tracker hears of Jobs.
    news: mpsc::Sender<Watched>,
    /// What is watched.
    scopes: Vec<Scope>,
}

/// What all sites have in common.
pub struct Common {
    /// Step Functions.
    pub clients: Clients,
    /// Answers tasks.
    pub replies: Replies,
    /// The group that Jobs belong to.
    pub group: Group,
    /// The most Jobs at a time in a cluster that says nothing of it.
    pub max_in_flight: u32,
    /// How many polls are held open.
    pub polls: usize,
    /// The heartbeats of all of them together.
    pub beats: Budget,
    /// How Jobs are looked after.
    pub care: Care,
    /// Where their Leases are, if not in the worker's own namespace.
    pub lease_namespace: Option<String>,
    /// The signs of life of its loops.
    pub liveness: Liveness,
    /// What its Leases call it.
    pub identity: String,
    /// How many sites there are.
    pub sites: usize,
    /// Told to drain.
    pub drain: CancellationToken,
}

/// The loops of a site. They end when they are told to; one that ends by itself has failed.
pub struct Loops {
    cluster: Cluster,
    /// Who acts for the group, as far as is known.
    pub standing: Standing,
    tracking: AbortOnDropHandle<()>,
    candidacy: AbortOnDropHandle<()>,
    stop: CancellationToken,
    end: CancellationToken,
}

impl Site {
    /// Begins to watch a cluster, and to act there. What never ends is spawned into `background`.
    pub fn begin(
        name: Option<ClusterName>,
        served: Served,
        metrics: &Arc<Metrics>,
        common: &Common,
        background: &mut JoinSet<()>,
    ) -> (Self, Loops) {
        let Common { clients, replies, group, care, liveness, identity, drain, .. } = common;
        let (cluster, clock) = (served.cluster.clone(), served.cluster.clock());
        let span = name.as_ref().map_or_else(Span::none, |name| info_span!("cluster", %name));
        let of = name.as_ref().map(|name| format!(" in the cluster {name}")).unwrap_or_default();

        let scopes = scopes(&served.admission.namespaces);
        let pulse = Arc::new(Pulse::new(scopes.clone(), liveness.watch_over(format!("the tracker{of}"))));
        let most = served.max_in_flight.map_or(common.max_in_flight, NonZeroU32::get);
        let permits = Permits::new(most, common.polls);
        let (lost_sender, lost) = mpsc::unbounded_channel();
        let lease = LeaseKey {
            namespace: common.lease_namespace.as_deref().unwrap_or(cluster.namespace()).to_owned(),
            name: lease_name(group, served.admission.namespaces.iter().map(String::as_str)),
        };
        let candidate = Candidate::new(identity.clone(), care.lease_duration);
        let (candidacy, mandate) = Candidacy::new(cluster.clone(), lease, candidate, clock, metrics.clone());
        let standing = candidacy.standing();
        let (heartbeats, beat) =
            Heartbeats::new(clients.clone(), metrics.clone(), &common.beats, clock, mandate.role.clone(), lost_sender);

        background.spawn(beat.instrument(span.clone()));
        background.spawn(keep_probing(cluster.clone()).instrument(span.clone()));
        background.spawn(keep_telling(cluster.clone()).instrument(span.clone()));
        let (news, watched) = mpsc::channel(NEWS);
        span.in_scope(|| {
            for scope in scopes.iter().cloned() {
                let span = info_span!("watch", %scope);
                let sign = liveness.watch_over(format!("the watch of {scope}{of}"));
                background.spawn(watch(cluster.clone(), scope, group.clone(), news.clone(), sign).instrument(span));
            }
        });

        let effects =
            Effects::new(clients.clone(), cluster.clone(), replies.clone(), group.clone(), *care, metrics.clone());
        let tracker = Tracker::new(
            Arc::new(effects),
            heartbeats.clone(),
            permits.clone(),
            metrics.clone(),
            clock,
            pulse.clone(),
            mandate,
        );
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let tracking = tokio::spawn(tracker.run(watched, lost, stop.clone()).instrument(span.clone()));
        let candidacy = tokio::spawn(candidacy.run(drain.clone(), end.clone()).instrument(span));
        let [tracking, candidacy] = [tracking, candidacy].map(AbortOnDropHandle::new);

        let starter = Starter::new(clients.clone(), cluster.clone(), heartbeats.clone(), metrics.clone());
        let site = Self {
            name,
            served,
            starter,
            permits,
            load: Load::default(),
            heartbeats,
            pulse,
            role: standing.role(),
            news,
            scopes,
        };
        (site, Loops { cluster, standing, tracking, candidacy, stop, end })
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.served.cluster
    }

    /// What there is to know of it.
    pub fn health(&self) -> ClusterHealth {
        ClusterHealth {
            name: self.name.clone(),
            pulse: self.pulse.clone(),
            heartbeats: self.heartbeats.clone(),
            reachability: self.cluster().reachability().clone(),
            role: self.role.clone(),
            clock: self.cluster().clock(),
        }
    }

    /// Whether nobody knows how long a task for it would wait: the cluster does not answer, or has not shown its Jobs yet.
    pub fn is_away(&self) -> bool {
        self.cluster().reachability().is_lost() || !self.pulse.has_listed_all()
    }

    /// What a task fails with because the cluster does not answer.
    pub fn unreachable(&self, what: &str) -> TaskFailure {
        let name = self.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
        TaskFailure::saying(ErrorName::ClusterUnreachable, format!("the cluster{name} does not answer, and {what}"))
    }

    /// Tells the tracker of a Job that the watch does not show: it finds out what has become of it.
    pub async fn has_not_seen(&self, job: WatchedJob) {
        let within = |scope: &&Scope| match (scope, &job.view) {
            (Scope::Namespace(namespace), Ok(view)) => *namespace == view.key.namespace,
            (Scope::All, _) => true,
            _ => false,
        };
        if let Some(scope) = self.scopes.iter().find(within) {
            // Closed only when the worker ends.
            let _ended = self.news.send(Watched::Unseen(scope.clone(), Box::new(job))).await;
        }
    }

    /// Waits until a task for it could be started at once: that is for the permit that comes with it.
    pub async fn room(&self) -> Permit {
        // Before that, nobody knows how many Jobs the group has there.
        self.pulse.listed().await;
        let permit = self.permits.acquire().await;
        self.load.room().await;
        self.cluster().reachability().restored().await;
        permit
    }

    /// Waits as long as so many tasks wait there for room that no more may come. For a cluster that is away they may come: they fail.
    pub async fn passable(&self) {
        while self.permits.is_crowded() && !self.is_away() {
            tokio::select! {
                biased;
                () = self.permits.thinned() => {}
                () = self.cluster().reachability().lost() => {}
            }
        }
    }
}

impl Loops {
    /// Waits until a loop has ended by itself.
    pub async fn failed(&mut self) -> anyhow::Error {
        let (what, ended) = tokio::select! {
            biased;
            ended = &mut self.tracking => ("the tracker", ended),
            ended = &mut self.candidacy => ("the candidacy for the Lease", ended),
        };
        match ended {
            Ok(()) => anyhow::anyhow!("{what} has ended by itself"),
            Err(error) => anyhow::Error::new(error).context(format!("{what} has panicked")),
        }
    }

    /// Lets everything under way come to its end. What is not told by Events in that time stays untold.
    pub async fn finish(self, patience: Duration) -> anyhow::Result<()> {
        self.stop.cancel();
        self.tracking.await.context("the tracker has panicked")?;
        // Held until here, so that what the tracker has brought to its end was begun by nobody else.
        self.end.cancel();
        self.candidacy.await.context("the candidacy for the Lease has panicked")?;
        if tokio::time::timeout(patience, self.cluster.all_told()).await.is_err() {
            warn!(events = self.cluster.untold(), "Events were cut short");
        }
        Ok(())
    }
}

fn scopes(namespaces: &[String]) -> Vec<Scope> {
    if namespaces.is_empty() {
        return vec![Scope::All];
    }
    let namespaces: BTreeSet<&String> = namespaces.iter().collect();
    namespaces.into_iter().map(|namespace| Scope::Namespace(namespace.clone())).collect()
}
