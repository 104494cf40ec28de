//! Creating a Job, once, whatever happens on the way.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{faults::Effect, kube::Propagation};
use runjob_scenarios::{
    jobs::a_job,
    world::{World, told},
};
use serde_json::json;

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

#[tokio::test]
async fn a_create_that_is_answered_with_no_job_is_looked_up() {
    for body in ["<html>ok</html>", "", "null", "{}", r#"{"kind": "Job", "metadata": {"name": "x"}}"#] {
        let world = World::new().await.unwrap();
        let garbled = Effect::Answer { status: StatusCode::CREATED, retry_after: None, body: body.to_owned() };
        world.sandbox.kube.faults().plan("create jobs", garbled, 1);
        world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
        assert!(!world.sandbox.kube.recorder().of("get jobs").is_empty(), "{body}");
        assert_eq!(world.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn an_answer_of_something_on_the_way_decides_nothing() {
    for status in [StatusCode::CONFLICT, StatusCode::IM_A_TEAPOT, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
        let world = World::new().await.unwrap();
        let of_a_proxy = Effect::Answer { status, retry_after: None, body: "<html>no</html>".into() };
        world.sandbox.kube.faults().plan("create jobs", of_a_proxy, 1);
        world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
        assert_eq!(world.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn a_refusal_that_cannot_pass_is_answered_at_once() {
    for message in [
        "resourceVersion should not be set on objects to be created",
        "Internal error occurred: failed calling webhook \"w\": received invalid webhook response: no uid",
        "admission webhook \"w\" denied the request: not here",
    ] {
        let world = World::new().await.unwrap();
        let body = json!({"kind": "Status", "status": "Failure", "code": 500, "message": message}).to_string();
        let refused = Effect::Answer { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None, body };
        world.sandbox.kube.faults().plan("create jobs", refused, 1);
        let (error, cause) = world.run(&a_job("x", "true")).await.unwrap().failure().unwrap();
        assert_eq!((error.as_str(), &cause["ResponseBody"]["message"]), ("EKS.500", &json!(message)));
    }
}
