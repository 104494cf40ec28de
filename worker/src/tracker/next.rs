//! What comes next for a Job: what the core says, within what this worker may do now.
//!
//! No I/O and no clock. [`Entry::next`] is asked again after whatever it has said to begin, until it says to rest: an entry rests only
//! because the core waits for an event or a moment, or because another worker acts.

use std::time::Duration;

use runjob_core::{
    lease::Role,
    lifecycle::{Decision, Effect},
    progress::{Moment, Presence, Stage, TokenState},
};

use super::{effects::Memory, table::Entry};

/// For so many durations of a Lease a worker that does not act keeps a Job that left the watch: one until it takes over from
/// another that died right then, and one to spare.
const KEPT_LEASES: u32 = 2;

/// What holds for all Jobs at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions {
    pub(super) now: Moment,
    pub(super) role: Role,
    /// Until when no Job is deleted because its task is gone.
    pub(super) deletions_stopped: Option<Moment>,
    pub(super) memory: Memory,
    pub(super) lease_duration: Duration,
}

/// What comes next for a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Begin this, and ask again: something else may be due beside it.
    Begin(Effect),
    /// Ask whether its task is really gone, and then ask again: until that is known it counts as alive.
    AskForTask,
    /// Nothing until the next event, or until that moment.
    Rest(Option<Moment>),
    /// Something is due that another worker does. Nothing until the role changes, the next event, or that moment.
    HeldBack(Option<Moment>),
    /// Drop the entry.
    Forget,
}

/// Whether it is doubted that the task of a Job is gone, since too many others were gone at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Doubt {
    #[default]
    None,
    /// Its Job stays until deletions are possible again, and the task is asked for then.
    Doubted,
    /// The Job has ended meanwhile, and its task was answered as if it were alive, which does no harm if it is not.
    Answered,
}

impl Entry {
    pub(super) fn next(&mut self, conditions: &Conditions) -> Next {
        let Conditions { now, role, .. } = *conditions;
        loop {
            let effect = match self.decide(now) {
                Decision::Wait(when) => return Next::Rest(when),
                Decision::Forget => return Next::Forget,
                Decision::Do(effect) => effect,
            };
            // What no watch has shown, no other worker may know of.
            if !role.allows(&effect, now) && !self.is_unseen {
                return self.held_back(conditions);
            }
            // Whatever ends a task that was not answered takes it from whoever may wait for it.
            let ends_a_task = matches!(effect, Effect::Delete | Effect::Settle)
                && self.progress.reply != Stage::Done
                && self.stamp.waiter.task().is_some();
            if !ends_a_task {
                return Next::Begin(effect);
            }
            match (conditions.deletions_stopped, conditions.memory) {
                // An earlier process has doubted it, and it was asked for again now.
                (Some(_), Memory::OfJob) if self.was_kept() => return Next::Begin(effect),
                (Some(until), Memory::OfJob) => self.keep_until(until),
                (Some(until), Memory::OfProcess) => match self.doubt {
                    Doubt::None | Doubt::Doubted if self.view.phase.is_final() => {
                        self.doubt = Doubt::Answered;
                        self.progress.token = TokenState::Alive;
                    }
                    Doubt::None => {
                        self.doubt = Doubt::Doubted;
                        return Next::Rest(Some(until));
                    }
                    Doubt::Doubted | Doubt::Answered => return Next::Rest(Some(until)),
                },
                (None, _) if self.doubt != Doubt::None => {
                    self.doubt = Doubt::None;
                    self.progress.token = TokenState::Alive;
                    return Next::AskForTask;
                }
                (None, _) => return Next::Begin(effect),
            }
        }
    }

    /// Another worker acts, as a rule. What is due here is begun if this one takes over.
    fn held_back(&mut self, conditions: &Conditions) -> Next {
        let is_missing = matches!(self.progress.presence, Presence::Missing | Presence::Gone);
        if !is_missing || conditions.role != Role::Following {
            return Next::HeldBack(None);
        }
        // The worker that acts has seen it go as well, and has had its time to find out why.
        let now = conditions.now;
        let forgotten_at = self.missing_since(now).after(conditions.lease_duration.saturating_mul(KEPT_LEASES));
        if forgotten_at <= now { Next::Forget } else { Next::HeldBack(Some(forgotten_at)) }
    }
}

#[cfg(test)]
mod tests;
