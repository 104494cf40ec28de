//! Creating a Job, once, whatever happens on the way.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{faults::Effect, kube::Propagation};
use runjob_scenarios::{
    jobs::a_job,
    world::{World, told},
};

#[tokio::test]
async fn a_create_whose_answer_is_lost_makes_one_job() {
    let world = World::new().await.unwrap();
    world.sandbox.kube.faults().plan("create jobs", Effect::CutAfterApply, 1);
    let result = world.run(&a_job("", "echo once").generated("lost-")).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("once"));
    assert_eq!(world.sandbox.kubernetes().list("jobs", None).len(), 1);
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1);
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_looked_up_before_it_is_repeated() {
    let world = World::new().await.unwrap();
    world.polls_held(1).await.unwrap();
    // The watch has nothing to say for now.
    world.sandbox.kubernetes().mute_watches(true);
    world.sandbox.kube.faults().plan("create jobs", Effect::CutAfterApply, 1);
    let task = world.task(&a_job("x", "echo once").input());
    world.answered("get jobs").await.unwrap();
    world.sandbox.kubernetes().mute_watches(false);
    told(&task).await.unwrap().output().unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1);
    assert_eq!(world.sandbox.kubernetes().list("jobs", None).len(), 1);
}

#[tokio::test]
async fn a_job_that_has_run_and_gone_is_not_created_again() {
    let world = World::new().await.unwrap();
    world.polls_held(1).await.unwrap();
    world.sandbox.kubernetes().mute_watches(true);
    world.sandbox.kube.faults().plan("create jobs", Effect::CutAfterApply, 1);
    // The look-up comes too late: meanwhile the Job was deleted, and its task has ended.
    world.sandbox.kube.faults().plan("get jobs", Effect::Delay(Duration::from_millis(300)), 1);
    let task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |_| true).await.unwrap();
    world.sandbox.kubernetes().delete("jobs", "default", "x", Propagation::Background).unwrap();
    task.abort();
    world.answered("SendTaskHeartbeat").await.unwrap();
    world.sandbox.kubernetes().mute_watches(false);
    world.ask(&a_job("y", "true").input()).await.unwrap().output().unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 2);
    assert_eq!(world.sandbox.kubernetes().get("jobs", "default", "x"), None);
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    let world = World::new().await.unwrap();
    let overload = Effect::Answer { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some(1), body: "{}".into() };
    let outage = Effect::Answer { status: StatusCode::UNAUTHORIZED, retry_after: None, body: "{}".into() };
    world.sandbox.kube.faults().plan("create jobs", Effect::Refuse, 1);
    world.sandbox.kube.faults().plan("create jobs", overload, 1);
    world.sandbox.kube.faults().plan("create jobs", outage, 1);
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 4);
}
