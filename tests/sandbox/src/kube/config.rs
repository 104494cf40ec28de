//! How the sandbox's Kubernetes behaves.

use std::time::Duration;

use super::programs::Programs;

/// The settings of a [`super::Kubernetes`]. The default has the times of a real cluster.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where uids and name suffixes come from: the same seed and the same requests make the same names.
    pub seed: u64,
    /// The time of day at the start. `None` is the real one.
    pub start: Option<jiff::Timestamp>,
    /// What containers run.
    pub programs: Programs,
    /// The pause before a Job's failed pod is replaced; it doubles with every failure, up to ten minutes.
    pub retry_backoff: Duration,
    /// The pause before a container's second restart (the first comes at once); it doubles, up to five minutes.
    pub container_restart_backoff: Duration,
    /// The pause between attempts to pull an image that cannot be pulled; it doubles, up to five minutes.
    pub image_pull_backoff: Duration,
    /// From the moment a pod has a node until its first container starts.
    pub pod_startup: Duration,
    /// From the end of a pod's last container until its phase says so, or until it is gone if it was deleted.
    pub phase_lag: Duration,
    /// How long the Job controller gathers the changes of pods before it looks at their Job.
    pub job_sync_batch: Duration,
    /// The time between two bookmarks of a watch.
    pub bookmark_interval: Duration,
    /// How many changes are kept for watches; one that asks for older ones gets a 410.
    pub history: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            start: None,
            programs: Programs::Local,
            retry_backoff: Duration::from_secs(10),
            container_restart_backoff: Duration::from_secs(10),
            image_pull_backoff: Duration::from_secs(10),
            pod_startup: Duration::from_secs(1),
            phase_lag: Duration::from_millis(1500),
            job_sync_batch: Duration::from_secs(1),
            bookmark_interval: Duration::from_mins(1),
            history: 10_000,
        }
    }
}

impl Config {
    /// Short pauses, for tests that run real processes.
    pub fn quick() -> Self {
        let short = Duration::from_millis(50);
        Self {
            retry_backoff: short,
            container_restart_backoff: short,
            image_pull_backoff: short,
            pod_startup: Duration::ZERO,
            phase_lag: Duration::ZERO,
            job_sync_batch: Duration::ZERO,
            ..Self::default()
        }
    }
}
