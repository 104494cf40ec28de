//! EKS: clusters that are known by name, and that take a signature of AWS for an identity.
//!
//! A credential goes only to a place that the configuration or EKS itself has named, and only if it has the certificate to match.
//!
//! ```text
//!  request ─► where is it? ───────► with what? ───────► API server
//!             configuration, or     a token, signed          │
//!             DescribeCluster       with AWS credentials ◄── 401
//! ```

mod credential;
mod describe;
#[cfg(test)]
pub(super) mod fixtures;
mod kept;
mod location;
#[cfg(test)]
mod tests;
mod token;
mod trust;
mod way;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::SdkConfig;
use kube::Client;
use runjob_core::{
    failure::{ErrorName, TaskFailure},
    request::Target,
};
use tokio::time::Instant;
use tower::{Layer, service_fn};

pub(super) use self::way::NotSent;
use self::{
    credential::Credential,
    describe::Described,
    token::Audience,
    way::{Way, Whereabouts},
};
pub use self::{
    describe::DescribeError,
    location::{CertificateAuthority, EksName, Endpoint, Location, NotAnAuthority, NotAnEksName, NotAnEndpoint},
};
use super::{
    Cluster,
    connection::{NAMESPACE, Purpose, recording},
    reachability::Reachability,
};
use crate::{clock::Clock, retry::CALLS};

/// The most clusters that are remembered, as EKS has described them: more than one account has, as a rule (100 in a region). Beyond
/// that all are asked for anew.
const MAX_DESCRIBED: usize = 200;

/// EKS, with the credentials of this process. Copies share what they know.
#[derive(Clone)]
pub struct Eks {
    sdk: SdkConfig,
    clock: Clock,
    described: Arc<Mutex<ByName>>,
}

/// By region and name.
type ByName = BTreeMap<(String, EksName), Arc<Described>>;

/// A cluster of EKS, as it is configured or asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EksCluster {
    name: EksName,
    region: Option<String>,
    location: Option<Location>,
}

impl EksCluster {
    /// The cluster of that name, in the region of the AWS configuration, where EKS says that it is.
    pub fn named(name: EksName) -> Self {
        Self { name, region: None, location: None }
    }

    /// The same in another region.
    #[must_use]
    pub fn in_region(self, region: impl Into<String>) -> Self {
        Self { region: Some(region.into()), ..self }
    }

    /// The same at a place that is known: EKS is not asked.
    #[must_use]
    pub fn at(self, location: Location) -> Self {
        Self { location: Some(location), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &EksName {
        &self.name
    }
}

/// The AWS configuration lacks something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EksError {
    /// Neither the cluster nor the AWS configuration has one.
    #[error("the region of the EKS cluster {0} is not known: configure it, or set AWS_REGION")]
    NoRegion(EksName),
    /// There is nobody to ask for credentials.
    #[error("there is no provider of AWS credentials for the EKS cluster {0}")]
    NoCredentials(EksName),
}

impl Eks {
    /// EKS, with the credentials, the region and the endpoint of that configuration.
    pub fn new(sdk: &SdkConfig, clock: Clock) -> Self {
        Self { sdk: sdk.clone(), clock, described: Arc::default() }
    }

    /// A cluster of EKS. Nobody is asked yet: one that is not there, or may not be described, is one that cannot be reached.
    pub fn cluster(&self, target: &EksCluster) -> Result<Cluster, EksError> {
        let audience = Audience { cluster: target.name.clone(), region: self.region(target)? };
        let provider = self.sdk.credentials_provider();
        let provider = provider.ok_or_else(|| EksError::NoCredentials(target.name.clone()))?;
        let url = match &target.location {
            Some(location) => location.endpoint.to_string(),
            None => format!("the EKS cluster {} in {}", audience.cluster, audience.region),
        };
        let way = Way::new(self.whereabouts(target)?, Credential::new(provider, audience, self.clock));
        Ok(Cluster::by(&Arc::new(way), url, self.clock))
    }

    /// Where a cluster is: as it is configured, or as `DescribeCluster` says. Asks once, if need be.
    pub async fn locate(&self, target: &EksCluster) -> Result<Arc<Location>, LocateError> {
        let located = self.whereabouts(target)?.location().await;
        Ok(located?)
    }

    /// Whether what a request says of where its cluster is, is so. If not, its task fails with that; so it does if there is no such
    /// cluster. While EKS does not answer, it is asked again, for as long as `patience` lasts.
    pub async fn vouch(&self, cluster: &EksCluster, target: &Target, patience: Duration) -> Result<(), TaskFailure> {
        let end = Instant::now() + patience;
        let mut pauses = CALLS.pauses();
        let location = loop {
            let error = match self.locate(cluster).await {
                Ok(location) => break location,
                Err(error) => error,
            };
            let pause = pauses.next(None);
            if error.is_final() || Instant::now() + pause > end {
                return Err(error.failure());
            }
            tokio::time::sleep(pause).await;
        };
        trust::check(target, &location).map_err(|error| error.failure(&cluster.name))
    }

    fn whereabouts(&self, target: &EksCluster) -> Result<Whereabouts, EksError> {
        if let Some(location) = &target.location {
            return Ok(Whereabouts::Configured(Arc::new(location.clone())));
        }
        let key = (self.region(target)?, target.name.clone());
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if described.len() >= MAX_DESCRIBED && !described.contains_key(&key) {
            described.clear();
        }
        let one = described.entry(key.clone()).or_insert_with(|| {
            let (region, name) = key;
            Arc::new(Described::new(&self.sdk, name, region, self.clock))
        });
        Ok(Whereabouts::Described(one.clone()))
    }

    fn region(&self, target: &EksCluster) -> Result<String, EksError> {
        let region = target.region.clone().or_else(|| self.sdk.region().map(ToString::to_string));
        region.ok_or_else(|| EksError::NoRegion(target.name.clone()))
    }
}

/// It is not known where a cluster is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// There is not enough to ask with.
    #[error(transparent)]
    Configuration(#[from] EksError),
    /// EKS does not say.
    #[error(transparent)]
    Describe(#[from] DescribeError),
}

impl LocateError {
    /// Whether to ask again is pointless, until somebody has changed something.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Configuration(_) => true,
            Self::Describe(error) => error.is_final(),
        }
    }

    /// What a task fails with for it.
    pub fn failure(&self) -> TaskFailure {
        let error = if self.is_final() { ErrorName::ClusterNotAllowed } else { ErrorName::ClusterUnreachable };
        TaskFailure::saying(error, self.to_string())
    }
}

impl Cluster {
    /// The cluster at the end of that way.
    fn by(way: &Arc<Way>, url: String, clock: Clock) -> Self {
        let reachability = Reachability::default();
        let client = |purpose: Purpose| {
            let way = way.clone();
            service_fn(move |request| {
                let way = way.clone();
                async move { way.send(purpose, request).await }
            })
        };
        let api = recording(reachability.clone()).layer(client(Purpose::Api));
        let (api, logs) = (Client::new(api, NAMESPACE), Client::new(client(Purpose::Logs), NAMESPACE));
        Self::with(super::connection::Clients { api, logs }, url, NAMESPACE.to_owned(), reachability, clock)
    }
}
