//! Composing the answer to a task from its Job, its pods and their logs.

use std::sync::Arc;

use runjob_core::{
    budget::OUTPUT_BUDGET,
    diagnosis::{
        Diagnosis,
        failed::{self, Failure},
    },
    failure::{ErrorName, TaskFailure},
    job::{JobView, Phase},
    ledger::{Stamp, user_view},
    lifecycle::Verdict,
    logs::Logs,
    output::{self, Reported},
};
use serde_json::Value;

use super::{
    capture::Captured,
    effects::{Effects, Found},
    table::Held,
};
use crate::{retry::CALLS, sfn::Reply};

impl Effects {
    pub(super) async fn compose(
        &self,
        view: &JobView,
        stamp: &Stamp,
        verdict: Verdict,
        held: Option<Held>,
        captured: &Captured,
    ) -> Reply {
        if verdict == Verdict::Internal {
            return self.replies.failure(&internal(view));
        }
        // Neither is given back before the answer is composed.
        let (object, _held) = held.map(Held::split).unzip();
        let _again = match object {
            // Closed only when the worker ends.
            None if verdict != Verdict::Deleted => self.reading_again.acquire().await.ok(),
            _ => None,
        };
        let object = match object {
            Some(object) => object,
            None => self.object(view, verdict).await,
        };
        let job = user_view(Arc::unwrap_or_clone(object), stamp);
        let (logs, format) = (captured.logs_beside(view), stamp.options.logs.format);
        let bytes = logs.as_ref().map_or(0, Logs::held);
        let diagnosis = match verdict {
            Verdict::Created | Verdict::Succeeded => {
                let compose = move || output::of_job(&job, Reported { logs: logs.as_ref(), format }, OUTPUT_BUDGET);
                return match self.workshop.work(bytes, compose).await {
                    Ok(output) => Reply::Success { output },
                    Err(failure) => self.replies.failure(&failure),
                };
            }
            Verdict::Failed => {
                let (reason, message) = match &view.phase {
                    Phase::Failed { reason, message } => (reason.as_str(), message.as_str()),
                    _ => ("", ""),
                };
                let failed_indexes = job.pointer("/status/failedIndexes").and_then(Value::as_str);
                let failure = Failure { reason, message, failed_indexes };
                failed::diagnose(view, failure, &captured.pods, &captured.events)
            }
            Verdict::Deleted => Diagnosis::of_deleted(&view.key.to_string(), &captured.pods, &captured.events),
            Verdict::Stuck | Verdict::Internal => {
                captured.stuck.clone().unwrap_or_else(|| Diagnosis::of_unknown(&view.key.to_string()))
            }
        };
        let (name, diagnosis) = (ErrorName::Job(diagnosis.code), diagnosis.to_json());
        let replies = self.replies.clone();
        let compose = move || {
            let reported = Reported { logs: logs.as_ref(), format };
            replies.failure_with_cause(name, |budget| output::of_failure(&diagnosis, &job, reported, budget))
        };
        self.workshop.work(bytes, compose).await
    }

    /// The Job itself, read once more because it was not kept. Of one that is gone there is what was last seen of it.
    async fn object(&self, view: &JobView, verdict: Verdict) -> Arc<Value> {
        if verdict != Verdict::Deleted
            && let Found::There(_, object) = self.read(view, &mut CALLS.pauses()).await
        {
            return object;
        }
        Arc::new(view.known())
    }
}

/// Nothing that has to be looked at or worked out: that may be what panics.
fn internal(view: &JobView) -> TaskFailure {
    let message = format!(
        "runjob has a defect that the Job {} brings to light: what is done for it panics again and again; the Job is left as it is",
        view.key
    );
    TaskFailure::saying(ErrorName::Internal, message)
}
