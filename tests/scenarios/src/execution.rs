//! A user of Step Functions beside the worker: the same for the sandbox and for any other endpoint.

use anyhow::Context;
use aws_sdk_sfn::{Client, types::ExecutionStatus};

/// One execution.
pub(crate) struct Execution {
    client: Client,
    machine: String,
    input: String,
    arn: String,
}

/// How an execution ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// `SUCCEEDED`, `FAILED`, `ABORTED`, `TIMED_OUT`.
    pub status: ExecutionStatus,
    /// Its output, or the cause of its failure.
    pub text: String,
    /// The error's name.
    pub error: Option<String>,
}

/// A role of an account. `LocalStack` looks for a machine's functions in the account of its role.
pub(crate) fn role_of(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/scenario")
}

impl Execution {
    /// Creates a state machine with that role, and starts an execution of it.
    pub(crate) async fn start(
        client: Client,
        role: &str,
        name: &str,
        definition: &str,
        input: &str,
    ) -> anyhow::Result<Self> {
        let machine = client.create_state_machine().name(name).definition(definition).role_arn(role).send().await;
        let machine = machine.context("unable to create the state machine")?.state_machine_arn;
        Self::of(client, machine, input.to_owned()).await
    }

    /// Starts another execution of the same machine, with the same input.
    pub(crate) async fn another(&self) -> anyhow::Result<Self> {
        Self::of(self.client.clone(), self.machine.clone(), self.input.clone()).await
    }

    async fn of(client: Client, machine: String, input: String) -> anyhow::Result<Self> {
        let execution = client.start_execution().state_machine_arn(&machine).input(&input).send().await;
        let arn = execution.context("unable to start the execution")?.execution_arn;
        Ok(Self { client, machine, input, arn })
    }

    /// Its end, if it has ended.
    pub(crate) async fn ended(&self) -> anyhow::Result<Option<Ended>> {
        let seen = self.client.describe_execution().execution_arn(&self.arn).send().await;
        let seen = seen.context("unable to describe the execution")?;
        if seen.status == ExecutionStatus::Running {
            return Ok(None);
        }
        let text = seen.output.or(seen.cause).unwrap_or_default();
        Ok(Some(Ended { status: seen.status, text, error: seen.error }))
    }

    /// `StopExecution`.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.client.stop_execution().execution_arn(&self.arn).send().await.context("unable to stop the execution")?;
        Ok(())
    }

    /// The outputs of its states so far, one after the other.
    pub(crate) async fn outputs(&self) -> anyhow::Result<String> {
        let mut events = self.client.get_execution_history().execution_arn(&self.arn).into_paginator().items().send();
        let mut outputs = String::new();
        while let Some(event) = events.next().await {
            let details = event.context("unable to read the history")?.state_exited_event_details;
            outputs.extend(details.and_then(|details| details.output));
        }
        Ok(outputs)
    }
}
