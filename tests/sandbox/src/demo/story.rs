//! What happens, in one line each: states, Jobs, pods.

use std::collections::BTreeMap;

use runjob_sandbox::{
    kube::{Change, ChangeKind},
    sfn::{Event, HistoryEvent},
};
use serde_json::Value;

/// Knows what was told already: an object changes more often than its story does.
#[derive(Default)]
pub(crate) struct Story {
    told: BTreeMap<String, String>,
    jobs: BTreeMap<String, StampedJob>,
}

/// A Job of `runjob`, as long as its stamp stood on it.
pub(crate) struct StampedJob {
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Story {
    /// The Jobs that a task waited for, by UID.
    pub(crate) fn jobs(&self) -> &BTreeMap<String, StampedJob> {
        &self.jobs
    }

    pub(crate) fn of_event(event: &HistoryEvent) -> String {
        match &event.event {
            Event::StateEntered { name, .. } => format!("state  {name}: entered"),
            Event::StateExited { name, .. } => format!("state  {name}: left"),
            Event::ActivityScheduled { .. } => "task   waits for a worker".to_owned(),
            Event::ActivityStarted { .. } => "task   taken by the worker".to_owned(),
            Event::ActivitySucceeded { output } => format!("task   succeeded, {} bytes of output", output.len()),
            Event::ActivityFailed { error, .. } => format!("task   failed: {}", error.as_deref().unwrap_or("no name")),
            Event::ActivityTimedOut => "task   timed out".to_owned(),
            other => format!("run    {}", other.type_name()),
        }
    }

    pub(crate) fn of_change(&mut self, change: &Change) -> Option<String> {
        let object = &change.object;
        let (kind, state) = match text(object, "/kind") {
            "Job" => ("job", job_state(object)),
            "Pod" => ("pod", pod_state(object)),
            _ => return None,
        };
        let state = if change.kind == ChangeKind::Deleted { "deleted".to_owned() } else { state };
        let name = text(object, "/metadata/name");
        let token = text(object, "/metadata/annotations/runjob~1task-token");
        if !token.is_empty() {
            let job = StampedJob { name: name.to_owned(), token: token.to_owned() };
            self.jobs.insert(text(object, "/metadata/uid").to_owned(), job);
        }
        let told = self.told.insert(format!("{kind}/{}", text(object, "/metadata/uid")), state.clone());
        (told.as_deref() != Some(state.as_str())).then(|| format!("{kind:<5}  {name}: {state}"))
    }
}

fn job_state(job: &Value) -> String {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    let last = conditions.into_iter().flatten().rfind(|condition| text(condition, "/status") == "True");
    let condition = last.map(|condition| match text(condition, "/reason") {
        "" | "CompletionsReached" => text(condition, "/type").to_owned(),
        reason => format!("{} ({reason})", text(condition, "/type")),
    });
    let deleting = job.pointer("/metadata/deletionTimestamp").is_some();
    match (condition, deleting) {
        (_, true) => "is being deleted".to_owned(),
        (Some(condition), _) => condition,
        (None, _) if job.pointer("/status/active").and_then(Value::as_u64).is_some_and(|n| n > 0) => {
            "active".to_owned()
        }
        (None, _) => "created".to_owned(),
    }
}

fn pod_state(pod: &Value) -> String {
    let phase = text(pod, "/status/phase");
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
    let waiting = statuses.into_iter().flatten().find_map(|status| {
        let reason = text(status, "/state/waiting/reason");
        (!reason.is_empty() && reason != "ContainerCreating").then(|| reason.to_owned())
    });
    let ending = pod.pointer("/metadata/deletionTimestamp").is_some();
    match (waiting, ending) {
        (_, true) => "is being terminated".to_owned(),
        (Some(reason), _) => format!("{phase}, {reason}"),
        (None, _) if phase.is_empty() => "created".to_owned(),
        (None, _) => phase.to_owned(),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
