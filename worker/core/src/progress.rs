//! What was done for a Job so far, and what became known beside the Job itself.

use std::time::Duration;

use crate::{
    job::{JobView, Phase, Readiness},
    lifecycle::Verdict,
    pending::Pending,
};

/// A moment, as the time since some fixed start. The shell decides which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub Duration);

/// What was done for a Job so far, and what became known beside the Job itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Whether the Job is there.
    pub presence: Presence,
    /// Whether the task still waits.
    pub token: TokenState,
    /// The pods and their logs.
    pub capture: Stage,
    /// The reply to Step Functions.
    pub reply: Stage,
    /// The patch that takes the Job out of the watch.
    pub settle: Stage,
    /// The deletion of a Job that nobody waits for.
    pub deletion: Stage,
    /// Until when the Job is kept, once its task is gone: one with a key for the next attempt.
    pub kept_until: Moment,
    /// When the Job was first seen with a `deletionTimestamp`.
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
    /// Something that was under way has panicked. Whatever is under way is to be begun again then.
    pub fn panicked(&mut self, now: Moment, again: Moment) -> CaptureAfterPanic {
        self.panics = self.panics.one_more();
        for stage in [&mut self.reply, &mut self.settle, &mut self.deletion] {
            if *stage == Stage::Running {
                *stage = Stage::Again(again);
            }
        }
        if self.presence == Presence::Confirming {
            self.presence = Presence::Missing;
        }
        if let Some(pending) = &mut self.pending {
            if pending.look() == Stage::Running {
                pending.not_seen(now);
            }
            if pending.snapshot() == Stage::Running {
                pending.snapped(Stage::Done);
            }
        }
        if self.capture != Stage::Running {
            return CaptureAfterPanic::Untouched;
        }
        self.capture = Stage::Done;
        CaptureAfterPanic::Lost
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
    /// The watch says that it is gone.
    Missing,
    /// A GET is under way.
    Confirming,
    /// A GET has found nothing, or another Job of that name.
    Gone,
}

/// Whether the task still waits for the Job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenState {
    /// As far as is known.
    #[default]
    Alive,
    /// A heartbeat was told that it does not.
    Gone,
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
