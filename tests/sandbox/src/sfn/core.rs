//! The state of the service, behind one lock that is never held across a wait.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{broadcast, watch};

use super::{
    activity::Activity,
    clock::Clock,
    config::Config,
    execution::Running,
    failure::StateError,
    history::ExecutionEvent,
    machine::Machine,
    tasks::Task,
    token::{Mint, TaskId},
};
use crate::lambda::Lambda;

/// Events that a follower may fall behind before it misses some. A demonstration has a few dozen.
const FEED_CAPACITY: usize = 4096;

pub(super) struct Core {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) mint: Mint,
    pub(super) lambda: Arc<Lambda>,
    pub(super) feed: broadcast::Sender<ExecutionEvent>,
    /// `true` from the moment on at which polls are answered empty.
    pub(super) polls_released: watch::Sender<bool>,
    state: Mutex<State>,
}

/// Everything by ARN, or by number in the order of making.
#[derive(Default)]
pub(super) struct State {
    pub(super) activities: BTreeMap<String, Activity>,
    pub(super) machines: BTreeMap<String, Arc<Machine>>,
    pub(super) executions: BTreeMap<String, Running>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) polls: u64,
    /// How many tasks have got a number so far.
    pub(super) numbered: u64,
}

/// Why an execution does not go on.
#[derive(Debug, Clone)]
pub(super) enum Halt {
    /// The state failed.
    Failed(StateError),
    /// The execution has ended meanwhile, which someone else has recorded.
    Ended,
}

impl From<StateError> for Halt {
    fn from(error: StateError) -> Self {
        Self::Failed(error)
    }
}

impl Core {
    pub(super) fn new(config: Config) -> Self {
        Self {
            clock: Clock::starting_at(config.start),
            mint: Mint::new(config.seed),
            lambda: Lambda::new(&config.account, &config.region, config.seed),
            config,
            feed: broadcast::channel(FEED_CAPACITY).0,
            polls_released: watch::channel(false).0,
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}
