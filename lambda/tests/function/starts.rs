//! `runJob`: the Job is started, and that is all.

use runjob_scenarios::jobs::{Gate, JobRequest, a_job};
use serde_json::json;

use crate::world::{World, is_settled, keyed};

fn starting(job: &JobRequest) -> JobRequest {
    job.clone().with("/Action", "runJob")
}

#[tokio::test]
async fn a_start_gives_the_job_which_is_settled_from_the_beginning() {
    let (world, gate) = (World::new().await, Gate::closed("started"));
    let job = world.ask(&starting(&gate.job("x"))).await.unwrap();
    assert_eq!(job["metadata"]["name"], json!("x"));
    assert!(!job.to_string().contains("runjob/"), "{job}");
    let found = world.runs("x").await;
    assert!(is_settled(&found), "{found}");
    let counts = world.sandbox.kube.recorder().counts();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("create jobs".to_owned(), 1)]);
    world.assert_one_job();
}

#[tokio::test]
async fn a_start_with_a_key_gives_the_job_that_there_is_failed_or_not() {
    let world = World::new().await;
    for (name, script, end) in [("x", "exit 3", "Failed"), ("y", ":", "Complete")] {
        let job = starting(&keyed(&a_job(name, script)));
        let first = world.ask(&job).await.unwrap();
        world.came_to(name, end).await;
        let second = world.ask(&job).await.unwrap();
        assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
    }
    assert_eq!(world.created(), 2);
    assert_eq!(world.sandbox.kube.recorder().of("patch jobs").len(), 0);
}
