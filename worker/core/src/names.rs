//! Names: of a group of workers, of a namespace, of a Job.

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::owner::{OwnerKey, short_hash};

/// A Job's name becomes a label value on its pods, and label values have at most 63 characters.
pub const MAX_JOB_NAME: usize = 63;

/// The workers that share a watch: the value of the label `runjob/group`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(String);

/// The text cannot be a label value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" cannot name a group: a label value has 1 to 63 of a-z, A-Z, 0-9, '-', '_' and '.', and begins and ends with a letter or digit"
)]
pub struct NotAGroup {
    text: String,
}

impl Group {
    /// The group that workers of one account and region share when none is given. There is no default that two
    /// accounts could share by accident: each would find the other's Jobs.
    pub fn of_account(account: &str, region: &str) -> Result<Self, NotAGroup> {
        format!("{account}.{region}").parse()
    }

    /// The label's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Group {
    type Err = NotAGroup;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let fits = text.len() <= MAX_JOB_NAME
            && ends(text.chars().next())
            && ends(text.chars().last())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotAGroup { text: text.to_owned() }) }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the Lease that the workers of a group share which serve the same namespaces; none: all of them. Others of the
/// group have a Lease of their own: what one does not watch, it could not act for.
pub fn lease_name<'a>(group: &Group, namespaces: impl IntoIterator<Item = &'a str>) -> String {
    let namespaces: BTreeSet<&str> = namespaces.into_iter().collect();
    let plain = format!("runjob-{group}");
    if namespaces.is_empty() && is_dns_subdomain(&plain) {
        return plain;
    }
    // A group may have letters that a Lease's name may not.
    let group_part: String =
        group.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let parts: Vec<&str> = std::iter::once(group.as_str()).chain(namespaces).collect();
    format!("runjob-{group_part}-{}", short_hash(&parts.join("/")))
}

/// Where a Job lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How the user's manifest names the Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// `metadata.name`.
    Given(String),
    /// `metadata.generateName`: resolved by `runjob`, so that a repeated create cannot make a second Job.
    Prefix(String),
    /// Neither.
    Absent,
}

impl Naming {
    /// The Job's name. Always the same for the same owner. `room` is what an Indexed Job's pods put behind it.
    pub fn resolve(&self, owner: &OwnerKey, room: usize) -> String {
        let prefix = match self {
            Self::Given(name) => return name.clone(),
            Self::Prefix(prefix) => prefix.as_str(),
            Self::Absent => "runjob-",
        };
        let suffix = owner.name_suffix();
        let keep = MAX_JOB_NAME.saturating_sub(suffix.len() + room);
        let prefix: String = prefix.chars().take(keep).collect();
        format!("{prefix}{suffix}")
    }
}

/// Whether `text` is a DNS label (RFC 1123) as Kubernetes demands of a namespace.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether `text` is a DNS subdomain (RFC 1123): labels with dots between them, as Kubernetes demands of a Job's name.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TaskToken;

    fn owner() -> OwnerKey {
        OwnerKey::of_task(&TaskToken::new("a token").unwrap())
    }

    #[test]
    fn a_given_name_is_kept() {
        assert_eq!(Naming::Given("my-eks-job".into()).resolve(&owner(), 0), "my-eks-job");
    }

    #[test]
    fn a_generated_name_is_the_same_for_the_same_owner() {
        let naming = Naming::Prefix("report-".into());
        assert_eq!(naming.resolve(&owner(), 0), naming.resolve(&owner(), 0));
        assert!(naming.resolve(&owner(), 0).starts_with("report-"));
    }

    #[test]
    fn a_long_prefix_is_cut_so_that_the_name_fits() {
        let name = Naming::Prefix("x".repeat(80)).resolve(&owner(), 0);
        assert_eq!(name.len(), MAX_JOB_NAME);
        assert!(is_dns_label(&name));
        assert_eq!(Naming::Prefix("x".repeat(80)).resolve(&owner(), 4).len(), MAX_JOB_NAME - 4);
    }

    #[test]
    fn a_job_without_a_name_gets_one() {
        let name = Naming::Absent.resolve(&owner(), 0);
        assert!(name.starts_with("runjob-") && is_dns_label(&name), "{name}");
    }

    #[test]
    fn workers_of_one_group_and_the_same_namespaces_share_a_lease() {
        let name = |group: &str, namespaces: &[&str]| {
            let name = lease_name(&group.parse().unwrap(), namespaces.iter().copied());
            assert!(is_dns_subdomain(&name), "{name}");
            name
        };
        assert_eq!(name("123456789012.eu-west-1", &[]), "runjob-123456789012.eu-west-1");
        assert_eq!(name("g", &["a", "b"]), name("g", &["b", "a", "a"]));
        let others =
            [name("g", &[]), name("g", &["a"]), name("g", &["b"]), name("G", &[]), name("g_g", &[]), name("g-g", &[])];
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
    }

    #[test]
    fn a_group_is_a_label_value() {
        assert!(Group::of_account("123456789012", "eu-west-1").is_ok());
        for text in ["", "-a", "a b", &"x".repeat(64)] {
            assert!(text.parse::<Group>().is_err(), "{text}");
        }
    }
}
