//! The code and the configuration of a function that runs as a process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// What Lambda gives a function that says nothing of it.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The same, in MB.
const MEMORY: u32 = 128;

/// A binary that speaks the Runtime API, and how it is run.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub(super) program: PathBuf,
    pub(super) timeout: Duration,
    pub(super) memory: u32,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) between: Between,
}

/// What becomes of a process between two invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Between {
    /// It is frozen, as AWS does it: stopped by SIGSTOP once it asks for the next invocation, continued by SIGCONT when that is there.
    #[default]
    Frozen,
    /// It runs on.
    Runs,
}

impl Bootstrap {
    /// This program: 3 seconds, 128 MB, no environment of its own, frozen between invocations.
    pub fn at(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            timeout: TIMEOUT,
            memory: MEMORY,
            environment: BTreeMap::new(),
            between: Between::default(),
        }
    }

    /// Another time-out.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Another memory size, in MB. It is told to the function, and not enforced.
    #[must_use]
    pub fn memory(mut self, memory: u32) -> Self {
        self.memory = memory;
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(self, key: &str, value: &str) -> Self {
        self.envs([(key, value)])
    }

    /// More variables of its environment.
    #[must_use]
    pub fn envs<K: Into<String>, V: Into<String>>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self {
        self.environment.extend(variables.into_iter().map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// What becomes of its processes between invocations.
    #[must_use]
    pub fn between_invocations(mut self, between: Between) -> Self {
        self.between = between;
        self
    }
}
