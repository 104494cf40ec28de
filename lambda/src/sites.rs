//! Which cluster a request means, and the way to it.
//!
//! Connections do not survive a process that was frozen for long, and a thawed one cannot tell by its own clock. So what was not
//! used for a while, by the time of day, is connected anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use jiff::{SignedDuration, Timestamp};
use runjob::{
    clock::Clock,
    cluster::{Claim, Cluster, Eks, EksCluster, EksName},
    settings::JobSettings,
    starter::Admission,
};
use runjob_core::{
    clusters::ClusterName,
    failure::{ErrorName, TaskFailure},
    invalid::InvalidParameters,
    request::Target,
};

/// After that long without use, by the time of day, connections are made anew.
const STALE: SignedDuration = SignedDuration::from_secs(60);

/// A cluster, and what requests may ask of it.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    /// What requests may ask for.
    pub admission: Admission,
}

/// The clusters of a function.
pub struct Sites {
    way: Way,
    admission: Admission,
    /// What the cluster is called. `None`: whatever requests call it.
    name: Option<ClusterName>,
    clock: Clock,
    connected: Mutex<HashMap<String, Connected>>,
}

/// A cluster with connections, and when they were used last.
struct Connected {
    cluster: Cluster,
    used: Timestamp,
}

/// How clusters are found.
enum Way {
    /// There is one.
    Fixed(Cluster),
    /// There is one, and a kubeconfig says where.
    Kubeconfig(Box<JobSettings>),
    /// By the name that EKS has for them.
    Eks(Eks),
}

impl Sites {
    /// The one of the kubeconfig, if there is one; otherwise those of EKS, by their names.
    pub fn of(settings: &JobSettings, sdk: &SdkConfig, clock: Clock) -> Self {
        let has_kubeconfig = settings.kubeconfig.is_some() || settings.context.is_some();
        let way = if has_kubeconfig || std::env::var_os("KUBECONFIG").is_some() {
            Way::Kubeconfig(Box::new(settings.clone()))
        } else {
            Way::Eks(Eks::new(sdk, clock))
        };
        Self::by(way, settings, clock)
    }

    /// One that is known already.
    pub fn fixed(cluster: Cluster, settings: &JobSettings) -> Self {
        let clock = cluster.clock();
        Self::by(Way::Fixed(cluster), settings, clock)
    }

    fn by(way: Way, settings: &JobSettings, clock: Clock) -> Self {
        let (admission, name) = (settings.admission(), settings.cluster_name.clone());
        Self { way, admission, name, clock, connected: Mutex::default() }
    }

    /// The cluster that a request means. `patience`: how long EKS may take to say where it is.
    pub(crate) async fn find(&self, target: &Target, patience: Duration) -> Result<Site, TaskFailure> {
        let name = match (&self.name, &target.name) {
            (Some(own), Some(named)) if own.as_str() != named => {
                let message = format!("ClusterName is \"{named}\", and this function serves \"{own}\"");
                return Err(TaskFailure::saying(ErrorName::ClusterNotAllowed, message));
            }
            (Some(name), _) => Some(name.as_str()),
            (None, name) => name.as_deref(),
        };
        let cluster = match &self.way {
            Way::Fixed(cluster) => cluster.clone(),
            Way::Kubeconfig(settings) => {
                let (file, context) = (settings.kubeconfig.as_deref(), settings.context.as_deref());
                self.connected("", Cluster::find(file, context)).await.map_err(|error| unusable(&error))?
            }
            Way::Eks(eks) => {
                let missing = || InvalidParameters::cluster_name_missing().failure();
                let name: EksName = name.ok_or_else(missing)?.parse().map_err(|error| unusable(&error))?;
                let eks_cluster = EksCluster::named(name.clone());
                let claim =
                    Claim { endpoint: target.endpoint.as_deref(), authority: target.certificate_authority.as_deref() };
                eks.vouch(&eks_cluster, claim, patience).await?;
                self.connected(name.as_str(), async { eks.cluster(&eks_cluster) })
                    .await
                    .map_err(|error| unusable(&error))?
            }
        };
        Ok(Site { cluster, admission: self.admission.clone() })
    }

    /// The cluster with connections that are young enough.
    async fn connected<E>(&self, name: &str, connect: impl Future<Output = Result<Cluster, E>>) -> Result<Cluster, E> {
        let now = self.clock.wall();
        if let Some(known) = self.lock().get_mut(name)
            && now.duration_since(known.used) < STALE
        {
            known.used = now;
            return Ok(known.cluster.clone());
        }
        let cluster = connect.await?;
        self.lock().insert(name.to_owned(), Connected { cluster: cluster.clone(), used: now });
        Ok(cluster)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Connected>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unusable(error: &dyn std::error::Error) -> TaskFailure {
    TaskFailure::saying(ErrorName::ClusterNotAllowed, format!("the cluster cannot be used: {error}"))
}
