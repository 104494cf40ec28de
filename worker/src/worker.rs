//! The worker: everything wired together, from its start to the end of its drain.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use aws_config::SdkConfig;
use futures::future::{join_all, select_all};
use runjob_core::{clusters::Choice, owner::short_hash};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    admin::{self, Health},
    clock::Clock,
    clusters::Served,
    heartbeat::{Budget, Pace},
    intake::Intake,
    liveness::Liveness,
    metrics::Metrics,
    replies::Replies,
    settings::Settings,
    sfn::Clients,
    site::{Common, Site},
    tracker::Memory,
};

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
    clusters: Choice<Served>,
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
    pub async fn new(settings: Settings, sdk: SdkConfig, clusters: Choice<Served>) -> anyhow::Result<Self> {
        let address = settings.admin_addr;
        let admin = admin::listen(address).await.with_context(|| format!("unable to listen on {address}"))?;
        Ok(Self { admin: Some(admin), ..Self::without_admin(settings, sdk, clusters) })
    }

    /// The same without an admin endpoint: in a simulation there is no network.
    pub fn without_admin(settings: Settings, sdk: SdkConfig, clusters: Choice<Served>) -> Self {
        let name = worker_name();
        let life = format!("{} {}", std::process::id(), Clock::start().wall().as_nanosecond());
        let identity = format!("{name}_{}", short_hash(&life));
        Self { settings: Arc::new(settings), sdk, clusters, admin: None, name, liveness: Liveness::default(), identity }
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
        let Self { settings, sdk, clusters, admin, name, liveness, identity } = self;
        let group = settings.group()?;
        let clients = Clients::new(&sdk, &settings.activities);
        let clusters = Metrics::beside(&clusters);
        let shared = clusters.all().map(|(_, metrics)| metrics.clone()).next().context("there is no cluster")?;
        let replies = Replies::new(clients.clone(), shared.clone(), settings.jobs.job_failed_error.clone());
        let admin_addr = admin.as_ref().and_then(|admin| admin.local_addr().ok());
        let urls: Vec<&str> = clusters.all().map(|(served, _)| served.cluster.url()).collect();
        info!(%group, %identity, cluster = urls.join(", "), admin = ?admin_addr, version = env!("CARGO_PKG_VERSION"), "the worker starts");

        let common = Common {
            clients: clients.clone(),
            replies: replies.clone(),
            group: group.clone(),
            max_in_flight: settings.max_in_flight,
            polls: usize::from(settings.pollers) * clients.activities().len(),
            beats: Budget::new(Pace { interval: settings.heartbeat_interval, rate: settings.heartbeat_rate }),
            care: settings.jobs.care(Memory::OfProcess),
            lease_namespace: settings.jobs.lease_namespace.clone(),
            liveness: liveness.clone(),
            identity,
            sites: urls.len(),
            drain: drain.clone(),
        };
        let (mut background, mut loops) = (JoinSet::new(), Vec::new());
        let sites = Arc::new(clusters.map(|name, (served, metrics)| {
            let name = name.filter(|_| common.sites > 1).cloned();
            let (site, own) = Site::begin(name, served.clone(), metrics, &common, &mut background);
            loops.push(own);
            Arc::new(site)
        }));
        if let Some(admin) = admin {
            let health = Health {
                liveness: liveness.clone(),
                clusters: sites.all().map(|site| site.health()).collect(),
                clients: clients.clone(),
                metrics: shared.clone(),
            };
            background.spawn(admin::serve(admin, admin::router(health)));
        }
        let intake = Intake {
            clients,
            sites,
            group,
            pollers: settings.pollers,
            strictness: settings.jobs.strictness(),
            replies,
            metrics: shared.clone(),
            under_way: TaskTracker::new(),
            drain: drain.clone(),
        };
        // None of these ends by itself; one that does has failed, and a worker without it is worse than none.
        tokio::select! {
            // The end comes first: a part that ends then ends with everything else.
            biased;
            () = take_tasks(intake, name, &liveness, &drain) => {}
            _ = background.join_next() => anyhow::bail!("a part of the worker has ended by itself"),
            (error, ..) = select_all(loops.iter_mut().map(|own| Box::pin(own.failed()))) => return Err(error),
        }
        join_all(loops.into_iter().map(|own| own.finish(EVENTS_END)))
            .await
            .into_iter()
            .collect::<anyhow::Result<()>>()?;
        info!("the worker ends");
        Ok(())
    }
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

/// What the execution's history calls this worker: the pod's name, as a rule.
fn worker_name() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
    let name = host.unwrap_or_else(|| format!("runjob-{}", std::process::id()));
    name.chars().take(MAX_WORKER_NAME).collect()
}
