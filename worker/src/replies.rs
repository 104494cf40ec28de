//! Delivering answers: again and again, until the service has taken one or says that the task is not ours any more.

use std::sync::Arc;

use runjob_core::{
    arn::Source,
    budget::{ByteBudget, CAUSE_BUDGET},
    failure::{ErrorName, TaskFailure},
    output,
    token::TaskToken,
};
use tracing::{info, warn};

use crate::{
    metrics::{Metrics, Outcome},
    retry::CALLS,
    sfn::{Clients, Gone, Reply, SfnError},
};

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The service has taken it.
    Accepted,
    /// The task is not ours any more: answered already, stopped, timed out.
    NotOurs,
    /// The service would take no answer at all.
    Refused,
}

/// Answers tasks.
#[derive(Debug, Clone)]
pub struct Replies {
    clients: Clients,
    metrics: Arc<Metrics>,
    job_failed_error: Option<String>,
    causes: Causes,
}

/// How a cause reaches Step Functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Causes {
    /// As it is.
    Plain,
    /// Within the payload of a function's error.
    Nested,
}

impl Replies {
    /// `job_failed_error`: one name for all failures of Jobs.
    pub fn new(clients: Clients, metrics: Arc<Metrics>, job_failed_error: Option<String>) -> Self {
        Self { clients, metrics, job_failed_error, causes: Causes::Plain }
    }

    /// The same for a function, which returns its answers instead of sending them.
    #[must_use]
    pub fn returned(self) -> Self {
        Self { causes: Causes::Nested, ..self }
    }

    /// The reply that a failure is.
    pub fn failure(&self, failure: &TaskFailure) -> Reply {
        self.failure_with_cause(failure.error, |budget| output::of_cause(&failure.cause, budget))
    }

    /// The reply that a failure of that name is. `compose` gives its cause within a budget.
    pub fn failure_with_cause(&self, error: ErrorName, compose: impl Fn(ByteBudget) -> String) -> Reply {
        let cause = match self.causes {
            Causes::Plain => compose(CAUSE_BUDGET),
            Causes::Nested => output::nested(compose),
        };
        let error = match (&self.job_failed_error, error) {
            (Some(name), ErrorName::Job(_)) => name.clone(),
            _ => error.to_string(),
        };
        Reply::Failure { error, cause }
    }

    /// Delivers an answer. Ends only when the service has spoken.
    pub async fn deliver(&self, source: &Source, token: &TaskToken, reply: Reply) -> Delivery {
        let mut reply = reply;
        let mut pauses = CALLS.pauses();
        loop {
            let error = match self.clients.reply(source, token, &reply).await {
                Ok(()) => {
                    info!(?reply, "the task is answered");
                    let is_success = matches!(reply, Reply::Success { .. });
                    self.metrics.replied(if is_success { Outcome::Succeeded } else { Outcome::Failed });
                    return Delivery::Accepted;
                }
                Err(error) => error,
            };
            match (error, &reply) {
                (SfnError::Gone(Gone::InvalidToken), _) if !self.clients.is_proven(source) => {
                    warn!(%source, "a token is invalid here: is this the right account, region and endpoint?");
                    self.metrics.replied(Outcome::Error);
                    tokio::time::sleep(pauses.next(None)).await;
                }
                (SfnError::Gone(gone), _) => {
                    info!(?gone, "the task was not waiting for an answer any more");
                    self.metrics.replied(Outcome::Gone);
                    return Delivery::NotOurs;
                }
                (SfnError::Refused(reason), Reply::Success { .. }) => {
                    warn!(reason, "Step Functions refused an output");
                    let message = format!("Step Functions refused the output: {reason}");
                    reply = self.failure(&TaskFailure::saying(ErrorName::OutputRejected, message));
                }
                (SfnError::Key(reason), Reply::Success { .. } | Reply::Failure { .. }) => {
                    warn!(reason, "the state machine's key cannot be used: the task fails without a cause");
                    reply = Reply::BareFailure;
                }
                (error @ (SfnError::Refused(_) | SfnError::Key(_) | SfnError::NotServed(_)), _) => {
                    warn!(%error, "Step Functions takes no answer for this task");
                    self.metrics.replied(Outcome::Refused);
                    return Delivery::Refused;
                }
                (SfnError::Throttled(reason) | SfnError::Passing(reason), _) => {
                    warn!(reason, "unable to answer a task yet");
                    self.metrics.replied(Outcome::Error);
                    tokio::time::sleep(pauses.next(None)).await;
                }
            }
        }
    }
}
