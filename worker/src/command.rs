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
    /// in its ARN. SIGTERM (or SIGINT, SIGHUP, SIGQUIT) ends the worker without losing a task: polls in flight are awaited, running Jobs go on, and the
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

/// The first SIGTERM, SIGINT, SIGHUP or SIGQUIT drains. SIGTERM or SIGINT during the drain ends the process at once; a terminal that is
/// closed may well send SIGHUP twice. What is left to its default would end the process with a poll in flight, and its task with it.
fn drain_on_signals() -> anyhow::Result<CancellationToken> {
    let listen = |kind, name| signal(kind).with_context(|| format!("unable to listen for {name}"));
    let drain = CancellationToken::new();
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let mut quit = listen(SignalKind::quit(), "SIGQUIT")?;
    // `nohup` has it ignored, on purpose.
    let mut hangup = if hangup_is_ignored() { None } else { Some(listen(SignalKind::hangup(), "SIGHUP")?) };
    let mut user1 = listen(SignalKind::user_defined1(), "SIGUSR1")?;
    let mut user2 = listen(SignalKind::user_defined2(), "SIGUSR2")?;
    let begin = drain.clone();
    tokio::spawn(async move {
        loop {
            let heard = tokio::select! {
                biased;
                _ = terminate.recv() => Heard::End,
                _ = interrupt.recv() => Heard::End,
                _ = quit.recv() => Heard::Drain,
                _ = async { hangup.as_mut()?.recv().await }, if hangup.is_some() => Heard::Drain,
                _ = user1.recv() => Heard::Nothing("SIGUSR1"),
                _ = user2.recv() => Heard::Nothing("SIGUSR2"),
            };
            match heard {
                Heard::Nothing(signal) => info!(signal, "a signal is ignored"),
                Heard::End if begin.is_cancelled() => {
                    info!("ended at once, as asked twice");
                    std::process::exit(1);
                }
                Heard::End | Heard::Drain if !begin.is_cancelled() => {
                    info!("the worker drains");
                    begin.cancel();
                }
                Heard::End | Heard::Drain => {}
            }
        }
    });
    Ok(drain)
}

/// What a signal asks for.
enum Heard {
    /// To drain, and asked twice to end at once.
    End,
    /// To drain.
    Drain,
    /// Nothing that the worker knows.
    Nothing(&'static str),
}

/// Whether this process was started with SIGHUP ignored. Linux says so in a mask, whose first bit is signal 1.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
