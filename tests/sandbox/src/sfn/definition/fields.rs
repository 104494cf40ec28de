//! The fields of one object of a definition: each is taken once, and what nobody took is a problem.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Problem;

/// Longest time-out and wait, in seconds.
const LONGEST_SECONDS: u64 = 99_999_999;

pub(super) struct Fields<'p> {
    state: Option<String>,
    /// `Retry[0]`: where in the state this object stands.
    place: String,
    object: Map<String, Value>,
    problems: &'p mut Vec<Problem>,
}

impl<'p> Fields<'p> {
    pub(super) fn of(state: Option<&str>, object: Map<String, Value>, problems: &'p mut Vec<Problem>) -> Self {
        Self { state: state.map(ToOwned::to_owned), place: String::new(), object, problems }
    }

    /// The fields of an object inside this one.
    pub(super) fn nested(&mut self, place: String, object: Map<String, Value>) -> Fields<'_> {
        Fields { state: self.state.clone(), place, object, problems: self.problems }
    }

    pub(super) fn problem(&mut self, what: impl Into<String>) {
        let mut what = what.into();
        if !self.place.is_empty() {
            what = format!("{}: {what}", self.place);
        }
        self.problems.push(Problem { state: self.state.clone(), what });
    }

    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.object.shift_remove(field)
    }

    /// Takes a field and reads it with `read`, whose `Err` is a problem.
    pub(super) fn read<T>(&mut self, field: &str, read: impl FnOnce(Value) -> Result<T, String>) -> Option<T> {
        let value = self.take(field)?;
        read(value).map_err(|problem| self.problem(format!("{field}: {problem}"))).ok()
    }

    pub(super) fn text(&mut self, field: &str) -> Option<String> {
        self.read(field, text)
    }

    pub(super) fn texts(&mut self, field: &str) -> Option<Vec<String>> {
        self.read(field, |value| match value {
            Value::Array(items) => items.into_iter().map(text).collect(),
            other => Err(format!("{other} is no list")),
        })
    }

    pub(super) fn truth(&mut self, field: &str) -> Option<bool> {
        self.read(field, |value| value.as_bool().ok_or_else(|| format!("{value} is neither true nor false")))
    }

    pub(super) fn seconds(&mut self, field: &str, least: u64) -> Option<Duration> {
        self.read(field, |value| seconds(&value, least))
    }

    pub(super) fn list(&mut self, field: &str) -> Vec<Map<String, Value>> {
        let objects = self.read(field, |value| match value {
            Value::Array(items) => items.into_iter().map(object).collect(),
            other => Err(format!("{other} is no list")),
        });
        objects.unwrap_or_default()
    }

    /// Refuses what is left.
    pub(super) fn finish(mut self) {
        // Explains itself, does nothing.
        self.take("Comment");
        for field in std::mem::take(&mut self.object).keys() {
            self.problem(format!("{field:?} is unknown or not supported here; {}", advice(field)));
        }
    }
}

/// A number of seconds as definitions and `SecondsPath` give it.
pub(in super::super) fn seconds(value: &Value, least: u64) -> Result<Duration, String> {
    match value.as_u64() {
        Some(seconds) if (least..=LONGEST_SECONDS).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{value} is no whole number from {least} to {LONGEST_SECONDS}")),
    }
}

pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{other} is no text")),
    }
}

pub(super) fn object(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(format!("{other} is no object")),
    }
}

fn advice(field: &str) -> &'static str {
    match field {
        "TimeoutSecondsPath"
        | "HeartbeatSecondsPath"
        | "Timestamp"
        | "TimestampPath"
        | "ErrorPath"
        | "CausePath"
        | "Credentials"
        | "Arguments"
        | "Output"
        | "Assign"
        | "Choices"
        | "Branches"
        | "Iterator"
        | "ItemProcessor" => "run this machine on LocalStack, or write it without",
        _ => "check the spelling, or leave it out",
    }
}
