//! Which cluster a request means, and the way to it.
//!
//! Connections do not survive a process that was frozen for long, and a thawed one cannot tell by its own clock. So what was not
//! used for a while, by the time of day, is connected anew.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use jiff::{SignedDuration, Timestamp};
use runjob::{
    clock::Clock,
    cluster::{Eks, EksCluster, EksName},
    clusters::{self, Served},
    settings::JobSettings,
    starter::Admission,
};
use runjob_core::{
    clusters::{Choice, ClusterName},
    failure::{ErrorName, TaskFailure},
    invalid::InvalidParameters,
    request::Target,
};

/// After that long without use, by the time of day, connections are made anew.
const STALE: SignedDuration = SignedDuration::from_secs(60);

/// The clusters of a function.
pub struct Sites {
    way: Way,
    clock: Clock,
}

/// How clusters are found.
enum Way {
    /// They are known already.
    Known(Choice<Served>),
    /// A file says what they are, or a kubeconfig where the one is.
    Configured { settings: Box<JobSettings>, sdk: Box<SdkConfig>, connected: Mutex<Option<Young<Choice<Served>>>> },
    /// EKS knows the one of that name.
    OneOfEks(ClusterName, OfEks),
    /// EKS knows them by the names in the requests.
    AnyOfEks(OfEks),
}

/// The clusters of EKS.
struct OfEks {
    admission: Admission,
    eks: Eks,
    clock: Clock,
    connected: Mutex<BTreeMap<EksName, Young<Served>>>,
}

/// What has connections, and when they were used last.
struct Young<T> {
    it: T,
    used: Timestamp,
}

impl<T: Clone> Young<T> {
    fn is_young(&self, now: Timestamp) -> bool {
        now.duration_since(self.used) < STALE
    }

    /// It, if its connections are young enough.
    fn again(&mut self, now: Timestamp) -> Option<T> {
        let is_young = self.is_young(now);
        self.used = now;
        is_young.then(|| self.it.clone())
    }
}

impl Sites {
    /// Those of the file, or the one of the kubeconfig, if there is any; otherwise those of EKS, by their names.
    pub fn of(settings: &JobSettings, sdk: &SdkConfig, clock: Clock) -> Self {
        let is_configured = settings.clusters.is_some() || settings.kubeconfig.is_some() || settings.context.is_some();
        let way = if is_configured || std::env::var_os("KUBECONFIG").is_some() {
            let settings = Box::new(settings.clone());
            Way::Configured { settings, sdk: Box::new(sdk.clone()), connected: Mutex::default() }
        } else {
            let of_eks = OfEks {
                admission: settings.admission(),
                eks: Eks::new(sdk, clock),
                clock,
                connected: Mutex::default(),
            };
            match &settings.cluster_name {
                Some(name) => Way::OneOfEks(name.clone(), of_eks),
                None => Way::AnyOfEks(of_eks),
            }
        };
        Self { way, clock }
    }

    /// Those that are known already: for simulations, which have no network.
    pub fn known(clusters: Choice<Served>, clock: Clock) -> Self {
        Self { way: Way::Known(clusters), clock }
    }

    /// The cluster that a request means. `patience`: how long EKS may take to say where it is.
    pub(crate) async fn find(&self, target: &Target, patience: Duration) -> Result<Served, TaskFailure> {
        let served = match &self.way {
            Way::AnyOfEks(of_eks) => {
                let missing = || InvalidParameters::cluster_name_missing().failure();
                of_eks.named(target.name.as_deref().ok_or_else(missing)?)?
            }
            Way::Known(_) | Way::Configured { .. } | Way::OneOfEks(..) => {
                self.all().await?.of(target.name.as_deref())?.clone()
            }
        };
        served.vouch(target, patience).await?;
        Ok(served)
    }

    /// All that are configured: what a sweep goes through.
    pub(crate) async fn all(&self) -> Result<Choice<Served>, TaskFailure> {
        let now = self.clock.wall();
        match &self.way {
            Way::Known(clusters) => Ok(clusters.clone()),
            Way::Configured { settings, sdk, connected } => {
                let young =
                    connected.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|it| it.again(now));
                if let Some(clusters) = young {
                    return Ok(clusters);
                }
                let clusters = clusters::find(settings, sdk).await.map_err(|error| unusable(&error))?;
                let young = Young { it: clusters.clone(), used: now };
                *connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(young);
                Ok(clusters)
            }
            Way::OneOfEks(name, of_eks) => {
                Ok(Choice::Named(BTreeMap::from([(name.clone(), of_eks.named(name.as_str())?)])))
            }
            Way::AnyOfEks(_) => {
                let message = "no cluster is configured: set RUNJOB_CLUSTER_NAME or RUNJOB_CLUSTERS";
                Err(TaskFailure::saying(ErrorName::ClusterNotAllowed, message))
            }
        }
    }
}

impl OfEks {
    fn named(&self, name: &str) -> Result<Served, TaskFailure> {
        let name: EksName = name.parse().map_err(|error| unusable(&error))?;
        let (now, mut connected) = (self.clock.wall(), self.connected.lock().unwrap_or_else(PoisonError::into_inner));
        // Any number of names may be asked for in the life of a process.
        connected.retain(|_, young| young.is_young(now));
        if let Some(young) = connected.get_mut(&name).and_then(|young| young.again(now)) {
            return Ok(young);
        }
        let served = Served::of_eks(&self.eks, EksCluster::named(name.clone()), self.admission.clone());
        let served = served.map_err(|error| unusable(&error))?;
        connected.insert(name, Young { it: served.clone(), used: now });
        Ok(served)
    }
}

fn unusable(error: &dyn std::error::Error) -> TaskFailure {
    TaskFailure::saying(ErrorName::ClusterNotAllowed, format!("the cluster cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_a_minute_by_the_time_of_day_is_connected_anew() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        let mut connected = Young { it: "a cluster", used: at(0) };
        assert_eq!(connected.again(at(59)), Some("a cluster"));
        assert_eq!(connected.again(at(118)), Some("a cluster"), "it was used in between");
        assert_eq!(connected.again(at(178)), None);
    }
}
