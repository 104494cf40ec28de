//! `eks:call`: sending a user's request, and repeating it only where that is safe.

use std::time::Duration;

use runjob_core::{
    budget::OUTPUT_BUDGET,
    call::Call,
    failure::{ErrorName, TaskFailure},
    output::{self, Arrived, Write},
    refusal::{self, PATIENCE},
};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::{Starter, patience::Patience};
use crate::{
    cluster::{Called, Delivery, Exchanged, Lookup, Unavailable, Unreachable},
    heartbeat::Hold,
    retry::CALLS,
};

/// The most requests of `call` at a time. What their answers take together is bounded where they are read.
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
                Ok(Called::Succeeded(_)) => (None, None),
                Ok(Called::Refused(refused)) => {
                    let limit = refusal::patience_with_call(&refused.answer, call.method.is_repeatable());
                    (limit, refused.retry_after)
                }
                Err(unreachable) => (patience_without_answer(call, unreachable), None),
            };
            let pause = pauses.next(after);
            if limit.is_none_or(|limit| !patience.lasts(limit, pause)) {
                return Some(self.outcome(call, result).await);
            }
            let status = match &result {
                Ok(Called::Refused(refused)) => Some(refused.answer.status),
                _ => None,
            };
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
    async fn send(&self, call: &Call) -> Result<Result<Called, Unreachable>, TaskFailure> {
        let Some(key) = call.replaced_job() else { return Ok(self.cluster.call(call).await) };
        // No Job, or no answer: that is the answer to the request, too.
        let refused = |exchanged: Box<Exchanged>| Ok(Ok(Called::Refused(*exchanged)));
        match self.cluster.look_up(&key).await {
            Lookup::Found(_, found) => Ok(self.cluster.call(&call.replacing(&found.answer.body)?).await),
            Lookup::Absent(exchanged)
            | Lookup::Denied(exchanged)
            | Lookup::Unavailable(Unavailable::Answered(exchanged)) => refused(exchanged),
            Lookup::Unavailable(Unavailable::Unreachable(unreachable)) => Ok(Err(unreachable)),
        }
    }

    async fn outcome(&self, call: &Call, result: Result<Called, Unreachable>) -> Result<String, TaskFailure> {
        let warnings = match &result {
            Ok(Called::Succeeded(succeeded)) => succeeded.warnings(),
            Ok(Called::Refused(refused)) => &refused.warnings,
            Err(_) => &[],
        };
        for warning in warnings {
            info!(warning, method = call.method.as_str(), "the API server warns of a call");
        }
        let write = if call.method.is_repeatable() { Write::No } else { Write::Yes };
        match result {
            Ok(Called::Succeeded(succeeded)) => {
                let tokens = self.heartbeats.known().await;
                let compose = move |status, text: &str, body: &[u8]| {
                    output::of_call(Arrived { status, status_text: text, body }, &tokens, write, OUTPUT_BUDGET)
                };
                succeeded.compose(compose).await
            }
            Ok(Called::Refused(refused)) => Err(refused.answer.without(&self.heartbeats.known().await).failure()),
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
