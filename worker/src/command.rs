//! The command line.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use aws_config::BehaviorVersion;
use clap::{Parser, Subcommand};
use runjob_core::catalogue;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{aws_credentials, clusters, process, settings::Settings, worker::Worker};

/// Runs Kubernetes Jobs for AWS Step Functions: eks:runJob, eks:runJob.sync and eks:call for any cluster.
#[derive(Debug, Parser)]
#[command(name = "runjob", version, arg_required_else_help = true)]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Poll activities, run a Job for each task, and answer it when the Job has ended
    ///
    /// AWS credentials, region and endpoint come from where every AWS tool takes them; the region of each activity is the one
    /// in its ARN. SIGTERM ends the worker without losing a task: polls in flight are awaited, running Jobs go on, and the
    /// next worker answers them. `RUNJOB_LOG` sets what is logged, for instance `debug`.
    Worker(Box<Settings>),

    /// Print the names of all errors, when they happen and what to do about them, as Markdown
    Errors,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(Command::parse())
}

/// Runs a command line.
pub fn run(command: Command) -> ExitCode {
    let settings = match command.what {
        What::Worker(settings) => settings,
        What::Errors => return print(&catalogue::markdown()),
    };
    process::prepare(settings.jobs.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "unable to start the runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work(*settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "the worker could not go on");
            ExitCode::FAILURE
        }
    }
}

/// Prints to the standard output. Whoever reads it may close it early.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn work(settings: Settings) -> anyhow::Result<()> {
    let drain = drain_on_signals()?;
    let sdk = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let sdk = aws_credentials::reread(&sdk);
    let clusters = clusters::find(&settings.jobs, &sdk).await?;
    Worker::new(settings, sdk, clusters).await?.run(drain).await
}

/// The first SIGTERM or SIGINT drains; a second one ends the process at once.
fn drain_on_signals() -> anyhow::Result<CancellationToken> {
    let drain = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("unable to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("unable to listen for SIGINT")?;
    let begin = drain.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if begin.is_cancelled() {
                info!("ended at once, as asked twice");
                std::process::exit(1);
            }
            info!("the worker drains");
            begin.cancel();
        }
    });
    Ok(drain)
}
