//! The clusters that are served, as the flags or a file have them: each with its way to it and with what is allowed there.
//!
//! Nobody is asked yet. A cluster that is not there is one that does not answer, and disturbs no other; one whose configuration
//! cannot be right is an error at once.

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::provider::SharedCredentialsProvider;
use runjob_core::{
    clusters::{self, Access, Choice, ClusterEntry, ClusterName, EksAccess, NotAClusterFile},
    failure::TaskFailure,
    request::Target,
};

use crate::{
    clock::Clock,
    cluster::{
        Cluster, ConnectError, Eks, EksCluster, EksError, Location, NotAnAuthority, NotAnEksName, NotAnEndpoint,
    },
    settings::JobSettings,
    starter::Admission,
};

/// What the sessions of assumed roles are called, in `CloudTrail`.
const SESSION: &str = "runjob";

/// A cluster that is served.
#[derive(Clone)]
pub struct Served {
    /// The cluster.
    pub cluster: Cluster,
    /// What requests may ask for there.
    pub admission: Admission,
    /// The most Jobs at a time there, if that is said of this cluster.
    pub max_in_flight: Option<NonZeroU32>,
    /// Who knows where it is, if it is one of EKS.
    eks: Option<(Eks, EksCluster)>,
}

/// The clusters cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ClustersError {
    /// The one of the flags cannot.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The file that names them cannot be read.
    #[error("unable to read the clusters from {}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A part of it cannot be taken.
    #[error("unable to take the clusters from {}: {error}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Which part, and why not.
        error: NotAClusterFile,
    },
    /// There is no way to one of them.
    #[error("unable to use the cluster \"{name}\" of {}", .file.display())]
    Cluster {
        /// Its name.
        name: ClusterName,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: Unusable,
    },
    /// Two of them are one: each Job would be answered twice.
    #[error(
        "the clusters \"{one}\" and \"{other}\" of {} are both at {url} and have namespaces in common: \
         make them one, or give them namespaces of their own",
        .file.display()
    )]
    Same {
        /// The first.
        one: ClusterName,
        /// The second.
        other: ClusterName,
        /// The file.
        file: PathBuf,
        /// Where both are.
        url: String,
    },
}

/// What is said of a cluster leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The kubeconfig, or the service account of the pod.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// `eks.name`, or the cluster's own name without it.
    #[error(transparent)]
    Name(#[from] NotAnEksName),
    /// `eks.endpoint`.
    #[error(transparent)]
    Endpoint(#[from] NotAnEndpoint),
    /// `eks.certificateAuthority`.
    #[error(transparent)]
    Authority(#[from] NotAnAuthority),
    /// The AWS configuration lacks something.
    #[error(transparent)]
    Aws(#[from] EksError),
}

/// The clusters that the settings name.
pub async fn find(settings: &JobSettings, sdk: &SdkConfig) -> Result<Choice<Served>, ClustersError> {
    if let Some(file) = &settings.clusters {
        return Ok(Choice::Named(of_file(file, sdk).await?));
    }
    let cluster = Cluster::find(settings.kubeconfig.as_deref(), settings.context.as_deref()).await?;
    Ok(of_flags(settings, cluster))
}

/// The one cluster that there is without a file.
pub fn of_flags(settings: &JobSettings, cluster: Cluster) -> Choice<Served> {
    let served = Served::new(cluster, settings.admission());
    match &settings.cluster_name {
        Some(name) => Choice::Named(BTreeMap::from([(name.clone(), served)])),
        None => Choice::Only(served),
    }
}

async fn of_file(file: &Path, sdk: &SdkConfig) -> Result<BTreeMap<ClusterName, Served>, ClustersError> {
    let unreadable = |source| ClustersError::Unreadable { file: file.to_owned(), source };
    let text = tokio::fs::read_to_string(file).await.map_err(unreadable)?;
    let entries = clusters::parse(&text).map_err(|error| ClustersError::File { file: file.to_owned(), error })?;
    let mut connecting = Connecting { file, sdk, clock: Clock::start(), by_role: BTreeMap::new() };
    let mut served: BTreeMap<ClusterName, Served> = BTreeMap::new();
    for (name, entry) in &entries {
        let unusable = |source| ClustersError::Cluster { name: name.clone(), file: file.to_owned(), source };
        let one = connecting.serve(entry).await.map_err(unusable)?;
        let is_same = |(other, there): &(&ClusterName, &Served)| {
            one.is_same_as(there) && !entries.get(*other).is_some_and(|other| are_of_different_accounts(entry, other))
        };
        if let Some((other, _)) = served.iter().find(is_same) {
            let (one, other, url) = (other.clone(), name.clone(), one.cluster.url().to_owned());
            return Err(ClustersError::Same { one, other, file: file.to_owned(), url });
        }
        served.insert(name.clone(), one);
    }
    Ok(served)
}

/// Whether both are clusters that nothing but EKS knows the place of, and two roles see different ones.
fn are_of_different_accounts(one: &ClusterEntry, other: &ClusterEntry) -> bool {
    match (&one.access, &other.access) {
        (Access::Eks(one), Access::Eks(other)) => {
            one.endpoint.is_none() && other.endpoint.is_none() && one.role != other.role
        }
        _ => false,
    }
}

/// Makes clusters of what a file says of them.
struct Connecting<'a> {
    /// Paths in it begin where it is.
    file: &'a Path,
    sdk: &'a SdkConfig,
    clock: Clock,
    /// EKS, as those see it who have assumed a role.
    by_role: BTreeMap<Option<String>, Eks>,
}

impl Connecting<'_> {
    async fn serve(&mut self, entry: &ClusterEntry) -> Result<Served, Unusable> {
        let ClusterEntry { access, namespaces, service_accounts, max_in_flight } = entry;
        let (cluster, eks) = match access {
            Access::InCluster => (Cluster::around().await?, None),
            Access::Kubeconfig { file, context } => {
                let file = file.as_ref().map(|path| self.file.parent().unwrap_or(Path::new("")).join(path));
                (Cluster::find(file.as_deref(), context.as_deref()).await?, None)
            }
            Access::Eks(access) => {
                let (target, eks) = (target(access)?, self.eks(access).await);
                (cluster_of_eks(&eks, &target, namespaces)?, Some((eks, target)))
            }
        };
        let admission = Admission { namespaces: namespaces.clone(), service_accounts: service_accounts.clone() };
        Ok(Served { cluster, admission, max_in_flight: *max_in_flight, eks })
    }

    async fn eks(&mut self, access: &EksAccess) -> Eks {
        if let Some(known) = self.by_role.get(&access.role) {
            return known.clone();
        }
        let eks = match &access.role {
            None => Eks::new(self.sdk, self.clock),
            Some(role) => {
                let provider = AssumeRoleProvider::builder(role)
                    .configure(self.sdk)
                    .region(Region::new(access.region.clone()))
                    .session_name(SESSION);
                let provider = SharedCredentialsProvider::new(provider.build().await);
                Eks::new(&self.sdk.to_builder().credentials_provider(provider).build(), self.clock)
            }
        };
        self.by_role.insert(access.role.clone(), eks.clone());
        eks
    }
}

impl Served {
    /// A cluster, and what is allowed there.
    pub fn new(cluster: Cluster, admission: Admission) -> Self {
        Self { cluster, admission, max_in_flight: None, eks: None }
    }

    /// A cluster of EKS, and what is allowed there.
    pub fn of_eks(eks: &Eks, target: EksCluster, admission: Admission) -> Result<Self, EksError> {
        let cluster = cluster_of_eks(eks, &target, &admission.namespaces)?;
        Ok(Self { cluster, admission, max_in_flight: None, eks: Some((eks.clone(), target)) })
    }

    /// Whether what a request says of where its cluster is, is so. Only EKS and what is configured of it say where a cluster is;
    /// of another one, nobody here knows by which addresses it can be reached. `patience`: how long EKS may take to say so.
    pub async fn vouch(&self, target: &Target, patience: Duration) -> Result<(), TaskFailure> {
        let Some((eks, cluster)) = &self.eks else { return Ok(()) };
        eks.vouch(cluster, target, patience).await
    }

    fn is_same_as(&self, other: &Self) -> bool {
        let [own, others] = [&self.admission.namespaces, &other.admission.namespaces];
        let overlap = own.is_empty() || others.is_empty() || own.iter().any(|namespace| others.contains(namespace));
        self.cluster.url() == other.cluster.url() && overlap
    }
}

/// Nothing says which namespace is the worker's own, for its Lease. One of those that it serves is one that it may use.
fn cluster_of_eks(eks: &Eks, target: &EksCluster, namespaces: &[String]) -> Result<Cluster, EksError> {
    let cluster = eks.cluster(target)?;
    Ok(match namespaces.iter().min() {
        Some(namespace) => cluster.in_namespace(namespace),
        None => cluster,
    })
}

fn target(access: &EksAccess) -> Result<EksCluster, Unusable> {
    let target = EksCluster::named(access.name.parse()?).in_region(access.region.as_str());
    let Some(endpoint) = &access.endpoint else { return Ok(target) };
    let location = Location { endpoint: endpoint.url.parse()?, authority: endpoint.certificate_authority.parse()? };
    Ok(target.at(location))
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;
    use aws_credential_types::Credentials;

    use super::*;

    /// The clusters of a file with that text.
    async fn served(label: &str, text: &str) -> Result<BTreeMap<ClusterName, Served>, ClustersError> {
        let file = std::env::temp_dir().join(format!("runjob-clusters-{label}-{}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let credentials = Credentials::new("key", "secret", None, None, "test");
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials));
        let served = of_file(&file, &sdk.load().await).await;
        std::fs::remove_file(&file).unwrap();
        served
    }

    #[tokio::test]
    async fn a_cluster_of_eks_is_named_in_its_region_and_has_its_lease_where_it_may() {
        let text = "
            prod: {eks: {region: eu-west-1}, namespaces: [reports, batch], maxInFlight: 7}
            other: {eks: {name: prod, region: eu-central-1}}
        ";
        let served = served("eks", text).await.unwrap();
        let each: Vec<_> = served.values().map(|one| (one.cluster.url(), one.cluster.namespace())).collect();
        let [other, prod] =
            [("the EKS cluster prod in eu-central-1", "default"), ("the EKS cluster prod in eu-west-1", "batch")];
        assert_eq!(each, [other, prod]);
        let limits: Vec<_> = served.values().map(|one| one.max_in_flight.map(NonZeroU32::get)).collect();
        assert_eq!(limits, [None, Some(7)]);
    }

    #[tokio::test]
    async fn two_that_are_one_are_refused_unless_they_share_no_namespace_or_are_of_two_accounts() {
        let one = "one: {eks: {name: prod, region: eu-west-1}, namespaces: [a, b]}";
        for (other, is_one) in [
            ("other: {eks: {name: prod, region: eu-west-1}}", true),
            ("other: {eks: {name: prod, region: eu-west-1}, namespaces: [b]}", true),
            ("other: {eks: {name: prod, region: eu-west-1}, namespaces: [c]}", false),
            ("other: {eks: {name: prod, region: eu-west-1, role: 'arn:aws:iam::999999999999:role/jobs'}}", false),
            ("other: {eks: {name: prod, region: eu-west-2}}", false),
        ] {
            let refused = served("one", &format!("{one}\n{other}")).await.err();
            assert_eq!(matches!(refused, Some(ClustersError::Same { .. })), is_one, "{other}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_named_with_its_cluster_and_its_reason() {
        for (text, reason) in [
            ("a b: {}", "$[\"a b\"]: expected a cluster's name"),
            ("a: {eks: {name: p/q, region: eu-west-1}}", "\"p/q\" is not the name of an EKS cluster"),
            (
                "a: {eks: {region: eu-west-1, endpoint: 'https://x/y', certificateAuthority: x}}",
                "\"https://x/y\" is not an endpoint",
            ),
            (
                "a: {eks: {region: eu-west-1, endpoint: 'https://x', certificateAuthority: x}}",
                "not a certificate authority",
            ),
            ("a: {kubeconfig: nobody-has-it}", "unable to find out where the cluster is"),
        ] {
            let error = anyhow::Error::from(served("reason", text).await.err().unwrap());
            let chain = format!("{error:#}");
            assert!(chain.contains(reason), "{text}: {chain}");
        }
    }
}
