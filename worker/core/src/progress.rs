//! What was done for a Job so far, and what became known beside the Job itself.

use std::time::Duration;

use crate::{
    job::{JobView, Phase, Readiness},
    lifecycle::{Effect, Verdict},
    pending::Pending,
    refusal::PATIENCE,
};

/// How soon a Job is looked at again whose label was put back, and how seldom at last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A moment, as the time since some fixed start. The shell decides which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub Duration);

impl Moment {
    /// So much later. A time that is too long to be counted is the end of all time: durations come from flags and from servers.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(pause))
    }
}

/// What was done for a Job so far, and what became known beside the Job itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Whether the Job is there.
    pub presence: Presence,
    /// Not before this is a missing Job asked for again.
    pub confirm_at: Moment,
    /// How often its label was put back.
    pub relabelled: u32,
    /// Since when a missing Job may not be asked for.
    pub forbidden_since: Option<Moment>,
    /// Whether somebody still waits.
    pub token: TokenState,
    /// The pods and their logs.
    pub capture: Stage,
    /// When the capture was begun.
    pub capture_begun: Moment,
    /// The reply to Step Functions.
    pub reply: Stage,
    /// The patch that takes the Job out of the watch.
    pub settle: Stage,
    /// The deletion of a Job that nobody waits for.
    pub deletion: Stage,
    /// Until when the Job is kept, once its task is gone: one with a key for the next attempt.
    pub kept_until: Moment,
    /// The note of that on the Job: done, if it is enough that this process remembers.
    pub note: Stage,
    /// What is added to the stamp once the Job exists.
    pub amend: Stage,
    /// When the Job was first seen with a `deletionTimestamp`, or found to be gone.
    pub deleting_since: Option<Moment>,
    /// The clock of a Job without a ready pod.
    pub pending: Option<Pending>,
    /// What the task is being, or was, answered with.
    pub verdict: Option<Verdict>,
    /// How often something that was done for the Job has panicked.
    pub panics: Panics,
}

/// A panic stops what is done for one Job, and nothing else. What has panicked is tried once more: it may have been bad luck. A Job
/// that brings about a second one would do so for ever, and its task would never be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Panics {
    /// Nothing has.
    #[default]
    None,
    /// What has is tried once more.
    Once,
    /// The task is answered with that, if it has not been answered, and the Job leaves the watch as it is.
    Twice,
    /// Even that has: the Job is left alone, until another worker looks at it with fresh eyes.
    TooMany,
}

impl Panics {
    fn one_more(self) -> Self {
        match self {
            Self::None => Self::Once,
            Self::Once => Self::Twice,
            Self::Twice | Self::TooMany => Self::TooMany,
        }
    }
}

/// What became of a capture when something panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a report without its logs has to say so"]
pub enum CaptureAfterPanic {
    /// It was not that.
    Untouched,
    /// It is lost: the pods may be gone before it could be begun again. The report says so.
    Lost,
}

impl Progress {
    /// An effect has panicked. It is to be begun again then; what else is under way goes on.
    pub fn panicked(&mut self, effect: &Effect, now: Moment, again: Moment) -> CaptureAfterPanic {
        self.panics = self.panics.one_more();
        match effect {
            Effect::Report(_) => self.reply = Stage::Again(again),
            Effect::Settle => self.settle = Stage::Again(again),
            Effect::Delete => self.deletion = Stage::Again(again),
            Effect::Note => self.note = Stage::Again(again),
            Effect::Amend => self.amend = Stage::Again(again),
            // The watch may have shown the Job again in the meantime.
            Effect::Confirm if self.presence == Presence::Confirming => self.presence = Presence::Missing,
            Effect::Confirm => {}
            Effect::Look => self.running(Pending::look, |pending| pending.not_seen(now)),
            Effect::Snapshot(_) => self.running(Pending::snapshot, |pending| pending.snapped(Stage::Done)),
            Effect::Capture(_) => {
                self.capture = Stage::Done;
                return CaptureAfterPanic::Lost;
            }
        }
        CaptureAfterPanic::Untouched
    }

    /// What decides for the Job has panicked, and not an effect.
    pub fn deciding_panicked(&mut self) {
        self.panics = self.panics.one_more();
    }

    /// Changes the clock of a Job without a ready pod, if that is under way which it is about: another clock may have begun.
    fn running(&mut self, stage: impl FnOnce(&Pending) -> Stage, change: impl FnOnce(&mut Pending)) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| stage(pending) == Stage::Running) {
            change(pending);
        }
    }

    /// Takes in what asking for a missing Job has shown. `again`: when to ask again, if that decides nothing.
    pub fn confirmed(&mut self, shown: Confirmation, now: Moment, again: Moment) {
        let forbidden_since = match shown {
            Confirmation::Forbidden => Some(self.forbidden_since.unwrap_or(now)),
            Confirmation::There | Confirmation::Unlabelled | Confirmation::Gone => None,
        };
        self.forbidden_since = forbidden_since;
        self.presence = match shown {
            Confirmation::There => Presence::Seen,
            Confirmation::Unlabelled => {
                // What takes the label away may do so again at once, and again.
                let pause = FIRST_PAUSE.saturating_mul(1 << self.relabelled.min(10)).min(LONGEST_PAUSE);
                self.relabelled = self.relabelled.saturating_add(1);
                self.confirm_at = now.after(pause);
                Presence::Unwatched
            }
            Confirmation::Gone => Presence::Gone,
            // A namespace takes its Jobs and the right to read them with it: what the watch said is all that will ever be said.
            Confirmation::Forbidden if forbidden_since.is_some_and(|since| since.after(PATIENCE) <= now) => {
                Presence::Gone
            }
            Confirmation::Forbidden => {
                self.confirm_at = again;
                Presence::Missing
            }
        };
        if self.presence == Presence::Gone {
            self.deleting_since.get_or_insert(now);
        }
    }

    /// Starts and stops the clock of a Job without a ready pod. `longest_grace`: the most that it may be stuck, if there is a bound.
    pub fn observe(&mut self, view: &JobView, longest_grace: Option<Duration>, now: Moment) {
        let missing = view.phase == Phase::Active && !view.deleting && view.readiness == Readiness::NotReady;
        let running = self.pending.filter(|pending| !pending.is_outdated(view.ended_pods));
        self.pending = missing.then(|| running.unwrap_or_else(|| Pending::since(now, view.ended_pods, longest_grace)));
    }
}

/// Whether the Job is there. The watch alone cannot say: a Job that lost its label looks deleted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// It is listed or watched.
    #[default]
    Seen,
    /// It is there, but not in the watch: its label was taken away, and is put back. It is looked at now and then.
    Unwatched,
    /// The watch says that it is gone.
    Missing,
    /// A GET is under way.
    Confirming,
    /// A GET has found nothing, or another Job of that name.
    Gone,
}

/// What asking for a missing Job has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// It is there, and the watch shows it.
    There,
    /// It is there, without the label that the watch selects by. The label is put back, if that is possible.
    Unlabelled,
    /// It is not, or is another one of that name.
    Gone,
    /// The API server does not let this worker know.
    Forbidden,
}

/// Whether whoever waits for the Job still does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenState {
    /// As far as is known.
    #[default]
    Alive,
    /// A heartbeat was told that it does not.
    Gone,
    /// An invocation of a function does, or has left its turn to the next attempt: until then the Job is nobody else's affair.
    Elsewhere {
        /// The end of its lease.
        until: Moment,
    },
}

/// How far one of the things to do is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Not begun.
    #[default]
    Open,
    /// Under way.
    Running,
    /// To be tried again then.
    Again(Moment),
    /// Done.
    Done,
}

impl Stage {
    pub(crate) fn is_due(self, now: Moment) -> bool {
        match self {
            Self::Open => true,
            Self::Again(when) => when <= now,
            Self::Running | Self::Done => false,
        }
    }
}
