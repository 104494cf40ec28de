//! What requests, controllers and the node share.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use serde_json::json;
use tokio::{
    sync::{broadcast, watch},
    time::Instant,
};

use super::{
    clock::Clock,
    config::Config,
    create::{self, Run, Wish},
    logs::Logs,
    resources::Resource,
    store::{Change, State},
    watch::Gate,
};
use crate::reaper::Reaper;

/// How many changes a slow reader of the feed may lag behind.
const FEED: usize = 4096;

/// The cluster.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) logs: Logs,
    pub(crate) reaper: Reaper,
    /// Running process groups.
    pub(crate) running: AtomicUsize,
    /// Something happened: an object changed, a container printed, a process came or went.
    pub(crate) news: watch::Sender<()>,
    pub(crate) feed: broadcast::Sender<Change>,
    pub(crate) gate: watch::Sender<Gate>,
    state: Mutex<State>,
    final_events: Mutex<BTreeMap<String, Instant>>,
    directory: PathBuf,
    counter: AtomicU32,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        /// Tells the directories of several clusters in one process apart.
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let clock = Clock::new(config.start.unwrap_or_else(Timestamp::now));
        let news = watch::Sender::new(());
        let feed = broadcast::Sender::new(FEED);
        let mut state = State::new(clock.clone(), config.seed, config.history, feed.clone(), news.clone());
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let wish = Wish {
                resource: &Resource::namespaces(),
                version: "v1",
                namespace: None,
                object: json!({"metadata": {"name": name}}),
                manager: "kube-apiserver",
                run: Run::Real,
            };
            // Nothing is in the way of the first objects.
            let _ = create::create(&mut state, wish);
        }
        let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("runjob-sandbox-{}-{cluster}", std::process::id()));
        Arc::new(Self {
            clock,
            logs: Logs::default(),
            reaper: Reaper::new(directory.clone()),
            running: AtomicUsize::new(0),
            news,
            feed,
            gate: watch::Sender::new(Gate::default()),
            state: Mutex::new(state),
            final_events: Mutex::default(),
            directory,
            counter: AtomicU32::new(0),
            config,
        })
    }

    /// The objects. Never held over an `await`.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a watch first handed out a Job as finished, by the Job's uid.
    pub(crate) fn final_events(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        self.final_events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A directory for the next container. Nobody else uses its name.
    pub(crate) fn new_directory(&self) -> PathBuf {
        self.directory.join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// An address for the next pod. Nothing listens there.
    pub(crate) fn new_address(&self) -> String {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("10.244.{}.{}", (number >> 8) & 0xff, number & 0xff)
    }
}
