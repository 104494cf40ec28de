//! Sizes, as the Step Functions API reference and its quota page state them.

use super::errors::ServiceError;

/// Bytes of UTF-8 of the input and output of a task, state or execution.
pub(super) const DATA_BYTES: usize = 262_144;
/// Bytes of a state machine's definition.
pub(super) const DEFINITION_BYTES: usize = 1_048_576;
const ERROR_CHARACTERS: usize = 256;
const CAUSE_CHARACTERS: usize = 32_768;
const TOKEN_CHARACTERS: usize = 2048;
/// Of the names of activities, machines, executions, states and workers.
pub(super) const NAME_CHARACTERS: usize = 80;
const ARN_CHARACTERS: usize = 256;
/// Polls that one activity holds at a time.
pub(super) const POLLS_PER_ACTIVITY: usize = 1000;
/// Events of one execution. The last one is left for the failure that says so.
pub(super) const HISTORY_EVENTS: usize = 25_000;

/// A required field of a request.
pub(super) fn required(field: &'static str, value: Option<String>) -> Result<String, ServiceError> {
    value.ok_or_else(|| ServiceError::invalid(field, "Member must not be null"))
}

pub(super) fn data(field: &'static str, value: &str) -> Result<(), ServiceError> {
    at_most(field, value.len(), DATA_BYTES)
}

pub(super) fn error(value: Option<&str>) -> Result<(), ServiceError> {
    value.map_or(Ok(()), |value| at_most("error", value.chars().count(), ERROR_CHARACTERS))
}

pub(super) fn cause(value: Option<&str>) -> Result<(), ServiceError> {
    value.map_or(Ok(()), |value| at_most("cause", value.chars().count(), CAUSE_CHARACTERS))
}

pub(super) fn token(value: &str) -> Result<(), ServiceError> {
    between("taskToken", value.chars().count(), TOKEN_CHARACTERS)
}

pub(super) fn worker_name(value: &str) -> Result<(), ServiceError> {
    between("workerName", value.chars().count(), NAME_CHARACTERS)
}

pub(super) fn arn(field: &'static str, value: &str) -> Result<(), ServiceError> {
    between(field, value.chars().count(), ARN_CHARACTERS)?;
    if value.starts_with("arn:") { Ok(()) } else { Err(ServiceError::InvalidArn(value.to_owned())) }
}

/// A name of an activity, machine or execution: no whitespace, brackets, wildcards, special or control characters.
pub(super) fn name(value: &str) -> Result<(), ServiceError> {
    between("name", value.chars().count(), NAME_CHARACTERS)?;
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || r##"<>{}[]?*"#%\^|~`$&,;:/"##.contains(c);
    if value.contains(forbidden) { Err(ServiceError::InvalidName(value.to_owned())) } else { Ok(()) }
}

fn at_most(field: &'static str, length: usize, limit: usize) -> Result<(), ServiceError> {
    if length > limit {
        let constraint = format!("Member must have length less than or equal to {limit}");
        return Err(ServiceError::invalid(field, &constraint));
    }
    Ok(())
}

fn between(field: &'static str, length: usize, limit: usize) -> Result<(), ServiceError> {
    if length == 0 {
        return Err(ServiceError::invalid(field, "Member must have length greater than or equal to 1"));
    }
    at_most(field, length, limit)
}
