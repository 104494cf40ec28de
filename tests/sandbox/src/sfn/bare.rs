//! Tasks without a state machine, for tests that are about the worker alone.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::{
    core::Core,
    tasks::{Phase, TaskOutcome},
    token::TaskId,
};

/// A task that a test has scheduled. It stays scheduled when this is dropped.
#[derive(Debug, Clone)]
pub struct BareTask {
    core: Weak<Core>,
    id: TaskId,
    phase: watch::Receiver<Phase>,
}

impl BareTask {
    pub(super) fn new(core: &Arc<Core>, id: TaskId, phase: watch::Receiver<Phase>) -> Self {
        Self { core: Arc::downgrade(core), id, phase }
    }

    /// Waits until a poll takes the task, or it is closed.
    pub async fn handed_out(&self) {
        let mut phase = self.phase.clone();
        // An error means that the service is gone, and nothing will come.
        let _ = phase.wait_for(|phase| !matches!(phase, Phase::Scheduled)).await;
    }

    /// Waits for the end of the task. A service that is gone has aborted all of them.
    pub async fn finished(&self) -> TaskOutcome {
        let mut phase = self.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Closed(_))).await.as_deref() {
            Ok(Phase::Closed(outcome)) => outcome.clone(),
            _ => TaskOutcome::Aborted,
        }
    }

    /// How the task ended, if it has.
    pub fn outcome(&self) -> Option<TaskOutcome> {
        match &*self.phase.borrow() {
            Phase::Closed(outcome) => Some(outcome.clone()),
            Phase::Scheduled | Phase::Started { .. } => None,
        }
    }

    /// The token that its worker gets: for tests that look for it where it must not be.
    pub fn token(&self) -> Option<String> {
        Some(self.core.upgrade()?.mint.token(self.id).into_text())
    }

    /// Closes the task, as `StopExecution` closes the task of an execution: its token is `TaskTimedOut` from here on.
    pub fn abort(&self) {
        if let Some(core) = self.core.upgrade() {
            core.abort_task(&mut core.state(), self.id);
        }
    }
}
