//! Processes of the function: cold and warm, several at a time, and what they write.

use runjob_scenarios::jobs::{Gate, a_job};
use serde_json::json;

use crate::world::{SECRET, World, log};

#[tokio::test]
async fn a_warm_process_serves_the_next_invocation() {
    let world = World::new().await;
    for name in ["x", "y"] {
        assert_eq!(log(&world.ask(&a_job(name, "echo done")).await.unwrap()), &json!("done\n"));
    }
    let environments = world.function.environments();
    assert_eq!((environments.len(), environments[0].invocations), (1, 2));
    let init = environments[0].init.unwrap();
    println!("started in {init:?}");
    world.assert_lawful();
}

#[tokio::test]
async fn invocations_at_a_time_are_processes_and_jobs_of_their_own() {
    let (world, gate) = (World::new().await, Gate::closed("at-a-time"));
    let [x, y] = ["x", "y"].map(|name| gate.job(name));
    let opened = async {
        world.runs("x").await;
        world.runs("y").await;
        gate.open().unwrap();
    };
    let (x, y, ()) = tokio::join!(world.ask(&x), world.ask(&y), opened);
    for result in [x, y] {
        assert_eq!(log(&result.unwrap()), &json!("finished\n"));
    }
    assert_eq!((world.created(), world.function.environments().len()), (2, 2));
}

#[tokio::test]
async fn no_credential_is_logged() {
    let world =
        World::with(|bootstrap| bootstrap.timeout(std::time::Duration::from_mins(1)).env("RUNJOB_LOG", "trace")).await;
    world.ask(&a_job("x", "echo done")).await.unwrap();
    let logs = world.function.logs();
    assert!(logs.contains("the Job is created"), "{logs}");
    assert!(!logs.contains(SECRET), "{logs}");
}
