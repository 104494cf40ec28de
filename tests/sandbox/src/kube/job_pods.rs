//! The pods of a Job: built from its template, and their completion indexes.

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};

use super::{
    fields::{self, put},
    store::Key,
};

/// The finalizer that keeps a pod until its Job has counted it.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The annotation and label that hold a pod's completion index.
pub(crate) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The pod that a Job needs, of that index if it has indexes.
pub(crate) fn pod(job: &Value, index: Option<u32>) -> Value {
    let name = fields::name(job);
    let mut pod =
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}, "spec": fields::at(job, "/spec/template/spec")});
    for field in ["labels", "annotations"] {
        if let Some(values) = job.pointer(&format!("/spec/template/metadata/{field}")).filter(|value| value.is_object())
        {
            put(&mut pod, &["metadata", field], values.clone());
        }
    }
    let base = match index {
        Some(index) => format!("{name}-{index}-"),
        None => format!("{name}-"),
    };
    put(&mut pod, &["metadata", "generateName"], base);
    put(&mut pod, &["metadata", "finalizers"], json!([TRACKING]));
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": fields::uid(job),
        "controller": true, "blockOwnerDeletion": true}]);
    put(&mut pod, &["metadata", "ownerReferences"], owner);
    if let Some(index) = index {
        let text = index.to_string();
        put(&mut pod, &["metadata", "labels", INDEX], text.as_str());
        put(&mut pod, &["metadata", "annotations", INDEX], text.as_str());
        put(&mut pod, &["spec", "hostname"], format!("{name}-{index}"));
        for list in ["initContainers", "containers"] {
            for container in
                pod.get_mut("spec").and_then(|spec| spec.get_mut(list)?.as_array_mut()).into_iter().flatten()
            {
                let source = json!({"fieldRef": {"fieldPath": format!("metadata.annotations['{INDEX}']")}});
                let mut env = fields::list(container, "/env").to_vec();
                env.push(json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": source}));
                put(container, &["env"], env);
            }
        }
    }
    pod
}

/// A pod of the Job, and where it is.
#[derive(Debug)]
pub(crate) struct JobPod<'a> {
    pub(crate) key: &'a Key,
    pub(crate) object: &'a Value,
}

impl JobPod<'_> {
    pub(crate) fn phase(&self) -> &str {
        fields::text(self.object, "/status/phase")
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    pub(crate) fn is_going(&self) -> bool {
        fields::is_going(self.object)
    }

    pub(crate) fn is_tracked(&self) -> bool {
        fields::list(self.object, "/metadata/finalizers").iter().any(|one| one == TRACKING)
    }

    pub(crate) fn is_ready(&self) -> bool {
        fields::list(self.object, "/status/conditions")
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }

    pub(crate) fn restarts(&self) -> i64 {
        ["/status/initContainerStatuses", "/status/containerStatuses"]
            .into_iter()
            .flat_map(|list| fields::list(self.object, list))
            .filter_map(|container| fields::integer(container, "/restartCount"))
            .sum()
    }

    pub(crate) fn index(&self) -> Option<u32> {
        fields::map(self.object, "/metadata/annotations")?.get(INDEX)?.as_str()?.parse().ok()
    }
}

/// A set of indexes, written as Kubernetes writes it: `0,2-4`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Indexes(BTreeSet<u32>);

impl Indexes {
    pub(crate) fn parse(text: &str) -> Self {
        let ranges = text.split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
        });
        Self(ranges.flatten().collect())
    }

    pub(crate) fn extend(&mut self, indexes: impl Iterator<Item = u32>) {
        self.0.extend(indexes);
    }

    pub(crate) fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    pub(crate) fn list(&self) -> Vec<u32> {
        self.0.iter().copied().collect()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for index in &self.0 {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => ranges.push((*index, *index)),
            }
        }
        for (place, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            // Two in a row stay two numbers.
            match last - first {
                0 => write!(formatter, "{comma}{first}")?,
                1 => write!(formatter, "{comma}{first},{last}")?,
                _ => write!(formatter, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_ranges() {
        for text in ["", "0", "0,1", "0-2", "0,2-4,9"] {
            assert_eq!(Indexes::parse(text).to_string(), text);
        }
    }
}
