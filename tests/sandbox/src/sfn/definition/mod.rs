//! A state machine's definition: parsed and checked once, so that running it meets no surprise.
//!
//! What the sandbox does not have is refused here, with the state's name and what to do instead; nothing is ignored.

mod fields;
mod parse;
mod tasks;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::Value;

pub(super) use fields::seconds;
pub(super) use parse::parse;

use super::{
    paths::{Path, ResultPath},
    retry::{Catcher, Retrier},
    template::Template,
};

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The state, or `None` for the machine as a whole.
    pub state: Option<String>,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            Some(state) => write!(f, "state {state:?}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// A whole machine.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) start_at: String,
    pub(super) timeout: Option<Duration>,
    pub(super) states: BTreeMap<String, State>,
}

/// One state.
#[derive(Debug)]
pub(super) struct State {
    pub(super) input_path: DataPath,
    pub(super) output_path: DataPath,
    pub(super) kind: Kind,
}

/// What a state does.
#[derive(Debug)]
pub(super) enum Kind {
    Task(Box<Task>),
    Pass { parameters: Option<Template>, result: Option<Value>, result_path: ResultPath, then: Then },
    Wait { pause: Pause, then: Then },
    Succeed,
    Fail { error: Option<String>, cause: Option<String> },
}

/// A Task state.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) resource: Resource,
    pub(super) parameters: Option<Template>,
    pub(super) result_selector: Option<Template>,
    pub(super) result_path: ResultPath,
    pub(super) timeout: Option<Duration>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) retry: Vec<Retrier>,
    pub(super) catch: Vec<Catcher>,
    pub(super) then: Then,
}

/// Who does a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// The activity with this ARN.
    Activity(String),
    /// The activity that stands in for the native integration.
    Native(Native),
    /// The Lambda function with this ARN, which gets the state's input and gives its result.
    Function(String),
    /// A Lambda function that the parameters name.
    Invoke(Wait),
}

/// The two forms of `lambda:invoke`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The function's answer is the result.
    ForAnswer,
    /// The result comes with the token, whoever uses it.
    ForToken,
}

impl Wait {
    /// The resource of a state.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::ForAnswer => "arn:aws:states:::lambda:invoke",
            Self::ForToken => "arn:aws:states:::lambda:invoke.waitForTaskToken",
        }
    }

    /// What events call it.
    pub(super) fn api(self) -> &'static str {
        match self {
            Self::ForAnswer => "invoke",
            Self::ForToken => "invoke.waitForTaskToken",
        }
    }
}

/// The native integrations that the sandbox knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Native {
    /// `eks:runJob`, which `"Action": "runJob"` tells from the next in an activity's input.
    RunJob,
    /// `eks:runJob.sync`.
    RunJobSync,
    /// `eks:call`.
    Call,
}

/// `InputPath` and `OutputPath`.
#[derive(Debug, Default)]
pub(super) enum DataPath {
    /// `$`.
    #[default]
    Whole,
    /// `null`: an empty object instead.
    Nothing,
    At(Path),
}

/// How long a Wait state waits.
#[derive(Debug)]
pub(super) enum Pause {
    Seconds(Duration),
    SecondsAt(Path),
}

/// Where a state leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    Next(String),
    End,
}

impl State {
    /// The `Type` in the definition, which is also the first word of its events.
    pub(super) fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Task(_) => "Task",
            Kind::Pass { .. } => "Pass",
            Kind::Wait { .. } => "Wait",
            Kind::Succeed => "Succeed",
            Kind::Fail { .. } => "Fail",
        }
    }

    /// The states that can follow this one.
    fn successors(&self) -> Vec<&str> {
        let (then, catch) = match &self.kind {
            Kind::Task(task) => (&task.then, task.catch.as_slice()),
            Kind::Pass { then, .. } | Kind::Wait { then, .. } => (then, [].as_slice()),
            Kind::Succeed | Kind::Fail { .. } => return Vec::new(),
        };
        let next = match then {
            Then::Next(next) => Some(next.as_str()),
            Then::End => None,
        };
        next.into_iter().chain(catch.iter().map(|catcher| catcher.next.as_str())).collect()
    }
}
