//! The clusters that are served: what is said of each, and which of them a request means.
//!
//! A request never says where a cluster is: it names one, and where that is stands in what whoever runs this has written.

mod file;

use std::{collections::BTreeMap, fmt, num::NonZeroU32, path::PathBuf, str::FromStr};

pub use file::{NotAClusterFile, parse};

use crate::failure::{ErrorName, TaskFailure};

/// The longest name of a cluster, in characters. The ARN of an EKS cluster, which is what its kubeconfig calls it, has 176 at most.
const MAX_NAME: usize = 256;

/// What requests call a cluster, in `ClusterName`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

/// The text cannot be a cluster's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's name: 1 to {MAX_NAME} characters, none of them a space or a control character")]
pub struct NotAClusterName;

/// What is said of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterEntry {
    /// The way to it.
    pub access: Access,
    /// The namespaces that requests may use there. None: every one that RBAC allows.
    pub namespaces: Vec<String>,
    /// The service accounts that pods may run as there. None: every one.
    pub service_accounts: Vec<String>,
    /// The most Jobs at a time there, if that is said.
    pub max_in_flight: Option<NonZeroU32>,
}

/// The way to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The service account of the pod that this runs in.
    InCluster,
    /// A context of a kubeconfig.
    Kubeconfig {
        /// The file. `None`: where kubectl looks for it.
        file: Option<PathBuf>,
        /// `None`: its current one.
        context: Option<String>,
    },
    /// A cluster of EKS, with AWS credentials.
    Eks(EksAccess),
}

/// A cluster of EKS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EksAccess {
    /// What EKS calls it.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// Where its API is. `None`: EKS is asked.
    pub endpoint: Option<EksEndpoint>,
    /// The role that is assumed for it. `None`: the credentials are used as they are.
    pub role: Option<String>,
}

/// Where the API of a cluster of EKS is, and who vouches for it: what `eks:DescribeCluster` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EksEndpoint {
    /// Its URL.
    pub url: String,
    /// The PEM of its certificate authority, in base64.
    pub certificate_authority: String,
}

/// What requests choose from by `ClusterName`.
#[derive(Debug, Clone)]
pub enum Choice<T> {
    /// There is one, and it has no name: whatever requests call it.
    Only(T),
    /// Each goes by its name.
    Named(BTreeMap<ClusterName, T>),
}

impl ClusterName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = NotAClusterName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_NAME).contains(&text.chars().count());
        let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if fits && is_plain { Ok(Self(text.to_owned())) } else { Err(NotAClusterName) }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T> Choice<T> {
    /// The one that a request means which says `named` in `ClusterName`. Saying nothing is enough where there is one.
    pub fn of(&self, named: Option<&str>) -> Result<&T, TaskFailure> {
        let clusters = match self {
            Self::Only(only) => return Ok(only),
            Self::Named(clusters) => clusters,
        };
        let found = match named {
            Some(named) => clusters.iter().find(|(name, _)| name.as_str() == named).map(|(_, cluster)| cluster),
            None if clusters.len() == 1 => clusters.values().next(),
            None => None,
        };
        found.ok_or_else(|| refusal(named, clusters))
    }

    /// Makes something of each. What has no name says so.
    pub fn map<U>(&self, mut make: impl FnMut(Option<&ClusterName>, &T) -> U) -> Choice<U> {
        match self {
            Self::Only(only) => Choice::Only(make(None, only)),
            Self::Named(clusters) => {
                let each = clusters.iter().map(|(name, cluster)| (name.clone(), make(Some(name), cluster)));
                Choice::Named(each.collect())
            }
        }
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        let (only, named) = match self {
            Self::Only(only) => (Some(only), None),
            Self::Named(clusters) => (None, Some(clusters.values())),
        };
        only.into_iter().chain(named.into_iter().flatten())
    }
}

fn refusal<T>(named: Option<&str>, clusters: &BTreeMap<ClusterName, T>) -> TaskFailure {
    let asked = match named {
        Some(named) => format!("ClusterName is \"{named}\""),
        None => "the request has no ClusterName".to_owned(),
    };
    let served: Vec<String> = clusters.keys().map(|name| format!("\"{name}\"")).collect();
    let message = format!("{asked}, and the clusters served here are {}", served.join(", "));
    TaskFailure::saying(ErrorName::ClusterNotAllowed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(names: &[&str]) -> Choice<String> {
        Choice::Named(names.iter().map(|name| (name.parse().unwrap(), (*name).to_owned())).collect())
    }

    fn refused(choice: &Choice<String>, named: Option<&str>) -> String {
        let failure = choice.of(named).unwrap_err();
        assert_eq!(failure.error, ErrorName::ClusterNotAllowed);
        failure.message().to_owned()
    }

    #[test]
    fn one_without_a_name_serves_every_request() {
        let only = Choice::Only("it");
        assert_eq!([None, Some("x")].map(|named| *only.of(named).unwrap()), ["it", "it"]);
    }

    #[test]
    fn a_request_chooses_by_name() {
        assert_eq!(choice(&["a", "b"]).of(Some("b")).unwrap(), "b");
    }

    #[test]
    fn the_name_may_be_left_out_where_there_is_one() {
        assert_eq!(choice(&["a"]).of(None).unwrap(), "a");
        let several = "the request has no ClusterName, and the clusters served here are \"a\", \"b\"";
        assert_eq!(refused(&choice(&["b", "a"]), None), several);
    }

    #[test]
    fn another_name_is_refused_with_those_that_there_are() {
        let message = "ClusterName is \"B\", and the clusters served here are \"a\", \"b\"";
        assert_eq!(refused(&choice(&["a", "b"]), Some("B")), message);
        assert_eq!(refused(&choice(&["a"]), Some("")), "ClusterName is \"\", and the clusters served here are \"a\"");
    }

    #[test]
    fn names_are_what_can_be_read_in_a_line() {
        for name in ["prod", "arn:aws:eks:eu-west-1:123456789012:cluster/prod", "admin@here", "Größe", &"x".repeat(256)]
        {
            assert_eq!(name.parse::<ClusterName>().unwrap().as_str(), name);
        }
        for text in ["", " ", "a b", "a\n", "\u{7f}", &"x".repeat(257)] {
            assert_eq!(text.parse::<ClusterName>(), Err(NotAClusterName), "{text:?}");
        }
    }
}
