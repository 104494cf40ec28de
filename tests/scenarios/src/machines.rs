//! A Step Functions of a test's own, whose machines are run against a real cluster.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use runjob_sandbox::{
    access::StepFunctionsAccess,
    front::Front,
    serve::{Served, serve_at},
    sfn::{Config, Execution, StepFunctions},
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Longer than any machine here takes.
const PATIENCE: Duration = Duration::from_mins(5);

/// The service, with one activity, to which native resources go as well.
pub struct Machines {
    front: Front<StepFunctions>,
    served: Served,
    activity: String,
    region: String,
}

impl Machines {
    /// Serves it at an address of this machine. `activity`: the name of its activity.
    pub async fn serve(address: IpAddr, region: &str, activity: &str) -> anyhow::Result<Self> {
        let config =
            Config { region: region.to_owned(), native_activity: Some(activity.to_owned()), ..Config::default() };
        let front = Front::new(StepFunctions::new(config));
        let activity = front.endpoint().create_activity(activity)?;
        let served = serve_at(address, front.clone()).await?;
        Ok(Self { front, served, activity, region: region.to_owned() })
    }

    /// The service itself.
    pub fn service(&self) -> &Arc<StepFunctions> {
        self.front.endpoint()
    }

    /// The activity's ARN.
    pub fn activity(&self) -> &str {
        &self.activity
    }

    /// How a client finds it.
    pub fn access(&self) -> StepFunctionsAccess {
        StepFunctionsAccess { url: self.served.url(), region: self.region.clone(), key: "anybody".to_owned() }
    }

    /// Starts a machine. Gives its execution.
    pub fn start(&self, definition: &str, input: &str) -> anyhow::Result<String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("machine-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let machine = self.service().create_state_machine(&name, definition)?;
        Ok(self.service().start_execution(&machine, None, input)?)
    }

    /// Starts a machine with one state of these fields.
    pub fn start_state(&self, fields: &Value) -> anyhow::Result<String> {
        let mut state = json!({"Type": "Task", "End": true});
        for (name, field) in fields.as_object().into_iter().flatten() {
            if let Some(state) = state.as_object_mut() {
                state.insert(name.clone(), field.clone());
            }
        }
        self.start(&json!({"StartAt": "Run", "States": {"Run": state}}).to_string(), "{}")
    }

    /// How an execution has ended.
    pub async fn ended(&self, execution: &str) -> anyhow::Result<Execution> {
        let ended = timeout(PATIENCE, self.service().finished(execution)).await;
        let ended = ended.with_context(|| format!("it does not end: {:?}", self.service().history(execution)))?;
        let violations = self.service().invariant_violations();
        ensure!(violations.is_empty(), "{violations:?}");
        ended.context("there is no such execution")
    }

    /// The output of an execution that has to succeed.
    pub async fn output(&self, execution: &str) -> anyhow::Result<Value> {
        let ended = self.ended(execution).await?;
        ensure!(ended.status.name() == "SUCCEEDED", "{ended:?}");
        serde_json::from_str(&ended.output.unwrap_or_default()).context("its output is no JSON")
    }

    /// The error and the cause of an execution that has to fail.
    pub async fn failure(&self, execution: &str) -> anyhow::Result<(String, Value)> {
        let ended = self.ended(execution).await?;
        ensure!(ended.status.name() == "FAILED", "{ended:?}");
        let cause = serde_json::from_str(&ended.cause.unwrap_or_default()).context("its cause is no JSON")?;
        Ok((ended.error.context("it failed without an error")?, cause))
    }
}
