//! The errors of the service, with the names and (where known) the words of AWS.

use super::definition::Problem;

/// Why the service refused a request. On the wire it is HTTP 400 with the variant's name as its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The task is closed: answered, timed out, its heartbeat missed, or its execution at an end.
    #[error("Task Timed Out: 'Provided task does not exist anymore'")]
    TaskTimedOut,
    /// The token is malformed or of another service.
    #[error("Invalid Token: 'Invalid token'")]
    InvalidToken,
    /// The output is no JSON.
    #[error("Invalid Output: '{0}'")]
    InvalidOutput(String),
    /// A field is missing, too long or too short.
    #[error("1 validation error detected: Value at '{field}' failed to satisfy constraint: {constraint}")]
    Validation {
        /// The field's name on the wire.
        field: &'static str,
        /// What it has to satisfy.
        constraint: String,
    },
    /// The body of the request is not what the operation takes.
    #[error("unable to read the request: {0}")]
    Serialization(String),
    /// No such operation, or none that the sandbox has.
    #[error("the sandbox has no operation {0:?}; LocalStack may have it")]
    UnknownOperation(String),
    /// Text that should be an ARN is none.
    #[error("Invalid Arn: '{0}'")]
    InvalidArn(String),
    /// A name with characters that names cannot have.
    #[error("Invalid Name: '{0}'")]
    InvalidName(String),
    /// No activity has this ARN.
    #[error("Activity Does Not Exist: '{0}'")]
    ActivityDoesNotExist(String),
    /// As many polls are held for the activity as it can hold.
    #[error("The maximum number of workers concurrently polling for activity tasks has been reached.")]
    ActivityWorkerLimitExceeded,
    /// The definition is not Amazon States Language, or uses a part of it that the sandbox does not have.
    #[error("Invalid State Machine Definition: '{}'", listed(.0))]
    InvalidDefinition(Vec<Problem>),
    /// A machine of this name exists and has another definition or role.
    #[error("State Machine Already Exists: '{0}'")]
    StateMachineAlreadyExists(String),
    /// No machine has this ARN.
    #[error("State Machine Does Not Exist: '{0}'")]
    StateMachineDoesNotExist(String),
    /// A kind of machine that the sandbox does not have.
    #[error("State machines of type {0} are not supported: activities work in STANDARD machines only")]
    StateMachineTypeNotSupported(String),
    /// The input of an execution is no JSON.
    #[error("Invalid State Machine Execution Input: '{0}'")]
    InvalidExecutionInput(String),
    /// The name is taken by an execution that has ended or has another input.
    #[error("Execution Already Exists: '{0}'")]
    ExecutionAlreadyExists(String),
    /// No execution has this ARN.
    #[error("Execution Does Not Exist: '{0}'")]
    ExecutionDoesNotExist(String),
    /// A page token that `GetExecutionHistory` did not hand out.
    #[error("Invalid Token: 'Invalid nextToken'")]
    InvalidPageToken,
}

impl ServiceError {
    pub(super) fn invalid(field: &'static str, constraint: &str) -> Self {
        Self::Validation { field, constraint: constraint.to_owned() }
    }

    /// The `__type` of the answer. Clients take the part behind `#`.
    pub(super) fn wire_type(&self) -> String {
        let namespace = match self {
            Self::Validation { .. } => "com.amazon.coral.validate",
            Self::Serialization(_) | Self::UnknownOperation(_) => "com.amazon.coral.service",
            _ => "com.amazonaws.swf.service.v2.model",
        };
        format!("{namespace}#{}", self.code())
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TaskTimedOut => "TaskTimedOut",
            Self::InvalidToken | Self::InvalidPageToken => "InvalidToken",
            Self::InvalidOutput(_) => "InvalidOutput",
            Self::Validation { .. } => "ValidationException",
            Self::Serialization(_) => "SerializationException",
            Self::UnknownOperation(_) => "UnknownOperationException",
            Self::InvalidArn(_) => "InvalidArn",
            Self::InvalidName(_) => "InvalidName",
            Self::ActivityDoesNotExist(_) => "ActivityDoesNotExist",
            Self::ActivityWorkerLimitExceeded => "ActivityWorkerLimitExceeded",
            Self::InvalidDefinition(_) => "InvalidDefinition",
            Self::StateMachineAlreadyExists(_) => "StateMachineAlreadyExists",
            Self::StateMachineDoesNotExist(_) => "StateMachineDoesNotExist",
            Self::StateMachineTypeNotSupported(_) => "StateMachineTypeNotSupported",
            Self::InvalidExecutionInput(_) => "InvalidExecutionInput",
            Self::ExecutionAlreadyExists(_) => "ExecutionAlreadyExists",
            Self::ExecutionDoesNotExist(_) => "ExecutionDoesNotExist",
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
