//! Plays a scenario on a stage, and looks whether everything came as it had to.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::{Value, json};

use crate::{
    backend::Backend,
    execution::{Ended, Execution},
    patience::eventually,
    process::Signal,
    scenario::{Afterwards, Clocks, Ending, Scenario, Staff, Start},
    stage::{self, Stage},
    step::{Act, Sight, Step},
};

/// What stays on a settled Job.
const TRACES: [&str; 4] = ["runjob/owner", "runjob/settled", "runjob/spec-hash", "runjob/v"];

/// What holds for all scenarios of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where they are played.
    pub backend: Backend,
    /// How long anything is waited for.
    pub patience: Duration,
    /// The worker's binary.
    pub worker: PathBuf,
    /// The function's.
    pub function: PathBuf,
}

/// Plays it, and says how many task tokens were seen on Jobs, of which the worker's log shows none. The error says what is wrong, and
/// what the worker had to say.
pub async fn play(scenario: &Scenario, run: &Run, number: usize) -> anyhow::Result<usize> {
    let mut stage = Stage::set(scenario, run, number).await?;
    let played = perform(scenario, &mut stage).await;
    if played.is_err() && scenario.is_alone() {
        // It may have left something dead.
        stage::cluster(&["up"]).await?;
    }
    // Gone with the function is its log.
    let log = stage.log().await;
    let cleared = stage.clear().await.context("unable to clear the stage");
    played
        .and(cleared)
        .map(|()| stage.tokens.len())
        .with_context(|| format!("the last words of worker and function:\n{}\n", last_words(&log)))
}

fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(20)).map(|line| format!("{}\n", shortened(line))).collect()
}

async fn perform(scenario: &Scenario, stage: &mut Stage) -> anyhow::Result<()> {
    if scenario.staff == Staff::AWorker {
        stage.workers.start(&scenario.flags_of_first)?;
    }
    let mut executions = Executions::default();
    for step in &scenario.before {
        take(step, stage, &mut executions).await?;
    }
    executions.first = Some(execute(&scenario.start, &stage.id, stage).await?);
    if let Start::Task { clocks, .. } = scenario.start {
        executions.clocks = clocks;
    }
    for step in &scenario.story {
        take(step, stage, &mut executions).await?;
    }
    let execution = executions.first()?;
    let patience = scenario.ends_within.unwrap_or(stage.patience);
    end(execution, scenario.ending_on(stage.backend), patience, stage).await?;
    check_afterwards(scenario, stage).await?;
    check_secrets(stage).await?;
    let violations = stage.violations();
    ensure!(violations.is_empty(), "Step Functions complains: {violations:?}");
    Ok(())
}

/// What is executed.
#[derive(Default)]
struct Executions {
    first: Option<Execution>,
    /// Those that nobody has looked at yet, in the order of their starts.
    others: VecDeque<Execution>,
    started_beside: usize,
    /// The time-outs of the first one's task.
    clocks: Clocks,
}

impl Executions {
    fn first(&self) -> anyhow::Result<&Execution> {
        self.first.as_ref().context("there is no execution yet")
    }
}

/// Starts what is to be started, under that name.
async fn execute(start: &Start, name: &str, stage: &Stage) -> anyhow::Result<Execution> {
    let (definition, input) = start.machine(stage);
    let definition = stage.native_resources_on(&definition);
    Execution::start(stage.step_functions.clone(), &stage.role(), name, &definition, &input).await
}

async fn take(step: &Step, stage: &mut Stage, executions: &mut Executions) -> anyhow::Result<()> {
    match step {
        Step::Until(sight) => see(sight, stage.patience, stage).await,
        Step::UntilWithin(time, sight) => see(sight, *time, stage).await,
        Step::Do(act) => perform_act(act, stage, executions).await,
        Step::UntilOtherEnds(ending) => {
            let other = executions.others.pop_front().context("there is no other execution")?;
            end(&other, ending, stage.patience, stage).await
        }
    }
}

/// Waits for the end of an execution, and looks at it.
async fn end(execution: &Execution, expected: &Ending, patience: Duration, stage: &mut Stage) -> anyhow::Result<()> {
    let ended = eventually(patience, "the execution has ended", async || {
        // Only to learn the tokens; the API may be away.
        let _ = stage.jobs().await;
        execution.ended().await
    })
    .await?;
    check_ending(expected, &ended, execution).await?;
    let shown = stage.tokens.iter().any(|token| ended.text.contains(token));
    ensure!(!shown, "the result shows a task token");
    Ok(())
}

async fn see(sight: &Sight, patience: Duration, stage: &mut Stage) -> anyhow::Result<()> {
    let what = format!("this is seen: {sight:?}");
    eventually(patience, &what, async || Ok(is_seen(sight, stage).await?.then_some(()))).await
}

async fn is_seen(sight: &Sight, stage: &mut Stage) -> anyhow::Result<bool> {
    let jobs = stage.jobs().await?;
    Ok(match sight {
        Sight::JobSettled => jobs.iter().any(is_settled),
        Sight::JobWatched => jobs.iter().any(|job| job.pointer("/metadata/labels/runjob~1group").is_some()),
        Sight::LeftAlone(name) => jobs.iter().any(|job| {
            let is_open = job.pointer("/metadata/labels/runjob~1group").is_some();
            job.pointer("/metadata/name").is_some_and(|own| own == name) && is_open && has_condition(job, "Complete")
        }),
        Sight::NoJob => jobs.is_empty(),
        Sight::JobRuns => jobs.iter().any(runs),
        Sight::JobsRun(count) => jobs.iter().filter(|job| runs(job)).count() == *count,
        Sight::JobIs(condition) => jobs.iter().any(|job| has_condition(job, condition)),
        Sight::QuotaCounts => {
            stage.kube.list("resourcequotas").await?.iter().any(|quota| quota.pointer("/status/hard").is_some())
        }
        Sight::Event(reason) => stage.kube.list("events").await?.iter().any(|event| event["reason"] == *reason),
        Sight::WorkerSays(words) => stage.workers.log().contains(words),
        Sight::Invocations(count) => stage.invocations.len() >= *count,
        Sight::TakenOver => stage.holder().await?.is_some_and(|holder| stage.workers.is_successor(&holder)),
    })
}

/// A Job as a restored backup or a clone has it: without what is the server's own.
fn copied(job: &Value, name: &str, script: &str) -> Value {
    let at = |place: &str| job.pointer(place).cloned().unwrap_or_default();
    let mut pods = at("/spec/template/spec");
    if let Some(command) = pods.pointer_mut("/containers/0/command") {
        *command = json!(["sh", "-c", script]);
    }
    json!({
        "metadata": {"name": name, "labels": at("/metadata/labels"), "annotations": at("/metadata/annotations")},
        "spec": {"backoffLimit": 0, "template": {"spec": pods}},
    })
}

fn runs(job: &Value) -> bool {
    job.pointer("/status/ready") == Some(&json!(1))
}

fn has_condition(job: &Value, condition: &str) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == condition && one["status"] == "True"))
}

async fn perform_act(act: &Act, stage: &mut Stage, executions: &mut Executions) -> anyhow::Result<()> {
    match act {
        Act::Create { resource, object } => stage.kube.create(resource, object).await.map(drop),
        Act::Delete(resource, name) => stage.kube.delete(resource, name).await,
        Act::DeleteJob(name, propagation) => stage.kube.delete_job(name, *propagation).await,
        Act::Merge { resource, name, patch } => stage.kube.merge(resource, name, patch).await.map(drop),
        Act::StopExecution => executions.first()?.stop().await,
        Act::StartAnother => {
            executions.others.push_back(executions.first()?.another().await?);
            Ok(())
        }
        Act::AlsoRun(request) => {
            executions.started_beside += 1;
            let name = format!("{}-beside-{}", stage.id, executions.started_beside);
            let start = Start::Task { request: request.clone(), clocks: executions.clocks };
            executions.others.push_back(execute(&start, &name, stage).await?);
            Ok(())
        }
        Act::CopyJob(name, script) => {
            let job = stage.jobs().await?.pop().context("there is no Job to be copied")?;
            stage.kube.create("batch/v1/jobs", &copied(&job, name, script)).await.map(drop)
        }
        Act::Enact(policy) => stage.enact(*policy).await,
        Act::LabelNamespace(label, value) => {
            stage.kube.merge_namespace(&json!({"metadata": {"labels": {*label: value}}})).await
        }
        Act::EvictPod => {
            let pod = stage.kube.list("pods").await?.pop().context("there is no pod")?;
            stage.kube.evict(pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()).await
        }
        Act::KillWorker => stage.workers.kill().await,
        Act::StartWorker => stage.workers.start(&[]),
        Act::SignalHolder(signal) => stage.signal_holder(*signal).await,
        Act::StealLease => stage.steal_lease().await,
        Act::Continue => stage.workers.signal_all(Signal::Continue).await,
        Act::CutApi => {
            stage.line.cut();
            Ok(())
        }
        Act::SilenceApi => {
            stage.line.silence();
            Ok(())
        }
        Act::RestoreApi => {
            stage.line.restore();
            Ok(())
        }
        Act::Cluster(words) => stage::cluster(words).await,
        Act::OpenGate => std::fs::write(stage.scratch.join("go"), "").context("unable to open the gate"),
        Act::Sweep => {
            let answer = stage.function()?.invoke(&json!({"Action": "sweep"})).await?;
            ensure!(answer == json!({"Clusters": {"default": "swept"}}), "the sweep answers {answer}");
            Ok(())
        }
        Act::Pass(time) => {
            tokio::time::sleep(*time).await;
            Ok(())
        }
    }
}

async fn check_ending(expected: &Ending, ended: &Ended, execution: &Execution) -> anyhow::Result<()> {
    let told = format!("{} {}: {}", ended.status, ended.error.as_deref().unwrap_or_default(), shortened(&ended.text));
    let checks = match expected {
        Ending::Succeeds(checks) => {
            ensure!(ended.status == ExecutionStatus::Succeeded, "expected success, found {told}");
            ensure!(ended.text.len() <= 262_144, "the output is {} bytes long", ended.text.len());
            checks
        }
        Ending::Fails(error, checks) => {
            ensure!(ended.status == ExecutionStatus::Failed, "expected {error}, found {told}");
            ensure!(ended.error.as_deref() == Some(error), "expected {error}, found {told}");
            ensure!(ended.text.chars().count() <= 32_768, "the cause is {} bytes long", ended.text.len());
            checks
        }
        Ending::Aborted => {
            ensure!(ended.status == ExecutionStatus::Aborted, "expected an abortion, found {told}");
            return Ok(());
        }
    };
    if checks.is_empty() {
        return Ok(());
    }
    let value: Value = serde_json::from_str(&ended.text).with_context(|| format!("no JSON: {told}"))?;
    let history = execution.outputs().await?;
    for check in checks {
        let there = check.found(&value);
        ensure!(check.holds(&value, &history), "expected {check:?}, found there {}\nin {told}", shortened(&there));
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(1000).collect()
}

async fn check_afterwards(scenario: &Scenario, stage: &mut Stage) -> anyhow::Result<()> {
    let expected = scenario.afterwards;
    let what = format!("this is left: {expected:?}");
    eventually(stage.patience, &what, async || {
        let (jobs, pods) = (stage.jobs().await?, stage.kube.list("pods").await?);
        let found = format!("found {} Jobs and {} pods; the Jobs: {}", jobs.len(), pods.len(), json!(jobs));
        let is_so = match expected {
            Afterwards::Settled(count) => jobs.len() == count && jobs.iter().all(is_settled),
            Afterwards::Nothing => jobs.is_empty() && pods.is_empty(),
            Afterwards::PodsOnly(count) => jobs.is_empty() && pods.len() == count,
            Afterwards::Others(count) => jobs.len() == count && !json!(jobs).to_string().contains("runjob/"),
        };
        if !is_so {
            bail!(shortened(&found));
        }
        for check in &scenario.left {
            let wrong = jobs.iter().find(|job| !check.holds(job, ""));
            ensure!(wrong.is_none(), "expected {check:?} of each Job; {}", shortened(&found));
        }
        Ok(Some(()))
    })
    .await
}

fn is_settled(job: &Value) -> bool {
    let annotations = job.pointer("/metadata/annotations").and_then(Value::as_object);
    let mut left: Vec<&str> = annotations.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
    left.retain(|name| name.starts_with("runjob/"));
    left.sort_unstable();
    left == TRACES && job.pointer("/metadata/labels/runjob~1group").is_none()
}

/// No log shows what is theirs alone, as far as that was seen: a Job that ends quickly may have lost its token between two looks.
async fn check_secrets(stage: &Stage) -> anyhow::Result<()> {
    let log = stage.log().await;
    for token in &stage.tokens {
        ensure!(!log.contains(token), "a task token was logged");
    }
    ensure!(!log.contains("panicked"), "worker or function has panicked");
    Ok(())
}
