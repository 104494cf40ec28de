//! Why a Job failed, from its condition and its pods: one pure function.
//!
//! The Job's condition decides that it failed; the pods only explain.

use serde_json::{Value, json};

use crate::{
    budget::shortened,
    failure::{ErrorName, JobError},
    pod::{ContainerState, ContainerView, PodView, Termination},
};

/// The most containers that a diagnosis lists.
const MAX_CONTAINERS: usize = 20;
/// The longest message of a container that it quotes.
const MAX_MESSAGE: usize = 512;

/// A diagnosis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What the task fails with.
    pub code: JobError,
    /// One sentence.
    pub summary: String,
    /// What to do about it.
    pub hint: &'static str,
    /// Whether the same Job may succeed when it is run again.
    pub retryable: bool,
    containers: Vec<Value>,
}

impl Diagnosis {
    /// Why a Job that failed did so.
    pub fn of_failed(reason: &str, message: &str, pods: &[PodView]) -> Self {
        let ends = ends(pods);
        let containers = ends.iter().take(MAX_CONTAINERS).map(End::to_json).collect();
        if let Some(end) = ends.iter().find(|end| end.termination.reason == "OOMKilled") {
            let limit = end.memory_limit.map_or_else(String::new, |limit| format!(" of {limit}"));
            return Self {
                code: JobError::OutOfMemory,
                summary: format!(
                    "container {} of pod {} was killed for using more memory than its limit{limit}",
                    end.container, end.pod
                ),
                hint: hint(JobError::OutOfMemory),
                retryable: false,
                containers,
            };
        }
        let code = JobError::of_condition(reason);
        let mut summary = match code {
            JobError::Failed => format!("the Job failed: {reason}"),
            _ => format!("the Job failed with {reason}"),
        };
        if !message.is_empty() {
            summary.push_str(&format!(" ({})", shortened(message, MAX_MESSAGE)));
        }
        if let Some(end) = ends.iter().find(|end| end.termination.exit_code != 0) {
            summary.push_str(&format!("; container {} of pod {} {}", end.container, end.pod, end.sentence()));
        }
        let hint = ends.first().and_then(End::hint).unwrap_or_else(|| hint(code));
        Self { code, summary, hint, retryable: false, containers }
    }

    /// A Job that somebody deleted before it had ended.
    pub fn of_deleted(job: &str, pods: &[PodView]) -> Self {
        Self {
            code: JobError::Deleted,
            summary: format!("the Job {job} was deleted before it had ended, and not by runjob"),
            hint: hint(JobError::Deleted),
            retryable: false,
            containers: ends(pods).iter().take(MAX_CONTAINERS).map(End::to_json).collect(),
        }
    }

    /// As it stands in a cause.
    pub fn to_json(&self) -> Value {
        json!({
            "code": ErrorName::Job(self.code).to_string(),
            "summary": self.summary,
            "hint": self.hint,
            "retryable": self.retryable,
            "containers": self.containers,
        })
    }
}

/// How a container ended, and whose it was.
struct End<'a> {
    pod: &'a str,
    container: &'a str,
    memory_limit: Option<&'a str>,
    termination: &'a Termination,
}

impl End<'_> {
    fn signal(&self) -> Option<i64> {
        let code = self.termination.exit_code;
        (129..=192).contains(&code).then_some(code - 128)
    }

    /// What shells and container runtimes mean by an exit code.
    fn hint(&self) -> Option<&'static str> {
        match self.termination.exit_code {
            126 => Some("the command is not executable: look at its mode and its architecture"),
            127 => Some("the command was not found: is it in the image, and on its PATH?"),
            _ => None,
        }
    }

    fn sentence(&self) -> String {
        let code = self.termination.exit_code;
        match self.signal() {
            Some(signal) => format!("ended with exit code {code} ({})", signal_name(signal)),
            None => format!("ended with exit code {code}"),
        }
    }

    fn to_json(&self) -> Value {
        let mut end = json!({
            "pod": self.pod,
            "container": self.container,
            "exitCode": self.termination.exit_code,
            "reason": self.termination.reason,
        });
        if let Some(map) = end.as_object_mut() {
            if let Some(signal) = self.signal() {
                map.insert("signal".into(), signal_name(signal).into());
            }
            if !self.termination.message.is_empty() {
                map.insert("message".into(), shortened(&self.termination.message, MAX_MESSAGE).into());
            }
        }
        end
    }
}

/// The ends of all containers, those that failed first, later pods before earlier ones.
fn ends(pods: &[PodView]) -> Vec<End<'_>> {
    let mut pods: Vec<&PodView> = pods.iter().collect();
    pods.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    let mut ends: Vec<End<'_>> = pods
        .into_iter()
        .flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
        .filter_map(|(pod, container)| {
            let memory_limit = container.memory_limit.as_deref();
            let termination = end(container)?;
            Some(End { pod: &pod.name, container: &container.name, memory_limit, termination })
        })
        .collect();
    ends.sort_by_key(|end| end.termination.exit_code == 0);
    ends
}

/// How a container ended by itself. With `restartPolicy: OnFailure` the Job has failed as soon as the container is restarted once
/// more, and Kubernetes ends that last run, whatever it was about to do: the run before is the one that failed.
fn end(container: &ContainerView) -> Option<&Termination> {
    match (&container.state, &container.previous) {
        (ContainerState::Terminated(own), None) => Some(own),
        (ContainerState::Terminated(own), Some(previous)) => Some(if own.was_ordered() { previous } else { own }),
        (ContainerState::Running, previous) => previous.as_ref(),
        (ContainerState::Waiting { .. }, _) => None,
    }
}

fn signal_name(signal: i64) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn hint(code: JobError) -> &'static str {
    match code {
        JobError::BackoffLimitExceeded => "the program failed: look at its exit code and logs",
        JobError::DeadlineExceeded => {
            "the Job ran longer than spec.activeDeadlineSeconds: raise it, or make the program faster"
        }
        JobError::PodFailurePolicy => "a rule of spec.podFailurePolicy ended the Job: the condition's message names it",
        JobError::MaxFailedIndexesExceeded => "more indexes failed than spec.maxFailedIndexes allows",
        JobError::FailedIndexes => "some indexes failed: status.failedIndexes names them",
        JobError::OutOfMemory => "raise resources.limits.memory of the container, or make the program use less",
        JobError::Deleted => "find out who deletes Jobs in this namespace: the API server's audit log says",
        JobError::Failed => "look at the Job's conditions and logs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, statuses: &Value) -> PodView {
        let containers: Vec<Value> =
            statuses.as_array().unwrap().iter().map(|status| json!({"name": status["name"]})).collect();
        PodView::of(&json!({
            "metadata": {"name": name},
            "spec": {"containers": containers},
            "status": {"phase": "Failed", "containerStatuses": statuses},
        }))
    }

    fn ended(code: i64, reason: &str) -> Value {
        json!([{"name": "main", "state": {"terminated": {"exitCode": code, "reason": reason}}}])
    }

    #[test]
    fn a_program_that_failed_is_named_with_its_exit_code() {
        let diagnosis = Diagnosis::of_failed(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
            &[pod("x-1", &ended(3, "Error"))],
        );
        assert_eq!(diagnosis.code, JobError::BackoffLimitExceeded);
        assert_eq!(
            diagnosis.summary,
            "the Job failed with BackoffLimitExceeded (Job has reached the specified backoff limit); container main of \
             pod x-1 ended with exit code 3"
        );
    }

    #[test]
    fn of_a_container_that_is_restarted_and_killed_the_run_that_failed_is_told() {
        for state in [json!({"running": {}}), json!({"terminated": {"exitCode": 143, "reason": "Error"}})] {
            let last = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
            let status = json!([{"name": "main", "state": state, "lastState": last}]);
            let told = Diagnosis::of_failed("BackoffLimitExceeded", "", &[pod("x-1", &status)]).to_json();
            assert_eq!(told["containers"][0]["exitCode"], json!(3), "{status}");
        }
    }

    #[test]
    fn a_command_that_was_not_found_is_hinted_at() {
        let diagnosis = Diagnosis::of_failed("BackoffLimitExceeded", "", &[pod("x-1", &ended(127, "Error"))]);
        assert!(diagnosis.hint.starts_with("the command was not found"), "{}", diagnosis.hint);
    }

    #[test]
    fn a_signal_is_named() {
        let diagnosis = Diagnosis::of_failed("BackoffLimitExceeded", "", &[pod("x-1", &ended(139, "Error"))]);
        assert_eq!(diagnosis.to_json()["containers"][0]["signal"], json!("SIGSEGV"));
    }

    #[test]
    fn want_of_memory_says_it_better_than_the_backoff_limit() {
        let diagnosis = Diagnosis::of_failed("BackoffLimitExceeded", "", &[pod("x-1", &ended(137, "OOMKilled"))]);
        assert_eq!(diagnosis.code, JobError::OutOfMemory);
    }

    #[test]
    fn an_unknown_reason_is_quoted() {
        let diagnosis = Diagnosis::of_failed("SomethingNew", "", &[]);
        assert_eq!((diagnosis.code, diagnosis.summary.as_str()), (JobError::Failed, "the Job failed: SomethingNew"));
    }
}
