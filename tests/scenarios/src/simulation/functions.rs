//! The function of `runjob` in made-up time: state machines invoke it, and every invocation has a line of its own, so that whatever
//! befalls a worker's requests befalls its requests as well. One that crashes ends as a process that was killed does.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use jiff::SignedDuration;
use runjob::clusters;
use runjob_core::waiter::InvocationId;
use runjob_lambda::{
    function::{self, Function},
    outcome::Failed,
    settings::FunctionSettings,
    sites::Sites,
};
use runjob_sandbox::{
    lambda::{Call, FunctionError, Invocation},
    memory::{Link, Ways},
    sfn::{ExecutionStatus, Overdue, Record, StepFunctions, TaskOutcome},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    expected::Expected,
    stage::{Set, Stage, lock},
};
use crate::jobs::JobRequest;

/// What the function is called.
const FUNCTION: &str = "runjob";
/// How long an invocation may take: longer than a Lease lasts, and what comes after it is done.
const TIMEOUT: Duration = Duration::from_secs(45);
/// What the function is told, as [`super::stage`] tells workers.
const SETTINGS: [&str; 5] = ["bootstrap", "--lease-duration", "24s", "--reattach-grace", "40s"];
/// `HeartbeatSeconds` of a state that hands its Job over, as the documentation asks for it.
const HEARTBEAT: u64 = 180;
/// How often it sweeps: the shortest schedule of `EventBridge`.
const SCHEDULE: Duration = Duration::from_mins(1);

/// When the function sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweeping {
    /// Not on its own: workers do the same.
    Never,
    /// Every minute, once all executions have ended, as long as anything is left.
    Afterwards,
    /// Every minute.
    Always,
}

/// How a state has the function do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `lambda:invoke`: the function's answer is the result.
    Waits,
    /// `lambda:invoke.waitForTaskToken`: the function hands the Job over.
    HandsOver,
}

/// An execution of a machine with one state, and what has to become of it.
#[derive(Clone)]
pub struct Execution {
    /// Its ARN.
    arn: String,
    /// How its state has its work done.
    pub form: Form,
    /// What the function is asked.
    pub request: Value,
    /// How it has to end.
    pub expected: Expected,
}

impl Execution {
    /// Whether another attempt goes on where one has ended.
    pub fn has_key(&self) -> bool {
        self.request.get("IdempotencyKey").is_some()
    }

    /// How it has ended, in the words of a task.
    pub fn outcome(&self, step_functions: &StepFunctions) -> Option<TaskOutcome> {
        let execution = step_functions.describe(&self.arn)?;
        Some(match execution.status {
            ExecutionStatus::Running => return None,
            ExecutionStatus::Succeeded => TaskOutcome::Succeeded(execution.output.unwrap_or_default()),
            ExecutionStatus::Failed => {
                TaskOutcome::Failed { error: execution.error, cause: execution.cause.map(|cause| own_cause(&cause)) }
            }
            ExecutionStatus::TimedOut => TaskOutcome::TimedOut(Overdue::Answer),
            ExecutionStatus::Aborted => TaskOutcome::Aborted,
        })
    }

    /// The tokens that its function was given, or the ids of its invocations where it has no token.
    pub fn waiters(&self, step_functions: &StepFunctions) -> Vec<String> {
        let calls = step_functions.lambda().calls();
        calls.iter().filter(|call| self.made(call)).map(waiter).collect()
    }

    /// Whether it has made this call. Of two with one request each has made those of the other.
    fn made(&self, Call { invocation, .. }: &Call) -> bool {
        let mut asked = invocation.payload.clone();
        let token = asked.as_object_mut().and_then(|fields| fields.shift_remove("TaskToken"));
        token.is_some() == (self.form == Form::HandsOver) && asked == self.request
    }
}

/// What stands on the Job of a call.
fn waiter(Call { invocation, .. }: &Call) -> String {
    let token = invocation.payload.get("TaskToken").and_then(Value::as_str);
    token.unwrap_or(&invocation.request_id).to_owned()
}

/// The cause that the function gave: Step Functions wraps it into what Lambda says.
fn own_cause(cause: &str) -> String {
    let wrapped = serde_json::from_str::<Value>(cause).unwrap_or_default();
    wrapped.get("errorMessage").and_then(Value::as_str).unwrap_or(cause).to_owned()
}

impl Stage {
    /// Starts an execution that has a Job run.
    pub fn invoke(&self, form: Form, job: &JobRequest, expected: Expected) -> Execution {
        self.ask(form, job.parameters(), expected)
    }

    /// Starts an execution that asks the function for anything. With an `IdempotencyKey` it has the `Retry` that the documentation
    /// advises.
    pub fn ask(&self, form: Form, request: Value, expected: Expected) -> Execution {
        let mut execution = Execution { arn: String::new(), form, request, expected };
        let name = format!("machine-{}", lock(&self.set.executions).len());
        let services = self.step_functions();
        let machine = services.create_state_machine(&name, &machine(&execution).to_string());
        match machine.and_then(|machine| services.start_execution(&machine, None, "{}")) {
            Ok(arn) => execution.arn = arn,
            Err(error) => self.witness().violations.push(format!("a state machine is wrong: {error}")),
        }
        lock(&self.set.executions).push(execution.clone());
        execution
    }

    /// Stops an execution.
    pub fn stop(&self, execution: &Execution) {
        let _ended_already = self.step_functions().stop_execution(&execution.arn, None, None);
    }

    /// Waits for the end of an execution.
    pub async fn until_ended(&self, execution: &Execution) {
        self.step_functions().finished(&execution.arn).await;
    }

    /// Sweeps once.
    pub async fn sweep(&self) {
        sweep(&self.set).await;
    }
}

impl Set {
    /// Whether every execution has ended, and every invocation.
    pub(super) fn executions_have_ended(&self) -> bool {
        let services = self.memory.sfn.endpoint();
        lock(&self.executions).iter().all(|execution| execution.outcome(services).is_some())
            && services.lambda().calls().iter().all(|call| call.outcome.is_some())
    }

    /// Whether an execution waits for the Job that this stands on. Without a key an invocation deletes its Job itself when its time
    /// is over.
    pub(super) fn is_awaited(&self, standing: &str) -> bool {
        let services = self.memory.sfn.endpoint();
        let calls = services.lambda().calls();
        let Some(call) = calls.iter().find(|call| waiter(call) == standing) else { return false };
        let handed_over = |call: &&Call| call.invocation.payload.get("TaskToken").is_some();
        if handed_over(&call) {
            let before = calls.iter().filter(handed_over).take_while(|call| waiter(call) != standing).count();
            return callbacks(&services.records()).nth(before).is_some_and(|record| record.outcome.is_none());
        }
        let executions = lock(&self.executions);
        let mut of_call = executions.iter().filter(|execution| execution.has_key() && execution.made(call));
        of_call.any(|execution| execution.outcome(services).is_none())
    }
}

/// What became of the tasks whose tokens functions were given, in the order of their calls.
pub(super) fn callbacks(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| record.resource.ends_with(".waitForTaskToken"))
}

fn machine(execution: &Execution) -> Value {
    let mut payload = execution.request.clone();
    let mut state = json!({"Type": "Task", "End": true});
    match execution.form {
        Form::Waits => {
            state["Resource"] = "arn:aws:states:::lambda:invoke".into();
            state["OutputPath"] = "$.Payload".into();
        }
        Form::HandsOver => {
            state["Resource"] = "arn:aws:states:::lambda:invoke.waitForTaskToken".into();
            state["HeartbeatSeconds"] = HEARTBEAT.into();
            payload["TaskToken.$"] = "$$.Task.Token".into();
        }
    }
    state["Parameters"] = json!({"FunctionName": FUNCTION, "Payload": payload});
    if execution.has_key() {
        let lost = ["RunJob.ClusterUnreachable", "Runtime.ExitError", "Lambda.Unknown", "Sandbox.Timedout"];
        state["Retry"] = json!([
            {"ErrorEquals": ["RunJob.StillRunning"], "IntervalSeconds": 1, "MaxAttempts": 1000, "BackoffRate": 1},
            {"ErrorEquals": lost, "IntervalSeconds": 3, "MaxAttempts": 10, "BackoffRate": 1},
            // Nobody was there to heartbeat it, for as long as three sweeps may take.
            {"ErrorEquals": ["States.Timeout"], "MaxAttempts": 2},
        ]);
    }
    json!({"StartAt": "Run", "States": {"Run": state}})
}

/// Makes the function known to Lambda.
pub(super) fn deploy(set: &Arc<Set>) -> anyhow::Result<()> {
    let settings = FunctionSettings::try_parse_from(SETTINGS).context("the function's settings are wrong")?;
    // The set owns Lambda.
    let (set, number) = (Arc::downgrade(set), AtomicU32::new(1));
    let lambda = set.upgrade().context("the stage is gone")?.memory.sfn.endpoint().lambda().clone();
    lambda.add(FUNCTION, TIMEOUT, move |invocation| {
        let name = format!("f{}", number.fetch_add(1, Ordering::Relaxed));
        invoked(set.clone(), name, settings.clone(), invocation)
    });
    Ok(())
}

/// A process of the function, of one invocation: what outlives one is as good as new in the next.
async fn invoked(
    set: Weak<Set>,
    name: String,
    settings: FunctionSettings,
    invocation: Invocation,
) -> Result<Value, FunctionError> {
    let Invocation { request_id, function, payload, deadline } = invocation;
    let wrong = |what: &str| FunctionError::new("Simulation.Wrong", what);
    let set = set.upgrade().ok_or_else(|| wrong("the stage is gone"))?;
    let Ways { link, cluster, sdk, clock } = set.memory.ways(&name, set.traffic.clone());
    drop(set);
    let process = Process(link);
    let sites = Sites::known(clusters::of_flags(&settings.jobs, cluster), clock);
    let left = SignedDuration::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
    let invocation = function::Invocation {
        id: InvocationId::new(&request_id).ok_or_else(|| wrong("the id"))?,
        function: function.parse().map_err(|_| wrong("the ARN"))?,
        deadline: clock.wall().saturating_add(left).map_err(|_| wrong("the deadline"))?,
    };
    let function = Function::over(settings, sdk, sites, clock);
    let event = payload.to_string();
    tokio::select! {
        biased;
        () = process.0.crashed() => Err(FunctionError::exited(&request_id, Some("signal: killed"))),
        outcome = function.handle(&event, invocation) => match outcome {
            Ok(output) => serde_json::from_str(output.get()).map_err(|_| wrong("the output is no JSON")),
            Err(Failed { error, cause }) => Err(FunctionError::new(&error, &cause)),
        },
    }
}

/// Frozen or killed when this is dropped: what it has left behind stays silent.
struct Process(Link);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.crash();
    }
}

/// Sweeps again and again.
pub(super) async fn keep_sweeping(set: Arc<Set>, sweeping: Sweeping) {
    if sweeping == Sweeping::Never {
        return;
    }
    loop {
        sleep(SCHEDULE).await;
        let is_time = match sweeping {
            Sweeping::Never => false,
            Sweeping::Afterwards => set.executions_have_ended() && !set.is_quiet(),
            Sweeping::Always => !set.is_quiet(),
        };
        if is_time {
            sweep(&set).await;
        }
    }
}

async fn sweep(set: &Set) {
    let lambda = set.memory.sfn.endpoint().lambda().clone();
    // The next one goes on where this one has ended.
    let _whatever_came_of_it = lambda.invoke(FUNCTION, &json!({"Action": "sweep"})).await;
}
