//! Watches: what they show, where they begin, how they end.

use runjob_sandbox::kube::{Config, Kubernetes, Programs, Script};
use serde_json::{Value, json};

use crate::cluster::{Cluster, JOBS, a_job, kinds, seconds, with};

fn labelled(name: &str) -> Value {
    with(a_job(name, ""), "/metadata/labels", json!({"runjob/group": "g"}))
}

/// Jobs that nothing happens to.
fn untouched(name: &str) -> Value {
    with(labelled(name), "/spec/managedBy", json!("example.com/x"))
}

fn relabel(kube: &Kubernetes, name: &str, labels: &Value) -> Value {
    kube.edit("jobs", "default", name, |job| job["metadata"]["labels"] = labels.clone()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_object_that_loses_its_label_is_deleted_as_it_was_before() {
    let cluster = Cluster::idle();
    cluster.submit(&untouched("x")).await;
    let mut events = cluster.watch(&format!("{JOBS}?watch=true&labelSelector=runjob%2Fgroup%3Dg")).await;
    assert_eq!(events.next().await.unwrap()["type"], "ADDED");
    let stripped = relabel(&cluster.kube, "x", &json!({"other": "1"}));
    let lost = events.next().await.unwrap();
    assert_eq!(lost["type"], "DELETED");
    assert_eq!(lost["object"]["metadata"]["labels"], json!({"runjob/group": "g"}));
    assert_eq!(lost["object"]["metadata"]["resourceVersion"], stripped["metadata"]["resourceVersion"]);
    relabel(&cluster.kube, "x", &json!({"runjob/group": "g", "again": "1"}));
    let found = events.next().await.unwrap();
    assert_eq!((&found["type"], &found["object"]["metadata"]["labels"]["again"]), (&json!("ADDED"), &json!("1")));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_on_from_a_version_misses_nothing() {
    let cluster = Cluster::idle();
    cluster.submit(&untouched("a")).await;
    let list = cluster.get(&format!("{JOBS}?limit=500")).await.json();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    for name in ["b", "c"] {
        cluster.submit(&untouched(name)).await;
    }
    cluster.kube.delete("jobs", "default", "b", runjob_sandbox::kube::Propagation::Background).unwrap();
    let mut events = cluster.watch(&format!("{JOBS}?watch=true&resourceVersion={version}")).await;
    let first = events.until(|event| event["type"] == "DELETED").await;
    assert_eq!(kinds(&first), [("ADDED", "b"), ("ADDED", "c"), ("DELETED", "b")]);
    cluster.kube.cut_watches();
    assert_eq!(events.next().await, None);
    cluster.submit(&untouched("d")).await;
    let version = first[2]["object"]["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = cluster.watch(&format!("{JOBS}?watch=true&resourceVersion={version}")).await;
    assert_eq!(kinds(&[events.next().await.unwrap()]), [("ADDED", "d")]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_is_an_error_inside_of_the_stream() {
    let config = Config { history: 3, programs: Programs::scripted(|_| Some(Script::default())), ..Config::default() };
    let cluster = Cluster::new(config);
    for name in ["a", "b", "c", "d"] {
        cluster.submit(&untouched(name)).await;
    }
    let mut events = cluster.watch(&format!("{JOBS}?watch=true&resourceVersion=1")).await;
    let expired = events.next().await.unwrap();
    assert_eq!(expired["type"], "ERROR");
    let status = &expired["object"];
    assert_eq!(
        (&status["kind"], &status["code"], &status["reason"]),
        (&json!("Status"), &json!(410), &json!("Expired"))
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_over_and_bookmarks_tell_how_far_it_came() {
    let cluster = Cluster::idle();
    cluster.submit(&untouched("a")).await;
    let query = "watch=true&allowWatchBookmarks=true&timeoutSeconds=90";
    let start = tokio::time::Instant::now();
    let mut events = cluster.watch(&format!("{JOBS}?{query}")).await;
    assert_eq!(events.next().await.unwrap()["type"], "ADDED");
    let bookmark = events.next().await.unwrap();
    assert_eq!((bookmark["type"].as_str(), start.elapsed().as_secs()), (Some("BOOKMARK"), 60));
    assert_eq!((&bookmark["object"]["kind"], &bookmark["object"]["apiVersion"]), (&json!("Job"), &json!("batch/v1")));
    let now = cluster.get(JOBS).await.json()["metadata"]["resourceVersion"].clone();
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], now);
    assert_eq!(events.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(events.next().await, None);
    assert_eq!(start.elapsed().as_secs(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_bookmarks_gets_none() {
    let cluster = Cluster::idle();
    let mut events = cluster.watch(&format!("{JOBS}?watch=true&timeoutSeconds=300")).await;
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_ends_with_a_bookmark() {
    let cluster = Cluster::idle();
    cluster.submit(&untouched("a")).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = cluster.watch(&format!("{JOBS}?{query}")).await;
    assert_eq!(kinds(&[events.next().await.unwrap()]), [("ADDED", "a")]);
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test(start_paused = true)]
async fn a_muted_watch_says_nothing_and_then_everything() {
    let cluster = Cluster::idle();
    let mut events = cluster.watch(&format!("{JOBS}?watch=true&timeoutSeconds=10")).await;
    cluster.kube.mute_watches(true);
    cluster.submit(&untouched("a")).await;
    assert!(tokio::time::timeout(seconds(3600), events.next()).await.is_err());
    cluster.kube.mute_watches(false);
    assert_eq!(kinds(&[events.next().await.unwrap()]), [("ADDED", "a")]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_one_namespace_or_all_of_them() {
    let cluster = Cluster::idle();
    cluster.kube.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})).unwrap();
    let mut all = cluster.watch("/apis/batch/v1/jobs?watch=true").await;
    let mut team = cluster.watch("/apis/batch/v1/namespaces/team/jobs?watch=true").await;
    cluster.submit(&untouched("a")).await;
    cluster.kube.create(with(untouched("b"), "/metadata/namespace", json!("team"))).unwrap();
    assert_eq!(kinds(&[all.next().await.unwrap(), all.next().await.unwrap()]), [("ADDED", "a"), ("ADDED", "b")]);
    assert_eq!(kinds(&[team.next().await.unwrap()]), [("ADDED", "b")]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_stream() {
    let cluster = Cluster::idle();
    let mut events = cluster.watch(&format!("{JOBS}?watch=true")).await;
    cluster.kube.shutdown().await;
    assert_eq!(events.next().await, None);
    assert_eq!(cluster.get(JOBS).await.status, 503);
}
