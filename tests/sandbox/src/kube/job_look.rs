//! One look at a Job that is not over: what its pods say, what it needs, and the status that tells it.

use std::{cmp::Reverse, collections::BTreeSet};

use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use super::{
    fields,
    job_pods::{Indexes, JobPod},
    job_status::{Memory, Present, Step, condition},
    store::Key,
};

/// The longest pause before a failed pod is replaced.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// One look at a Job that is not over.
pub(crate) struct Look<'a> {
    job: &'a Value,
    pods: &'a [JobPod<'a>],
    memory: &'a Memory,
    present: Present<'a>,
    retry: Duration,
    /// Pods that are newly found to be over, by uid.
    succeeded: Vec<&'a JobPod<'a>>,
    failed: Vec<&'a JobPod<'a>>,
    delete: Vec<&'a JobPod<'a>>,
    create: Vec<Option<u32>>,
    wake: Option<Instant>,
    conditions: Vec<Value>,
}

impl<'a> Look<'a> {
    pub(crate) fn new(
        job: &'a Value,
        pods: &'a [JobPod<'a>],
        memory: &'a Memory,
        present: Present<'a>,
        retry: Duration,
    ) -> Self {
        Self {
            job,
            pods,
            memory,
            present,
            retry,
            succeeded: Vec::new(),
            failed: Vec::new(),
            delete: Vec::new(),
            create: Vec::new(),
            wake: None,
            conditions: fields::list(job, "/status/conditions").to_vec(),
        }
    }

    /// What it shows to be done.
    pub(crate) fn step(mut self) -> Step {
        let dropped: Vec<Key> = if self.suspended() {
            // What suspension stops is no failure.
            self.pods
                .iter()
                .filter(|pod| pod.is_tracked() && pod.is_going() && pod.phase() != "Succeeded")
                .map(|pod| pod.key.clone())
                .collect()
        } else {
            Vec::new()
        };
        if !dropped.is_empty() {
            return Step::Release(dropped);
        }
        self.look();
        self.judge();
        if self.finishing() || self.suspended() {
            self.delete = self.active().collect();
        } else if !fields::is_going(self.job) {
            self.manage();
        }
        if self.finishing() {
            // The pods that go now count as failed, like those that went by themselves.
            self.failed.extend(self.delete.iter().filter(|pod| pod.is_tracked()));
        }
        let status = self.observed();
        if status != self.job["status"] || !self.create.is_empty() || !self.delete.is_empty() {
            let count = |pods: &[&JobPod<'_>]| u32::try_from(pods.len()).unwrap_or(u32::MAX);
            return Step::Observe {
                status,
                failures: count(&self.failed),
                successes: count(&self.succeeded),
                create: self.create,
                delete: self.delete.iter().map(|pod| pod.key.clone()).collect(),
            };
        }
        self.count(status)
    }

    /// Finds the pods that are over and not counted yet.
    fn look(&mut self) {
        let known = self.uncounted();
        let only_failed = fields::text(self.job, "/spec/podReplacementPolicy") == "Failed" && !self.finishing();
        for pod in self.pods.iter().filter(|pod| pod.is_tracked() && !known.contains(fields::uid(pod.object))) {
            if pod.phase() == "Succeeded" {
                self.succeeded.push(pod);
            } else if pod.phase() == "Failed" || (pod.is_going() && !only_failed) {
                self.failed.push(pod);
            }
        }
    }

    /// Decides whether the Job succeeds or fails now.
    fn judge(&mut self) {
        // That the Job itself is being deleted makes no difference to the controller: its pods fail by being deleted.
        if self.finishing() {
            return;
        }
        let limit = self.number("backoffLimit").unwrap_or(6);
        let failures = self.counted("failed") + length(&self.uncounted_list("failed")) + length(&self.failed);
        if (!self.failed.is_empty() && failures > limit) || self.restarted_too_often(limit) {
            self.condition("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
        } else if let Some(deadline) = self.deadline()
            && deadline <= self.present.at
        {
            self.condition("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline");
        } else if self.is_complete() {
            self.condition("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods");
        }
    }

    fn restarted_too_often(&self, limit: i64) -> bool {
        if fields::text(self.job, "/spec/template/spec/restartPolicy") != "OnFailure" {
            return false;
        }
        let restarts: i64 = self.active().map(JobPod::restarts).sum();
        restarts > 0 && restarts >= limit
    }

    fn deadline(&self) -> Option<Instant> {
        let seconds = u64::try_from(self.number("activeDeadlineSeconds")?).ok()?;
        Some(self.memory.started.filter(|_| !self.suspended())? + Duration::from_secs(seconds))
    }

    fn is_complete(&self) -> bool {
        let succeeded = self.all_succeeded();
        match self.number("completions") {
            Some(completions) => succeeded >= completions,
            None => succeeded > 0 && self.active().next().is_none(),
        }
    }

    /// The number of completions: of pods, or of indexes.
    fn all_succeeded(&self) -> i64 {
        if self.indexed() {
            return length(&self.completed_indexes().list());
        }
        self.counted("succeeded") + length(&self.uncounted_list("succeeded")) + length(&self.succeeded)
    }

    fn completed_indexes(&self) -> Indexes {
        let mut indexes = Indexes::parse(fields::text(self.job, "/status/completedIndexes"));
        indexes.extend(self.pods.iter().filter(|pod| pod.phase() == "Succeeded").filter_map(JobPod::index));
        indexes
    }

    /// Makes and removes pods until as many run as should.
    fn manage(&mut self) {
        let active = length(&self.active().collect::<Vec<_>>());
        let parallelism = self.number("parallelism").unwrap_or(1);
        let wanted = match self.number("completions") {
            Some(completions) => parallelism.min(completions - self.all_succeeded()),
            None if self.all_succeeded() > 0 => active.min(parallelism),
            None => parallelism,
        };
        if active > wanted {
            let excess = usize::try_from(active - wanted.max(0)).unwrap_or(0);
            let mut newest: Vec<_> = self.active().collect();
            newest.sort_by_key(|pod| Reverse(fields::text(pod.object, "/metadata/creationTimestamp")));
            self.delete = newest.into_iter().take(excess).collect();
            return;
        }
        let awaited = if fields::text(self.job, "/spec/podReplacementPolicy") == "Failed" {
            length(&self.pods.iter().filter(|pod| pod.is_going() && !pod.is_over()).collect::<Vec<_>>())
        } else {
            0
        };
        let missing = usize::try_from(wanted - active - awaited).unwrap_or(0);
        if missing == 0 {
            return;
        }
        if let Some(retry_at) = self.retry_at().filter(|retry_at| *retry_at > self.present.at) {
            self.wake = Some(retry_at);
        } else if self.indexed() {
            let mut taken = self.completed_indexes();
            taken.extend(self.active().filter_map(JobPod::index));
            let all = u32::try_from(self.number("completions").unwrap_or(0)).unwrap_or(0);
            self.create = (0..all).filter(|index| !taken.contains(*index)).take(missing).map(Some).collect();
        } else {
            self.create = vec![None; missing];
        }
    }

    /// When a failed pod may be replaced: later with every failure in a row.
    fn retry_at(&self) -> Option<Instant> {
        let new = u32::try_from(self.failed.len()).unwrap_or(u32::MAX);
        let since = if new > 0 { self.present.at } else { self.memory.failed_at? };
        let failures = self.memory.failures.saturating_add(new);
        let doublings = failures.checked_sub(1)?.min(16);
        Some(since + (self.retry * 2_u32.pow(doublings)).min(LONGEST_PAUSE))
    }

    /// The status that says what is seen.
    fn observed(&self) -> Value {
        let active = length(&self.active().collect::<Vec<_>>()) + length(&self.create) - length(&self.delete);
        let ready = self.active().filter(|pod| pod.is_ready() && !self.deletes(pod)).count();
        let terminating =
            self.pods.iter().filter(|pod| (pod.is_going() || self.deletes(pod)) && !pod.is_over()).count();
        let mut status = self.job["status"].clone();
        let mut conditions = self.conditions.clone();
        self.suspension(&mut conditions);
        if !conditions.is_empty() {
            fields::put(&mut status, &["conditions"], conditions);
        }
        if self.suspended() {
            fields::remove(&mut status, &["startTime"]);
        } else {
            fields::default(&mut status, &["startTime"], self.present.time);
        }
        if active > 0 {
            fields::put(&mut status, &["active"], active);
        } else {
            fields::remove(&mut status, &["active"]);
        }
        fields::put(&mut status, &["ready"], ready);
        fields::put(&mut status, &["terminating"], terminating);
        let uncounted: Map<String, Value> = [("succeeded", &self.succeeded), ("failed", &self.failed)]
            .into_iter()
            .filter_map(|(list, new)| {
                let mut uids = self.uncounted_list(list);
                uids.extend(new.iter().map(|pod| fields::uid(pod.object).to_owned()));
                (!uids.is_empty()).then(|| (list.to_owned(), uids.into()))
            })
            .collect();
        fields::put(&mut status, &["uncountedTerminatedPods"], Value::Object(uncounted));
        status
    }

    /// `Suspended`, which unlike the others turns "False" when it ends.
    fn suspension(&self, conditions: &mut Vec<Value>) {
        let (status, reason, message) = if self.suspended() {
            ("True", "JobSuspended", "Job suspended")
        } else {
            ("False", "JobResumed", "Job resumed")
        };
        let known = conditions.iter_mut().find(|condition| condition["type"] == "Suspended");
        match known {
            Some(known) if known["status"] == status => {}
            Some(known) => *known = self.new_condition("Suspended", status, reason, message),
            None if self.suspended() => conditions.push(self.new_condition("Suspended", status, reason, message)),
            None => {}
        }
    }

    /// The uncounted pods become numbers; with the last of them the Job may be over.
    fn count(&self, mut status: Value) -> Step {
        let uncounted = self.uncounted();
        let over = fields::integer(&status, "/terminating") == Some(0) && self.finishing();
        if uncounted.is_empty() && !over {
            return Step::Rest(
                [self.wake, self.deadline()].into_iter().flatten().filter(|at| *at > self.present.at).min(),
            );
        }
        for list in ["succeeded", "failed"] {
            let sum = self.counted(list) + length(&self.uncounted_list(list));
            if sum > 0 {
                fields::put(&mut status, &[list], sum);
            }
        }
        if self.indexed() {
            let indexes = self.completed_indexes();
            fields::put(&mut status, &["succeeded"], indexes.list().len());
            fields::put(&mut status, &["completedIndexes"], indexes.to_string());
        }
        fields::put(&mut status, &["uncountedTerminatedPods"], json!({}));
        if over {
            self.finish(&mut status);
        }
        let release = self.pods.iter().filter(|pod| pod.is_tracked() && uncounted.contains(fields::uid(pod.object)));
        Step::Count { status, release: release.map(|pod| pod.key.clone()).collect() }
    }

    fn finish(&self, status: &mut Value) {
        let (target, last) = if condition(self.job, "SuccessCriteriaMet").is_some() {
            ("SuccessCriteriaMet", "Complete")
        } else {
            ("FailureTarget", "Failed")
        };
        let Some(target) = condition(self.job, target) else { return };
        let mut conditions = self.conditions.clone();
        let (reason, message) = (fields::text(target, "/reason"), fields::text(target, "/message"));
        conditions.push(self.new_condition(last, "True", reason, message));
        fields::put(status, &["conditions"], conditions);
        if last == "Complete" {
            fields::put(status, &["completionTime"], self.present.time);
        }
    }

    fn condition(&mut self, kind: &str, reason: &str, message: &str) {
        let condition = self.new_condition(kind, "True", reason, message);
        self.conditions.push(condition);
    }

    fn new_condition(&self, kind: &str, status: &str, reason: &str, message: &str) -> Value {
        let now = self.present.time;
        json!({"type": kind, "status": status, "lastProbeTime": now, "lastTransitionTime": now,
            "reason": reason, "message": message})
    }

    fn active(&self) -> impl Iterator<Item = &'a JobPod<'a>> + use<'a> {
        self.pods.iter().filter(|pod| !pod.is_over() && !pod.is_going())
    }

    fn deletes(&self, pod: &JobPod<'_>) -> bool {
        self.delete.iter().any(|one| one.key == pod.key)
    }

    fn finishing(&self) -> bool {
        let holds = |kind: &str| self.conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
        holds("FailureTarget") || holds("SuccessCriteriaMet")
    }

    fn suspended(&self) -> bool {
        *fields::at(self.job, "/spec/suspend") == true
    }

    fn indexed(&self) -> bool {
        fields::text(self.job, "/spec/completionMode") == "Indexed"
    }

    fn number(&self, field: &str) -> Option<i64> {
        fields::integer(self.job, &format!("/spec/{field}"))
    }

    fn counted(&self, field: &str) -> i64 {
        fields::integer(self.job, &format!("/status/{field}")).unwrap_or(0)
    }

    fn uncounted_list(&self, list: &str) -> Vec<String> {
        fields::texts(self.job, &format!("/status/uncountedTerminatedPods/{list}"))
    }

    fn uncounted(&self) -> BTreeSet<String> {
        self.uncounted_list("succeeded").into_iter().chain(self.uncounted_list("failed")).collect()
    }
}

fn length<T>(list: &[T]) -> i64 {
    i64::try_from(list.len()).unwrap_or(i64::MAX)
}
