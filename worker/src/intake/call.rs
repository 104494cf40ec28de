//! `eks:call`: sending a user's request, and repeating it only where that is safe.

use std::time::Duration;

use runjob_core::{
    budget::OUTPUT_BUDGET,
    call::Call,
    failure::{ErrorName, TaskFailure},
    output::{self, Write},
    refusal::{AUTHENTICATION_PATIENCE, PATIENCE},
};
use tracing::{info, warn};

use super::{Intake, patience::Patience};
use crate::{
    cluster::{Delivery, Exchanged, Unreachable},
    heartbeat::Hold,
    retry::CALLS,
    sfn::Reply,
};

impl Intake {
    /// Sends the request. `None`: the task is gone, and with it whoever would read the answer.
    pub(super) async fn call(&self, call: &Call, hold: &Hold) -> Option<Reply> {
        let mut pauses = CALLS.pauses();
        let mut patience = Patience::new();
        loop {
            // Closed only when the worker ends.
            let turn = self.load.calls.acquire().await.ok();
            let result = self.cluster.call(call).await;
            let (limit, after) = match &result {
                Ok(exchanged) => (patience_with(call, exchanged.answer.status), exchanged.retry_after),
                Err(unreachable) => (patience_without_answer(call, unreachable), None),
            };
            let pause = pauses.next(after);
            if limit.is_none_or(|limit| !patience.lasts(limit, pause)) {
                return Some(self.reply_to_call(call, result));
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

    fn reply_to_call(&self, call: &Call, result: Result<Exchanged, Unreachable>) -> Reply {
        for warning in result.iter().flat_map(|exchanged| &exchanged.warnings) {
            info!(warning, method = call.method.as_str(), "the API server warns of a call");
        }
        let write = if call.method.is_repeatable() { Write::No } else { Write::Yes };
        let outcome = match result {
            Ok(Exchanged { answer, .. }) if answer.is_success() => output::of_call(&answer, write, OUTPUT_BUDGET),
            Ok(Exchanged { answer, .. }) => Err(answer.failure()),
            Err(error) => Err(match error.delivery {
                Delivery::AnswerTooLong(status) => output::too_large_call(&error.to_string(), status, write),
                Delivery::NotSent | Delivery::Unknown => {
                    TaskFailure::saying(ErrorName::ClusterUnreachable, error.to_string())
                }
            }),
        };
        match outcome {
            Ok(output) => Reply::Success { output },
            Err(failure) => self.replies.failure(&failure),
        }
    }
}

/// How long an answer of that status is worth repeating the request. One that was throttled or not authenticated was not
/// carried out, whatever its method.
fn patience_with(call: &Call, status: u16) -> Option<Duration> {
    match status {
        401 => Some(AUTHENTICATION_PATIENCE),
        429 => Some(PATIENCE),
        500..=599 if call.method.is_repeatable() => Some(PATIENCE),
        _ => None,
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
