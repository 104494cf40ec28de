//! What the server fills in where a manifest says nothing (as recorded on 1.34).

use serde_json::{Value, json};

use super::{
    fields::{self, default, put, slot},
    resources::Resource,
};

/// The labels that the server gives a Job's pods: today's and the older spelling.
const GENERATED: [(&str, &str); 4] = [
    ("batch.kubernetes.io/controller-uid", "uid"),
    ("batch.kubernetes.io/job-name", "name"),
    ("controller-uid", "uid"),
    ("job-name", "name"),
];

/// Fills in a new object. Its name and uid are set already.
pub(crate) fn fill(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("batch", "jobs") => job(object),
        ("", "pods") => pod(object),
        ("", "namespaces") => {
            let name = fields::name(object).to_owned();
            put(object, &["metadata", "labels", "kubernetes.io/metadata.name"], name);
            put(object, &["status"], json!({"phase": "Active"}));
        }
        ("", "events") => {
            default(object, &["type"], "Normal");
            default(object, &["reportingComponent"], "");
        }
        _ => {}
    }
}

fn job(object: &mut Value) {
    let indexed = fields::text(object, "/spec/completionMode") == "Indexed";
    let parallel = object.pointer("/spec/parallelism").is_some_and(|value| !value.is_null());
    // Parallelism alone makes a work queue: it has no number of completions.
    if !parallel && !indexed {
        default(object, &["spec", "completions"], 1);
    }
    default(object, &["spec", "parallelism"], 1);
    let per_index = object.pointer("/spec/backoffLimitPerIndex").is_some_and(|value| !value.is_null());
    default(object, &["spec", "backoffLimit"], if per_index { i64::from(i32::MAX) } else { 6 });
    default(object, &["spec", "completionMode"], "NonIndexed");
    default(object, &["spec", "suspend"], false);
    default(object, &["spec", "manualSelector"], false);
    default(object, &["spec", "podReplacementPolicy"], "TerminatingOrFailed");
    if object.pointer("/spec/manualSelector") != Some(&Value::Bool(true)) {
        let (name, uid) = (fields::name(object).to_owned(), fields::uid(object).to_owned());
        for (label, source) in GENERATED {
            let value = if source == "uid" { uid.clone() } else { name.clone() };
            put(object, &["spec", "template", "metadata", "labels", label], value);
        }
        put(object, &["spec", "selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
    }
    inherit_labels(object);
    pod_spec(slot(object, &["spec", "template", "spec"]));
    put(object, &["status"], json!({}));
}

/// A Job without labels of its own shows those of its template: at birth, and again when its last label is removed.
pub(crate) fn inherit_labels(job: &mut Value) {
    if fields::map(job, "/metadata/labels").is_none_or(serde_json::Map::is_empty)
        && let Some(labels) = job.pointer("/spec/template/metadata/labels").cloned()
    {
        put(job, &["metadata", "labels"], labels);
    }
}

fn pod(object: &mut Value) {
    let spec = slot(object, &["spec"]);
    default(spec, &["restartPolicy"], "Always");
    pod_spec(spec);
    default(spec, &["serviceAccountName"], "default");
    default(spec, &["serviceAccount"], "default");
    default(spec, &["enableServiceLinks"], true);
    default(spec, &["preemptionPolicy"], "PreemptLowerPriority");
    default(spec, &["priority"], 0);
    put(object, &["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

fn pod_spec(spec: &mut Value) {
    default(spec, &["dnsPolicy"], "ClusterFirst");
    default(spec, &["schedulerName"], "default-scheduler");
    default(spec, &["securityContext"], json!({}));
    default(spec, &["terminationGracePeriodSeconds"], 30);
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container.is_object() {
                self::container(container);
            }
        }
    }
}

fn container(container: &mut Value) {
    let policy = if is_latest(fields::text(container, "/image")) { "Always" } else { "IfNotPresent" };
    default(container, &["imagePullPolicy"], policy);
    default(container, &["resources"], json!({}));
    default(container, &["terminationMessagePath"], "/dev/termination-log");
    default(container, &["terminationMessagePolicy"], "File");
}

/// Whether an image name asks for the latest: by its tag, or by having none.
fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_job_becomes_what_was_recorded() {
        let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "pi", "uid": "u"},
            "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"name": "c", "image": "perl"}],
                "restartPolicy": "Never"}}}});
        fill(&Resource::jobs(), &mut job);
        let labels = json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "pi",
            "controller-uid": "u", "job-name": "pi"});
        assert_eq!(job["metadata"]["labels"], labels);
        assert_eq!(
            job["spec"],
            json!({"backoffLimit": 0, "completionMode": "NonIndexed", "completions": 1, "manualSelector": false,
                "parallelism": 1, "podReplacementPolicy": "TerminatingOrFailed",
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, "suspend": false,
                "template": {"metadata": {"labels": labels}, "spec": {
                    "containers": [{"image": "perl", "imagePullPolicy": "Always", "name": "c", "resources": {},
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Never", "schedulerName": "default-scheduler",
                    "securityContext": {}, "terminationGracePeriodSeconds": 30}}})
        );
    }

    #[test]
    fn a_job_with_labels_keeps_to_its_own() {
        let mut job = json!({"metadata": {"name": "pi", "uid": "u", "labels": {"a": "b"}}, "spec": {}});
        fill(&Resource::jobs(), &mut job);
        assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
    }

    #[test]
    fn only_the_latest_image_is_always_pulled() {
        for (image, latest) in [
            ("perl", true),
            ("perl:latest", true),
            ("perl:5.34", false),
            ("localhost:5000/perl", true),
            ("localhost:5000/perl:5", false),
            ("perl@sha256:0", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
