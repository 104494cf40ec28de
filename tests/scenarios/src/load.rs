//! What a crowd of Jobs in trouble costs an API server and the worker: measured, not judged.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{
    execution::Execution,
    jobs::a_job,
    play::Run,
    scenario::{Clocks, Scenario, Start, scenario},
    stage::Stage,
};

/// What is the matter with the Jobs. None of them gets a pod, so that a thousand need no thousand containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// They wait for a quota.
    Blocked,
    /// Their time is over, for all of them at about the same moment.
    Failing,
}

/// How long a Job of a crowd that fails has.
const DEADLINE: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Debug)]
pub struct Figures {
    jobs: usize,
    time: Duration,
    /// By verb and resource.
    requests: BTreeMap<String, usize>,
    connections: usize,
    peak_kib: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.requests.values().sum();
        let seconds = usize::try_from(self.time.as_secs()).unwrap_or(usize::MAX).max(1);
        writeln!(f, "{} Jobs, {seconds} s from their starts:", self.jobs)?;
        writeln!(f, "  requests     {total}, that is {} in each minute", total * 60 / seconds)?;
        for (kind, count) in &self.requests {
            writeln!(f, "    {count:>6} {kind}")?;
        }
        writeln!(f, "  connections  {} made", self.connections)?;
        write!(f, "  memory       {} MiB at most", self.peak_kib / 1024)
    }
}

/// Starts that many Jobs and looks for that long at what they cost.
pub async fn measure(crowd: Crowd, jobs: usize, time: Duration, run: &Run) -> anyhow::Result<Figures> {
    let scenario = scenario("a crowd", a_job("x", "true")).flags(&["--max-in-flight", "2000"]);
    let number = usize::from(crowd == Crowd::Failing);
    let mut stage = Stage::set(&scenario, run, number).await?;
    let measured = watch(crowd, jobs, time, &scenario, &mut stage).await;
    stage.clear().await.context("unable to clear the stage")?;
    measured
}

async fn watch(
    crowd: Crowd,
    jobs: usize,
    time: Duration,
    scenario: &Scenario,
    stage: &mut Stage,
) -> anyhow::Result<Figures> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    stage.kube.create("resourcequotas", &quota).await?;
    stage.workers.start(&scenario.flags_of_first)?;
    let mut executions = Vec::new();
    for number in 0..jobs {
        let mut request = a_job(&format!("x-{number}"), "true").with("/OnStuck", "wait");
        if crowd == Crowd::Failing {
            request = request.with("/Job/spec/activeDeadlineSeconds", DEADLINE.as_secs());
        }
        let start = Start::Task { request, clocks: Clocks::default() };
        let (definition, input) = start.machine(stage);
        let name = format!("{}-{number}", stage.id);
        let client = stage.step_functions.clone();
        executions.push(Execution::start(client, &stage.role(), &name, &definition, &input).await?);
    }
    tokio::time::sleep(time).await;
    let figures = Figures {
        jobs,
        time,
        requests: stage.requests()?,
        connections: stage.line.connections(),
        peak_kib: stage.workers.peak_kib()?,
    };
    for execution in &executions {
        execution.stop().await?;
    }
    Ok(figures)
}

/// The requests of that namespace's accounts in an audit log, by verb and resource.
pub(crate) fn of_audit_log(log: &str, namespace: &str) -> BTreeMap<String, usize> {
    let account = format!("system:serviceaccount:{namespace}:");
    let mut requests = BTreeMap::new();
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if at("/user/username").starts_with(&account) && at("/stage") == "ResponseComplete" {
            *requests.entry(format!("{} {}", at("/verb"), at("/objectRef/resource"))).or_default() += 1;
        }
    }
    requests
}
