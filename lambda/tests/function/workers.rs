//! A worker of the same group beside the function: Jobs that an invocation waits for are none of its business, until nobody does.

use std::time::Duration;

use runjob_scenarios::jobs::Gate;
use serde_json::json;
use tokio::time::timeout;

use crate::world::{World, keyed, log, retrying, told};

#[tokio::test]
async fn a_worker_leaves_the_job_of_an_invocation_alone() {
    let (world, gate) = (World::of_seconds(4).await, Gate::closed("left-alone"));
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    let execution = world.start(&retrying(&keyed(&gate.job("x")).parameters(), &["RunJob.StillRunning"]));
    world.invoked(3).await;
    gate.open().unwrap();
    assert_eq!(log(&world.output(&execution).await), &json!("finished\n"));
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 0);
    world.assert_one_job();
}

#[tokio::test]
async fn a_worker_deletes_the_job_of_an_invocation_that_nobody_comes_back_for() {
    let world =
        World::with(|bootstrap| bootstrap.timeout(Duration::from_secs(4)).env("RUNJOB_REATTACH_GRACE", "2s")).await;
    let gate = Gate::closed("nobody-comes-back");
    let _worker = world.sandbox.worker(&["--reattach-grace", "1s"]).await.unwrap();
    assert_eq!(told(world.ask(&keyed(&gate.job("x"))).await).0, "RunJob.StillRunning");
    let kube = world.sandbox.kubernetes();
    assert_eq!(kube.list("jobs", None).len(), 1);
    let gone = kube.wait_for(|kube| kube.list("jobs", None).is_empty().then_some(()));
    timeout(Duration::from_mins(1), gone).await.unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 1);
}
