//! The tasks of activities, from scheduling to the one answer that closes them.
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

/// What is to be done.
#[derive(Debug)]
pub(super) struct Work {
    /// The ARN of the activity.
    pub(super) activity: String,
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
    /// Schedules a task and offers it to the polls of its activity.
    pub(super) fn schedule(&self, work: Work) -> Result<TaskId, Halt> {
        let mut state = self.state();
        let activity = work.activity.clone();
        if !state.activities.contains_key(&activity) {
            return Err(StateError::runtime(format!("The activity {activity} does not exist.")).into());
        }
        let id = next_id(&state);
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
        let id = next_id(&state);
        let phase = self.enqueue(&mut state, id, work);
        (id, phase)
    }

    fn enqueue(&self, state: &mut State, id: TaskId, work: Work) -> watch::Receiver<Phase> {
        let (record, activity) = (Record::of(&work), work.activity.clone());
        let (phase, watched) = watch::channel(Phase::Scheduled);
        state.tasks.insert(id, Task { work, phase, record });
        self.offer(state, &activity, id);
        watched
    }

    /// Starts a task's clocks and makes what its worker gets.
    pub(super) fn hand_out(&self, state: &mut State, id: TaskId, worker: Option<String>) -> Option<Assignment> {
        let now = Instant::now();
        let task = state.tasks.get_mut(&id)?;
        let Clocks { timeout, heartbeat } = task.work.clocks;
        let due = |after: Option<Duration>| after.and_then(|after| now.checked_add(after));
        task.phase.send_replace(Phase::Started { answer_due: due(timeout), heartbeat_due: due(heartbeat) });
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
        let (activity, execution) = (task.work.activity.clone(), task.work.execution.clone());
        if let Some(activity) = state.activities.get_mut(&activity) {
            activity.tasks.retain(|waiting| *waiting != id);
        }
        let Some(execution) = execution else { return };
        if let Some(running) = state.executions.get_mut(&execution) {
            running.open_task = None;
        }
        let event = match outcome {
            TaskOutcome::Succeeded(output) => Event::ActivitySucceeded { output },
            TaskOutcome::Failed { error, cause } => Event::ActivityFailed { error, cause },
            TaskOutcome::TimedOut(_) => Event::ActivityTimedOut,
            TaskOutcome::Aborted => return,
        };
        // If its history is full, the execution fails at the next event of its own.
        let _ = self.record(state, &execution, event);
    }
}

fn next_id(state: &State) -> TaskId {
    TaskId(u64::try_from(state.tasks.len()).unwrap_or(u64::MAX))
}
