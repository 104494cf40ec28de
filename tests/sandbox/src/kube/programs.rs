//! What a container runs: a local process, or a script on tokio's clock.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

/// The script of each container; `None` is an image that cannot be pulled.
pub type Scripts = Arc<dyn Fn(&Container) -> Option<Script> + Send + Sync>;

/// How containers run.
#[derive(Clone, Default)]
pub enum Programs {
    /// `command` and `args` as local processes, each in an empty directory of its own. Needs the real clock.
    ///
    /// Two differences to a real container: there are no volumes and no image's files, and a first process without
    /// a handler dies of TERM, which the kernel keeps from the first process of a container.
    #[default]
    Local,
    /// Scripts, chosen by a function. Works on the paused clock.
    Scripted(Scripts),
}

impl Programs {
    /// Scripted containers.
    pub fn scripted(script: impl Fn(&Container) -> Option<Script> + Send + Sync + 'static) -> Self {
        Self::Scripted(Arc::new(script))
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Local => "Local",
            Self::Scripted(_) => "Scripted",
        })
    }
}

/// A container that is about to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The namespace of its pod.
    pub namespace: String,
    /// The name of its pod.
    pub pod: String,
    /// The name of the Job that the pod belongs to; empty for a pod without one.
    pub job: String,
    /// Its own name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `command`, with `$(NAME)` resolved.
    pub command: Vec<String>,
    /// `args`, with `$(NAME)` resolved.
    pub args: Vec<String>,
    /// Its environment, resolved.
    pub env: Vec<(String, String)>,
    /// How often it ran before in this pod.
    pub restarts: u32,
}

/// What a scripted container does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    steps: Vec<Step>,
    on_term: OnTerm,
}

/// One step of a script. After the last one the container exits with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It prints these bytes.
    Print(Bytes),
    /// Time passes.
    After(Duration),
    /// It goes on until it is killed.
    Forever,
    /// It exits.
    Exit(i32),
    /// It ends for a reason of its own, such as `OOMKilled`.
    Die {
        /// The exit code.
        code: i32,
        /// The reason in the container's status.
        reason: String,
    },
}

/// What a scripted container does when it receives TERM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OnTerm {
    /// It ends at once, as a process without a handler does.
    #[default]
    Die,
    /// It goes on as if nothing had happened, until KILL.
    Ignore,
    /// It does this instead of its remaining steps.
    Run(Vec<Step>),
}

impl Script {
    /// A script without a handler for TERM.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), on_term: OnTerm::Die }
    }

    /// The same script with a handler for TERM.
    #[must_use]
    pub fn on_term(self, on_term: OnTerm) -> Self {
        Self { on_term, ..self }
    }

    pub(crate) fn into_parts(self) -> (Vec<Step>, OnTerm) {
        (self.steps, self.on_term)
    }
}

impl Step {
    /// It prints `text`, exactly.
    pub fn print(text: impl Into<Bytes>) -> Self {
        Self::Print(text.into())
    }

    /// So many seconds pass.
    pub const fn seconds(seconds: u64) -> Self {
        Self::After(Duration::from_secs(seconds))
    }
}
