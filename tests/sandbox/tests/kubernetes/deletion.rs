//! DELETE: what happens to the object, to what it owns, and to the processes.

use std::time::Duration;

use runjob_sandbox::kube::{Config, OnTerm, Script, Step};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Cluster, JOBS, PODS, a_job, conditions, name, phase, seconds, with};

/// From the end of a pod's containers until the pod is gone.
fn linger() -> Duration {
    Config::default().phase_lag
}

async fn running(cluster: &Cluster) -> Value {
    cluster.submit(&a_job("x", "")).await;
    cluster.pods(1, |pod| phase(pod) == "Running").await.pop().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_deleted_without_a_policy_leaves_its_pods_behind() {
    let cluster = Cluster::idle();
    let pod = running(&cluster).await;
    let answer = cluster.send(http::Method::DELETE, &format!("{JOBS}/x"), "", "").await;
    assert_eq!((answer.status.as_u16(), answer.json()["metadata"]["finalizers"].clone()), (200, json!(["orphan"])));
    cluster.gone("jobs").await;
    let orphan = cluster.kube.wait_for(|kube| {
        let pod = kube.get("pods", "default", name(&pod))?;
        (pod["metadata"].get("finalizers").is_none()).then_some(pod)
    });
    let orphan = orphan.await;
    assert_eq!(orphan["metadata"].get("ownerReferences"), None);
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(phase(&cluster.kube.get("pods", "default", name(&pod)).unwrap()), "Running");
}

#[tokio::test(start_paused = true)]
async fn a_background_deletion_takes_the_job_at_once_and_the_pod_after_its_grace() {
    let cluster = Cluster::scripted(|_| Script::new([Step::Forever]).on_term(OnTerm::Ignore));
    let pod = running(&cluster).await;
    let start = Instant::now();
    let answer = cluster.delete(&format!("{JOBS}/x"), &json!({"propagationPolicy": "Background"})).await.json();
    assert_eq!((&answer["kind"], &answer["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(answer["details"]["uid"], pod["metadata"]["ownerReferences"][0]["uid"]);
    assert_eq!(cluster.kube.list("jobs", None).len(), 0);
    let going = cluster.pods(1, |pod| pod["metadata"]["deletionTimestamp"].is_string()).await.pop().unwrap();
    assert_eq!((phase(&going), &going["metadata"]["deletionGracePeriodSeconds"]), ("Running", &json!(30)));
    let mut pods = cluster.watch(&format!("{PODS}?watch=true")).await;
    let last = pods.until(|event| event["type"] == "DELETED").await.pop().unwrap();
    assert_eq!(start.elapsed(), seconds(30) + linger());
    let ended = &last["object"]["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(137), &json!("Error")));
}

#[tokio::test(start_paused = true)]
async fn a_foreground_deletion_keeps_the_job_until_its_pod_is_gone() {
    let cluster = Cluster::scripted(|_| Script::new([Step::Forever]).on_term(OnTerm::Run(vec![Step::seconds(4)])));
    running(&cluster).await;
    let mut jobs = cluster.watch(&format!("{JOBS}?watch=true")).await;
    let mut pods = cluster.watch(&format!("{PODS}?watch=true")).await;
    let start = Instant::now();
    let answer = cluster.delete(&format!("{JOBS}/x?propagationPolicy=Foreground"), &json!(null)).await.json();
    assert_eq!(answer["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert!(answer["metadata"]["deletionTimestamp"].is_string());
    let version = |events: Vec<Value>| {
        events.last().unwrap()["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let pod_gone = version(pods.until(|event| event["type"] == "DELETED").await);
    let job_gone = version(jobs.until(|event| event["type"] == "DELETED").await);
    assert!(pod_gone < job_gone);
    assert_eq!(start.elapsed(), seconds(4) + linger());
}

#[tokio::test(start_paused = true)]
async fn a_job_begins_to_fail_while_it_waits_for_its_pods_to_go() {
    let cluster = Cluster::scripted(|_| Script::new([Step::Forever]).on_term(OnTerm::Run(vec![Step::seconds(4)])));
    let job = cluster.submit(&with(a_job("x", ""), "/spec/backoffLimit", json!(0))).await;
    cluster.pods(1, |pod| phase(pod) == "Running").await;
    let mut jobs = cluster.watch(&format!("{JOBS}?watch=true")).await;
    let path = format!("{JOBS}/x");
    cluster.delete(&path, &json!({"propagationPolicy": "Foreground"})).await;
    // What was decided from an earlier look, or is to take its place, has to wait.
    let stale = json!({"preconditions": {"resourceVersion": job["metadata"]["resourceVersion"]}});
    assert_eq!(cluster.delete(&path, &stale).await.error().1, "Conflict");
    assert!(cluster.post(JOBS, &a_job("x", "")).await.error().2.contains("object is being deleted"));
    // Its pod was deleted, and counts as failed by that.
    let last = jobs.until(|event| event["type"] == "DELETED").await.pop().unwrap();
    assert_eq!(conditions(&last["object"]), ["FailureTarget(BackoffLimitExceeded)"]);
}

#[tokio::test(start_paused = true)]
async fn preconditions_that_do_not_hold_are_a_conflict() {
    let cluster = Cluster::idle();
    let job = cluster.submit(&a_job("x", "")).await;
    let path = format!("{JOBS}/x");
    let uid = job["metadata"]["uid"].as_str().unwrap();
    for (field, value) in [("uid", "other"), ("resourceVersion", "1")] {
        let options = json!({"preconditions": {field: value}, "propagationPolicy": "Background"});
        let (code, reason, message) = cluster.delete(&path, &options).await.error();
        assert_eq!((code, reason.as_str()), (409, "Conflict"));
        let start = "Operation cannot be fulfilled on jobs.batch \"x\": Precondition failed: ";
        assert!(message.starts_with(start), "{message}");
    }
    let options = json!({"preconditions": {"uid": uid}, "propagationPolicy": "Background"});
    assert_eq!(cluster.delete(&path, &options).await.status, 200);
    let (code, _, message) = cluster.delete(&path, &options).await.error();
    assert_eq!((code, message.as_str()), (404, "jobs.batch \"x\" not found"));
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_keeps_an_object_until_it_is_removed() {
    let cluster = Cluster::idle();
    let path = "/api/v1/namespaces/default/configmaps";
    let map = json!({"metadata": {"name": "c", "finalizers": ["example.com/hold"]}});
    cluster.post(path, &map).await;
    let going = cluster.delete(&format!("{path}/c"), &json!(null)).await.json();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(cluster.get(&format!("{path}/c")).await.status, 200);
    cluster.merge(&format!("{path}/c"), &json!({"metadata": {"finalizers": []}})).await;
    assert_eq!(cluster.get(&format!("{path}/c")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_label() {
    let cluster = Cluster::idle();
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "1")] {
        cluster.submit(&with(a_job(name, ""), "/metadata/labels", json!({"l": label}))).await;
    }
    let answer =
        cluster.delete(&format!("{JOBS}?labelSelector=l%3D1&propagationPolicy=Background"), &json!(null)).await;
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 2);
    let left = cluster.kube.list("jobs", None);
    assert_eq!(left.iter().map(name).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_can_shorten_the_grace() {
    let cluster = Cluster::scripted(|_| Script::new([Step::Forever]).on_term(OnTerm::Ignore));
    let pod = running(&cluster).await;
    let path = format!("{PODS}/{}", name(&pod));
    let start = Instant::now();
    cluster.delete(&path, &json!({})).await;
    tokio::time::sleep(seconds(2)).await;
    cluster.delete(&path, &json!({"gracePeriodSeconds": 5})).await;
    cluster.kube.wait_for(|kube| kube.get("pods", "default", name(&pod)).is_none().then_some(())).await;
    assert_eq!(start.elapsed(), seconds(7) + linger());
}

#[tokio::test(start_paused = true)]
async fn a_job_replaces_a_pod_that_somebody_deletes() {
    let cluster = Cluster::idle();
    cluster.submit(&with(a_job("x", ""), "/spec/backoffLimit", json!(3))).await;
    let pod = cluster.pods(1, |pod| phase(pod) == "Running").await.pop().unwrap();
    cluster.delete(&format!("{PODS}/{}", name(&pod)), &json!({})).await;
    cluster.pods(1, |other| name(other) != name(&pod) && phase(other) == "Running").await;
    assert_eq!(cluster.kube.get("jobs", "default", "x").unwrap()["status"]["failed"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_dependent_whose_owner_never_was_goes_and_one_with_another_owner_stays() {
    let cluster = Cluster::idle();
    let map = |name: &str, owners: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}});
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid});
    let root = cluster.kube.create(map("root", json!([]))).unwrap();
    let uid = root["metadata"]["uid"].as_str().unwrap();
    cluster.kube.create(map("kept", json!([owner(uid), owner("gone")]))).unwrap();
    cluster.kube.create(map("lost", json!([owner("gone")]))).unwrap();
    cluster.kube.wait_for(|kube| kube.get("configmaps", "default", "lost").is_none().then_some(())).await;
    let kept = cluster.kube.get("configmaps", "default", "kept").unwrap();
    assert_eq!(kept["metadata"]["ownerReferences"], json!([owner(uid)]));
}
