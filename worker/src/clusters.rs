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
        Claim, Cluster, ConnectError, Eks, EksCluster, EksError, Location, NotAnAuthority, NotAnEksName, NotAnEndpoint,
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
    /// The file does not have it.
    #[error("there is no such cluster")]
    NotThere,
}

/// A file of clusters, with what it takes to connect to them.
pub struct ClusterFile {
    file: PathBuf,
    entries: BTreeMap<ClusterName, ClusterEntry>,
    /// EKS, as those see it who have assumed a role.
    by_role: BTreeMap<Option<String>, Eks>,
}

/// The clusters that the settings name.
pub async fn find(settings: &JobSettings, sdk: &SdkConfig) -> Result<Choice<Served>, ClustersError> {
    if let Some(file) = &settings.clusters {
        return Ok(Choice::Named(ClusterFile::read(file, sdk, Clock::start()).await?.connect_all().await?));
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

impl ClusterFile {
    /// Reads it. Nobody is asked where the clusters are yet.
    pub async fn read(file: &Path, sdk: &SdkConfig, clock: Clock) -> Result<Self, ClustersError> {
        let unreadable = |source| ClustersError::Unreadable { file: file.to_owned(), source };
        let text = tokio::fs::read_to_string(file).await.map_err(unreadable)?;
        let entries = clusters::parse(&text).map_err(|error| ClustersError::File { file: file.to_owned(), error })?;
        let mut by_role = BTreeMap::new();
        for entry in entries.values() {
            if let Access::Eks(access) = &entry.access
                && !by_role.contains_key(&access.role)
            {
                by_role.insert(access.role.clone(), eks_with(access, sdk, clock).await);
            }
        }
        Ok(Self { file: file.to_owned(), entries, by_role })
    }

    /// The names in it, for requests to choose from.
    pub fn names(&self) -> Choice<ClusterName> {
        Choice::Named(self.entries.keys().map(|name| (name.clone(), name.clone())).collect())
    }

    /// The cluster of that name, with connections of its own.
    pub async fn connect(&self, name: &ClusterName) -> Result<Served, ClustersError> {
        let served = match self.entries.get(name) {
            Some(entry) => self.served(entry).await,
            None => Err(Unusable::NotThere),
        };
        served.map_err(|source| ClustersError::Cluster { name: name.clone(), file: self.file.clone(), source })
    }

    async fn connect_all(&self) -> Result<BTreeMap<ClusterName, Served>, ClustersError> {
        let mut served: BTreeMap<ClusterName, Served> = BTreeMap::new();
        for name in self.entries.keys() {
            let one = self.connect(name).await?;
            if let Some((other, _)) = served.iter().find(|(_, other)| one.is_same_as(other)) {
                let (one, other, url) = (other.clone(), name.clone(), one.cluster.url().to_owned());
                return Err(ClustersError::Same { one, other, file: self.file.clone(), url });
            }
            served.insert(name.clone(), one);
        }
        Ok(served)
    }

    async fn served(&self, entry: &ClusterEntry) -> Result<Served, Unusable> {
        let ClusterEntry { access, namespaces, service_accounts, max_in_flight } = entry;
        let (cluster, eks) = match access {
            Access::InCluster => (Cluster::around()?, None),
            Access::Kubeconfig { file, context } => {
                // As in a kubeconfig, paths begin where the file is.
                let file = file.as_ref().map(|path| self.file.parent().unwrap_or(Path::new("")).join(path));
                (Cluster::find(file.as_deref(), context.as_deref()).await?, None)
            }
            Access::Eks(access) => {
                let target = target(access)?;
                let eks = self.by_role.get(&access.role).ok_or(Unusable::NotThere)?;
                let cluster = eks.cluster(&target)?;
                // Nothing says which namespace is the worker's own, for its Lease. One of those that it serves is one that it may use.
                let cluster = match namespaces.iter().min() {
                    Some(namespace) => cluster.in_namespace(namespace),
                    None => cluster,
                };
                (cluster, Some((eks.clone(), target)))
            }
        };
        let admission = Admission { namespaces: namespaces.clone(), service_accounts: service_accounts.clone() };
        Ok(Served { cluster, admission, max_in_flight: *max_in_flight, eks })
    }
}

impl Served {
    /// A cluster, and what is allowed there.
    pub fn new(cluster: Cluster, admission: Admission) -> Self {
        Self { cluster, admission, max_in_flight: None, eks: None }
    }

    /// A cluster of EKS, and what is allowed there.
    pub fn of_eks(eks: &Eks, target: EksCluster, admission: Admission) -> Result<Self, EksError> {
        let cluster = eks.cluster(&target)?;
        Ok(Self { cluster, admission, max_in_flight: None, eks: Some((eks.clone(), target)) })
    }

    /// Whether what a request says of where its cluster is, is so. Only EKS and what is configured of it say where a cluster is;
    /// of another one, nobody here knows by which addresses it can be reached. `patience`: how long EKS may take to say so.
    pub async fn vouch(&self, target: &Target, patience: Duration) -> Result<(), TaskFailure> {
        let Some((eks, cluster)) = &self.eks else { return Ok(()) };
        let claim = Claim { endpoint: target.endpoint.as_deref(), authority: target.certificate_authority.as_deref() };
        eks.vouch(cluster, claim, patience).await
    }

    fn is_same_as(&self, other: &Self) -> bool {
        let [own, others] = [&self.admission.namespaces, &other.admission.namespaces];
        let overlap = own.is_empty() || others.is_empty() || own.iter().any(|namespace| others.contains(namespace));
        self.cluster.url() == other.cluster.url() && overlap
    }
}

async fn eks_with(access: &EksAccess, sdk: &SdkConfig, clock: Clock) -> Eks {
    let Some(role) = &access.role else { return Eks::new(sdk, clock) };
    let provider = AssumeRoleProvider::builder(role)
        .configure(sdk)
        .region(Region::new(access.region.clone()))
        .session_name(SESSION);
    let provider = SharedCredentialsProvider::new(provider.build().await);
    Eks::new(&sdk.to_builder().credentials_provider(provider).build(), clock)
}

fn target(access: &EksAccess) -> Result<EksCluster, Unusable> {
    let target = EksCluster::named(access.name.parse()?).in_region(access.region.as_str());
    let Some(endpoint) = &access.endpoint else { return Ok(target) };
    let location = Location { endpoint: endpoint.url.parse()?, authority: endpoint.certificate_authority.parse()? };
    Ok(target.at(location))
}
