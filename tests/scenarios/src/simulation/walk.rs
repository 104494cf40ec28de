//! A walk at random: many tasks of all kinds, workers that come and go, faults, jumps of the clock. Its seed says all of it.
//!
//! A walk is made of episodes, each in a world of its own, at whose end everything has to come to rest within the rules.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use runjob_sandbox::{
    kube::Propagation,
    memory::{Line, Service, Traffic, simulate},
    sfn::BareTask,
};
use serde_json::json;
use tokio::time::sleep;

use super::{
    bug::{Bug, Buggy},
    expected::{Ending, Expected},
    logbook::Logbook,
    mishap::Mishap,
    run::until_rest,
    stage::{Disturbance, Setting, Stage},
    verdict::judge,
    weather::{Aim, Weather},
};
use crate::jobs::{JobRequest, a_job};

/// The actions of an episode.
const ACTS: usize = 40;
/// `HeartbeatSeconds`: workers may die one after the other.
const HEARTBEAT: Duration = Duration::from_mins(5);
/// The longest that a line is held.
const LONGEST_PAUSE: u64 = 40;
/// How long after a mishap something of it may still arrive.
const LATEST_ARRIVAL: Duration = Duration::from_secs(25);

/// What came of an episode.
#[derive(Debug, Clone)]
pub struct Episode {
    /// It can be played again from this.
    pub seed: u64,
    /// How many actions and requests it had. Those that keep the Lease are not counted: they come by themselves.
    pub steps: usize,
    /// What was done, and when.
    pub acts: Vec<String>,
    /// What must not be, and is.
    pub violations: Vec<String>,
    /// All requests.
    pub journal: Vec<Line>,
    /// What the workers have logged.
    pub log: String,
}

/// Plays an episode, with workers that have a bug if one is named.
pub fn episode(seed: u64, bug: Option<Bug>) -> anyhow::Result<Episode> {
    let (log, _writing) = Logbook::open();
    simulate(seed, async || {
        let mut random = Rng::with_seed(seed);
        let weather = Arc::new(Weather::default());
        let replicas = random.usize(1..=3);
        let setting = Setting { replicas, heartbeat: HEARTBEAT, ..Setting::new(seed) };
        let traffic: Arc<dyn Traffic> = match bug {
            None => weather.clone(),
            Some(bug) => Arc::new(Buggy::new(bug, weather.clone())),
        };
        let stage = Stage::set(setting, traffic)?;
        let mut walk = Walk { stage: &stage, weather: &weather, random, replicas, tasks: Vec::new(), acts: Vec::new() };
        for _ in 0..ACTS {
            walk.act();
            sleep(walk.pause()).await;
        }
        let acts = walk.acts;
        weather.clear();
        (0..replicas).filter_map(|place| stage.replica(place)).for_each(|replica| replica.link.pause(false));
        until_rest(&stage, LATEST_ARRIVAL).await;
        let log = log.text();
        let violations = judge(&stage, &log);
        let journal = stage.journal().all();
        let steps = acts.len() + journal.iter().filter(|line| !is_of_lease(line)).count();
        Ok(Episode { seed, steps, acts, violations, journal, log })
    })?
}

/// Whether a request only keeps the Lease, or looks at it.
pub fn is_of_lease(line: &Line) -> bool {
    line.service == Service::Kubernetes && line.kind.ends_with(" leases")
}

struct Walk<'w> {
    stage: &'w Stage,
    weather: &'w Weather,
    random: Rng,
    replicas: usize,
    tasks: Vec<BareTask>,
    acts: Vec<String>,
}

impl Walk<'_> {
    fn act(&mut self) {
        let what = match self.random.u32(0..100) {
            0..34 => self.give_task(),
            34..44 => self.stop_task(),
            44..48 => self.delete_job(),
            48..53 => self.crash(),
            53..57 => self.drain(),
            57..62 => self.hold_line(),
            62..66 => {
                self.stage.kubernetes().cut_watches();
                self.stage.note(Disturbance::Hindered);
                "every watch is cut".to_owned()
            }
            66..68 => {
                self.stage.kubernetes().forget_history();
                self.stage.note(Disturbance::Hindered);
                "the API server forgets its past".to_owned()
            }
            68..95 => self.plan_mishap(),
            _ => "nothing".to_owned(),
        };
        self.acts.push(format!("{:>10.3} {what}", self.stage.journal().elapsed().as_secs_f64()));
    }

    /// How long until the next action: mostly next to nothing, sometimes a long time.
    fn pause(&mut self) -> Duration {
        match self.random.u32(0..10) {
            0..2 => Duration::ZERO,
            2..5 => Duration::from_millis(self.random.u64(1..10)),
            5..7 => Duration::from_millis(self.random.u64(10..2000)),
            7..9 => Duration::from_secs(self.random.u64(2..12)),
            _ => Duration::from_secs(self.random.u64(12..90)),
        }
    }

    fn give_task(&mut self) -> String {
        let number = self.tasks.len();
        let name = format!("t{number}");
        let seconds = self.random.u32(0..40);
        let kind = self.random.u32(0..12);
        let (what, input, mut expected) = match kind {
            0 | 1 => succeeding("a Job", &a_job(&name, &format!("echo begun; sleep {seconds}; echo done"))),
            2 => failing("a failing Job", &a_job(&name, &format!("echo begun; sleep {seconds}; exit 3"))),
            3 => failing(
                "a failing Job with OnFailure",
                &a_job(&name, "echo last-words; sleep 2; exit 1")
                    .with("/Job/spec/backoffLimit", 1)
                    .with("/Job/spec/template/spec/restartPolicy", "OnFailure"),
            ),
            4 => succeeding(
                "a Job that is kept for no time",
                &a_job(&name, &format!("echo here; sleep {seconds}")).with("/Job/spec/ttlSecondsAfterFinished", 0),
            ),
            5 => succeeding(
                "a Job that has to be tried twice",
                &a_job(&name, "echo trying; sleep 1; lucky 2").with("/Job/spec/backoffLimit", 2),
            ),
            6 => succeeding("a start", &a_job(&name, "sleep 30").with("/Action", "runJob")),
            7 => succeeding("a Job that stays", &a_job(&name, "echo begun; sleep 60").with("/OnTaskGone", "detach")),
            8 | 9 => {
                let key = self.random.u32(0..2);
                let job = a_job(&format!("k{key}"), "echo begun; sleep 20; lucky 2; echo done")
                    .with("/IdempotencyKey", format!("key {key}"));
                let (what, input, expected) = failing("an attempt of a key", &job);
                (what, input, expected.either(Ending::Succeeds).either(Ending::Fails("RunJob.IdempotencyConflict")))
            }
            10 => {
                let (what, input, expected) =
                    succeeding("a name that may be taken", &a_job("n", "echo begun; sleep 15"));
                (what, input, expected.either(Ending::Fails("EKS.409")))
            }
            _ => {
                let input = json!({"Action": "call", "Method": "GET", "Path": "/api/v1/namespaces/default"});
                ("a call", input.to_string(), Expected::succeeds())
            }
        };
        expected = expected.either(Ending::Aborted).either(Ending::Fails("Job.Deleted"));
        self.tasks.push(self.stage.task(&input, None, expected));
        format!("task {number}: {what}")
    }

    fn stop_task(&mut self) -> String {
        let open: Vec<usize> = (0..self.tasks.len())
            .filter(|number| self.tasks.get(*number).is_some_and(|task| task.outcome().is_none()))
            .collect();
        let Some(number) = self.random.choice(open) else { return "nothing".to_owned() };
        if let Some(task) = self.tasks.get(number) {
            task.abort();
        }
        format!("task {number} is stopped")
    }

    fn delete_job(&mut self) -> String {
        let jobs = self.stage.jobs();
        let Some(job) = self.random.choice(jobs) else { return "nothing".to_owned() };
        let name = super::witness::text(&job, "/metadata/name");
        let propagation = if self.random.bool() { Propagation::Background } else { Propagation::Foreground };
        self.stage.delete_job(&name, propagation);
        format!("somebody deletes the Job {name} ({propagation:?})")
    }

    fn crash(&mut self) -> String {
        let place = self.random.usize(0..self.replicas);
        self.stage.crash(place);
        format!("worker {place} dies")
    }

    fn drain(&mut self) -> String {
        let place = self.random.usize(0..self.replicas);
        self.stage.drain(place);
        format!("worker {place} is told to end")
    }

    fn hold_line(&mut self) -> String {
        let (place, seconds) = (self.random.usize(0..self.replicas), self.random.u64(1..LONGEST_PAUSE));
        if let Some(replica) = self.stage.replica(place) {
            self.stage.note(Disturbance::Hindered);
            replica.link.pause(true);
            tokio::spawn(async move {
                sleep(Duration::from_secs(seconds)).await;
                replica.link.pause(false);
            });
        }
        format!("the line of worker {place} is held for {seconds} s")
    }

    fn plan_mishap(&mut self) -> String {
        let aim = if self.random.u32(0..6) == 0 { Aim::Lease } else { Aim::Work };
        let before = self.random.usize(0..6);
        let crashes = self.random.u32(0..3) == 0;
        let mishap = if crashes { self.random.choice(Mishap::CRASHES) } else { self.random.choice(Mishap::FAULTS) };
        let mishap = mishap.unwrap_or(Mishap::Refuse);
        self.weather.plan(aim, before, mishap);
        format!("after {before} requests of sort {aim:?} the next meets {mishap:?}")
    }
}

fn succeeding(what: &'static str, job: &JobRequest) -> (&'static str, String, Expected) {
    (what, job.input(), Expected::succeeds())
}

fn failing(what: &'static str, job: &JobRequest) -> (&'static str, String, Expected) {
    (what, job.input(), Expected::fails("Job.BackoffLimitExceeded"))
}
