//! `TimeoutSeconds` and `HeartbeatSeconds` of a task.

use runjob_sandbox::sfn::{Overdue, TaskOutcome};
use tokio::time::{Instant, advance};

use crate::client::{Client, clocks, seconds};

#[tokio::test(start_paused = true)]
async fn the_clocks_start_when_the_task_is_handed_out() {
    let client = Client::new();
    let task = client.service().bare_task("jobs", "{}", clocks(Some(10), Some(5)));
    advance(seconds(3600)).await;
    assert_eq!(task.outcome(), None);
    let before = Instant::now();
    client.next_task().await;
    task.handed_out().await;
    assert_eq!(task.finished().await, TaskOutcome::TimedOut(Overdue::Heartbeat));
    assert_eq!(before.elapsed(), seconds(5));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_task_alive_but_not_beyond_its_time_out() {
    let client = Client::new();
    let task = client.service().bare_task("jobs", "{}", clocks(Some(10), Some(3)));
    let before = Instant::now();
    let token = client.next_task().await.token;
    for _ in 0..4 {
        advance(seconds(2)).await;
        client.beat(&token).await.unwrap();
    }
    assert_eq!(task.outcome(), None);
    assert_eq!(task.finished().await, TaskOutcome::TimedOut(Overdue::Answer));
    assert_eq!(before.elapsed(), seconds(10));
    assert_eq!(client.service().records()[0].heartbeats, 4);
    assert_eq!(client.succeed(&token, "{}").await.unwrap_err().code, "TaskTimedOut");
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_the_last_moment_is_too_late_even_if_the_clock_has_not_been_looked_at() {
    let client = Client::new();
    client.service().bare_task("jobs", "{}", clocks(Some(10), None));
    let token = client.next_task().await.token;
    advance(seconds(10)).await;
    assert_eq!(client.succeed(&token, "{}").await.unwrap_err().code, "TaskTimedOut");
    assert_eq!(client.service().invariant_violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_answer_just_before_the_last_moment_is_in_time() {
    let client = Client::new();
    let task = client.service().bare_task("jobs", "{}", clocks(Some(10), Some(9)));
    let token = client.next_task().await.token;
    advance(seconds(8)).await;
    client.succeed(&token, "{}").await.unwrap();
    advance(seconds(100)).await;
    assert_eq!(task.finished().await, TaskOutcome::Succeeded("{}".to_owned()));
}
