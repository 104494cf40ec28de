//! Polling an activity for a task.

use runjob_core::{arn::ActivityArn, token::TaskToken};

use super::{Clients, SfnError};

/// A task that was handed to this worker. From now on nobody else gets it.
#[derive(Clone)]
pub struct PolledTask {
    /// The token that answers it.
    pub token: TaskToken,
    /// The activity that it came from.
    pub source: ActivityArn,
    /// The task's input, up to 1 MiB of JSON.
    pub input: String,
}

impl std::fmt::Debug for PolledTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An input may hold anything, and is none of the log's business.
        f.debug_struct("PolledTask").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Clients {
    /// Asks for a task and waits up to a minute for one.
    ///
    /// Never cancel this: the service may already have assigned a task to the connection, and then nobody would ever
    /// answer it.
    pub async fn poll_activity(
        &self,
        activity: &ActivityArn,
        worker_name: &str,
    ) -> Result<Option<PolledTask>, SfnError> {
        let request = self.poll(activity)?.get_activity_task();
        let answer = request.activity_arn(activity.as_str()).worker_name(worker_name).send().await;
        let answer = answer.map_err(|error| SfnError::of(&error))?;
        self.poll_went_well(activity);
        // No task: the token is absent, or empty; both have been seen.
        let Some(token) = answer.task_token.filter(|token| !token.is_empty()) else { return Ok(None) };
        let token = TaskToken::new(token).map_err(|error| SfnError::Passing(error.to_string()))?;
        Ok(Some(PolledTask { token, source: activity.clone(), input: answer.input.unwrap_or_default() }))
    }
}
