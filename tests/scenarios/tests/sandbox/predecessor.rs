//! Names that the Job of an earlier task still has.

use std::time::Duration;

use http::StatusCode;
use runjob_sandbox::{
    faults::Effect,
    kube::{self, ChangeKind},
    sfn::{BareTask, Event, ExecutionStatus},
};
use runjob_scenarios::{
    jobs::{Gate, a_job},
    world::{Told, World, told},
};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

/// So seldom that the tracker learns of nothing by itself: what is found out, intake has asked for.
const SELDOM: [&str; 2] = ["--heartbeat-interval", "1h"];
const INVALID_TOKEN: &str = r#"{"__type": "InvalidToken", "message": "not now"}"#;

/// What is done to an object.
type Change = fn(&mut Value);

/// A task whose Job `x` runs.
async fn running(world: &World) -> BareTask {
    let task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    task
}

/// A task for a Job of that name, when another has it.
async fn next(world: &World, name: &str) -> Told {
    world.run(&a_job(name, "echo next")).await.unwrap()
}

fn assert_next_has_run(told: Told) {
    let result = told.output().unwrap();
    assert!(result["logs"].to_string().contains("next"), "{result}");
}

fn assert_native_conflict(told: Told, what: &str) {
    let (error, cause) = told.failure().unwrap();
    assert_eq!(error, "EKS.409", "{what}: {cause}");
    assert_eq!(cause["ResponseBody"]["reason"], json!("AlreadyExists"), "{what}");
}

/// The same Job as before, and nobody has asked for its end.
fn assert_untouched(world: &World, before: &Value) {
    let name = before["metadata"]["name"].as_str().unwrap();
    let now = world.sandbox.kubernetes().get("jobs", "default", name).unwrap();
    assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"], "{name} was replaced");
    assert_eq!(now["metadata"].get("deletionTimestamp"), None, "{name} was deleted");
}

fn job(world: &World, name: &str) -> Value {
    world.sandbox.kubernetes().get("jobs", "default", name).unwrap()
}

fn fail_deletions(world: &World, effect: &Effect) {
    // Intake's, and the tracker's: whichever comes first.
    world.sandbox.kube.faults().plan("delete jobs", effect.clone(), 2);
}

/// Waits until so many requests of that kind have arrived, answered or not.
async fn asked(world: &World, kind: &str, least: usize) {
    let arrived =
        world.sandbox.kube.recorder().wait_for(|requests| {
            (requests.iter().filter(|request| request.kind == kind).count() >= least).then_some(())
        });
    tokio::time::timeout(Duration::from_mins(1), arrived).await.unwrap();
}

/// Waits until so many heartbeats were told that nobody waits.
async fn lost(world: &World, least: usize) {
    let told = world.sandbox.sfn.recorder().wait_for(|requests| {
        let beats = requests.iter().filter(|request| request.kind == "SendTaskHeartbeat");
        (beats.filter(|beat| beat.status == Some(StatusCode::BAD_REQUEST)).count() >= least).then_some(())
    });
    tokio::time::timeout(Duration::from_mins(1), told).await.unwrap();
}

/// The most pods that there were at the same time, and all of them.
fn most_pods(changes: &mut Receiver<kube::Change>) -> (usize, usize) {
    let (mut now, mut most, mut all) = (0, 0, 0);
    while let Ok(change) = changes.try_recv() {
        match change.kind {
            _ if change.object["kind"] != json!("Pod") => {}
            ChangeKind::Added => {
                now += 1;
                all += 1;
                most = most.max(now);
            }
            ChangeKind::Modified => {}
            ChangeKind::Deleted => now -= 1,
        }
    }
    (most, all)
}

#[tokio::test]
async fn a_state_that_timed_out_is_tried_again_under_the_same_name() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let mark = std::env::temp_dir().join(format!("runjob-timed-out-{}", std::process::id()));
    let script = format!(
        "if mkdir {}; then trap 'sleep 0.5; exit 0' TERM; while true; do sleep 0.05; done; fi; echo next",
        mark.display()
    );
    let request: Value = serde_json::from_str(&a_job("x", &script).input()).unwrap();
    // Should the machine be very slow, the second attempt times out as well; what must not happen is another failure.
    let definition = json!({"StartAt": "Work", "States": {"Work": {
        "Type": "Task", "Resource": world.sandbox.activity(), "TimeoutSeconds": 3, "Parameters": request, "End": true,
        "Retry": [{"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 1, "BackoffRate": 1.0, "MaxAttempts": 5}],
    }}});
    let step_functions = world.sandbox.step_functions();
    let mut changes = world.sandbox.kubernetes().changes();
    let machine = step_functions.create_state_machine("retries", &definition.to_string()).unwrap();
    let execution = step_functions.start_execution(&machine, None, "{}").unwrap();
    let finished = tokio::time::timeout(Duration::from_mins(1), step_functions.finished(&execution)).await;
    std::fs::remove_dir(mark).unwrap();
    let finished = finished.unwrap().unwrap();
    assert_eq!(finished.status, ExecutionStatus::Succeeded, "{finished:?}");
    assert!(finished.output.unwrap().contains("next"));
    let history = step_functions.history(&execution);
    assert!(!history.iter().any(|event| matches!(event.event, Event::ActivityFailed { .. })), "{history:?}");
    assert!(history.iter().any(|event| matches!(event.event, Event::ActivityTimedOut)), "{history:?}");
    // The second attempt's pod comes after the first one's has gone.
    assert_eq!(most_pods(&mut changes), (1, 2));
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_leftover_is_deleted_as_it_was_looked_at_and_awaited() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let mut changes = world.sandbox.kubernetes().changes();
    running(&world).await.abort();
    assert_next_has_run(next(&world, "x").await);
    assert_eq!(most_pods(&mut changes), (1, 2));
    for request in world.sandbox.kube.recorder().of("delete jobs") {
        let options: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(options["propagationPolicy"], json!("Foreground"));
        assert!(options["preconditions"]["uid"].is_string() && options["preconditions"]["resourceVersion"].is_string());
    }
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn a_job_that_somebody_waits_for_is_the_native_conflict() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("alive");
    let first = world.task(&gate.job("x").input());
    let before = world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    assert_native_conflict(next(&world, "x").await, "alive");
    assert_untouched(&world, &before);
    gate.open().unwrap();
    let result = told(&first).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("finished"), "{result}");
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 0);
}

#[tokio::test]
async fn a_job_that_has_finished_is_the_native_conflict() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let gate = Gate::closed("finished");
    let first = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    // Nobody learns of its end yet: its task is still open.
    world.sandbox.kubernetes().mute_watches(true);
    gate.open().unwrap();
    let before = world.job("x", |job| job["status"]["succeeded"] == json!(1)).await.unwrap();
    assert_native_conflict(next(&world, "x").await, "finished and open");
    assert_untouched(&world, &before);
    world.sandbox.kubernetes().mute_watches(false);
    told(&first).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    assert_native_conflict(next(&world, "x").await, "finished and settled");
    assert_untouched(&world, &before);
}

#[tokio::test]
async fn a_job_that_finishes_while_it_is_about_to_be_deleted_stays() {
    let world = World::new_with(&SELDOM).await.unwrap();
    running(&world).await.abort();
    let before = job(&world, "x");
    fail_deletions(&world, &Effect::Delay(Duration::from_secs(2)));
    let second = world.task(&a_job("x", "echo next").input());
    asked(&world, "delete jobs", 1).await;
    let complete = json!([{"type": "Complete", "status": "True"}]);
    world.sandbox.kubernetes().edit("jobs", "default", "x", |job| job["status"]["conditions"] = complete).unwrap();
    assert_native_conflict(told(&second).await.unwrap(), "finished in between");
    assert_untouched(&world, &before);
}

#[tokio::test]
async fn a_detached_job_is_the_native_conflict() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let first = world.task(&a_job("x", "sleep 600").with("/OnTaskGone", "detach").input());
    let before = world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    first.abort();
    assert_native_conflict(next(&world, "x").await, "detached");
    assert_untouched(&world, &before);
    assert_eq!(world.sandbox.kubernetes().running_processes(), 1);
}

#[tokio::test]
async fn a_job_of_somebody_else_is_the_native_conflict_whatever_became_of_its_task() {
    let world = World::new_with(&SELDOM).await.unwrap();
    running(&world).await.abort();
    let stamped = job(&world, "x");
    // Jobs that carry the stamp of a task that has ended, or nearly so.
    let leave = |name: &str, change: Change| {
        let mut job = a_job(name, "sleep 600").job();
        job["metadata"]["labels"] = json!({"runjob/group": stamped["metadata"]["labels"]["runjob/group"]});
        job["metadata"]["annotations"] = stamped["metadata"]["annotations"].clone();
        job["metadata"]["annotations"]["runjob/object"] = json!(format!("default/{name}"));
        change(&mut job);
        world.sandbox.kubernetes().create(job).unwrap()
    };
    let others: [(&str, Change); 6] = [
        ("copy", |job| job["metadata"]["annotations"]["runjob/object"] = json!("default/x")),
        ("group", |job| job["metadata"]["labels"]["runjob/group"] = json!("other")),
        ("account", |job| {
            job["metadata"]["annotations"]["runjob/source"] = json!("arn:aws:states:us-east-1:999999999999:activity:a");
        }),
        ("region", |job| {
            job["metadata"]["annotations"]["runjob/source"] = json!("arn:aws:states:eu-west-1:123456789012:activity:a");
        }),
        ("version", |job| job["metadata"]["annotations"]["runjob/v"] = json!("2")),
        // Nobody knows that token, and that proves nothing.
        ("token", |job| job["metadata"]["annotations"]["runjob/task-token"] = json!("never-heard-of")),
    ];
    for (what, change) in others {
        let before = leave(what, change);
        assert_native_conflict(next(&world, what).await, what);
        assert_untouched(&world, &before);
    }
    leave("nothing", |_| {});
    assert_next_has_run(next(&world, "nothing").await);
}

#[tokio::test]
async fn an_invalid_token_counts_as_gone_once_it_was_accepted() {
    let world = World::new_with(&SELDOM).await.unwrap();
    let _first = running(&world).await;
    let invalid = Effect::Answer { status: StatusCode::BAD_REQUEST, retry_after: None, body: INVALID_TOKEN.into() };
    world.sandbox.sfn.faults().plan("SendTaskHeartbeat", invalid.clone(), 1);
    assert_native_conflict(next(&world, "x").await, "never accepted");
    assert_native_conflict(next(&world, "x").await, "accepted");
    world.sandbox.sfn.faults().plan("SendTaskHeartbeat", invalid, 1);
    assert_next_has_run(next(&world, "x").await);
    assert_eq!(world.sandbox.sfn.recorder().of("SendTaskHeartbeat").len(), 3);
}

#[tokio::test]
async fn a_service_that_cannot_be_asked_is_asked_again() {
    let world = World::new_with(&SELDOM).await.unwrap();
    running(&world).await.abort();
    let throttled = r#"{"__type": "ThrottlingException", "message": "slow down"}"#.to_owned();
    let throttled = Effect::Answer { status: StatusCode::BAD_REQUEST, retry_after: None, body: throttled };
    world.sandbox.sfn.faults().plan("SendTaskHeartbeat", Effect::Refuse, 1);
    world.sandbox.sfn.faults().plan("SendTaskHeartbeat", throttled, 1);
    assert_next_has_run(next(&world, "x").await);
}

#[tokio::test]
async fn a_deletion_that_is_refused_is_the_native_conflict() {
    let world = World::new_with(&SELDOM).await.unwrap();
    running(&world).await.abort();
    let before = job(&world, "x");
    let body = json!({"kind": "Status", "reason": "Forbidden", "message": "not you"}).to_string();
    fail_deletions(&world, &Effect::Answer { status: StatusCode::FORBIDDEN, retry_after: None, body });
    assert_native_conflict(next(&world, "x").await, "forbidden");
    assert_untouched(&world, &before);
    asked(&world, "delete jobs", 2).await;
    // That the task is gone is known by now, even if the service would not say so again.
    assert_next_has_run(next(&world, "x").await);
    assert_eq!(world.sandbox.sfn.recorder().of("SendTaskHeartbeat").len(), 1);
}

#[tokio::test]
async fn a_deletion_that_fails_or_whose_answer_is_lost_is_looked_into() {
    let world = World::new_with(&SELDOM).await.unwrap();
    running(&world).await.abort();
    let overload = Effect::Answer { status: StatusCode::SERVICE_UNAVAILABLE, retry_after: None, body: "{}".into() };
    fail_deletions(&world, &overload);
    world.sandbox.kube.faults().plan("delete jobs", Effect::CutAfterApply, 1);
    assert_next_has_run(next(&world, "x").await);
}

#[tokio::test]
async fn a_task_that_ends_while_it_waits_for_the_name_gets_no_job() {
    let world = World::new_with(&["--heartbeat-interval", "200ms", "--max-in-flight", "2"]).await.unwrap();
    let kube = world.sandbox.kubernetes();
    let first = running(&world).await;
    world.polls_held(1).await.unwrap();
    let pod = kube.list("pods", None).pop().unwrap();
    let finalize = |change: fn(&mut Vec<Value>)| {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let edit = |pod: &mut Value| change(pod["metadata"]["finalizers"].as_array_mut().unwrap());
        kube.edit("pods", "default", name, edit).unwrap();
    };
    // Until the test lets go of it, the pod does not go.
    finalize(|finalizers| finalizers.push(json!("example.com/hold")));
    first.abort();
    let second = world.task(&a_job("x", "echo next").input());
    second.handed_out().await;
    world.request("create jobs", |create| create.status == Some(StatusCode::CONFLICT)).await.unwrap();
    world.job("x", |job| job["metadata"]["deletionTimestamp"].is_string()).await.unwrap();
    // The Job that is on its way out counts, and so does the task that waits.
    assert_eq!(world.sandbox.step_functions().waiting_polls(world.sandbox.activity()), 0);
    second.abort();
    // Long before its patience with the name is over, there is room for another task.
    tokio::time::timeout(Duration::from_mins(1), world.polls_held(1)).await.unwrap().unwrap();
    finalize(|finalizers| finalizers.retain(|one| one != "example.com/hold"));
    world.empty_cluster().await.unwrap();
    let created = world.sandbox.kube.recorder().of("create jobs");
    assert_eq!(created.iter().filter(|create| create.status == Some(StatusCode::CREATED)).count(), 1);
}

#[tokio::test]
async fn a_task_that_has_ended_deletes_nothing_any_more() {
    let world = World::new_with(&["--heartbeat-interval", "200ms", "--max-in-flight", "1"]).await.unwrap();
    world.polls_held(1).await.unwrap();
    // The tracker does not see the leftover: if it is deleted, it is intake that does it.
    world.sandbox.kubernetes().mute_watches(true);
    running(&world).await.abort();
    lost(&world, 1).await;
    let before = job(&world, "x");
    world.sandbox.kube.faults().plan("get jobs", Effect::Delay(Duration::from_secs(3)), 1);
    let second = world.task(&a_job("x", "echo next").input());
    asked(&world, "get jobs", 1).await;
    second.abort();
    lost(&world, 2).await;
    world.answered("get jobs").await.unwrap();
    world.polls_held(1).await.unwrap();
    assert_untouched(&world, &before);
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 0);
}
