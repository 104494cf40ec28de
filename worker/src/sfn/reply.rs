//! Answering a task, and keeping it alive.

use runjob_core::{arn::Source, token::TaskToken};

use super::{Clients, SfnError};

/// An answer to a task.
#[derive(Clone)]
pub enum Reply {
    /// `SendTaskSuccess`.
    Success {
        /// JSON of at most 262,144 bytes.
        output: String,
    },
    /// `SendTaskFailure`.
    Failure {
        /// At most 256 characters.
        error: String,
        /// At most 32,768 characters.
        cause: String,
    },
    /// `SendTaskFailure` without data: the one answer that needs no key.
    BareFailure,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Success { output } => write!(f, "Success({} bytes)", output.len()),
            Self::Failure { error, cause } => write!(f, "Failure({error}, {} bytes)", cause.len()),
            Self::BareFailure => f.write_str("BareFailure"),
        }
    }
}

impl Clients {
    /// Answers a task, once.
    pub async fn reply(&self, source: &Source, token: &TaskToken, reply: &Reply) -> Result<(), SfnError> {
        let sent = self.send(source, token, reply).await;
        if sent.is_ok() {
            self.prove(source);
        }
        sent
    }

    async fn send(&self, source: &Source, token: &TaskToken, reply: &Reply) -> Result<(), SfnError> {
        let client = self.control(source)?;
        let failure = || client.send_task_failure().task_token(token.expose());
        match reply {
            Reply::Success { output } => {
                let request = client.send_task_success().task_token(token.expose()).output(output);
                request.send().await.map(drop).map_err(|error| SfnError::about(token, &error))
            }
            Reply::Failure { error, cause } => {
                let sent = failure().error(error).cause(cause).send().await;
                sent.map(drop).map_err(|error| SfnError::about(token, &error))
            }
            Reply::BareFailure => failure().send().await.map(drop).map_err(|error| SfnError::about(token, &error)),
        }
    }

    /// Says that the task is still being worked on. The answer is the only way to learn that nobody waits any more.
    pub async fn heartbeat(&self, source: &Source, token: &TaskToken) -> Result<(), SfnError> {
        let request = self.control(source)?.send_task_heartbeat().task_token(token.expose());
        request.send().await.map_err(|error| SfnError::about(token, &error))?;
        self.prove(source);
        Ok(())
    }
}
