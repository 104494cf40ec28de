//! What becomes of every Job and pod, as the cluster itself knows it: what answers are held against.

use std::collections::{BTreeMap, BTreeSet};

use runjob_sandbox::kube::{Change, ChangeKind};
use serde_json::Value;

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Witness {
    /// By UID.
    pub jobs: BTreeMap<String, JobHistory>,
    /// By UID.
    pub pods: BTreeMap<String, PodHistory>,
    /// What must never happen, and did.
    pub violations: Vec<String>,
}

/// What became of one Job.
#[derive(Debug, Clone, Default)]
pub struct JobHistory {
    /// Its name.
    pub name: String,
    /// Its owner key.
    pub owner: String,
    /// Every token that it ever carried, and every invocation that ever waited for it; the latest last.
    pub tokens: Vec<String>,
    /// How far it ever came.
    reached: BTreeSet<Milestone>,
}

/// Something that happens to a Job once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// It was `Complete`.
    Complete,
    /// It was `Failed`.
    Failed,
    /// Its deletion was asked for.
    DeletionAsked,
    /// It is gone.
    Gone,
}

impl JobHistory {
    /// Whether it ever came that far.
    pub fn has(&self, milestone: Milestone) -> bool {
        self.reached.contains(&milestone)
    }
}

/// What became of one pod.
#[derive(Debug, Clone, Default)]
pub struct PodHistory {
    /// Its name.
    pub name: String,
    /// The UID of its Job.
    pub job: String,
    /// Its containers that ever ran; init containers as well.
    pub ran: BTreeSet<String>,
    /// Its containers, without init containers.
    pub containers: Vec<String>,
    /// Whether its deletion was ever asked for.
    pub deleted: bool,
}

impl Witness {
    /// Takes in a change. `is_open` says whether somebody waits for the task of a token, `by_user` whether the Job of that name
    /// was deleted by somebody else than the worker.
    pub fn see(&mut self, change: &Change, is_open: impl Fn(&str) -> bool, by_user: impl Fn(&str) -> bool) {
        let object = &*change.object;
        match object["kind"].as_str() {
            Some("Job") => self.see_job(change, is_open, by_user),
            Some("Pod") => self.see_pod(change),
            _ => {}
        }
    }

    fn see_job(&mut self, change: &Change, is_open: impl Fn(&str) -> bool, by_user: impl Fn(&str) -> bool) {
        let job = &*change.object;
        let (name, uid) = (text(job, "/metadata/name"), text(job, "/metadata/uid"));
        let gone = change.kind == ChangeKind::Deleted;
        let seen = self.jobs.entry(uid.clone()).or_default();
        seen.name.clone_from(&name);
        let token =
            ["task-token", "invocation"].map(|mark| text(job, &format!("/metadata/annotations/runjob~1{mark}")));
        let token = token.concat();
        if !token.is_empty() && seen.tokens.last() != Some(&token) {
            seen.tokens.push(token.clone());
        }
        let owner = text(job, "/metadata/annotations/runjob~1owner");
        if !owner.is_empty() {
            seen.owner = owner;
        }
        let asked = gone || job.pointer("/metadata/deletionTimestamp").is_some();
        let reached = [
            (Milestone::Complete, has_condition(job, "Complete")),
            (Milestone::Failed, has_condition(job, "Failed")),
            (Milestone::Gone, gone),
        ];
        seen.reached.extend(reached.into_iter().filter(|(_, is_so)| *is_so).map(|(milestone, _)| milestone));
        let is_news = asked && seen.reached.insert(Milestone::DeletionAsked);
        if is_news && !token.is_empty() && is_open(&token) && !by_user(&name) {
            self.violations.push(format!("the Job {name} was deleted while its task was waited for"));
        }
        let owner = seen.owner.clone();
        let alive = self
            .jobs
            .values()
            .filter(|other| !owner.is_empty() && other.owner == owner && !other.has(Milestone::Gone))
            .count();
        if alive > 1 {
            self.violations.push(format!("there are {alive} Jobs of the owner of {name} at once"));
        }
    }

    fn see_pod(&mut self, change: &Change) {
        let pod = &*change.object;
        let seen = self.pods.entry(text(pod, "/metadata/uid")).or_default();
        seen.name = text(pod, "/metadata/name");
        let job = text(pod, "/metadata/ownerReferences/0/uid");
        if !job.is_empty() {
            seen.job = job;
        }
        seen.containers = list(pod, "/spec/containers").map(|one| text(one, "/name")).collect();
        for status in list(pod, "/status/containerStatuses").chain(list(pod, "/status/initContainerStatuses")) {
            let state = status.get("state");
            let begun = state.is_some_and(|state| state.get("running").is_some() || state.get("terminated").is_some());
            if begun {
                seen.ran.insert(text(status, "/name"));
            }
        }
        seen.deleted |= change.kind == ChangeKind::Deleted || pod.pointer("/metadata/deletionTimestamp").is_some();
    }

    /// Every Job that ever carried a token.
    pub fn jobs_of<'w>(&'w self, token: &'w str) -> impl Iterator<Item = (&'w String, &'w JobHistory)> {
        self.jobs.iter().filter(move |(_, job)| job.tokens.iter().any(|one| one == token))
    }

    /// Every pod of a Job.
    pub fn pods_of<'w>(&'w self, job: &'w str) -> impl Iterator<Item = &'w PodHistory> {
        self.pods.values().filter(move |pod| pod.job == job)
    }
}

/// Whether a condition of the Job is true.
pub fn has_condition(job: &Value, condition: &str) -> bool {
    list(job, "/status/conditions").any(|one| one["type"] == condition && one["status"] == "True")
}

/// The text at a place, or an empty one.
pub fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'v>(object: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> + use<'v> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
