//! What has to hold for an output, a cause, or a Job that is left.

use serde_json::Value;

/// What has to hold for an output or a cause.
#[derive(Debug, Clone)]
pub struct Check {
    /// Where, as a JSON pointer.
    pointer: &'static str,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Is(Value),
    /// As text, it contains this.
    Contains(String),
    Lacks(String),
    Shorter(usize),
    Absent,
    /// A text that is JSON, for which this holds.
    Holds(Box<Check>),
    /// An object or list of that many entries.
    Counts(usize),
    /// The one pod's log of this container.
    Log(&'static str, Value),
    /// The output of a state on the way, anywhere in the history, contains this.
    HistoryContains(String),
}

/// It is this value.
pub fn at(pointer: &'static str, value: impl Into<Value>) -> Check {
    Check { pointer, test: Test::Is(value.into()) }
}

/// It contains this text.
pub fn contains(pointer: &'static str, text: impl Into<String>) -> Check {
    Check { pointer, test: Test::Contains(text.into()) }
}

/// It does not contain this text.
pub fn lacks(pointer: &'static str, text: impl Into<String>) -> Check {
    Check { pointer, test: Test::Lacks(text.into()) }
}

/// As text, it is shorter than that many bytes.
pub fn shorter(pointer: &'static str, bytes: usize) -> Check {
    Check { pointer, test: Test::Shorter(bytes) }
}

/// It is not there.
pub fn absent(pointer: &'static str) -> Check {
    Check { pointer, test: Test::Absent }
}

/// It is a text that is JSON itself, for which this holds.
pub fn within(pointer: &'static str, check: Check) -> Check {
    Check { pointer, test: Test::Holds(Box::new(check)) }
}

/// It has that many entries.
pub fn counts(pointer: &'static str, entries: usize) -> Check {
    Check { pointer, test: Test::Counts(entries) }
}

/// The one pod's log of this container is this.
pub fn log(container: &'static str, log: impl Into<Value>) -> Check {
    Check { pointer: "/logs/pods", test: Test::Log(container, log.into()) }
}

/// A state on the way had an output that contains this text.
pub fn on_the_way(text: impl Into<String>) -> Check {
    Check { pointer: "", test: Test::HistoryContains(text.into()) }
}

impl Check {
    /// Whether it holds. `history` is what the states on the way had as their outputs.
    pub(crate) fn holds(&self, whole: &Value, history: &str) -> bool {
        let found = whole.pointer(self.pointer);
        match &self.test {
            Test::Is(expected) => found == Some(expected),
            Test::Contains(text) => found.is_some_and(|found| said(found).contains(text)),
            Test::Lacks(text) => found.is_some_and(|found| !said(found).contains(text)),
            Test::Shorter(bytes) => found.is_some_and(|found| said(found).len() < *bytes),
            Test::Absent => found.is_none(),
            Test::Holds(check) => {
                let inner = found.and_then(|found| serde_json::from_str::<Value>(found.as_str()?).ok());
                inner.is_some_and(|inner| check.holds(&inner, history))
            }
            Test::Counts(entries) => found.is_some_and(|found| match found {
                Value::Object(map) => map.len() == *entries,
                Value::Array(list) => list.len() == *entries,
                _ => false,
            }),
            Test::Log(container, expected) => {
                let pods = found.and_then(Value::as_object);
                let pods: Vec<&Value> = pods.into_iter().flat_map(|pods| pods.values()).collect();
                let [pod] = pods.as_slice() else { return false };
                pod.pointer("/containers").and_then(|all| all.get(container)?.get("log")) == Some(expected)
            }
            Test::HistoryContains(text) => history.contains(text),
        }
    }

    /// What is there instead.
    pub(crate) fn found(&self, whole: &Value) -> String {
        whole.pointer(self.pointer).map(said).unwrap_or_default()
    }
}

/// A text as it is, anything else as JSON.
fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
