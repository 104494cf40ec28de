//! How an invocation fails, in the words of AWS.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

/// The function has failed: what Invoke answers together with `FunctionError: Unhandled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    error_type: String,
    error_message: String,
    payload: Value,
}

/// Why an invocation brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function has failed.
    #[error("{0}")]
    Function(FunctionError),
    /// The service has refused, or could not do, what it was asked.
    #[error("{exception}: {message}")]
    Service {
        /// The name of the exception, as `ResourceNotFoundException`.
        exception: &'static str,
        /// Its HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
}

impl FunctionError {
    /// What a function reports of itself, or the service of it.
    pub fn new(error_type: &str, error_message: &str) -> Self {
        let payload = json!({ "errorType": error_type, "errorMessage": error_message });
        Self { error_type: error_type.to_owned(), error_message: error_message.to_owned(), payload }
    }

    /// The process is no more: `how` is `exit status 1`, `signal: killed`, or nothing where it ended without a complaint.
    pub fn exited(request_id: &str, how: Option<&str>) -> Self {
        let how = how.map_or_else(
            || "Runtime exited without providing a reason".to_owned(),
            |how| format!("Runtime exited with error: {how}"),
        );
        Self::new("Runtime.ExitError", &format!("RequestId: {request_id} Error: {how}"))
    }

    pub(super) fn timed_out(request_id: &str, timeout: Duration) -> Self {
        let seconds = timeout.as_secs_f64();
        let message = format!("RequestId: {request_id} Error: Task timed out after {seconds:.2} seconds");
        Self::new("Sandbox.Timedout", &message)
    }

    pub(super) fn response_too_large(limit: usize) -> Self {
        let message = format!("Response payload size exceeded maximum allowed payload size ({limit} bytes).");
        Self::new("Function.ResponseSizeTooLarge", &message)
    }

    /// AWS says nothing of the kind: it hands on what is no JSON. Nothing that is tested here may do that.
    pub(super) fn no_json() -> Self {
        Self::new("Runtime.NoJson", "the answer of the function is no JSON")
    }

    pub(super) fn not_started(error: &std::io::Error) -> Self {
        Self::new("Runtime.InvalidEntrypoint", &format!("the bootstrap cannot be started: {error}"))
    }

    /// As `lambda_runtime` reports a panic of the handler.
    pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let words = panic.downcast_ref::<&str>().map(ToString::to_string);
        let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
        let message = words.map_or_else(|| "Lambda panicked".to_owned(), |words| format!("Lambda panicked: {words}"));
        Self::new("&alloc::boxed::Box<dyn core::any::Any + core::marker::Send>", &message)
    }

    /// What a process reports of itself. `None` if that is no report.
    pub(super) fn reported(body: &[u8]) -> Option<Self> {
        let payload = serde_json::from_slice::<Value>(body).ok()?;
        let text = |field: &str| Some(payload.get(field)?.as_str()?.to_owned());
        let (error_type, error_message) = (text("errorType")?, text("errorMessage")?);
        Some(Self { error_type, error_message, payload })
    }

    /// What Step Functions compares with `ErrorEquals`.
    pub fn error_type(&self) -> &str {
        &self.error_type
    }

    /// What a person reads.
    pub fn error_message(&self) -> &str {
        &self.error_message
    }

    /// All of it, as Invoke answers it.
    pub fn payload(&self) -> &Value {
        &self.payload
    }
}

impl fmt::Display for FunctionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.error_message)
    }
}

impl InvokeError {
    pub(super) fn no_function(arn: &str) -> Self {
        let message = format!("Function not found: {arn}");
        Self::Service { exception: "ResourceNotFoundException", status: 404, message }
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("Request must be smaller than {limit} bytes for the InvokeFunction operation");
        Self::Service { exception: "RequestTooLargeException", status: 413, message }
    }

    pub(super) fn gone() -> Self {
        let message = "the service has ended".to_owned();
        Self::Service { exception: "ServiceException", status: 500, message }
    }
}
