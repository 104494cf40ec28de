//! What a worker process takes of its machine when the Kubernetes API answers at length.

use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use runjob_sandbox::{faults::Effect, sfn::Clocks};
use runjob_scenarios::{
    jobs::a_job,
    process::{Surroundings, WorkerProcess},
    world::{Told, World, told},
};
use serde_json::{Value, json};

const WORKER: &str = env!("CARGO_BIN_EXE_runjob-under-test");

const MIB: usize = 1024 * 1024;
/// What may be taken beyond what an idle worker takes, in KiB.
const MOST: u64 = 64 * 1024;

/// A call for a long list.
fn a_call() -> String {
    json!({"Method": "GET", "Path": "/api/v1/namespaces/default/pods"}).to_string()
}

/// The next such calls get an answer of about so many bytes.
fn plan(world: &World, answer: &str, times: u32) {
    let effect = Effect::Answer { status: StatusCode::OK, retry_after: None, body: answer.to_owned() };
    world.sandbox.kube.faults().plan("list pods", effect, times);
}

/// Pods as they are in a list, of so many bytes together.
fn pods(bytes: usize) -> String {
    let pod = json!({"metadata": {"name": "x", "labels": {"a": "b"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "main", "image": "busybox", "env": [{"name": "A", "value": "B"}]}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    .to_string();
    let items = vec![pod.as_str(); bytes / (pod.len() + 1)].join(",");
    format!("{{\"items\":[{items}]}}")
}

/// What takes most room as a tree for its length.
fn ones(bytes: usize) -> String {
    format!("[{}1]", "1,".repeat(bytes / 2 - 2))
}

/// A worker process, and the most memory that it took until it had answered a call.
async fn a_worker(world: &World, flags: &[&str]) -> (WorkerProcess, u64) {
    let worker = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), flags).unwrap();
    let answer = world.ask(&a_call()).await;
    answer.unwrap_or_else(|error| panic!("{error}: {}", worker.log())).output().unwrap();
    let idle = worker.peak_kib().unwrap();
    (worker, idle)
}

fn is_too_large(answer: Told) {
    assert_eq!(answer.failure().unwrap().0, "RunJob.OutputTooLarge");
}

#[tokio::test]
async fn a_call_with_an_answer_of_16_mib_takes_little() {
    let world = World::empty().await.unwrap();
    let (worker, idle) = a_worker(&world, &[]).await;
    for answer in [pods(16 * MIB), ones(16 * MIB)] {
        plan(&world, &answer, 1);
        is_too_large(world.ask(&a_call()).await.unwrap());
    }
    let peak = worker.peak_kib().unwrap();
    assert!(peak <= idle + MOST, "{idle} KiB before, {peak} KiB at most");
}

#[tokio::test]
async fn thirty_two_calls_with_answers_of_a_mebibyte_take_little() {
    // The last ones fit once their spaces are gone.
    let spaced = ones(100 * 1024).replace(',', ",         ");
    for answer in [pods(MIB - 1024), ones(MIB), spaced] {
        let world = World::empty().await.unwrap();
        let (worker, idle) = a_worker(&world, &["--pollers", "4"]).await;
        plan(&world, &answer, 32);
        let tasks: Vec<_> = (0..32).map(|_| world.task(&a_call())).collect();
        let answers = join_all(tasks.iter().map(told)).await;
        assert!(answers.into_iter().all(|answer| answer.is_ok()));
        let peak = worker.peak_kib().unwrap();
        let kind: String = answer.chars().take(20).collect();
        assert!(peak <= idle + MOST, "{kind}: {idle} KiB before, {peak} KiB at most");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on_while_twenty_long_answers_come_in() {
    let world = World::empty().await.unwrap();
    let flags = ["--pollers", "4", "--heartbeat-interval", "1s"];
    let (_worker, _) = a_worker(&world, &flags).await;
    let clocks = Clocks { timeout: None, heartbeat: Some(Duration::from_secs(5)) };
    let waiting = world.task_with(&a_job("x", "sleep 600").input(), clocks);
    world.job("x", |job| job["status"]["active"] == json!(1)).await.unwrap();
    for answer in [pods(MIB - 1024), ones(480 * 1024), pods(16 * MIB)] {
        plan(&world, &answer, 20);
        let tasks: Vec<_> = (0..20).map(|_| world.task(&a_call())).collect();
        for answer in join_all(tasks.iter().map(told)).await {
            is_too_large(answer.unwrap());
        }
    }
    let beats = world.sandbox.sfn.recorder().of("SendTaskHeartbeat").len();
    world
        .sandbox
        .sfn
        .recorder()
        .wait_for(|requests| {
            (requests.iter().filter(|request| request.kind == "SendTaskHeartbeat").count() > beats).then_some(())
        })
        .await;
    assert_eq!(waiting.outcome(), None);
}

#[tokio::test]
async fn the_first_list_of_large_jobs_takes_little() {
    let (_, idle) = a_worker(&World::empty().await.unwrap(), &["--group", "large"]).await;
    // What a worker that is killed has polled for is lost: this is another world.
    let world = World::empty().await.unwrap();
    for number in 0..150 {
        let container = json!({"name": "main", "image": "busybox", "args": ["x".repeat(MIB / 2)]});
        let job: Value = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": format!("x-{number}"), "namespace": "default", "labels": {"runjob/group": "large"}},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}});
        world.sandbox.kubernetes().create(job).unwrap();
    }
    let (worker, _) = a_worker(&world, &["--group", "large"]).await;
    let peak = worker.peak_kib().unwrap();
    assert!(peak <= idle + MOST, "{idle} KiB with no Jobs, {peak} KiB at most with 150 of half a mebibyte");
}
