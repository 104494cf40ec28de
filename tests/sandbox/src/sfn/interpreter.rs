//! Runs an execution from state to state.
//!
//! ```text
//!  raw input ─ InputPath ─ Parameters ─► the state's work ─ ResultSelector ─ ResultPath ─ OutputPath ─► output
//!      └──────────────────────────────────────────────────────────────────────┘
//! ```

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{
    context::{Visit, context, with_token},
    core::{Core, Halt},
    definition::{DataPath, Kind, Native, Pause, Resource, State, Task, Then, Wait, seconds},
    execution::{End, Execution},
    failure::StateError,
    functions::Request,
    history::Event,
    limits,
    machine::Machine,
    paths::{Path, ResultPath, Scope},
    retry::{Attempts, catcher},
    tasks::{Clocks, Doer, Overdue, TaskOutcome, Work},
    template::Template,
};

/// Runs an execution to its end, or until someone else ends it.
pub(super) async fn run(core: &Core, machine: &Machine, execution: &Execution, input: Value) {
    let run = Run { core, machine, execution, input: &input };
    let states = async {
        match machine.definition.timeout {
            Some(limit) => timeout(limit, run.all_states()).await.unwrap_or(Ok(End::TimedOut)),
            None => run.all_states().await,
        }
    };
    let end = tokio::select! {
        biased;
        _ = core.finished(&execution.arn) => return,
        end = states => end,
    };
    match end {
        Ok(end) => core.end(&execution.arn, end),
        Err(Halt::Failed(error)) => core.end(&execution.arn, End::Failed(error)),
        Err(Halt::Ended) => {}
    }
}

struct Run<'a> {
    core: &'a Core,
    machine: &'a Machine,
    execution: &'a Execution,
    input: &'a Value,
}

impl Run<'_> {
    async fn all_states(&self) -> Result<End, Halt> {
        let mut name = self.machine.definition.start_at.as_str();
        let mut data = self.input.clone();
        loop {
            // A machine may go in circles without ever waiting.
            tokio::task::yield_now().await;
            let Some(state) = self.machine.definition.states.get(name) else {
                return Err(StateError::runtime(format!("there is no state {name:?}")).into());
            };
            let state_type = state.type_name();
            let visit = self.enter(name, state_type, &data)?;
            let (output, then) = self.visit(state, &visit, data).await.map_err(|halt| visit.blame(halt))?;
            let exited = Event::StateExited { state_type, name: name.to_owned(), output: output.to_string() };
            self.record(exited)?;
            match then {
                Goto::State(next) => (name, data) = (next, output),
                Goto::End => return Ok(End::Succeeded(output)),
            }
        }
    }

    fn enter(&self, name: &str, state_type: &'static str, input: &Value) -> Result<Visit, Halt> {
        let entered = self.core.clock.now();
        let event = Event::StateEntered { state_type, name: name.to_owned(), input: input.to_string() };
        Ok(Visit { state: name.to_owned(), entered, event: self.record(event)? })
    }

    fn record(&self, event: Event) -> Result<u64, Halt> {
        self.core.record(&mut self.core.state(), &self.execution.arn, event)
    }

    fn context(&self, visit: &Visit, retries: u32) -> Value {
        context(self.machine, self.execution, self.input, visit, retries)
    }

    async fn visit<'s>(&self, state: &'s State, visit: &Visit, raw: Value) -> Result<(Value, Goto<'s>), Halt> {
        let context = self.context(visit, 0);
        let input = at_data_path(&state.input_path, Scope { data: &raw, context: &context })?;
        let scope = Scope { data: &input, context: &context };
        let (output, then) = match &state.kind {
            Kind::Task(task) => return self.task(state, task, visit, raw).await,
            Kind::Succeed => (input, &Then::End),
            Kind::Fail { error, cause } => return Err(StateError::reported(error.clone(), cause.clone()).into()),
            Kind::Wait { pause, then } => {
                sleep(duration(pause, scope)?).await;
                (input, then)
            }
            Kind::Pass { parameters, result, result_path, then } => {
                let result = match result {
                    Some(result) => result.clone(),
                    None => payload(parameters.as_ref(), scope)?,
                };
                (placed(result_path, visit, raw, result)?, then)
            }
        };
        let output = at_data_path(&state.output_path, Scope { data: &output, context: &context })?;
        Ok((fitting(output, visit)?, then.into()))
    }

    async fn task<'s>(
        &self,
        state: &State,
        task: &'s Task,
        visit: &Visit,
        raw: Value,
    ) -> Result<(Value, Goto<'s>), Halt> {
        let mut attempts = Attempts::default();
        loop {
            let error = match self.attempt(state, task, visit, &raw, attempts.retries()).await {
                Ok(output) => return Ok((output, (&task.then).into())),
                Err(Halt::Ended) => return Err(Halt::Ended),
                Err(Halt::Failed(error)) => error,
            };
            if let Some(pause) = attempts.after(&error, &task.retry) {
                sleep(pause).await;
                continue;
            }
            let Some(catcher) = catcher(&error, &task.catch) else { return Err(error.into()) };
            let output = placed(&catcher.result_path, visit, raw, error.output())?;
            return Ok((output, Goto::State(&catcher.next)));
        }
    }

    async fn attempt(
        &self,
        state: &State,
        task: &Task,
        visit: &Visit,
        raw: &Value,
        retries: u32,
    ) -> Result<Value, Halt> {
        let mut context = self.context(visit, retries);
        let token = (task.resource == Resource::Invoke(Wait::ForToken)).then(|| self.core.number_task());
        if let Some(token) = token {
            context = with_token(context, self.core.mint.token(token));
        }
        let input = at_data_path(&state.input_path, Scope { data: raw, context: &context })?;
        let payload = payload(task.parameters.as_ref(), Scope { data: &input, context: &context })?;
        let request = Request {
            execution: &self.execution.arn,
            state: &visit.state,
            clocks: Clocks { timeout: task.timeout, heartbeat: task.heartbeat },
            input: fitting(payload, visit)?,
        };
        let mut result = match (&task.resource, token) {
            (Resource::Function(arn), _) => self.core.invoke_function(arn, request).await?,
            (Resource::Invoke(_), None) => self.core.invoke(request).await?,
            (Resource::Invoke(_), Some(token)) => told(self.core.invoke_and_wait(token, request).await?)?,
            (Resource::Activity(arn), _) => told(self.core.ask(arn.clone(), request).await?)?,
            (Resource::Native(native), _) => {
                let (activity, request) = self.native(*native, request);
                told(self.core.ask(activity, request).await?)?
            }
        };
        if let Some(selector) = &task.result_selector {
            result = selector.evaluate(Scope { data: &result, context: &context })?;
        }
        let output = placed(&task.result_path, visit, raw.clone(), result)?;
        let output = at_data_path(&state.output_path, Scope { data: &output, context: &context })?;
        Ok(fitting(output, visit)?)
    }

    /// The activity that stands in for a native integration, and what it is asked.
    fn native<'r>(&self, native: Native, mut request: Request<'r>) -> (String, Request<'r>) {
        if native == Native::RunJob
            && let Some(input) = request.input.as_object_mut()
        {
            input.insert("Action".to_owned(), "runJob".into());
        }
        (self.core.activity_arn(self.core.config.native_activity.as_deref().unwrap_or_default()), request)
    }
}

impl Core {
    /// Waits for what a worker of the activity with this ARN makes of it.
    async fn ask(
        &self,
        activity: String,
        Request { execution, clocks, input, .. }: Request<'_>,
    ) -> Result<TaskOutcome, Halt> {
        let (doer, execution) = (Doer::Activity(activity), Some(execution.to_owned()));
        let id = self.schedule(Work { doer, input: input.to_string(), execution, clocks })?;
        self.outcome(id).await.ok_or(Halt::Ended)
    }
}

/// The result of a task that has a token.
fn told(outcome: TaskOutcome) -> Result<Value, Halt> {
    match outcome {
        TaskOutcome::Succeeded(output) => serde_json::from_str::<Value>(&output)
            .map_err(|error| StateError::runtime(format!("the output of the task is no JSON: {error}")).into()),
        TaskOutcome::Failed { error, cause } => Err(StateError::reported(error, cause).into()),
        TaskOutcome::TimedOut(Overdue::Answer) => Err(StateError::timeout().into()),
        TaskOutcome::TimedOut(Overdue::Heartbeat) => Err(StateError::missed_heartbeat().into()),
        TaskOutcome::Aborted => Err(Halt::Ended),
    }
}

enum Goto<'a> {
    State(&'a str),
    End,
}

impl<'a> From<&'a Then> for Goto<'a> {
    fn from(then: &'a Then) -> Self {
        match then {
            Then::Next(next) => Self::State(next),
            Then::End => Self::End,
        }
    }
}

impl Visit {
    /// Says in which state it happened, where AWS says so.
    fn blame(&self, halt: Halt) -> Halt {
        match halt {
            Halt::Failed(error) => error.in_state(&self.state, self.event).into(),
            Halt::Ended => Halt::Ended,
        }
    }
}

fn at_data_path(path: &DataPath, scope: Scope<'_>) -> Result<Value, StateError> {
    match path {
        DataPath::Whole => Ok(scope.data.clone()),
        DataPath::Nothing => Ok(Value::Object(serde_json::Map::new())),
        DataPath::At(path) => at_path(path, scope),
    }
}

fn at_path(path: &Path, scope: Scope<'_>) -> Result<Value, StateError> {
    let missing = || StateError::runtime(format!("Invalid path '{}': it is not in '{}'", path.text(), scope.data));
    path.resolve(scope).ok_or_else(missing)
}

fn payload(parameters: Option<&Template>, scope: Scope<'_>) -> Result<Value, StateError> {
    parameters.map_or_else(|| Ok(scope.data.clone()), |parameters| parameters.evaluate(scope))
}

fn duration(pause: &Pause, scope: Scope<'_>) -> Result<std::time::Duration, StateError> {
    match pause {
        Pause::Seconds(pause) => Ok(*pause),
        Pause::SecondsAt(path) => {
            seconds(&at_path(path, scope)?, 0).map_err(|problem| StateError::runtime(format!("SecondsPath: {problem}")))
        }
    }
}

fn placed(path: &ResultPath, visit: &Visit, raw: Value, result: Value) -> Result<Value, StateError> {
    fitting(path.place(raw, result)?, visit)
}

/// The value, if it is small enough to be handed on.
fn fitting(value: Value, visit: &Visit) -> Result<Value, StateError> {
    if value.to_string().len() > limits::DATA_BYTES { Err(StateError::too_much_data(&visit.state)) } else { Ok(value) }
}
