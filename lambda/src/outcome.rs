//! What an invocation comes to: a result, or an error with the name that `Retry` and `Catch` know.

use runjob::sfn::Reply;
use runjob_core::{
    failure::{ErrorName, TaskFailure},
    output,
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// What an invocation comes to.
pub type Outcome = Result<Box<RawValue>, Failed>;

/// The error of a function. Step Functions takes `errorType` for the error's name, and the whole payload for its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// `errorType`.
    pub error: String,
    /// `errorMessage`: the cause, JSON.
    pub cause: String,
}

impl Failed {
    pub(crate) fn internal(message: &str) -> Self {
        Self::from(TaskFailure::saying(ErrorName::Internal, message))
    }
}

impl From<TaskFailure> for Failed {
    fn from(failure: TaskFailure) -> Self {
        let cause = output::nested(|budget| output::of_cause(&failure.cause, budget));
        Self { error: failure.error.to_string(), cause }
    }
}

/// What is returned for a reply.
pub(crate) fn returned(reply: Reply) -> Outcome {
    match reply {
        Reply::Success { output } => text(output),
        Reply::Failure { error, cause } => Err(Failed { error, cause }),
        Reply::BareFailure => Err(Failed::internal("there is a failure without a name")),
    }
}

/// A result that is JSON already.
pub(crate) fn text(output: String) -> Outcome {
    RawValue::from_string(output).map_err(|error| Failed::internal(&format!("the output is no JSON: {error}")))
}

/// A result of the function's own making.
pub(crate) fn value(value: &Value) -> Outcome {
    to_raw_value(value).map_err(|error| Failed::internal(&format!("the output is no JSON: {error}")))
}
