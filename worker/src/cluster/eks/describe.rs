//! `DescribeCluster`: where EKS says that a cluster is.

use std::{sync::Arc, time::Duration};

use aws_config::{Region, SdkConfig, retry::RetryConfig};
use aws_sdk_eks::{
    Client,
    config::timeout::TimeoutConfig,
    error::ProvideErrorMetadata,
    types::{Cluster, ClusterStatus},
};
use runjob_core::budget::shortened;

use super::{
    kept::{Dated, Kept},
    location::{EksName, Location},
};
use crate::{clock::Clock, cluster::MAX_CAUSE, error_chain::chain};

/// How long one call may take.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);
/// How long an answer is taken for the truth. A cluster that was made anew has another endpoint and another authority; if the old
/// ones cannot be reached, it is asked sooner.
const BELIEVED: Duration = Duration::from_mins(15);

/// Nobody says where the cluster is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// EKS does not know it.
    #[error("there is no EKS cluster {name} in {region}, in the account of these credentials")]
    NoCluster {
        /// The cluster.
        name: EksName,
        /// The region that was asked.
        region: String,
    },
    /// IAM does not allow to ask.
    #[error(
        "unable to find out where the EKS cluster {name} is: allow eks:DescribeCluster on it, or configure its Endpoint and \
         CertificateAuthority ({reason})"
    )]
    Denied {
        /// The cluster.
        name: EksName,
        /// What AWS says.
        reason: String,
    },
    /// It has no API server, or none any more.
    #[error("the EKS cluster {name} cannot be used: it is {status}, not ACTIVE")]
    Unusable {
        /// The cluster.
        name: EksName,
        /// Its status.
        status: String,
    },
    /// It has no API server yet.
    #[error("the EKS cluster {name} is not ready yet: it is {status}, not ACTIVE")]
    NotReady {
        /// The cluster.
        name: EksName,
        /// Its status.
        status: String,
    },
    /// The answer makes no sense.
    #[error("DescribeCluster does not say where the EKS cluster {name} is: {reason}")]
    Incomplete {
        /// The cluster.
        name: EksName,
        /// What is wrong with the answer.
        reason: String,
    },
    /// It may work later: no connection, no credentials, throttling, an error of the service.
    #[error("unable to describe the EKS cluster {name}: {reason}")]
    Passing {
        /// The cluster.
        name: EksName,
        /// What is the matter.
        reason: String,
    },
}

impl DescribeError {
    /// Whether to ask again is pointless, until somebody has changed something.
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoCluster { .. } | Self::Denied { .. } | Self::Unusable { .. } | Self::Incomplete { .. } => true,
            Self::NotReady { .. } | Self::Passing { .. } => false,
        }
    }
}

/// Where EKS says that one cluster is, and has said so for some minutes.
#[derive(Debug)]
pub(super) struct Described {
    client: Client,
    name: EksName,
    region: String,
    clock: Clock,
    kept: Kept<Location, DescribeError>,
}

impl Described {
    pub(super) fn new(sdk: &SdkConfig, name: EksName, region: String, clock: Clock) -> Self {
        let config = aws_sdk_eks::config::Builder::from(sdk)
            .region(Region::new(region.clone()))
            .timeout_config(TimeoutConfig::builder().operation_timeout(ATTEMPT).build())
            // One policy for retries, this project's own.
            .retry_config(RetryConfig::disabled())
            .build();
        Self { client: Client::from_conf(config), name, region, clock, kept: Kept::default() }
    }

    /// Where the cluster is. While EKS does not answer, it is where it was.
    pub(super) async fn location(&self) -> Result<Arc<Location>, DescribeError> {
        let located = self.kept.get(self.clock, async || self.ask().await).await?;
        Ok(located.value)
    }

    /// It may not be there any more: nothing like it answers.
    pub(super) fn doubt(&self, location: &Arc<Location>) {
        self.kept.doubt(location);
    }

    async fn ask(&self) -> Result<Dated<Location>, DescribeError> {
        let answer = self.client.describe_cluster().name(self.name.as_str()).send().await;
        let answer = answer.map_err(|error| {
            let reason = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                _ => chain(&error),
            };
            sorted(&self.name, &self.region, error.code(), shortened(&reason, MAX_CAUSE))
        })?;
        let location = located(&self.name, answer.cluster())?;
        let date = self.clock.wall();
        let renew = date.saturating_add(BELIEVED).unwrap_or(date);
        Ok(Dated { value: Arc::new(location), date, renew, end: jiff::Timestamp::MAX })
    }
}

/// What an error of that code means.
fn sorted(name: &EksName, region: &str, code: Option<&str>, reason: String) -> DescribeError {
    let name = name.clone();
    match code {
        Some("ResourceNotFoundException") => DescribeError::NoCluster { name, region: region.to_owned() },
        Some("AccessDeniedException" | "AccessDenied") => DescribeError::Denied { name, reason },
        _ => DescribeError::Passing { name, reason },
    }
}

/// Where the answer says that the cluster is.
fn located(name: &EksName, cluster: Option<&Cluster>) -> Result<Location, DescribeError> {
    let incomplete = |reason: String| DescribeError::Incomplete { name: name.clone(), reason };
    let cluster = cluster.ok_or_else(|| incomplete("the answer is empty".to_owned()))?;
    match cluster.status() {
        Some(ClusterStatus::Active | ClusterStatus::Updating) => {}
        Some(status @ (ClusterStatus::Deleting | ClusterStatus::Failed)) => {
            return Err(DescribeError::Unusable { name: name.clone(), status: status.to_string() });
        }
        status => {
            let status = status.map_or("of unknown status", ClusterStatus::as_str).to_owned();
            return Err(DescribeError::NotReady { name: name.clone(), status });
        }
    }
    let endpoint = cluster.endpoint().ok_or_else(|| incomplete("it has no endpoint".to_owned()))?;
    let authority = cluster.certificate_authority().and_then(|authority| authority.data());
    let authority = authority.ok_or_else(|| incomplete("it has no certificate authority".to_owned()))?;
    Ok(Location {
        endpoint: endpoint.parse().map_err(|error: super::location::NotAnEndpoint| incomplete(error.to_string()))?,
        authority: authority.parse().map_err(|error: super::location::NotAnAuthority| incomplete(error.to_string()))?,
    })
}
