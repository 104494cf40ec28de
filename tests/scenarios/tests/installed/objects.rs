//! Which objects there are in the cluster, of every kind that can be listed and deleted.

use std::collections::BTreeSet;

use crate::bed::Bed;

/// Of these there are ever more, whoever does what.
const PASSING: [&str; 2] = ["events", "events.events.k8s.io"];
/// What the namespaces of Kubernetes itself begin with: what its components keep there, a node's `Lease` for one, comes and goes as they
/// start and stop.
const OF_KUBERNETES: &str = "kube-";

#[derive(Debug)]
pub(crate) struct Objects(BTreeSet<String>);

impl Objects {
    /// Those that are there now.
    pub(crate) fn present(bed: &Bed) -> Self {
        let kinds = bed.kubectl("api-resources --verbs=list,delete --output name");
        let kinds: Vec<_> = kinds.lines().filter(|kind| !PASSING.contains(kind)).collect();
        let objects = bed.kubectl(&format!(
            "get {} --all-namespaces --ignore-not-found --output \
             'jsonpath={{range .items[*]}}{{.metadata.namespace}}/{{.metadata.name}} {{.kind}}{{\"\\n\"}}{{end}}'",
            kinds.join(",")
        ));
        Self(objects.lines().filter(|object| !object.starts_with(OF_KUBERNETES)).map(ToOwned::to_owned).collect())
    }

    /// Nothing has come, and nothing has gone.
    pub(crate) fn assert_same(&self, after: &Self) {
        let come: Vec<_> = after.0.difference(&self.0).collect();
        let gone: Vec<_> = self.0.difference(&after.0).collect();
        assert!(come.is_empty() && gone.is_empty(), "come: {come:?}, gone: {gone:?}");
    }
}
