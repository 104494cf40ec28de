//! What went wrong with a call, by what follows from it.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::NoClient;
use crate::error_chain::chain;

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum SfnError {
    /// The task is not ours any more.
    #[error("the task is gone ({0:?})")]
    Gone(Gone),
    /// The service will not take the answer as it is, however often it is sent.
    #[error("Step Functions refused the answer: {0}")]
    Refused(String),
    /// The key that encrypts the state machine's data cannot be used: only an answer without data gets through.
    #[error("Step Functions could not use the state machine's key: {0}")]
    Key(String),
    /// There were too many calls.
    #[error("Step Functions throttles: {0}")]
    Throttled(String),
    /// It may work later: no connection, an error of the service, credentials that expired or lack a right.
    #[error("unable to reach Step Functions: {0}")]
    Passing(String),
    /// The token is not this worker's to use.
    #[error(transparent)]
    NotServed(#[from] NoClient),
}

/// How the service says that a task is not ours any more. To a finished Job the three are one; to a running one they are
/// not: a wrong region, account or endpoint makes every token invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// `TaskTimedOut`: answered, timed out, stopped.
    TimedOut,
    /// `TaskDoesNotExist`.
    DoesNotExist,
    /// `InvalidToken`: never heard of it.
    InvalidToken,
}

impl SfnError {
    /// Sorts an error of any of the calls. By its code: the types of the errors differ from call to call.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        match error.code() {
            Some("TaskTimedOut") => Self::Gone(Gone::TimedOut),
            Some("TaskDoesNotExist") => Self::Gone(Gone::DoesNotExist),
            Some("InvalidToken") => Self::Gone(Gone::InvalidToken),
            Some("InvalidOutput" | "ValidationException") => Self::Refused(service_message(error)),
            // Throttled is not denied: that passes.
            Some("KmsAccessDeniedException" | "KmsInvalidStateException") => Self::Key(service_message(error)),
            Some("ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded") => {
                Self::Throttled(service_message(error))
            }
            // Not the SDK's own context: that shows the response, and the response to a poll holds the token.
            _ => Self::Passing(chain(error)),
        }
    }
}

fn service_message<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> String {
    let code = error.code().unwrap_or("unknown error");
    error.message().map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"))
}
