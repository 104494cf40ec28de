//! A function that runs as processes: one environment for each invocation at a time, used again once it is idle.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Bootstrap, FunctionError, Invocation,
    instance::Instance,
    locked,
    noted::Noted,
    runtime_api::{Outcome, RuntimeApi},
};
use crate::reaper::Reaper;

/// How long a process may take to ask for its first invocation, beside the function's time-out.
const INIT: Duration = Duration::from_secs(10);

/// A function that runs as processes. Clones are the same function.
#[derive(Clone)]
pub struct Deployed(Arc<Inner>);

struct Inner {
    surroundings: Surroundings,
    bootstrap: Bootstrap,
    environments: Noted<Environment>,
    controls: Mutex<Vec<Control>>,
    idle: Mutex<Vec<Instance>>,
}

/// What a function finds around it.
pub(super) struct Surroundings {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) region: String,
    pub(super) reaper: Arc<Reaper>,
    pub(super) directory: PathBuf,
}

/// What is left of an environment for tests to turn to, also when it has ended.
pub(super) struct Control {
    pub(super) api: Arc<RuntimeApi>,
    pub(super) killed: CancellationToken,
    pub(super) log: PathBuf,
}

/// One execution environment: a process and its Runtime API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Counted from 0, in the order of starting.
    pub number: usize,
    /// The id of its process, if it could be started.
    pub process: Option<u32>,
    /// How long it took from the start of the process to its first poll, if it came so far.
    pub init: Option<Duration>,
    /// How many invocations it got.
    pub invocations: u32,
    /// What it does.
    pub state: EnvironmentState,
}

/// What an environment does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentState {
    /// Its process has not asked for an invocation yet.
    Starting,
    /// It is at an invocation.
    Busy,
    /// It waits for the next one, frozen or not.
    Idle,
    /// It is no more: how that came.
    Ended(String),
}

impl Deployed {
    pub(super) fn new(surroundings: Surroundings, bootstrap: Bootstrap) -> Self {
        Self(Arc::new(Inner {
            surroundings,
            bootstrap,
            environments: Noted::default(),
            controls: Mutex::default(),
            idle: Mutex::default(),
        }))
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.0.surroundings.arn
    }

    /// All of its environments so far: each was a cold start.
    pub fn environments(&self) -> Vec<Environment> {
        self.0.environments.all()
    }

    /// Waits until `found` picks something out of the environments. Looks again at every change.
    pub async fn wait_for<T>(&self, found: impl FnMut(&[Environment]) -> Option<T>) -> T {
        self.0.environments.wait_for(found).await
    }

    /// `kill -9` of an environment's process. The invocation that it is at ends with `Runtime.ExitError`.
    pub fn kill(&self, number: usize) {
        if let Some(control) = locked(&self.0.controls).get(number) {
            control.killed.cancel();
        }
        // One that is at an invocation notices by itself.
        locked(&self.0.idle).retain(|instance| instance.number() != number);
    }

    /// What all of its processes have written to standard output and standard error so far.
    pub fn logs(&self) -> String {
        let controls = locked(&self.0.controls);
        let logs = controls.iter().map(|control| std::fs::read(&control.log).unwrap_or_default());
        logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.bootstrap.timeout
    }

    pub(super) fn violations(&self) -> Vec<String> {
        let controls = locked(&self.0.controls).iter().map(|control| control.api.violations()).collect::<Vec<_>>();
        let numbered = controls.into_iter().enumerate();
        let name = &self.0.surroundings.name;
        numbered
            .flat_map(|(number, violations)| {
                violations.into_iter().map(move |violation| format!("environment {number} of {name}: {violation}"))
            })
            .collect()
    }

    /// The answer is handed on once the environment is idle again, or no more: a test then knows which it is.
    pub(super) async fn invoke(&self, mut invocation: Invocation) -> Outcome {
        let timeout = self.timeout();
        let mut instance = match self.idle() {
            Some(instance) => instance,
            None => self.cold_start(&invocation.request_id).await?,
        };
        // The clock of an invocation starts when the process gets it.
        invocation.deadline = tokio::time::Instant::now() + timeout;
        let outcome = instance.run(&invocation, timeout).await;
        if instance.rest().await {
            locked(&self.0.idle).push(instance);
        }
        outcome
    }

    fn idle(&self) -> Option<Instance> {
        let mut idle = locked(&self.0.idle);
        std::iter::from_fn(|| idle.pop()).find_map(Instance::usable)
    }

    async fn cold_start(&self, request_id: &str) -> Result<Instance, FunctionError> {
        let Inner { surroundings, bootstrap, environments, controls, .. } = &*self.0;
        let mut instance = Instance::start(surroundings, bootstrap, environments, controls)
            .await
            .map_err(|error| FunctionError::not_started(&error))?;
        instance.ready(request_id, bootstrap.timeout + INIT).await?;
        Ok(instance)
    }
}

impl fmt::Debug for Deployed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployed").field("arn", &self.arn()).finish_non_exhaustive()
    }
}
