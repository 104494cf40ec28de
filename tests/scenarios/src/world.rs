//! A sandbox in which things happen fast, and a worker in it.

use std::time::Duration;

use anyhow::Context;
use runjob_sandbox::{
    kube,
    record::Recorded,
    sandbox::{Config, RunningWorker, Sandbox},
    sfn::{self, BareTask, Clocks, TaskOutcome},
};
use serde_json::Value;

use crate::jobs::JobRequest;

/// Longer than anything here takes: a scenario that hangs fails, and says where.
const PATIENCE: Duration = Duration::from_mins(2);

/// A sandbox with a worker.
pub struct World {
    /// Both services.
    pub sandbox: Sandbox,
    worker: Option<RunningWorker>,
}

/// What a task was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Its output.
    Output(Value),
    /// Its failure.
    Failure {
        /// The error's name.
        error: String,
        /// The cause: always JSON.
        cause: Value,
    },
}

impl Told {
    /// The output of a task that succeeded.
    pub fn output(self) -> anyhow::Result<Value> {
        match self {
            Self::Output(output) => Ok(output),
            Self::Failure { error, cause } => anyhow::bail!("the task failed with {error}: {cause}"),
        }
    }

    /// The name and cause of a task that failed.
    pub fn failure(self) -> anyhow::Result<(String, Value)> {
        match self {
            Self::Failure { error, cause } => Ok((error, cause)),
            Self::Output(output) => anyhow::bail!("the task succeeded with {output}"),
        }
    }
}

impl World {
    /// A sandbox, and no worker yet.
    pub async fn empty() -> anyhow::Result<Self> {
        Self::with(Config { kube: kube::Config::quick(), ..Config::default() }).await
    }

    /// A sandbox of that configuration, and no worker yet.
    pub async fn with(config: Config) -> anyhow::Result<Self> {
        Ok(Self { sandbox: Sandbox::start(config).await?, worker: None })
    }

    /// A sandbox with a worker in this process.
    pub async fn new() -> anyhow::Result<Self> {
        Self::new_with(&[]).await
    }

    /// The same, the worker with these flags.
    pub async fn new_with(flags: &[&str]) -> anyhow::Result<Self> {
        let mut world = Self::empty().await?;
        world.start_worker(flags).await?;
        Ok(world)
    }

    /// Starts the worker, with these flags.
    pub async fn start_worker(&mut self, flags: &[&str]) -> anyhow::Result<()> {
        self.worker = Some(self.sandbox.worker(flags).await?);
        Ok(())
    }

    /// A configuration whose polls are held that long.
    pub fn holding_polls(hold: Duration) -> Config {
        let sfn = sfn::Config { poll_hold: hold, ..sfn::Config::default() };
        Config { sfn, kube: kube::Config::quick() }
    }

    /// Schedules a task and leaves it to the worker.
    pub fn task(&self, input: &str) -> BareTask {
        self.task_with(input, Clocks::default())
    }

    /// The same, with time-outs.
    pub fn task_with(&self, input: &str, clocks: Clocks) -> BareTask {
        self.sandbox.step_functions().bare_task(self.sandbox.activity(), input, clocks)
    }

    /// Runs a Job and gives what its task was answered with.
    pub async fn run(&self, job: &JobRequest) -> anyhow::Result<Told> {
        self.ask(&job.input()).await
    }

    /// Schedules a task of that input and gives what it was answered with.
    pub async fn ask(&self, input: &str) -> anyhow::Result<Told> {
        told(&self.task(input)).await
    }

    /// A Job of the namespace `default`, once it is as it should be.
    pub async fn job(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let kube = self.sandbox.kubernetes();
        let found = kube.wait_for(|kube| kube.get("jobs", "default", name).filter(&is_so));
        tokio::time::timeout(PATIENCE, found)
            .await
            .with_context(|| format!("the Job {name} is not as it should be: {:?}", kube.get("jobs", "default", name)))
    }

    /// Waits until the worker has settled a Job: nothing is to be done for it any more.
    pub async fn settled(&self, name: &str) -> anyhow::Result<Value> {
        self.job(name, |job| job.pointer("/metadata/annotations/runjob~1settled").is_some()).await
    }

    /// Waits until there are no pods, Jobs and processes left.
    pub async fn empty_cluster(&self) -> anyhow::Result<()> {
        let kube = self.sandbox.kubernetes();
        let gone = kube.wait_for(|kube| {
            let empty = kube.list("jobs", None).is_empty() && kube.list("pods", None).is_empty();
            (empty && kube.running_processes() == 0).then_some(())
        });
        tokio::time::timeout(PATIENCE, gone).await.context("Jobs, pods or processes are left")
    }

    /// Waits until that many polls are held.
    pub async fn polls_held(&self, least: usize) -> anyhow::Result<()> {
        let held = self.sandbox.sfn.recorder().wait_for(|_| {
            let waiting = self.sandbox.step_functions().waiting_polls(self.sandbox.activity());
            (waiting >= least).then_some(())
        });
        tokio::time::timeout(PATIENCE, held).await.context("the worker does not poll")
    }

    /// Waits until a request of that kind was answered by Step Functions or by Kubernetes.
    pub async fn answered(&self, kind: &str) -> anyhow::Result<()> {
        self.request(kind, |_| true).await
    }

    /// The same, a request that is as it should be.
    pub async fn request(&self, kind: &str, is_so: impl Fn(&Recorded) -> bool) -> anyhow::Result<()> {
        let found = |requests: &[Recorded]| {
            let mut those = requests.iter().filter(|request| request.kind == kind && request.answered.is_some());
            those.any(&is_so).then_some(())
        };
        let (sfn, kube) = (self.sandbox.sfn.recorder(), self.sandbox.kube.recorder());
        let either = async {
            tokio::select! {
                () = sfn.wait_for(found) => {}
                () = kube.wait_for(found) => {}
            }
        };
        tokio::time::timeout(PATIENCE, either).await.with_context(|| format!("nobody asks to {kind}"))
    }

    /// What Step Functions found wrong with the answers so far.
    pub fn violations(&self) -> Vec<String> {
        self.sandbox.step_functions().invariant_violations()
    }
}

/// What a task was answered with.
pub async fn told(task: &BareTask) -> anyhow::Result<Told> {
    let outcome = tokio::time::timeout(PATIENCE, task.finished()).await.context("the task is not answered")?;
    match outcome {
        TaskOutcome::Succeeded(output) => {
            Ok(Told::Output(serde_json::from_str(&output).context("the output is no JSON")?))
        }
        TaskOutcome::Failed { error, cause } => Ok(Told::Failure {
            error: error.context("the failure has no name")?,
            cause: serde_json::from_str(&cause.context("the failure has no cause")?).context("the cause is no JSON")?,
        }),
        other => anyhow::bail!("the task ended otherwise: {other:?}"),
    }
}
