//! What is wrong with a Job, in a word for machines, a sentence for people, and a hint what to do: pure functions of the Job, its
//! pods and their Events.
//!
//! [`failed`] explains a Job that its conditions call failed, [`stuck`] one that does not get going. Neither decides that a Job has
//! failed: the Job's own conditions do, or the time that a stuck one was given.

mod ends;
pub mod failed;
mod reasons;
mod restarts;
pub mod stuck;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use self::ends::ends;
use crate::{
    event::EventView,
    failure::{ErrorName, JobError},
    pod::PodView,
};

/// The most containers that a diagnosis lists.
const MAX_CONTAINERS: usize = 20;
/// The longest message that it quotes, in characters: of a condition, of a container, of an Event.
const MAX_MESSAGE: usize = 512;
/// The most Events that it lists: the latest.
const MAX_EVENTS: usize = 20;

/// A diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What the task fails with.
    pub code: JobError,
    /// One sentence.
    pub summary: String,
    /// What to do about it.
    pub hint: String,
    /// Whether the same Job may succeed when it is run again.
    pub retryable: bool,
    /// What the Job's own reason says behind `_`: the rule of a pod failure policy.
    suffix: Option<String>,
    containers: Vec<Value>,
    events: Vec<Value>,
}

impl Diagnosis {
    /// What a code says by itself, said of this Job.
    fn new(code: JobError, summary: String) -> Self {
        let (hint, retryable) = (code.hint().to_owned(), code.is_retryable());
        Self { code, summary, hint, retryable, suffix: None, containers: Vec::new(), events: Vec::new() }
    }

    /// With how the containers of the pods ended, and with the Events that tell of trouble.
    fn beside(self, pods: &[PodView], events: &[EventView]) -> Self {
        let mut warnings: Vec<&EventView> = events.iter().filter(|event| event.is_warning).collect();
        warnings.sort_by(|a, b| a.last.cmp(&b.last));
        let latest = warnings.into_iter().rev().take(MAX_EVENTS).rev();
        Self {
            containers: ends(pods, events).iter().take(MAX_CONTAINERS).map(ends::End::to_json).collect(),
            events: latest.map(EventView::to_json).collect(),
            ..self
        }
    }

    /// A Job that somebody deleted before it had ended.
    pub fn of_deleted(job: &str, pods: &[PodView], events: &[EventView]) -> Self {
        let summary = format!("the Job {job} was deleted before it had ended, and not by runjob");
        Self::new(JobError::Deleted, summary).beside(pods, events)
    }

    /// A Job that was stuck, of which no more is known.
    pub fn of_unknown(job: &str) -> Self {
        Self::new(JobError::Failed, format!("the Job {job} did not get going"))
    }

    /// As it stands in a cause.
    pub fn to_json(&self) -> Value {
        let mut diagnosis = json!({
            "code": ErrorName::Job(self.code).to_string(),
            "summary": self.summary,
            "hint": self.hint,
            "retryable": self.retryable,
            "containers": self.containers,
            "events": self.events,
        });
        if let (Some(suffix), Some(map)) = (&self.suffix, diagnosis.as_object_mut()) {
            map.insert("reasonSuffix".into(), suffix.as_str().into());
        }
        diagnosis
    }
}
