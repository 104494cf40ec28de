//! Attaching to the Job of an `IdempotencyKey`: what becomes of it when another task of the same key comes.
//!
//! | the Job | nobody waits for it | somebody waits for it |
//! |---|---|---|
//! | runs | it is taken over | the task is refused |
//! | is `Complete` | it is taken over: its result is delivered again | it gets its answer first |
//! | has failed, or is about to | it is deleted, and created anew | it gets its answer first |
//!
//! A `runJob` asks for nothing but that the Job exists, so it takes over what there is, failed or not.

use crate::{
    failure::{ErrorName, TaskFailure},
    job::{JobView, Phase},
    lifecycle::stamp_of,
    names::JobKey,
    request::Answer,
};

/// Whether somebody waits for a Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: its task has ended, or has got its answer.
    Nobody,
    /// Its task, or an invocation of a function.
    Somebody,
    /// An earlier invocation of the very function that asks, for the same state: it is over as a rule, and has left its turn to this one.
    EarlierInvocation,
    /// Its token is invalid, which proves nothing: this process has never seen it accepted.
    Unproven,
    /// Step Functions has not said.
    Unknown,
    /// A task of another account or region, which cannot be asked.
    Elsewhere,
}

/// What to do about the Job of the task's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attach {
    /// Make it the task's own. The tracker goes on from there, whatever its phase.
    TakeOver,
    /// Delete it and wait for its end; then create it anew.
    Replace,
    /// Look at it again later: what stands in the way will pass. If it does not, that is the conflict.
    LookAgain(Conflict),
    /// The task cannot have it.
    Refuse(Conflict),
}

/// Why a task cannot have the Job of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// It was made from another manifest.
    OtherSpec,
    /// Somebody waits for it.
    Awaited,
    /// Somebody may wait for it.
    Unproven,
    /// Step Functions has not said whether somebody waits for it.
    Unknown,
    /// Its task is of another account or region.
    Elsewhere,
    /// The Kubernetes API would not have it, for this reason.
    Unwritable(String),
}

/// Says what to do about the Job of the key of a task that is to be answered then.
pub fn attach(answer: Answer, found: &JobView, holder: Holder) -> Attach {
    let fails = matches!(found.phase, Phase::Failing | Phase::Failed { .. });
    // Its task is about to be answered, and out of the way then.
    let is_ending =
        fails || found.phase.is_final() || stamp_of(found).is_some_and(|stamp| stamp.answer == Answer::WhenCreated);
    let later_or_never = |conflict| if is_ending { Attach::LookAgain(conflict) } else { Attach::Refuse(conflict) };
    match holder {
        Holder::Nobody if fails && answer == Answer::WhenFinished => Attach::Replace,
        // What it was to return, a failure too, it has not returned: it settles its Job before it does.
        Holder::Nobody | Holder::EarlierInvocation => Attach::TakeOver,
        Holder::Somebody => later_or_never(Conflict::Awaited),
        Holder::Unproven => later_or_never(Conflict::Unproven),
        Holder::Unknown => Attach::LookAgain(Conflict::Unknown),
        Holder::Elsewhere => Attach::Refuse(Conflict::Elsewhere),
    }
}

impl Conflict {
    /// What the task fails with.
    pub fn failure(&self, job: &JobKey) -> TaskFailure {
        let (why, advice) = match self {
            Self::OtherSpec => (
                "was made from another Job than the request's".to_owned(),
                "use another key for another Job; nothing in a Job may change from one attempt to the next",
            ),
            Self::Awaited => (
                "has a task that still waits for it".to_owned(),
                "if that is another piece of work, give it a key of its own: from $$.Execution.Id, $$.State.Name, \
                 $$.State.EnteredTime and, inside of a Map, $$.Map.Item.Index",
            ),
            Self::Unproven => (
                "has a task that may still wait for it: Step Functions calls its token invalid, which this worker has never \
                 seen accepted"
                    .to_owned(),
                "retry when the Job has ended, or delete it",
            ),
            Self::Unknown => {
                ("may have a task that still waits for it: Step Functions does not say".to_owned(), "retry later")
            }
            Self::Elsewhere => (
                "has a task of an account or region that this worker does not serve".to_owned(),
                "give the workers of each account and region a --group of their own",
            ),
            Self::Unwritable(reason) => (
                format!("could not be taken over: {reason}"),
                "see what keeps the worker from patching Jobs (RBAC, admission)",
            ),
        };
        let message = format!("the IdempotencyKey belongs to the Job {job}, which {why}; {advice}");
        TaskFailure::about(ErrorName::IdempotencyConflict, message, job)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        fixtures::{JobBuilder, a_job, a_stamp},
        ledger::Stamp,
    };

    fn of(job: &JobBuilder, holder: Holder) -> Attach {
        attach(Answer::WhenFinished, &job.view(), holder)
    }

    fn succeeding() -> JobBuilder {
        a_job().condition("SuccessCriteriaMet", "True", "CompletionsReached")
    }

    fn failing() -> JobBuilder {
        a_job().condition("FailureTarget", "True", "BackoffLimitExceeded")
    }

    fn failed() -> JobBuilder {
        failing().failed("BackoffLimitExceeded")
    }

    #[test]
    fn a_job_that_runs_is_taken_over_once_nobody_waits_for_it() {
        for running in [a_job(), succeeding()] {
            assert_eq!(of(&running, Holder::Nobody), Attach::TakeOver);
            assert_eq!(of(&running, Holder::Somebody), Attach::Refuse(Conflict::Awaited));
            assert_eq!(of(&running, Holder::Unproven), Attach::Refuse(Conflict::Unproven));
        }
    }

    #[test]
    fn the_result_of_a_complete_job_is_delivered_again() {
        assert_eq!(of(&a_job().complete(), Holder::Nobody), Attach::TakeOver);
    }

    #[test]
    fn an_invocation_delivers_what_an_earlier_one_has_not() {
        for job in [a_job(), a_job().complete(), failed(), failing()] {
            assert_eq!(of(&job, Holder::EarlierInvocation), Attach::TakeOver);
        }
    }

    #[test]
    fn a_job_that_has_failed_or_is_about_to_is_replaced() {
        assert_eq!(of(&failed(), Holder::Nobody), Attach::Replace);
        assert_eq!(of(&failing(), Holder::Nobody), Attach::Replace);
    }

    #[test]
    fn a_job_that_has_ended_answers_its_own_task_first() {
        for ended in [a_job().complete(), failed(), failing()] {
            assert_eq!(of(&ended, Holder::Somebody), Attach::LookAgain(Conflict::Awaited));
            assert_eq!(of(&ended, Holder::Unproven), Attach::LookAgain(Conflict::Unproven));
        }
    }

    #[test]
    fn a_job_that_was_only_started_answers_its_own_task_first() {
        let started = a_job().stamped(&Stamp { answer: Answer::WhenCreated, ..a_stamp() });
        assert_eq!(of(&started, Holder::Somebody), Attach::LookAgain(Conflict::Awaited));
    }

    #[test]
    fn a_start_takes_over_whatever_there_is() {
        for job in [a_job(), a_job().complete(), failed()] {
            assert_eq!(attach(Answer::WhenCreated, &job.view(), Holder::Nobody), Attach::TakeOver);
        }
        assert_eq!(attach(Answer::WhenCreated, &a_job().view(), Holder::Somebody), Attach::Refuse(Conflict::Awaited));
    }

    #[test]
    fn who_cannot_be_asked_keeps_the_job() {
        for job in [a_job(), a_job().complete(), failed()] {
            assert_eq!(of(&job, Holder::Unknown), Attach::LookAgain(Conflict::Unknown));
            assert_eq!(of(&job, Holder::Elsewhere), Attach::Refuse(Conflict::Elsewhere));
        }
    }

    #[test]
    fn a_conflict_names_the_job_the_reason_and_the_way_out() {
        let failure = Conflict::OtherSpec.failure(&a_job().view().key);
        assert_eq!(failure.error.to_string(), "RunJob.IdempotencyConflict");
        assert_eq!(
            failure.message(),
            "the IdempotencyKey belongs to the Job default/x, which was made from another Job than the request's; use \
             another key for another Job; nothing in a Job may change from one attempt to the next"
        );
        assert_eq!(failure.cause["job"], json!({"namespace": "default", "name": "x"}));
    }
}
