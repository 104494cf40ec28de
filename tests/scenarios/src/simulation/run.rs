//! One run of a story.

use std::{sync::Arc, time::Duration};

use runjob_sandbox::memory::{Line, Traffic, simulate};
use tokio::time::sleep;

use super::{
    bug::{Bug, Buggy},
    logbook::Logbook,
    mishap::Mishaps,
    stage::{Setting, Stage},
    story::Story,
    verdict::judge,
};

/// How often it is looked whether everything has come to rest.
const LOOK: Duration = Duration::from_secs(2);
/// How long a run may take to come to rest: the longest patience of the worker, and a deletion that is tried again.
const LIMIT: Duration = Duration::from_hours(1);
/// How long it goes on after that: long enough for whatever follows by itself, and to see whether it stays at rest.
const AFTERWARDS: Duration = Duration::from_secs(8);
/// Names and tokens of a run.
const SEED: u64 = 1;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Played {
    /// What must not be, and is.
    pub violations: Vec<String>,
    /// How many requests there were until everything had come to rest.
    pub requests: usize,
    /// All requests.
    pub journal: Vec<Line>,
    /// What the workers have logged.
    pub log: String,
}

/// Plays a story, with these mishaps.
pub fn play(story: &Story, mishaps: &Mishaps) -> anyhow::Result<Played> {
    play_with(story, mishaps, Arc::new(mishaps.clone()))
}

/// Plays it with workers that have a bug.
pub fn play_buggy(story: &Story, mishaps: &Mishaps, bug: Bug) -> anyhow::Result<Played> {
    play_with(story, mishaps, Arc::new(Buggy::new(bug, Arc::new(mishaps.clone()))))
}

fn play_with(story: &Story, mishaps: &Mishaps, traffic: Arc<dyn Traffic>) -> anyhow::Result<Played> {
    let (log, _writing) = Logbook::open();
    simulate(SEED, async || {
        let Story { replicas, flags, sweeping, .. } = *story;
        let stage = Stage::set(Setting { replicas, flags, sweeping, ..Setting::new(SEED) }, traffic)?;
        (story.act)(&stage).await;
        let requests = until_rest(&stage, mishaps.latest_arrival()).await;
        let log = log.text();
        let violations = judge(&stage, &log);
        Ok(Played { violations, requests, journal: stage.journal().all(), log })
    })?
}

/// Waits until everything has come to rest, and stays so; what may still arrive then has arrived. Gives the number of requests until
/// then.
pub async fn until_rest(stage: &Stage, latest_arrival: Duration) -> usize {
    let end = stage.journal().elapsed() + LIMIT;
    loop {
        while !stage.is_quiet() && stage.journal().elapsed() < end {
            sleep(LOOK).await;
        }
        let requests = stage.journal().len();
        sleep(AFTERWARDS + latest_arrival).await;
        if stage.is_quiet() || stage.journal().elapsed() >= end {
            return requests;
        }
    }
}
