//! Step Functions: activities with their task tokens, and an interpreter for the part of the Amazon States Language that
//! machines around a worker need.
//!
//! ```text
//!  wire (AWS JSON) ─► operations ─┐                 ┌─ activity: queues of tasks and polls
//!                                 ├─► Core (state) ─┼─ tasks:    token, clocks, one answer
//!  StepFunctions (tests, demo) ───┘                 └─ execution: history, one end ◄─ interpreter (a tokio task each)
//!                                                                                     └─ functions ─► crate::lambda
//! ```
//!
//! It is strict where AWS documents an error, and refuses at `CreateStateMachine` what it does not have: Choice, Map,
//! Parallel, `JSONata`, intrinsic functions but `States.Format`, integrations but `eks` and `lambda:invoke`. Time is tokio's, and
//! names and tokens follow from a seed, so that a run under a paused clock can be repeated.

mod activity;
mod bare;
mod clock;
mod config;
mod context;
mod core;
mod definition;
mod errors;
mod execution;
mod failure;
mod functions;
mod history;
mod interpreter;
mod intrinsics;
mod limits;
mod machine;
mod operations;
mod paths;
mod records;
mod retry;
mod tasks;
mod template;
mod token;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::{sync::broadcast, task::JoinSet};

pub use self::{
    bare::BareTask,
    config::{Config, EmptyPoll},
    definition::{Problem, Wait},
    errors::ServiceError,
    execution::{Execution, ExecutionStatus},
    history::{Event, ExecutionEvent, HistoryEvent},
    records::{Answer, Record},
    tasks::{Clocks, Overdue, TaskOutcome},
};
use self::{
    core::Core,
    execution::End,
    tasks::{Doer, Work},
};
use crate::lambda::Lambda;

/// The service. Its executions end when it is dropped.
#[derive(Debug)]
pub struct StepFunctions {
    core: Arc<Core>,
    /// Executions, and the clocks of bare tasks.
    running: Mutex<JoinSet<()>>,
}

impl StepFunctions {
    /// A service with nothing in it but the activity for native resources, if the configuration names one.
    pub fn new(config: Config) -> Arc<Self> {
        let core = Core::new(config);
        if let Some(name) = &core.config.native_activity {
            core.ensure_activity(&core.activity_arn(name));
        }
        Arc::new(Self { core: Arc::new(core), running: Mutex::default() })
    }

    /// Creates an activity, or finds the one of that name. Gives its ARN.
    pub fn create_activity(&self, name: &str) -> Result<String, ServiceError> {
        self.core.create_activity(name).map(|(arn, _)| arn)
    }

    /// Creates a state machine from its definition in the Amazon States Language. Gives its ARN.
    pub fn create_state_machine(&self, name: &str, definition: &str) -> Result<String, ServiceError> {
        self.core.create_machine(name, definition, None).map(|machine| machine.arn.clone())
    }

    /// Starts an execution of the machine with this ARN. Gives the execution's ARN. Needs a tokio runtime.
    pub fn start_execution(&self, machine: &str, name: Option<&str>, input: &str) -> Result<String, ServiceError> {
        self.start(machine, name, input).map(|execution| execution.arn)
    }

    /// Stops an execution: the token of its open task is closed at once. One that has ended stays as it is.
    pub fn stop_execution(
        &self,
        execution: &str,
        error: Option<&str>,
        cause: Option<&str>,
    ) -> Result<Timestamp, ServiceError> {
        limits::error(error)?;
        limits::cause(cause)?;
        let [error, cause] = [error, cause].map(|text| text.map(ToOwned::to_owned));
        self.core.end(execution, End::Aborted { error, cause });
        let stopped = self.describe(execution).and_then(|execution| execution.stopped);
        stopped.ok_or_else(|| ServiceError::ExecutionDoesNotExist(execution.to_owned()))
    }

    /// The execution with this ARN.
    pub fn describe(&self, execution: &str) -> Option<Execution> {
        self.core.describe(execution)
    }

    /// Waits for the end of the execution with this ARN. `None`: there is no such execution.
    pub async fn finished(&self, execution: &str) -> Option<Execution> {
        self.core.finished(execution).await
    }

    /// The events of the execution with this ARN so far. Empty if there is no such execution.
    pub fn history(&self, execution: &str) -> Vec<HistoryEvent> {
        self.core.history(execution).unwrap_or_default()
    }

    /// The events of all executions from now on.
    pub fn events(&self) -> broadcast::Receiver<ExecutionEvent> {
        self.core.feed.subscribe()
    }

    /// Schedules a task without a state machine. The activity, given by name or ARN, is made if it does not exist; the
    /// input goes to the worker as it is. Needs a tokio runtime.
    pub fn bare_task(&self, activity: &str, input: &str, clocks: Clocks) -> BareTask {
        let activity = self.core.activity_arn(activity);
        self.core.ensure_activity(&activity);
        let work = Work { doer: Doer::Activity(activity), input: input.to_owned(), execution: None, clocks };
        let (id, phase) = self.core.schedule_bare(work);
        let core = self.core.clone();
        self.spawn(async move {
            core.outcome(id).await;
        });
        BareTask::new(&self.core, id, phase)
    }

    /// The polls that are held right now for an activity, given by name or ARN.
    pub fn waiting_polls(&self, activity: &str) -> usize {
        self.core.waiting_polls(&self.core.activity_arn(activity))
    }

    /// From now on polls, also those that are held, are answered empty at once.
    pub fn release_polls(&self) {
        self.core.polls_released.send_replace(true);
    }

    /// What became of every task so far, in the order of scheduling.
    pub fn records(&self) -> Vec<Record> {
        self.core.records()
    }

    /// The functions that states invoke.
    pub fn lambda(&self) -> &Arc<Lambda> {
        &self.core.lambda
    }

    /// What workers did that they must never do, so far: a task whose answer was accepted was
    /// answered in another way too. And what functions did that the Runtime API forbids.
    pub fn invariant_violations(&self) -> Vec<String> {
        let mut violations = self.core.invariant_violations();
        violations.extend(self.core.lambda.violations());
        violations
    }

    fn start(&self, machine: &str, name: Option<&str>, input: &str) -> Result<Execution, ServiceError> {
        let begun = self.core.begin(machine, name, input)?;
        if let Some((machine, input)) = begun.run {
            let (core, execution) = (self.core.clone(), begun.execution.clone());
            self.spawn(async move { interpreter::run(&core, &machine, &execution, input).await });
        }
        Ok(begun.execution)
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }
}
