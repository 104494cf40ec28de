//! The demonstration: a workflow on the sandbox, carried out by the production worker.

mod demo;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use demo::Workflow;

/// Runs a workflow on an in-process Step Functions and Kubernetes; containers run as local processes.
#[derive(Debug, Parser)]
#[command(name = "runjob-sandbox", version)]
struct Command {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the workflow of the article that runjob comes from: 2000 digits of pi (the default)
    Pi,
    /// Run a workflow of your own
    ///
    /// `Resource` may be native (`arn:aws:states:::eks:runJob.sync`, `runJob`, `call`) or the ARN of the sandbox's activity,
    /// arn:aws:states:us-east-1:123456789012:activity:runjob. Images
    /// stand for local programs: busybox, alpine, debian, ubuntu and bash for sh, perl, python, node, ruby.
    Run {
        /// The state machine, in the Amazon States Language
        workflow: PathBuf,
        /// The execution's input, JSON [default: {}]
        input: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    if std::env::var_os("RUNJOB_LOG").is_some() {
        runjob::telemetry::log_to_stderr(None);
    }
    let workflow = match Command::parse().what {
        None | Some(What::Pi) => Ok(Workflow::pi()),
        Some(What::Run { workflow, input }) => Workflow::read(&workflow, input.as_deref()),
    };
    let finished = workflow.and_then(|workflow| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(demo::run(workflow))
    });
    match finished {
        Ok(code) => code,
        Err(error) => {
            demo::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
