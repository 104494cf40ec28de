//! Where a story is played: both services in memory, workers that are started again when they end, and a witness.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use runjob::settings::Settings;
use runjob_sandbox::{
    kube::{self, Kubernetes, Propagation},
    memory::{Journal, Link, Memory, Traffic},
    sandbox::Config,
    sfn::{self, BareTask, Clocks, StepFunctions},
};
use serde_json::Value;
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    expected::Expected,
    functions::{self, Execution, Sweeping},
    program::programs,
    witness::{Witness, text},
};
use crate::jobs::JobRequest;

/// How long after its end a worker is started again.
const RESTART: Duration = Duration::from_secs(3);
/// How long a story waits for something to happen. After a mishap it may never.
const PATIENCE: Duration = Duration::from_mins(3);
/// The flags of every worker of a simulation. More polls, and a Lease that is renewed more often, would only cost time.
const FLAGS: [&str; 6] = ["--pollers", "1", "--lease-duration", "24s", "--reattach-grace", "40s"];
/// `HeartbeatSeconds` of a story: beyond the worst that a takeover costs (interval, lease, restart and 5 s), twice in a row.
const HEARTBEAT: Duration = Duration::from_secs(90);
/// The namespace of everything.
const NAMESPACE: &str = "default";

/// How a stage is set.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'s> {
    /// Names and tokens follow from it.
    pub seed: u64,
    /// How many workers there are.
    pub replicas: usize,
    /// What they are told besides the usual.
    pub flags: &'s [&'s str],
    /// `HeartbeatSeconds` of every task.
    pub heartbeat: Duration,
    /// When the function sweeps.
    pub sweeping: Sweeping,
}

impl Setting<'_> {
    /// With one worker.
    pub fn new(seed: u64) -> Self {
        Self { seed, replicas: 1, flags: &[], heartbeat: HEARTBEAT, sweeping: Sweeping::Never }
    }
}

/// What the story itself has done to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disturbance {
    /// One was killed, or could not go on.
    Crashed,
    /// One was told to end, so that for a while it was not there.
    Drained,
    /// Its line was held, its watches were cut, or the like.
    Hindered,
}

/// The stage. Its workers die with it.
pub struct Stage {
    pub(super) set: Arc<Set>,
    _crew: JoinSet<()>,
}

/// What is on the stage.
pub(super) struct Set {
    pub(super) memory: Memory,
    settings: Settings,
    pub(super) traffic: Arc<dyn Traffic>,
    /// The executions whose states invoke the function.
    pub(super) executions: Mutex<Vec<Execution>>,
    given: Mutex<Vec<Given>>,
    witness: Mutex<Witness>,
    /// The names of the Jobs that the story has deleted itself.
    deleted: Mutex<BTreeSet<String>>,
    replicas: Mutex<Vec<Option<Replica>>>,
    /// Those that are not started again.
    retired: Mutex<BTreeSet<usize>>,
    heartbeat: Duration,
    disturbances: Mutex<BTreeSet<Disturbance>>,
    /// Why workers ended that nobody had killed.
    failures: Mutex<Vec<String>>,
}

/// A task that a story has given, and what has to become of it.
#[derive(Clone)]
pub struct Given {
    /// The task.
    pub task: BareTask,
    /// What its worker gets.
    pub token: String,
    /// Its input, as far as it is JSON.
    pub request: Value,
    /// How it has to end.
    pub expected: Expected,
}

/// One of several workers, as it is now.
#[derive(Clone)]
pub struct Replica {
    /// Its line.
    pub link: Link,
    /// What asks it to drain.
    pub drain: CancellationToken,
}

impl Stage {
    /// Starts everything.
    pub fn set(setting: Setting<'_>, traffic: Arc<dyn Traffic>) -> anyhow::Result<Self> {
        let Setting { seed, replicas, flags, heartbeat, sweeping } = setting;
        let memory = Memory::start(Config {
            sfn: sfn::Config { seed, ..sfn::Config::default() },
            kube: kube::Config { seed, programs: programs(), ..kube::Config::default() },
        })?;
        let settings = memory.settings(&[&FLAGS, flags].concat())?;
        let set = Arc::new(Set {
            memory,
            settings,
            traffic,
            executions: Mutex::default(),
            given: Mutex::default(),
            witness: Mutex::default(),
            deleted: Mutex::default(),
            replicas: Mutex::new(vec![None; replicas]),
            retired: Mutex::default(),
            heartbeat,
            disturbances: Mutex::default(),
            failures: Mutex::default(),
        });
        let mut crew = JoinSet::new();
        functions::deploy(&set)?;
        crew.spawn(look_on(set.clone()));
        crew.spawn(functions::keep_sweeping(set.clone(), sweeping));
        for place in 0..replicas {
            crew.spawn(keep_running(set.clone(), place));
        }
        Ok(Self { set, _crew: crew })
    }

    /// Schedules a task that runs a Job.
    pub fn run(&self, job: &JobRequest, expected: Expected) -> BareTask {
        self.task(&job.input(), None, expected)
    }

    /// Schedules a task with any input, and with a `TimeoutSeconds` if there is one.
    pub fn task(&self, input: &str, timeout: Option<Duration>, expected: Expected) -> BareTask {
        let clocks = Clocks { timeout, heartbeat: Some(self.set.heartbeat) };
        let task = self.step_functions().bare_task(self.set.memory.activity(), input, clocks);
        let token = task.token().unwrap_or_default();
        let request = serde_json::from_str(input).unwrap_or_default();
        lock(&self.set.given).push(Given { task: task.clone(), token, request, expected });
        task
    }

    /// Deletes a Job as somebody else does.
    pub fn delete_job(&self, name: &str, propagation: Propagation) {
        lock(&self.set.deleted).insert(name.to_owned());
        // After a mishap it may not be there.
        let _ = self.kubernetes().delete("jobs", NAMESPACE, name, propagation);
    }

    /// Changes a Job as somebody else does.
    pub fn edit_job(&self, name: &str, change: impl FnOnce(&mut Value)) {
        // After a mishap it may not be there.
        let _ = self.kubernetes().edit("jobs", NAMESPACE, name, change);
    }

    /// Creates an object as somebody else does.
    pub fn create(&self, object: Value) {
        let _ = self.kubernetes().create(object);
    }

    /// Waits until the cluster is like that, or for three minutes.
    pub async fn until(&self, mut is_so: impl FnMut(&Kubernetes) -> bool) {
        let so = self.kubernetes().wait_for(|kubernetes| is_so(kubernetes).then_some(()));
        let _in_vain = timeout(PATIENCE, so).await;
    }

    /// Waits until a Job of that name has a ready pod.
    pub async fn until_running(&self, name: &str) {
        self.until(|kubernetes| {
            let job = kubernetes.get("jobs", NAMESPACE, name);
            job.is_some_and(|job| job.pointer("/status/ready").and_then(Value::as_u64) > Some(0))
        })
        .await;
    }

    /// Waits until a task is handed to a worker, or for three minutes.
    pub async fn until_handed_out(&self, task: &BareTask) {
        let _in_vain = timeout(PATIENCE, task.handed_out()).await;
    }

    /// Waits for the end of a task.
    pub async fn until_closed(&self, task: &BareTask) {
        task.finished().await;
    }

    /// Lets a moment pass: what was sent is still on its way.
    pub async fn moment(&self) {
        sleep(Duration::from_millis(1)).await;
    }

    /// Lets time pass.
    pub async fn seconds(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// Asks a worker to drain, as SIGTERM does. When it has ended, another is started in its place.
    pub fn drain(&self, place: usize) {
        let Some(Replica { link, drain }) = self.replica(place) else { return };
        self.note(Disturbance::Drained);
        drain.cancel();
        if self.set.traffic.gives_up_polls() {
            link.give_up_polls();
        }
    }

    /// Kills a worker. Another is started in its place.
    pub fn crash(&self, place: usize) {
        if let Some(replica) = self.replica(place) {
            self.note(Disturbance::Crashed);
            replica.link.crash();
        }
    }

    /// Kills a worker, and starts no other in its place.
    pub fn retire(&self, place: usize) {
        lock(&self.set.retired).insert(place);
        self.crash(place);
    }

    /// Notes what was done to a worker.
    pub fn note(&self, disturbance: Disturbance) {
        lock(&self.set.disturbances).insert(disturbance);
    }

    /// Why workers ended that nobody had killed.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.set.failures).clone()
    }

    /// Whether that was done to any.
    pub fn has_seen(&self, disturbance: Disturbance) -> bool {
        lock(&self.set.disturbances).contains(&disturbance)
    }

    /// A worker, if it runs right now.
    pub fn replica(&self, place: usize) -> Option<Replica> {
        lock(&self.set.replicas).get(place).cloned().flatten()
    }

    /// Kubernetes itself.
    pub fn kubernetes(&self) -> &Kubernetes {
        self.set.memory.kube.endpoint()
    }

    /// Step Functions itself.
    pub fn step_functions(&self) -> &StepFunctions {
        self.set.memory.sfn.endpoint()
    }

    /// Every request so far.
    pub fn journal(&self) -> &Journal {
        self.set.memory.journal()
    }

    /// Every task so far.
    pub fn given(&self) -> Vec<Given> {
        lock(&self.set.given).clone()
    }

    /// What the witness has seen so far.
    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        lock(&self.set.witness)
    }

    /// Whether the story has deleted the Job of that name itself.
    pub fn has_deleted(&self, name: &str) -> bool {
        lock(&self.set.deleted).contains(name)
    }

    /// All Jobs.
    pub fn jobs(&self) -> Vec<Value> {
        self.kubernetes().list("jobs", None)
    }

    /// Every execution so far whose state invokes the function.
    pub fn executions(&self) -> Vec<Execution> {
        lock(&self.set.executions).clone()
    }

    /// Whether nothing is left to do.
    pub fn is_quiet(&self) -> bool {
        self.set.is_quiet()
    }
}

impl Set {
    /// Whether somebody waits for the task of that token, or for what an invocation of that id is to deliver.
    fn is_open(&self, token: &str) -> bool {
        let is_given = |one: &Given| one.token == token && one.task.outcome().is_none();
        lock(&self.given).iter().any(is_given) || self.is_awaited(token)
    }

    /// Whether nothing is left to do: every task has ended, no Job is watched, and none is on its way out.
    pub(super) fn is_quiet(&self) -> bool {
        let open = |given: &Given| given.task.outcome().is_none();
        let jobs = self.memory.kube.endpoint().list("jobs", None);
        let busy = |job: &Value| {
            !text(job, "/metadata/labels/runjob~1group").is_empty()
                || job.pointer("/metadata/deletionTimestamp").is_some()
        };
        !lock(&self.given).iter().any(open) && self.executions_have_ended() && !jobs.iter().any(busy)
    }
}

/// Starts a worker again and again.
async fn keep_running(set: Arc<Set>, place: usize) {
    for life in 1_u32.. {
        let mut worker = set.memory.worker(&format!("w{place}.{life}"), set.settings.clone(), set.traffic.clone());
        let replica = Replica { link: worker.link().clone(), drain: worker.drain_switch() };
        if let Some(kept) = lock(&set.replicas).get_mut(place) {
            *kept = Some(replica);
        }
        // However it has ended: whoever runs it starts it again.
        if let Err(error) = worker.ended().await {
            lock(&set.disturbances).insert(Disturbance::Crashed);
            if !worker.link().has_crashed() {
                lock(&set.failures).push(format!("{error:#}"));
            }
        }
        if let Some(kept) = lock(&set.replicas).get_mut(place) {
            *kept = None;
        }
        drop(worker);
        if lock(&set.retired).contains(&place) {
            return;
        }
        sleep(RESTART).await;
    }
}

/// Shows every change to the witness.
async fn look_on(set: Arc<Set>) {
    let mut changes = set.memory.kube.endpoint().changes();
    loop {
        let change = match changes.recv().await {
            Ok(change) => change,
            Err(RecvError::Lagged(missed)) => {
                lock(&set.witness).violations.push(format!("the witness has missed {missed} changes"));
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let by_user = |name: &str| lock(&set.deleted).contains(name);
        lock(&set.witness).see(&change, |token| set.is_open(token), by_user);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
