//! Jobs that fail.

use std::time::Duration;

use runjob_sandbox::{
    faults::Effect,
    kube::{self, Propagation},
    sandbox::Config,
};
use runjob_scenarios::{
    jobs::a_job,
    world::{World, told},
};
use serde_json::json;

#[tokio::test]
async fn a_job_that_fails_gives_its_exit_code_and_its_logs_in_the_cause() {
    let world = World::new().await.unwrap();
    let (error, cause) = world.run(&a_job("x", "echo working; exit 3")).await.unwrap().failure().unwrap();
    assert_eq!(error, "Job.BackoffLimitExceeded");
    let diagnosis = &cause["diagnosis"];
    assert_eq!(diagnosis["code"], json!("Job.BackoffLimitExceeded"));
    assert_eq!(diagnosis["containers"][0]["exitCode"], json!(3));
    assert!(diagnosis["summary"].as_str().unwrap().contains("exit code 3"), "{diagnosis}");
    assert_eq!(cause["job"]["status"]["failed"], json!(1));
    assert!(cause["logs"].to_string().contains("working"), "{cause}");
    world.settled("x").await.unwrap();
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn logs_of_a_failed_job_are_there_unless_they_were_declined() {
    let world = World::new().await.unwrap();
    let silent = a_job("x", "echo secret; exit 1").with("/LogOptions/RetrieveLogs", false);
    let (_, cause) = world.run(&silent).await.unwrap().failure().unwrap();
    assert_eq!(cause.get("logs"), None);
    assert_eq!(cause["diagnosis"]["containers"][0]["exitCode"], json!(1));
    let unspoken = a_job("y", "echo here; exit 1").with("/LogOptions", json!({}));
    let (_, cause) = world.run(&unspoken).await.unwrap().failure().unwrap();
    assert!(cause["logs"].to_string().contains("here"));
}

#[tokio::test]
async fn the_logs_of_a_pod_that_kubernetes_deletes_are_in_the_cause() {
    // A kubelet takes its time: a pod is gone about two seconds after `FailureTarget`.
    let kube = kube::Config { phase_lag: Duration::from_secs(1), ..kube::Config::quick() };
    let mut world = World::with(Config { kube, ..Config::default() }).await.unwrap();
    world.start_worker(&[]).await.unwrap();
    let job = a_job("x", "echo last-words; exit 1")
        .with("/Job/spec/backoffLimit", 1)
        .with("/Job/spec/template/spec/restartPolicy", "OnFailure");
    let (error, cause) = world.run(&job).await.unwrap().failure().unwrap();
    assert_eq!(error, "Job.BackoffLimitExceeded");
    assert!(cause["logs"].to_string().contains("last-words"), "{cause}");
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

#[tokio::test]
async fn what_a_container_prints_while_it_is_terminated_is_in_the_cause() {
    let world = World::new().await.unwrap();
    let script =
        "trap 'echo got-term; sleep 1; echo bye-now; exit 3' TERM; echo started; while true; do sleep 0.1; done";
    let job = a_job("x", script).with("/Job/spec/activeDeadlineSeconds", 1);
    let (error, cause) = world.run(&job).await.unwrap().failure().unwrap();
    assert_eq!(error, "Job.DeadlineExceeded");
    let logs = cause["logs"].to_string();
    assert!(logs.contains("started\\ngot-term\\nbye-now"), "{logs}");
}

#[tokio::test]
async fn one_name_can_stand_for_all_failures_of_jobs() {
    let world = World::new_with(&["--job-failed-error", "JobFailed"]).await.unwrap();
    let (error, cause) = world.run(&a_job("x", "exit 1")).await.unwrap().failure().unwrap();
    assert_eq!((error.as_str(), &cause["diagnosis"]["code"]), ("JobFailed", &json!("Job.BackoffLimitExceeded")));
}

#[tokio::test]
async fn a_job_that_somebody_deletes_is_reported_as_deleted() {
    let world = World::new().await.unwrap();
    let task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    world.sandbox.kubernetes().delete("jobs", "default", "x", Propagation::Background).unwrap();
    let (error, cause) = told(&task).await.unwrap().failure().unwrap();
    assert_eq!(error, "Job.Deleted");
    assert!(cause["diagnosis"]["summary"].as_str().unwrap().contains("default/x was deleted"), "{cause}");
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_lost_its_label_gets_it_back() {
    let world = World::new().await.unwrap();
    let task = world.task(&a_job("x", "while [ ! -e go ]; do sleep 0.05; done").input());
    world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    let kube = world.sandbox.kubernetes();
    let strip = |job: &mut serde_json::Value| {
        job["metadata"]["labels"].as_object_mut().unwrap().shift_remove("runjob/group");
    };
    kube.edit("jobs", "default", "x", strip).unwrap();
    world.job("x", |job| job["metadata"]["labels"].get("runjob/group").is_some()).await.unwrap();
    assert_eq!(task.outcome(), None);
    kube.delete("jobs", "default", "x", Propagation::Background).unwrap();
    assert_eq!(told(&task).await.unwrap().failure().unwrap().0, "Job.Deleted");
}
