//! PATCH, in its formats.

use http::Method;
use serde_json::{Value, json};

use crate::cluster::{Answer, Cluster, JOBS, a_job, with};

async fn cluster() -> Cluster {
    let cluster = Cluster::idle();
    let job = with(a_job("x", ""), "/metadata/labels", json!({"runjob/group": "g"}));
    cluster.submit(&with(job, "/metadata/annotations", json!({"runjob/v": "1"}))).await;
    cluster
}

async fn json_patch(cluster: &Cluster, patch: &Value) -> Answer {
    cluster.send(Method::PATCH, &format!("{JOBS}/x"), "application/json-patch+json", patch.to_string()).await
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_applies_when_its_test_holds() {
    let cluster = cluster().await;
    let answer = json_patch(
        &cluster,
        &json!([
            {"op": "test", "path": "/metadata/annotations/runjob~1v", "value": "1"},
            {"op": "replace", "path": "/metadata/annotations/runjob~1v", "value": "2"},
            {"op": "remove", "path": "/metadata/labels/runjob~1group"},
        ]),
    )
    .await;
    let job = answer.json();
    assert_eq!(job["metadata"]["annotations"], json!({"runjob/v": "2"}));
    // The server fills an empty set of labels from the template.
    assert_eq!(job["metadata"]["labels"]["job-name"], "x");
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_whose_test_fails_changes_nothing() {
    let cluster = cluster().await;
    let before = cluster.kube.get("jobs", "default", "x").unwrap();
    let refused = json_patch(
        &cluster,
        &json!([
            {"op": "remove", "path": "/metadata/labels/runjob~1group"},
            {"op": "test", "path": "/metadata/annotations/runjob~1v", "value": "7"},
        ]),
    )
    .await;
    let message = "the server rejected our request due to an error in our request";
    assert_eq!(refused.error(), (422, "Invalid".into(), message.into()));
    assert_eq!(cluster.kube.get("jobs", "default", "x").unwrap()["metadata"], before["metadata"]);
    assert_eq!(json_patch(&cluster, &json!({"op": "remove"})).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_patch_from_an_old_version_or_for_another_uid_is_a_conflict() {
    let cluster = cluster().await;
    let path = format!("{JOBS}/x");
    let stale = cluster.merge(&path, &json!({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}})).await;
    assert_eq!(stale.error().1, "Conflict");
    let other = cluster.merge(&path, &json!({"metadata": {"uid": "u", "labels": {"a": "b"}}})).await.error();
    assert_eq!((other.0, other.1.as_str()), (409, "Conflict"));
    assert!(other.2.contains("Precondition failed: UID in precondition: u, UID in object meta: "));
    let missing = cluster.merge(&format!("{JOBS}/y"), &json!({})).await.error();
    assert_eq!(missing.2, "jobs.batch \"y\" not found");
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_changes_nothing_takes_no_version() {
    let cluster = cluster().await;
    let path = format!("{JOBS}/x");
    let version = |answer: Answer| answer.json()["metadata"]["resourceVersion"].clone();
    let before = version(cluster.get(&path).await);
    assert_eq!(version(cluster.merge(&path, &json!({"metadata": {"labels": {"runjob/group": "g"}}})).await), before);
    assert_ne!(version(cluster.merge(&path, &json!({"metadata": {"labels": {"runjob/group": "h"}}})).await), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_servers_stays() {
    let cluster = cluster().await;
    let path = format!("{JOBS}/x");
    let before = cluster.get(&path).await.json();
    let change = json!({"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z", "generation": 9}});
    assert_eq!(cluster.merge(&path, &change).await.json()["metadata"], before["metadata"]);
    let template = json!({"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}});
    let frozen = cluster.merge(&path, &template).await.error();
    assert_eq!(frozen.0, 422);
    assert!(frozen.2.ends_with("field is immutable"), "{}", frozen.2);
    let spec = cluster.merge(&path, &json!({"spec": {"ttlSecondsAfterFinished": 9}})).await.json();
    assert_eq!(spec["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_strategic_patch_says_that_it_is_merged_and_other_formats_are_refused() {
    let cluster = cluster().await;
    let path = format!("{JOBS}/x");
    let body = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    let strategic = cluster.send(Method::PATCH, &path, "application/strategic-merge-patch+json", body).await;
    assert_eq!(strategic.json()["metadata"]["labels"]["a"], "b");
    assert!(strategic.headers.contains_key("warning"));
    for format in ["application/json", "application/apply-patch+yaml", ""] {
        let (code, reason, _) = cluster.send(Method::PATCH, &path, format, body).await.error();
        assert_eq!((code, reason.as_str()), (415, "UnsupportedMediaType"));
    }
}
