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
    output::{self, Reported},
};
use serde_json::{Value, json};

use super::{
    capture::Captured,
    effects::{Effects, Found},
};
use crate::{retry::CALLS, sfn::Reply};

impl Effects {
    pub(super) async fn compose(
        &self,
        view: &JobView,
        stamp: &Stamp,
        verdict: Verdict,
        object: Option<Arc<Value>>,
        captured: &Captured,
    ) -> Reply {
        if verdict == Verdict::Internal {
            return self.replies.failure(&internal(view));
        }
        let object = match object {
            Some(object) => object,
            None => self.object(view, verdict).await,
        };
        let job = user_view(Arc::unwrap_or_clone(object), stamp);
        let logs = captured.logs_beside(view);
        let reported = Reported { logs: logs.as_ref(), format: stamp.options.logs.format };
        let diagnosis = match verdict {
            Verdict::Created | Verdict::Succeeded => {
                return match output::of_job(&job, reported, OUTPUT_BUDGET) {
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
        self.replies.failure_with_cause(name, |budget| output::of_failure(&diagnosis, &job, reported, budget))
    }

    /// The Job itself, read once more because it was not kept.
    async fn object(&self, view: &JobView, verdict: Verdict) -> Arc<Value> {
        if verdict != Verdict::Deleted
            && let Found::There(_, object) = self.read(view, &mut CALLS.pauses()).await
        {
            return object;
        }
        Arc::new(json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": view.key.namespace, "name": view.key.name, "uid": view.uid},
        }))
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
