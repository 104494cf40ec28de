//! Creating the planned Job, once, whatever happens to requests and answers on the way.

use std::time::Duration;

use runjob_core::{
    attach::Conflict,
    failure::{ErrorName, TaskFailure},
    job::JobView,
    ledger::Stamp,
    plan::{Plan, Relation},
    refusal::{PATIENCE, Refusal, is_status, meets_everybody},
};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use super::{Starter, attach::verify_taken_over, line::Place, patience::Patience, predecessor::Succession};
use crate::{
    cluster::{Delivery, EventKind, Exchanged, Fence, Lookup, Unavailable, Unreachable, WriteError},
    heartbeat::{Hold, Verdict},
    permits::Permit,
    retry::CALLS,
};

/// How long an object of that name may take to go away. Its pods may use up their grace period: 30 s unless they say
/// otherwise, seldom more than a minute or so. Beyond that, a node is lost as a rule, and nobody knows how long.
const GOING_PATIENCE: Duration = Duration::from_mins(2);

/// What came of it.
pub enum Started {
    /// The Job exists, stamped. The tracker goes on. `None`: it has it already.
    Created(Option<Box<Value>>),
    /// The Job of the task's key existed already, and is the task's own now. The tracker goes on.
    Attached(Box<Value>),
    /// It does not, and the task is to fail.
    Failed(TaskFailure),
    /// It does not, or its task is answered already.
    NobodyWaits,
}

/// One attempt.
pub(super) enum Attempt {
    Done(Started),
    /// It may work later.
    Later(Later),
}

/// An attempt that may be repeated.
pub(super) struct Later {
    /// For how long it is worth it.
    pub(super) patience: Duration,
    /// Not before the server's own wish.
    pub(super) after: Option<Duration>,
    /// What the task fails with when the patience is over.
    pub(super) failure: TaskFailure,
    /// Whether the Job may exist all the same, as this task's.
    pub(super) existence: Existence,
    /// Whether others have the same trouble.
    pub(super) concerns: Concerns,
}

/// Whom it is that a trouble meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concerns {
    /// Every task: the API is away, or throttles.
    Everybody,
    /// This task, or those of its namespace: others may be started meanwhile.
    ThisTask,
}

/// Whether an attempt without success may have made the task's Job all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Existence {
    Impossible,
    /// It may have created it.
    Created,
    /// It may have taken over the Job of the task's key.
    TakenOver,
}

impl Starter {
    /// Creates the planned Job. `hold` is on the task that waits for it; `permit` gives way where nobody else has to wait for this one. A
    /// request whose answer is lost is looked up before it is repeated; a 409 is looked into.
    pub async fn create(&self, plan: &Plan, hold: &Hold, permit: &mut Permit) -> Started {
        let mut pauses = CALLS.pauses();
        let mut patience = Patience::new(self.patience);
        let mut existence = Existence::Impossible;
        let (mut place, mut not_before) = (None, Instant::now());
        loop {
            let end = patience.all();
            let turn = async {
                let taken = match place.take() {
                    Some(kept) => Some(kept),
                    // Whoever has waited that long in vain has one attempt of its own.
                    None => timeout_at(end, self.line.place()).await.ok(),
                };
                sleep_until(not_before).await;
                taken
            };
            // Only between attempts: a request under way may create the Job, and then the tracker has to know.
            let taken = tokio::select! {
                biased;
                // The watch shows it: it was created.
                () = hold.followed() => return Started::Created(None),
                () = hold.gone() => return Started::NobodyWaits,
                taken = turn => taken,
            };
            let attempt = match existence {
                Existence::Impossible => self.attempt(plan, existence, hold).await,
                Existence::Created | Existence::TakenOver => self.find_or_attempt(plan, existence, hold).await,
            };
            let later = match attempt {
                Attempt::Done(started) => {
                    taken.iter().for_each(Place::went_well);
                    return started;
                }
                Attempt::Later(later) => later,
            };
            match later.concerns {
                Concerns::ThisTask => {
                    taken.iter().for_each(Place::went_well);
                    permit.give_way();
                }
                Concerns::Everybody => place = taken.and_then(Place::in_trouble),
            }
            existence = existence.max(later.existence);
            let pause = pauses.next(later.after);
            if !patience.lasts(later.patience, pause) {
                return Started::Failed(later.failure);
            }
            warn!(error = %later.failure.error, cause = %later.failure.message(), "unable to create the Job yet");
            not_before = Instant::now() + pause;
            if later.concerns == Concerns::Everybody && place.is_none() {
                // Whoever is before it in the line finds out when the trouble is over.
                pauses.reset();
                not_before = Instant::now();
            }
        }
    }

    async fn attempt(&self, plan: &Plan, existence: Existence, hold: &Hold) -> Attempt {
        let exchanged = match self.post(plan).await {
            Ok(exchanged) => shown(exchanged, plan),
            Err(unreachable) => return self.later(&unreachable, Existence::Created),
        };
        match Refusal::of(&exchanged.answer) {
            None => self.verify(plan, exchanged).await,
            Some(Refusal::NameTaken) => self.look_into(plan, existence, exchanged.answer.failure(), hold).await,
            Some(refusal) => refused(refusal, &exchanged),
        }
    }

    /// Sends the planned Job. A cluster may refuse a TTL as long as the one that holds back the user's: it gets the Job with the user's own then,
    /// as natively. The tracker tells of that.
    async fn post(&self, plan: &Plan) -> Result<Exchanged, Unreachable> {
        let refused = self.cluster.create(&plan.key, &plan.job).await?;
        match plan.without_held_ttl() {
            Some(job) if matches!(refused.answer.status, 403 | 422) => self.cluster.create(&plan.key, &job).await,
            _ => Ok(refused),
        }
    }

    /// The name is taken. By whom? Unless there is a way around it, the task fails with that very conflict.
    async fn look_into(&self, plan: &Plan, existence: Existence, conflict: TaskFailure, hold: &Hold) -> Attempt {
        let succession = match self.find(plan, existence).await {
            Found::Decided(attempt) => return attempt,
            Found::OfKey(found) => return self.attach(plan, &found, conflict, hold).await,
            Found::Foreign => Succession::Refused,
            Found::Predecessor(view, stamp) => self.succeed(&view, &stamp, hold).await,
            Found::Leaving => Succession::MakesRoom,
            // It has gone in the meantime: the name is free.
            Found::Nothing => Succession::Undecided(None),
        };
        succession.attempt(conflict)
    }

    /// An earlier attempt may have made the Job. If so, it is there; or it has run, its task is answered, and what is there now came
    /// later. Created once more, it would run twice.
    async fn find_or_attempt(&self, plan: &Plan, existence: Existence, hold: &Hold) -> Attempt {
        if let Found::Decided(attempt) = self.find(plan, existence).await {
            return attempt;
        }
        let verdict = match plan.stamp.waiter.task() {
            Some((token, source)) => self.heartbeats.ask(token, source).await,
            // It is this very process that waits.
            None => Verdict::Alive,
        };
        match verdict {
            // A token that was handed out just now is valid: whoever says otherwise does not know.
            Verdict::Alive | Verdict::Unproven => self.attempt(plan, existence, hold).await,
            Verdict::Gone => Attempt::Done(Started::NobodyWaits),
            Verdict::Unknown => Attempt::Later(Later {
                patience: PATIENCE,
                after: None,
                failure: TaskFailure::saying(
                    ErrorName::ClusterUnreachable,
                    "the answer to the create is lost, and Step Functions does not say whether anybody waits"
                        .to_owned(),
                ),
                existence,
                concerns: Concerns::ThisTask,
            }),
        }
    }

    /// Looks for an object of the planned name.
    async fn find(&self, plan: &Plan, existence: Existence) -> Found {
        let (view, found) = match self.cluster.look_up(&plan.key).await {
            Lookup::Found(view, found) => (*view, *found),
            Lookup::Absent(_) => return Found::Nothing,
            Lookup::Denied(refused) => return Found::Decided(unread(&refused, existence)),
            Lookup::Unavailable(Unavailable::Answered(answered)) => {
                return Found::Decided(unread(&answered, existence));
            }
            Lookup::Unavailable(Unavailable::Unreachable(unreachable)) => {
                return Found::Decided(self.later(&unreachable, existence));
            }
        };
        match plan.relation(&view) {
            Relation::Ours if existence == Existence::TakenOver => Found::Decided(verify_taken_over(plan, found)),
            Relation::Ours => Found::Decided(self.verify(plan, found).await),
            Relation::OursAndSettled => Found::Decided(Attempt::Done(Started::NobodyWaits)),
            Relation::OfKey => Found::OfKey(Box::new(view)),
            Relation::OtherSpec => {
                Found::Decided(Attempt::Done(Started::Failed(Conflict::OtherSpec.failure(&plan.key))))
            }
            Relation::Predecessor(stamp) => {
                let stamp = Box::new(stamp.clone());
                Found::Predecessor(Box::new(view), stamp)
            }
            Relation::Leaving => Found::Leaving,
            Relation::Foreign => Found::Foreign,
        }
    }

    /// The Job is created. Is it as it was planned?
    async fn verify(&self, plan: &Plan, created: Exchanged) -> Attempt {
        let Ok(view) = JobView::of(&created.answer.body) else { return no_job(&created, Existence::Created) };
        for warning in &created.warnings {
            warn!(warning, "the API server warns of the Job");
            self.cluster.tell(view.clone(), EventKind::Warning, "AdmissionWarning", warning);
        }
        let Err(difference) = plan.check_stamp(&view) else {
            return Attempt::Done(Started::Created(Some(Box::new(created.answer.body))));
        };
        let fate = match self.remove(&view).await {
            Ok(()) => "the Job was deleted again".to_owned(),
            Err(error) => format!("the Job could not be deleted again, and may run: {error}"),
        };
        let message = format!(
            "what runjob wrote on the Job {} was changed while it was created, by a mutating admission webhook or policy: \
             {difference}; {fate}",
            plan.key
        );
        Attempt::Done(Started::Failed(TaskFailure::saying(ErrorName::StampRejected, message)))
    }

    /// Deletes a Job that nobody could follow. It may be in another version already; it is of no use in any.
    async fn remove(&self, view: &JobView) -> Result<(), WriteError> {
        let mut pauses = CALLS.pauses();
        let mut patience = Patience::new(self.patience);
        loop {
            let error = match self.cluster.delete(view, Fence::Job).await {
                Ok(()) | Err(WriteError::Changed) => return Ok(()),
                Err(error) => error,
            };
            let after = match &error {
                WriteError::Passing { after, .. } => *after,
                WriteError::Unreachable(_) => None,
                WriteError::Changed | WriteError::Refused { .. } => return Err(error),
            };
            let pause = pauses.next(after);
            if !patience.lasts(GOING_PATIENCE, pause) {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// There was no answer to a request. `done`: what it may have done.
    pub(super) fn later(&self, unreachable: &Unreachable, done: Existence) -> Attempt {
        let failure = TaskFailure::saying(ErrorName::ClusterUnreachable, unreachable.to_string());
        let existence = match unreachable.delivery {
            Delivery::NotSent => Existence::Impossible,
            Delivery::Unknown | Delivery::AnswerTooLong(_) => done,
        };
        // An answer that does not come may be held up by a webhook of this Job's namespace.
        let is_everybodys = unreachable.delivery == Delivery::NotSent || self.cluster.reachability().is_lost();
        let concerns = if is_everybodys { Concerns::Everybody } else { Concerns::ThisTask };
        Attempt::Later(Later { patience: PATIENCE, after: None, failure, existence, concerns })
    }
}

/// What a look at the planned name has shown.
enum Found {
    /// This plan's Job, or no answer yet: what follows from that.
    Decided(Attempt),
    /// The Job of this plan's key, made by another task.
    OfKey(Box<JobView>),
    /// The Job of another task, which may have ended without it.
    Predecessor(Box<JobView>, Box<Stamp>),
    /// An object on its way out.
    Leaving,
    /// Somebody else's object.
    Foreign,
    Nothing,
}

impl Succession {
    /// What follows from that for the task that is to have the name. `conflict` is what it fails with if the Job stays.
    pub(super) fn attempt(self, conflict: TaskFailure) -> Attempt {
        let (patience, after) = match self {
            Self::MakesRoom => (GOING_PATIENCE, None),
            Self::Undecided(after) => (PATIENCE, after),
            Self::Refused => return Attempt::Done(Started::Failed(conflict)),
            Self::NobodyWaits => return Attempt::Done(Started::NobodyWaits),
        };
        let (existence, concerns) = (Existence::Impossible, Concerns::ThisTask);
        Attempt::Later(Later { patience, after, failure: conflict, existence, concerns })
    }
}

/// The object of the planned name could not be read. `existence`: what an earlier attempt may have done. An answer that is neither the
/// object nor a refusal of the API server says nothing: something before the server has spoken.
fn unread(exchanged: &Exchanged, existence: Existence) -> Attempt {
    match Refusal::of(&exchanged.answer) {
        Some(refusal) if refusal != Refusal::Final || exchanged.answer.status == 403 => refused(refusal, exchanged),
        _ => Attempt::Later(Later {
            patience: PATIENCE,
            after: exchanged.retry_after,
            failure: exchanged.answer.failure(),
            existence,
            concerns: Concerns::ThisTask,
        }),
    }
}

/// A refusal may quote what was sent. What was created has to show it: there the stamp is read back.
fn shown(exchanged: Exchanged, plan: &Plan) -> Exchanged {
    match plan.stamp.waiter.task() {
        Some((token, _)) if !exchanged.answer.is_success() => {
            Exchanged { answer: exchanged.answer.without(std::slice::from_ref(token)), ..exchanged }
        }
        _ => exchanged,
    }
}

/// A success whose body is no Job says nothing about whether there is one: something on the way may have answered.
fn no_job(exchanged: &Exchanged, existence: Existence) -> Attempt {
    let message = format!("the answer {} is no Job, and it is not known whether there is one", exchanged.answer.status);
    let failure = TaskFailure::saying(ErrorName::ClusterUnreachable, message);
    Attempt::Later(Later {
        patience: PATIENCE,
        after: exchanged.retry_after,
        failure,
        existence,
        concerns: Concerns::ThisTask,
    })
}

fn refused(refusal: Refusal, exchanged: &Exchanged) -> Attempt {
    let failure = exchanged.answer.failure();
    let Some(patience) = refusal.patience() else { return Attempt::Done(Started::Failed(failure)) };
    let patience = if refusal == Refusal::BeingDeleted { GOING_PATIENCE } else { patience };
    // A server error, or an answer of something on the way, may come after the Job was stored; every other refusal comes instead of it.
    let on_the_way = !is_status(&exchanged.answer) && !meets_everybody(exchanged.answer.status);
    let existence =
        if exchanged.answer.status >= 500 || on_the_way { Existence::Created } else { Existence::Impossible };
    let concerns = if meets_everybody(exchanged.answer.status) { Concerns::Everybody } else { Concerns::ThisTask };
    Attempt::Later(Later { patience, after: exchanged.retry_after, failure, existence, concerns })
}
