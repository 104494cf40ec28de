//! `/live` calls no worker stuck that is at rest, or that the world around it does not answer.

use std::{sync::Arc, time::Duration};

use runjob::liveness::Stuck;
use runjob_sandbox::memory::{Fate, Memory, Outbound, Traffic, Undisturbed, simulate};
use tokio::time::sleep;

use crate::config;

/// The loops that are called stuck at some time in these hours.
fn stuck(hours: u32, traffic: Arc<dyn Traffic>) -> Vec<Stuck> {
    simulate(1, async || {
        let memory = Memory::start(config(1)).unwrap();
        let settings = memory.settings(&["--pollers", "2", "--namespace", "default,other"]).unwrap();
        let worker = memory.worker("w", settings, traffic);
        let mut stuck = Vec::new();
        for _ in 0..hours * 60 {
            sleep(Duration::from_mins(1)).await;
            stuck.extend(worker.liveness().stuck());
        }
        stuck
    })
    .unwrap()
}

/// Nothing is answered.
struct Silence;

impl Traffic for Silence {
    fn fate(&self, _: &Outbound<'_>) -> Fate {
        Fate::Delay(Duration::from_hours(100))
    }
}

#[test]
fn a_worker_at_rest_gives_signs_of_life() {
    assert_eq!(stuck(1, Arc::new(Undisturbed)), []);
}

#[test]
fn a_worker_that_gets_no_answer_is_not_stuck() {
    assert_eq!(stuck(1, Arc::new(Silence)), []);
}
