//! The Job controller: looks at a Job when there is reason to, and does what [`super::job_status`] decides.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::{
    collector::drop_finalizer,
    create::{self, Run, Wish},
    delete::{self, Options, Propagation},
    events::{self, Note},
    fields::{self, put},
    job_pods::{self, JobPod, TRACKING},
    job_status::{self, Memory, Present, Step},
    resources::Resource,
    store::{Change, ChangeKind, Key, State},
};

/// More steps in a row than any Job needs: a guard against a status that never settles.
const STEPS: usize = 64;

/// The controller's memory and queue.
#[derive(Debug)]
pub(crate) struct JobController {
    /// How long changes of pods are gathered before their Job is looked at.
    batch: Duration,
    /// The first pause before a failed pod is replaced.
    retry: Duration,
    queue: BTreeMap<Key, Instant>,
    memory: BTreeMap<String, Memory>,
}

impl JobController {
    pub(crate) fn new(batch: Duration, retry: Duration) -> Self {
        Self { batch, retry, queue: BTreeMap::new(), memory: BTreeMap::new() }
    }

    /// Learns of a change.
    pub(crate) fn follow(&mut self, state: &mut State, change: &Change) {
        let now = Instant::now();
        if change.key.resource == Resource::jobs() {
            if change.kind == ChangeKind::Deleted {
                self.memory.remove(fields::uid(&change.object));
            } else {
                self.enqueue(change.key.clone(), now);
            }
        } else if change.key.resource == Resource::pods() {
            let owner = fields::controller(&change.object).map(|owner| fields::text(owner, "/uid"));
            let job = owner.and_then(|uid| state.whereabouts(uid)).filter(|key| key.resource == Resource::jobs());
            match (job.cloned(), change.kind) {
                // What a pod does is news; that it exists, its Job knows already.
                (Some(_), ChangeKind::Added) | (None, ChangeKind::Deleted) => {}
                (Some(job), _) => self.enqueue(job, now + self.batch),
                // Nobody will count it.
                (None, _) => drop_tracking(state, &change.key),
            }
        }
    }

    /// Looks at every Job whose time has come. The time of the next one.
    pub(crate) fn run(&mut self, state: &mut State) -> Option<Instant> {
        let now = Instant::now();
        let due: Vec<Key> = self.queue.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.queue.remove(&key);
            if let Some(again) = self.sync(state, &key, now) {
                self.enqueue(key, again);
            }
        }
        self.queue.values().min().copied()
    }

    fn enqueue(&mut self, key: Key, at: Instant) {
        let planned = self.queue.entry(key).or_insert(at);
        *planned = at.min(*planned);
    }

    fn sync(&mut self, state: &mut State, key: &Key, now: Instant) -> Option<Instant> {
        for _ in 0..STEPS {
            let job = state.get(key)?.clone();
            let uid = fields::uid(&job).to_owned();
            let memory = self.memory.entry(uid.clone()).or_default();
            let pods = pods(state, &uid);
            let pods: Vec<JobPod<'_>> = pods.iter().map(|(key, object)| JobPod { key, object }).collect();
            let time = state.clock.seconds();
            match job_status::decide(&job, &pods, memory, Present { at: now, time: &time }, self.retry) {
                Step::Observe { status, create, delete, failures, successes } => {
                    remember(memory, &status, failures, successes, now);
                    for index in create {
                        make_pod(state, &job, index);
                    }
                    for pod in delete {
                        delete_pod(state, &job, &pod);
                    }
                    write(state, key, status);
                }
                Step::Count { status, release } => {
                    for pod in &release {
                        drop_tracking(state, pod);
                    }
                    if let Some(job) = write(state, key, status).filter(job_status::is_finished) {
                        memory.finished = Some(now);
                        tell_end(state, &job);
                    }
                }
                Step::Release(pods) => {
                    for pod in &pods {
                        drop_tracking(state, pod);
                    }
                }
                Step::Expire => {
                    let _ = delete::delete(state, key, &Options::propagating(Propagation::Foreground));
                    return None;
                }
                Step::Rest(until) => return until,
            }
        }
        None
    }
}

fn remember(memory: &mut Memory, status: &Value, failures: u32, successes: u32, now: Instant) {
    if fields::text(status, "/startTime").is_empty() {
        memory.started = None;
    } else {
        memory.started.get_or_insert(now);
    }
    if successes > 0 {
        memory.failures = 0;
        memory.failed_at = None;
    }
    if failures > 0 {
        memory.failures = memory.failures.saturating_add(failures);
        memory.failed_at = Some(now);
    }
}

fn pods(state: &State, job_uid: &str) -> Vec<(Key, Value)> {
    state
        .dependents(job_uid)
        .into_iter()
        .filter(|key| key.resource == Resource::pods())
        .filter_map(|key| {
            let object = state.get(&key)?;
            let owner = fields::controller(object)?;
            (fields::text(owner, "/uid") == job_uid).then(|| (key.clone(), Value::clone(object)))
        })
        .collect()
}

fn make_pod(state: &mut State, job: &Value, index: Option<u32>) {
    let wish = Wish {
        resource: &Resource::pods(),
        version: "v1",
        namespace: Some(fields::namespace(job)),
        object: job_pods::pod(job, index),
        manager: "kube-controller-manager",
        run: Run::Real,
    };
    let note = match create::create(state, wish) {
        Ok(pod) => Note::normal("SuccessfulCreate", format!("Created pod: {}", fields::name(&pod))),
        Err(refused) => Note::warning("FailedCreate", format!("Error creating: {refused}")),
    };
    events::record(state, job, "job-controller", &note);
}

fn delete_pod(state: &mut State, job: &Value, pod: &Key) {
    if delete::delete(state, pod, &Options::propagating(Propagation::Background)).is_ok() {
        let note = Note::normal("SuccessfulDelete", format!("Deleted pod: {}", pod.name));
        events::record(state, job, "job-controller", &note);
    }
}

fn drop_tracking(state: &mut State, pod: &Key) {
    drop_finalizer(state, pod, TRACKING);
}

fn write(state: &mut State, key: &Key, status: Value) -> Option<Value> {
    state.edit(key, |job| put(job, &["status"], status)).map(|job| Value::clone(&job))
}

fn tell_end(state: &mut State, job: &Value) {
    let note = match job_status::condition(job, "Failed") {
        Some(failed) => {
            let reason = match fields::text(failed, "/reason") {
                "DeadlineExceeded" => "DeadlineExceeded",
                _ => "BackoffLimitExceeded",
            };
            Note::warning(reason, fields::text(failed, "/message"))
        }
        None => Note::normal("Completed", "Job completed"),
    };
    events::record(state, job, "job-controller", &note);
}
