//! Logs of any size and any bytes.

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
async fn bytes_that_are_no_text_do_not_hurt() {
    let world = World::new().await.unwrap();
    let script = "printf 'a\\377\\376\\000b\\033[31m'; head -c 20000 /dev/urandom";
    let result = world.run(&a_job("x", script)).await.unwrap().output().unwrap();
    let text = log(&result)["log"].as_str().unwrap();
    assert!(text.starts_with("a\u{fffd}\u{fffd}\0b\u{1b}[31m"), "{text:?}");
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
async fn raw_logs_stay_text_and_parameters_are_passed_on() {
    let world = World::new().await.unwrap();
    let options = json!({"RetrieveLogs": true, "RawLogs": true, "LogParameters": {"tailLines": ["1"]}});
    let job = a_job("x", "echo 1; echo 42").with("/LogOptions", options);
    let result = world.run(&job).await.unwrap().output().unwrap();
    assert_eq!(log(&result), &json!({"log": "42\n"}));
}

#[tokio::test]
async fn a_log_may_be_bounded_by_the_user() {
    let world = World::new().await.unwrap();
    let job = a_job("x", "yes | head -c 10000").with("/LogOptions/MaxBytes", 100);
    let result = world.run(&job).await.unwrap().output().unwrap();
    assert_eq!(log(&result)["truncated"], json!(true));
    assert!(log(&result)["log"].as_str().unwrap().len() < 200);
}
