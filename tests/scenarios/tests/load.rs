//! What a crowd of Jobs in trouble costs. `docs/operations.md` says how to run it, and what came of it.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it measures, for whoever runs it")]

use std::time::Duration;

use runjob_scenarios::{
    backend::Backend,
    load::{Crowd, measure},
    play::Run,
};

async fn print(crowd: Crowd) {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let run = Run {
        backend: Backend::chosen().unwrap(),
        patience: Duration::from_mins(10),
        worker: env!("CARGO_BIN_EXE_runjob-under-test").into(),
        function: env!("CARGO_BIN_EXE_function-under-test").into(),
    };
    let jobs = usize::try_from(number("RUNJOB_LOAD_JOBS", 20)).unwrap();
    let time = Duration::from_secs(number("RUNJOB_LOAD_SECONDS", 60));
    println!("{crowd:?}: {}", measure(crowd, jobs, time, &run).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes, and measures"]
async fn jobs_that_wait_for_a_quota() {
    print(Crowd::Blocked).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes, and measures"]
async fn jobs_that_fail_together() {
    print(Crowd::Failing).await;
}
