//! Jobs that succeed.

use runjob_scenarios::{jobs::a_job, world::World};
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_that_succeeds_gives_its_object_and_its_logs() {
    let world = World::new().await.unwrap();
    let result = world.run(&a_job("x", "echo '{\"answer\": 42}'")).await.unwrap().output().unwrap();
    assert_eq!((&result["apiVersion"], &result["kind"]), (&json!("batch/v1"), &json!("Job")));
    assert_eq!(result["status"]["succeeded"], json!(1));
    let logs: Vec<&Value> = result["logs"]["pods"].as_object().unwrap().values().collect();
    assert_eq!(logs, [&json!({"containers": {"main": {"log": {"answer": 42}}}})]);
    assert!(!result.to_string().contains("runjob/"), "{result}");
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn digits_are_kept_from_the_log_to_the_output() {
    let world = World::new().await.unwrap();
    let number = format!("3.{}", "1415926535".repeat(200));
    let result = world.run(&a_job("x", &format!("echo '{{\"pi\": {number}}}'"))).await.unwrap().output().unwrap();
    assert!(result.to_string().contains(&format!("{{\"pi\":{number}}}")));
}

#[tokio::test]
async fn logs_nobody_asked_for_are_not_read() {
    let world = World::new().await.unwrap();
    let result = world.run(&a_job("x", "true").with("/LogOptions", json!({}))).await.unwrap().output().unwrap();
    assert_eq!(result.get("logs"), None);
    assert_eq!(world.sandbox.kube.recorder().of("get pods/log").len(), 0);
}

#[tokio::test]
async fn two_containers_each_have_their_log() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "echo one").and_container("second", "echo two");
    let result = world.run(&job).await.unwrap().output().unwrap();
    let pod = result["logs"]["pods"].as_object().unwrap().values().next().unwrap();
    assert_eq!(pod["containers"], json!({"main": {"log": "one\n"}, "second": {"log": "two\n"}}));
}

#[tokio::test]
async fn a_generated_name_begins_with_its_prefix() {
    let world = World::new().await.unwrap();
    let result = world.run(&a_job("", "true").generated("report-")).await.unwrap().output().unwrap();
    let name = result["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("report-") && name.len() == "report-".len() + 10, "{name}");
    world.settled(name).await.unwrap();
}

#[tokio::test]
async fn retries_within_the_backoff_limit_lead_to_success() {
    let world = World::new().await.unwrap();
    let mark = std::env::temp_dir().join(format!("runjob-retries-{}", std::process::id()));
    let script = format!("echo x >> {0}; [ $(wc -l < {0}) -ge 3 ]", mark.display());
    let job = a_job("x", &script).with("/Job/spec/backoffLimit", 3);
    let result = world.run(&job).await.unwrap().output().unwrap();
    std::fs::remove_file(mark).unwrap();
    assert_eq!((&result["status"]["failed"], &result["status"]["succeeded"]), (&json!(2), &json!(1)));
    assert_eq!(result["logs"]["pods"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn a_start_is_answered_as_soon_as_the_job_exists() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "sleep 600").with("/Action", "runJob");
    let created = world.run(&job).await.unwrap().output().unwrap();
    assert_eq!(created["metadata"]["name"], json!("x"));
    assert_eq!(created["status"].get("succeeded"), None);
    let settled = world.settled("x").await.unwrap();
    assert_eq!(settled["metadata"].get("deletionTimestamp"), None);
}

#[tokio::test]
async fn a_job_that_is_kept_for_no_time_still_gives_its_logs() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "echo here").with("/Job/spec/ttlSecondsAfterFinished", 0);
    let result = world.run(&job).await.unwrap().output().unwrap();
    assert_eq!(result["spec"]["ttlSecondsAfterFinished"], json!(0));
    assert!(result["logs"].to_string().contains("here"));
    world.empty_cluster().await.unwrap();
}

#[tokio::test]
async fn what_stays_on_a_settled_job_are_four_annotations() {
    let world = World::new().await.unwrap();
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    let job = world.settled("x").await.unwrap();
    let names: Vec<&String> = job["metadata"]["annotations"].as_object().unwrap().keys().collect();
    let mut names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["runjob/owner", "runjob/settled", "runjob/spec-hash", "runjob/v"]);
    assert_eq!(job["metadata"]["labels"].get("runjob/group"), None);
}
