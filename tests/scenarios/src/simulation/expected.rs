//! How a task has to end.

use runjob_sandbox::sfn::{Overdue, TaskOutcome};

/// One way to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an output.
    Succeeds,
    /// With an error of that name.
    Fails(&'static str),
    /// The story has stopped it.
    Aborted,
    /// Its `TimeoutSeconds` ran out.
    TimesOut,
}

impl Ending {
    /// Whether a task has ended so.
    pub fn is(self, outcome: &TaskOutcome) -> bool {
        match (self, outcome) {
            (Self::Succeeds, TaskOutcome::Succeeded(_))
            | (Self::Aborted, TaskOutcome::Aborted)
            | (Self::TimesOut, TaskOutcome::TimedOut(Overdue::Answer)) => true,
            (Self::Fails(name), TaskOutcome::Failed { error, .. }) => error.as_deref() == Some(name),
            _ => false,
        }
    }
}

/// How a task has to end, and how it may end instead when something goes wrong.
#[derive(Debug, Clone)]
pub struct Expected {
    /// If nothing goes wrong.
    pub undisturbed: Vec<Ending>,
    /// What else may come of mishaps: that others were lost, or came in another order.
    pub otherwise: Vec<Ending>,
}

impl From<Ending> for Expected {
    fn from(ending: Ending) -> Self {
        Self { undisturbed: vec![ending], otherwise: Vec::new() }
    }
}

impl Expected {
    /// It succeeds.
    pub fn succeeds() -> Self {
        Ending::Succeeds.into()
    }

    /// It fails with this error.
    pub fn fails(error: &'static str) -> Self {
        Ending::Fails(error).into()
    }

    /// The story stops it.
    pub fn aborted() -> Self {
        Ending::Aborted.into()
    }

    /// Which of these it is does not follow from the story.
    #[must_use]
    pub fn either(mut self, ending: Ending) -> Self {
        self.undisturbed.push(ending);
        self
    }

    /// A mishap may let it end in this way as well.
    #[must_use]
    pub fn or(mut self, ending: Ending) -> Self {
        self.otherwise.push(ending);
        self
    }
}
