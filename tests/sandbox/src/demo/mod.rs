//! One workflow, from its registration to a closing summary.

mod advice;
mod screen;
mod story;
mod summary;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Context;
use runjob_sandbox::{
    sandbox::{Config, Sandbox},
    sfn::{self, Execution, ExecutionStatus},
};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use advice::Obstacle;
use screen::Screen;
pub(crate) use screen::complain;
use story::Story;

/// The error of an execution that was stopped because it could never have ended.
pub(crate) const STOPPED: &str = "Sandbox.Stopped";

/// A workflow to run.
pub(crate) struct Workflow {
    name: String,
    definition: String,
    input: String,
    leftovers: Leftovers,
}

/// What a workflow is to leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftovers {
    /// No Job: its last state deletes it.
    NoJob,
    /// Whatever it does.
    Any,
}

impl Workflow {
    /// The article's.
    pub(crate) fn pi() -> Self {
        Self {
            name: "pi".to_owned(),
            definition: include_str!("../../../../examples/pi/workflow.asl.json").to_owned(),
            input: include_str!("../../../../examples/pi/input.json").to_owned(),
            leftovers: Leftovers::NoJob,
        }
    }

    /// One of the user's. Without an input it gets `{}`.
    pub(crate) fn read(workflow: &Path, input: Option<&Path>) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).with_context(|| format!("unable to read {}", path.display()))?;
            serde_json::from_str::<Value>(&text).with_context(|| format!("{} is no JSON", path.display()))?;
            anyhow::Ok(text)
        };
        let name = workflow.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
        Ok(Self {
            name: name.filter(|name| !name.is_empty()).unwrap_or("workflow").to_owned(),
            definition: read(workflow)?,
            input: input.map_or_else(|| Ok("{}".to_owned()), read)?,
            leftovers: Leftovers::Any,
        })
    }
}

/// Runs a workflow and shows it. Success only if it SUCCEEDED, and left behind what it should.
pub(crate) async fn run(workflow: Workflow) -> anyhow::Result<ExitCode> {
    let sfn = sfn::Config { start: jiff::Timestamp::now(), ..sfn::Config::default() };
    let sandbox = Sandbox::start(Config { sfn, ..Config::default() }).await?;
    let screen = Screen::new();
    screen.line(&format!("Step Functions at {}, Kubernetes at {}", sandbox.sfn_url(), sandbox.kube_url()));
    let machine = sandbox.step_functions().create_state_machine(&workflow.name, &workflow.definition)?;
    let worker = sandbox.worker(&[]).await?;
    screen.line(&format!("runjob worker on {}, metrics at {}/metrics\n", sandbox.activity(), worker.admin_url));

    let mut story = Story::default();
    let execution = tell(&sandbox, &screen, &mut story, &machine, &workflow.input).await?;
    screen.end();

    sandbox.step_functions().release_polls();
    worker.drain();
    worker.ended().await?;
    let violations = summary::print(&sandbox, &screen, &execution, &story);
    sandbox.kubernetes().shutdown().await;

    let jobs = sandbox.kubernetes().list("jobs", None).len();
    let as_it_should = execution.status == ExecutionStatus::Succeeded
        && (workflow.leftovers == Leftovers::Any || jobs == 0)
        && violations == 0;
    Ok(if as_it_should { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the execution and shows what happens until it has ended.
async fn tell(
    sandbox: &Sandbox,
    screen: &Screen,
    story: &mut Story,
    machine: &str,
    input: &str,
) -> anyhow::Result<Execution> {
    let (sfn, kube) = (sandbox.step_functions(), sandbox.kubernetes());
    let (mut states, mut objects) = (sfn.events(), kube.changes());
    let execution = sfn.start_execution(machine, None, input)?;
    let mut finished = std::pin::pin!(sfn.finished(&execution));
    loop {
        tokio::select! {
            biased;
            event = states.recv() => show(screen, event.map(|event| Some(Story::of_event(&event.event))))?,
            change = objects.recv() => {
                if let Ok(change) = &change
                    && let Some(obstacle) = Obstacle::of(change, kube)
                {
                    sfn.stop_execution(&execution, Some(STOPPED), Some(&obstacle.to_string()))?;
                }
                show(screen, change.map(|change| story.of_change(&change)))?;
            }
            ended = &mut finished => {
                // Objects may still be on their way out: their last words belong to the story.
                while let Ok(Ok(change)) = tokio::time::timeout(Duration::from_millis(100), objects.recv()).await {
                    show(screen, Ok(story.of_change(&change)))?;
                }
                return ended.context("the execution has vanished");
            }
        }
    }
}

fn show(screen: &Screen, line: Result<Option<String>, RecvError>) -> anyhow::Result<()> {
    match line {
        Ok(Some(line)) => screen.event(&line),
        Ok(None) => {}
        Err(RecvError::Lagged(missed)) => screen.event(&format!("({missed} events were too fast to be shown)")),
        Err(RecvError::Closed) => anyhow::bail!("the sandbox has ended"),
    }
    Ok(())
}
