//! One Job, some of whose requests meet a fate.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use runjob_sandbox::{
    kube::Kubernetes,
    memory::{Fate, Line, Memory, Outbound, Traffic, simulate},
    sfn::TaskOutcome,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{CLOCKS, config_of, input};

/// No task of a test takes so long.
const FOR_EVER: Duration = Duration::from_hours(24);

/// The next requests of these kinds meet these fates.
struct Planned(Mutex<Vec<(&'static str, Fate)>>);

impl Traffic for Planned {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        let mut planned = self.0.lock().unwrap();
        let next = planned.iter().position(|(kind, _)| *kind == request.kind);
        next.map_or(Fate::Pass, |at| planned.remove(at).1)
    }
}

/// How a task ended, and what there is ten minutes later.
pub(crate) struct Ending {
    pub(crate) outcome: TaskOutcome,
    pub(crate) job: Option<Value>,
    pub(crate) events: Vec<Value>,
    pub(crate) requests: Vec<Line>,
}

impl Ending {
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.requests.iter().filter(|line| line.kind == kind).count()
    }

    /// Whether an Event on the Job has this reason.
    pub(crate) fn tells(&self, reason: &str) -> bool {
        self.events.iter().any(|event| event.get("reason") == Some(&json!(reason)))
    }
}

/// Plays one Job of a few seconds.
pub(crate) fn play(fates: &[(&'static str, Fate)]) -> Ending {
    play_for(Duration::from_secs(5), fates)
}

/// Plays one Job that takes so long.
pub(crate) fn play_for(work: Duration, fates: &[(&'static str, Fate)]) -> Ending {
    play_while(work, fates, async |_| {})
}

/// The same while somebody else does that to the cluster.
pub(crate) fn play_while(work: Duration, fates: &[(&'static str, Fate)], act: impl AsyncFnOnce(&Kubernetes)) -> Ending {
    let traffic = Arc::new(Planned(Mutex::new(fates.to_vec())));
    simulate(1, async || {
        let memory = Memory::start(config_of(1, work)).unwrap();
        let settings = memory.settings(&["--pollers", "1"]).unwrap();
        let worker = memory.worker("w", settings, traffic);
        let task = memory.sfn.endpoint().bare_task("runjob", &input(), CLOCKS);
        let ended = timeout(FOR_EVER, task.finished());
        let (outcome, ()) = tokio::join!(ended, act(memory.kube.endpoint()));
        let outcome = outcome.unwrap();
        sleep(Duration::from_mins(10)).await;
        assert!(!worker.has_ended());
        assert_eq!(memory.sfn.endpoint().invariant_violations(), [""; 0]);
        let kube = memory.kube.endpoint();
        let (job, events) = (kube.get("jobs", "default", "x"), kube.list("events", None));
        Ending { outcome, job, events, requests: memory.journal().all() }
    })
    .unwrap()
}

pub(crate) fn is_settled(job: Option<&Value>) -> bool {
    job.and_then(|job| job.pointer("/metadata/annotations/runjob~1settled")) == Some(&json!("true"))
}
