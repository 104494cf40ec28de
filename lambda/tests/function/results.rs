//! What an invocation returns that waits for its Job.

use runjob_scenarios::jobs::a_job;
use serde_json::{Value, json};

use crate::world::{World, invoking, log, told};

#[tokio::test]
async fn a_job_that_succeeds_gives_its_result_and_logs_under_payload() {
    let world = World::new().await;
    let execution =
        world.start(&invoking(&a_job("x", "echo '{\"pi\": 3.14159265358979323846264338327950288}'").parameters()));
    let result = world.output(&execution).await;
    assert_eq!(result["status"]["succeeded"], json!(1));
    assert_eq!(result["metadata"]["name"], json!("x"));
    // As text: every digit counts.
    assert!(result["logs"].to_string().contains("3.14159265358979323846264338327950288"), "{result}");
    world.assert_one_job();
    let annotations = &world.sandbox.kubernetes().get("jobs", "default", "x").unwrap()["metadata"]["annotations"];
    assert_eq!(annotations["runjob/settled"], json!("true"), "{annotations}");
}

#[tokio::test]
async fn a_job_that_fails_gives_a_stable_name_and_a_cause() {
    let world = World::new().await;
    let execution = world.start(&invoking(&a_job("x", "echo last words; exit 3").parameters()));
    let ended = world.ended(&execution).await;
    assert_eq!(ended.error.as_deref(), Some("Job.BackoffLimitExceeded"));
    // Step Functions takes the whole error of the function for its cause.
    let outer: Value = serde_json::from_str(&ended.cause.unwrap()).unwrap();
    let cause: Value = serde_json::from_str(outer["errorMessage"].as_str().unwrap()).unwrap();
    assert_eq!(outer["errorType"], json!("Job.BackoffLimitExceeded"));
    assert!(cause.to_string().contains("last words"), "{cause}");
    assert_eq!(cause["diagnosis"]["code"], json!("Job.BackoffLimitExceeded"));
}

#[tokio::test]
async fn a_large_log_is_cut_to_what_an_output_may_take() {
    let world = World::new().await;
    let execution = world.start(&invoking(&a_job("x", "yes 0123456789 | head -c 1500000").parameters()));
    let result = world.output(&execution).await;
    assert!(log(&result).as_str().unwrap().contains("bytes cut here"));
    let length = result.to_string().len();
    assert!((200 * 1024..=240 * 1024).contains(&length), "{length}");
}

#[tokio::test]
async fn a_cause_fits_even_nested_and_full_of_what_is_escaped() {
    let world = World::new().await;
    let execution = world.start(&invoking(&a_job("x", "yes '\"\\\"\\' | head -c 100000; exit 1").parameters()));
    let ended = world.ended(&execution).await;
    assert_eq!(ended.error.as_deref(), Some("Job.BackoffLimitExceeded"));
    let outer = ended.cause.unwrap();
    assert!((16_000..=32_768).contains(&outer.len()), "{}", outer.len());
    let outer: Value = serde_json::from_str(&outer).unwrap();
    let cause: Value = serde_json::from_str(outer["errorMessage"].as_str().unwrap()).unwrap();
    assert!(log(&cause).as_str().unwrap().contains("bytes cut here"), "{cause}");
}

#[tokio::test]
async fn a_call_gives_its_answer_or_fails_by_its_status() {
    let world = World::new().await;
    let call = |path: &str| json!({"Action": "call", "Method": "GET", "Path": path});
    let answer = world.invoke(&call("/api/v1/namespaces/default")).await.unwrap();
    assert_eq!(answer["StatusCode"], json!(200));
    assert_eq!(answer["ResponseBody"]["metadata"]["name"], json!("default"));
    let (error, cause) = told(world.invoke(&call("/api/v1/namespaces/none")).await);
    assert_eq!(error, "EKS.404");
    assert!(cause.to_string().contains("not found"), "{cause}");
}

#[tokio::test]
async fn the_articles_workflow_succeeds_with_the_function_in_the_place_of_eks() {
    let world = World::new().await;
    let job = a_job("", "echo '{ \"pi\": 3.1415926535897932384626433832795028841971693993751058209749 }'")
        .generated("my-eks-job-")
        .with("/ClusterName", "EKSCluster");
    let mut run = invoking(&job.parameters());
    run.as_object_mut().unwrap().extend(
        json!({
            "Type": "Task",
            "OutputPath": "$",
            "ResultSelector": {"status.$": "$.Payload.status", "logs.$": "$.Payload.logs..pi"},
            "ResultPath": "$.RunJobResult",
            "Next": "Do Something",
        })
        .as_object()
        .cloned()
        .unwrap(),
    );
    let machine = json!({"StartAt": "Run", "States": {"Run": run, "Do Something": {"Type": "Pass", "End": true}}});
    let output = world.output(&world.start_machine(&machine, &json!({"before": 1}))).await;
    assert_eq!(output["before"], json!(1));
    assert_eq!(output["RunJobResult"]["status"]["succeeded"], json!(1));
    let pi = output["RunJobResult"]["logs"].to_string();
    assert_eq!(pi, "[3.1415926535897932384626433832795028841971693993751058209749]");
}
