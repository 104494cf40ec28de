//! Each fault of the sandbox, and a worker that gets over it.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::faults::Effect;
use runjob_scenarios::{
    jobs::{Gate, a_job},
    world::{World, told},
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_task_that_is_delivered_twice_has_one_job_and_one_answer() {
    let mut world = World::empty().await.unwrap();
    world.sandbox.sfn.faults().plan("GetActivityTask", Effect::AnswerTwice, 1);
    world.start_worker(&["--pollers", "1"]).await.unwrap();
    let gate = Gate::closed("twice");
    let task = world.task(&gate.job("x").input());
    // The second delivery finds the Job, and has another look at it.
    world.request("create jobs", |create| create.status == Some(StatusCode::CONFLICT)).await.unwrap();
    gate.open().unwrap();
    let result = told(&task).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("finished"), "{result}");
    world.settled("x").await.unwrap();
    assert_eq!(world.sandbox.sfn.recorder().of("SendTaskSuccess").len(), 1);
    assert_eq!(world.sandbox.sfn.recorder().of("SendTaskFailure").len(), 0);
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_job_whose_stamp_admission_strips_does_not_stay() {
    let strips: [fn(&mut Value); 2] =
        [|job| job["metadata"]["labels"] = json!({}), |job| job["metadata"]["annotations"] = json!({})];
    for strip in strips {
        let world = World::new().await.unwrap();
        world.sandbox.kube.faults().plan("create jobs", Effect::Mutate(strip), 1);
        let (error, cause) = world.run(&a_job("x", "sleep 600")).await.unwrap().failure().unwrap();
        assert_eq!(error, "RunJob.StampRejected", "{cause}");
        world.empty_cluster().await.unwrap();
        assert_eq!(world.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn a_watch_whose_version_is_always_too_old_begins_anew_with_a_list() {
    let world = World::new().await.unwrap();
    let gate = Gate::closed("gone");
    let task = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    let lists = world.sandbox.kube.recorder().of("list jobs").len();
    let body = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}).to_string();
    let expired = Effect::Answer { status: StatusCode::GONE, retry_after: None, body };
    // The client asks for the same version again after such an answer, as if it could be there the next time.
    world.sandbox.kube.faults().plan("watch jobs", expired, 5);
    world.sandbox.kubernetes().cut_watches();
    gate.open().unwrap();
    told(&task).await.unwrap().output().unwrap();
    assert!(world.sandbox.kube.recorder().of("list jobs").len() > lists);
}

#[tokio::test]
async fn a_watch_that_ends_every_second_loses_nothing() {
    let world = World::new_with(&["--heartbeat-interval", "200ms"]).await.unwrap();
    world.sandbox.kubernetes().limit_watches(Some(Duration::from_secs(1)));
    let jobs = (0..5).map(|number| a_job(&format!("x-{number}"), &format!("sleep {number}; echo done")));
    let tasks: Vec<_> = jobs.map(|job| world.task(&job.input())).collect();
    for task in tasks {
        let result = told(&task).await.unwrap().output().unwrap();
        assert!(result["logs"].to_string().contains("done"), "{result}");
    }
    let counts = world.sandbox.kube.recorder().counts();
    assert!(counts["watch jobs"] >= 4, "{counts:?}");
    // A watch that ends goes on from where it was.
    assert_eq!(counts["list jobs"], 1, "{counts:?}");
    assert_eq!(world.violations(), [""; 0]);
}
