//! What happens next to a task's Job: one pure function of what is seen and what was done so far.
//!
//! Events only bring a new [`JobView`] or time; [`step`] says what to do about them. A restarted worker begins with
//! [`Progress::default`] for every Job that its first list shows, and goes on from there: recovery is no second path.
//!
//! ```text
//!            SuccessCriteriaMet/FailureTarget     Complete/Failed        reply accepted
//!   Active ─────────────────────────────► Capture ──────────► Report ──────────────► Settle ─► Forget
//!     │ token gone (with a key: for a while): Delete (or Settle: detach)
//!     │                                                         ▲
//!     │ DELETED: Confirm ─► really gone ────────────────────────┤ Job.Deleted
//!     └ no ready pod: Look … Look ─► stuck: Snapshot ───────────┘ then Delete instead of Settle
//! ```

use std::time::Duration;

use crate::{
    job::{JobView, Phase},
    ledger::{Entry, Stamp},
    log_options::Retrieve,
    progress::{Moment, Panics, Presence, Progress, Stage, TokenState},
    request::{Answer, OnStuck, OnTaskGone},
};

/// A Job that was deleted is reported as deleted no later than this, whatever its pods do: they may take as long as their grace period,
/// or run on as orphans.
pub const DELETION_PATIENCE: Duration = Duration::from_mins(1);
/// What its containers print is read for so long. What is left of [`DELETION_PATIENCE`] is for bringing the logs to their end.
const LAST_WORDS: Duration = Duration::from_secs(45);
/// The UID of a Job that runs longer than this is written down on it. One request for each Job is dear where thousands are short; copies are
/// made of those that are there for a while.
pub const UID_IS_WRITTEN_AFTER: Duration = Duration::from_mins(1);

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, until the next event, or until that moment, which is still to come.
    Wait(Option<Moment>),
    /// Drop the entry: there is nothing left to do.
    Forget,
    /// Begin this. It is begun once: its stage is `Running` from then on.
    Do(Effect),
}

/// Something to do that takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the Job by name: is it really gone?
    Confirm,
    /// List the pods and, if the options ask for them, read their logs to the end of their containers.
    Capture(Extent),
    /// List the pods of a Job that does not get going: what is wrong?
    Look,
    /// Read what there is of the logs: the containers run on, or never will.
    Snapshot(Extent),
    /// Answer the task.
    Report(Verdict),
    /// Take the Job out of the watch.
    Settle,
    /// Delete the Job and its pods: nobody waits for them any more.
    Delete,
    /// Note on the Job until when it is kept: this process will not be there then.
    Note,
    /// Add to the stamp what only the server knew when it was written ([`crate::patch::amend`]).
    Amend,
}

/// How much of the pods is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Their states, for the diagnosis.
    Pods,
    /// Their states and logs.
    PodsAndLogs,
}

/// What the task is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The Job exists (`runJob`).
    Created,
    /// The Job is complete.
    Succeeded,
    /// The Job failed.
    Failed,
    /// Somebody else deleted the Job.
    Deleted,
    /// The Job does not get going.
    Stuck,
    /// This worker has a defect that the Job brings to light. Nothing is said of the Job: it is left as it is.
    Internal,
}

/// Says what to do next for a Job, given what was done so far.
pub fn step(view: &JobView, stamp: &Stamp, progress: &Progress, now: Moment) -> Decision {
    match next(view, stamp, progress, now) {
        Decision::Wait(when) => beside(when, view, stamp, progress, now),
        decision => decision,
    }
}

/// What is done while nothing else is to be done until then.
fn beside(when: Option<Moment>, view: &JobView, stamp: &Stamp, progress: &Progress, now: Moment) -> Decision {
    if progress.panics == Panics::TooMany || progress.reply == Stage::Running {
        return Decision::Wait(when);
    }
    let mut others = Vec::new();
    if progress.presence == Presence::Unwatched {
        others.push((Stage::Again(progress.confirm_at), Effect::Confirm));
    }
    if wants_amending(view, stamp, progress) {
        others.push((progress.amend, Effect::Amend));
    }
    let mut next = when;
    for (stage, effect) in others {
        match stage {
            stage if stage.is_due(now) => return Decision::Do(effect),
            Stage::Again(later) => next = Some(next.map_or(later, |next| next.min(later))),
            Stage::Open | Stage::Running | Stage::Done => {}
        }
    }
    Decision::Wait(next)
}

/// Whether something is missing from the stamp of a Job that is still waited for. The TTL of one that has ended runs already.
fn wants_amending(view: &JobView, stamp: &Stamp, progress: &Progress) -> bool {
    let awaited = stamp.answer == Answer::WhenFinished && progress.token == TokenState::Alive;
    let is_there = matches!(progress.presence, Presence::Seen | Presence::Unwatched) && !view.deleting;
    let is_nameless = stamp.uid.is_none() && stamp.object.is_some() && view.phase == Phase::Active;
    awaited && is_there && progress.reply != Stage::Done && (view.has_short_ttl() || is_nameless)
}

/// When the logs of a Job that was deleted have had their time.
pub fn last_words_end(progress: &Progress) -> Option<Moment> {
    progress.deleting_since.map(|since| since.after(LAST_WORDS))
}

fn next(view: &JobView, stamp: &Stamp, progress: &Progress, now: Moment) -> Decision {
    if progress.reply == Stage::Running {
        return Decision::Wait(None);
    }
    if progress.panics == Panics::TooMany {
        return match progress.presence {
            Presence::Missing | Presence::Gone => Decision::Forget,
            Presence::Seen | Presence::Unwatched | Presence::Confirming => Decision::Wait(None),
        };
    }
    if progress.reply == Stage::Done {
        return after_reply(view, stamp, progress, now);
    }
    if progress.panics == Panics::Twice && progress.token == TokenState::Alive {
        return report(progress, Verdict::Internal, now);
    }
    match progress.presence {
        Presence::Missing if progress.settle == Stage::Done => return Decision::Forget,
        Presence::Missing if progress.confirm_at > now => return Decision::Wait(Some(progress.confirm_at)),
        Presence::Missing => return Decision::Do(Effect::Confirm),
        Presence::Confirming => return Decision::Wait(None),
        Presence::Gone if progress.token != TokenState::Alive => return Decision::Forget,
        // What was seen before it went still holds.
        Presence::Gone if view.phase.is_final() || stamp.answer == Answer::WhenCreated => {}
        // Its pods may still be on their way out.
        Presence::Gone => return captured_first(stamp, progress, Verdict::Deleted, now),
        Presence::Seen | Presence::Unwatched => {}
    }
    match progress.token {
        TokenState::Alive => {}
        TokenState::Elsewhere { until } if until > now => return Decision::Wait(Some(until)),
        TokenState::Elsewhere { .. } | TokenState::Gone => return nobody_waits(view, stamp, progress, now),
    }
    if stamp.answer == Answer::WhenCreated {
        return report(progress, Verdict::Created, now);
    }
    let deleted_for_long = progress.deleting_since.map(|since| since.after(DELETION_PATIENCE));
    match (&view.phase, deleted_for_long) {
        (Phase::Complete, _) => captured_first(stamp, progress, Verdict::Succeeded, now),
        (Phase::Failed { .. }, _) => captured_first(stamp, progress, Verdict::Failed, now),
        (_, Some(end)) if end <= now => captured_first(stamp, progress, Verdict::Deleted, now),
        (Phase::Active, None) => active(stamp, progress, now),
        (phase, end) => match extent(stamp, phase, end.is_some()) {
            Some(extent) if progress.capture == Stage::Open => Decision::Do(Effect::Capture(extent)),
            _ if progress.capture == Stage::Running => {
                Decision::Wait(still_to_come([last_words_end(progress), end], now))
            }
            _ => Decision::Wait(end),
        },
    }
}

/// It has neither ended nor is it about to. Does it get anywhere?
fn active(stamp: &Stamp, progress: &Progress, now: Moment) -> Decision {
    let Some(pending) = &progress.pending else { return Decision::Wait(None) };
    if pending.to_be_failed().is_some() && stamp.options.on_stuck == OnStuck::Fail {
        return match pending.snapshot() {
            Stage::Done => report(progress, Verdict::Stuck, now),
            Stage::Open => Decision::Do(Effect::Snapshot(match stamp.options.logs.retrieve {
                Retrieve::Always | Retrieve::OnFailure => Extent::PodsAndLogs,
                Retrieve::Never => Extent::Pods,
            })),
            Stage::Running | Stage::Again(_) => Decision::Wait(None),
        };
    }
    match pending.look() {
        Stage::Again(when) if when > now => Decision::Wait(Some(when)),
        stage if stage.is_due(now) => Decision::Do(Effect::Look),
        _ => Decision::Wait(None),
    }
}

/// What a capture takes, once the Job is about to end. `None`: there is nothing to capture (yet).
fn extent(stamp: &Stamp, phase: &Phase, deleting: bool) -> Option<Extent> {
    let failing = match phase {
        Phase::Succeeding | Phase::Complete => false,
        Phase::Failing | Phase::Failed { .. } => true,
        Phase::Active if deleting => true,
        Phase::Active => return None,
    };
    match (stamp.options.logs.retrieve, failing) {
        (Retrieve::Always, _) | (Retrieve::OnFailure, true) => Some(Extent::PodsAndLogs),
        (Retrieve::Never, true) => Some(Extent::Pods),
        (Retrieve::Never | Retrieve::OnFailure, false) => None,
    }
}

fn captured_first(stamp: &Stamp, progress: &Progress, verdict: Verdict, now: Moment) -> Decision {
    let phase = match verdict {
        Verdict::Created | Verdict::Succeeded => Phase::Complete,
        Verdict::Failed | Verdict::Deleted | Verdict::Stuck | Verdict::Internal => Phase::Failing,
    };
    match extent(stamp, &phase, false) {
        Some(extent) if progress.capture == Stage::Open => Decision::Do(Effect::Capture(extent)),
        _ => when_captured(progress, verdict, now),
    }
}

fn when_captured(progress: &Progress, verdict: Verdict, now: Moment) -> Decision {
    match (progress.capture, verdict) {
        (Stage::Running | Stage::Again(_), Verdict::Deleted) => {
            let end = capture_end(progress);
            if end.is_some_and(|end| end <= now) {
                return report(progress, verdict, now);
            }
            Decision::Wait(still_to_come([last_words_end(progress), end], now))
        }
        (Stage::Running | Stage::Again(_), _) => Decision::Wait(None),
        (Stage::Open | Stage::Done, _) => report(progress, verdict, now),
    }
}

/// When a capture of the pods of a Job that was deleted is not waited for any more. One that began late has some seconds all the same.
fn capture_end(progress: &Progress) -> Option<Moment> {
    let since = progress.deleting_since?;
    let begun = progress.capture_begun.after(DELETION_PATIENCE.saturating_sub(LAST_WORDS));
    Some(since.after(DELETION_PATIENCE).max(begun))
}

/// The first of these that is still to come.
fn still_to_come<const N: usize>(moments: [Option<Moment>; N], now: Moment) -> Option<Moment> {
    moments.into_iter().flatten().filter(|moment| *moment > now).min()
}

fn report(progress: &Progress, verdict: Verdict, now: Moment) -> Decision {
    match progress.reply {
        stage if stage.is_due(now) => Decision::Do(Effect::Report(verdict)),
        Stage::Again(when) => Decision::Wait(Some(when)),
        _ => Decision::Wait(None),
    }
}

/// Whether a Job stays when its task has ended without it: nothing of it runs any more, or its task never waited for its end,
/// or that was asked for.
pub fn outlives_its_task(view: &JobView, stamp: &Stamp) -> bool {
    view.phase.is_final() || stamp.answer == Answer::WhenCreated || stamp.options.on_task_gone == OnTaskGone::Detach
}

/// The task has ended without its Job: stopped, timed out, or answered before a crash that came before the settling.
fn nobody_waits(view: &JobView, stamp: &Stamp, progress: &Progress, now: Moment) -> Decision {
    if view.deleting || matches!(progress.deletion, Stage::Running | Stage::Done) {
        // It lingers until its pods are gone, and may become `Failed` by that. Nobody is left to settle it for; settled, it
        // would not be counted any more while it runs.
        return Decision::Wait(None);
    }
    if progress.kept_until > now {
        // The next attempt with its key takes the Job over. One that has ended is kept for it as well: settled, it might go by its
        // TTL.
        return match progress.note {
            stage if stage.is_due(now) => Decision::Do(Effect::Note),
            Stage::Again(when) => Decision::Wait(Some(when.min(progress.kept_until))),
            Stage::Open | Stage::Running | Stage::Done => Decision::Wait(Some(progress.kept_until)),
        };
    }
    let stays = outlives_its_task(view, stamp);
    let (stage, decision) = if stays {
        (progress.settle, Decision::Do(Effect::Settle))
    } else {
        (progress.deletion, Decision::Do(Effect::Delete))
    };
    match stage {
        Stage::Again(when) if when > now => Decision::Wait(Some(when)),
        stage if stage.is_due(now) => decision,
        _ => Decision::Wait(None),
    }
}

fn after_reply(view: &JobView, stamp: &Stamp, progress: &Progress, now: Moment) -> Decision {
    match progress.presence {
        // Not before the watch lets go of it: an older event may still be on its way, and would bring the Job back.
        Presence::Gone | Presence::Missing => return Decision::Forget,
        // The watch has let go of it already.
        Presence::Unwatched if progress.settle == Stage::Done => return Decision::Forget,
        Presence::Seen | Presence::Unwatched | Presence::Confirming => {}
    }
    if progress.verdict == Some(Verdict::Stuck) {
        // It may get going yet, and nobody waits for it any more.
        return nobody_waits(view, stamp, progress, now);
    }
    match progress.settle {
        Stage::Again(when) if when > now => Decision::Wait(Some(when)),
        stage if stage.is_due(now) => Decision::Do(Effect::Settle),
        _ => Decision::Wait(None),
    }
}

/// What the ledger on a watched Job makes of it.
pub fn stamp_of(view: &JobView) -> Option<&Stamp> {
    match &view.entry {
        Entry::Open(stamp) => Some(stamp),
        Entry::None | Entry::Settled { .. } | Entry::Copy { .. } | Entry::Unreadable(_) => None,
    }
}

#[cfg(test)]
mod tests;
