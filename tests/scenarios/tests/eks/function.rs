//! The function, which finds a cluster of EKS by the name in the request.

use std::time::Duration;

use runjob_sandbox::lambda::Deployed;
use runjob_scenarios::{
    article::{self, Form},
    jobs::{JobRequest, a_job},
};
use serde_json::{Value, json};

use crate::bed::{Bed, STS, assert_discreet, elsewhere};

/// A state that invokes the function with this request.
fn invoking(job: &JobRequest) -> Value {
    json!({
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "runjob", "Payload": job.parameters()},
    })
}

/// A request for such a Job there.
fn request(bed: &Bed) -> JobRequest {
    a_job(&bed.job_name("x"), "echo finished").with("/ClusterName", bed.cluster())
}

/// The error of a request that is refused, and its cause: which of the function's stands within Step Functions'.
async fn refused(bed: &Bed, function: &Deployed, job: &JobRequest) -> (String, Value) {
    let (error, cause) = bed.failure(&bed.start_state(&invoking(job))).await;
    assert_eq!(cause["errorType"], json!(error), "{}", function.logs());
    let cause = serde_json::from_str(cause["errorMessage"].as_str().unwrap()).unwrap();
    assert!(!bed.has_job(&bed.job_name("x")).await);
    (error, cause)
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn the_articles_workflow_succeeds_with_the_articles_role() {
    let (_held, bed) = Bed::for_the_article().await;
    let role = bed.role("ALLOWED");
    let function = bed.function(&role);
    let output = bed.output(&bed.start(&article::by_function("runjob", Form::Waiting).to_string(), &bed.input())).await;
    assert_eq!(output["Payload"]["StatusCode"], json!(200), "{output}");
    assert_discreet(&function.logs(), &role);
    bed.clear_with_the_article().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn the_articles_workflow_succeeds_handed_over_to_a_worker() {
    let (_held, bed) = Bed::for_the_article().await;
    let role = bed.role("ALLOWED");
    let (worker, function) = (bed.worker(&role), bed.function(&role));
    let output =
        bed.output(&bed.start(&article::by_function("runjob", Form::HandingOver).to_string(), &bed.input())).await;
    assert_eq!(output["StatusCode"], json!(200), "{output}");
    assert_discreet(&worker.log(), &role);
    assert_discreet(&function.logs(), &role);
    bed.clear_with_the_article().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn the_articles_workflow_succeeds_handed_over_to_sweeps() {
    let (_held, bed) = Bed::for_the_article().await;
    let role = bed.role("ALLOWED");
    let settings = [("RUNJOB_CLUSTER_NAME", bed.cluster()), ("RUNJOB_NAMESPACE", "default")];
    let function = bed.function_with(&role, &settings);
    let output =
        bed.swept(&bed.start(&article::by_function("runjob", Form::HandingOver).to_string(), &bed.input())).await;
    assert_eq!(output["StatusCode"], json!(200), "{output}");
    assert_discreet(&function.logs(), &role);
    bed.clear_with_the_article().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_that_is_assumed_is_let_in_where_the_functions_own_is_not() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let function = bed.function_of_file(&bed.role("UNMAPPED"), &bed.assuming("ALLOWED"));
    let output = bed.output(&bed.start_state(&invoking(&request(&bed)))).await;
    assert!(output["Payload"]["logs"].to_string().contains("finished"), "{output}\n{}", function.logs());
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_cluster_whose_place_is_configured_is_not_described() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let function = bed.function_of_file(&bed.role("BLIND"), &bed.location());
    let output = bed.output(&bed.start_state(&invoking(&request(&bed)))).await;
    assert!(output["Payload"]["logs"].to_string().contains("finished"), "{output}\n{}", function.logs());
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_wrong_certificate_authority_is_told_before_the_time_is_over() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let role = bed.role("BLIND");
    let function = bed.function_of_file_within(Duration::from_secs(30), &role, &bed.location_of_another_authority());
    let (error, cause) = refused(&bed, &function, &request(&bed)).await;
    assert_eq!(error, "RunJob.ClusterUnreachable", "{cause}");
    assert!(cause.to_string().contains("invalid peer certificate"), "{cause}");
    assert_discreet(&function.logs(), &role);
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn an_outage_of_sts_of_a_minute_fails_no_execution() {
    let (_sts, bed) = (STS.write().await, Bed::new().await);
    let role = bed.role("ALLOWED");
    let function = bed.function(&role);
    let ended = bed.outage(|name, script| {
        bed.start_state(&invoking(&a_job(&bed.job_name(name), script).with("/ClusterName", bed.cluster())))
    });
    for ended in ended.await {
        assert_eq!(ended.status.name(), "SUCCEEDED", "{ended:?}\n{}", function.logs());
        let output: Value = serde_json::from_str(&ended.output.unwrap()).unwrap();
        assert!(output["Payload"]["logs"].to_string().contains("finished"), "{output}");
    }
    assert_discreet(&function.logs(), &role);
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn the_example_that_waits_succeeds() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let _function = bed.function(&bed.role("ALLOWED"));
    let machine = include_str!("../../../../examples/lambda/waiting.asl.json");
    let output =
        bed.output(&bed.start(machine, &json!({"cluster": bed.cluster(), "whom": "you", "status": "0"}))).await;
    assert!(output["logs"].to_string().contains("hello, you"), "{output}");
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn the_example_of_a_callback_is_answered_by_a_worker_of_the_group() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let role = bed.role("ALLOWED");
    let (worker, _function) = (bed.worker(&role), bed.function(&role));
    let machine = include_str!("../../../../examples/lambda/callback.asl.json");
    let output =
        bed.output(&bed.start(machine, &json!({"cluster": bed.cluster(), "whom": "you", "status": "0"}))).await;
    assert_eq!(output, json!({"greeting": ["hello, you"]}), "{}", worker.log());
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_that_is_not_mapped_is_told_as_natively() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let role = bed.role("UNMAPPED");
    let function = bed.function(&role);
    let (error, cause) = refused(&bed, &function, &request(&bed)).await;
    assert_eq!((error.as_str(), &cause["StatusCode"]), ("EKS.401", &json!(401)), "{cause}");
    assert_eq!(cause["ResponseBody"]["reason"], json!("Unauthorized"), "{cause}");
    assert_discreet(&function.logs(), &role);
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_without_rights_is_told_as_natively() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let function = bed.function(&bed.role("FORBIDDEN"));
    let (error, cause) = refused(&bed, &function, &request(&bed)).await;
    assert_eq!((error.as_str(), &cause["StatusCode"]), ("EKS.403", &json!(403)), "{cause}");
    assert_eq!(cause["ResponseBody"]["reason"], json!("Forbidden"), "{cause}");
    assert!(cause["ResponseBody"]["message"].as_str().unwrap().contains("User \"eks-without-rights\" cannot create"));
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_request_that_leads_elsewhere_than_eks_says_gets_no_credential() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let function = bed.function(&bed.role("ALLOWED"));
    for (field, part) in [("/Endpoint", "endpoint"), ("/CertificateAuthority", "ca")] {
        let job = request(&bed).with(field, elsewhere()[part].clone());
        let (error, cause) = refused(&bed, &function, &job).await;
        assert_eq!(error, "RunJob.ClusterNotAllowed", "{cause}");
    }
    bed.clear().await;
}

#[tokio::test]
#[ignore = "needs tests/cluster/eks up"]
async fn a_role_that_may_not_describe_the_cluster_is_told_so() {
    let (_sts, bed) = (STS.read().await, Bed::new().await);
    let function = bed.function(&bed.role("BLIND"));
    let (error, cause) = refused(&bed, &function, &request(&bed)).await;
    assert!(error.starts_with("RunJob.Cluster"), "{error}: {cause}");
    assert!(cause.to_string().contains("DescribeCluster"), "{cause}");
    bed.clear().await;
}
