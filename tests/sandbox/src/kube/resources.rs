//! Resources and their kinds. Any resource is served; the table knows the ones whose spelling cannot be guessed.

use serde_json::Value;

use super::fields;

/// A resource: its API group (empty for the core) and its plural name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) plural: String,
}

/// Where objects of a resource live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespaced,
    Cluster,
}

struct Known {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    scope: Scope,
}

const fn namespaced(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Known {
    Known { group, version, plural, kind, scope: Scope::Namespaced }
}

const fn cluster(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Known {
    Known { group, version, plural, kind, scope: Scope::Cluster }
}

const KNOWN: &[Known] = &[
    namespaced("", "v1", "pods", "Pod"),
    namespaced("", "v1", "events", "Event"),
    namespaced("", "v1", "configmaps", "ConfigMap"),
    namespaced("", "v1", "secrets", "Secret"),
    namespaced("", "v1", "services", "Service"),
    namespaced("", "v1", "serviceaccounts", "ServiceAccount"),
    namespaced("", "v1", "endpoints", "Endpoints"),
    namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    namespaced("", "v1", "resourcequotas", "ResourceQuota"),
    namespaced("", "v1", "limitranges", "LimitRange"),
    cluster("", "v1", "namespaces", "Namespace"),
    cluster("", "v1", "nodes", "Node"),
    cluster("", "v1", "persistentvolumes", "PersistentVolume"),
    namespaced("batch", "v1", "jobs", "Job"),
    namespaced("batch", "v1", "cronjobs", "CronJob"),
    namespaced("coordination.k8s.io", "v1", "leases", "Lease"),
    namespaced("apps", "v1", "deployments", "Deployment"),
    namespaced("apps", "v1", "replicasets", "ReplicaSet"),
    namespaced("apps", "v1", "statefulsets", "StatefulSet"),
    namespaced("apps", "v1", "daemonsets", "DaemonSet"),
    namespaced("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    namespaced("networking.k8s.io", "v1", "ingresses", "Ingress"),
    namespaced("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    namespaced("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    namespaced("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
    cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
];

impl Resource {
    pub(crate) fn new(group: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), plural: plural.to_owned() }
    }

    pub(crate) fn jobs() -> Self {
        Self::new("batch", "jobs")
    }

    pub(crate) fn pods() -> Self {
        Self::new("", "pods")
    }

    pub(crate) fn events() -> Self {
        Self::new("", "events")
    }

    pub(crate) fn namespaces() -> Self {
        Self::new("", "namespaces")
    }

    /// The resource of a test's word: `jobs`, or `leases.coordination.k8s.io`, or one that only its author knows.
    pub(crate) fn named(word: &str) -> Self {
        if let Some((plural, group)) = word.split_once('.') {
            return Self::new(group, plural);
        }
        KNOWN
            .iter()
            .find(|known| known.plural == word)
            .map_or_else(|| Self::new("", word), |known| Self::new(known.group, known.plural))
    }

    /// The resource and scope of an object, by its `apiVersion` and `kind`.
    pub(crate) fn of(object: &Value) -> (Self, Scope) {
        let group = group_of(fields::text(object, "/apiVersion"));
        let kind = fields::text(object, "/kind");
        if let Some(known) = KNOWN.iter().find(|known| known.group == group && known.kind == kind) {
            return (Self::new(known.group, known.plural), known.scope);
        }
        let scope = if fields::namespace(object).is_empty() { Scope::Cluster } else { Scope::Namespaced };
        (Self::new(group, &plural_of(kind)), scope)
    }

    /// `jobs.batch`, or `pods` in the core group.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `batch/v1` of version `v1`, or `v1` in the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The kind of its objects, if the table knows it.
    pub(crate) fn known_kind(&self) -> Option<&'static str> {
        self.known().map(|known| known.kind)
    }

    /// The kind of its objects, guessed from the plural where the table does not know it.
    pub(crate) fn kind(&self) -> String {
        self.known_kind().map_or_else(|| kind_of(&self.plural), str::to_owned)
    }

    /// Where its objects live, if the table knows it.
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.known().map(|known| known.scope)
    }

    fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.group == self.group && known.plural == self.plural)
    }
}

/// Every known group and version, for discovery.
pub(crate) fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<_> = KNOWN.iter().map(|known| (known.group, known.version)).collect();
    groups.dedup();
    groups
}

/// The known resources of a group and version, for discovery: plural, kind, scope.
pub(crate) fn resources(group: &str, version: &str) -> Vec<(&'static str, &'static str, Scope)> {
    KNOWN
        .iter()
        .filter(|known| known.group == group && known.version == version)
        .map(|known| (known.plural, known.kind, known.scope))
        .collect()
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn plural_of(kind: &str) -> String {
    let word = kind.to_lowercase();
    if word.ends_with(['s', 'x']) {
        format!("{word}es")
    } else if let Some(stem) = word.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        format!("{word}s")
    }
}

fn kind_of(plural: &str) -> String {
    let singular = plural
        .strip_suffix("ies")
        .map(|stem| format!("{stem}y"))
        .or_else(|| plural.strip_suffix('s').map(str::to_owned))
        .unwrap_or_else(|| plural.to_owned());
    let mut letters = singular.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_finds_its_resource_by_kind() {
        let (resource, scope) = Resource::of(&json!({"apiVersion": "batch/v1", "kind": "Job"}));
        assert_eq!((resource.qualified().as_str(), scope), ("jobs.batch", Scope::Namespaced));
        let (resource, _) = Resource::of(&json!({"apiVersion": "x.dev/v1", "kind": "Policy"}));
        assert_eq!(resource.qualified(), "policies.x.dev");
        assert_eq!(resource.kind(), "Policy");
    }
}
