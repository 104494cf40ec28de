//! SIGTERM: polls are awaited, Jobs go on.

use std::time::Duration;

use runjob_sandbox::{faults::Effect, sfn::EmptyPoll};
use runjob_scenarios::{
    jobs::{Gate, a_job},
    process::{Signal, Surroundings, WorkerProcess},
    world::{World, told},
};
use serde_json::json;

const WORKER: &str = env!("CARGO_BIN_EXE_runjob-under-test");

#[tokio::test]
async fn a_task_that_arrives_after_sigterm_is_still_started() {
    let world = World::with(World::holding_polls(Duration::from_secs(4))).await.unwrap();
    let mut worker = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &["--pollers", "1"]).unwrap();
    world.polls_held(1).await.unwrap();
    worker.terminate().await.unwrap();
    worker.says("no new task is taken").await.unwrap();
    // The poll that is in flight gets it.
    let task = world.task(&a_job("x", "sleep 600").input());
    world.job("x", |job| job["metadata"]["annotations"].get("runjob/task-token").is_some()).await.unwrap();
    assert!(worker.ended().await.unwrap().success());
    assert_eq!(task.outcome(), None);
    assert_eq!(world.sandbox.sfn.recorder().of("GetActivityTask").len(), 1);
    assert_eq!(world.sandbox.kube.recorder().of("delete jobs").len(), 0);
}

#[tokio::test]
async fn a_terminal_that_is_closed_drains_the_worker_and_other_signals_do_not_end_it() {
    for signal in [Signal::HangUp, Signal::Quit] {
        let world = World::with(World::holding_polls(Duration::from_secs(4))).await.unwrap();
        let mut worker = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &["--pollers", "1"]).unwrap();
        world.polls_held(1).await.unwrap();
        for (ignored, name) in [(Signal::User1, "SIGUSR1"), (Signal::User2, "SIGUSR2")] {
            worker.signal(ignored).await.unwrap();
            worker.says(name).await.unwrap();
        }
        worker.signal(signal).await.unwrap();
        worker.says("no new task is taken").await.unwrap();
        // The kernel and the shell may both send it.
        worker.signal(signal).await.unwrap();
        let task = world.task(&a_job("x", "sleep 600").input());
        world.job("x", |job| job["metadata"]["annotations"].get("runjob/task-token").is_some()).await.unwrap();
        assert!(worker.ended().await.unwrap().success(), "{signal:?}");
        assert_eq!(task.outcome(), None);
    }
}

#[tokio::test]
async fn jobs_go_on_without_their_worker_and_the_next_one_answers() {
    let world = World::with(World::holding_polls(Duration::from_secs(1))).await.unwrap();
    let gate = Gate::closed("drain");
    let mut first = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &[]).unwrap();
    let task = world.task(&gate.job("x").input());
    world.job("x", |job| job["status"]["ready"] == json!(1)).await.unwrap();
    first.terminate().await.unwrap();
    assert!(first.ended().await.unwrap().success());
    assert_eq!(world.sandbox.kubernetes().running_processes(), 1);
    let _second = WorkerProcess::start(WORKER, &Surroundings::of(&world.sandbox), &[]).unwrap();
    gate.open().unwrap();
    let result = told(&task).await.unwrap().output().unwrap();
    assert!(result["logs"].to_string().contains("finished"));
    assert_eq!(world.violations(), [""; 0]);
}

#[tokio::test]
async fn an_empty_poll_is_no_task_however_it_is_written() {
    for empty_poll in [EmptyPoll::Absent, EmptyPoll::Null, EmptyPoll::EmptyString] {
        let mut config = World::holding_polls(Duration::from_millis(50));
        config.sfn.empty_poll = empty_poll;
        let mut world = World::with(config).await.unwrap();
        world.start_worker(&["--pollers", "1"]).await.unwrap();
        world.answered("GetActivityTask").await.unwrap();
        world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
        assert_eq!(world.sandbox.kube.recorder().of("create jobs").len(), 1, "{empty_poll:?}");
    }
}

#[tokio::test]
async fn the_admin_endpoint_tells_how_the_worker_is() {
    let world = World::empty().await.unwrap();
    let worker = world.sandbox.worker(&[]).await.unwrap();
    world.polls_held(1).await.unwrap();
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    world.settled("x").await.unwrap();
    let address = worker.admin_url.strip_prefix("http://").unwrap().to_owned();
    assert!(get(&address, "/live").await.contains(" 200 OK\r\n"));
    assert!(get(&address, "/ready").await.contains(" 200 OK\r\n"));
    let metrics = get(&address, "/metrics").await;
    for line in [
        "runjob_creates_total{result=\"succeeded\"} 1",
        "runjob_replies_total{result=\"succeeded\"} 1",
        "runjob_completion_to_reply_seconds_count 1",
        "runjob_in_flight_jobs 0",
        "runjob_polls_total{result=\"task\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_worker_whose_polls_fail_is_not_ready_until_one_is_taken() {
    let world = World::with(World::holding_polls(Duration::from_millis(50))).await.unwrap();
    world.sandbox.sfn.faults().plan("GetActivityTask", Effect::Refuse, 1);
    world.sandbox.sfn.faults().plan("GetActivityTask", Effect::Delay(Duration::from_secs(5)), 1);
    let worker = world.sandbox.worker(&["--pollers", "1"]).await.unwrap();
    world.request("GetActivityTask", |poll| poll.status.is_none()).await.unwrap();
    let address = worker.admin_url.strip_prefix("http://").unwrap().to_owned();
    let polls = world.sandbox.sfn.recorder();
    // The second poll is under way, the first has failed.
    let second = polls.wait_for(|polls| (polls.len() > 1).then_some(()));
    tokio::time::timeout(Duration::from_mins(1), second).await.unwrap();
    assert!(get(&address, "/ready").await.contains("Step Functions does not take polls"));
    world.request("GetActivityTask", |poll| poll.status.is_some()).await.unwrap();
    world.run(&a_job("x", "true")).await.unwrap().output().unwrap();
    assert!(get(&address, "/ready").await.contains(" 200 OK\r\n"));
}

async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
