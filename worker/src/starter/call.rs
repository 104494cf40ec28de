//! `eks:call`: sending a user's request, and repeating it only where that is safe.

use std::time::Duration;

use runjob_core::{
    budget::OUTPUT_BUDGET,
    call::Call,
    failure::{ErrorName, TaskFailure},
    output::{self, Write},
    refusal::{self, PATIENCE},
};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::{Starter, patience::Patience};
use crate::{
    cluster::{Delivery, Exchanged, Unreachable},
    heartbeat::Hold,
    retry::CALLS,
};

/// The most requests of `call` at a time: an answer may have megabytes before it is known to be too long for a result.
const MAX_CALLS: usize = 32;

/// How many calls may be under way.
#[derive(Debug)]
pub(super) struct Calls(Semaphore);

impl Default for Calls {
    fn default() -> Self {
        Self(Semaphore::new(MAX_CALLS))
    }
}

impl Starter {
    /// Sends the request, and gives the output. `None`: the task is gone, and with it whoever would read the answer.
    pub async fn call(&self, call: &Call, hold: &Hold) -> Option<Result<String, TaskFailure>> {
        let mut pauses = CALLS.pauses();
        let mut patience = Patience::new(self.patience);
        loop {
            let turn = tokio::select! {
                biased;
                () = hold.gone() => return None,
                // Closed only when the worker ends.
                turn = self.calls.0.acquire() => turn.ok(),
            };
            let result = match self.send(call).await {
                Ok(result) => result,
                Err(refused) => return Some(Err(refused)),
            };
            let (limit, after) = match &result {
                Ok(exchanged) => {
                    let limit = refusal::patience_with_call(&exchanged.answer, call.method.is_repeatable());
                    (limit, exchanged.retry_after)
                }
                Err(unreachable) => (patience_without_answer(call, unreachable), None),
            };
            let pause = pauses.next(after);
            if limit.is_none_or(|limit| !patience.lasts(limit, pause)) {
                return Some(self.outcome(call, result).await);
            }
            let status = result.as_ref().ok().map(|exchanged| exchanged.answer.status);
            drop((result, turn));
            warn!(method = call.method.as_str(), status, "unable to carry out a call yet");
            tokio::select! {
                biased;
                () = hold.gone() => return None,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sends the request once. One that would replace a Job is made for the very Job that is there.
    async fn send(&self, call: &Call) -> Result<Result<Exchanged, Unreachable>, TaskFailure> {
        let Some(key) = call.replaced_job() else { return Ok(self.cluster.call(call).await) };
        match self.cluster.get(&key).await {
            Ok(found) if found.answer.is_success() => Ok(self.cluster.call(&call.replacing(&found.answer.body)?).await),
            // No Job, or no answer: that is the answer to the request, too.
            other => Ok(other),
        }
    }

    async fn outcome(&self, call: &Call, result: Result<Exchanged, Unreachable>) -> Result<String, TaskFailure> {
        for warning in result.iter().flat_map(|exchanged| &exchanged.warnings) {
            info!(warning, method = call.method.as_str(), "the API server warns of a call");
        }
        let write = if call.method.is_repeatable() { Write::No } else { Write::Yes };
        match result {
            Ok(Exchanged { answer, .. }) => {
                let answer = answer.without(&self.heartbeats.known().await);
                if answer.is_success() { output::of_call(&answer, write, OUTPUT_BUDGET) } else { Err(answer.failure()) }
            }
            Err(error) => Err(match error.delivery {
                Delivery::AnswerTooLong(status) => output::too_large_call(&error.to_string(), status, write),
                Delivery::NotSent | Delivery::Unknown => {
                    TaskFailure::saying(ErrorName::ClusterUnreachable, error.to_string())
                }
            }),
        }
    }
}

/// A write is repeated only when it provably did not arrive.
fn patience_without_answer(call: &Call, unreachable: &Unreachable) -> Option<Duration> {
    match unreachable.delivery {
        Delivery::NotSent => Some(PATIENCE),
        Delivery::Unknown if call.method.is_repeatable() => Some(PATIENCE),
        Delivery::Unknown | Delivery::AnswerTooLong(_) => None,
    }
}
