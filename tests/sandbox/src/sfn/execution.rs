//! Executions: their start, their history, and their one end.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    core::{Core, Halt, State},
    errors::ServiceError,
    failure::StateError,
    history::{Event, ExecutionEvent, HistoryEvent},
    limits,
    machine::Machine,
    token::{TaskId, scramble},
};

/// An execution as `DescribeExecution` shows it.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its ARN.
    pub arn: String,
    /// The ARN of its state machine.
    pub machine: String,
    /// Its name.
    pub name: String,
    /// How far it is.
    pub status: ExecutionStatus,
    /// When it started.
    pub started: Timestamp,
    /// When it ended, if it has.
    pub stopped: Option<Timestamp>,
    /// Its input, JSON.
    pub input: String,
    /// Its output, JSON, if it succeeded.
    pub output: Option<String>,
    /// The error it failed with or was stopped with.
    pub error: Option<String>,
    /// The cause of that.
    pub cause: Option<String>,
}

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// It has not ended.
    Running,
    /// Its last state was left.
    Succeeded,
    /// A state failed, and nothing caught it.
    Failed,
    /// The machine's `TimeoutSeconds` ran out.
    TimedOut,
    /// It was stopped.
    Aborted,
}

impl ExecutionStatus {
    /// As on the wire: `RUNNING`, `SUCCEEDED`, `FAILED`, `TIMED_OUT`, `ABORTED`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }
}

/// An execution and what the service keeps with it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) execution: Execution,
    pub(super) history: Vec<HistoryEvent>,
    pub(super) open_task: Option<TaskId>,
    ended: watch::Sender<bool>,
}

/// The end of an execution.
#[derive(Debug)]
pub(super) enum End {
    Succeeded(Value),
    Failed(StateError),
    TimedOut,
    Aborted { error: Option<String>, cause: Option<String> },
}

/// An execution that `StartExecution` made or found.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) execution: Execution,
    /// What to run. `None` if the execution was there already.
    pub(super) run: Option<(Arc<Machine>, Value)>,
}

impl Core {
    pub(super) fn begin(&self, machine: &str, name: Option<&str>, input: &str) -> Result<Begun, ServiceError> {
        name.map_or(Ok(()), limits::name)?;
        limits::data("input", input)?;
        let data = serde_json::from_str::<Value>(input)
            .map_err(|error| ServiceError::InvalidExecutionInput(error.to_string()))?;
        let mut state = self.state();
        let found = state.machines.get(machine).cloned();
        let machine = found.ok_or_else(|| ServiceError::StateMachineDoesNotExist(machine.to_owned()))?;
        let name = name.map_or_else(|| self.generated_name(&state), ToOwned::to_owned);
        let arn = self.config.arn("execution", &format!("{}:{name}", machine.name));
        if let Some(Running { execution, .. }) = state.executions.get(&arn) {
            let same = execution.status == ExecutionStatus::Running && execution.input == input;
            let found = || Begun { execution: execution.clone(), run: None };
            return if same { Ok(found()) } else { Err(ServiceError::ExecutionAlreadyExists(arn)) };
        }
        let execution = Execution {
            arn: arn.clone(),
            machine: machine.arn.clone(),
            name,
            status: ExecutionStatus::Running,
            started: self.clock.now(),
            stopped: None,
            input: input.to_owned(),
            output: None,
            error: None,
            cause: None,
        };
        let running = Running {
            execution: execution.clone(),
            history: Vec::new(),
            open_task: None,
            ended: watch::channel(false).0,
        };
        state.executions.insert(arn.clone(), running);
        let started = Event::ExecutionStarted { input: input.to_owned(), role: machine.role.clone() };
        // The first event always has its place.
        let _ = self.record(&mut state, &arn, started);
        Ok(Begun { execution, run: Some((machine, data)) })
    }

    /// Writes an event. Its number is the answer.
    pub(super) fn record(&self, state: &mut State, execution: &str, event: Event) -> Result<u64, Halt> {
        let running = state.executions.get_mut(execution).ok_or(Halt::Ended)?;
        if running.execution.status != ExecutionStatus::Running {
            return Err(Halt::Ended);
        }
        if running.history.len() + 1 >= limits::HISTORY_EVENTS {
            let cause =
                format!("The execution reached the maximum number of history events ({}).", limits::HISTORY_EVENTS);
            return Err(StateError::runtime(cause).into());
        }
        Ok(self.append(running, event))
    }

    fn append(&self, running: &mut Running, event: Event) -> u64 {
        let previous = u64::try_from(running.history.len()).unwrap_or(u64::MAX);
        let id = previous.saturating_add(1);
        let previous_event_id = if id == 2 { 0 } else { previous };
        let event = HistoryEvent { id, previous_event_id, at: self.clock.now(), event };
        running.history.push(event.clone());
        // Nobody may be following.
        let _ = self.feed.send(ExecutionEvent { execution: running.execution.arn.clone(), event });
        id
    }

    /// Ends an execution, and with it the task that it waits for. Later ends change nothing.
    pub(super) fn end(&self, execution: &str, end: End) {
        let mut state = self.state();
        let Some(running) = state.executions.get_mut(execution) else { return };
        if running.execution.status != ExecutionStatus::Running {
            return;
        }
        let open_task = running.open_task.take();
        let seen = &mut running.execution;
        let event = match end {
            End::Succeeded(output) => {
                let output = output.to_string();
                seen.output = Some(output.clone());
                seen.status = ExecutionStatus::Succeeded;
                Event::ExecutionSucceeded { output }
            }
            End::Failed(StateError { error, cause, .. }) => {
                (seen.error, seen.cause) = (error.clone(), cause.clone());
                seen.status = ExecutionStatus::Failed;
                Event::ExecutionFailed { error, cause }
            }
            End::TimedOut => {
                seen.status = ExecutionStatus::TimedOut;
                Event::ExecutionTimedOut
            }
            End::Aborted { error, cause } => {
                (seen.error, seen.cause) = (error.clone(), cause.clone());
                seen.status = ExecutionStatus::Aborted;
                Event::ExecutionAborted { error, cause }
            }
        };
        seen.stopped = Some(self.clock.now());
        self.append(running, event);
        running.ended.send_replace(true);
        if let Some(task) = open_task {
            self.abort_task(&mut state, task);
        }
    }

    pub(super) fn describe(&self, execution: &str) -> Option<Execution> {
        self.state().executions.get(execution).map(|running| running.execution.clone())
    }

    pub(super) fn history(&self, execution: &str) -> Option<Vec<HistoryEvent>> {
        self.state().executions.get(execution).map(|running| running.history.clone())
    }

    /// Waits for the end of an execution. `None`: there is no such execution.
    pub(super) async fn finished(&self, execution: &str) -> Option<Execution> {
        let mut ended = self.state().executions.get(execution)?.ended.subscribe();
        ended.wait_for(|ended| *ended).await.ok()?;
        self.describe(execution)
    }

    /// Looks like the version 4 UUID that AWS makes up, and follows from the seed.
    fn generated_name(&self, state: &State) -> String {
        let count = u64::try_from(state.executions.len()).unwrap_or(u64::MAX);
        let high = scramble(self.config.seed.rotate_left(32) ^ count);
        let digits = format!("{high:016x}{:016x}", scramble(high));
        let part = |from, to| digits.get(from..to).unwrap_or_default();
        format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
    }
}
