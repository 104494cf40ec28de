//! Who waits for a Job: a task that is answered with its token, or an invocation of a Lambda function, which answers by itself.

use jiff::Timestamp;

use crate::{arn::Source, token::TaskToken};

/// Whoever waits for a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiter {
    /// A task. Whoever acts for the group keeps it alive and answers it.
    Task {
        /// The token that answers it.
        token: TaskToken,
        /// Where the token came from.
        source: Source,
    },
    /// An invocation of a Lambda function. Nobody else answers for it; when its time is over, and no other has attached, nobody
    /// waits for the Job any more.
    Invocation {
        /// Which one.
        id: InvocationId,
        /// Until when it, or the next attempt after it, may be expected to care for the Job.
        until: Timestamp,
    },
    /// Nobody: the Job is started, and that was all.
    Nobody,
}

impl Waiter {
    /// The token and its source, if it is a task.
    pub fn task(&self) -> Option<(&TaskToken, &Source)> {
        match self {
            Self::Task { token, source } => Some((token, source)),
            Self::Invocation { .. } | Self::Nobody => None,
        }
    }

    /// Whether it is that invocation.
    pub fn is_invocation(&self, invocation: &InvocationId) -> bool {
        matches!(self, Self::Invocation { id, .. } if id == invocation)
    }
}

/// The longest id that is taken: those of AWS are UUIDs of 36 characters.
const MAX_ID: usize = 128;

/// The id of an invocation, as Lambda gives it and as its logs show it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvocationId(String);

impl InvocationId {
    /// Takes an id. `None`: it is empty or too long.
    pub fn new(text: &str) -> Option<Self> {
        (1..=MAX_ID).contains(&text.chars().count()).then(|| Self(text.to_owned()))
    }

    /// The id itself. It is no secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
