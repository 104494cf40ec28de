//! The two services of a simulation, and its workers.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use anyhow::Context;
use aws_config::SdkConfig;
use jiff::{SignedDuration, Timestamp};
use runjob::{
    clock::Clock,
    cluster::Cluster,
    clusters::{self, Served},
    liveness::Liveness,
    settings::Settings,
    starter::Admission,
    worker::Worker,
};
use runjob_core::clusters::{Choice, ClusterName};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    fate::{Traffic, Undisturbed},
    journal::Journal,
    kube_client,
    link::Link,
    sfn_client,
};
use crate::{
    front::Front,
    kube::{self, Kubernetes},
    sandbox::{self, Config},
    sfn::{self, StepFunctions},
};

/// Step Functions and Kubernetes in memory.
pub struct Memory {
    /// Step Functions.
    pub sfn: Front<StepFunctions>,
    /// Kubernetes.
    pub kube: Front<Kubernetes>,
    activity: String,
    region: String,
    start: Timestamp,
    journal: Journal,
}

/// A cluster of a simulation, as a worker is told of it.
#[derive(Clone)]
pub struct Place {
    /// The cluster.
    pub kube: Front<Kubernetes>,
    /// Every request to it so far.
    pub journal: Journal,
    /// What befalls requests on their way there.
    pub traffic: Arc<dyn Traffic>,
    /// What requests may ask for there.
    pub admission: Admission,
    /// The most Jobs at a time there, if that is said.
    pub max_in_flight: Option<NonZeroU32>,
}

/// The ways to both services of something that is no worker, such as an invocation of a function.
pub struct Ways {
    /// What both lead over.
    pub link: Link,
    /// To Kubernetes.
    pub cluster: Cluster,
    /// To Step Functions.
    pub sdk: SdkConfig,
    /// The time, and the time of day.
    pub clock: Clock,
}

/// A worker behind a link. It dies when this is dropped, and when its link says so.
pub struct LinkedWorker {
    link: Link,
    /// To its further clusters.
    others: Vec<Link>,
    drain: CancellationToken,
    running: AbortOnDropHandle<anyhow::Result<()>>,
    liveness: Liveness,
}

impl Memory {
    /// Starts both services, with the same time of day. Containers have to be scripted: nothing else keeps to a paused clock.
    pub fn start(mut config: Config) -> anyhow::Result<Self> {
        let activity = sandbox::native_activity(&mut config.sfn);
        let (region, start) = (config.sfn.region.clone(), config.sfn.start);
        config.kube.start = Some(start);
        let journal = Journal::new();
        let sfn = Front::new(StepFunctions::new(config.sfn));
        let kube = Front::new(Kubernetes::start(config.kube));
        let activity = sfn.endpoint().create_activity(&activity).context("unable to create the activity")?;
        Ok(Self { sfn, kube, activity, region, start, journal })
    }

    /// The same cluster beside another Step Functions: of another account or region, or one that knows none of this one's tokens.
    pub fn elsewhere(&self, mut config: sfn::Config) -> anyhow::Result<Self> {
        let activity = sandbox::native_activity(&mut config);
        let region = config.region.clone();
        let sfn = Front::new(StepFunctions::new(config));
        let activity = sfn.endpoint().create_activity(&activity).context("unable to create the activity")?;
        Ok(Self { sfn, kube: self.kube.clone(), activity, region, start: self.start, journal: self.journal.clone() })
    }

    /// The ARN of the activity that native `eks:` resources are routed to.
    pub fn activity(&self) -> &str {
        &self.activity
    }

    /// Every request so far.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What a worker is told that serves the activity, with these flags besides.
    pub fn settings(&self, flags: &[&str]) -> anyhow::Result<Settings> {
        sandbox::settings(&self.activity, flags)
    }

    /// Another cluster beside this one's, with the same time of day.
    pub fn another_cluster(&self, mut config: kube::Config) -> Place {
        config.start = Some(self.now());
        let (kube, journal) = (Front::new(Kubernetes::start(config)), self.journal.emptied());
        Place { kube, journal, ..self.place() }
    }

    /// This one's own cluster.
    pub fn place(&self) -> Place {
        let (traffic, admission) = (Arc::new(Undisturbed), Admission::default());
        Place { kube: self.kube.clone(), journal: self.journal.clone(), traffic, admission, max_in_flight: None }
    }

    /// Starts a worker of that name. No other may have it.
    pub fn worker(&self, name: &str, settings: Settings, traffic: Arc<dyn Traffic>) -> LinkedWorker {
        let link = self.link(name, &Place { traffic, ..self.place() });
        let cluster = self.cluster(&link);
        let clusters = clusters::of_flags(&settings.jobs, cluster);
        self.running(name, settings, vec![link], clusters)
    }

    /// Starts a worker of that name that serves several clusters. What befalls requests to Step Functions is up to the first.
    pub fn worker_of(&self, name: &str, settings: Settings, places: &BTreeMap<ClusterName, Place>) -> LinkedWorker {
        let (mut links, mut served) = (Vec::new(), BTreeMap::new());
        for (cluster, place) in places {
            let link = self.link(name, place);
            let mut one = Served::new(self.cluster(&link), place.admission.clone());
            one.max_in_flight = place.max_in_flight;
            served.insert(cluster.clone(), one);
            links.push(link);
        }
        self.running(name, settings, links, Choice::Named(served))
    }

    /// Ways to both services for something of that name. No worker may have it.
    pub fn ways(&self, name: &str, traffic: Arc<dyn Traffic>) -> Ways {
        let link = self.link(name, &Place { traffic, ..self.place() });
        let (cluster, clock) = (self.cluster(&link), Clock::starting_at(self.now()));
        let sdk = sfn_client::sdk_config(&link, &self.region, clock);
        Ways { link, cluster, sdk, clock }
    }

    fn link(&self, worker: &str, place: &Place) -> Link {
        Link::new(worker, (self.sfn.clone(), place.kube.clone()), place.journal.clone(), place.traffic.clone())
    }

    fn cluster(&self, link: &Link) -> Cluster {
        Cluster::over(kube_client::service(link.clone()), kube_client::URL, Clock::starting_at(self.now()))
    }

    /// The time of day.
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.journal.elapsed()).unwrap_or_default();
        self.start.checked_add(elapsed).unwrap_or(self.start)
    }

    fn running(&self, name: &str, settings: Settings, links: Vec<Link>, clusters: Choice<Served>) -> LinkedWorker {
        let mut links = links.into_iter();
        let link = links.next().unwrap_or_else(|| self.link(name, &self.place()));
        let sdk = sfn_client::sdk_config(&link, &self.region, Clock::starting_at(self.now()));
        let worker = Worker::without_admin(settings, sdk, clusters).named(name.to_owned());
        let (drain, liveness) = (CancellationToken::new(), worker.liveness());
        let (run, crashed) = (worker.run(drain.clone()), link.clone());
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::select! {
                biased;
                () = crashed.crashed() => anyhow::bail!("the worker has crashed"),
                ended = run => ended,
            }
        }));
        LinkedWorker { link, others: links.collect(), drain, running, liveness }
    }
}

impl LinkedWorker {
    /// Its line: to Step Functions, and to its first cluster.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The signs of life of its loops.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Asks the worker to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// What asks it to drain.
    pub fn drain_switch(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Whether it has ended, by itself or by a crash.
    pub fn has_ended(&self) -> bool {
        self.running.is_finished()
    }

    /// Waits until the worker has ended.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.running).await.context("the worker has panicked")?
    }
}

impl Drop for LinkedWorker {
    fn drop(&mut self) {
        // What it has begun and nobody holds stays silent as well.
        self.link.crash();
        self.others.iter().for_each(Link::crash);
    }
}
