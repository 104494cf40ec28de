//! Activities: the tasks that wait for a worker, and the polls that wait for a task.
//!
//! At most one of the two queues of an activity has something in it. A task leaves its queue once: if the poll that
//! took it never answers its client, the token is lost, and only the clocks of the task bring that to light. A poll whose
//! client goes away before a task is there leaves its queue and takes nothing with it.

use std::collections::VecDeque;

use jiff::Timestamp;
use tokio::{sync::oneshot, time::sleep};

use super::{
    core::{Core, State},
    errors::ServiceError,
    limits,
    token::{TaskId, TaskToken},
};

#[derive(Debug)]
pub(super) struct Activity {
    pub(super) created: Timestamp,
    pub(super) tasks: VecDeque<TaskId>,
    polls: VecDeque<WaitingPoll>,
}

#[derive(Debug)]
struct WaitingPoll {
    number: u64,
    worker: Option<String>,
    answer: oneshot::Sender<Assignment>,
}

/// A task as a worker gets it.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) token: TaskToken,
    pub(super) input: String,
}

/// A poll in the queue of its activity. Dropping it takes it out.
struct HeldPoll<'a> {
    core: &'a Core,
    activity: &'a str,
    number: u64,
    answer: oneshot::Receiver<Assignment>,
}

impl HeldPoll<'_> {
    /// Leaves the queue. Gives the task that may have come just before, on another thread.
    fn withdraw(&mut self) -> Option<Assignment> {
        self.leave_queue();
        self.answer.try_recv().ok()
    }

    fn leave_queue(&self) {
        if let Some(activity) = self.core.state().activities.get_mut(self.activity) {
            activity.polls.retain(|poll| poll.number != self.number);
        }
    }
}

impl Drop for HeldPoll<'_> {
    fn drop(&mut self) {
        self.leave_queue();
    }
}

impl Core {
    /// The ARN of an activity that is given by ARN or by name.
    pub(super) fn activity_arn(&self, activity: &str) -> String {
        if activity.starts_with("arn:") { activity.to_owned() } else { self.config.arn("activity", activity) }
    }

    /// Creates an activity, or finds it.
    pub(super) fn create_activity(&self, name: &str) -> Result<(String, Timestamp), ServiceError> {
        limits::name(name)?;
        let arn = self.activity_arn(name);
        let created = self.ensure_activity(&arn);
        Ok((arn, created))
    }

    pub(super) fn ensure_activity(&self, arn: &str) -> Timestamp {
        let now = self.clock.now();
        let empty = || Activity { created: now, tasks: VecDeque::new(), polls: VecDeque::new() };
        self.state().activities.entry(arn.to_owned()).or_insert_with(empty).created
    }

    pub(super) fn waiting_polls(&self, arn: &str) -> usize {
        self.state().activities.get(arn).map_or(0, |activity| activity.polls.len())
    }

    /// Waits for a task as long as the service holds polls. `None`: there was none.
    pub(super) async fn poll(&self, arn: &str, worker: Option<String>) -> Result<Option<Assignment>, ServiceError> {
        let mut released = self.polls_released.subscribe();
        if *released.borrow_and_update() {
            return Ok(None);
        }
        let mut held = match self.take_or_wait(arn, worker)? {
            Taken::Now(assignment) => return Ok(Some(assignment)),
            Taken::Waiting(held) => held,
        };
        tokio::select! {
            biased;
            given = &mut held.answer => return Ok(given.ok()),
            // The sender lives in the service: this ends only when polls are released.
            _ = released.changed() => {}
            () = sleep(self.config.poll_hold) => {}
        }
        Ok(held.withdraw())
    }

    fn take_or_wait<'a>(&'a self, arn: &'a str, worker: Option<String>) -> Result<Taken<'a>, ServiceError> {
        let mut state = self.state();
        state.polls += 1;
        let number = state.polls;
        let missing = || ServiceError::ActivityDoesNotExist(arn.to_owned());
        let activity = state.activities.get_mut(arn).ok_or_else(missing)?;
        if let Some(task) = activity.tasks.pop_front() {
            return self.hand_out(&mut state, task, worker).map(Taken::Now).ok_or_else(missing);
        }
        if activity.polls.len() >= limits::POLLS_PER_ACTIVITY {
            return Err(ServiceError::ActivityWorkerLimitExceeded);
        }
        let (give, answer) = oneshot::channel();
        activity.polls.push_back(WaitingPoll { number, worker, answer: give });
        Ok(Taken::Waiting(HeldPoll { core: self, activity: arn, number, answer }))
    }

    /// Gives a task to the poll that has waited longest, or lets it wait itself.
    pub(super) fn offer(&self, state: &mut State, arn: &str, task: TaskId) {
        let Some(activity) = state.activities.get_mut(arn) else { return };
        while let Some(poll) = activity.polls.pop_front() {
            if poll.answer.is_closed() {
                continue;
            }
            if let Some(assignment) = self.hand_out(state, task, poll.worker) {
                // If the client goes away right now, the token is lost: that is at-most-once delivery.
                let _ = poll.answer.send(assignment);
            }
            return;
        }
        activity.tasks.push_back(task);
    }
}

enum Taken<'a> {
    Now(Assignment),
    Waiting(HeldPoll<'a>),
}
