//! What went wrong with a call, by what follows from it.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use runjob_core::token::TaskToken;

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
    /// Sorts an error of a call that names a task. Its text may quote the request: the token is taken out of it.
    pub(super) fn about<E>(token: &TaskToken, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let without = |text: String| text.replace(token.expose(), "[task token]");
        match Self::of(error) {
            Self::Refused(text) => Self::Refused(without(text)),
            Self::Key(text) => Self::Key(without(text)),
            Self::Throttled(text) => Self::Throttled(without(text)),
            Self::Passing(text) => Self::Passing(without(text)),
            other @ (Self::Gone(_) | Self::NotServed(_)) => other,
        }
    }

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

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::{error::ErrorMetadata, operation::send_task_heartbeat::SendTaskHeartbeatError};

    use super::*;

    #[test]
    fn a_message_that_quotes_the_token_is_told_without_it() {
        let token = TaskToken::new("AQCEAAAAKgAAAAMAAAAA").unwrap();
        for code in ["ThrottlingException", "ValidationException", "KmsInvalidStateException", "SomethingElse"] {
            let message = format!("the task AQCEAAAAKgAAAAMAAAAA, that is {}, is not well", token.expose());
            let metadata = ErrorMetadata::builder().code(code).message(message).build();
            let error = SendTaskHeartbeatError::generic(metadata);
            let response = HttpResponse::new(500.try_into().unwrap(), "".into());
            let error = SfnError::about(&token, &SdkError::service_error(error, response));
            let text = format!("{error} {error:?}");
            assert!(text.contains("is not well") && !text.contains("AQCE"), "{text}");
        }
    }
}
