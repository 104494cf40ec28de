//! The error for a part of a task's input that cannot be taken.

use std::fmt;

use serde_json::{Value, json};

use crate::{
    failure::{ErrorName, TaskFailure},
    fields::{describe, describe_field},
};

/// A part of the input cannot be taken: `RunJob.InvalidParameters`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidParameters {
    path: String,
    found: String,
    expected: String,
    suggestion: Option<String>,
}

impl InvalidParameters {
    pub(crate) fn new(path: &str, found: &Value, expected: &str) -> Self {
        Self { path: path.to_owned(), found: describe(found), expected: expected.to_owned(), suggestion: None }
    }

    /// A field has a value that cannot be taken.
    pub(crate) fn of_field(path: &str, name: &str, found: &Value, expected: &str) -> Self {
        Self::text(path, describe_field(name, found), expected)
    }

    pub(crate) fn absent(path: &str, expected: &str) -> Self {
        Self { path: path.to_owned(), found: "nothing".to_owned(), expected: expected.to_owned(), suggestion: None }
    }

    pub(crate) fn text(path: &str, found: String, expected: &str) -> Self {
        Self { path: path.to_owned(), found, expected: expected.to_owned(), suggestion: None }
    }

    /// A field beside `"Action": "sweep"`, which takes none.
    pub fn beside_sweep(name: &str, found: &Value) -> Self {
        Self::of_field(&format!("$.{name}"), name, found, "nothing beside \"Action\": \"sweep\"")
    }

    /// No cluster is named where only the name says which one is meant.
    pub fn cluster_name_missing() -> Self {
        Self::absent("$.ClusterName", "the name of an EKS cluster")
    }

    /// A token that nobody asked for: a task of an activity has its own. It is not shown.
    pub fn task_token_of_activity() -> Self {
        Self::text("$.TaskToken", "a token".to_owned(), "no such field: the task of an activity has its own token")
    }

    pub(crate) fn suggesting(self, suggestion: String) -> Self {
        Self { suggestion: Some(suggestion), ..self }
    }

    /// The JSON path of the part.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The failure that answers the task.
    pub fn failure(&self) -> TaskFailure {
        let mut cause = json!({
            "message": self.to_string(),
            "path": self.path,
            "found": self.found,
            "expected": self.expected,
        });
        if let (Some(suggestion), Some(cause)) = (&self.suggestion, cause.as_object_mut()) {
            cause.insert("suggestion".into(), suggestion.as_str().into());
        }
        TaskFailure::new(ErrorName::InvalidParameters, cause)
    }
}

impl fmt::Display for InvalidParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.path, self.expected, self.found)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}
