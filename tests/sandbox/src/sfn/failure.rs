//! How a state fails: the error that Retry and Catch look at, and that the execution ends with if they let it pass.

use serde_json::{Value, json};

/// The error of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateError {
    /// Its name. A worker may leave it out.
    pub(super) error: Option<String>,
    /// What a person reads.
    pub(super) cause: Option<String>,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Reported by a worker, or by the interpreter under a name of its own.
    Reported,
    /// `TimeoutSeconds` ran out.
    Timeout,
    /// `HeartbeatSeconds` ran out. Reported as `States.Timeout`; only matching tells it apart.
    MissedHeartbeat,
    /// The machine itself is wrong about its data. Nothing catches that.
    Runtime,
}

impl StateError {
    pub(super) fn reported(error: Option<String>, cause: Option<String>) -> Self {
        Self { error, cause, origin: Origin::Reported }
    }

    pub(super) fn named(error: &str, cause: String) -> Self {
        Self::reported(Some(error.to_owned()), Some(cause))
    }

    pub(super) fn runtime(cause: String) -> Self {
        Self { error: Some("States.Runtime".to_owned()), cause: Some(cause), origin: Origin::Runtime }
    }

    pub(super) fn timeout() -> Self {
        Self { error: Some("States.Timeout".to_owned()), cause: None, origin: Origin::Timeout }
    }

    pub(super) fn missed_heartbeat() -> Self {
        Self { origin: Origin::MissedHeartbeat, ..Self::timeout() }
    }

    /// The result or the output of `state` is larger than 262,144 bytes.
    pub(super) fn too_much_data(state: &str) -> Self {
        let cause = format!(
            "The state/task '{state}' returned a result with a size exceeding the maximum number of bytes service limit."
        );
        Self::named("States.DataLimitExceeded", cause)
    }

    /// AWS names the state in the cause of an error that is the machine's own fault.
    pub(super) fn in_state(mut self, state: &str, event: u64) -> Self {
        if self.origin == Origin::Runtime {
            let what = self.cause.unwrap_or_default();
            self.cause = Some(format!(
                "An error occurred while executing the state '{state}' (entered at the event id #{event}). {what}"
            ));
        }
        self
    }

    /// Whether an entry of `ErrorEquals` means this error.
    ///
    /// `States.ALL` takes `States.DataLimitExceeded` too: AWS documents the opposite, but was recorded to do so for the
    /// result of a task.
    pub(super) fn is_matched_by(&self, pattern: &str) -> bool {
        let timed_out = matches!(self.origin, Origin::Timeout | Origin::MissedHeartbeat);
        match (self.origin, pattern) {
            (Origin::Runtime, _) => false,
            (_, "States.ALL") | (Origin::MissedHeartbeat, "States.HeartbeatTimeout") => true,
            (_, "States.TaskFailed") => !timed_out && self.error.as_deref() != Some("States.Timeout"),
            _ => self.error.as_deref() == Some(pattern),
        }
    }

    /// What a Catch hands on. A time-out has no cause, which reads `""` there; what a worker left out reads `null`.
    pub(super) fn output(&self) -> Value {
        let cause = match self.origin {
            Origin::Timeout | Origin::MissedHeartbeat => Some(self.cause.clone().unwrap_or_default()),
            Origin::Reported | Origin::Runtime => self.cause.clone(),
        };
        json!({ "Error": self.error, "Cause": cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_what_aws_documents() {
        let own = StateError::named("Job.Failed", String::new());
        let nameless = StateError::reported(None, None);
        let timeout = StateError::timeout();
        let heartbeat = StateError::missed_heartbeat();
        let runtime = StateError::runtime(String::new());
        for (error, pattern, matched) in [
            (&own, "States.ALL", true),
            (&own, "States.TaskFailed", true),
            (&own, "Job.Failed", true),
            (&own, "Job.Lost", false),
            (&own, "States.Timeout", false),
            (&nameless, "States.ALL", true),
            (&nameless, "States.TaskFailed", true),
            (&timeout, "States.ALL", true),
            (&timeout, "States.Timeout", true),
            (&timeout, "States.TaskFailed", false),
            (&timeout, "States.HeartbeatTimeout", false),
            (&heartbeat, "States.HeartbeatTimeout", true),
            (&heartbeat, "States.Timeout", true),
            (&heartbeat, "States.TaskFailed", false),
            (&runtime, "States.ALL", false),
            (&runtime, "States.Runtime", false),
        ] {
            assert_eq!(error.is_matched_by(pattern), matched, "{error:?} and {pattern}");
        }
    }
}
