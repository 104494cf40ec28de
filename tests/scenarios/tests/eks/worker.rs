//! The worker, which is told of a cluster of EKS by a file.

use runjob_scenarios::{article, jobs::a_job};
use serde_json::{Value, json};

use crate::bed::{Bed, REMEMBERED, STS, assert_discreet};

/// A state that runs such a Job natively.
fn running(bed: &Bed, name: &str, script: &str) -> Value {
    let job = a_job(&bed.job_name(name), script).with("/ClusterName", bed.cluster());
    json!({"Resource": "arn:aws:states:::eks:runJob.sync", "Parameters": job.parameters()})
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn the_articles_workflow_succeeds_with_the_articles_role() {
    let (_held, bed) = Bed::for_the_article().await;
    let role = bed.role("ALLOWED");
    let worker = bed.worker(&role);
    let output = bed.output(&bed.start(article::WORKFLOW, &bed.input())).await;
    assert_eq!(output["StatusCode"], json!(200), "{output}");
    assert_discreet(&worker.log(), &role);
    bed.clear_with_the_article().await;
}

/// A worker whose role becomes another one while it is at work. Before that it knows the cluster's Jobs, without which it asks for no tasks.
async fn becoming(role: &str, error: &str) -> Value {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let own = bed.own_role("allowed").await;
    let worker = bed.worker(&own);
    bed.polled(&worker).await;
    bed.own_role(role).await;
    tokio::time::sleep(REMEMBERED).await;
    let (told, cause) = bed.failure(&bed.start_state(&running(&bed, "x", "true"))).await;
    assert_eq!(told, error, "{cause}\n{}", worker.log());
    assert!(!bed.has_job(&bed.job_name("x")).await);
    assert_discreet(&worker.log(), &own);
    bed.clear().await;
    cause
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_that_is_not_mapped_any_more_is_told_as_natively() {
    let cause = becoming("unmapped", "EKS.401").await;
    assert_eq!(cause["StatusCode"], json!(401), "{cause}");
    assert_eq!(cause["ResponseBody"]["reason"], json!("Unauthorized"), "{cause}");
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_without_rights_is_told_as_natively() {
    let cause = becoming("forbidden", "EKS.403").await;
    assert_eq!(cause["StatusCode"], json!(403), "{cause}");
    assert_eq!(cause["ResponseBody"]["reason"], json!("Forbidden"), "{cause}");
    assert!(cause["ResponseBody"]["message"].as_str().unwrap().contains("User \"eks-without-rights\" cannot create"));
}

/// A worker that is told this of the cluster, and succeeds.
async fn succeeds(role: &str, eks: impl FnOnce(&Bed) -> Value) {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let own = bed.role(role);
    let worker = bed.worker_with(&own, &eks(&bed));
    let output = bed.output(&bed.start_state(&running(&bed, "x", "echo finished"))).await;
    assert!(output["logs"].to_string().contains("finished"), "{output}\n{}", worker.log());
    assert_discreet(&worker.log(), &own);
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_that_is_assumed_is_let_in_where_the_workers_own_is_not() {
    succeeds("UNMAPPED", |bed| bed.assuming("ALLOWED")).await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_cluster_whose_place_is_configured_is_not_described() {
    succeeds("BLIND", Bed::location).await;
}

/// It asks for no tasks: there is nowhere to run their Jobs.
#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_wrong_certificate_authority_is_in_the_log_and_no_task_is_taken() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let role = bed.role("BLIND");
    let worker = bed.worker_with(&role, &bed.location_of_another_authority());
    let execution = bed.start_state(&running(&bed, "x", "true"));
    worker.says("invalid peer certificate").await.unwrap();
    let history = format!("{:?}", bed.service().history(&execution));
    assert!(!history.contains("ActivityStarted"), "{history}");
    assert!(!bed.has_job(&bed.job_name("x")).await);
    assert_discreet(&worker.log(), &role);
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn an_outage_of_sts_of_a_minute_fails_no_task() {
    let (_sts, bed) = (STS.write().await, Bed::new().await);
    let role = bed.role("ALLOWED");
    let worker = bed.worker(&role);
    bed.polled(&worker).await;
    let ended = bed.outage(|name, script| bed.start_state(&running(&bed, name, script)));
    for ended in ended.await {
        assert_eq!(ended.status.name(), "SUCCEEDED", "{ended:?}\n{}", worker.log());
        let output: Value = serde_json::from_str(&ended.output.unwrap()).unwrap();
        assert!(output["logs"].to_string().contains("finished"), "{output}");
    }
    assert_discreet(&worker.log(), &role);
    bed.clear().await;
}
