//! Logs of any size and any bytes.

use std::time::Duration;

use runjob_sandbox::faults::Effect;
use runjob_scenarios::{
    jobs::a_job,
    world::{World, told},
};
use serde_json::{Value, json};

/// The longest output that Step Functions takes.
const OUTPUT_LIMIT: usize = 262_144;

fn log(result: &Value) -> &Value {
    &result["logs"]["pods"].as_object().unwrap().values().next().unwrap()["containers"]["main"]
}

#[tokio::test]
async fn of_ten_megabytes_the_beginning_and_the_end_are_kept() {
    let world = World::new().await.unwrap();
    // 10 MB of lines full of what JSON has to escape.
    let script = "echo the-beginning; yes '\"quoted\" \\ line' | head -c 10000000; echo; echo the-end";
    let result = world.run(&a_job("x", script)).await.unwrap().output().unwrap();
    assert!(result.to_string().len() <= OUTPUT_LIMIT);
    assert_eq!(log(&result)["truncated"], json!(true));
    let text = log(&result)["log"].as_str().unwrap();
    assert!(text.starts_with("the-beginning\n") && text.ends_with("\nthe-end\n"));
    assert!(text.contains("bytes cut here]"));
    assert!(result.to_string().len() > OUTPUT_LIMIT * 8 / 10, "{} bytes of room used", result.to_string().len());
}

#[tokio::test]
async fn a_failed_jobs_cause_stays_within_its_limit() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "yes | head -c 1000000; echo the-end; exit 1").and_container("other", "echo small");
    let task = world.task(&job.input());
    let (_, cause) = told(&task).await.unwrap().failure().unwrap();
    assert!(cause.to_string().len() <= 32_768);
    let containers = &cause["logs"]["pods"].as_object().unwrap().values().next().unwrap()["containers"];
    assert_eq!(containers["other"], json!({"log": "small\n"}));
    assert!(containers["main"]["log"].as_str().unwrap().ends_with("the-end\n"));
}

#[tokio::test]
async fn logs_that_are_gone_with_their_pod_are_counted() {
    // Here a pod is gone at the very moment of `FailureTarget`, and the list comes too late.
    let world = World::new().await.unwrap();
    world.sandbox.kube.faults().plan("list pods", Effect::Delay(Duration::from_millis(500)), 1);
    let job = a_job("x", "exit 1")
        .with("/Job/spec/backoffLimit", 1)
        .with("/Job/spec/template/spec/restartPolicy", "OnFailure");
    let (_, cause) = world.run(&job).await.unwrap().failure().unwrap();
    assert_eq!(cause["logs"], json!({"pods": {}, "missing": 1}));
}
