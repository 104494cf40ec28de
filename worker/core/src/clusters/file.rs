//! The file that names the clusters: YAML, read as strictly as a task's input. What is said twice, or is not known, is refused with
//! its path: a misspelt allow-list must not be one that allows everything.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf};

use serde_json::Value;

use super::{Access, ClusterEntry, ClusterName, EksAccess, EksEndpoint, NotAClusterName};
use crate::{
    fields::Fields,
    invalid::InvalidParameters,
    names::{is_dns_label, is_dns_subdomain},
    yaml,
};

const KNOWN: [&str; 7] = ["inCluster", "kubeconfig", "context", "eks", "namespaces", "serviceAccounts", "maxInFlight"];
const KNOWN_OF_EKS: [&str; 5] = ["name", "region", "endpoint", "certificateAuthority", "role"];
const WAYS: &str = "a way to the cluster: one of inCluster, kubeconfig (or context), eks";

/// The text does not say which clusters there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAClusterFile {
    /// It cannot be read at all.
    #[error("{0}")]
    Yaml(String),
    /// A part of it cannot be taken.
    #[error("{0}")]
    Part(InvalidParameters),
}

impl From<InvalidParameters> for NotAClusterFile {
    fn from(invalid: InvalidParameters) -> Self {
        Self::Part(invalid)
    }
}

/// Reads what a file says of each cluster, by its name.
pub fn parse(text: &str) -> Result<BTreeMap<ClusterName, ClusterEntry>, NotAClusterFile> {
    let value = yaml::read(text).map_err(NotAClusterFile::Yaml)?;
    let top = Fields::of("$", &value)?;
    let mut clusters = BTreeMap::new();
    for (name, value) in top.iter() {
        let path = top.path_of(name);
        let unusable =
            |error: NotAClusterName| InvalidParameters::new(&path, &Value::from(name.as_str()), &error.to_string());
        let cluster: ClusterName = name.parse().map_err(unusable)?;
        clusters.insert(cluster, entry(name, &Fields::of(&path, value)?)?);
    }
    if clusters.is_empty() {
        return Err(InvalidParameters::new("$", &value, "one cluster or more").into());
    }
    Ok(clusters)
}

fn entry(name: &str, fields: &Fields<'_>) -> Result<ClusterEntry, InvalidParameters> {
    refuse_unknown(fields, &KNOWN)?;
    Ok(ClusterEntry {
        access: access(name, fields)?,
        namespaces: names(fields, "namespaces", "a namespace's name: a DNS label", is_dns_label)?,
        service_accounts: names(
            fields,
            "serviceAccounts",
            "a service account's name: lower-case letters, digits, '-' and '.'",
            is_dns_subdomain,
        )?,
        max_in_flight: max_in_flight(fields)?,
    })
}

fn access(name: &str, fields: &Fields<'_>) -> Result<Access, InvalidParameters> {
    let [file, context] = [text(fields, "kubeconfig")?, text(fields, "context")?];
    let mut ways = Vec::new();
    match fields.boolean("inCluster")? {
        None => {}
        Some(true) => ways.push(("inCluster", Access::InCluster)),
        Some(false) => return Err(fields.refuse("inCluster", "true, or no such field")),
    }
    if file.is_some() || context.is_some() {
        let said = if file.is_some() { "kubeconfig" } else { "context" };
        ways.push((
            said,
            Access::Kubeconfig { file: file.map(PathBuf::from), context: context.map(ToOwned::to_owned) },
        ));
    }
    if let Some(eks) = fields.object("eks")? {
        ways.push(("eks", Access::Eks(eks_access(name, &eks)?)));
    }
    let mut ways = ways.into_iter();
    match (ways.next(), ways.next()) {
        (Some((_, way)), None) => Ok(way),
        (Some((first, _)), Some((second, _))) => Err(fields.refuse(second, &format!("no such field beside {first}"))),
        (None, _) => Err(fields.wanting(WAYS)),
    }
}

fn eks_access(name: &str, fields: &Fields<'_>) -> Result<EksAccess, InvalidParameters> {
    refuse_unknown(fields, &KNOWN_OF_EKS)?;
    let url = checked(fields, "endpoint", "a URL that begins with https://", |url| {
        url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
    })?;
    let endpoint = match (url, text(fields, "certificateAuthority")?) {
        (Some(url), Some(authority)) => {
            Some(EksEndpoint { url: url.to_owned(), certificate_authority: authority.to_owned() })
        }
        (None, None) => None,
        (Some(_), None) => return Err(fields.lacking("certificateAuthority", "one beside endpoint")),
        (None, Some(_)) => return Err(fields.lacking("endpoint", "one beside certificateAuthority")),
    };
    let region = checked(fields, "region", "a region such as eu-west-1", is_region)?;
    let role = checked(fields, "role", "the ARN of a role: arn:PARTITION:iam::ACCOUNT:role/NAME", is_role)?;
    Ok(EksAccess {
        name: text(fields, "name")?.unwrap_or(name).to_owned(),
        region: region.ok_or_else(|| fields.lacking("region", "the region of the cluster"))?.to_owned(),
        endpoint,
        role: role.map(ToOwned::to_owned),
    })
}

fn max_in_flight(fields: &Fields<'_>) -> Result<Option<NonZeroU32>, InvalidParameters> {
    let Some(number) = fields.get("maxInFlight") else { return Ok(None) };
    let most = number.as_u64().and_then(|number| NonZeroU32::new(u32::try_from(number).ok()?));
    most.map(Some).ok_or_else(|| fields.refuse("maxInFlight", "a whole number from 1 to 4294967295"))
}

fn refuse_unknown(fields: &Fields<'_>, known: &[&str]) -> Result<(), InvalidParameters> {
    fields.unknown(known).next().map_or(Ok(()), Err)
}

/// A text that says something.
fn text<'a>(fields: &Fields<'a>, name: &str) -> Result<Option<&'a str>, InvalidParameters> {
    checked(fields, name, "a string that is not empty", |text| !text.is_empty())
}

fn checked<'a>(
    fields: &Fields<'a>,
    name: &str,
    expected: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Option<&'a str>, InvalidParameters> {
    match fields.string(name)? {
        Some(text) if !fits(text) => Err(fields.refuse(name, expected)),
        other => Ok(other),
    }
}

/// A list of names. One that is empty could be meant to allow nothing, and would be taken for everything.
fn names(
    fields: &Fields<'_>,
    name: &str,
    expected: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<String>, InvalidParameters> {
    let Some(value) = fields.get(name) else { return Ok(Vec::new()) };
    let items = value.as_array().filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| fields.refuse(name, "a list of one name or more, or no such field"))?;
    let taken = items.iter().enumerate().map(|(place, item)| match item {
        Value::String(text) if fits(text) => Ok(text.clone()),
        other => Err(InvalidParameters::new(&format!("{}[{place}]", fields.path_of(name)), other, expected)),
    });
    taken.collect()
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_role(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, role]
        if !partition.is_empty() && !account.is_empty() && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, ClusterEntry)> {
        parse(text).unwrap().into_iter().map(|(name, entry)| (name.to_string(), entry)).collect()
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    fn an_entry(access: Access) -> ClusterEntry {
        ClusterEntry { access, namespaces: vec![], service_accounts: vec![], max_in_flight: None }
    }

    fn a_kubeconfig(file: Option<&str>, context: Option<&str>) -> Access {
        Access::Kubeconfig { file: file.map(PathBuf::from), context: context.map(str::to_owned) }
    }

    #[test]
    fn each_cluster_has_its_way_and_its_limits() {
        let text = "
            here: {inCluster: true, namespaces: [batch], serviceAccounts: [runner, job.runner], maxInFlight: 20}
            hall: {kubeconfig: hall.yaml, context: admin@hall}
            desk: {context: kind}
            shed: {kubeconfig: /etc/shed}
        ";
        let here = ClusterEntry {
            namespaces: vec!["batch".to_owned()],
            service_accounts: vec!["runner".to_owned(), "job.runner".to_owned()],
            max_in_flight: NonZeroU32::new(20),
            ..an_entry(Access::InCluster)
        };
        let expected = [
            ("desk", an_entry(a_kubeconfig(None, Some("kind")))),
            ("hall", an_entry(a_kubeconfig(Some("hall.yaml"), Some("admin@hall")))),
            ("here", here),
            ("shed", an_entry(a_kubeconfig(Some("/etc/shed"), None))),
        ];
        assert_eq!(entries(text), expected.map(|(name, entry)| (name.to_owned(), entry)));
    }

    #[test]
    fn a_cluster_of_eks_is_described_or_asked_for() {
        let text = "
            prod:
              eks: {region: eu-west-1}
            old:
              eks:
                name: prod
                region: cn-north-1
                endpoint: https://ABC.gr7.cn-north-1.eks.amazonaws.com.cn
                certificateAuthority: LS0t
                role: arn:aws-cn:iam::123456789012:role/path/jobs
        ";
        let prod = EksAccess { name: "prod".to_owned(), region: "eu-west-1".to_owned(), endpoint: None, role: None };
        let old = EksAccess {
            name: "prod".to_owned(),
            region: "cn-north-1".to_owned(),
            endpoint: Some(EksEndpoint {
                url: "https://ABC.gr7.cn-north-1.eks.amazonaws.com.cn".to_owned(),
                certificate_authority: "LS0t".to_owned(),
            }),
            role: Some("arn:aws-cn:iam::123456789012:role/path/jobs".to_owned()),
        };
        let [old, prod] = [old, prod].map(|eks| an_entry(Access::Eks(eks)));
        assert_eq!(entries(text), [("old".to_owned(), old), ("prod".to_owned(), prod)]);
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_its_path() {
        let ways = "a way to the cluster: one of inCluster, kubeconfig (or context), eks";
        let name = "a cluster's name: 1 to 256 characters, none of them a space or a control character";
        let list = "a list of one name or more, or no such field";
        let table = [
            ("", "$: expected an object, found null".to_owned()),
            ("{}", "$: expected one cluster or more, found an object of 0 fields".to_owned()),
            ("[a]", "$: expected an object, found a list of 1".to_owned()),
            ("a: {inCluster: true", "line 1 column 4: unclosed bracket '{'".to_owned()),
            ("a: {inCluster: true}\na: {inCluster: true}", "line 2 column 1: duplicate mapping key: a".to_owned()),
            ("a b: {inCluster: true}", format!("$[\"a b\"]: expected {name}, found the string \"a b\"")),
            ("a:", "$.a: expected an object, found null".to_owned()),
            ("a: {}", format!("$.a: expected {ways}, found an object of 0 fields")),
            ("a: {namespaces: [x]}", format!("$.a: expected {ways}, found an object of 1 fields")),
            ("a-1: {inCluster: false}", "$[\"a-1\"].inCluster: expected true, or no such field, found the boolean false".to_owned()),
            ("a: {inCluster: 1}", "$.a.inCluster: expected true or false, found the number 1".to_owned()),
            ("a: {inCluster: true, context: x}", "$.a.context: expected no such field beside inCluster, found the string \"x\"".to_owned()),
            (
                "a: {kubeconfig: x, eks: {region: eu-west-1}}",
                "$.a.eks: expected no such field beside kubeconfig, found an object of 1 fields".to_owned(),
            ),
            ("a: {kubeconfig: ''}", "$.a.kubeconfig: expected a string that is not empty, found the string \"\"".to_owned()),
            ("a: {inCluster: true, namespace: [x]}", "$.a.namespace: expected no such field, found a list of 1; did you mean namespaces?".to_owned()),
            ("a: {inCluster: true, namespaces: x}", format!("$.a.namespaces: expected {list}, found the string \"x\"")),
            ("a: {inCluster: true, namespaces: []}", format!("$.a.namespaces: expected {list}, found a list of 0")),
            (
                "a: {inCluster: true, namespaces: [x, X]}",
                "$.a.namespaces[1]: expected a namespace's name: a DNS label, found the string \"X\"".to_owned(),
            ),
            (
                "a: {inCluster: true, serviceAccounts: [7]}",
                "$.a.serviceAccounts[0]: expected a service account's name: lower-case letters, digits, '-' and '.', found the number 7".to_owned(),
            ),
            ("a: {inCluster: true, maxInFlight: 0}", "$.a.maxInFlight: expected a whole number from 1 to 4294967295, found the number 0".to_owned()),
            ("a: {inCluster: true, maxInFlight: 4294967296}", "$.a.maxInFlight: expected a whole number from 1 to 4294967295, found the number 4294967296".to_owned()),
            ("a: {eks: {}}", "$.a.eks.region: expected the region of the cluster, found nothing".to_owned()),
            ("a: {eks: {region: EU}}", "$.a.eks.region: expected a region such as eu-west-1, found the string \"EU\"".to_owned()),
            (
                "a: {eks: {region: eu-west-1, regoin: x}}",
                "$.a.eks.regoin: expected no such field, found the string \"x\"; did you mean region?".to_owned(),
            ),
            (
                "a: {eks: {region: eu-west-1, endpoint: 'http://x', certificateAuthority: x}}",
                "$.a.eks.endpoint: expected a URL that begins with https://, found the string \"http://x\"".to_owned(),
            ),
            (
                "a: {eks: {region: eu-west-1, endpoint: 'https://x'}}",
                "$.a.eks.certificateAuthority: expected one beside endpoint, found nothing".to_owned(),
            ),
            (
                "a: {eks: {region: eu-west-1, certificateAuthority: x}}",
                "$.a.eks.endpoint: expected one beside certificateAuthority, found nothing".to_owned(),
            ),
            (
                "a: {eks: {region: eu-west-1, role: jobs}}",
                "$.a.eks.role: expected the ARN of a role: arn:PARTITION:iam::ACCOUNT:role/NAME, found the string \"jobs\"".to_owned(),
            ),
        ];
        for (text, message) in table {
            assert_eq!(refused(text), message, "{text}");
        }
    }
}
