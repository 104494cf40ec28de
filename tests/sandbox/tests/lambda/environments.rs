//! Execution environments: cold and warm, frozen and thawed, one for each invocation at a time.

use std::{collections::BTreeSet, time::Duration};

use runjob_sandbox::lambda::{Between, Deployed, EnvironmentState};
use serde_json::json;

use crate::{Gate, bootstrap, deployed, failed};

fn process(function: &Deployed) -> u32 {
    function.environments().first().unwrap().process.unwrap()
}

/// What the kernel says that a process does: `T` is stopped.
fn state(process: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

/// Looks until it is so: the kernel tells nobody.
async fn soon(is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), looking).await.unwrap();
}

#[tokio::test]
async fn an_idle_process_is_used_again() {
    let (lambda, function) = deployed(bootstrap());
    let [first, second] = [0, 1].map(|n| json!({ "n": n }));
    let first = lambda.invoke("f", &first).await.unwrap();
    let second = lambda.invoke("f", &second).await.unwrap();
    assert_eq!((&first["process"], &first["invocation"]), (&second["process"], &json!(0)));
    assert_eq!(second["invocation"], 1);
    let environments = function.environments();
    assert_eq!((environments.len(), environments[0].invocations), (1, 2));
    assert_eq!(environments[0].state, EnvironmentState::Idle);
    assert!(environments[0].init.is_some_and(|init| init > Duration::ZERO));
}

#[tokio::test]
async fn a_process_is_frozen_between_invocations() {
    let (lambda, function) = deployed(bootstrap());
    for invocation in 0..2 {
        assert_eq!(lambda.invoke("f", &json!({})).await.unwrap()["invocation"], invocation);
        soon(|| state(process(&function)) == 'T').await;
    }
}

#[tokio::test]
async fn a_process_may_be_left_running() {
    let (lambda, function) = deployed(bootstrap().between_invocations(Between::Runs));
    lambda.invoke("f", &json!({})).await.unwrap();
    assert_ne!(state(process(&function)), 'T');
}

#[tokio::test]
async fn two_invocations_at_a_time_are_two_processes() {
    let (lambda, function) = deployed(bootstrap());
    let gate = Gate::new().await;
    let both = async { (gate.arrived().await, gate.arrived().await) };
    let (one, other, ()) =
        tokio::join!(lambda.invoke("f", &gate.event), lambda.invoke("f", &gate.event), async { drop(both.await) });
    let processes: BTreeSet<_> = [one, other].map(|answer| answer.unwrap().as_u64()).into();
    assert_eq!((processes.len(), function.environments().len()), (2, 2));
    lambda.invoke("f", &json!({})).await.unwrap();
    assert_eq!(function.environments().len(), 2, "both are warm now");
}

#[tokio::test]
async fn a_process_is_killed_in_the_middle() {
    let (lambda, function) = deployed(bootstrap());
    let gate = Gate::new().await;
    let (outcome, _held) = tokio::join!(lambda.invoke("f", &gate.event), async {
        let held = gate.arrived().await;
        function.kill(0);
        held
    });
    let error = failed(outcome);
    assert_eq!(error.error_type(), "Runtime.ExitError");
    assert!(error.error_message().ends_with("Runtime exited with error: signal: killed"), "{error}");
    assert_eq!(function.environments()[0].state, EnvironmentState::Ended("signal: killed".to_owned()));
    assert_eq!(lambda.invoke("f", &json!({})).await.unwrap()["invocation"], 0);
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_is_frozen_is_replaced() {
    let (lambda, function) = deployed(bootstrap());
    lambda.invoke("f", &json!({})).await.unwrap();
    function.kill(0);
    let ended = |state: &EnvironmentState| matches!(state, EnvironmentState::Ended(_)).then_some(());
    function.wait_for(|environments| ended(&environments[0].state)).await;
    assert_eq!(lambda.invoke("f", &json!({})).await.unwrap()["invocation"], 0);
    assert_eq!(function.environments().len(), 2);
}

#[tokio::test]
async fn an_invocation_runs_on_when_nobody_waits_for_it() {
    let (lambda, _) = deployed(bootstrap());
    let gate = Gate::new().await;
    let held = tokio::select! {
        answer = lambda.invoke("f", &gate.event) => panic!("{answer:?}"),
        held = gate.arrived() => held,
    };
    assert_eq!(lambda.calls()[0].outcome, None);
    drop(held);
    assert!(lambda.wait_for_calls(|calls| calls[0].outcome.clone()).await.is_ok());
}

#[tokio::test]
async fn no_process_outlives_the_service() {
    let (lambda, function) = deployed(bootstrap());
    lambda.invoke("f", &json!({})).await.unwrap();
    let process = process(&function);
    drop((lambda, function));
    // Killed is not yet gone: who is dead is a zombie until tokio has looked after it.
    soon(|| std::fs::read_to_string(format!("/proc/{process}/stat")).map_or(true, |stat| stat.contains(") Z"))).await;
}
