//! Tasks that have a token, from scheduling to the one answer that closes them: those of activities, and those whose token a function
//! has got (they are `Started` at once).
//!
//! ```text
//!             hand_out            answer | a clock runs out
//!  Scheduled ──────────► Started ───────────────────────────► Closed(outcome)
//!      └────────────────────┴── the execution ends ─────────► Closed(Aborted)
//! ```
//!
//! Both clocks start when the task is handed out, not when it is scheduled. A task is overdue at the very moment its
//! clock runs out, whoever looks first: the clock itself or an answer that comes just then.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    activity::Assignment,
    core::{Core, Halt, State},
    definition::Wait,
    errors::ServiceError,
    failure::StateError,
    history::Event,
    records::{Answer, Record},
    token::TaskId,
};

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// `SendTaskSuccess` with this output, as it was sent.
    Succeeded(String),
    /// `SendTaskFailure`.
    Failed {
        /// Its error, if the worker gave one.
        error: Option<String>,
        /// Its cause, if the worker gave one.
        cause: Option<String>,
    },
    /// A clock ran out.
    TimedOut(Overdue),
    /// The execution ended, or the task was given up.
    Aborted,
}

/// What did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The answer, within `TimeoutSeconds`.
    Answer,
    /// A heartbeat, within `HeartbeatSeconds`.
    Heartbeat,
}

/// The clocks of a task. `None` is a clock that never runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// `TimeoutSeconds`: from handing out to the answer.
    pub timeout: Option<Duration>,
    /// `HeartbeatSeconds`: from handing out to the first heartbeat, and from one to the next.
    pub heartbeat: Option<Duration>,
}

/// Whom a task waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doer {
    /// A worker of the activity with this ARN.
    Activity(String),
    /// Whoever a function has given the token to.
    Callback,
}

impl Doer {
    /// The ARN of what is asked.
    pub(super) fn resource(&self) -> &str {
        match self {
            Self::Activity(arn) => arn,
            Self::Callback => Wait::ForToken.resource(),
        }
    }

    /// The event that tells of a task's end, unless the end of its execution does.
    fn told(&self, outcome: TaskOutcome) -> Option<Event> {
        let wait = Wait::ForToken;
        let event = match (self, outcome) {
            (_, TaskOutcome::Aborted) => return None,
            (Self::Activity(_), TaskOutcome::Succeeded(output)) => Event::ActivitySucceeded { output },
            (Self::Activity(_), TaskOutcome::Failed { error, cause }) => Event::ActivityFailed { error, cause },
            (Self::Activity(_), TaskOutcome::TimedOut(_)) => Event::ActivityTimedOut,
            (Self::Callback, TaskOutcome::Succeeded(output)) => Event::TaskSucceeded { wait, output },
            (Self::Callback, TaskOutcome::Failed { error, cause }) => Event::TaskFailed { wait, error, cause },
            (Self::Callback, TaskOutcome::TimedOut(_)) => Event::TaskTimedOut { wait },
        };
        Some(event)
    }
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) doer: Doer,
    pub(super) input: String,
    /// The ARN of the execution. `None` for a bare task.
    pub(super) execution: Option<String>,
    pub(super) clocks: Clocks,
}

#[derive(Debug)]
pub(super) struct Task {
    work: Work,
    phase: watch::Sender<Phase>,
    pub(super) record: Record,
}

#[derive(Debug, Clone)]
pub(super) enum Phase {
    Scheduled,
    Started { answer_due: Option<Instant>, heartbeat_due: Option<Instant> },
    Closed(TaskOutcome),
}

impl Phase {
    /// Both clocks run from now on.
    fn started(Clocks { timeout, heartbeat }: Clocks) -> Self {
        let now = Instant::now();
        let due = |after: Option<Duration>| after.and_then(|after| now.checked_add(after));
        Self::Started { answer_due: due(timeout), heartbeat_due: due(heartbeat) }
    }

    fn next_due(&self) -> Option<(Instant, Overdue)> {
        let Self::Started { answer_due, heartbeat_due } = self else { return None };
        let answer = answer_due.map(|at| (at, Overdue::Answer));
        let heartbeat = heartbeat_due.map(|at| (at, Overdue::Heartbeat));
        answer.into_iter().chain(heartbeat).min_by_key(|(at, _)| *at)
    }

    fn overdue(&self) -> Option<Overdue> {
        self.next_due().filter(|(at, _)| *at <= Instant::now()).map(|(_, what)| what)
    }
}

impl Core {
    /// The number of a task that is still to come, for whoever has to name it before.
    pub(super) fn number_task(&self) -> TaskId {
        next_id(&mut self.state())
    }

    /// Schedules a task and offers it to the polls of its activity.
    pub(super) fn schedule(&self, work: Work) -> Result<TaskId, Halt> {
        let mut state = self.state();
        let activity = work.doer.resource().to_owned();
        if !state.activities.contains_key(&activity) {
            return Err(StateError::runtime(format!("The activity {activity} does not exist.")).into());
        }
        let id = next_id(&mut state);
        if let Some(execution) = &work.execution {
            let event = Event::ActivityScheduled {
                resource: activity.clone(),
                input: work.input.clone(),
                timeout: work.clocks.timeout,
                heartbeat: work.clocks.heartbeat,
            };
            self.record(&mut state, execution, event)?;
            if let Some(running) = state.executions.get_mut(execution) {
                running.open_task = Some(id);
            }
        }
        self.enqueue(&mut state, id, work);
        Ok(id)
    }

    /// Schedules a task of no execution, in an activity that exists.
    pub(super) fn schedule_bare(&self, work: Work) -> (TaskId, watch::Receiver<Phase>) {
        let mut state = self.state();
        let id = next_id(&mut state);
        let phase = self.enqueue(&mut state, id, work);
        (id, phase)
    }

    /// Begins a task that a function is about to get the token of. Its clocks run from now on.
    pub(super) fn begin_callback(&self, id: TaskId, work: Work) -> Result<(), Halt> {
        let mut state = self.state();
        if let Some(execution) = &work.execution {
            let Clocks { timeout, heartbeat } = work.clocks;
            let (wait, region, parameters) = (Wait::ForToken, self.config.region.clone(), work.input.clone());
            let scheduled = Event::TaskScheduled { wait, region, parameters, timeout, heartbeat };
            self.record(&mut state, execution, scheduled)?;
            self.record(&mut state, execution, Event::TaskStarted { wait })?;
            if let Some(running) = state.executions.get_mut(execution) {
                running.open_task = Some(id);
            }
        }
        let record = Record { delivered: true, ..Record::of(&work) };
        let phase = watch::Sender::new(Phase::started(work.clocks));
        state.tasks.insert(id, Task { work, phase, record });
        Ok(())
    }

    fn enqueue(&self, state: &mut State, id: TaskId, work: Work) -> watch::Receiver<Phase> {
        let (record, activity) = (Record::of(&work), work.doer.resource().to_owned());
        let (phase, watched) = watch::channel(Phase::Scheduled);
        state.tasks.insert(id, Task { work, phase, record });
        self.offer(state, &activity, id);
        watched
    }

    /// Starts a task's clocks and makes what its worker gets.
    pub(super) fn hand_out(&self, state: &mut State, id: TaskId, worker: Option<String>) -> Option<Assignment> {
        let task = state.tasks.get_mut(&id)?;
        task.phase.send_replace(Phase::started(task.work.clocks));
        task.record.delivered = true;
        // It is handed out once, so nobody needs it here any more.
        let input = std::mem::take(&mut task.work.input);
        if let Some(execution) = task.work.execution.clone() {
            // If its history is full, the execution fails at the next event of its own.
            let _ = self.record(state, &execution, Event::ActivityStarted { worker });
        }
        Some(Assignment { token: self.mint.token(id), input })
    }

    /// Takes a worker's answer.
    pub(super) fn answer(&self, id: TaskId, answer: Answer) -> Result<(), ServiceError> {
        let mut state = self.state();
        self.close_if_overdue(&mut state, id);
        let task = state.tasks.get_mut(&id).ok_or(ServiceError::InvalidToken)?;
        if matches!(*task.phase.borrow(), Phase::Closed(_)) {
            task.record.refused.push(answer);
            return Err(ServiceError::TaskTimedOut);
        }
        task.record.accepted.push(answer.clone());
        let outcome = match answer {
            Answer::Success(output) => TaskOutcome::Succeeded(output),
            Answer::Failure { error, cause } => TaskOutcome::Failed { error, cause },
        };
        self.close(&mut state, id, outcome);
        Ok(())
    }

    /// Takes a worker's heartbeat.
    pub(super) fn heartbeat(&self, id: TaskId) -> Result<(), ServiceError> {
        let mut state = self.state();
        self.close_if_overdue(&mut state, id);
        let task = state.tasks.get_mut(&id).ok_or(ServiceError::InvalidToken)?;
        let next = task.work.clocks.heartbeat.and_then(|interval| Instant::now().checked_add(interval));
        let alive = task.phase.send_if_modified(|phase| match phase {
            Phase::Started { heartbeat_due, .. } => {
                *heartbeat_due = next;
                true
            }
            Phase::Scheduled | Phase::Closed(_) => false,
        });
        if alive {
            task.record.heartbeats += 1;
            Ok(())
        } else {
            Err(ServiceError::TaskTimedOut)
        }
    }

    /// Waits until a task is closed, and minds its clocks meanwhile. `None`: there is no such task.
    pub(super) async fn outcome(&self, id: TaskId) -> Option<TaskOutcome> {
        let mut phase = self.watch(id)?;
        loop {
            let now = phase.borrow_and_update().clone();
            if let Phase::Closed(outcome) = now {
                return Some(outcome);
            }
            match now.next_due() {
                None => phase.changed().await.ok()?,
                Some((due, _)) => tokio::select! {
                    biased;
                    changed = phase.changed() => changed.ok()?,
                    () = sleep_until(due) => self.close_if_overdue(&mut self.state(), id),
                },
            }
        }
    }

    /// The phases of a task as they come.
    pub(super) fn watch(&self, id: TaskId) -> Option<watch::Receiver<Phase>> {
        self.state().tasks.get(&id).map(|task| task.phase.subscribe())
    }

    /// Closes a task whose function has failed.
    pub(super) fn fail_task(&self, id: TaskId, StateError { error, cause, .. }: StateError) {
        self.close(&mut self.state(), id, TaskOutcome::Failed { error, cause });
    }

    /// Closes a task because nobody waits for it any more.
    pub(super) fn abort_task(&self, state: &mut State, id: TaskId) {
        self.close(state, id, TaskOutcome::Aborted);
    }

    fn close_if_overdue(&self, state: &mut State, id: TaskId) {
        let overdue = state.tasks.get(&id).and_then(|task| task.phase.borrow().overdue());
        if let Some(overdue) = overdue {
            self.close(state, id, TaskOutcome::TimedOut(overdue));
        }
    }

    fn close(&self, state: &mut State, id: TaskId, outcome: TaskOutcome) {
        let Some(task) = state.tasks.get_mut(&id) else { return };
        if matches!(*task.phase.borrow(), Phase::Closed(_)) {
            return;
        }
        task.record.outcome = Some(outcome.clone());
        task.phase.send_replace(Phase::Closed(outcome.clone()));
        let (doer, execution) = (task.work.doer.clone(), task.work.execution.clone());
        if let Some(activity) = state.activities.get_mut(doer.resource()) {
            activity.tasks.retain(|waiting| *waiting != id);
        }
        let Some(execution) = execution else { return };
        if let Some(running) = state.executions.get_mut(&execution) {
            running.open_task = None;
        }
        let Some(event) = doer.told(outcome) else { return };
        // If its history is full, the execution fails at the next event of its own.
        let _ = self.record(state, &execution, event);
    }
}

fn next_id(state: &mut State) -> TaskId {
    let id = TaskId(state.numbered);
    state.numbered += 1;
    id
}
