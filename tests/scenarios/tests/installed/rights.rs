//! The rights that the chart gives the worker, and what it does with them: all that it asks for is granted, and all that is granted is
//! asked for.

use std::collections::BTreeSet;

use runjob_scenarios::jobs::a_job;
use serde_json::Value;

use crate::{
    audit::Audit,
    bed::{Bed, NAMESPACE},
};

/// Has the worker do all that it ever does.
pub(crate) async fn are_used(bed: &Bed) {
    let lasting = bed.run(&a_job("lasting", "sleep 600"));
    bed.runs("lasting").await;
    // A Job that has lost its label gets it back, twice, which is one Event.
    for _ in 0..2 {
        bed.kubectl(&format!("label job lasting runjob/group- --namespace {NAMESPACE}"));
        bed.comes_about("the label is back", async || {
            let job = bed.get(&format!("job lasting --namespace {NAMESPACE}"));
            job["metadata"]["labels"]["runjob/group"].is_string()
        })
        .await;
    }
    bed.machines.service().stop_execution(&lasting, None, None).unwrap();
    bed.comes_about("the Job goes with its execution", async || !bed.jobs().contains("lasting")).await;

    let (error, _) = bed.machines.failure(&bed.run(&a_job("failing", "exit 1"))).await.unwrap();
    assert_eq!(error, "Job.BackoffLimitExceeded");
    // Of a Job that never had a pod only its Events say why.
    let without_pods = a_job("without-pods", "true").with_pod("serviceAccountName", "nobody");
    let without_pods = without_pods.with("/Job/spec/activeDeadlineSeconds", 5);
    let (error, cause) = bed.machines.failure(&bed.run(&without_pods)).await.unwrap();
    assert!(cause["diagnosis"].to_string().contains("nobody"), "{error}: {cause}");

    bed.kubectl("delete leases --all --namespace runjob");
    bed.comes_about("the Lease is back", async || {
        !bed.get("leases --namespace runjob")["items"].as_array().unwrap().is_empty()
    })
    .await;
    bed.one_leads().await;
}

/// Compares what is granted to the worker's account with what it has asked for.
pub(crate) fn are_all(bed: &Bed, audit: &Audit) {
    let asked = audit.of_the_worker();
    let asked = asked.iter().filter(|asked| !asked.what.starts_with('/'));
    let asked: BTreeSet<_> =
        asked.map(|asked| format!("{} {} in {}", asked.verb, asked.what, asked.namespace)).collect();
    let granted = granted(bed);
    let lacking: Vec<_> = asked.difference(&granted).collect();
    assert!(lacking.is_empty(), "asked for, and not granted by the chart: {lacking:#?}");
    // What is used in one of the namespaces of Jobs is needed in each.
    let without_place = |right: &String| right.rsplit_once(" in ").unwrap().0.to_owned();
    let used: BTreeSet<_> = asked.iter().map(without_place).collect();
    let unused: BTreeSet<_> = granted.iter().map(without_place).filter(|right| !used.contains(right)).collect();
    assert!(unused.is_empty(), "granted, and never asked for: {unused:#?}");
}

/// What the Roles that are bound to the worker's account allow, one line for each verb.
fn granted(bed: &Bed) -> BTreeSet<String> {
    let bindings = bed.get("rolebindings,clusterrolebindings --all-namespaces");
    let is_ours = |subject: &Value| subject["name"] == "runjob" && subject["namespace"] == "runjob";
    let mut rights = BTreeSet::new();
    for binding in bindings["items"].as_array().unwrap() {
        if !binding["subjects"].as_array().is_some_and(|subjects| subjects.iter().any(is_ours)) {
            continue;
        }
        let namespace = binding["metadata"]["namespace"].as_str().expect("the chart binds in namespaces only");
        let (kind, name) = (text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"]));
        let role = bed.get(&format!("{kind} {name} --namespace {namespace}"));
        for rule in role["rules"].as_array().unwrap() {
            for (group, resource, verb) in product(rule) {
                let (name, part) = resource.split_once('/').map_or((resource, None), |(name, part)| (name, Some(part)));
                let group = if group.is_empty() { String::new() } else { format!(".{group}") };
                let part = part.map(|part| format!("/{part}")).unwrap_or_default();
                rights.insert(format!("{verb} {name}{group}{part} in {namespace}"));
            }
        }
    }
    rights
}

fn product(rule: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let all = |field: &str| rule[field].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(text);
    let (resources, verbs): (Vec<_>, Vec<_>) = (all("resources").collect(), all("verbs").collect());
    all("apiGroups").flat_map(move |group| {
        let verbs = verbs.clone();
        let resources = resources.clone();
        resources
            .into_iter()
            .flat_map(move |resource| verbs.clone().into_iter().map(move |verb| (group, resource, verb)))
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
