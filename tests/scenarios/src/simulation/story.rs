//! A story: what happens, in which order, and what has to come of it.

use futures::future::BoxFuture;

use super::{functions::Sweeping, stage::Stage};

/// What a story does on its stage.
pub type Act = for<'s> fn(&'s Stage) -> BoxFuture<'s, ()>;

/// Whether what happens is any worker's business while none is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attendance {
    /// It is.
    Optional,
    /// It leaves no trace that the next worker could find, and the documentation says so.
    Needed,
}

/// A story.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// What it tells.
    pub name: &'static str,
    /// How many workers there are.
    pub replicas: usize,
    /// What they are told.
    pub flags: &'static [&'static str],
    /// Whether a worker may be missing.
    pub attendance: Attendance,
    /// When the function sweeps.
    pub sweeping: Sweeping,
    /// Every how many of its requests meet faults: 1 but for a story that does the same for many tasks.
    pub stride: usize,
    /// What happens.
    pub act: Act,
}

impl Story {
    /// A story with one worker.
    pub const fn new(name: &'static str, act: Act) -> Self {
        let (attendance, sweeping) = (Attendance::Optional, Sweeping::Never);
        Self { name, replicas: 1, flags: &[], attendance, sweeping, stride: 1, act }
    }

    /// The same, and a worker has to be there.
    #[must_use]
    pub const fn attended(self) -> Self {
        Self { attendance: Attendance::Needed, ..self }
    }

    /// The same with workers that are told this besides.
    #[must_use]
    pub const fn told(self, flags: &'static [&'static str]) -> Self {
        Self { flags, ..self }
    }

    /// The same without a worker: the function sweeps instead.
    #[must_use]
    pub const fn swept(self, sweeping: Sweeping) -> Self {
        Self { replicas: 0, sweeping, ..self }
    }

    /// The same, and only every so many of its requests meet faults.
    #[must_use]
    pub const fn disturbed_every(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with so many workers.
    #[must_use]
    pub const fn with_replicas(self, replicas: usize) -> Self {
        Self { replicas, ..self }
    }
}
