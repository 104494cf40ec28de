//! The examples of `examples/`, as they stand there.

use serde_json::{Value, json};

use crate::world::World;

const INPUT: &str = include_str!("../../../examples/lambda/input.json");
const WAITING: &str = include_str!("../../../examples/lambda/waiting.asl.json");
const CALLBACK: &str = include_str!("../../../examples/lambda/callback.asl.json");
const SWEEP: &str = include_str!("../../../examples/lambda/sweep.json");
const START_AND_CALL: &str = include_str!("../../../examples/lambda/start-and-call.asl.json");
const ACTIVITY: &str = include_str!("../../../examples/activity/workflow.asl.json");
const ACTIVITY_INPUT: &str = include_str!("../../../examples/activity/input.json");

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The definition that is printed there, with the activity that there is.
fn of_activity(world: &World) -> Value {
    let printed = "arn:aws:states:eu-west-1:123456789012:activity:jobs";
    assert!(ACTIVITY.contains(printed));
    json_of(&ACTIVITY.replace(printed, world.sandbox.activity()))
}

#[tokio::test]
async fn the_example_of_an_activity_greets() {
    let world = World::new().await;
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    let execution = world.start_machine(&of_activity(&world), &json_of(ACTIVITY_INPUT));
    assert_eq!(world.output(&execution).await, json!({"greeting": ["hello, world"]}));
}

#[tokio::test]
async fn the_example_of_a_function_that_waits_greets() {
    let world = World::new().await;
    let execution = world.start_machine(&json_of(WAITING), &json_of(INPUT));
    assert!(world.output(&execution).await["logs"].to_string().contains("hello, world"));
    world.assert_one_job();
}

#[tokio::test]
async fn the_example_of_a_task_that_is_handed_over_greets_with_a_worker() {
    let world = World::new().await;
    let _worker = world.sandbox.worker(&[]).await.unwrap();
    let execution = world.start_machine(&json_of(CALLBACK), &json_of(INPUT));
    assert_eq!(world.output(&execution).await, json!({"greeting": ["hello, world"]}));
    world.assert_one_job();
}

#[tokio::test]
async fn the_example_of_a_task_that_is_handed_over_greets_with_a_sweep() {
    let world = World::new().await;
    let execution = world.start_machine(&json_of(CALLBACK), &json_of(INPUT));
    world.invoked(1).await;
    let kube = world.sandbox.kubernetes();
    let complete = |job: &Value| job["status"]["succeeded"] == json!(1);
    kube.wait_for(|kube| kube.list("jobs", None).iter().any(complete).then_some(())).await;
    assert_eq!(world.invoke(&json_of(SWEEP)).await.unwrap(), json!({"Clusters": {"default": "swept"}}));
    assert_eq!(world.output(&execution).await, json!({"greeting": ["hello, world"]}));
    world.assert_one_job();
}

#[tokio::test]
async fn the_example_of_a_start_and_a_call_leaves_nothing() {
    let world = World::new().await;
    let execution = world.start_machine(&json_of(START_AND_CALL), &json_of(INPUT));
    let output = world.output(&execution).await;
    assert!(output["found"]["uid"].is_string(), "{output}");
    let kube = world.sandbox.kubernetes();
    kube.wait_for(|kube| kube.list("jobs", None).is_empty().then_some(())).await;
    world.assert_lawful();
}

#[tokio::test]
async fn the_examples_say_when_it_fails() {
    let world = World::new().await;
    let mut input = json_of(INPUT);
    input["status"] = json!("3");
    let ended = world.ended(&world.start_machine(&json_of(WAITING), &input)).await;
    assert_eq!(ended.error.as_deref(), Some("Greeting.Failed"));
}
