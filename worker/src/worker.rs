//! The worker: everything wired together, from its start to the end of its drain.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use aws_config::SdkConfig;
use jiff::Timestamp;
use runjob_core::{
    lease::Candidate,
    names::{Group, lease_name},
    owner::short_hash,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tracing::{Instrument, info, info_span, warn};

use crate::{
    admin::{self, Health},
    cluster::{Cluster, LeaseKey, Scope, Watched, keep_probing, keep_telling, watch},
    heartbeat::{Heartbeats, Pace},
    intake::Intake,
    lease::Candidacy,
    liveness::Liveness,
    metrics::Metrics,
    permits::Permits,
    replies::Replies,
    settings::Settings,
    sfn::Clients,
    starter::Starter,
    tracker::{Effects, Pulse, Tracker},
};

/// News from the watches that the tracker has not taken in yet. The list of a restarted worker comes in pages of 500; two of
/// them may wait, then the watch is read more slowly.
const NEWS: usize = 1000;
/// How long polls in flight are awaited: the longest that Step Functions holds one, and the time to create a Job.
const POLLS_END: Duration = Duration::from_secs(80);
/// How long Events that are still to be written are waited for at the end. What is not written by then is lost: the next worker
/// finds out the same and tells it, as a rule, and nothing depends on it.
const EVENTS_END: Duration = Duration::from_secs(2);
/// The longest name that `GetActivityTask` takes.
const MAX_WORKER_NAME: usize = 80;

/// A worker that is ready to run.
pub struct Worker {
    settings: Arc<Settings>,
    sdk: SdkConfig,
    cluster: Cluster,
    /// `None`: a simulation, which has no network.
    admin: Option<TcpListener>,
    /// What executions' histories call this worker.
    name: String,
    /// The signs of life of its loops.
    liveness: Liveness,
    /// What its Lease calls it: no other worker, and no other life of this one, has the same.
    identity: String,
}

impl Worker {
    /// Takes everything that a worker needs from outside, and binds the admin endpoint.
    pub async fn new(settings: Settings, sdk: SdkConfig, cluster: Cluster) -> anyhow::Result<Self> {
        let address = settings.admin_addr;
        let admin = TcpListener::bind(address).await.with_context(|| format!("unable to listen on {address}"))?;
        Ok(Self { admin: Some(admin), ..Self::without_admin(settings, sdk, cluster) })
    }

    /// The same without an admin endpoint: in a simulation there is no network.
    pub fn without_admin(settings: Settings, sdk: SdkConfig, cluster: Cluster) -> Self {
        let name = worker_name();
        let life = format!("{} {}", std::process::id(), Timestamp::now().as_nanosecond());
        let identity = format!("{name}_{}", short_hash(&life));
        Self { settings: Arc::new(settings), sdk, cluster, admin: None, name, liveness: Liveness::default(), identity }
    }

    /// Calls the worker that, in executions' histories and in its Lease. No other may have the same name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { identity: name.clone(), name, ..self }
    }

    /// Where the admin endpoint listens, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// The signs of life of its loops, once it runs.
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Runs until `drain` is cancelled and everything under way has come to its end. Running Jobs go on without it.
    pub async fn run(self, drain: CancellationToken) -> anyhow::Result<()> {
        let Self { settings, sdk, cluster, admin, name, liveness, identity } = self;
        let group = settings.group()?;
        let clients = Clients::new(&sdk, &settings.activities);
        let scopes = scopes(&settings);
        let pulse = Arc::new(Pulse::new(scopes.clone(), liveness.watch_over("the tracker".to_owned())));
        let (clock, metrics) = (cluster.clock(), Arc::new(Metrics::new(cluster.lost_events())));
        let permits = Permits::new(settings.max_in_flight, usize::from(settings.pollers) * clients.activities().len());
        let replies = Replies::new(clients.clone(), metrics.clone(), settings.jobs.job_failed_error.clone());
        let pace = Pace { interval: settings.heartbeat_interval, rate: settings.heartbeat_rate };
        let (lost_sender, lost) = mpsc::unbounded_channel();
        let lease = LeaseKey {
            namespace: cluster.namespace().to_owned(),
            name: lease_name(&group, settings.jobs.namespaces.iter().map(String::as_str)),
        };
        let candidate = Candidate::new(identity.clone(), settings.jobs.lease_duration);
        let (candidacy, mandate) = Candidacy::new(cluster.clone(), lease, candidate, clock, metrics.clone());
        let (heartbeats, beat) =
            Heartbeats::new(clients.clone(), metrics.clone(), pace, clock, mandate.role.clone(), lost_sender);

        let admin_addr = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        info!(%group, %identity, cluster = cluster.url(), admin = ?admin_addr, version = env!("CARGO_PKG_VERSION"), "the worker starts");
        let mut background = JoinSet::new();
        background.spawn(beat);
        let health = Health {
            liveness: liveness.clone(),
            pulse: pulse.clone(),
            heartbeats: heartbeats.clone(),
            clients: clients.clone(),
            reachability: cluster.reachability().clone(),
            metrics: metrics.clone(),
            clock,
        };
        if let Some(admin) = admin {
            background.spawn(serve(admin, health));
        }
        background.spawn(keep_probing(cluster.clone()));
        background.spawn(keep_telling(cluster.clone()));
        let watched = watch_all(&mut background, &cluster, scopes, &group, &liveness);

        let events = cluster.clone();
        let effects = Effects::new(
            clients.clone(),
            cluster.clone(),
            replies.clone(),
            group.clone(),
            settings.jobs.care(),
            metrics.clone(),
        );
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
        let mut tracking = AbortOnDropHandle::new(tokio::spawn(tracker.run(watched, lost, stop.clone())));

        let mut candidacy = AbortOnDropHandle::new(tokio::spawn(candidacy.run(drain.clone(), end.clone())));

        let starter = Starter::new(clients.clone(), cluster, heartbeats.clone(), metrics.clone());
        let intake = Intake {
            clients,
            starter,
            group,
            pollers: settings.pollers,
            strictness: settings.jobs.strictness(),
            cluster_name: settings.jobs.cluster_name.clone(),
            admission: settings.jobs.admission(),
            permits,
            load: Arc::default(),
            heartbeats,
            replies,
            metrics,
            pulse,
            under_way: TaskTracker::new(),
            drain: drain.clone(),
        };
        // None of these ends by itself; one that does has failed, and a worker without it is worse than none.
        tokio::select! {
            // The end comes first: a part that ends then ends with everything else.
            biased;
            () = take_tasks(intake, name, &liveness, &drain) => {}
            _ = background.join_next() => anyhow::bail!("a part of the worker has ended by itself"),
            ended = &mut tracking => {
                ended.context("the tracker has panicked")?;
                anyhow::bail!("the tracker has ended by itself");
            }
            ended = &mut candidacy => {
                ended.context("the candidacy for the Lease has panicked")?;
                anyhow::bail!("the candidacy for the Lease has ended by itself");
            }
        }
        stop.cancel();
        tracking.await.context("the tracker has panicked")?;
        // Held until here, so that what the tracker has brought to its end was begun by nobody else.
        end.cancel();
        candidacy.await.context("the candidacy for the Lease has panicked")?;
        if tokio::time::timeout(EVENTS_END, events.all_told()).await.is_err() {
            warn!(events = events.untold(), "Events were cut short");
        }
        info!("the worker ends");
        Ok(())
    }
}

async fn serve(admin: TcpListener, health: Health) {
    if let Err(error) = axum::serve(admin, admin::router(health)).await {
        warn!(%error, "the admin endpoint has ended");
    }
}

/// Watches every scope in the background, and gives what the watches bring.
fn watch_all(
    background: &mut JoinSet<()>,
    cluster: &Cluster,
    scopes: Vec<Scope>,
    group: &Group,
    liveness: &Liveness,
) -> mpsc::Receiver<Watched> {
    let (news, watched) = mpsc::channel(NEWS);
    for scope in scopes {
        let span = info_span!("watch", %scope);
        let sign = liveness.watch_over(format!("the watch of {scope}"));
        background.spawn(watch(cluster.clone(), scope, group.clone(), news.clone(), sign).instrument(span));
    }
    watched
}

/// Polls until the drain, then awaits what is in flight: the polls, and the tasks that they bring.
async fn take_tasks(intake: Intake, worker_name: String, liveness: &Liveness, drain: &CancellationToken) {
    let under_way = intake.under_way.clone();
    let mut polls = JoinSet::new();
    for activity in intake.clients.activities() {
        for number in 1..=intake.pollers {
            let sign = liveness.watch_over(format!("poller {number} of {activity}"));
            polls.spawn(intake.clone().poll(activity.clone(), worker_name.clone(), sign));
        }
    }
    drop(intake);
    drain.cancelled().await;
    info!("no new task is taken; polls in flight are awaited");
    let ended = tokio::time::timeout(POLLS_END, async {
        while polls.join_next().await.is_some() {}
        under_way.close();
        under_way.wait().await;
    });
    if ended.await.is_err() {
        warn!(tasks = under_way.len(), "tasks were taken that could not be started; their states time out");
    }
}

fn scopes(settings: &Settings) -> Vec<Scope> {
    if settings.jobs.namespaces.is_empty() {
        return vec![Scope::All];
    }
    let namespaces: BTreeSet<&String> = settings.jobs.namespaces.iter().collect();
    namespaces.into_iter().map(|namespace| Scope::Namespace(namespace.clone())).collect()
}

/// What the execution's history calls this worker: the pod's name, as a rule.
fn worker_name() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let name = host.unwrap_or_else(|| format!("runjob-{}", std::process::id()));
    name.chars().take(MAX_WORKER_NAME).collect()
}
