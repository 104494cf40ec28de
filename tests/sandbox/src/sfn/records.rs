//! What became of every task, for the invariants that hold at the end of each scenario.

use serde_json::Value;

use super::{
    core::Core,
    tasks::{TaskOutcome, Work},
};

/// A worker's answer to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `SendTaskSuccess` with this output.
    Success(String),
    /// `SendTaskFailure`.
    Failure {
        /// Its error, if there was one.
        error: Option<String>,
        /// Its cause, if there was one.
        cause: Option<String>,
    },
}

impl Answer {
    /// Whether both say the same. Outputs are compared as JSON: their spelling is the worker's own business.
    fn says_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Success(one), Self::Success(other)) => {
                let [one, other] = [one, other].map(|output| serde_json::from_str::<Value>(output).ok());
                one.is_some() && one == other
            }
            _ => self == other,
        }
    }
}

/// What became of one task.
#[derive(Debug, Clone)]
pub struct Record {
    /// The ARN of its activity, or of the integration that gave a function its token.
    pub resource: String,
    /// The ARN of its execution, or `None` for a bare task.
    pub execution: Option<String>,
    /// Whether a poll took it. A function always gets it.
    pub delivered: bool,
    /// Heartbeats that were accepted.
    pub heartbeats: u64,
    /// Answers that were accepted: one at most.
    pub accepted: Vec<Answer>,
    /// Answers that were refused because the task was closed.
    pub refused: Vec<Answer>,
    /// How it ended, if it has.
    pub outcome: Option<TaskOutcome>,
}

impl Record {
    pub(super) fn of(work: &Work) -> Self {
        Self {
            resource: work.doer.resource().to_owned(),
            execution: work.execution.clone(),
            delivered: false,
            heartbeats: 0,
            accepted: Vec::new(),
            refused: Vec::new(),
            outcome: None,
        }
    }

    fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.accepted.len() > 1 {
            violations.push(format!("{} answers were accepted: {:?}", self.accepted.len(), self.accepted));
        }
        // Answers to a task that was closed without one are late, whatever they say.
        if let Some(first) = self.accepted.first() {
            let others = self.refused.iter().filter(|answer| !answer.says_the_same_as(first));
            violations.extend(others.map(|answer| format!("it was answered with {first:?}, then with {answer:?}")));
        }
        violations
    }
}

impl Core {
    pub(super) fn records(&self) -> Vec<Record> {
        self.state().tasks.values().map(|task| task.record.clone()).collect()
    }

    pub(super) fn invariant_violations(&self) -> Vec<String> {
        let tasks = self.records().into_iter().enumerate();
        tasks
            .flat_map(|(number, record)| {
                let about = format!("task {number} of {}", record.execution.as_ref().unwrap_or(&record.resource));
                record.violations().into_iter().map(move |violation| format!("{about}: {violation}"))
            })
            .collect()
    }
}
